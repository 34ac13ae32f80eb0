"""The joint paper's networks: sizes, rates, who sees what, and refused settings."""

import numpy as np
import pytest
import torch

from wsaed import nets
from wsaed.features import FRONT_ENDS
from wsaed.nets import guided, mean_teacher_crnn, pooling
from wsaed.nets.layers import parameter_count

NAMES = ("guided", "joint_crnn", "mean_teacher_crnn")
NARROW = {"width": 0.05, "frames": 250, "mels": 32, "dropout": 0.0}
# guided learning's shares of channels on its lists, and its students' and teachers' channels
SHARES = (0.862, 0.593, 0.841, 0.434, 0.831, 0.479, 0.213, 1.0, 0.192, 0.706)
K_STUDENT = (137, 94, 134, 69, 132, 76, 34, 160, 30, 113)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def build(name, classes=10, **settings):
    return nets.build({"net": {"name": name, **settings}}, classes)


def counts():
    """Lone clips a class, up to a factor, that give `SHARES`."""
    return (np.array(SHARES) - guided.SHARE) / (1 - guided.SHARE) * 1000


@pytest.mark.parametrize(
    "frames, mels, steps", [(600, 64, 6), (500, 64, 5), (250, 64, 6), (250, 32, 6)]
)
@pytest.mark.parametrize("name", ["guided", "joint_crnn"])
def test_the_teacher_squeezes_time_and_the_student_keeps_it(name, frames, mels, steps):
    pair = build(name, width=0.05, frames=frames, mels=mels, dropout=0.0)
    teacher, student = pair(torch.randn(2, frames, mels))
    for (p, clip, features), length in ((teacher, steps), (student, frames)):
        assert p.shape == (2, length, 10) and clip.shape == (2, 10)
        assert features.shape[:2] == (2, length)
        assert all(v.min() >= 0 and v.max() <= 1 for v in (p, clip))
    front_end = FRONT_ENDS["guided" if frames == 600 else "guided_40ms"]
    assert pair.frames_per_second(front_end) == pytest.approx(front_end.frames / 10)


@pytest.mark.parametrize("frames, mels, steps", [(864, 64, 108), (250, 64, 125), (250, 32, 125)])
def test_the_mean_teachers_steps_and_rate(frames, mels, steps):
    pair = build("mean_teacher_crnn", width=0.1, frames=frames, mels=mels)
    for p, clip, features in pair(torch.randn(2, frames, mels)):
        assert p.shape == (2, steps, 10) and clip.shape == (2, 10)
        assert features.shape[:2] == (2, steps)
    front_end = FRONT_ENDS["dcase2019" if frames == 864 else "guided_40ms"]
    assert pair.frames_per_second(front_end) == pytest.approx(steps / 10, rel=2e-3)


@pytest.mark.parametrize(
    "name, key",
    [
        ("guided", "guided"),
        ("guided", "guided_40ms"),
        ("joint_crnn", "guided"),
        ("joint_crnn", "guided_40ms"),
        ("mean_teacher_crnn", "guided_40ms"),
        ("mean_teacher_crnn", "dcase2019"),
    ],
)
def test_a_net_has_as_many_frames_as_its_labels(name, key):
    """Labels are made for seconds times rate frames; what comes out must be as long."""
    front_end = FRONT_ENDS[key]
    frames = 864 if key == "dcase2019" else front_end.frames
    pair = build(name, width=0.05, frames=frames, mels=front_end.mels).eval()
    p, _ = pair(torch.randn(1, front_end.frames, front_end.mels))
    rate = pair.frames_per_second(front_end)
    assert p.shape[1] == round(rate * front_end.seconds)


def test_guided_learning_has_the_published_numbers_of_weights():
    """A class's two linear maps count with the channels that it may use."""
    pair = build("guided")
    pair.teacher.set_class_counts(counts())
    pair.student.set_class_counts(counts())
    for net, millions in ((pair.student, 0.878), (pair.teacher, 0.334)):
        heads = 2 * net.channels.sum().item() + 2 * 10
        batch_norm_of_the_input = 2 * 64
        weights = parameter_count(net.trunk) + heads + batch_norm_of_the_input
        assert weights / 1e6 == pytest.approx(millions, abs=5e-4)


def filters(net):
    convs = [m for m in net.trunk if isinstance(m, torch.nn.Conv2d)]
    return [(m.out_channels, m.kernel_size[0]) for m in convs]


def test_trunks_at_the_papers_size():
    for name, last in (("guided", [(256, 1)]), ("joint_crnn", [(256, 3)] * 2)):
        pair = build(name)
        double = [(F, 3) for F in (16, 32, 64, 128) for _ in range(2)]
        assert filters(pair.teacher) == double + last
        assert filters(pair.student) == [(160, 5), (160, 5), (160, 3)]
        with torch.inference_mode():
            x = torch.zeros(1, 600, 64)
            assert pair.teacher.features(x).shape == (1, 6, 512)
            assert pair.student.features(x).shape == (1, 600, 160)
        rates = [m.p for m in pair.modules() if isinstance(m, torch.nn.Dropout)]
        assert rates == [0.3] * 5  # the teacher's, one a block
    for net in (pair.teacher, pair.student):
        assert (net.gru.hidden_size, net.gru.num_layers, net.gru.bidirectional) == (64, 2, True)
        assert net.aed[0].out_features == 256


def test_the_official_baseline_at_its_size():
    pair = build("mean_teacher_crnn", frames=864)
    assert filters(pair.student) == [(64, 3)] * 3
    assert (pair.student.gru.input_size, pair.student.gru.hidden_size) == (64, 64)
    norms = [m for m in pair.student.trunk if isinstance(m, torch.nn.BatchNorm2d)]
    assert [(m.eps, m.momentum) for m in norms] == [(1e-3, 0.01)] * 3


def test_channels_of_a_class_on_guided_learnings_own_lists():
    pair = build("guided")
    pair.student.set_class_counts(counts())
    pair.teacher.set_class_counts(counts())
    k = pair.student.channels.sum(1).int().numpy()
    assert abs(k - np.array(K_STUDENT)).max() <= 1  # the shares are rounded
    assert (k != K_STUDENT).sum() <= 1
    f = np.array(SHARES)
    assert abs(pair.teacher.channels.sum(1).numpy() - 512 * f).max() <= 1
    first = pair.student.channels.diff(dim=1)
    assert (first <= 0).all()  # the first k_c, no others


def test_a_class_sees_only_its_own_channels():
    net = build("guided", 3).student
    net.set_class_counts([10, 5, 0])
    torch.nn.init.normal_(net.score.weight)
    k = net.channels.sum(1).int().tolist()
    assert k == [160, 83, 6]
    h = torch.randn(2, 30, 160)
    before = net.outputs(h)
    h[:, :, k[1] :] += 1
    after = net.outputs(h)
    for a, b in zip(before, after, strict=True):
        same = (a == b).reshape(-1, 3).all(0)
        assert same.tolist() == [False, True, True]


def test_attention_pooling_of_guided_learning_is_its_naive_loop():
    net = build("guided", 3).student
    net.set_class_counts([10, 5, 1])
    torch.nn.init.normal_(net.score.weight, std=3)
    F = torch.randn(1, 30, 160)
    with torch.inference_mode():
        p, clip = (v[0].numpy() for v in net.outputs(F))
    v, b, u, d = (w.detach().numpy() for w in (*net.score.parameters(), *net.clip.parameters()))
    for c, k in enumerate(net.channels.sum(1).int().tolist()):
        f = F[0, :, :k].numpy()
        score = np.array([f[t] @ v[c, :k] + b[c] for t in range(30)])
        e = np.exp(score / k)
        embedding = sum(e[t] / e.sum() * f[t] for t in range(30))
        assert np.allclose(p[:, c], 1 / (1 + np.exp(-score)), atol=1e-5)
        assert clip[c] == pytest.approx(1 / (1 + np.exp(-embedding @ u[c, :k] - d[c])), abs=1e-5)


def test_untrained_attention_weighs_all_frames_alike():
    net = build("guided", 3).student
    F = torch.randn(2, 30, 160)
    p, clip = net.outputs(F)
    assert (p == 0.5).all()
    assert torch.allclose(clip, net.clip(F.mean(1)).sigmoid(), atol=1e-5)


def test_the_joint_nets_tags_are_a_mean_of_their_frames_weighted_by_attention():
    net = build("joint_crnn", 4, **NARROW).teacher
    F = net.features(torch.randn(2, 250, 32))
    _, clip = net.outputs(F)
    hidden = net.at(torch.cat([F, net.gru(F)[0]], 2))
    p, a = net.frames(hidden).sigmoid(), torch.softmax(net.attention(hidden), 2)
    assert torch.allclose(a.sum(2), torch.ones(2, 6))
    for c in range(4):
        by_hand = sum(a[:, t, c] * p[:, t, c] for t in range(6)) / a[:, :, c].sum(1)
        assert torch.allclose(clip[:, c], by_hand, atol=1e-6)
    assert torch.equal(clip, pooling.attention(p, a.clamp_min(pooling.EPSILON)))


@pytest.mark.parametrize("at_pool", [1, 5])
def test_the_detection_branch_does_not_see_the_recurrent_layers(at_pool):
    net = build("joint_crnn", 4, at_pool=at_pool, **NARROW).student
    p, clip = net(torch.randn(2, 250, 32))
    p.sum().backward(retain_graph=True)
    assert all(w.grad is None for w in net.gru.parameters())
    clip.sum().backward()
    assert all(w.grad.abs().sum() > 0 for w in net.gru.parameters())


def test_the_students_frames_stay_where_they_are():
    """A frame reaches the student's features within its kernels, 2 + 2 + 1 frames either way."""
    net = build("joint_crnn", 4, **NARROW).student.eval()
    x = torch.randn(1, 250, 32)
    y = x.clone()
    y[0, 100] += 10
    with torch.inference_mode():
        moved = (net.features(x) != net.features(y)).any(2)[0].nonzero()[:, 0]
    assert moved.min() == 95 and moved.max() == 105


@pytest.mark.parametrize("name", NAMES)
def test_in_eval_mode_the_student_answers_alone(name):
    pair = build(name, 4, **NARROW).eval()
    x = torch.randn(3, 250, 32)
    alone = pair.student(x)
    assert all(torch.equal(a, b) for a, b in zip(pair(x), alone, strict=True))
    assert len(pair(x)) == 2 and len(pair.train()(x)[0]) == 3


@pytest.mark.parametrize("name", NAMES)
def test_only_the_teacher_hears_noise(name, monkeypatch):
    pair = build(name, 4, **NARROW)
    seen = {}
    for half in ("teacher", "student"):
        net = getattr(pair, half)
        known = net.features
        monkeypatch.setattr(
            net, "features", lambda x, half=half, known=known: (seen.update({half: x}), known(x))[1]
        )
    x = torch.randn(8, 250, 32)
    pair(x)
    assert torch.equal(seen["student"], x) and not torch.equal(seen["teacher"], x)
    noise = seen["teacher"] - x
    if name == "mean_teacher_crnn":
        assert noise.min() >= -1e-5  # amplitude is only added
    else:
        assert noise.std().item() == pytest.approx(0.15, rel=0.02)
        assert noise.mean().item() == pytest.approx(0, abs=0.01)


def test_the_baselines_noise_is_of_the_amplitudes_scale():
    pair = build("mean_teacher_crnn", 4, **NARROW)
    pair.set_statistics(torch.full((32,), -6.0), torch.ones(32))
    x = torch.full((8, 250, 32), -6.0)
    added = pair.disturb(x).exp() - x.exp()
    folded = 0.25 * np.exp(-6) * np.sqrt(2 / np.pi)  # the mean of |N(0, 1)|
    assert added.mean().item() == pytest.approx(folded, rel=0.02) and added.min() >= 0


def test_the_mean_teacher_starts_as_the_student_and_is_not_trained():
    pair = build("mean_teacher_crnn", 4, **NARROW)
    both = zip(pair.teacher.parameters(), pair.student.parameters(), strict=True)
    assert all(torch.equal(old, new) and old is not new for old, new in both)
    assert not any(w.requires_grad for w in pair.teacher.parameters())
    assert all(w.requires_grad for w in pair.student.parameters())


def test_the_baselines_gate_is_a_linear_map_times_a_sigmoid():
    gate, x = mean_teacher_crnn.GatedUnit(3), torch.randn(2, 3, 4, 5)
    W, b = gate.linear.weight[:, :, 0, 0], gate.linear.bias
    by_hand = torch.einsum("oi,bihw->bohw", W, x) + b[:, None, None]
    assert torch.allclose(gate(x), by_hand * x.sigmoid(), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_statistics_go_to_both_nets_and_weights_to_a_fresh_pair(name, tmp_path):
    spec = {"net": {"name": name, **NARROW}}
    pair = nets.build(spec, 4)
    pair.set_statistics(torch.arange(32.0), torch.arange(32.0) + 1)
    for net in (pair.teacher, pair.student):
        assert torch.equal(net.mean, torch.arange(32.0))
    x = torch.randn(4, 250, 32)
    pair(x)  # running statistics other than the initial ones
    if name == "guided":
        pair.student.set_class_counts([4, 3, 2, 1])
    nets.save(pair, tmp_path)
    again = nets.trained(spec, 4, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(again(x), pair.eval()(x), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_float32_under_autocast(name):
    pair = build(name, 4, **NARROW)
    with torch.autocast("cpu", torch.bfloat16):
        for p, clip, _ in pair(torch.randn(2, 250, 32)):
            assert p.dtype == clip.dtype == torch.float32 and clip.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "settings, reason",
    [
        ({"frames": 300}, "frames must be one of"),
        ({"mels": 40}, "mels must be one of"),
        ({"dropout": 0.7}, "dropout must be one of"),
        ({"widht": 1}, "unknown setting 'widht'"),
        ({"width": 0}, "must be positive"),
    ],
)
def test_a_wrong_setting_gets_one_line(name, settings, reason):
    with pytest.raises(ValueError, match=reason) as error:
        build(name, **settings)
    assert "\n" not in str(error.value) and name in str(error.value)


def test_the_tagging_branchs_pool_is_checked_too():
    with pytest.raises(ValueError, match="at_pool must be one of"):
        build("joint_crnn", at_pool=3)
    with pytest.raises(ValueError, match="unknown setting 'at_pool'"):
        build("guided", at_pool=5)


@pytest.mark.parametrize("counts", [[0, 0, 0], [1, 2], [[1, 2, 3]]])
def test_class_counts_that_say_nothing_get_one_line(counts):
    with pytest.raises(ValueError, match="clips with a single class") as error:
        build("guided", 3).student.set_class_counts(counts)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_an_input_of_other_mels_gets_one_line(name):
    with pytest.raises(ValueError, match="input must be"):
        build(name, 4, **NARROW)(torch.randn(2, 250, 64))
