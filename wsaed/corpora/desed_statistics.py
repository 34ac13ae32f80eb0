"""How DESED's classes behave, measured from its official annotations of DCASE 2019 task 4.

`CLEAN` comes from the synthetic clips (synthetic.tsv), `RECORDED` from the recorded ones
(validation.tsv). The files are not shipped; `measure` gives the same numbers from them, and
tests/test_soundscapes.py holds both together.
Notebook: start_here.ipynb.
"""

import csv
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np

# The quantiles that "seconds" holds of each class's event lengths
PROBABILITIES = (0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1)


def measure(tsv: Path) -> dict:
    """The statistics of a DESED annotation file: filename, onset, offset, event_label.

    seconds:  class -> quantiles of its events' lengths, in seconds
    repeats:  class -> (clips with one event of it, with two, ...)
    together: class -> in how many clips it meets each class; with itself: clips that have it
    classes:  (clips with one class, with two, ...)
    overlap:  share of the active time during which two or more events sound
    """
    clips = defaultdict(list)
    with open(tsv, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["event_label"]:
                event = (float(row["onset"]), float(row["offset"]), row["event_label"])
                clips[row["filename"]].append(event)
    names = sorted({label for events in clips.values() for *_, label in events})
    lengths, repeats = defaultdict(list), defaultdict(list)
    together = np.zeros((len(names), len(names)), int)
    for events in clips.values():
        counts = [sum(label == name for *_, label in events) for name in names]
        together += np.outer(np.sign(counts), np.sign(counts))
        for name, count in zip(names, counts, strict=True):
            if count:
                repeats[name].append(count)
        for onset, offset, label in events:
            lengths[label].append(offset - onset)
    sizes = [len({label for *_, label in events}) for events in clips.values()]
    return {
        "seconds": {
            name: tuple(np.quantile(lengths[name], PROBABILITIES).round(2).tolist())
            for name in names
        },
        "repeats": {name: tuple(np.bincount(repeats[name])[1:].tolist()) for name in names},
        "together": {name: tuple(row) for name, row in zip(names, together.tolist(), strict=True)},
        "classes": tuple(np.bincount(sizes)[1:].tolist()),
        "overlap": round(overlap([[e[:2] for e in events] for events in clips.values()]), 3),
    }


def overlap(clips: list[list[tuple[float, float]]]) -> float:
    """Share of the active time in which two or more of a clip's (onset, offset) are on."""
    active = shared = 0.0
    for events in clips:
        edges = sorted([(onset, 1) for onset, _ in events] + [(offset, -1) for _, offset in events])
        on = 0
        for (time, step), (then, _) in pairwise(edges):
            on += step
            active += (then - time) * (on > 0)
            shared += (then - time) * (on > 1)
    return shared / active if active else 0.0


# fmt: off
CLEAN = {
    "seconds": {
        "Alarm_bell_ringing":
            (0.25, 0.25, 0.25, 0.31, 0.32, 0.32, 0.38, 0.52, 0.86, 1.96, 2.68, 3.94, 9.72),
        "Blender": (0.25, 0.5, 0.63, 0.88, 1.03, 1.22, 1.62, 2.12, 2.86, 4.48, 6.09, 7.81, 9.81),
        "Cat": (0.25, 0.46, 0.52, 0.64, 0.78, 0.83, 0.88, 0.97, 1.09, 1.27, 1.71, 2.13, 6.67),
        "Dishes": (0.25, 0.25, 0.25, 0.25, 0.25, 0.3, 0.37, 0.49, 0.58, 0.77, 1.35, 1.67, 2.89),
        "Dog": (0.25, 0.25, 0.26, 0.3, 0.36, 0.42, 0.48, 0.74, 1.07, 1.5, 2.25, 3.1, 6.83),
        "Electric_shaver_toothbrush":
            (0.25, 0.77, 1.33, 2.08, 2.57, 3.2, 4.07, 5.26, 6.38, 7.33, 8.28, 8.85, 9.84),
        "Frying": (0.27, 0.69, 1.22, 2.1, 3.31, 3.9, 5.13, 5.85, 6.98, 8.51, 9.66, 10.0, 10.0),
        "Running_water":
            (0.25, 0.45, 0.66, 1.55, 1.92, 2.81, 3.6, 4.42, 5.26, 6.28, 7.62, 8.29, 10.0),
        "Speech": (0.25, 0.27, 0.34, 0.48, 0.61, 0.72, 0.89, 1.18, 1.42, 1.68, 2.21, 2.66, 9.65),
        "Vacuum_cleaner":
            (0.32, 0.76, 1.18, 2.08, 3.17, 4.3, 5.3, 6.35, 7.05, 8.53, 9.9, 10.0, 10.0),
    },
    "repeats": {
        "Alarm_bell_ringing": (175, 125, 54, 27, 7, 3, 1),
        "Blender": (343, 82, 11),
        "Cat": (118, 78, 47, 24, 6, 1),
        "Dishes": (244, 107, 43, 28, 17, 5),
        "Dog": (199, 66, 37, 12, 4, 1),
        "Electric_shaver_toothbrush": (212, 9),
        "Frying": (123, 7),
        "Running_water": (130, 12, 1),
        "Speech": (664, 411, 151, 38, 7, 1),
        "Vacuum_cleaner": (188, 8),
    },
    "together": {
        "Alarm_bell_ringing": (392, 1, 33, 18, 69, 5, 1, 18, 251, 0),
        "Blender": (1, 436, 0, 133, 2, 0, 9, 13, 282, 9),
        "Cat": (33, 0, 274, 19, 55, 1, 1, 5, 166, 2),
        "Dishes": (18, 133, 19, 444, 18, 1, 84, 35, 317, 0),
        "Dog": (69, 2, 55, 18, 319, 2, 0, 10, 222, 46),
        "Electric_shaver_toothbrush": (5, 0, 1, 1, 2, 221, 0, 0, 135, 0),
        "Frying": (1, 9, 1, 84, 0, 0, 130, 1, 83, 0),
        "Running_water": (18, 13, 5, 35, 10, 0, 1, 143, 79, 0),
        "Speech": (251, 282, 166, 317, 222, 135, 83, 79, 1272, 104),
        "Vacuum_cleaner": (0, 9, 2, 0, 46, 0, 0, 0, 104, 196),
    },
    "classes": (679, 981, 355, 29, 1),
    "overlap": 0.101,
}
RECORDED = {
    "seconds": {
        "Alarm_bell_ringing":
            (0.25, 0.25, 0.32, 0.48, 0.56, 0.65, 1.03, 1.47, 1.93, 2.71, 4.88, 8.82, 10.0),
        "Blender": (0.32, 0.67, 1.16, 1.75, 2.49, 3.62, 4.62, 5.57, 7.12, 9.98, 10.0, 10.0, 10.0),
        "Cat": (0.25, 0.25, 0.33, 0.5, 0.62, 0.74, 0.85, 1.01, 1.21, 1.6, 2.74, 5.03, 10.0),
        "Dishes": (0.25, 0.25, 0.25, 0.25, 0.25, 0.31, 0.38, 0.48, 0.61, 0.78, 1.08, 1.52, 10.0),
        "Dog": (0.25, 0.25, 0.26, 0.34, 0.47, 0.63, 0.77, 1.0, 1.29, 1.72, 2.97, 5.51, 10.0),
        "Electric_shaver_toothbrush":
            (1.02, 2.09, 3.33, 4.52, 5.68, 8.81, 9.9, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0),
        "Frying": (0.43, 2.52, 3.78, 5.3, 7.87, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0),
        "Running_water":
            (0.25, 0.63, 0.99, 2.0, 3.02, 3.82, 4.85, 6.07, 7.45, 9.02, 10.0, 10.0, 10.0),
        "Speech": (0.25, 0.35, 0.44, 0.61, 0.79, 0.95, 1.15, 1.35, 1.68, 2.19, 3.02, 3.85, 10.0),
        "Vacuum_cleaner":
            (0.44, 2.97, 4.24, 6.49, 8.89, 9.88, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0),
    },
    "repeats": {
        "Alarm_bell_ringing": (113, 37, 9, 9, 4, 0, 2, 3, 4, 2, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1),
        "Blender": (68, 11, 0, 0, 0, 1),
        "Cat": (30, 29, 30, 15, 6, 7, 2, 1, 1),
        "Dishes": (46, 28, 28, 29, 13, 9, 9, 4, 2, 2, 0, 0, 1),
        "Dog": (32, 34, 24, 23, 23, 4, 10, 3, 1, 3, 2, 1),
        "Electric_shaver_toothbrush": (60, 1, 1),
        "Frying": (84, 5),
        "Running_water": (166, 25, 5, 0, 0, 1),
        "Speech": (147, 138, 163, 98, 56, 14, 5, 3, 3),
        "Vacuum_cleaner": (90, 1),
    },
    "together": {
        "Alarm_bell_ringing": (187, 0, 2, 1, 6, 1, 0, 5, 89, 0),
        "Blender": (0, 80, 0, 14, 0, 0, 1, 2, 55, 1),
        "Cat": (2, 0, 121, 2, 4, 0, 0, 2, 31, 1),
        "Dishes": (1, 14, 2, 171, 1, 0, 59, 15, 125, 1),
        "Dog": (6, 0, 4, 1, 160, 0, 0, 2, 57, 2),
        "Electric_shaver_toothbrush": (1, 0, 0, 0, 0, 62, 0, 0, 39, 0),
        "Frying": (0, 1, 0, 59, 0, 0, 89, 0, 68, 0),
        "Running_water": (5, 2, 2, 15, 2, 0, 0, 197, 92, 1),
        "Speech": (89, 55, 31, 125, 57, 39, 68, 92, 627, 31),
        "Vacuum_cleaner": (0, 1, 1, 1, 2, 0, 0, 1, 31, 91),
    },
    "classes": (597, 482, 72, 2),
    "overlap": 0.127,
}
# fmt: on
