"""From frame probabilities to events: windows a class, a median filter, runs of active frames.

Joint paper, section II-D, and guided learning's rules beside it. Notebooks:
joint_at_aed/figure_2.ipynb and method.ipynb.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.ndimage import correlate1d

from wsaed import scoring
from wsaed.scoring import Event

ETA = 1 / 3  # equation 7


def esp_duration(L: np.ndarray) -> float:
    """Equation 7's mean of the N_c shortest events, seconds: N_c at the cumulative sum's elbow.

    The curve of summed durations, shortest first, lies farthest below its chord where a duration
    passes the mean: so this is the mean of the events shorter than the mean. Events of one
    length have no elbow; their mean is the answer.
    """
    mean = L.mean()
    shorter = L[np.less(L, mean)]
    return float(shorter.mean()) if len(shorter) else float(mean)


def knee_duration(L: np.ndarray) -> float:
    """The other reading of N_c: where the share of events no longer than L_i is farthest above
    the chord of its curve. Unstable where durations are spread evenly. Seconds."""
    L = np.sort(L)
    if L[-1] == L[0]:
        return float(L.mean())
    rank = np.arange(1, len(L) + 1)
    above = (rank - 1) / (len(L) - 1) - (L - L[0]) / (L[-1] - L[0])
    return float(L[: int(above.argmax()) + 1].mean())


RULES = {"average": np.mean, "median": np.median, "esp": esp_duration}
RULES |= {"esp_knee": knee_duration, "none": lambda L: 0.0}


def durations(events: Sequence[Sequence[Event]], labels: Sequence[str]) -> list[np.ndarray]:
    """Each class's event durations in seconds, over clips of events; may be empty."""
    found = {label: [] for label in labels}
    for clip in events:
        for event in clip:
            found[event.label].append(event.offset - event.onset)
    return [np.array(found[label], float) for label in labels]


def windows(durations: list[np.ndarray], rule: str, frames_per_second: float) -> np.ndarray:
    """W_c of equation 7 in frames (classes,), by a rule of `RULES`: odd, so nothing is shifted.

    A class without events is not filtered (1 frame).
    """
    seconds = np.array([RULES[rule](L) if len(L) else 0.0 for L in durations])
    frames = ETA * seconds * frames_per_second
    return np.maximum(1, 2 * np.rint((frames - 1) / 2) + 1).astype(int)


def median_filter(active: np.ndarray, window: int) -> np.ndarray:
    """Median of 0/1 tracks (tracks, frames) over ``window`` frames (odd), mirrored at the ends.

    On probabilities the median and a threshold can be swapped, so filtering before and after
    the threshold is filtering the active frames twice.
    """
    if window == 1:
        return active
    votes = correlate1d(active.astype(np.int32), np.ones(window, np.int32), axis=1)
    return votes > window // 2


def detect(frames, clips, labels, frames_per_second, windows, threshold=0.5, passes=2, gate=0.5):
    """A list of `Event` a clip, from frame probabilities (clips, frames, classes).

    clips: (clips, classes) clip probabilities that gate the frames (a class under ``gate`` is
    silent), or None for no gate, as with one of 0. ``windows``: frames a class, ``threshold`` and
    ``gate`` one or one a class, ``passes`` of the median filter: two are guided learning's,
    before and after the threshold.
    """
    thresholds, gates = (np.broadcast_to(one, len(labels)) for one in (threshold, gate))
    events = [[] for _ in frames]
    for c, label in enumerate(labels):
        active = frames[:, :, c] >= thresholds[c]
        if clips is not None:
            active &= clips[:, c, None] >= gates[c]
        for _ in range(passes):
            active = median_filter(active, int(windows[c]))
        for i, first, last in runs(active):
            events[i].append(Event(label, first / frames_per_second, last / frames_per_second))
    return events


def runs(active: np.ndarray) -> np.ndarray:
    """(runs, 3): track, first frame, frame after the last, of every run in (tracks, frames)."""
    padded = np.pad(active.astype(np.int8), ((0, 0), (1, 1)))
    track, edge = np.nonzero(np.diff(padded, axis=1))
    return np.column_stack([track[::2], edge[::2], edge[1::2]])


def active_frames(events, labels: Sequence[str], frames: int, rate: float) -> np.ndarray:
    """Frame labels (clips, frames, classes) uint8 of each clip's events, ``rate`` frames a second:
    from int(onset), up to int(offset)."""
    index = {label: c for c, label in enumerate(labels)}
    active = np.zeros((len(events), frames, len(labels)), np.uint8)
    for i, clip in enumerate(events):
        for event in clip:
            active[i, int(event.onset * rate) : int(event.offset * rate), index[event.label]] = 1
    return active


GRID = np.array(sorted(np.linspace(0.05, 0.95, 19).round(2), key=lambda t: abs(t - 0.5)))


def tuned(reference: dict, detect_at: Callable, labels: Sequence[str], clips=None):
    """(threshold, gate, F1) with each class's best event F1, (classes,) each, two of `GRID`.

    reference: clip -> events; ``detect_at(threshold)`` gives a list of events a clip, ungated;
    clips: as `detect` takes them, without them the gate stays at 0.5. Ties go towards 0.5, of
    the threshold first. A class without reference events keeps 0.5.
    """
    gates = GRID[:1] if clips is None else GRID
    on = np.ones((1, 1, 1), bool) if clips is None else clips[:, :, None] >= gates
    found = []
    for threshold in GRID:
        estimated = dict(zip(reference, detect_at(threshold), strict=True))
        counts = scoring.event_counts(reference, estimated, labels)
        for k in range(len(gates)):  # a gate takes a class from a clip whole: hits, false alarms
            kept = np.stack([on[..., k], np.ones_like(on[..., k]), on[..., k]], axis=-1)
            found.append(np.nan_to_num(scoring.class_f1(counts * kept)))
    best = np.argmax(found, axis=0)
    return GRID[best // len(gates)], gates[best % len(gates)], np.max(found, axis=0)
