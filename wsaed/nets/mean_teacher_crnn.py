"""The network of DCASE 2019 task 4's official mean-teacher baseline, the joint paper's row MT.

Shapes from the baseline's public code. Notebook: joint_at_aed/method.ipynb.
"""

import copy
import math

import torch
from torch import nn

from wsaed.features import FrontEnd
from wsaed.nets import pooling
from wsaed.nets.guided import CHOICES, Pair, frame_features
from wsaed.nets.layers import LogMelNet, scaled, settings

# time pools of the three blocks, by a clip's frames: about eleven output frames a second
TIME_POOLS = {864: (2, 2, 2), 250: (2, 1, 1)}


class GatedUnit(nn.Module):
    """The baseline's gate: a dense layer over channels times the sigmoid of its input."""

    def __init__(self, F: int):
        super().__init__()
        self.linear = nn.Conv2d(F, F, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * x.sigmoid()


class MeanTeacherCrnn(LogMelNet):
    """Three gated convolutions, two BiGRU layers, attention over classes."""

    def __init__(self, classes: int, settings: dict):
        super().__init__(settings["mels"])
        F, layers, inputs, bins = scaled(64, settings["width"]), [], 1, settings["mels"]
        pools, dropout = TIME_POOLS[settings["frames"]], nn.Dropout(0.5 * settings["dropout"])
        for pool in pools:
            block = nn.Conv2d(inputs, F, 3, padding=1), nn.BatchNorm2d(F, eps=1e-3, momentum=0.01)
            layers += [*block, GatedUnit(F), dropout, nn.AvgPool2d((pool, min(4, bins)))]
            inputs, bins = F, bins // min(4, bins)
        self.frames_per_step = math.prod(pools)
        self.trunk = nn.Sequential(*layers)
        self.gru = nn.GRU(F * bins, F, 2, batch_first=True, bidirectional=True)
        self.dropout = dropout
        self.frames = nn.Linear(2 * F, classes)
        self.attention = nn.Linear(2 * F, classes)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel (batch, frames, mels) -> (batch, steps, classes), (batch, classes)."""
        return self.outputs(self.features(x))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The convolutions' output, (batch, steps, channels)."""
        return frame_features(self.trunk, self.image(x))

    def outputs(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Frame and clip probabilities from ``features``."""
        h = self.dropout(self.gru(h)[0])
        p, weights = self.frames(h).float().sigmoid(), torch.softmax(self.attention(h).float(), 2)
        return p, pooling.attention(p, weights.clamp_min(pooling.EPSILON))

    def frames_per_second(self, front_end: FrontEnd) -> float:
        """Steps a second."""
        return front_end.frames_per_second / self.frames_per_step


class MeanTeacher(Pair):
    """Student, and a teacher whose parameters are a running average of the student's.

    The teacher's batch norm keeps its own statistics, as in the baseline. Its input gets noise on
    the mel amplitude, of a quarter of the clips' typical amplitude, which only ever adds.
    """

    def __init__(self, student: MeanTeacherCrnn):
        super().__init__(copy.deepcopy(student).requires_grad_(False), student)

    def disturb(self, x: torch.Tensor) -> torch.Tensor:
        noise = 0.25 * self.student.mean.mean().exp() * torch.randn_like(x).abs()
        return (x.exp() + noise).log()

    @torch.no_grad()
    def average(self, share: float) -> None:
        """Move the teacher's parameters: ``share`` of the old ones, the rest the student's."""
        for old, new in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            old.lerp_(new, 1 - share)


def build(spec: dict, classes: int) -> MeanTeacher:
    """Both from ``{"name": "mean_teacher_crnn", "width": 1.0, "frames": 864, "mels": 64}``.

    ``width`` scales filters and recurrent units (at least 8 are left). Raises ValueError for
    another setting.
    """
    found = settings(spec, classes, **CHOICES | {"frames": tuple(TIME_POOLS)})
    return MeanTeacher(MeanTeacherCrnn(classes, found))
