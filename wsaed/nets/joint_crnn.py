"""The joint paper's teacher and student: guided learning's trunks with two branches each.

Section II-A, figure 1 (a) and (b). Notebook: joint_at_aed/method.ipynb.
"""

import torch
from torch import nn

from wsaed.features import FrontEnd
from wsaed.nets import pooling
from wsaed.nets.guided import CHOICES, Pair, frame_features, student_trunk, teacher_trunk
from wsaed.nets.layers import LogMelNet, scaled, settings


class JointCrnn(LogMelNet):
    """A trunk; from it the AED branch, and with two BGRU layers beside it the AT branch.

    AED: Linear, ReLU, then one small dense layer with a sigmoid a class; it doesn't see the BGRU.
    AT: trunk and BGRU side by side, Linear, ReLU, then frame probabilities that attention pools.
    Ten dense layers of one output each are one of ten outputs: a matrix's rows.
    """

    def __init__(self, trunk: nn.Module, channels: int, classes: int, settings: dict, pool: int):
        super().__init__(settings["mels"])
        units, hidden = (scaled(count, settings["width"]) for count in (64, 256))
        self.trunk, self.pool = trunk, pool
        self.gru = nn.GRU(channels, units, 2, batch_first=True, bidirectional=True)
        self.aed = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, classes))
        self.at = nn.Sequential(nn.Linear(channels + 2 * units, hidden), nn.ReLU())
        self.frames = nn.Linear(hidden, classes)
        self.attention = nn.Linear(hidden, classes)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel (batch, frames, mels) -> (batch, frames, classes), (batch, classes)."""
        return self.outputs(self.features(x))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """F_t or F_s of equation 2: the trunk's output, (batch, frames, channels)."""
        return frame_features(self.trunk, self.image(x))

    def outputs(self, F: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Both branches on top of ``features``: frame and clip probabilities."""
        slow = nn.functional.avg_pool1d(F.transpose(1, 2), self.pool).transpose(1, 2)
        hidden = self.at(torch.cat([slow, self.gru(slow)[0]], 2))
        p, weights = self.frames(hidden).float().sigmoid(), torch.softmax(self.attention(hidden), 2)
        clip = pooling.attention(p, weights.float().clamp_min(pooling.EPSILON))
        return self.aed(F).float().sigmoid(), clip

    def frames_per_second(self, front_end: FrontEnd) -> float:
        """The student's: as many as go in."""
        return front_end.frames_per_second


def build(spec: dict, classes: int) -> Pair:
    """PTS from ``{"name": "joint_crnn", "width": 1.0, "frames": 600, "mels": 64}``.

    Settings as in `wsaed.nets.guided.build`. The teacher's five blocks are double, so that its
    last frame holds 512 channels at the paper's size.
    """
    found = settings(spec, classes, **CHOICES, at_pool=(1, 5))
    teacher = JointCrnn(*teacher_trunk(found, last=2), classes, found, pool=1)
    return Pair(teacher, JointCrnn(*student_trunk(found), classes, found, found["at_pool"]))
