"""Scores by sed_scores_eval and boxes by sebbs, which are optional."""

import sys

import numpy as np
import pytest

from wsaed.sed_scores import bounding_boxes, psds


def test_psds_knows_perfect_from_silent_and_drops_a_class_without_reference():
    pytest.importorskip("sed_scores_eval")
    labels, rng = ["a", "b", "never"], np.random.default_rng(0)
    reference, frames = {}, np.zeros((20, 100, 3))
    for i in range(20):
        onset, c = int(rng.integers(0, 80)), int(rng.integers(2))
        reference[f"{i}.wav"] = [(labels[c], onset / 10, onset / 10 + 2)]
        frames[i, onset : onset + 20, c] = 0.9
    assert psds(reference, frames, labels, 10.0) == pytest.approx({1: 1, 2: 1})
    assert psds(reference, 0 * frames, labels, 10.0) == pytest.approx({1: 0, 2: 0})
    frames[:, :, 2] = 0.9  # loud nonsense in a class that the reference never names
    assert psds(reference, frames, labels, 10.0) == pytest.approx({1: 1, 2: 1})
    odd = ["back\\slash", "狗叫, $5", "never"]
    known = dict(zip(labels, odd, strict=True))
    halves = {  # each event as two that overlap, under names that the library would not take
        file: [(known[c], on, on + 1.2), (known[c], on + 1, off)]
        for file, ((c, on, off),) in reference.items()
    }
    assert psds(halves, frames, odd, 10.0) == psds(reference, frames, labels, 10.0)


def test_boxes_are_the_events_of_clear_steps():
    """One event a clip with some unrest in it, which must not cut it."""
    pytest.importorskip("sebbs")
    labels, rng, sides, known = ["a", "back\\slash"], np.random.default_rng(0), {}, {}
    for side in ("validation", "test"):
        files, frames = [f"{side} {i}" for i in range(12)], np.full((12, 250, 2), 0.02)
        for i, file in enumerate(files):
            onset, c = int(rng.integers(20, 150)), i % 2
            known.setdefault(side, {})[file] = [(labels[c], onset / 25, onset / 25 + 2)]
            frames[i, onset : onset + 50, c] = 0.8 + 0.04 * (np.arange(50) % 2)
        sides[side] = files, frames
    found = bounding_boxes(known["validation"], sides, labels, 10.0)
    for file, (event,) in known["test"].items():
        assert [tuple(e[:3]) for e in found[file]] == [pytest.approx(event, abs=0.05)]


def test_without_the_libraries_there_is_nothing(monkeypatch):
    for name in ("sebbs.csebbs", "sed_scores_eval.intersection_based"):
        monkeypatch.setitem(sys.modules, name, None)
    assert bounding_boxes({}, {}, [], 10.0) is None
    assert psds({}, None, [], 10.0) == {1: None, 2: None}
