"""What the papers' networks share: input statistics, scaled widths, pooling over time, files.

A net takes log-mel (batch, frames, mels) and gives probabilities over time and of the clip.
Notebook: secost/method.ipynb shows two ways of pooling, the mean and the largest.
"""

import inspect
import math
from pathlib import Path
from pkgutil import resolve_name
from typing import Literal, get_args, get_origin

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from wsaed.features import FrontEnd

WEIGHTS = "net.safetensors"
FLOOR = math.log(FrontEnd.floor)  # the log-mel of silence: what a missing frame holds
EPSILON = 1e-7  # TALNet's and [7]'s distance of a probability from 0 and 1


class LogMelNet(nn.Module):
    """A network over log-mel spectrograms, standardised bin by bin.

    The buffers ``mean`` and ``std`` (mels,) belong to the weights file; they are not parameters.
    """

    shortest = 1  # frames; a shorter input ends in silence
    frames_per_step = 1

    def __init__(self, mels: int):
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

    def frames_per_second(self, front_end: FrontEnd) -> float:
        """Steps a second that come out."""
        return front_end.frames_per_second / self.frames_per_step


def check_log_mel(x: torch.Tensor, mels: int) -> None:
    """Raises ValueError where x is not (batch, frames, mels)."""
    if x.ndim != 3 or x.shape[1] == 0 or x.shape[2] != mels:
        raise ValueError(f"input must be (batch, frames, {mels}) log-mel: got {tuple(x.shape)}")


def scaled(count: int, width: float) -> int:
    """A layer's number of channels at a width: never under 8, below which a CPU gets slower."""
    return max(8, round(count * width))


def convolution(inputs: int, F: int, kernel, padding=None, bias=True, act=nn.ReLU):
    """A convolution with batch norm and ``act``, in a row; by default it keeps the size."""
    padding = kernel // 2 if padding is None else padding
    conv = nn.Conv2d(inputs, F, kernel, padding=padding, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(F), act(inplace=True))


def parameter_count(net: nn.Module) -> int:
    """How many numbers training can change; buffers don't count."""
    return sum(p.numel() for p in net.parameters())


# Pooling: p (batch, steps, classes) in [0, 1], or features with channels in place of classes, to
# (batch, classes). SeCoST section 2 calls the rule P, TALNet and [7] pooling.


def average(p: torch.Tensor) -> torch.Tensor:
    """SeCoST table 1, layer P: the mean over the K segments."""
    return p.mean(1)


def maximum(p: torch.Tensor) -> torch.Tensor:
    """SeCoST section 2, the other simple mapping it names: the largest over the segments."""
    return p.amax(1)


def linear_softmax(p: torch.Tensor) -> torch.Tensor:
    """TALNet's "pooling" (linear softmax): sum p^2 / sum p, every step weighted by itself.

    A class that is 0 at all steps gets 0.
    """
    return (p * p).sum(1) / p.sum(1).clamp_min(torch.finfo(p.dtype).tiny)


def attention(p: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """TALNet's and [7]'s "attention": sum a p / sum a, for scores a (shaped as p) above 0.

    The sums run over time, so the weights of one class add up to 1 in every recording. Scores
    that are a softmax over time already keep their values.
    """
    return (a * p).sum(1) / a.sum(1)


# From specs to nets, and their files


def build(spec: dict, classes: int) -> nn.Module:
    """The net of a run's spec, freshly initialised: spec["net"] as its class' keyword arguments.

    spec["net"]["name"] says module and class, "secost.net:WelsNet". Raises ValueError in one line
    for a setting that the net doesn't have, a value that its Literal doesn't list, a width or a
    number of classes that is not positive.
    """
    settings = {key: value for key, value in spec["net"].items() if key != "name"}
    name = spec["net"]["name"]
    found = resolve_name(f"wsaed.{name}")
    signature = inspect.signature(found)
    try:
        signature.bind(classes, **settings)
    except TypeError as error:
        raise ValueError(f"net {name}: {error}: correct the settings {sorted(settings)}") from None
    for key, value in settings.items():
        kind = getattr(signature.parameters.get(key), "annotation", None)
        if get_origin(kind) is Literal and value not in get_args(kind):
            raise ValueError(f"net {name}: {key} must be one of {get_args(kind)}, got {value!r}")
    if not settings.get("width", 1) > 0 or classes < 1:
        said = f"got {settings.get('width', 1)} and {classes}"
        raise ValueError(f"net {name}: width and classes must be positive, {said}")
    return found(classes, **settings)


def initialised(spec: dict, classes: int, replicate: int, features) -> nn.Module:
    """A net with the weights of (replicate, draw) and the training set's statistics per mel bin."""
    seeds = np.random.SeedSequence([replicate, spec.get("draw", 0), 1]).generate_state(1)
    torch.manual_seed(int(seeds[0]))
    net = build(spec, classes)
    sample = np.random.default_rng([replicate, 2]).permutation(len(features))[:1000]
    x = torch.as_tensor(features[np.sort(sample)]).float().cpu()
    if hasattr(net, "set_statistics"):
        net.set_statistics(x.mean((0, 1)), x.std((0, 1)))
    if hasattr(net, "fit_stand_in"):
        net.fit_stand_in(x)
    return net


def save(net: nn.Module, folder: Path) -> None:
    """Write a net's weights and buffers into a run's folder."""
    save_file({k: v.cpu().contiguous() for k, v in net.state_dict().items()}, folder / WEIGHTS)


def trained(spec: dict, classes: int, folder: Path) -> nn.Module:
    """The net of a finished run's folder, in eval mode."""
    net = build(spec, classes)
    net.load_state_dict(load_file(folder / WEIGHTS))
    return net.eval()
