"""The papers' losses, in the papers' letters.

Notebook: secost/method.ipynb derives equations 1 to 7.
"""

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
