"""WELS-Net, the network of SeCoST (section 2, figure 1, table 1).

Notebook: secost/table_1.ipynb prints it layer by layer.
"""

from copy import deepcopy
from typing import Literal

import torch
from torch import nn

from wsaed.features import FrontEnd
from wsaed.nets import LogMelNet, average, convolution, scaled


class WelsNet(LogMelNet):
    """Blocks B1 to B4 and layers L1 to L4 of table 1, then P, the mean over segments.

    ``width`` scales all filter counts but the last layer's (at least 8 are left); at 1.0, 64 mels
    and 527 classes there are 14,677,711 parameters. ``mels`` from 32 on. Table 1 names no kind of
    ``pool``: "max" is what the authors' sister network uses. One reading differs from the print:
    L4 ends in a sigmoid, not in batch norm and ReLU, which could give p > 1 and leave equation 1
    undefined, so P averages probabilities.

    A segment is a window of 3 steps of 32 frames (0.96 s at a 10 ms hop, one every 0.32 s); what
    one output depends on is wider, `receptive_field` frames, because the 3x3 convolutions
    reach over the window's ends. ``first_pool``, 4 in table 1, is how many frames B1's pool
    takes together: 2 halves step and window, and nearly the field, for a coarser hop.
    """

    Pool = Literal["max", "average"]

    def __init__(self, classes: int, width=1.0, mels=64, pool: Pool = "max", first_pool=4):
        super().__init__(mels)
        self.frames_per_step = 8 * first_pool
        self.shortest = 3 * self.frames_per_step  # K = 1
        self.receptive_field = 52 * first_pool + 4
        Pool, channels = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}[pool], 1
        pools = [(first_pool, 4), (2, 2), (2, 2), (2, 2)]
        for i, (F, size) in enumerate(zip((64, 128, 256, 512), pools, strict=True), start=1):
            F = scaled(F, width)
            convs = convolution(channels, F, 3), convolution(F, F, 3)
            setattr(self, f"B{i}", nn.Sequential(*convs, Pool(size)))
            channels = F
        for i, (F, kernel) in enumerate([(2048, (3, mels // 32)), (1024, 1), (1024, 1)], start=1):
            F = scaled(F, width)
            setattr(self, f"L{i}", convolution(channels, F, kernel, padding=0))
            channels = F
        self.L4 = nn.Sequential(nn.Conv2d(channels, classes, 1), nn.Sigmoid())
        # weights in this order make every layer run in it: 1.7 times faster on a CPU
        self.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel (batch, frames, mels) -> segments (batch, K, classes), clips (batch, classes).

        K = frames // `frames_per_step` - 2: with table 1's first pool 30 at 1024 frames, 29 at 998
        to 1001 (ten seconds). Under `shortest` frames the input ends in silence, which makes
        K = 1; a longer one is never padded. Probabilities are float32 under autocast too;
        one may be 0 or 1 exactly, and equation 1 cuts its logarithm there. Raises ValueError for
        another number of mel bins.
        """
        x = self.image(x)
        for layer in (self.B1, self.B2, self.B3, self.B4, self.L1, self.L2, self.L3):
            x = layer(x)
        with torch.autocast(x.device.type, enabled=False):
            p = self.L4(x.to(self.L4[0].weight.dtype))
        p = p.squeeze(3).transpose(1, 2)
        return p, average(p)

    def segment_times(self, K: int, front_end: FrontEnd) -> torch.Tensor:
        """Centres of segments 0 to K - 1 in seconds, (K,): the middle of its `shortest` frames."""
        frames = torch.arange(K) * self.frames_per_step + (self.shortest - 1) / 2
        return frames / front_end.frames_per_second


def layer_table(net: WelsNet, frames: int) -> list[tuple[str, str, str]]:
    """Table 1 from the live network: rows (layer, parameters, output size) for one input.

    Sizes are seen by forward hooks, parameters read off the modules, so the table can't differ
    from what runs.
    """
    net = deepcopy(net).eval()  # looking leaves nothing behind
    rows = [("Input", "-", f"1×{frames}×{len(net.mean)}")]
    for name, layer in net.named_children():
        # a block's rows are its two convolutions and its pool; a layer is one row
        for part in layer if name.startswith("B") else [layer]:
            part.register_forward_hook(
                lambda m, _, y, name=name: rows.append((name, _text(m), _size(y.shape[1:])))
            )
    with torch.no_grad():
        clip = net(torch.zeros(1, frames, len(net.mean)).to(net.mean))[1]
    return [*rows, ("P", "Global Average Pooling", f"{clip.shape[1]}×1")]


def _size(shape) -> str:
    return "×".join(map(str, shape))


def _text(part: nn.Module) -> str:
    if isinstance(part, nn.Sequential):
        return " → ".join(map(_text, part))
    if isinstance(part, nn.Conv2d):
        kernel, F = _size(part.kernel_size), part.out_channels
        return f"{kernel} conv, F: {F}, P: {part.padding[0]}, S: {part.stride[0]}"
    if isinstance(part, nn.MaxPool2d | nn.AvgPool2d):
        return f"{_size(part.kernel_size)} pool, S: {_size(dict.fromkeys(part.stride))}"
    return {nn.BatchNorm2d: "BN", nn.ReLU: "ReLU", nn.Sigmoid: "sigmoid"}[type(part)]
