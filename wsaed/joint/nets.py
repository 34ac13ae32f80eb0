"""The joint paper's pairs of networks: its own, guided learning's, the official baseline's.

A pair is a teacher and a student that are trained side by side. A pair's function is what a spec
names: "joint.nets:joint_pair". Its settings: ``width`` scales all filters and recurrent units (at
least 8 are left); ``frames`` is a clip's length, which decides how time is pooled; ``mels``;
``dropout`` is a share of the paper's dropout rates. Notebook: joint_at_aed/method.ipynb.
"""

import copy
import math
from functools import partial

import torch
from torch import nn

from wsaed.features import FrontEnd
from wsaed.nets import EPSILON, LogMelNet, attention, convolution, scaled

SHARE = 0.04  # m, the least share of channels that a class may use


class Branches(LogMelNet):
    """A trunk of convolutions, and ``outputs``: what branches make of the trunk's features."""

    def __init__(self, trunk: nn.Module, mels: int):
        super().__init__(mels)
        self.trunk = trunk

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel (batch, frames, mels) -> (batch, steps, classes), (batch, classes)."""
        return self.outputs(self.features(x))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """F_t or F_s of equation 2: the trunk's output, (batch, steps, channels)."""
        return self.trunk(self.image(x)).permute(0, 2, 1, 3).flatten(2)


class Pair(nn.Module):
    """Teacher and student, trained side by side; in eval mode the student answers.

    In training mode a call gives ((frames, clips, features) of the teacher, the same of the
    student), with W_t and W_s (channels, common width) the features that these transform. The
    teacher's input is ``disturb``-ed, by guided learning's normal noise of standard deviation
    0.15 on the log-mel unless told otherwise.
    """

    def __init__(self, teacher: Branches, student: Branches, W_t=None, W_s=None):
        super().__init__()
        self.teacher, self.student = teacher, student
        self.register_parameter("W_t", W_t)
        self.register_parameter("W_s", W_s)
        self.to(memory_format=torch.channels_last)

    def set_statistics(self, mean, std) -> None:
        for net in (self.teacher, self.student):
            net.set_statistics(mean, std)

    def disturb(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.15 * torch.randn_like(x)

    def forward(self, x: torch.Tensor):
        if not self.training:
            return self.student(x)
        both = []
        halves = (self.teacher, self.disturb(x), self.W_t), (self.student, x, self.W_s)
        for net, seen, W in halves:
            F = net.features(seen)
            both.append((*net.outputs(F), F if W is None else F @ W))
        return both

    def frames_per_second(self, front_end: FrontEnd) -> float:
        """The student's."""
        return self.student.frames_per_second(front_end)


# The trunks, from the public code of the DCASE 2019 winner, [21]: time is pooled for tagging in
# the teacher PT, and kept for detection in the student PS.


def teacher_trunk(last: int, width: float, frames: int, mels: int, dropout: float):
    """(PT's blocks, channels a step they give): 16 to 256 filters, two 3x3 convolutions a block.

    ``last`` is the fifth block's number of convolutions: one of 1x1 in guided learning, two of
    3x3 in the joint paper. Dropout 0.3 follows every pool. Four to eight steps come out of 100
    frames or more; ValueError for less than 20 frames, of which no step would be left.
    """
    if frames < 20:
        raise ValueError(f"frames must be 20 or more, for a teacher's step: got {frames}")
    time_pools = 5, max(1, round(frames / 110)), 2, 2, 1
    layers, inputs, bins = [], 1, mels
    for i, (time, mel) in enumerate(zip(time_pools, (4, 2, 2, 2, 1), strict=True)):
        F = scaled(16 * 2**i, width)
        for _ in range(last if i == 4 else 2):
            layers += convolution(inputs, F, 1 if (i, last) == (4, 1) else 3)
            inputs = F
        layers += [nn.MaxPool2d((time, min(mel, bins))), nn.Dropout(0.3 * dropout)]
        bins //= min(mel, bins)
    return nn.Sequential(*layers), inputs * bins


def student_trunk(width: float, mels: int):
    """(PS's blocks, channels a step): 160 filters, kernels 5, 5, 3; time is never pooled."""
    layers, inputs, bins = [], 1, mels
    for kernel in (5, 5, 3):
        F = scaled(160, width)
        layers += [*convolution(inputs, F, kernel), nn.MaxPool2d((1, min(4, bins)))]
        inputs, bins = F, bins // min(4, bins)
    return nn.Sequential(*layers), inputs * bins


class JointCrnn(Branches):
    """Section II-A, figure 1: from a trunk the AED branch and, with BGRU layers, the AT branch.

    AED: Linear, ReLU, then one small dense layer with a sigmoid a class; it doesn't see the BGRU.
    AT: trunk and BGRU side by side, Linear, ReLU, then frame probabilities that attention pools,
    at the rate of the mean of ``pool`` steps. Ten dense layers of one output each are one of ten
    outputs: a matrix's rows. units: of a BGRU layer and direction.
    """

    def __init__(self, trunk, channels: int, classes: int, width, units: int, mels: int, pool: int):
        super().__init__(trunk, mels)
        hidden, self.pool = scaled(256, width), pool
        self.gru = nn.GRU(channels, units, 2, batch_first=True, bidirectional=True)
        self.aed = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, classes))
        self.at = nn.Sequential(nn.Linear(channels + 2 * units, hidden), nn.ReLU())
        self.frames = nn.Linear(hidden, classes)
        self.attention = nn.Linear(hidden, classes)

    def outputs(self, F: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Both branches on top of ``features``: frame and clip probabilities."""
        slow = nn.functional.avg_pool1d(F.transpose(1, 2), self.pool).transpose(1, 2)
        hidden = self.at(torch.cat([slow, self.gru(slow)[0]], 2))
        p, weights = self.frames(hidden).float().sigmoid(), torch.softmax(self.attention(hidden), 2)
        clip = attention(p, weights.float().clamp_min(EPSILON))
        return self.aed(F).float().sigmoid(), clip


def joint_pair(
    classes: int, width=1.0, frames=600, mels=64, dropout=1.0, at_pool=1, units=64
) -> Pair:
    """PTS; the student's AT branch takes the mean of ``at_pool`` frames first.

    The teacher's five blocks are double, so that its last step holds 512 channels at the paper's
    size. W_t and W_s start with orthonormal columns, as many as the narrower net has channels.
    """
    trunks = teacher_trunk(2, width, frames, mels, dropout), student_trunk(width, mels)
    more = classes, width, units, mels
    pooled = zip(trunks, (1, at_pool), strict=True)
    halves = [JointCrnn(*trunk, *more, pool) for trunk, pool in pooled]
    channels = [count for _, count in trunks]
    W = (nn.init.orthogonal_(torch.empty(count, min(channels))) for count in channels)
    return Pair(*halves, *map(nn.Parameter, W))


class Guided(Branches):
    """PT or PS: a trunk, and for each class an attention over the frames of its own channels.

    Class c sees only the first k_c channels (the disentangled feature): buffer ``channels``
    (classes, channels), all ones until `set_class_counts`. The scores are of the published net's
    size, which has ``published`` channels, and so is the attention's temperature, its k_c: sums
    over a narrow net's few channels would keep the frames' probabilities near a half.
    """

    def __init__(self, trunk: nn.Module, channels: int, classes: int, mels: int, published: int):
        super().__init__(trunk, mels)
        self.published = published
        self.score = nn.Linear(channels, classes)
        self.clip = nn.Linear(channels, classes)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)
        self.register_buffer("channels", torch.ones(classes, channels))

    def set_class_counts(self, counts) -> None:
        """Each class's labelled clips in which nothing else sounds (classes,) -> its channels.

        f_c = m + (1 - m) n_c / max n, k_c = int(f_c channels). Raises ValueError where no clip
        has one class only.
        """
        n = torch.as_tensor(counts, dtype=torch.float32)
        if n.shape != self.channels.shape[:1] or not n.max() > 0:
            raise ValueError(
                f"disentangled features need, for {len(self.channels)} classes, clips with a "
                f"single class: got counts {n.tolist()}"
            )
        h = self.channels.shape[1]
        k = (h * (SHARE + (1 - SHARE) * (n / n.max()))).int().clamp_min(1)
        self.channels.copy_(torch.arange(h) < k[:, None])

    def outputs(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Frame and clip probabilities from ``features``."""
        h = h.float()
        linear = nn.functional.linear(h, self.score.weight * self.channels, self.score.bias)
        # under autocast a sigmoid would round to 1
        score = linear.float() * (self.published / h.shape[2])
        weights = torch.softmax(score / (self.published * self.channels.mean(1)), 1)
        pooled = torch.einsum("btc,bth->bch", weights, h)
        clip = (pooled * self.channels * self.clip.weight).sum(2) + self.clip.bias
        return score.sigmoid(), clip.sigmoid()


def guided_pair(classes: int, width=1.0, frames=600, mels=64, dropout=1.0) -> Pair:
    """PT and PS of guided learning, [21]."""
    trunks = teacher_trunk(1, width, frames, mels, dropout), student_trunk(width, mels)
    published = 512, 160
    return Pair(*(Guided(*t, classes, mels, n) for t, n in zip(trunks, published, strict=True)))


class GatedUnit(nn.Module):
    """The official baseline's gate: a dense layer over channels times the sigmoid of its input."""

    def __init__(self, F: int):
        super().__init__()
        self.linear = nn.Conv2d(F, F, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * x.sigmoid()


class MeanTeacherCrnn(Branches):
    """Three gated convolutions, two BiGRU layers, attention over classes: the baseline's code."""

    def __init__(self, classes: int, width: float, pools: list[int], mels: int, dropout: float):
        F, layers, inputs, bins = scaled(64, width), [], 1, mels
        drop = nn.Dropout(0.5 * dropout)
        for pool in pools:
            block = nn.Conv2d(inputs, F, 3, padding=1), nn.BatchNorm2d(F, eps=1e-3, momentum=0.01)
            layers += [*block, GatedUnit(F), drop, nn.AvgPool2d((pool, min(4, bins)))]
            inputs, bins = F, bins // min(4, bins)
        super().__init__(nn.Sequential(*layers), mels)
        self.frames_per_step = math.prod(pools)
        self.gru = nn.GRU(F * bins, F, 2, batch_first=True, bidirectional=True)
        self.dropout = drop
        self.frames = nn.Linear(2 * F, classes)
        self.attention = nn.Linear(2 * F, classes)

    def outputs(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Frame and clip probabilities from ``features``."""
        h = self.dropout(self.gru(h)[0])
        p, weights = self.frames(h).float().sigmoid(), torch.softmax(self.attention(h).float(), 2)
        return p, attention(p, weights.clamp_min(EPSILON))


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


class Averaged(MeanTeacher):
    """A mean teacher whose averaged weights answer."""

    def forward(self, x: torch.Tensor):
        return super().forward(x) if self.training else self.teacher(x)


def mean_teacher_pair(
    classes: int, width=1.0, frames=864, mels=64, dropout=1.0, pair=MeanTeacher
) -> MeanTeacher:
    """The official baseline of DCASE 2019 task 4; up to three halvings leave about 110 steps."""
    halvings = min(3, max(0, round(math.log2(frames / 110))))
    pools = [2] * halvings + [1] * (3 - halvings)
    return pair(MeanTeacherCrnn(classes, width, pools, mels, dropout))


averaged_pair = partial(mean_teacher_pair, pair=Averaged)
