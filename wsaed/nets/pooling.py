"""From probabilities over time to the recording's probability, one function a rule.

Each takes p (batch, steps, classes) in [0, 1], or features with channels in place of classes, and
gives (batch, classes). SeCoST section 2 calls the rule P, TALNet and [7] pooling.
Notebook: secost/table_1.ipynb names the rule of every network.
"""

import torch

EPSILON = 1e-7  # TALNet's and [7]'s distance of a probability from 0 and 1


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
