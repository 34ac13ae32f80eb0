"""One stage of SeCoST as a run: what it learns from, what it keeps, what it scores."""

import numpy as np
import pytest
import torch
from test_runs import cache, features, spec  # noqa: F401 - fixtures

from wsaed import corpora, nets, runs
from wsaed.features import FRONT_ENDS
from wsaed.methods import secost, tagging
from wsaed.papers import secost as paper


def test_a_cascade_nests_and_never_starts_from_its_teacher():
    stages = secost.cascade(spec(), paper.VARIABLE)
    assert [s["draw"] for s in stages] == [0, 1, 2, 3, 4, 5]
    assert [s["alpha"] for s in stages[1:]] == [[a, 1 - a] for a in paper.VARIABLE]
    assert all(stages[k]["teachers"] == [stages[k - 1]] for k in range(1, 6))


def test_the_target_mixes_the_annotated_labels_never_an_earlier_target(tmp_path):
    y = np.array([[1, 0, 0], [0, 1, 1]], np.float32)
    teacher = np.array([[0.5, 0.25, 0], [0.125, 1, 0.75]], np.float16)
    np.save(tmp_path / "train.npy", teacher)
    stage = secost.stage(spec(), [spec()], [0.25, 0.75], draw=1)
    expected = 0.25 * y + 0.75 * teacher.astype(np.float32)
    assert secost.target(stage, y, [tmp_path]) == pytest.approx(expected, abs=1e-7)
    assert (secost.target(spec(), y, []) == y).all()


def test_a_run_keeps_weights_that_give_its_outputs_again(cache):  # noqa: F811
    stages = secost.cascade(spec(), [0.3])
    base, student = runs.train([(s, 0) for s in stages])
    home = runs.folder(stages[0], 0)
    corpus = corpora.load(spec()["corpus"], 0)
    net = nets.trained(spec(), len(corpus.labels), home)
    x = torch.from_numpy(corpus["test"].features(FRONT_ENDS["secost_50ms"])[:])
    again = tagging.predict(net, x)
    assert np.load(home / "test.npy") == pytest.approx(again, abs=1e-3)
    # a student's target lies between the labels and what its teacher said
    assert student["scores"]["target_map_clean"] != base["scores"]["target_map_clean"]
    assert len(base["scores"]["ap_noisy"]) == len(corpus.labels) == 60


def test_classes_without_positives_are_skipped_and_counted(cache):  # noqa: F811
    (record,) = runs.train([(spec(), 0)])
    labels = corpora.load(spec()["corpus"], 0)["test"].clip_labels
    absent = int((labels.sum(0) == 0).sum())
    assert absent and record["scores"]["skipped_noisy"] == absent
    assert sum(ap is None for ap in record["scores"]["ap_noisy"]) == absent


def test_what_a_teacher_knows_of_missing_labels():
    rng = np.random.default_rng(0)
    clean = (rng.random((400, 3)) < 0.4).astype(np.float32)
    noisy = clean * (rng.random(clean.shape) < 0.7)
    split = type("Split", (), {"clip_labels": noisy, "clean_labels": clean})
    assert tagging.missing_positive_auc(split, clean) == 1
    assert tagging.missing_positive_auc(split, rng.random(clean.shape)) == pytest.approx(
        0.5, abs=0.1
    )
    # outputs that equal the noisy labels are constant where labels are missing: they know nothing
    assert tagging.missing_positive_auc(split, noisy) == 0.5


def test_every_artefact_s_systems_exist_and_noise_1_is_the_base():
    p = runs.parameters("smoke", "secost")
    systems = paper.systems(p)
    for profile in ("laptop", "evidence"):
        for names in paper.artefacts(profile).values():
            assert set(names) <= set(systems)
    assert systems["fixed_1"] == systems["alpha_0.3"] == systems["variable_1"]
    keys = {runs.key(systems[n], 0) for n in ("base", "noise_1_0")}
    assert len(keys) == 1


def test_the_compute_matched_base_takes_the_cascade_s_steps():
    systems = paper.systems(runs.parameters("laptop", "secost"))

    def epochs(spec):
        return spec["budget"]["epochs"] + sum(epochs(t) for t in spec.get("teachers", []))

    assert epochs(systems["base_long"]) == epochs(systems["variable_4"])
    rest = [n for n in paper.TABLE_2 if n not in ("fixed_2", "variable_4")]
    assert len({systems[n]["budget"]["epochs"] for n in rest}) == 1
