"""From frame probabilities to events: windows by rule, the median filter, runs, thresholds."""

from itertools import groupby, product

import numpy as np
import pytest
import scipy.ndimage
from conftest import CASES, REAL, needs_real

from wsaed import postprocess, scoring
from wsaed.corpora import Event, desed
from wsaed.postprocess import RULES, active_frames, detect, median_filter, windows

LABELS = ("Dishes", "Frying")


def rng():
    return np.random.default_rng(0)


def test_no_duration_of_the_paper_exceeds_the_average_one():
    for L in rng().lognormal(0, 1, (200, 12)):
        assert RULES["esp"](L) <= L.mean() and RULES["esp_knee"](L) <= L.mean()


@pytest.mark.parametrize("L, average, median, esp, knee", CASES["durations"])
def test_durations_by_each_rule_where_they_can_be_said(L, average, median, esp, knee):
    found = [rule(np.array(L)) for rule in RULES.values()]
    assert found == pytest.approx([average, median, esp, knee, 0])


def test_a_window_is_a_third_of_the_duration_in_the_nearest_odd_number_of_frames():
    seconds = [np.array([x]) for x in (3.0, 0.6, 0.05, 2.5)]
    assert windows(seconds, "average", 25).tolist() == [25, 5, 1, 21]
    many = [np.array([x]) for x in rng().uniform(0.2, 10, 100)]
    for rate in (25, 60):
        frames = windows(many, "esp", rate)
        exact = np.array([x[0] for x in many]) * rate / 3
        assert (frames % 2 == 1).all() and (np.abs(frames - exact) <= 1 + 1e-9).all()


def test_a_class_without_events_and_the_rule_none_are_not_filtered():
    lengths = postprocess.durations([[Event("Frying", 1, 4)], []], LABELS)
    assert [len(x) for x in lengths] == [0, 1]
    for rule in RULES:
        assert windows(lengths, rule, 25)[0] == 1
    assert windows(lengths, "average", 25).tolist() == [1, 25]
    assert windows(lengths, "none", 25).tolist() == [1, 1]
    assert windows(postprocess.durations([], LABELS), "esp", 25).tolist() == [1, 1]


@needs_real
def test_windows_of_the_real_training_set():
    strong = desed.annotations(REAL / "desed2019")["strong"]
    lengths = postprocess.durations(strong.events, desed.LABELS)
    for rule, wanted in CASES["windows"].items():
        frames = [postprocess.ETA * RULES[rule](L) * 60 for L in lengths]
        assert frames == pytest.approx(wanted, abs=0.051), rule


@pytest.mark.parametrize("window", [1, 3, 7, 25, 41, 99])
def test_the_median_filter_is_scipys(window):
    tracks = rng().random((20, 40)) < 0.4
    wanted = scipy.ndimage.median_filter(tracks, (1, window), mode="reflect")
    assert np.array_equal(median_filter(tracks, window), wanted)


def naive(p, clips, rate, widths, thresholds, passes):
    """Events of one clip, frame by frame; the posterior and the decisions are each filtered."""
    found = []
    for c, label in enumerate(LABELS):
        track, size = p[:, c], widths[c]
        if passes == 2:
            track = scipy.ndimage.median_filter(track, size, mode="reflect")
        active = (track >= thresholds[c]) & (clips is None or clips[c] >= 0.5)
        active = scipy.ndimage.median_filter(active, size, mode="reflect")
        onset = 0
        for on, frames in groupby(active):
            offset = onset + len(list(frames))
            if on:
                found.append((label, onset / rate, offset / rate))
            onset = offset
    return found


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("gated", [False, True])
def test_detect_is_the_naive_loop(passes, gated):
    """In noise of two decimals, which is often at a threshold, ends at a clip's end, has gaps."""
    p, clips = rng().random((12, 50, 2)).round(2), rng().random((12, 2))
    clips[:2] = [[0.5, 0.49], [0.49, 0.5]]
    before, gate = p.copy(), clips if gated else None
    for widths, given in product(([5, 3], [1, 7], [7, 1]), (([0.4, 0.6], passes), ())):
        found = detect(p, gate, LABELS, 25, np.array(widths), *given)
        for i, events in enumerate(found):
            tags, settings = clips[i] if gated else None, given or ([0.5, 0.5], 2)
            wanted = naive(p[i], tags, 25, widths, *settings)
            assert [tuple(event)[:3] for event in events] == wanted
    assert np.array_equal(p, before) and {0.4, 0.5, 0.6} <= {*p.flat}


def test_events_on_the_frame_grid_survive_the_way_there_and_back():
    events = [[Event("Dishes", 0.2, 0.6), Event("Frying", 0.4, 9.6)], [], [Event("Dishes", 2, 10)]]
    active = active_frames(events, LABELS, 50, 5)
    assert active.dtype == np.uint8 and active.shape == (3, 50, 2)
    found = detect(active, None, LABELS, 5, np.array([1, 1]))
    back, there = ([[tuple(e)[:3] for e in clip] for clip in clips] for clips in (found, events))
    assert back == there


def test_empty_annotations_and_no_clips_at_all():
    active = active_frames([[], []], LABELS, 20, 2)
    assert not active.any()
    assert detect(active, None, LABELS, 2, np.array([3, 5])) == [[], []]
    assert detect(np.zeros((0, 20, 2)), np.zeros((0, 2)), LABELS, 2, np.array([3, 5])) == []
    assert len(postprocess.runs(np.zeros((2, 5), bool))) == 0


def scored(p, reference):
    """Tuned thresholds of probabilities (clips, frames, 2) at one frame a second, unfiltered."""
    clips = dict(enumerate(reference))

    def at(threshold):
        return detect(p, None, LABELS, 1, np.array([1, 1]), threshold)

    thresholds, gates, _ = postprocess.tuned(clips, at, LABELS)
    assert gates.tolist() == [0.5, 0.5]
    return thresholds


def test_each_class_gets_the_threshold_that_fits_it_nearest_to_one_half():
    p = np.full((2, 10, 2), 0.02)
    p[:, 2:5, 0] = 0.33  # a faint class: anything from 0.05 to 0.3 finds it
    p[:, :, 1] = 0.62  # a class that is always likely: only above 0.62 is there an event
    p[:, 2:5, 1] = 0.97
    reference = [[Event("Dishes", 2, 5), Event("Frying", 2, 5)]] * 2
    assert scored(p, reference).tolist() == [0.3, 0.65]


def test_a_class_that_never_occurs_keeps_one_half():
    p = np.full((2, 10, 2), 0.9)
    assert scored(p, [[Event("Dishes", 0, 10)], []])[1] == 0.5
    assert scored(p, [[], []]).tolist() == [0.5, 0.5]


def test_thresholds_and_gates_are_the_best_of_all_pairs():
    """Against every pair by hand, each detected with its gate."""
    every = ([Event("Dishes", 3, 9), Event("Frying", 5 + i % 4, 25)] for i in range(12))
    reference = [both[: i % 3] for i, both in enumerate(every)]
    p, tags = 0.5 * rng().random((12, 30, 2)), rng().random((12, 2))
    p += 0.4 * active_frames(reference, LABELS, 30, 1)
    tags[:, 0] *= 0.4  # tags of Dishes never pass a half
    clips, widths = dict(enumerate(reference)), np.array([3, 1])

    def f1(threshold, gate):
        events = detect(p, tags, LABELS, 1, widths, threshold, gate=gate)
        return scoring.event_f1(clips, dict(zip(clips, events, strict=True)), LABELS)[0]

    ungated = lambda t: detect(p, None, LABELS, 1, widths, t)  # noqa: E731
    thresholds, gates, _ = postprocess.tuned(clips, ungated, LABELS, tags)
    every = np.array([f1(t, g) for t in postprocess.GRID for g in postprocess.GRID])
    assert f1(thresholds, gates) == pytest.approx(every.max(0))
    assert f1(0.5, 0.5)[0] == 0 < f1(thresholds, gates)[0] and gates[0] < 0.5


@needs_real
def test_ceilings_of_the_real_annotations():
    """The event F1 of a net that knows the events, filtered by each rule."""
    lists, labels = desed.annotations(REAL / "desed2019"), desed.LABELS
    lengths, found = postprocess.durations(lists["strong"].events, labels), []
    events = dict(enumerate(lists["validation"].events))
    frames = active_frames([*events.values()], labels, 250, 25)
    for rule in RULES:
        said = detect(frames, frames.any(1), labels, 25, windows(lengths, rule, 25))
        found.append(scoring.event_f1(events, dict(enumerate(said)), labels)[1])
    assert found == pytest.approx([0.9552, 0.9799, 0.9941, 0.9895, 0.9982], abs=1e-4)
