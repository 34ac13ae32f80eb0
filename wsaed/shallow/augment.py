"""SpecAugment on batches of log-mel: masks over time and over mel bins, no warping.

Section 3.3 of the paper. Lengths are exact, starts uniform, each clip's its own; all draws come
from torch's global generator. Notebook: shallow_student/method.ipynb.
"""

import torch

TIME_MASKS, TIME_MASK, GAMMA = 2, 0.32, 0.25  # how many; s, the standard's; the custom's share
BANDS = 4, 1  # mel bins of a frequency mask, how many


def augmented(kind: str, x, y_w, l, rate: float, fill) -> torch.Tensor:  # noqa: E741
    """A batch under custom, standard or no SpecAugment.

    x (clips, frames, mels), y_w (clips, classes), ``fill`` (mels,); l: (classes,) median event
    length in frames, of which there are ``rate`` a second.
    """
    if kind == "none":
        return x
    if kind == "custom":
        return spec_augment(x, custom_lengths(y_w, l), fill)
    if kind != "standard":
        raise ValueError(f"augment must be custom, standard or none, got {kind!r}")
    lengths = torch.full((len(x), TIME_MASKS), round(TIME_MASK * rate), device=x.device)
    return spec_augment(x, lengths, fill)


def custom_lengths(y_w, l, gamma: float = GAMMA, K: int = TIME_MASKS) -> torch.Tensor:  # noqa: E741
    """Each clip's K time masks in frames, (clips, K) int64: gamma l_c of its K likeliest classes.

    y_w: (clips, classes) tags, soft or hard; l: (classes,) median event length in frames. Noise
    of variance 1e-6 breaks ties, so that a clip with one event draws its other classes at random.
    """
    noisy = y_w + 1e-3 * torch.randn_like(y_w)
    return (gamma * l[noisy.topk(K, 1).indices]).round().long()


def spec_augment(x, lengths, fill, bands=BANDS, chance: float = 0.5) -> torch.Tensor:
    """`mask_time` and `mask_frequency` of ``bands`` (length, times), on a clip both or neither.

    ``chance``: the probability that a clip is augmented. With the net's mean as ``fill`` a masked
    cell is 0 after standardisation.
    """
    masked = mask_frequency(mask_time(x, lengths, fill), *bands, fill)
    chosen = torch.rand(len(x), device=x.device) < chance
    return torch.where(chosen[:, None, None], masked, x)


def mask_time(x: torch.Tensor, lengths: torch.Tensor, fill: torch.Tensor) -> torch.Tensor:
    """x (clips, frames, mels) with ``fill`` (mels,) in lengths[i, k] frames in a row, for every k.

    lengths: (clips, K) int64. Masks may overlap. A length of 0 masks nothing, one over the clip
    all of it.
    """
    return torch.where(_spans(lengths, x.shape[1])[:, :, None], fill, x)


def mask_frequency(x: torch.Tensor, length: int, times: int, fill: torch.Tensor) -> torch.Tensor:
    """The same for ``times`` bands of ``length`` mel bins in every clip, at all frames."""
    lengths = torch.full((len(x), times), length, device=x.device)
    return torch.where(_spans(lengths, x.shape[2])[:, None], fill, x)


def _spans(lengths: torch.Tensor, size: int) -> torch.Tensor:
    """(clips, size) bool: the union of one span a length (clips, K), each at a random place.

    A length over ``size`` starts before the clip and ends behind it.
    """
    starts = (torch.rand(lengths.shape, device=lengths.device) * (size - lengths + 1)).long()
    at = torch.arange(size, device=lengths.device) - starts[:, :, None]
    return ((at >= 0) & (at < lengths[:, :, None])).any(1)
