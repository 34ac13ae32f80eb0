"""Guided learning's two networks: the promising teacher PT and the professional student PS.

The teacher squeezes time, for tagging; the student keeps every frame, for detection. Shapes from
the public code of the DCASE 2019 winner, [21] of the joint paper. Notebook: joint_at_aed/method.
"""

import torch
from torch import nn

from wsaed.features import FrontEnd
from wsaed.nets.layers import LogMelNet, scaled, settings

SHARE = 0.04  # m, the least share of channels that a class may use
# time pools of the teacher's blocks, by a clip's frames: five or six teacher frames come out
TIME_POOLS = {600: (5, 5, 2, 2, 1), 500: (5, 5, 2, 2, 1), 250: (5, 2, 2, 2, 1)}
MEL_POOLS = (4, 2, 2, 2, 1)


def teacher_trunk(settings: dict, last: int) -> tuple[nn.Module, int]:
    """(PT's blocks, channels a frame they give): 16 to 256 filters, two 3x3 convolutions a block.

    ``last`` is the fifth block's number of convolutions: one of 1x1 in guided learning, two of
    3x3 in the joint paper. Dropout 0.3 follows every pool. settings: see `build`.
    """
    width, frames, mels = (settings[key] for key in ("width", "frames", "mels"))
    layers, inputs, bins = [], 1, mels
    for i, F in enumerate([16, 32, 64, 128, 256]):
        F = scaled(F, width)
        kernel = 1 if (i, last) == (4, 1) else 3
        for _ in range(last if i == 4 else 2):
            layers += convolution(inputs, F, kernel)
            inputs = F
        pool = TIME_POOLS[frames][i], min(MEL_POOLS[i], bins)
        layers += [nn.MaxPool2d(pool), nn.Dropout(0.3 * settings["dropout"])]
        bins //= pool[1]
    return nn.Sequential(*layers), inputs * bins


def student_trunk(settings: dict) -> tuple[nn.Module, int]:
    """(PS's blocks, channels a frame): 160 filters, kernels 5, 5, 3; time is never pooled."""
    layers, inputs, bins = [], 1, settings["mels"]
    for kernel in (5, 5, 3):
        F = scaled(160, settings["width"])
        layers += [*convolution(inputs, F, kernel), nn.MaxPool2d((1, min(4, bins)))]
        inputs, bins = F, bins // min(4, bins)
    return nn.Sequential(*layers), inputs * bins


def convolution(inputs: int, F: int, kernel: int) -> list[nn.Module]:
    """A convolution that keeps the size, with batch norm and ReLU."""
    conv = nn.Conv2d(inputs, F, kernel, padding=kernel // 2)
    return [conv, nn.BatchNorm2d(F), nn.ReLU(inplace=True)]


def frame_features(trunk: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """(batch, 1, frames, mels) -> (batch, trunk's frames, channels)."""
    return trunk(image).permute(0, 2, 1, 3).flatten(2)


class Guided(LogMelNet):
    """PT or PS: a trunk, and for each class an attention over the frames of its own channels.

    Class c sees only the first k_c channels (the disentangled feature): buffer ``channels``
    (classes, channels), all ones until `set_class_counts`.
    """

    def __init__(self, trunk: nn.Module, channels: int, classes: int, mels: int):
        super().__init__(mels)
        self.trunk = trunk
        self.score = nn.Linear(channels, classes)
        self.clip = nn.Linear(channels, classes)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)
        self.register_buffer("channels", torch.ones(classes, channels))
        self.to(memory_format=torch.channels_last)

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

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel (batch, frames, mels) -> (batch, frames, classes), (batch, classes)."""
        return self.outputs(self.features(x))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The trunk's output, (batch, frames, channels)."""
        return frame_features(self.trunk, self.image(x))

    def outputs(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Frame and clip probabilities from ``features``."""
        h = h.float()
        linear = nn.functional.linear(h, self.score.weight * self.channels, self.score.bias)
        score = linear.float()  # under autocast a sigmoid would round to 1
        weights = torch.softmax(score / self.channels.sum(1), 1)
        pooled = torch.einsum("btc,bth->bch", weights, h)
        clip = (pooled * self.channels * self.clip.weight).sum(2) + self.clip.bias
        return score.sigmoid(), clip.sigmoid()

    def frames_per_second(self, front_end: FrontEnd) -> float:
        """The student's: as many as go in."""
        return front_end.frames_per_second


class Pair(nn.Module):
    """Teacher and student, trained side by side; in eval mode the student answers.

    In training mode a call gives ((frames, clips, features) of the teacher, the same of the
    student). The teacher's input is ``disturb``-ed, by guided learning's normal noise of standard
    deviation 0.15 on the log-mel unless told otherwise.
    """

    def __init__(self, teacher: nn.Module, student: nn.Module):
        super().__init__()
        self.teacher, self.student = teacher, student

    def set_statistics(self, mean, std) -> None:
        for net in (self.teacher, self.student):
            net.set_statistics(mean, std)

    def disturb(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.15 * torch.randn_like(x)

    def forward(self, x: torch.Tensor):
        if not self.training:
            return self.student(x)
        both = []
        for net, seen in ((self.teacher, self.disturb(x)), (self.student, x)):
            features = net.features(seen)
            both.append((*net.outputs(features), features))
        return both

    def frames_per_second(self, front_end: FrontEnd) -> float:
        """The student's."""
        return self.student.frames_per_second(front_end)


CHOICES = {"frames": tuple(TIME_POOLS), "mels": (64, 32), "dropout": (1.0, 0.5, 0.25, 0.0)}


def build(spec: dict, classes: int) -> Pair:
    """PT and PS from ``{"name": "guided", "width": 1.0, "frames": 600, "mels": 64}``.

    ``width`` scales all filters (at least 8 are left); ``frames`` is a clip's length, which sets
    the teacher's time pools. Raises ValueError for another setting.
    """
    found = settings(spec, classes, **CHOICES)
    trunks = teacher_trunk(found, last=1), student_trunk(found)
    return Pair(*(Guided(*trunk, classes, found["mels"]) for trunk in trunks))
