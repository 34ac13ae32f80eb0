"""What two libraries make of frame probabilities: scores over all thresholds, and bounding boxes.

Both are optional (`pip install -e '.[psds]'`, which needs a C compiler): without one its function
gives None. Notebook: leaderboard.ipynb.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from wsaed.postprocess import tuned
from wsaed.scoring import Event, Events

# The DCASE challenges' two scenarios: when something sounds, and what
SCENARIOS = {
    1: dict(dtc_threshold=0.7, gtc_threshold=0.7, alpha_ct=0, alpha_st=1, max_efpr=100),
    2: dict(dtc_threshold=0.1, gtc_threshold=0.1, cttc_threshold=0.3, alpha_ct=0.5, alpha_st=1)
    | dict(max_efpr=100),
}


# sebbs' own grid: a step filter's seconds, and how near two boxes' levels are, by difference or by
# ratio, that become one
SETTINGS = [
    (length, *near)
    for length in (0.32, 0.48, 0.64)
    for near in [(d, np.inf) for d in (0.15, 0.2, 0.3)] + [(np.inf, r) for r in (1.5, 2.0, 3.0)]
]


def psds(reference: Events, frames: np.ndarray, labels: Sequence[str], seconds: float) -> dict:
    """{scenario: polyphonic sound detection score}, by sed_scores_eval; None where it is missing.

    Over all thresholds at once and without any filter: detections and references must cover each
    other by 70 % (scenario 1) or 10 % (2, where naming a wrong class costs), a class that lags
    behind the others costs. frames: (files, steps, classes) probabilities in the reference's
    order, over ``seconds``; to three digits, which is faster. A class without reference events
    takes no part; events of one class that overlap count as one.
    """
    try:
        from sed_scores_eval.intersection_based import psds
    except ImportError:
        return dict.fromkeys(SCENARIOS)
    truth, lengths = _truth(reference, labels), dict.fromkeys(reference, seconds)
    tables = _tables(reference, frames, _named(truth), seconds)
    return {k: float(psds(tables, truth, lengths, **how)[0]) for k, how in SCENARIOS.items()}


def bounding_boxes(known: Events, sides: dict, labels: Sequence[str], seconds: float):
    """Events by change-point detection (Ebbers et al., 2024), by sebbs; None where it is missing.

    sides: "validation" and "test" -> (files, (files, steps, classes) probabilities). One of
    `SETTINGS` and a threshold, a class, are tuned for event F1 on the validation's, whose events
    ``known`` are. Gives file -> `Event`s of the test's.
    """
    try:
        from sebbs.csebbs import CSEBBsPredictor
    except ImportError:
        return None
    named = [f"class {number:04d}" for number in range(len(labels))]
    tables = {side: _tables(files, p, named, seconds) for side, (files, p) in sides.items()}

    def boxes(side: str, settings: Sequence) -> list:
        predictor = CSEBBsPredictor(*settings, sound_classes=named)
        return [
            [(labels[_number(name)], *times, level) for *times, name, level in clip]
            for clip in predictor.predict(tables[side]).values()
        ]

    found = []
    for settings in SETTINGS:
        said = boxes("validation", settings)
        found.append(tuned(known, partial(_above, said, labels), labels))
    best = np.argmax([f1 for *_, f1 in found], axis=0)
    columns = np.array(SETTINGS)[best].T
    chosen = [dict(zip(named, column, strict=True)) for column in columns]
    threshold = [found[i][0][c] for c, i in enumerate(best)]
    events = _above(boxes("test", chosen), labels, threshold)
    return dict(zip(sides["test"][0], events, strict=True))


def _above(boxes: list, labels: Sequence[str], threshold) -> list:
    """The events of each clip whose level reaches the threshold, one or one a class."""
    least = dict(zip(labels, np.broadcast_to(threshold, len(labels)), strict=True))
    return [[Event(*box[:3]) for box in clip if box[3] >= least[box[0]]] for clip in boxes]


def _truth(reference: Events, labels: Sequence[str]) -> dict:
    """File -> (onset, offset, name); names are numbers, since the libraries fail on odd ones."""
    truth = {file: [] for file in reference}
    for file, events in reference.items():
        for label, onset, offset, *_ in sorted(events, key=lambda event: event[:2]):
            name = f"class {labels.index(label):04d}"
            if truth[file] and truth[file][-1][2] == name and onset < truth[file][-1][1]:
                onset, before, _ = truth[file].pop()
                offset = max(before, offset)
            truth[file].append((onset, offset, name))
    return truth


def _named(truth: dict) -> list[str]:
    """The classes that have an event."""
    return sorted({name for events in truth.values() for *_, name in events})


def _number(name: str) -> int:
    return int(name.removeprefix("class "))


def _tables(files, frames: np.ndarray, named: list[str], seconds: float) -> dict:
    """File -> its probabilities of some classes as the libraries take them."""
    from sed_scores_eval.base_modules.scores import create_score_dataframe

    times = np.linspace(0, seconds, frames.shape[1] + 1)
    rounded = np.round(frames[:, :, [*map(_number, named)]].astype(float), 3)
    tables = (_writable(create_score_dataframe(p, times, named)) for p in rounded)
    return dict(zip(files, tables, strict=True))


def _writable(frame):
    """A data frame whose arrays sed_scores_eval may write to, which pandas 3 forbids."""

    class Writable(type(frame)):
        _constructor = property(lambda self: Writable)

        def to_numpy(self, *args, **kwargs):
            return super().to_numpy(*args, **kwargs).copy()

    return Writable(frame)
