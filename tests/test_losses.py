"""SeCoST's equations 1 to 7 against loops that transcribe the print, and against closed forms."""

import math

import numpy as np
import pytest
import torch

from wsaed.losses import binary_cross_entropy, mixed_target, smoothed_labels
from wsaed.methods import secost

CLIPS, CLASSES = 7, 5


@pytest.fixture
def case():
    """p, y, y_hat: (clips, classes) float64, p and y_hat off the edges, y hard."""
    rng = np.random.default_rng(3)
    p, y_hat = rng.uniform(0.02, 0.98, (2, CLIPS, CLASSES))
    return p, (rng.random((CLIPS, CLASSES)) < 0.3).astype(float), y_hat


def l(p_i, y_i):  # noqa: E743 - the paper's letter
    return -y_i * math.log(p_i) - (1 - y_i) * math.log(1 - p_i)


def odds(p_i):
    return math.log((1 - p_i) / p_i)


def mean(term, *arrays):
    """The sum over i, divided by |C|, then the mean over clips, of ``term`` a cell."""
    total = 0.0
    for rows in zip(*arrays, strict=True):
        total += sum(term(*cells) for cells in zip(*rows, strict=True)) / len(rows[0])
    return total / len(arrays[0])


def loss(p, y):
    return float(binary_cross_entropy(torch.tensor(p), torch.tensor(y)))


def mix(y, teachers, alpha):
    return mixed_target(torch.tensor(y), [torch.tensor(t) for t in teachers], alpha).numpy()


def test_equation_1_is_the_mean_over_classes_and_clips(case):
    p, y, y_hat = case
    assert loss(p, y) == pytest.approx(mean(l, p, y), abs=1e-12)
    assert loss(p, y_hat) == pytest.approx(mean(l, p, y_hat), abs=1e-12)  # a soft target
    by_clip = [loss(p[i : i + 1], y[i : i + 1]) for i in range(CLIPS)]
    assert loss(p, y) == pytest.approx(np.mean(by_clip), abs=1e-12)


@pytest.mark.parametrize("y", [0.0, 0.25, 1.0])
def test_equation_1_at_a_half_is_log_2_whatever_the_target(y):
    assert loss(np.full((2, 3), 0.5), np.full((2, 3), y)) == pytest.approx(math.log(2), abs=1e-12)


def test_equation_1_stays_finite_at_the_ends():
    """A sigmoid in float32 gives exactly 1 from a logit of 17 on: the logarithm is cut at -100."""
    assert loss(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]])) == 0
    assert loss(np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])) == 100
    p = torch.sigmoid(torch.tensor([[40.0, -200.0]], requires_grad=True))
    binary_cross_entropy(p, torch.tensor([[0.0, 1.0]])).backward()


def test_a_soft_target_is_the_optimum_and_its_entropy_the_least_loss(case):
    _, y, y_hat = case
    y_bar = mix(y, [y_hat], [0.3, 0.7])
    p = torch.tensor(y_bar, requires_grad=True)
    least = binary_cross_entropy(p, torch.tensor(y_bar))
    least.backward()
    assert p.grad.abs().max() < 1e-12
    assert least.item() == pytest.approx(mean(l, y_bar, y_bar), abs=1e-12)
    for step in (-0.01, 0.01):
        assert loss(np.clip(y_bar + step, 0.001, 0.999), y_bar) > least.item()


def test_the_gradient_by_the_logit_is_the_output_minus_the_target(case):
    p, y, y_hat = case
    logit = torch.tensor(np.log(p / (1 - p)), requires_grad=True)
    y_bar = mix(y, [y_hat], [0.3, 0.7])
    binary_cross_entropy(torch.sigmoid(logit), torch.tensor(y_bar)).backward()
    np.testing.assert_allclose(logit.grad.numpy() * y.size, p - y_bar, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_equation_2_mixes_cell_by_cell(case, alpha):
    _, y, y_hat = case
    y_bar = mix(y, [y_hat], [alpha, 1 - alpha])
    for n in range(CLIPS):
        for i in range(CLASSES):
            assert y_bar[n, i] == pytest.approx(alpha * y[n, i] + (1 - alpha) * y_hat[n, i])
    assert np.array_equal(mix(y, [y_hat], [1.0, 0.0]), y)
    assert np.array_equal(mix(y, [y_hat], [0.0, 1.0]), y_hat)
    assert np.array_equal(mix(y, [], [1.0]), y)  # the base: labels alone


@pytest.mark.parametrize("alpha", [0.0, 0.05, 0.3, 0.9, 1.0])
def test_equations_3_and_4_split_the_loss(case, alpha):
    p, y, y_hat = case
    left = loss(p, mix(y, [y_hat], [alpha, 1 - alpha]))
    second_line = mean(
        lambda p, y, t: (
            -alpha * y * math.log(p) - (1 - alpha * y) * math.log(1 - p) + (1 - alpha) * t * odds(p)
        ),
        *(p, y, y_hat),
    )
    split = loss(p, alpha * y) + (1 - alpha) * mean(lambda p, t: t * odds(p), p, y_hat)
    assert left == pytest.approx(second_line, abs=1e-12)
    assert left == pytest.approx(split, abs=1e-12)


def test_equation_3_as_printed_lacks_a_logarithm(case):
    p, y, y_hat = case
    printed = mean(
        lambda p, y, t: -0.3 * y * p - (1 - 0.3 * y) * math.log(1 - p) + 0.7 * t * odds(p),
        *(p, y, y_hat),
    )
    missing = mean(lambda p, y: -0.3 * y * (math.log(p) - p), p, y)
    left = loss(p, mix(y, [y_hat], [0.3, 0.7]))
    assert abs(left - printed) > 0.05
    assert left == pytest.approx(printed + missing, abs=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.05, 0.3, 0.9])
def test_equation_5_holds_with_its_sign_turned_and_fails_as_printed(case, alpha):
    p, y, y_hat = case
    left = loss(p, mix(y, [y_hat], [alpha, 1 - alpha]))
    second = (1 - alpha) * mean(lambda p, y, t: (t - y) * odds(p), p, y, y_hat)
    assert left == pytest.approx(loss(p, y) + second, abs=1e-12)
    printed = loss(p, y) - second
    assert abs(left - printed) == pytest.approx(abs(2 * second), abs=1e-12)
    assert abs(left - printed) > 0.05 * (1 - alpha)


def test_equation_5_as_printed_pushes_away_from_the_teacher():
    """A missing label (y = 0), a teacher who hears the event: the printed loss falls to p = 0."""
    p = torch.tensor([1e-2, 1e-4, 1e-8], dtype=torch.float64)
    printed = -torch.log(1 - p) + 0.7 * (0 - 0.9) * torch.log((1 - p) / p)
    right = binary_cross_entropy(p, torch.full_like(p, 0.63))
    assert torch.all(printed.diff() < 0) and printed[-1] < -10
    assert right > -math.log(0.5)


@pytest.mark.parametrize("alpha", [[1.0], [0.3, 0.7], [0.3, 0.35, 0.35], [0.0, 0.2, 0.5, 0.3]])
def test_equations_6_and_7_with_any_number_of_teachers(case, alpha):
    p, y, _ = case
    teachers = list(np.random.default_rng(5).uniform(0.02, 0.98, (len(alpha) - 1, CLIPS, CLASSES)))
    y_bar = mix(y, teachers, alpha)
    expected = np.zeros_like(y)
    for a, y_k in zip(alpha, [y, *teachers], strict=True):
        for n in range(CLIPS):
            for i in range(CLASSES):
                expected[n, i] += a * y_k[n, i]
    np.testing.assert_allclose(y_bar, expected, atol=1e-12)
    assert y_bar.min() >= 0 and y_bar.max() <= 1
    seven = mean(l, p, alpha[0] * y)
    for a, y_k in zip(alpha[1:], teachers, strict=True):
        seven += a * mean(lambda p, t: t * odds(p), p, y_k)
    assert loss(p, y_bar) == pytest.approx(seven, abs=1e-12)


def test_two_teachers_of_equal_weight_are_one_teacher_that_averages(case):
    _, y, a = case
    b = 1 - a**2
    both = mix(y, [a, b], [0.4, 0.3, 0.3])
    np.testing.assert_allclose(both, mix(y, [(a + b) / 2], [0.4, 0.6]), atol=1e-12)


@pytest.mark.parametrize(
    "alpha",
    [[], [1.0], [0.3, 0.3], [0.6, 0.6], [1.2, -0.2], [-0.1, 1.1], [0.3, 0.4, 0.3], [0.5, 0.501]],
)
def test_weights_that_are_no_convex_mix_are_refused_in_one_line(case, alpha):
    _, y, y_hat = case
    with pytest.raises(ValueError, match="alpha must hold 2 weights") as error:
        mix(y, [y_hat], alpha)
    assert "\n" not in str(error.value) and str(alpha) in str(error.value)


def test_label_smoothing_is_a_teacher_that_knows_nothing(case):
    _, y, _ = case
    smooth = smoothed_labels(torch.tensor(y), 0.1).numpy()
    assert {round(v, 12) for v in smooth.ravel()} == {0.05, 0.95}
    np.testing.assert_allclose(smooth, mix(y, [np.full_like(y, 0.5)], [0.9, 0.1]), atol=1e-12)
    assert np.array_equal(smoothed_labels(torch.tensor(y), 0.0).numpy(), y)


def test_a_stage_reads_its_teachers_outputs_and_the_original_labels(case, tmp_path):
    """Algorithm 1, line 3: never an earlier stage's target, and no gradient into a teacher."""
    _, y, y_hat = case
    np.save(tmp_path / "train.npy", y_hat.astype(np.float16))
    spec = {"alpha": [0.3, 0.7]}
    y_bar = secost.target(spec, y, [tmp_path])
    assert y_bar.dtype == np.float32 and y_bar.shape == y.shape
    np.testing.assert_allclose(y_bar, 0.3 * y + 0.7 * y_hat, atol=1e-3)  # stored as float16
    assert np.array_equal(secost.target({}, y, []), y)
    assert np.allclose(secost.target({"smoothing": 0.2}, y, []), 0.8 * y + 0.1)
