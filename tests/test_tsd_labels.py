"""Frame labels with errors, of every kind and share, and how errors are counted."""

import numpy as np
import pytest
from conftest import refused

from wsaed import postprocess
from wsaed.tsd.labels import KINDS, frame_errors, pseudo_errors, spoilt


def events_of(tracks=40, steps=125, seed=3):
    """Frame labels with up to two events a pair, at the clips' ends too, and some silent pairs."""
    rng, y = np.random.default_rng(seed), np.zeros((tracks, steps), bool)
    for i in range(tracks):
        for _ in range(i % 3):
            onset, length = rng.integers(-5, steps), rng.integers(1, 40)
            y[i, max(0, onset) : onset + length] = True
    return y


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", ["erode", "dilate", "drop"])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.0987])
def test_the_other_errors_spoil_the_wanted_share_to_within_a_frame(kind, rate):
    y = events_of()
    assert y.mean() > 0.12  # as many as there must be
    given = spoilt(y, kind, rate, rng())
    wrong = given != y
    assert abs(wrong.sum() - rate * y.size) <= 1
    assert (~y[wrong]).all() if kind == "dilate" else y[wrong].all()
    assert not given[~y.any(1)].any()  # a silent pair gets no event


@pytest.mark.parametrize("kind", KINDS)
def test_without_errors_labels_stay_and_more_errors_hold_fewer(kind):
    y = events_of()
    assert np.array_equal(spoilt(y, kind, 0, rng()), y)
    few, many = (spoilt(y, kind, rate, rng()) != y for rate in (0.03, 0.08))
    assert (many | ~few).all() and many.sum() > few.sum()
    assert np.array_equal(spoilt(y, kind, 0.08, rng()) != y, many)


def test_what_is_silent_can_lose_nothing_more_and_a_full_clip_gain_nothing():
    y = events_of()
    for kind in ("erode", "drop"):
        assert not spoilt(y, kind, 0.9, rng()).any()
    full = spoilt(y, "dilate", 1.0, rng())
    assert full[y.any(1)].all() and not full[~y.any(1)].any()


def test_eroded_events_keep_their_middle_and_lose_one_share_dilated_ones_gain_one_margin():
    y = np.zeros((2, 200), bool)
    y[0, 20:60] = y[1, 100:200] = True
    shorter = postprocess.runs(spoilt(y, "erode", 0.2 * 140 / 400, rng()))
    lengths, centres = shorter[:, 2] - shorter[:, 1], shorter[:, 1:].mean(1)
    assert lengths == pytest.approx([32, 80], abs=1) and centres == pytest.approx([40, 150], abs=1)
    longer = spoilt(y, "dilate", 30 / 400, rng())  # where there is room: the second at one end
    assert longer.sum(1) == pytest.approx([60, 110], abs=2)
    assert longer[0, 11:69].all() and longer[1, 91:].all()


def test_dropped_events_go_whole_but_for_one():
    y = events_of(120)
    given = spoilt(y, "drop", 0.06, rng())
    left = [given[track, first:end].mean() for track, first, end in postprocess.runs(y)]
    assert sum(0 < share < 1 for share in left) <= 1
    assert 0.2 < np.mean([share == 0 for share in left]) < 0.8


@pytest.mark.parametrize("kind, rate", [("blur", 0.1), ("flip", 1.1), ("drop", -0.1)])
def test_other_errors_are_refused_in_one_line(kind, rate):
    with refused("errors: kind must be"):
        spoilt(events_of(), kind, rate, rng())


def test_frame_errors_are_counted_frame_by_frame():
    said, true = rng().random((2, 6, 30)) < 0.3
    cells = list(zip(said.ravel(), true.ravel(), strict=True))
    missed, false = (np.mean([a != b for a, b in cells if b == kind]) for kind in (True, False))
    plain = np.mean([a != b for a, b in cells])
    assert frame_errors(said, true) == pytest.approx((plain, (missed + false) / 2))
    assert frame_errors(true, true) == (0, 0)


def test_pseudo_errors_beside_silence_and_clip_labels():
    true, p = np.zeros((3, 10), bool), np.zeros((3, 10))
    true[0, 2:5] = true[1, 0:9] = True
    p[0, 2:6] = p[1, 0:5] = 0.5
    expected = {"pseudo_error": 5 / 30, "silent_error": 12 / 30, "clip_label_error": 8 / 30}
    expected |= {"pseudo_error_balanced": (4 / 12 + 1 / 18) / 2, "silent_error_balanced": 0.5}
    expected["clip_label_error_balanced"] = (8 / 18) / 2
    assert pseudo_errors(p, np.array([True, True, False]), true) == pytest.approx(expected)
