"""Frame labels of pairs: true ones, spoilt ones (figure 1, b and c), and how wrong labels are.

Notebook: mixed_tsd/figure_1.ipynb.
"""

import numpy as np

from wsaed import postprocess
from wsaed.corpora import Split

KINDS = ("flip", "erode", "dilate", "drop")


def frame_labels(split: Split, labels, steps: int, rate: float) -> np.ndarray:
    """(pairs, steps) bool: whether the pair's target sounds, by the split's (hidden) events."""
    events = split.hidden if split.events is None else split.events
    if events is None:
        raise ValueError(f"{split.name} has no onsets and offsets: use labels 'weak'")
    asked = zip(split.pairs.clip, split.pairs.label, strict=True)
    # a pair's own class alone: all classes of all clips would not fit into memory
    mine = [[e._replace(label="") for e in events[i] if e.label == labels[c]] for i, c in asked]
    return postprocess.active_frames(mine, ("",), steps, rate)[:, :, 0] > 0


def spoilt(y: np.ndarray, kind: str, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Frame labels (pairs, steps) bool of which a share ``rate`` is wrong, once and for all.

    "flip": every frame on its own (the public code flips a fixed number of a pair's frames, to 0.1
    and 0.9). The others move what a teacher would: "erode" shortens all events by one share, from
    both ends; "dilate" lengthens all by one margin; "drop" takes away whole events, the last one in
    part. They change ``rate`` of all frames to within one, or as many as there are: what is silent
    can't lose an event. With the same ``rng`` a higher rate spoils the same frames and more. Raises
    ValueError for another kind, or a rate outside [0, 1].
    """
    if kind not in KINDS or not 0 <= rate <= 1:
        wanted = f"kind must be one of {KINDS} and 0 <= rate <= 1"
        raise ValueError(f"errors: {wanted}; got {kind!r}, {rate}")
    if kind == "flip":
        return y ^ (rng.random(y.shape) < rate)
    turn = turns(y, kind, rng)
    ties = rng.random(y.shape) if kind != "drop" else np.zeros(y.shape)
    order = np.lexsort([ties.ravel(), turn.ravel()])[: round(rate * y.size)]
    wrong = np.zeros(y.size, bool)
    wrong[order] = np.isfinite(turn.ravel()[order])
    return y ^ wrong.reshape(y.shape)


def turns(y: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """When each frame's label becomes wrong, the smallest first: (pairs, steps), infinite: never.

    "erode": how deep it lies in its event, as a share of the length; "dilate": how far from an
    event; "drop": a number of its event's.
    """
    turn = np.full(y.shape, np.inf)
    for track, first, end in postprocess.runs(~y if kind == "dilate" else y):
        ahead, left = np.arange(end - first) + 0.5, np.arange(end - first)[::-1] + 0.5
        if kind == "drop":
            turn[track, first:end] = rng.random()
        elif kind == "erode":
            turn[track, first:end] = np.minimum(ahead, left) / (end - first)
        else:  # a gap at the clip's end grows from one side
            before = ahead if first > 0 else np.inf
            turn[track, first:end] = np.minimum(before, left if end < y.shape[1] else np.inf)
    return turn


def frame_errors(said: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """(share of wrong frames, mean of the shares among active and among silent frames).

    said, true: (pairs, steps) bool. A kind of frame that never occurs counts as right.
    """
    said, true = np.asarray(said, bool), np.asarray(true, bool)
    wrong = said != true
    shares = [wrong[kind].mean() if kind.any() else 0.0 for kind in (true, ~true)]
    return float(wrong.mean()), float(np.mean(shares))


def pseudo_errors(p: np.ndarray, present: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Section 5.5's error rate of pseudo labels, cut at 0.5, and of two that cost nothing.

    p: (pairs, steps) pseudo labels; present: (pairs,); true: (pairs, steps), the hidden truth.
    Keys: pseudo_error, silent_error, clip_label_error, and each with _balanced, as `frame_errors`.
    """
    rivals = {"pseudo": p >= 0.5, "silent": np.zeros(p.shape, bool)}
    rivals["clip_label"] = np.broadcast_to(present[:, None], p.shape)
    found = {}
    for name, said in rivals.items():
        found[f"{name}_error"], found[f"{name}_error_balanced"] = frame_errors(said, true)
    return found
