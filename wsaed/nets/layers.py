"""What the networks share: input statistics, scaled widths, a check of the spec.

Notebook: secost/table_1.ipynb.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from wsaed.features import FrontEnd

FLOOR = math.log(FrontEnd.floor)  # the log-mel of silence: what a missing frame holds
MELS = 64


class LogMelNet(nn.Module):
    """A network over log-mel spectrograms, 64 bins unless told, standardised bin by bin.

    The buffers ``mean`` and ``std`` (mels,) belong to the weights file; they are not parameters.
    """

    shortest = 1  # frames; a shorter input ends in silence

    def __init__(self, mels: int = MELS):
        super().__init__()
        self.register_buffer("mean", torch.zeros(mels))
        self.register_buffer("std", torch.ones(mels))

    def set_statistics(self, mean, std) -> None:
        """Training data's mean and standard deviation of each mel bin, (mels,) each.

        A bin that never changes keeps its scale. Raises ValueError for another shape or for
        values that are not finite.
        """
        mean, std = (torch.as_tensor(v).to(self.mean) for v in (mean, std))
        if mean.shape != self.mean.shape or std.shape != self.std.shape:
            raise ValueError(
                f"statistics must be {tuple(self.mean.shape)}: "
                f"got {tuple(mean.shape)}, {tuple(std.shape)}"
            )
        if not (mean.isfinite().all() and std.isfinite().all()):
            raise ValueError("statistics are not finite: look for broken clips in the training set")
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))

    def image(self, x: torch.Tensor) -> torch.Tensor:
        """Log-mel (batch, frames, mels) -> standardised (batch, 1, at least `shortest`, mels)."""
        check_log_mel(x, len(self.mean))
        missing = self.shortest - x.shape[1]
        if missing > 0:
            x = F.pad(x, (0, 0, 0, missing), value=FLOOR)
        return ((x - self.mean) / self.std).unsqueeze(1)


def check_log_mel(x: torch.Tensor, mels: int = MELS) -> None:
    """Raises ValueError where x is not (batch, frames, mels)."""
    if x.ndim != 3 or x.shape[1] == 0 or x.shape[2] != mels:
        raise ValueError(f"input must be (batch, frames, {mels}) log-mel: got {tuple(x.shape)}")


def scaled(count: int, width: float) -> int:
    """A layer's number of channels at a width: never under 8, below which a CPU gets slower."""
    return max(8, round(count * width))


def settings(spec: dict, classes: int, **choices) -> dict:
    """A net's settings: the spec's over the defaults, checked.

    ``choices`` gives a setting's allowed values, the default first. Raises ValueError for a
    setting that the net doesn't have, a value outside its choices, a width or a number of
    classes that is not positive.
    """
    found = {"width": 1.0} | {key: values[0] for key, values in choices.items()}
    unknown = set(spec) - set(found) - {"name"}
    if unknown:
        raise ValueError(f"net {spec.get('name')}: unknown setting {sorted(unknown)[0]!r}")
    found |= {key: value for key, value in spec.items() if key != "name"}
    for key, values in choices.items():
        if found[key] not in values:
            raise ValueError(
                f"net {spec.get('name')}: {key} must be one of {values}, got {found[key]!r}"
            )
    if not found["width"] > 0 or classes < 1:
        raise ValueError(
            f"net {spec.get('name')}: width and classes must be positive, "
            f"got {found['width']} and {classes}"
        )
    return found


def parameter_count(net: nn.Module) -> int:
    """How many numbers training can change; buffers don't count."""
    return sum(p.numel() for p in net.parameters())
