"""Equation 1: is the sound of this reference in this frame of that clip? And who hears domains.

Section 4.1 of the paper; shapes from the public code of TSDNet and of the paper. f_student and
w_student have this one network. Notebook: mixed_tsd/method.ipynb.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from wsaed.nets import LogMelNet, convolution, scaled

EMBEDDING = 128  # values that stand for a reference
# of the paper's text (TSDNet's, after CDur) and of its public code (PANNs' Cnn10), block by block
FILTERS = {
    "text": ((32,), (128, 128), (128, 128)),
    "code": ((64, 64), (128, 128), (256, 256), (512, 512)),
}
MEL_POOLS = {"text": (4, 4, 4), "code": (2, 2, 4, 4)}
TIME_POOLS = {"text": (2, 1, 1), "code": (2, 2, 2, 1)}
UNITS = {"text": 256, "code": 512}


class PowerPool(nn.Module):
    """nn.LPPool2d with p = 4, faster, and with a finite slope where all is 0."""

    def __init__(self, size: tuple[int, int]):
        super().__init__()
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = F.avg_pool2d(x.square().square(), self.size, divisor_override=1)
        return (total + 1e-12).sqrt().sqrt()


def trunk(form: str, width: float, mels: int, dropout: float, pools) -> tuple[nn.Sequential, int]:
    """(the convolutions, how many channels come out)."""
    layers, inputs, bins = [], 1, mels
    for filters, time, mel in zip(FILTERS[form], pools, MEL_POOLS[form], strict=True):
        for outputs in (scaled(count, width) for count in filters):
            if form == "text":
                conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
                layers += [nn.BatchNorm2d(inputs), conv, nn.LeakyReLU(0.1, inplace=True)]
            else:
                layers += convolution(inputs, outputs, 3, bias=False)
            inputs = outputs
        size = time, min(mel, bins)
        bins //= size[1]
        pool = [nn.AvgPool2d(size), nn.Dropout(0.2 * dropout)]
        layers += [PowerPool(size)] if form == "text" else pool
    layers += [nn.Dropout(0.3 * dropout)] if form == "text" else []
    return nn.Sequential(*layers), inputs


class DetectionNet(LogMelNet):
    """A trunk that sees the clip alone, then the embedding behind every frame, a BiGRU, two FC.

    The trunk runs once a clip, whatever the number of its queries. ``form``: the paper's "text"
    (five convolutions, half of the frames left, BiGRU of 256) or its "code" (eight convolutions,
    an eighth of the frames, BiGRU of 512). ``pools``: the time pools of the trunk's blocks, in
    place of the form's. ``width`` scales filters and units (at least 8 are left), never the
    embedding. A query is answered with yes or no, so ``classes`` doesn't matter.
    Raises ValueError for another form or pools that don't fit it.
    """

    def __init__(self, classes: int, form="text", width=1.0, mels=64, dropout=1.0, pools=None):
        super().__init__(mels)
        pools = TIME_POOLS.get(form) if pools is None else pools
        if form not in FILTERS or len(pools) != len(FILTERS[form]) or min(pools) < 1:
            forms = {name: len(blocks) for name, blocks in FILTERS.items()}
            said = f"form and its number of time pools, from 1 on, must be of {forms}"
            raise ValueError(f"net {said}: got {form!r}, {pools}")
        self.trunk, self.channels = trunk(form, width, mels, dropout, pools)
        units, hidden = scaled(UNITS[form], width), scaled(256, width)
        self.frames_per_step = self.shortest = math.prod(pools)
        self.gru = nn.GRU(self.channels + EMBEDDING, units, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.Linear(2 * units, hidden), nn.Linear(hidden, 2))
        self.to(memory_format=torch.channels_last)

    def forward(self, x, e: torch.Tensor, clip: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Equation 1 and equation 5's F for pairs of a clip and a reference, as `ask` gives them.

        x: log-mel (clips, frames, mels).
        """
        return self.ask(self.features(x), e, clip)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """z of equation 8, the trunk's output: (clips, channels, steps, mels left)."""
        return self.trunk(self.image(x))

    def ask(self, z, e: torch.Tensor, clip: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Probabilities of the target (pairs, steps), GRU outputs (pairs, steps, 2 units).

        e: (pairs, 128), each pair's reference; clip: (pairs,) the row of z that it asks about.
        """
        G = pair_gru(self.gru, z.mean(3).transpose(1, 2), e, clip)
        # nothing bends between the two FC, so they are one, which costs a tenth
        first, last = self.head
        weight, bias = last.weight @ first.weight, last(first.bias)
        return F.linear(G, weight, bias).float().softmax(2)[:, :, 0], G


def pair_gru(gru: nn.GRU, z: torch.Tensor, e: torch.Tensor, clip: torch.Tensor) -> torch.Tensor:
    """``gru`` on z[clip] with e behind every frame -> (pairs, steps, 2 units), faster on a CPU.

    gru: one layer, bidirectional, batch first; z: (clips, steps, channels); e: (pairs, values);
    clip: (pairs,) each pair's row of z. The input product is a sum of one a clip and one a query,
    which no pair repeats, and both directions go step by step together: a whole run of the
    laptop's size takes 1.3 times as long with nn.GRU itself.
    """
    if z.device.type != "cpu":  # there nn.GRU is one fused kernel
        return gru(torch.cat([z[clip], e[:, None].expand(-1, z.shape[1], -1)], 2))[0]
    W_i, W_h, b_i, b_h = (
        torch.stack([getattr(gru, name + end) for end in ("_l0", "_l0_reverse")])
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    W_z, W_e = W_i.transpose(1, 2).split([z.shape[2], e.shape[1]], 1)
    forth, two = z.transpose(0, 1), 2 * gru.hidden_size  # the gates' order: r, k, n
    of_clip = torch.stack([forth, forth.flip(0)], 1) @ W_z  # (steps, 2, clips, 3 units)
    of_query = e @ W_e + b_i[:, None]
    h, found = e.new_zeros(2, len(e), gru.hidden_size), []
    for x in (of_clip[:, :, clip] + of_query).unbind():
        g = torch.baddbmm(b_h[:, None], h, W_h.transpose(1, 2))
        r, k = (x[..., :two] + g[..., :two]).sigmoid().chunk(2, 2)
        n = torch.addcmul(x[..., two:], r, g[..., two:]).tanh()
        h = torch.lerp(n, h, k)
        found.append(h)
    ahead, back = torch.stack(found).unbind(1)
    return torch.cat([ahead, back.flip(0)], 2).transpose(0, 1)


class Discriminator(nn.Module):
    """D of equation 8: three 1x1 convolutions, mean over mel, maximum over time, one FC.

    Its two outputs end in a softmax. Without a bound, the trunk could raise the squared error of
    equation 8 for ever.
    """

    def __init__(self, channels: int):
        super().__init__()
        three = [convolution(channels, channels, 1, bias=False, act=nn.LeakyReLU) for _ in range(3)]
        self.layers = nn.Sequential(*(layer for block in three for layer in block))
        self.fc = nn.Linear(channels, 2)
        self.to(memory_format=torch.channels_last)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """(clips, channels, steps, mels) -> (clips, 2): how much of source, how much of target."""
        return self.fc(self.layers(z).mean(3).amax(2)).float().softmax(1)
