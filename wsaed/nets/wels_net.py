"""WELS-Net, the network of SeCoST (section 2, figure 1, table 1).

Notebook: secost/table_1.ipynb prints it layer by layer.
"""

import torch
from torch import nn

from wsaed.features import FrontEnd
from wsaed.nets import pooling
from wsaed.nets.layers import LogMelNet, scaled, settings

POOLS = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


class WelsNet(LogMelNet):
    """Blocks B1 to B4 and layers L1 to L4 of table 1, then P, the mean over segments.

    A segment is a window of 3 steps of 32 frames (0.96 s at a 10 ms hop, one every 0.32 s); what
    one output depends on is wider, `receptive_field` frames, because the 3x3 convolutions
    reach over the window's ends.
    """

    frames_per_step = 32
    receptive_field = 212
    shortest = 96  # K = 1

    def __init__(self, classes: int, width: float, pool: str):
        super().__init__()
        channels = 1
        for i, (F, size) in enumerate([(64, 4), (128, 2), (256, 2), (512, 2)], start=1):
            F = scaled(F, width)
            convs = _conv(channels, F, 3, 1), _conv(F, F, 3, 1)
            setattr(self, f"B{i}", nn.Sequential(*convs, POOLS[pool](size)))
            channels = F
        for i, (F, kernel) in enumerate([(2048, (3, 2)), (1024, 1), (1024, 1)], start=1):
            F = scaled(F, width)
            setattr(self, f"L{i}", _conv(channels, F, kernel, 0))
            channels = F
        self.L4 = nn.Sequential(nn.Conv2d(channels, classes, 1), nn.Sigmoid())
        # weights in this order make every layer run in it: 1.7 times faster on a CPU
        self.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel (batch, frames, 64) -> segments (batch, K, classes), clips (batch, classes).

        K = frames // 32 - 2: 30 at 1024 frames, 29 at 998 to 1001 (ten seconds). Under 96
        frames the input ends in silence, which makes K = 1; a longer one is never padded.
        Probabilities are float32 under autocast too; one may be 0 or 1 exactly, and
        `wsaed.losses.binary_cross_entropy` cuts its logarithm there.
        Raises ValueError for another number of mel bins.
        """
        x = self.image(x)
        for layer in (self.B1, self.B2, self.B3, self.B4, self.L1, self.L2, self.L3):
            x = layer(x)
        with torch.autocast(x.device.type, enabled=False):
            p = self.L4(x.to(self.L4[0].weight.dtype))
        p = p.squeeze(3).transpose(1, 2)
        return p, pooling.average(p)

    def frames_per_second(self, front_end: FrontEnd) -> float:
        """Segments a second."""
        return front_end.frames_per_second / self.frames_per_step

    def segment_times(self, K: int, front_end: FrontEnd) -> torch.Tensor:
        """Centres of segments 0 to K - 1 in seconds, (K,): where 96 frames have their middle."""
        frames = torch.arange(K) * self.frames_per_step + (self.shortest - 1) / 2
        return frames / front_end.frames_per_second


def build(spec: dict, classes: int) -> WelsNet:
    """WELS-Net from ``{"name": "wels_net", "width": 1.0, "pool": "max"}``, table 1.

    ``width`` scales all filter counts but the last layer's (at least 8 are left); at 1.0 and 527
    classes there are 14,677,711 parameters. ``pool`` is "max" or "average": table 1 names no
    kind, "max" is what the authors' sister network uses. One reading differs from the print: L4
    ends in a sigmoid, not in batch norm and ReLU, which could give p > 1 and leave equation 1
    undefined, so P averages probabilities. Raises ValueError for another setting.
    """
    found = settings(spec, classes, pool=tuple(POOLS))
    return WelsNet(classes, found["width"], found["pool"])


def layer_table(net: WelsNet, frames: int, mels: int = 64) -> list[tuple[str, str, str]]:
    """Table 1 from the live network: rows (layer, parameters, output size) for one input.

    Sizes are seen by forward hooks, parameters read off the modules, so the table can't differ
    from what runs. The network's mode and weights stay as they are.
    """
    rows, seen, hooks = [], {}, []
    for name, module in net.named_children():
        # a block's rows are its two convolutions and its pool; a layer is one row
        for row in module if name.startswith("B") else [module]:
            hooks.append(row.register_forward_hook(lambda m, _, y: seen.update({m: y.shape[1:]})))
            rows.append((name, row))
    training = net.training
    try:
        with torch.no_grad():
            clip = net.eval()(torch.zeros(1, frames, mels).to(net.mean))[1]
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    live = [(name, _text(row), _size(seen[row])) for name, row in rows]
    P = ("P", "Global Average Pooling", f"{clip.shape[1]}×1")
    return [("Input", "-", f"1×{frames}×{mels}"), *live, P]


def _conv(inputs: int, F: int, kernel, padding: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, F, kernel, padding=padding)
    return nn.Sequential(conv, nn.BatchNorm2d(F), nn.ReLU(inplace=True))


def _size(shape) -> str:
    return "×".join(map(str, shape))


def _text(row: nn.Module) -> str:
    if isinstance(row, nn.Conv2d):
        kernel, p, s = _size(row.kernel_size), row.padding[0], row.stride[0]
        return f"{kernel} conv, F: {row.out_channels}, P: {p}, S: {s}"
    if isinstance(row, nn.MaxPool2d | nn.AvgPool2d):
        return f"{row.kernel_size}×{row.kernel_size} pool, S: {row.stride}"
    if isinstance(row, nn.Sequential):
        return " → ".join(map(_text, row))
    return {nn.BatchNorm2d: "BN", nn.ReLU: "ReLU", nn.Sigmoid: "sigmoid"}[type(row)]
