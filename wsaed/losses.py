"""The papers' losses and their weights over time, in the papers' letters.

Notebooks: secost/method.ipynb and joint_at_aed/method.ipynb derive them.
"""

import math

import torch
import torch.nn.functional as F


def binary_cross_entropy(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """SeCoST, equation 1: -y log p - (1 - y) log(1 - p), the mean over classes and clips.

    p, y: (clips, classes) in [0, 1]; y may be soft. The logarithm is cut at -100 (as torch
    does), so p = 0 or 1 gives a finite loss.
    """
    return F.binary_cross_entropy(p, y)


def mixed_target(y: torch.Tensor, teachers: list[torch.Tensor], alpha: list[float]) -> torch.Tensor:
    """SeCoST, equations 2 and 6: sum of alpha_k * y_k, where y_0 are the labels.

    y and each teacher's output: (clips, classes); alpha: the labels' weight first, then one a
    teacher, none negative, summing to 1. Raises ValueError for weights that are no convex mix.
    """
    convex = all(a >= 0 for a in alpha) and abs(sum(alpha) - 1) <= 1e-6  # false for nan too
    if len(alpha) != len(teachers) + 1 or not convex:
        raise ValueError(
            f"alpha must hold {len(teachers) + 1} weights, none negative, that sum to 1 "
            f"(the labels' first): got {list(alpha)}"
        )
    return sum(a * k for a, k in zip(alpha, [y, *teachers], strict=True))


def smoothed_labels(y: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Label smoothing, SeCoST's control: (1 - epsilon) y + epsilon / 2, without any teacher."""
    return (1 - epsilon) * y + epsilon / 2


def focal(p: torch.Tensor, y: torch.Tensor, gamma: float = 2.0) -> torch.Tensor:
    """Joint paper, equation 4 as meant: -(1 - p_t)^gamma log p_t, the mean over all cells.

    p, y of one shape, y hard (0 or 1); p_t is p where y = 1 and 1 - p where y = 0. Gamma 0 is
    `binary_cross_entropy`. The print has 1 - p^gamma and no negatives, which p = 1 everywhere
    minimises; notebook joint_at_aed/method.ipynb shows it. The logarithm is cut at -100.
    """
    p_t = torch.where(y > 0.5, p, 1 - p)
    return ((1 - p_t) ** gamma * F.binary_cross_entropy(p, y, reduction="none")).mean()


def frame_distance(F_t: torch.Tensor, F_s: torch.Tensor) -> torch.Tensor:
    """Joint paper, equation 2: D_j, the Euclidean distance of two feature vectors a frame.

    F_t, F_s: (clips, frames, width), transformed already -> (clips, frames). A small constant
    under the root keeps the gradient finite where both agree.
    """
    return ((F_t - F_s).square().sum(2) + 1e-12).sqrt()


def target_event_distillation(D: torch.Tensor, M: torch.Tensor) -> torch.Tensor:
    """Joint paper, equation 1: L_TFD = 1/T sum_j D_j M_j, the mean over clips.

    D: (clips, frames) from `frame_distance`; M: the same shape, 1 where any target event sounds.
    With M all ones this is the undirected distillation DFD-D.
    """
    return (D * M).mean()


def s_to_t_weight(e: float, start: float, decay: float = 0.996) -> float:
    """Guided learning's alpha = 1 - lambda^(e - s): the student's say over the teacher.

    e: epoch out of 100; 0 up to epoch ``start``.
    """
    return 1 - decay ** (e - start) if e > start else 0.0


def ramp_up(x: float) -> float:
    """Mean teacher's and the joint paper's beta = e^(-5 (1 - x)^2), x cut to [0, 1]."""
    return math.exp(-5 * (1 - min(max(x, 0.0), 1.0)) ** 2)
