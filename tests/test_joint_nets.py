"""The joint paper's networks: sizes, rates, who sees what, and refused settings."""

import numpy as np
import pytest
import torch
from conftest import CASES, refused

from wsaed import nets
from wsaed.joint.nets import SHARE, GatedUnit

NAMES = ("guided", "joint", "mean_teacher")
NARROW = {"width": 0.05, "frames": 250, "mels": 32, "dropout": 0.0}
# guided learning's shares of channels on its lists, and its students' channels
SHARES = np.array([0.862, 0.593, 0.841, 0.434, 0.831, 0.479, 0.213, 1.0, 0.192, 0.706])
K_STUDENT = np.array([137, 94, 134, 69, 132, 76, 34, 160, 30, 113])
COUNTS = (SHARES - SHARE) / (1 - SHARE) * 1000  # lone clips a class, up to a factor


def build(name, classes=10, **settings):
    return nets.build({"net": {"name": f"joint.nets:{name}_pair", **settings}}, classes)


SIZES = [(n, *s) for both, of in CASES["pair_sizes"].items() for n in both.split() for s in of]


@pytest.mark.parametrize("name, frames, mels, slow, fast", SIZES)
def test_a_teacher_squeezes_time_and_a_student_may_keep_it(name, frames, mels, slow, fast):
    pair = build(name, width=0.05, frames=frames, mels=mels, dropout=0.0)
    said = pair(torch.randn(2, frames, mels))
    for (p, clip, features), length in zip(said, (slow, fast), strict=True):
        assert p.shape == (2, length, 10) and clip.shape == (2, 10)
        assert features.shape[:2] == (2, length)
        assert all(v.min() >= 0 and v.max() <= 1 for v in (p, clip))


def test_guided_learning_has_the_published_numbers_of_weights_and_channels():
    """A class's two linear maps count with the channels that it may use."""
    pair = build("guided")
    for net, millions in ((pair.student, 0.878), (pair.teacher, 0.334)):
        net.set_class_counts(COUNTS)
        heads = 2 * net.channels.sum().item() + 2 * 10
        batch_norm_of_the_input = 2 * 64
        weights = nets.parameter_count(net.trunk) + heads + batch_norm_of_the_input
        assert weights / 1e6 == pytest.approx(millions, abs=5e-4)
    off = abs(pair.student.channels.sum(1).int().numpy() - K_STUDENT)
    assert off.max() <= 1 and off.sum() <= 1  # the shares are rounded
    assert abs(pair.teacher.channels.sum(1).numpy() - 512 * SHARES).max() <= 1
    assert (pair.student.channels.diff(dim=1) <= 0).all()  # the first k_c, no others


def filters(net):
    convs = [part for part in net.trunk if isinstance(part, torch.nn.Conv2d)]
    return [(conv.out_channels, conv.kernel_size[0]) for conv in convs]


@pytest.mark.parametrize("name, last", [("guided", [(256, 1)]), ("joint", [(256, 3)] * 2)])
def test_trunks_at_the_papers_size(name, last):
    pair, x = build(name), torch.zeros(1, 600, 64)
    double = [(F, 3) for F in (16, 32, 64, 128) for _ in range(2)]
    assert filters(pair.teacher) == double + last
    assert filters(pair.student) == [(160, 5), (160, 5), (160, 3)]
    with torch.inference_mode():
        assert pair.teacher.features(x).shape == (1, 6, 512)
        assert pair.student.features(x).shape == (1, 600, 160)
    rates = [part.p for part in pair.modules() if isinstance(part, torch.nn.Dropout)]
    assert rates == [0.3] * 5  # the teacher's, one a block
    for net in (pair.teacher, pair.student) if name == "joint" else ():
        assert (net.gru.hidden_size, net.gru.num_layers, net.gru.bidirectional) == (64, 2, True)
        assert net.aed[0].out_features == 256


def test_the_official_baseline_at_its_size():
    pair = build("mean_teacher")
    assert filters(pair.student) == [(64, 3)] * 3
    assert (pair.student.gru.input_size, pair.student.gru.hidden_size) == (64, 64)
    norms = [part for part in pair.student.trunk if isinstance(part, torch.nn.BatchNorm2d)]
    assert [(norm.eps, norm.momentum) for norm in norms] == [(1e-3, 0.01)] * 3


def test_a_class_sees_only_its_own_channels():
    net = build("guided", 3).student
    net.set_class_counts([10, 5, 0])
    torch.nn.init.normal_(net.score.weight)
    k = net.channels.sum(1).int().tolist()
    assert k == [160, 83, 6]
    h = torch.randn(2, 30, 160)
    before = net.outputs(h)
    h[:, :, k[1] :] += 1
    for a, b in zip(before, net.outputs(h), strict=True):
        assert (a == b).reshape(-1, 3).all(0).tolist() == [False, True, True]


@pytest.mark.parametrize("width, h", [(1.0, 160), (0.1, 16)])
def test_attention_pooling_of_guided_learning_is_its_naive_loop(width, h):
    """A narrow net's scores and temperature are of the size that 160 channels have."""
    net, F = build("guided", 3, width=width).student, torch.randn(1, 30, h)
    with torch.inference_mode():  # untrained it weighs all frames alike
        p, clip = net.outputs(F)
        assert (p == 0.5).all()
        assert torch.allclose(clip, net.clip(F.mean(1)).sigmoid(), atol=1e-5)
    net.set_class_counts([10, 5, 1])
    torch.nn.init.normal_(net.score.weight, std=3 * h / 160)
    with torch.inference_mode():
        p, clip = (v[0].numpy() for v in net.outputs(F))
    v, b, u, d = (w.detach().numpy() for w in (*net.score.parameters(), *net.clip.parameters()))
    for c, k in enumerate(net.channels.sum(1).int().tolist()):
        f = F[0, :, :k].numpy()
        score = np.array([f[t] @ v[c, :k] + b[c] for t in range(30)]) * 160 / h
        e = np.exp(score / (160 * k / h))
        embedding = sum(e[t] / e.sum() * f[t] for t in range(30))
        assert np.allclose(p[:, c], 1 / (1 + np.exp(-score)), atol=1e-5)
        assert clip[c] == pytest.approx(1 / (1 + np.exp(-embedding @ u[c, :k] - d[c])), abs=1e-5)


def test_the_joint_nets_tags_are_a_mean_of_their_frames_weighted_by_attention():
    net = build("joint", 4, **NARROW).teacher
    F = net.features(torch.randn(2, 250, 32))
    _, clip = net.outputs(F)
    hidden = net.at(torch.cat([F, net.gru(F)[0]], 2))
    p, a = net.frames(hidden).sigmoid(), torch.softmax(net.attention(hidden), 2)
    assert torch.allclose(a.sum(2), torch.ones(2, 6))
    for c in range(4):
        by_hand = sum(a[:, t, c] * p[:, t, c] for t in range(6)) / a[:, :, c].sum(1)
        assert torch.allclose(clip[:, c], by_hand, atol=1e-6)
    assert torch.equal(clip, nets.attention(p, a.clamp_min(nets.EPSILON)))


@pytest.mark.parametrize("at_pool", [1, 3, 5])
def test_the_detection_branch_does_not_see_the_recurrent_layers(at_pool):
    net = build("joint", 4, at_pool=at_pool, **NARROW).student
    p, clip = net(torch.randn(2, 250, 32))
    p.sum().backward(retain_graph=True)
    assert all(w.grad is None for w in net.gru.parameters())
    clip.sum().backward()
    assert all(w.grad.abs().sum() > 0 for w in net.gru.parameters())


def test_the_students_frames_stay_where_they_are():
    """A frame reaches the student's features within its kernels, 2 + 2 + 1 frames either way."""
    net = build("joint", 4, **NARROW).student.eval()
    x = torch.randn(1, 250, 32)
    y = x.clone()
    y[0, 100] += 10
    with torch.inference_mode():
        moved = (net.features(x) != net.features(y)).any(2)[0].nonzero()[:, 0]
    assert moved.min() == 95 and moved.max() == 105


@pytest.mark.parametrize("name", NAMES)
def test_only_the_teacher_hears_noise_and_in_eval_mode_the_student_answers(name, monkeypatch):
    pair, x, seen = build(name, 4, **NARROW), torch.randn(8, 250, 32), {}
    alone = pair.eval().student(x)
    assert all(torch.equal(a, b) for a, b in zip(pair(x), alone, strict=True))
    for half, net in pair.named_children():
        known = net.features
        remembered = lambda x, half=half, known=known: known(seen.setdefault(half, x))  # noqa: E731
        monkeypatch.setattr(net, "features", remembered)
    assert [len(three) for three in pair.train()(x)] == [3, 3]
    assert torch.equal(seen["student"], x) and not torch.equal(seen["teacher"], x)
    noise = seen["teacher"] - x
    if name == "mean_teacher":
        assert noise.min() >= -1e-5  # amplitude is only added
    else:
        assert noise.std().item() == pytest.approx(0.15, rel=0.02)
        assert noise.mean().item() == pytest.approx(0, abs=0.01)


def test_of_the_averaged_pair_the_average_answers():
    pair, x = build("averaged", 4, **NARROW), torch.randn(8, 250, 32)
    with torch.no_grad():
        pair.teacher.frames.bias += 1
    p, _ = pair.eval()(x)
    assert torch.equal(p, pair.teacher(x)[0]) and not torch.equal(p, pair.student(x)[0])


def test_the_baselines_noise_is_of_the_amplitudes_scale():
    pair = build("mean_teacher", 4, **NARROW)
    pair.set_statistics(torch.full((32,), -6.0), torch.ones(32))
    x = torch.full((8, 250, 32), -6.0)
    added = pair.disturb(x).exp() - x.exp()
    folded = 0.25 * np.exp(-6) * np.sqrt(2 / np.pi)  # the mean of |N(0, 1)|
    assert added.mean().item() == pytest.approx(folded, rel=0.02) and added.min() >= 0


def test_the_baselines_gate_is_a_linear_map_times_a_sigmoid():
    gate, x = GatedUnit(3), torch.randn(2, 3, 4, 5)
    W, b = gate.linear.weight[:, :, 0, 0], gate.linear.bias
    by_hand = torch.einsum("oi,bihw->bohw", W, x) + b[:, None, None]
    assert torch.allclose(gate(x), by_hand * x.sigmoid(), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_statistics_go_to_both_nets(name):
    pair = build(name, 4, **NARROW)
    pair.set_statistics(torch.arange(32.0), torch.arange(32.0) + 1)
    assert all(torch.equal(net.mean, torch.arange(32.0)) for net in pair.children())


@pytest.mark.parametrize("counts", [[0, 0, 0], [1, 2], [[1, 2, 3]]])
def test_class_counts_that_say_nothing_get_one_line(counts):
    with refused("clips with a single class"):
        build("guided", 3).student.set_class_counts(counts)
