"""The shallow student's net, losses, masks, SpecAugment and teacher, each against its formula."""

from itertools import product

import numpy as np
import pytest
import torch
from conftest import LABELS, made_events, refused, shown
from test_shallow_method import SIZES

from wsaed import features, nets, parameters, postprocess, runs, training
from wsaed.joint import scores
from wsaed.shallow import augment, method, systems, teacher

# The net


def student(classes=10, **settings):
    return nets.build({"net": {"name": "shallow.net:LstmStudent", **settings}}, classes)


def test_the_student_has_the_published_number_of_parameters():
    net = student()
    assert nets.parameter_count(net) == 1_342_484
    assert (net.lstm.num_layers, net.lstm.hidden_size, net.lstm.bidirectional) == (3, 256, False)
    assert student(width=0.25).lstm.hidden_size == 64 and student(width=1e-3).lstm.hidden_size == 8
    assert student(mels=128, width=0.05)(torch.randn(2, 30, 128))[0].shape == (2, 30, 10)


@pytest.mark.parametrize("bias", [-300.0, 17.0, 300.0])
def test_saturated_outputs_stay_probabilities_with_finite_slopes(bias):
    net = student(5, width=0.05)
    with torch.no_grad():
        net.frames.bias.fill_(bias)
        net.attention.bias[0] = 200.0
    f, clip = net(torch.randn(4, 250, 20))
    assert all(p.min() >= 0 and p.max() <= 1 for p in (f, clip))
    loss = method.cross_entropy(clip, torch.full_like(clip, 0.5))
    loss.backward()
    assert loss.isfinite() and all(w.grad.isfinite().all() for w in net.parameters())


# Masks and losses


def spans(M):
    on = np.flatnonzero(np.diff(np.pad(M.numpy().astype(int), 1)))
    return [(int(a), int(b) - 1) for a, b in on.reshape(-1, 2)]


def test_masked_cells_contribute_nothing():
    Y = (torch.rand(4, 40, 5) < 0.1) * torch.eye(5)[:4, None]  # one class a clip
    y_w = Y.amax(1)
    mask, p = method.event_mask(y_w, 40), torch.rand(Y.shape, requires_grad=True)
    for denominator, M in product(method.DENOMINATORS, (mask, 0 * mask)):
        p.grad = None
        found = method.masked_cross_entropy(p, Y, M, denominator)
        found.backward()
        assert (p.grad[M == 0] == 0).all() and (p.grad[M == 1] != 0).all()
        elsewhere = torch.where(M == 1, p, torch.rand(Y.shape))
        elsewhere[0, :, y_w[0] == 0] = 1.0  # even where the logarithm has no end
        assert torch.equal(method.masked_cross_entropy(elsewhere, Y, M, denominator), found)


# SpecAugment

FILL = torch.linspace(-9, -8, 20)


def masked(x, axis):
    """Whether each frame (axis 1) or band (axis 2) holds the fill throughout."""
    return (x == FILL).all(3 - axis)


@pytest.mark.parametrize("length", [0, 1, 8, 16, 99, 100, 101, 500])
def test_a_time_mask_has_exactly_its_length_or_the_clips(length):
    x = torch.rand(50, 100, 20)
    found = augment.mask_time(x, torch.full((50, 1), length), FILL)
    where = masked(found, 1)
    assert (where.sum(1) == min(length, 100)).all()
    assert all(len(spans(row)) == (length > 0) for row in where)  # in one piece
    assert torch.equal(found[~where], x[~where])


def test_every_clip_has_lengths_of_its_own_and_masks_may_overlap():
    lengths = torch.randint(0, 30, (400, 2))
    where = masked(augment.mask_time(torch.rand(400, 50, 20), lengths, FILL), 1).sum(1)
    assert (where >= lengths.amax(1)).all() and (where <= lengths.sum(1)).all()
    assert (where == lengths.sum(1)).any() and (where < lengths.sum(1)).any()


def test_a_masks_start_is_uniform_and_both_ends_are_reached():
    where = masked(augment.mask_time(torch.rand(8800, 20, 20), torch.full((8800, 1), 10), FILL), 1)
    starts = np.bincount(where.int().argmax(1).numpy(), minlength=11)
    assert len(starts) == 11
    chi_square = ((starts - 800) ** 2 / 800).sum()
    assert chi_square < 29.6  # the 0.1 % point at 10 degrees of freedom


def test_frequency_masks_are_bands_of_an_exact_width():
    x = torch.rand(300, 30, 20)
    one, two = (masked(augment.mask_frequency(x, 4, times, FILL), 2) for times in (1, 2))
    assert (one.sum(1) == 4).all() and all(len(spans(row)) == 1 for row in one)
    assert set(one.int().argmax(1).tolist()) == set(range(17))
    assert two.sum(1).min() >= 4 and two.sum(1).max() == 8
    assert torch.equal(augment.mask_frequency(x, 4, 0, FILL), x)


L4 = torch.tensor([4.0, 8.0, 12.0, 16.0])


def test_custom_lengths_follow_the_likeliest_classes():
    l = torch.tensor([19.0, 80.8, 44, 18.5, 24, 203.4, 256.6, 179.9, 44.6, 265])  # noqa: E741
    published = augment.custom_lengths(torch.eye(10), l, K=1)  # of the public lists' medians
    assert published.dtype == torch.int64
    assert published[:, 0].tolist() == [5, 20, 11, 5, 6, 51, 64, 45, 11, 66]
    soft = torch.tensor([[0.3, 0.1, 0.9, 0.2], [0.9, 0.8, 0.1, 0.1]])
    assert augment.custom_lengths(soft, L4, 1.0).tolist() == [[12, 4], [4, 8]]
    assert augment.custom_lengths(soft, 0 * L4, 1.0).tolist() == [[0, 0], [0, 0]]


def test_a_clip_with_one_event_draws_its_second_class_at_random():
    y_w = torch.tensor([0.0, 1.0, 0.0, 0.0]).expand(3000, -1)
    lengths = augment.custom_lengths(y_w, L4, 0.5)
    assert (lengths[:, 0] == 4).all()
    second = np.bincount(lengths[:, 1].numpy(), minlength=9)[[2, 6, 8]]
    assert second.sum() == 3000 and ((second - 1000) ** 2 / 1000).sum() < 13.8  # 0.1 %, 2 degrees


@pytest.mark.parametrize("chance", [0.0, 0.5, None, 1.0])
def test_a_clip_is_masked_in_time_and_frequency_or_not_at_all(chance):
    x, given = torch.rand(2000, 40, 20), {} if chance is None else {"chance": chance}
    found = augment.spec_augment(x, torch.full((2000, 2), 5), FILL, **given)
    frames, bands = masked(found, 1).sum(1), masked(found, 2).sum(1)
    assert torch.equal(frames > 0, bands > 0)
    share = (frames > 0).float().mean().item()
    assert share == pytest.approx(given.get("chance", 0.5), abs=0.05)  # half unless told
    assert all(5 <= n <= 10 for n in frames[frames > 0].tolist())
    untouched = frames == 0
    assert torch.equal(found[untouched], x[untouched])
    assert torch.equal(found[found != FILL], x[found != FILL])


def test_the_three_augmentations():
    x, y = torch.zeros(400, 250, 20), torch.eye(4)[1].expand(400, 4)
    l = torch.tensor([20.0, 40.0, 80.0, 120.0])  # noqa: E741
    assert torch.equal(augment.augmented("none", x, y, l, 25.0, FILL), x)
    # two masks of 8 frames, apart or overlapping; the class's own 10 and another's 5, 20 or 30
    for kind, shortest, longest in (("standard", 8, 16), ("custom", 10, 40)):
        seen = augment.augmented(kind, x, y, l, 25.0, FILL)
        frames, bands = masked(seen, 1).sum(1), masked(seen, 2).sum(1)
        assert 0.4 < (frames > 0).float().mean() < 0.6
        assert torch.equal(frames > 0, bands > 0) and set(bands.tolist()) == {0, 4}
        assert frames.max() == longest and frames[frames > 0].min() >= shortest


# The teacher


def outputs(members=6, clips=5, frames=8, classes=4):
    rng = np.random.default_rng(3)
    shapes = (clips, frames, classes), (clips, classes)
    return [tuple(rng.random(s).astype(np.float32) for s in shapes) for _ in range(members)]


def test_the_vote_rule_counts_members_and_asks_those_that_said_yes():
    members = outputs()
    members[0][1][0], members[1][1][0] = 0.5, 0.49  # just yes, just no
    for _, c in members[2:]:
        c[1] = 0.4
    members[0][1][1] = members[1][1][1] = 0.1
    frames, clips = teacher.combined(iter(members), "vote")
    for i, c in np.ndindex(5, 4):
        yes = [p[i, :, c] for p, tags in members if tags[i, c] >= 0.5]
        assert clips[i, c] == pytest.approx(len(yes) / 6)
        assert (clips[i, c].astype(np.float16) >= 0.5) == (len(yes) >= 3)  # half carry the gate
        expected = np.mean(yes, 0) if yes else np.zeros(8)
        np.testing.assert_allclose(frames[i, :, c], expected, rtol=1e-5)
    assert (clips[1] == 0).all() and (frames[1] == 0).all()


def test_another_rule_is_one_line():
    with refused("rule must be mean or vote"):
        teacher.combined(outputs(), "median")


SIZE = {"width": 0.05, "frames": 250, "mels": 32, "dropout": 0.0}
MEMBER = {"net": {"name": "joint.nets:guided_pair"} | SIZE, "front_end": "guided_40ms"}


@pytest.fixture
def members(corpus, tmp_path):
    """Folders of three guided-learning pairs with weights of their own, trained by nobody."""
    folders = [tmp_path / f"member_{k}" for k in range(3)]
    for folder in folders:
        pair = nets.build(MEMBER, len(LABELS))
        for net in pair.children():
            torch.nn.init.normal_(net.score.weight)
        folder.mkdir()
        nets.save(pair, folder)
    return folders


@pytest.fixture
def said(corpus, members):
    """What each of the three says of the unlabelled clips."""
    heard = corpus["unlabelled"].features(features.FRONT_ENDS["guided_40ms"])
    return [training.predict(nets.trained(MEMBER, 4, m), heard) for m in members]


def ensemble(members, folder, **more):
    """(scores, what was written of the unlabelled clips) of a run."""
    spec = MEMBER | {"corpus": {}, "rule": "mean", "single": False, "teachers": [MEMBER] * 3}
    folder.mkdir()
    found = teacher.ensemble(spec | more, 0, folder, members, None)
    return found, [np.load(folder / f"unlabelled_{part}.npy") for part in ("frames", "clips")]


def test_pseudolabels_are_wrong_by_cell_and_where_the_event_mask_looks(members, said, tmp_path):
    truth = postprocess.active_frames(made_events("unlabelled", 20), LABELS, 250, 25.0)
    t_s, t_w = teacher.combined(said, "mean")
    wrong, inside, absent = [], [], []
    for i, c in np.ndindex(t_w.shape):
        cells = [(t_s[i, t, c] >= 0.5) != truth[i, t, c] for t in range(250)]
        wrong += cells
        inside += cells if t_w[i, c] >= 0.5 else []
        absent += list(t_s[i, :, c] >= 0.5) if truth[i, :, c].sum() == 0 else []
    found, _ = ensemble(members, tmp_path / "out")
    for name, cells in (("error", wrong), ("error_mask", inside)):
        assert found[f"pseudo_{name}"] == pytest.approx(np.mean(cells))
    assert found["absent_active"] == pytest.approx(np.mean(absent))
    one, _ = ensemble(members, tmp_path / "one", single=True)
    assert found["parameters"] == 3 * one["parameters"]
    assert found["multiply_adds"] == 3 * one["multiply_adds"] > 0


@pytest.mark.parametrize("rule", ["mean", "vote"])
def test_the_ensemble_writes_what_its_members_say_together(rule, members, said, tmp_path):
    found, written = ensemble(members, tmp_path / "out", rule=rule)
    assert written[0].shape == (SIZES["unlabelled"], 250, 4) and written[1].shape == (20, 4)
    for a, b in zip(written, teacher.combined(said, rule), strict=True):
        assert a.dtype == np.float16 and np.array_equal(a, b.astype(np.float16))
    assert len(found["members_event_f1_validation"]) == 3 and "member" not in found
    assert {"event_f1_average", "event_f1_median", "event_f1_none"} <= set(found)
    assert "event_f1_esp" not in found


def test_the_single_teacher_is_the_best_on_validation(members, said, tmp_path, monkeypatch):
    f1 = iter([0.2, 0.5, 0.4])
    monkeypatch.setattr(scores, "validation_f1", lambda *any: next(f1))
    found, written = ensemble(members, tmp_path / "out", single=True)
    assert found["member"] == 1 and found["members_event_f1_validation"] == [0.2, 0.5, 0.4]
    for a, b in zip(written, said[1], strict=True):
        assert np.array_equal(a, b.astype(np.float16))


# The systems and what is printed of them


def test_every_table_compares_systems_that_have_specs_and_names():
    p = parameters.chosen("shallow_student", "laptop")
    found = systems.systems(p)
    assert shown(systems, "evidence") == {*found} > shown(systems, "laptop")
    assert shown(systems, "laptop") == {*systems.HEADLINES}
    assert {*systems.PUBLISHED["names"]} == {*found}
    for printed in systems.PUBLISHED["printed"].values():
        unprinted = {"labelled", "member", *(s for s in found if "mask_sum" in s)}
        assert {*found} - {*printed} == unprinted
    counts = [systems.replicates("ef_sw_em_cs_mask_sum", p, wanted) for wanted in (1, 3, 6)]
    assert counts == [1, 3, 3] and systems.replicates("em_cs", p, 6) == 6
    assert systems.replicates("member", p, 6) == 1


def test_the_teachers_nets_are_the_joint_papers_and_serve_all_replicates(monkeypatch):
    p = parameters.chosen("shallow_student", "laptop") | {"weak_clips": 7}
    p |= {"members": 6, "teacher_width": 0.3, "teacher_steps": 70}
    six = systems.teacher(p)["teachers"]
    keys = {runs.key(*runs.pinned(six[0], r)) for r in (0, 5)}
    assert keys == {runs.key(systems.systems(p)["member"], 0)}
    assert [member.get("decay", 0.996) for member in six] == list(systems.DECAYS)
    sizes = {(member["net"]["width"], member["budget"]["steps"]) for member in six}
    assert sizes == {(0.3, 70)}
    assert {m["method"] for m in six} == {"joint.method:guided_learning"}
    found = [(m["draw"], m["replicate"], m["corpus"]["weak"]) for m in six]
    assert found == [(k, 0, 7) for k in range(6)]
    monkeypatch.setenv("BANK", "/recordings/mine")  # whose folds take turns
    assert all("replicate" not in member for member in systems.teacher(p)["teachers"])


def test_a_printed_difference_has_the_interval_of_two_means():
    change, half = systems.printed_change("ef_sw_em_cs", "sw_nm_ns", "event_f1_median")
    assert change == pytest.approx(7.8)
    assert half == pytest.approx(2.1009 * 100 * np.hypot(0.009, 0.009) / np.sqrt(10), abs=1e-3)
    assert systems.printed_change("ensemble", "single", "event_f1_median")[1] == 0
