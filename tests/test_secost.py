"""SeCoST: equations 1 to 7 against loops over their cells, stages as runs, systems."""

import math

import numpy as np
import pytest
import torch
from conftest import refused, shown, spec

from wsaed import corpora, features, nets, parameters, runs, tagging, training
from wsaed.secost import method, systems

CLIPS, CLASSES = 7, 5
ALPHAS = [[1.0], [0.0, 1.0], [0.05, 0.95], [0.3, 0.7], [0.3, 0.35, 0.35], [0.0, 0.2, 0.5, 0.3]]


@pytest.fixture
def case():
    """p, y, y_hat: (clips, classes) float64, p and y_hat off the edges, y hard."""
    rng = np.random.default_rng(3)
    p, y_hat = rng.uniform(0.02, 0.98, (2, CLIPS, CLASSES))
    y = (rng.random((CLIPS, CLASSES)) < 0.3).astype(float)
    return torch.tensor(p), torch.tensor(y), torch.tensor(y_hat)


def l(p_i, y_i):  # noqa: E743 - the paper's letter
    return -y_i * math.log(p_i) - (1 - y_i) * math.log(1 - p_i)


def odds(p_i):
    return math.log((1 - p_i) / p_i)


def cells(term, *arrays):
    """``term`` of each cell's values, in the arrays' shape."""
    found = [term(*cell) for cell in zip(*(a.flatten().tolist() for a in arrays), strict=True)]
    return torch.tensor(found, dtype=torch.float64).reshape(arrays[0].shape)


def mean(term, *arrays):
    """The sum over the classes divided by |C|, then the mean over clips."""
    by_clip = cells(term, *arrays).sum(1) / arrays[0].shape[1]
    return float(by_clip.sum() / len(by_clip))


def loss(p, y):
    return float(method.binary_cross_entropy(torch.as_tensor(p), torch.as_tensor(y)))


def equal(a, b):
    assert a == pytest.approx(b, abs=1e-12)


def test_equation_1_stays_finite_at_the_ends():
    """A sigmoid in float32 gives exactly 1 from a logit of 17 on: the logarithm is cut at -100."""
    assert loss([[1.0, 0.0]], [[1.0, 0.0]]) == 0
    assert loss([[0.0, 1.0]], [[1.0, 0.0]]) == 100


@pytest.mark.parametrize("alpha", ALPHAS)
def test_equations_2_3_4_6_and_7_with_any_number_of_teachers(case, alpha):
    p, y, y_hat = case
    teachers = [y_hat**k for k in range(1, len(alpha))]
    y_bar = method.mixed_target(y, teachers, alpha)
    mixed = cells(lambda *y_k: sum(a * v for a, v in zip(alpha, y_k, strict=True)), y, *teachers)
    torch.testing.assert_close(y_bar, mixed, atol=1e-12, rtol=0)
    assert y_bar.min() >= 0 and y_bar.max() <= 1

    def seven(p, y, *y_hats):
        taught = sum(a * v * odds(p) for a, v in zip(alpha[1:], y_hats, strict=True))
        return l(p, alpha[0] * y) + taught

    split = method.class_losses(p, y, teachers, alpha)
    torch.testing.assert_close(split, cells(seven, p, y, *teachers), atol=1e-12, rtol=0)
    torch.testing.assert_close(split, cells(l, p, y_bar), atol=1e-12, rtol=0)
    equal(loss(p, y_bar), split.mean().item())


@pytest.mark.parametrize("alpha", [0.0, 0.05, 0.3, 0.9])
def test_equation_5_holds_with_its_sign_turned_and_fails_as_printed(case, alpha):
    p, y, y_hat = case
    left = loss(p, method.mixed_target(y, [y_hat], [alpha, 1 - alpha]))
    second = (1 - alpha) * mean(lambda p, y, t: (t - y) * odds(p), *case)
    equal(left, loss(p, y) + second)
    equal(left, method.loss_by_mistakes(p, y, y_hat, alpha).item())
    printed = loss(p, y) - second
    equal(abs(left - printed), abs(2 * second))
    assert abs(left - printed) > 0.05 * (1 - alpha)


NO_MIX = [[], [1.0], [0.3, 0.3], [0.6, 0.6], [1.2, -0.2], [-0.1, 1.1], [0.3, 0.4, 0.3]]


@pytest.mark.parametrize("alpha", [*NO_MIX, [0.5, 0.501], [math.nan, 0.5]])
def test_weights_that_are_no_convex_mix_are_refused_in_one_line(case, alpha):
    with refused("alpha must hold 2 weights") as error:
        method.mixed_target(case[1], [case[2]], alpha)
    assert str(alpha) in str(error.value)


def test_a_cascade_nests_and_never_starts_from_its_teacher():
    alphas = systems.PUBLISHED["cascades"]["variable"]
    stages = method.cascade(spec(), alphas)
    assert [s["draw"] for s in stages] == [0, 1, 2, 3, 4, 5]
    assert [s["alpha"] for s in stages[1:]] == [[a, 1 - a] for a in alphas]
    assert all(stages[k]["teachers"] == [stages[k - 1]] for k in range(1, 6))


def test_the_target_mixes_the_annotated_labels_never_an_earlier_target(tmp_path):
    """Algorithm 1, line 3; a teacher's outputs are stored as float16."""
    y = np.array([[1, 0, 0], [0, 1, 1]], np.float32)
    teacher = np.array([[0.5, 0.25, 0], [0.125, 1, 0.75]], np.float16)
    np.save(tmp_path / "train.npy", teacher)
    stage = method.stage(spec(), [spec()], [0.25, 0.75], draw=1)
    y_bar = method.target(stage, y, [tmp_path])
    assert y_bar == pytest.approx(0.25 * y + 0.75 * teacher.astype(np.float32), abs=1e-7)
    assert y_bar.dtype == np.float32 and (method.target(spec(), y, []) == y).all()
    assert np.allclose(method.target({"smoothing": 0.2}, y, []), 0.8 * y + 0.1)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_terms_of_a_stage_s_loss_are_each_opinion_s_own(case, alpha):
    p, y, y_hat = case
    teachers = [y_hat**k for k in range(1, len(alpha))]
    y_bar = method.mixed_target(y, teachers, alpha)
    found = method.loss_terms(p, torch.stack([y_bar, y], 1), alpha[0])
    equal(found["loss"].item(), mean(l, p, y_bar))
    if not teachers:
        assert found.keys() == {"loss"}
        return
    equal(found["labels"].item(), alpha[0] * mean(l, p, y))
    taught = (a * mean(l, p, t) for a, t in zip(alpha[1:], teachers, strict=True))
    equal(found["teacher"].item(), sum(taught))


def test_a_run_keeps_its_best_epoch_s_weights_and_its_terms_curves(cache):
    stages = method.cascade(spec(epochs=6), [0.3])
    base, student = (record["scores"] for record in runs.train([(s, 0) for s in stages]))
    names = {"loss", "labels", "teacher", "labels'", "teacher'", "validation"}
    assert student["curves"].keys() == names and base["curves"].keys() == {"loss", "validation"}
    for scores in (base, student):
        validation = scores["curves"]["validation"]
        assert len(validation) == 6 and scores["best_epoch"] == 1 + np.argmax(validation)
        assert scores["validation_map_noisy"] == pytest.approx(max(validation), abs=1e-4)
    total = np.add(student["curves"]["labels"], student["curves"]["teacher"])
    assert total == pytest.approx(student["curves"]["loss"], abs=1e-3)
    home, corpus = runs.folder(stages[0], 0), corpora.load(spec()["corpus"], 0)
    x = torch.from_numpy(corpus["test"].features(features.FRONT_ENDS["secost_40ms"])[:])
    _, again = training.predict(nets.trained(spec(), len(corpus.labels), home), x)
    assert np.load(home / "test.npy") == pytest.approx(again, abs=1e-3)
    # a student's target lies between the labels and what its teacher said
    assert student["target_map_clean"] != base["target_map_clean"]
    # classes without positives are skipped and counted
    absent = int((corpus["test"].clip_labels.sum(0) == 0).sum())
    assert absent and base["skipped_noisy"] == absent
    assert base["train_positives"] == corpus["train"].clip_labels.sum(0).min()
    assert sum(ap is None for ap in base["ap_noisy"]) == absent
    assert len(base["ap_noisy"]) == len(corpus.labels) == 60


def test_what_a_teacher_knows_of_missing_labels():
    rng = np.random.default_rng(0)
    clean = (rng.random((400, 3)) < 0.4).astype(np.float32)
    noisy = clean * (rng.random(clean.shape) < 0.7)
    split = type("Split", (), {"clip_labels": noisy, "clean_labels": clean})
    assert tagging.missing_positive_auc(split, clean) == 1
    guess = tagging.missing_positive_auc(split, rng.random(clean.shape))
    assert guess == pytest.approx(0.5, abs=0.1)
    # outputs that equal the noisy labels are constant where labels are missing: they know nothing
    assert tagging.missing_positive_auc(split, noisy) == 0.5


def test_every_artefact_s_systems_exist_and_noise_1_is_the_base():
    p = parameters.chosen("secost", "evidence")
    every, beside = systems.systems(p), set(systems.PUBLISHED["beside"])
    assert shown(systems, "evidence") == set(every)
    assert shown(systems, "laptop") == set(every) - beside
    assert every["fixed_1"] == every["alpha_0.3"] == every["variable_1"]
    assert every["noise_1_0"] == every["base"] != every["noise_0_0"]
    assert [systems.replicates("noise_1.5_1", p, n) for n in (1, 6)] == [1, 3]
    assert systems.replicates("alone_3", p, 6) == systems.replicates("base", p, 6) == 6


def test_all_systems_of_a_table_have_the_same_budget():
    every = systems.systems(parameters.chosen("secost", "laptop"))
    trained = [s["budget"] for s in every.values() if "budget" in s]
    assert len(trained) > 20 and all(budget == trained[0] for budget in trained)
