"""Every fast score against the library that defines it."""

import numpy as np
import pandas as pd
import pytest
from conftest import CASES, REAL, needs_real, refused
from scipy.stats import norm
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from wsaed import scoring

EXACT = {"rtol": 0, "atol": 1e-12, "equal_nan": True}
RANKINGS = [(scoring.average_precision, average_precision_score), (scoring.roc_auc, roc_auc_score)]


def read_events(path):
    """file -> events of a table with columns filename, onset, offset, event_label (tabs)."""
    table = pd.read_csv(path, sep="\t")
    columns = ["event_label", "onset", "offset"]
    by_file = table.groupby("filename")[columns]
    return {file: [*mine.dropna().itertuples(index=False)] for file, mine in by_file}


def tagged(seed, clips=60, classes=7, levels=8):
    """Random labels and probabilities with many ties; class 0 empty, class 1 full."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((clips, classes)) < rng.uniform(0.02, 0.6, classes)).astype(np.float32)
    labels[:, 0], labels[:, 1] = 0, 1
    scores = rng.random((clips, classes)) * 0.7 + labels * rng.uniform(-0.3, 0.6, classes)
    return labels, (np.round(scores * levels) / levels).astype(np.float32)


def by_sklearn(metric, labels, probabilities):
    """The library's score, and nan where it has no meaning."""

    def one(y, p):
        has_meaning = y.any() and (metric is average_precision_score or not y.all())
        return metric(y, p) if has_meaning else np.nan

    return np.array([one(*both) for both in zip(labels.T, probabilities.T, strict=True)])


@pytest.mark.parametrize(("ours", "theirs"), RANKINGS)
@pytest.mark.parametrize("levels", [1, 3, 20, 10**6])
def test_ranking_scores_are_sklearns(ours, theirs, levels):
    for seed in range(5):
        labels, probabilities = tagged(seed, levels=levels)
        expected = by_sklearn(theirs, labels, probabilities)
        assert np.isnan(expected[0])
        np.testing.assert_allclose(ours(labels, probabilities), expected, **EXACT)


@pytest.mark.parametrize(("ours", "theirs"), RANKINGS)
def test_a_weight_is_a_repetition(ours, theirs):
    labels, probabilities = tagged(3, levels=10)
    weights = np.random.default_rng(0).poisson(0.8, (6, len(labels)))
    weights[5] = 0
    got = ours(labels, probabilities, weights)
    assert got.shape == (6, labels.shape[1]) and np.isnan(got[5]).all()
    for row, weight in zip(got[:5], weights, strict=False):
        repeated = (np.repeat(a, weight, axis=0) for a in (labels, probabilities))
        np.testing.assert_allclose(row, by_sklearn(theirs, *repeated), **EXACT)
        np.testing.assert_allclose(row, ours(labels, probabilities, weight), **EXACT)


BAD = [
    (np.ones((4, 2)), np.ones((4, 3)), None, "clips, classes"),
    (np.full((4, 2), 0.5), np.ones((4, 2)), None, "0 or 1"),
    (np.ones((4, 2)), np.full((4, 2), np.nan), None, "clip 0"),
    (np.ones((4, 2)), np.ones((4, 2)), np.ones(3), "weights"),
]


@pytest.mark.parametrize("labels, probabilities, weights, says", BAD)
def test_bad_input_is_named(labels, probabilities, weights, says):
    with refused(says):
        scoring.average_precision(labels, probabilities, weights)


def test_d_prime_and_macro():
    assert scoring.d_prime(0.5) == 0
    assert scoring.d_prime(0.970) == pytest.approx(np.sqrt(2) * norm.ppf(0.970), abs=1e-12)
    assert scoring.macro([0.2, np.nan, 0.4]) == (pytest.approx(0.3), 1)
    mean, skipped = scoring.macro([[np.nan, np.nan], [0.0, 1.0]])
    np.testing.assert_array_equal(mean, [np.nan, 0.5])
    np.testing.assert_array_equal(skipped, [2, 0])


def test_bootstrap_draws_groups_whole():
    groups = np.array([7, 7, 2, 9, 9, 9, 4])
    weights = scoring.bootstrap_weights(groups, 4000, seed=1)
    assert weights.shape == (4000, 7) and weights.dtype.kind == "i"
    firsts = [np.flatnonzero(groups == g)[0] for g in np.unique(groups)]
    for g, first in zip(np.unique(groups), firsts, strict=True):
        assert (weights[:, groups == g] == weights[:, [first]]).all()
    assert (weights[:, firsts].sum(1) == 4).all()  # as many groups as there are
    np.testing.assert_allclose(weights.mean(0), 1, atol=0.06)
    assert (weights == scoring.bootstrap_weights(groups, 4000, seed=1)).all()
    assert (weights != scoring.bootstrap_weights(groups, 4000, seed=2)).any()


def test_tagging_f1_is_sklearns():
    labels, probabilities = tagged(5, levels=4)
    probabilities[:, 0] = 0  # never there, never said: 0, not nan
    threshold = np.array([0.5, 0.5, 0.25, 0.75, 0.5, 0.5, 2.0])
    for level in (0.5, threshold):
        expected = f1_score(labels, probabilities >= level, average=None, zero_division=0)
        np.testing.assert_allclose(scoring.tagging_f1(labels, probabilities, level), expected)
    weights = np.random.default_rng(0).integers(0, 3, (2, len(labels)))
    repeated = (np.repeat(a, weights[1], axis=0) for a in (labels, probabilities))
    got = scoring.tagging_f1(labels, probabilities, weights=weights)
    np.testing.assert_allclose(got[1], scoring.tagging_f1(*repeated))


def test_tagging_counts_are_a_loop_and_give_tagging_f1():
    labels, probabilities = tagged(6, levels=4)
    said = probabilities >= 0.5
    counts = scoring.tagging_counts(labels, said)
    assert counts.shape == (*labels.shape, 3)
    for clip, row in enumerate(counts):
        for c, (hit, present, answered) in enumerate(row):
            assert present == (labels[clip, c] == 1) and answered == said[clip, c]
            assert hit == (labels[clip, c] == 1 and said[clip, c])
    f1 = np.nan_to_num(scoring.class_f1(counts))
    np.testing.assert_array_equal(f1, scoring.tagging_f1(labels, probabilities))
    np.testing.assert_array_equal(counts, scoring.tagging_counts(labels, said.tolist()))
    with refused(r"labels \(60, 7\) and tags \(60, 6\)"):
        scoring.tagging_counts(labels, said[:, :6])


def scenes(seed, files=12, classes=5, crowd=5):
    """A random annotation and a system's answer to it, jittered about the tolerances."""
    rng = np.random.default_rng(seed)
    labels = [f"class {c}" for c in range(classes)]
    reference, estimated = {}, {}
    for f in range(files):
        name, answer = f"{f}.wav", []
        # a grid, so that events meet segment borders; some have no length at all
        drawn = rng.integers([classes, 40, 9], size=(rng.integers(0, crowd + 1), 3)).tolist()
        reference[name] = [(labels[c], on / 4, (on + lasts) / 4) for c, on, lasts in drawn]
        for known, *times in reference[name] * 2:
            on, off = (max(0.0, t + rng.choice([0, 0.1, 0.2, -0.2, 0.25, 0.7])) for t in times)
            if rng.random() < 0.7:
                label = known if rng.random() < 0.8 else labels[rng.integers(classes)]
                answer.append((label, min(on, off), max(on, off)))
        if rng.random() < 0.3:
            answer.append((labels[rng.integers(classes)], 1.0, 3.3))
        if rng.random() < 0.8:
            estimated[name] = answer
    estimated["elsewhere.wav"] = [(labels[0], 0.0, 1.0)]
    return reference, estimated, labels


# The onset's tolerance and the offset's share of a length; a segment's seconds
SETTINGS = [("event", 0.2, 0.2), ("event", 0.2, 0.5), ("event", 0.5, 0.0)]
SETTINGS += [("segment", 1.0), ("segment", 0.2)]


def same_as_sed_eval(reference, estimated, labels=None):
    for kind, *settings in SETTINGS:
        both = getattr(scoring, f"{kind}_f1"), getattr(scoring, f"sed_eval_{kind}")
        ours, theirs = (f1(reference, estimated, labels, *settings) for f1 in both)
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine, other, **EXACT)


@pytest.mark.parametrize("seed", range(12))
def test_event_and_segment_f1_are_sed_evals(seed):
    reference, estimated, labels = scenes(seed, crowd=(3, 12)[seed % 2])
    same_as_sed_eval(reference, estimated, [*labels, "never"])
    same_as_sed_eval(reference, estimated)


def test_edges_are_sed_evals():
    for reference, estimated in CASES["edges"]:
        same_as_sed_eval(reference, estimated, ["Cat", "Dog", "Hum", "never"])
        same_as_sed_eval(reference, estimated)


def test_weighted_counts_are_repeated_files():
    reference, estimated, labels = scenes(4)
    weights = scoring.bootstrap_weights(np.arange(len(reference)), 3, seed=0)
    both = (scoring.event_counts, scoring.event_f1), (scoring.segment_counts, scoring.segment_f1)
    for counts_of, f1 in both:
        counts = counts_of(reference, estimated, labels)
        assert counts.shape == (len(reference), len(labels), 3)
        got = scoring.class_f1(counts, weights)
        for row, weight in zip(got, weights, strict=True):
            times = zip(reference, weight, strict=True)
            again = [(f, f"{f}#{n}") for f, w in times for n in range(w)]
            drawn = [{new: d.get(f, []) for f, new in again} for d in (reference, estimated)]
            np.testing.assert_allclose(row, f1(*drawn, labels)[0], **EXACT)


def test_impossible_events_are_named():
    good = {"a.wav": [("Dog", 0.0, 1.0)]}
    for bad, says in CASES["impossible"]:
        for f1 in (scoring.event_f1, scoring.segment_f1):
            with refused(says):
                f1(good, {"a.wav": [bad]}, ["Dog"])


@needs_real
def test_a_real_system_scores_as_published():
    """The DCASE 2019 baseline on the validation set: facts known from sed_eval itself."""
    reference = read_events(REAL / "dcase2019_baseline/ground_truth.tsv")
    estimated = read_events(REAL / "dcase2019_baseline/predictions_0.5.tsv")
    f1 = [score(reference, estimated)[1] for score in (scoring.event_f1, scoring.segment_f1)]
    assert [round(mean, 6) for mean in f1] == [0.216497, 0.543797]
    same_as_sed_eval(reference, estimated)


def test_localization_auc_takes_clips_where_there_is_something_to_find():
    ramp = np.linspace(0, 1, 20)
    late, early = ramp > 0.5, ramp < 0.5
    rare, full = ramp > 2, ramp > -1
    scores = [ramp, ramp, ramp, ramp, np.zeros(20)]
    active = [late, early, rare, full, late]
    assert scoring.localization_auc(scores, active) == (pytest.approx((1 + 0 + 0.5) / 3), 3)
    assert scoring.localization_auc([ramp], [full])[1] == 0
    assert scoring.localization_auc([ramp], [late], low=0.6)[1] == 0
