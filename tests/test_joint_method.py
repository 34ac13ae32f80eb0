"""The joint paper's losses against naive transcriptions; batches, objectives and training."""

import json
import math
import re

import numpy as np
import pytest
import torch
from conftest import made_split
from safetensors.torch import load_file

from wsaed import corpora, losses, nets, postprocess, scoring, training
from wsaed.corpora import Corpus, Event, Shards
from wsaed.methods import detection, detection_scores, guided_learning, joint, mean_teacher
from wsaed.methods.detection import STRONG, UNLABELLED, UNUSED, WEAK

LABELS = ("Alarm", "Cat", "Dog", "Speech")
SIZES = {"strong": 8, "weak": 8, "unlabelled": 16, "validation": 6, "test": 8}
SMALL = {"width": 0.05, "frames": 250, "mels": 32}
NETS = {
    "joint": {"name": "joint_crnn", "at_pool": 5, "dropout": 0.5, **SMALL},
    "guided_learning": {"name": "guided", "dropout": 0.5, **SMALL},
    "mean_teacher": {"name": "mean_teacher_crnn", "dropout": 0.5, **SMALL},
}
METHODS = {"joint": joint, "guided_learning": guided_learning, "mean_teacher": mean_teacher}
ALL = {"distill": ["tfd", "dfd_d", "dfd_d_wu", "dfd_mse"], "focal": 2.0}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def spec(method="joint", **more):
    budget = {"epochs": 3, "batch_size": 8, "learning_rate": 2e-3}
    found = {"method": method, "net": NETS[method], "corpus": {}, "front_end": "guided_40ms"}
    return found | {"budget": budget, "draw": 0} | (ALL if method == "joint" else {}) | more


def split(name, folder, labels=LABELS):
    """Noise with a band of its own for every class, where its event says; one or two events."""
    rng, count = np.random.default_rng(len(name)), SIZES[name]
    x, events = rng.normal(-5, 1, (count, 250, 32)), []
    for i in range(count):
        events.append([])
        for label in rng.permutation(labels)[: 1 + i % 2]:
            onset, c = rng.uniform(0, 6), LABELS.index(label)
            events[i].append(Event(str(label), onset, onset + rng.uniform(0.5, 3)))
            x[i, int(onset * 25) : int(events[i][-1].offset * 25), 8 * c : 8 * c + 8] += 6
    np.save(folder / f"{name}.npy", x.astype(np.float16))
    shards = Shards((folder / f"{name}.npy",))
    return made_split(name, events, LABELS, lambda front_end: shards)


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    splits = {name: split(name, tmp_path) for name in SIZES}
    made = Corpus("made", LABELS, splits, "")
    monkeypatch.setattr(corpora, "load", lambda spec, replicate: made)
    return made


@pytest.fixture
def data(corpus):
    found = detection.Data(corpus, spec())
    found.set_rate(250, 25.0)
    return found


@pytest.fixture
def batch(data):
    return next(data.batches({"batch_size": 8, "epochs": 3}, 0, 0))


def at(batch, e):
    return batch._replace(step=e, steps=100)


def outputs(batch, method="joint"):
    pair = nets.build(spec(method), len(LABELS))
    return pair, *pair(batch.x)


# The losses


def bce(p, y):
    cells = zip(np.ravel(p).tolist(), np.ravel(y).tolist(), strict=True)
    return np.mean([-math.log(a) if b == 1 else -math.log(1 - a) for a, b in cells])


def focal(p, y, gamma):
    cells = zip(np.ravel(p).tolist(), np.ravel(y).tolist(), strict=True)
    sure = [a if b == 1 else 1 - a for a, b in cells]
    return np.mean([-((1 - p_t) ** gamma) * math.log(p_t) for p_t in sure])


def cells(shape=(6, 5)):
    rng = np.random.default_rng(1)
    return torch.tensor(rng.uniform(0.02, 0.98, shape)), torch.tensor(
        (rng.random(shape) < 0.3).astype(float)
    )


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_the_focal_loss_is_its_naive_transcription(gamma):
    p, y = cells()
    assert losses.focal(p, y, gamma).item() == pytest.approx(focal(p, y, gamma), abs=1e-12)


def test_focal_with_gamma_0_is_binary_cross_entropy_also_at_the_ends():
    p, y = cells()
    for said in (p, torch.zeros_like(p), torch.ones_like(p), y):
        a, b = losses.focal(said, y, 0.0), losses.binary_cross_entropy(said, y)
        assert a.item() == pytest.approx(b.item(), abs=1e-12)


@pytest.mark.parametrize("z", [-200.0, -40.0, 0.0, 40.0, 200.0])
@pytest.mark.parametrize("y", [0.0, 1.0])
def test_the_focal_loss_and_its_slope_stay_finite_where_a_sigmoid_saturates(z, y):
    z = torch.tensor([z], requires_grad=True)
    loss = losses.focal(z.sigmoid(), torch.tensor([y]))
    loss.backward()
    assert 0 <= loss.item() <= 100 and z.grad.isfinite().all()


def test_the_focal_loss_fades_easy_cells_by_their_square():
    one = torch.tensor([1.0])
    for p in (0.5, 0.9, 0.99):
        ratio = losses.focal(one * p, one) / losses.binary_cross_entropy(one * p, one)
        assert ratio.item() == pytest.approx((1 - p) ** 2, rel=1e-3)


def test_the_printed_focal_loss_is_least_where_everything_is_yes_and_ours_is_not():
    _, y = cells()

    def printed(p, gamma=2.0):
        return (-(1 - p**gamma) * p.log().clamp_min(-100)).mean().item()

    yes = torch.ones_like(y)
    assert printed(yes) == 0 < printed(y) and printed(yes) < printed(torch.full_like(y, 0.99))
    assert losses.focal(y, y) == 0 < losses.focal(torch.full_like(y, 0.99), y)
    assert losses.focal(yes, y).item() == pytest.approx(100 * (y == 0).double().mean().item())


def test_distillation_is_a_naive_triple_loop():
    F_t, F_s = torch.randn(3, 7, 4), torch.randn(3, 7, 4)
    M = torch.tensor(np.random.default_rng(2).integers(0, 2, (3, 7)))
    D = losses.frame_distance(F_t, F_s)
    total = 0.0
    for clip in range(3):
        for j in range(7):
            square = sum((F_t[clip, j, k] - F_s[clip, j, k]).item() ** 2 for k in range(4))
            assert D[clip, j].item() == pytest.approx(math.sqrt(square), rel=1e-5)
            total += math.sqrt(square) * M[clip, j].item() / 7
    assert losses.target_event_distillation(D, M).item() == pytest.approx(total / 3, rel=1e-5)


def test_the_distance_has_a_finite_slope_where_both_nets_agree():
    F = torch.randn(1, 3, 4, requires_grad=True)
    losses.frame_distance(F, F.detach().clone()).sum().backward()
    assert F.grad.isfinite().all() and F.grad.abs().max() < 1e-3


@pytest.mark.parametrize(
    "x, beta", [(-1, 0.0067), (0, 0.0067), (0.25, 0.060), (0.5, 0.287), (0.75, 0.732), (2, 1)]
)
def test_beta_at_points_known_by_hand(x, beta):
    assert losses.ramp_up(x) == pytest.approx(beta, abs=5e-4)


def test_alpha_is_0_up_to_its_start_and_then_follows_its_closed_form():
    assert [losses.s_to_t_weight(e, 30) for e in (0, 29.9, 30)] == [0, 0, 0]
    assert losses.s_to_t_weight(31, 30) == pytest.approx(0.004)
    assert losses.s_to_t_weight(100, 30) == pytest.approx(0.245, abs=5e-4)
    assert losses.s_to_t_weight(99, 5) == pytest.approx(0.314, abs=5e-4)


# Batches

COUNTS = {"weak": 24, "strong": 30, "unlabelled": 100}


def rows_of_kind(batches, counts, kind):
    start = sum(list(counts.values())[: list(counts).index(kind)])
    rows = np.concatenate(batches)
    return rows[(rows >= start) & (rows < start + counts[kind])] - start


@pytest.mark.parametrize("batch_size, shares", [(16, (4, 4, 8)), (8, (2, 2, 4)), (4, (1, 1, 2))])
def test_every_batch_holds_its_share_of_every_kind(batch_size, shares):
    for epoch in range(3):
        batches = detection.mixed(COUNTS, batch_size, 0, epoch)
        assert len(batches) == 24 // shares[0]
        for batch in batches:
            found = [len(rows_of_kind([batch], COUNTS, kind)) for kind in COUNTS]
            assert tuple(found) == shares


def test_the_kind_that_ends_first_is_seen_once_an_epoch():
    for epoch in range(4):
        seen = rows_of_kind(detection.mixed(COUNTS, 16, 0, epoch), COUNTS, "weak")
        assert sorted(seen) == list(range(24))


@pytest.mark.parametrize("kind", COUNTS)
def test_no_clip_comes_twice_before_all_others_came_once(kind):
    batches = [b for epoch in range(50) for b in detection.mixed(COUNTS, 16, 0, epoch)]
    seen, count = rows_of_kind(batches, COUNTS, kind), COUNTS[kind]
    passes = [seen[i : i + count] for i in range(0, len(seen) - count + 1, count)]
    assert len(passes) >= 8 and all(sorted(one) == list(range(count)) for one in passes)
    assert (passes[0] != passes[1]).any()


def test_batches_depend_on_seed_and_epoch_alone():
    def once(seed, epoch):
        return np.concatenate(detection.mixed(COUNTS, 16, seed, epoch)).tolist()

    assert once(1, 2) == once(1, 2)
    assert once(1, 2) != once(1, 3) and once(1, 2) != once(2, 2)


def test_a_kind_smaller_than_its_share_goes_round():
    counts = {"weak": 3, "strong": 10, "unlabelled": 5}
    batches = [b for epoch in range(6) for b in detection.mixed(counts, 16, 0, epoch)]
    assert all(len(batch) == 16 for batch in batches)
    assert np.bincount(rows_of_kind(batches, counts, "weak")).tolist() == [8, 8, 8]


def test_processes_share_every_kind_of_a_batch(monkeypatch):
    whole = detection.mixed(COUNTS, 16, 0, 1)
    parts = []
    for rank in range(2):
        monkeypatch.setattr(training, "rank_and_world", lambda rank=rank: (rank, 2))
        parts.append(detection.mixed(COUNTS, 16, 0, 1))
    for both, a, b in zip(whole, *parts, strict=True):
        assert sorted(both) == sorted([*a, *b])
        assert [len(rows_of_kind([a], COUNTS, kind)) for kind in COUNTS] == [2, 2, 4]


def test_the_data_know_what_each_split_has(corpus, data):
    assert data.counts == {"weak": 8, "strong": 8, "unlabelled": 16}
    assert data.kind.tolist() == [WEAK] * 8 + [STRONG] * 8 + [UNLABELLED] * 16
    assert torch.equal(data.clip_labels[:8], torch.tensor(corpus["weak"].clip_labels))
    assert data.clip_labels[16:].sum() == 0
    assert data.frame_labels.shape == (32, 250, 4)
    spans = data.frame_labels.amax(1).float()
    assert torch.equal(spans[8:16], torch.tensor(corpus["strong"].clip_labels))
    assert spans[:8].sum() == spans[16:].sum() == 0
    assert np.array_equal(data.features[8].numpy(), corpus["strong"].features(None)[0])


@pytest.mark.parametrize(
    "oracle, kinds",
    [
        ("synthetic only", (UNUSED, STRONG, UNLABELLED)),
        ("recorded strong", (STRONG, UNUSED, UNLABELLED)),
        ("all tagged", (WEAK, STRONG, WEAK)),
    ],
)
def test_an_oracle_changes_what_a_split_counts_as(corpus, oracle, kinds):
    data = detection.Data(corpus, spec(oracle=oracle))
    data.set_rate(250, 25.0)
    starts = {"weak": 0, "strong": 8, "unlabelled": 16}
    assert tuple(data.kind[start].item() for start in starts.values()) == kinds
    active = data.frame_labels.amax(1)
    for (name, start), kind in zip(starts.items(), kinds, strict=True):
        rows = slice(start, start + data.counts[name])
        truth = torch.tensor(corpus[name].clean_labels)
        assert torch.equal(active[rows].float(), truth * (kind == STRONG))
        if kind in (WEAK, STRONG):
            assert torch.equal(data.clip_labels[rows], truth)
    assert set(detection.ORACLES) == {"synthetic only", "recorded strong", "all tagged"}


def test_clips_in_which_a_class_is_alone_are_counted(corpus, data):
    found = np.zeros(4)
    for name in ("weak", "strong"):
        for events in corpus[name].hidden_events:
            present = {e.label for e in events}
            if len(present) == 1:
                found[LABELS.index(present.pop())] += 1
    assert found.sum() > 0 and np.array_equal(data.lone_class_counts(), found)


def test_a_batch_says_how_far_training_has_come(data):
    budget = {"batch_size": 8, "epochs": 5}
    batches = [b for epoch in range(5) for b in data.batches(budget, 0, epoch)]
    e = [batch.e for batch in batches]
    assert e[0] == 0 and e[10] == pytest.approx(50) and e[-1] == pytest.approx(95)
    assert np.allclose(np.diff(e), 5)
    assert batches[0].x.dtype == torch.float32 and batches[0].frame_labels.dtype == torch.float32


def test_coarser_labels_are_the_maximum_of_every_window():
    Y = torch.tensor(np.random.default_rng(0).integers(0, 2, (2, 600, 3))).float()
    for steps in (6, 5, 100, 600):
        slow = detection.coarser(Y, steps)
        for j in range(steps):
            window = Y[:, j * 600 // steps : (j + 1) * 600 // steps]
            assert torch.equal(slow[:, j], window.amax(1))


def test_a_loss_over_no_clip_is_0_and_has_a_slope():
    p = torch.rand(4, 3, requires_grad=True)
    nobody = torch.zeros(4, dtype=torch.bool)
    loss = detection.of_kind(losses.binary_cross_entropy, p, torch.zeros(4, 3), nobody)
    loss.backward()
    assert loss == 0 and p.grad.abs().sum() == 0


# Objectives


def test_equations_3_5_and_6_term_by_term(batch):
    pair, teacher, student = outputs(batch)
    losses_of, _ = joint.objective(spec(distill=["tfd"]), pair)
    (p_t, c_t, F_t), (p_s, c_s, F_s) = (
        [v.detach().numpy() for v in three] for three in (teacher, student)
    )
    y, Y, kind = (v.numpy() for v in (batch.clip_labels, batch.frame_labels, batch.kind))
    labelled, strong, free = kind != UNLABELLED, kind == STRONG, kind == UNLABELLED
    spans = [Y[:, math.floor(j * 250 / 6) : math.ceil((j + 1) * 250 / 6)] for j in range(6)]
    Y_t = np.stack([window.max(1) for window in spans], 1)
    for e in (0, 20, 30, 40, 60, 100):

        def supervised(p, y, e=e):
            return focal(p, y, 2) if e > 30 else bce(p, y)

        expected = {
            "weak_t": supervised(c_t[labelled], y[labelled]),
            "weak_s": supervised(c_s[labelled], y[labelled]),
            "strong_t": supervised(p_t[strong], Y_t[strong]),
            "strong_s": supervised(p_s[strong], Y[strong]),
            "t_to_s": bce(c_s[free], c_t[free] > 0.5),
            "s_to_t": max(0, 1 - 0.996 ** (e - 30)) * bce(c_t[free], c_s[free] > 0.5),
            "tfd": math.exp(-5 * (1 - min(e / 50, 1)) ** 2) * tfd_loop(Y, F_t, F_s, strong),
        }
        found = losses_of(at(batch, e), teacher, student)
        assert set(found) == {*expected, "loss"}
        for name, value in expected.items():
            assert found[name].item() == pytest.approx(value, rel=1e-4), (e, name)
        assert found["loss"].item() == pytest.approx(sum(expected.values()), rel=1e-4)


def tfd_loop(Y, F_t, F_s, strong):
    W_t, W_s = (w.numpy() for w in joint.projections(F_t.shape[2], F_s.shape[2]))
    total, T = 0.0, F_s.shape[1]
    for clip in np.flatnonzero(strong):
        for j in range(T):
            if Y[clip, j].any():
                f_t, f_s = unit(F_t[clip, j * F_t.shape[1] // T] @ W_t), unit(F_s[clip, j] @ W_s)
                total += math.sqrt(sum((a - b) ** 2 for a, b in zip(f_t, f_s, strict=True))) / T
    return total / strong.sum()


def unit(row):
    length = math.sqrt(sum(a**2 for a in row))
    return [a / length for a in row]


@pytest.mark.parametrize("method", METHODS)
def test_each_kind_of_clip_feeds_its_own_terms(method, batch):
    pair, teacher, student = outputs(batch, method)
    losses_of, _ = METHODS[method].objective(spec(method, distill=["tfd"]), pair)
    expected = {
        "joint": {
            WEAK: {"weak_t", "weak_s"},
            STRONG: {"weak_t", "weak_s", "strong_t", "strong_s", "tfd"},
            UNLABELLED: {"t_to_s", "s_to_t"},
            UNUSED: set(),
        },
        "guided_learning": {
            WEAK: {"weak_t", "weak_s"},
            STRONG: {"weak_t", "weak_s"},
            UNLABELLED: {"t_to_s", "s_to_t"},
            UNUSED: set(),
        },
        "mean_teacher": {
            WEAK: {"weak", "consistency"},
            STRONG: {"strong", "consistency"},
            UNLABELLED: {"consistency"},
            UNUSED: {"consistency"},
        },
    }[method]
    for kind, terms in expected.items():
        labels = torch.ones_like(batch.frame_labels[:, : student[0].shape[1]])
        only = at(batch, 60)._replace(kind=torch.full_like(batch.kind, kind), frame_labels=labels)
        found = losses_of(only, teacher, student)
        assert {name for name, value in found.items() if value > 0 and name != "loss"} == terms


def test_lambda_says_how_fast_the_student_gets_its_say_and_1_is_never(batch):
    pair, teacher, student = outputs(batch, "guided_learning")

    def terms(e, **more):
        losses_of, _ = guided_learning.objective(spec("guided_learning", **more), pair)
        return losses_of(at(batch, e), teacher, student)

    (_, c_t, _), (_, c_s, _) = teacher, student
    free = batch.kind == UNLABELLED
    full = bce(c_t[free].detach(), c_s[free].detach() > 0.5)
    for e in (0, 5, 6, 50, 100):
        for more, decay in (({}, 0.996), ({"decay": 0.9}, 0.9), ({"decay": 1.0}, 1.0)):
            alpha = 1 - decay ** (e - 5) if e > 5 else 0
            assert terms(e, **more)["s_to_t"].item() == pytest.approx(alpha * full, rel=1e-4)
        never, usual = terms(e, decay=1.0), terms(e)
        assert never["s_to_t"] == 0
        assert all(never[k] == usual[k] for k in usual if k not in ("s_to_t", "loss"))


def test_consistency_targets_are_hard_and_carry_no_gradient(batch):
    c_t, c_s = (torch.rand(len(batch.kind), 4, requires_grad=True) for _ in range(2))
    free = batch.kind == UNLABELLED
    found = guided_learning.tagging_losses(at(batch, 60), c_t, c_s, start=30)
    for name, guide, learner in (("t_to_s", c_t, c_s), ("s_to_t", c_s, c_t)):
        guide.grad = learner.grad = None
        found[name].backward(retain_graph=True)
        assert guide.grad is None
        assert (learner.grad[free] != 0).all() and (learner.grad[~free] == 0).all()
        # towards the side on which the other one is
        assert torch.equal(learner.grad[free] < 0, guide.detach()[free] > 0.5)


def test_the_mean_teachers_targets_are_soft_and_move_the_student_only(batch):
    pair, teacher, student = outputs(batch, "mean_teacher")
    Y = detection.coarser(batch.frame_labels, student[0].shape[1])
    losses_of, _ = mean_teacher.objective(spec("mean_teacher"), pair)
    found = losses_of(at(batch, 60)._replace(frame_labels=Y), teacher, student)
    (p_t, c_t, _), (p_s, c_s, _) = teacher, student
    by_hand = (p_t - p_s).square().mean() + (c_t - c_s).square().mean()
    assert torch.isclose(found["consistency"], by_hand)
    total = found["weak"] + found["strong"] + 2 * by_hand
    assert torch.isclose(found["loss"], total)
    found["loss"].backward()
    assert all(w.grad is None and not w.requires_grad for w in pair.teacher.parameters())
    assert any(w.grad is not None and w.grad.abs().sum() > 0 for w in pair.student.parameters())


def test_without_consistency_the_unlabelled_clips_change_nothing(batch):
    pair, teacher, student = outputs(batch, "mean_teacher")
    losses_of, _ = mean_teacher.objective(spec("mean_teacher", consistency=0.0), pair)
    Y = detection.coarser(batch.frame_labels, student[0].shape[1])
    found = losses_of(at(batch, 60)._replace(frame_labels=Y), teacher, student)
    assert torch.isclose(found["loss"], found["weak"] + found["strong"])


def test_the_mean_teacher_is_the_plain_mean_at_first_and_a_running_one_then(batch):
    pair = nets.build(spec("mean_teacher"), 4)
    _, after = mean_teacher.objective(spec("mean_teacher"), pair)
    old, new = pair.teacher.frames.weight, pair.student.frames.weight
    seen = [new.detach().clone()]
    assert torch.equal(old, new)
    for step in range(8):
        new.data.normal_()
        seen.append(new.detach().clone())
        after(batch._replace(step=step, steps=2100))
        assert torch.allclose(old, torch.stack(seen).mean(0), atol=1e-6)
    before = old.clone()
    after(batch._replace(step=2000, steps=2100))  # a memory of 2100 / 21 steps
    assert torch.allclose(old, 0.99 * before + 0.01 * new, atol=1e-6)
    assert mean_teacher.HORIZON * 21_000 == 1000


def test_batch_statistics_of_the_mean_teacher_are_its_own():
    pair = nets.build(spec("mean_teacher"), 4)
    buffers = {k: v.clone() for k, v in pair.teacher.named_buffers()}
    for weight in [*pair.student.parameters(), *pair.student.buffers()]:
        weight.data.fill_(7)
    pair.average(0.5)
    assert all(torch.equal(v, buffers[k]) for k, v in pair.teacher.named_buffers())


# Distillation


@pytest.fixture
def features(batch):
    F_t, F_s = torch.randn(len(batch.kind), 6, 12), torch.randn(len(batch.kind), 250, 8)
    return F_t, F_s, *joint.projections(12, 8)


def changed(features, rows):
    F_t, F_s, W_t, W_s = features
    moved = F_s.clone()
    moved[rows] += 1
    return F_t, moved, W_t, W_s


def test_tfd_is_the_naive_loop_over_strong_clips(batch, features):
    strong = (batch.kind == STRONG).numpy()
    found = joint.distillation("tfd", batch, *features).item()
    Y, F_t, F_s = (v.numpy() for v in (batch.frame_labels, *features[:2]))
    assert found == pytest.approx(tfd_loop(Y, F_t, F_s, strong), rel=1e-4)


def test_tfd_ignores_weak_and_unlabelled_clips(batch, features):
    found = joint.distillation("tfd", batch, *features)
    others = batch.kind != STRONG
    loud = batch._replace(frame_labels=batch.frame_labels.masked_fill(others[:, None, None], 1))
    assert torch.equal(joint.distillation("tfd", loud, *changed(features, others)), found)
    assert not torch.equal(joint.distillation("tfd", batch, *changed(features, ~others)), found)


def test_tfd_ignores_frames_without_a_target(batch, features):
    found = joint.distillation("tfd", batch, *features)
    F_t, F_s, W_t, W_s = features
    silent = batch.frame_labels.amax(2) == 0
    elsewhere = torch.where(silent[:, :, None], F_s + 5, F_s)
    assert torch.equal(joint.distillation("tfd", batch, F_t, elsewhere, W_t, W_s), found)


def test_tfd_is_0_where_no_target_sounds_and_where_no_clip_is_strong(batch, features):
    silent = batch._replace(frame_labels=torch.zeros_like(batch.frame_labels))
    assert joint.distillation("tfd", silent, *features) == 0
    weak = batch._replace(kind=torch.full_like(batch.kind, WEAK))
    assert joint.distillation("tfd", weak, *features) == 0


def test_the_rivals_of_tfd_count_other_frames(batch, features):
    F_t, F_s, W_t, W_s = features
    Z_t, Z_s = F_t[:, torch.arange(250) * 6 // 250] @ W_t, F_s @ W_s
    gap = Z_t / Z_t.norm(dim=2, keepdim=True) - Z_s / Z_s.norm(dim=2, keepdim=True)
    D = gap.square().sum(2).sqrt()
    others = batch.kind != STRONG
    assert torch.isclose(joint.distillation("dfd_d", batch, *features), D.mean())
    assert torch.isclose(joint.distillation("dfd_d_wu", batch, *features), D[others].mean())
    assert torch.isclose(
        joint.distillation("dfd_mse", batch, *features), gap.square().sum(2).mean()
    )


@pytest.mark.parametrize("kind", ALL["distill"])
def test_only_the_direction_of_a_frames_features_counts(kind, batch, features):
    F_t, F_s, W_t, W_s = features
    found = joint.distillation(kind, batch, F_t, F_s, W_t, W_s)
    for a, b in ((1e-3, 1e-3), (1e-3, 1e3), (7.0, 1.0)):
        scaled = joint.distillation(kind, batch, a * F_t, b * F_s, W_t, W_s)
        assert torch.isclose(scaled, found, rtol=1e-4)
    a, b = (0.1 + torch.rand(*F.shape[:2], 1) for F in (F_t, F_s))  # a factor a frame
    assert torch.isclose(
        joint.distillation(kind, batch, a * F_t, b * F_s, W_t, W_s), found, rtol=1e-4
    )
    turned = joint.distillation(kind, batch, -F_t, F_s, W_t, W_s)
    assert not torch.isclose(turned, found, rtol=1e-4)


@pytest.mark.parametrize("kind", ALL["distill"])
def test_the_distance_lies_between_one_direction_and_the_opposite_one(kind, batch, features):
    F_t, F_s, W_t, W_s = features
    v = torch.randn(8)
    one, same = (W_t @ v).expand_as(F_t), (W_s @ v).expand_as(F_s)
    sounds = batch.frame_labels.amax(2)[batch.kind == STRONG].mean().item()
    most = {"tfd": 2 * sounds, "dfd_mse": 4}.get(kind, 2)
    ends = [joint.distillation(kind, batch, one, F, W_t, W_s).item() for F in (3 * same, -same)]
    assert ends == [pytest.approx(0, abs=1e-5), pytest.approx(most, rel=1e-4)]
    assert 0 < joint.distillation(kind, batch, *features) < most


@pytest.mark.parametrize("kind", ALL["distill"])
def test_a_step_down_the_distillation_makes_no_frames_features_smaller(kind, batch, features):
    F_t, F_s, W_t, W_s = features
    trained = [F.clone().requires_grad_() for F in (F_t, F_s)]
    joint.distillation(kind, batch, *trained, W_t, W_s).backward()
    for F in trained:
        across = (F * F.grad).sum(2).abs() / (F.norm(dim=2) * F.grad.norm(dim=2) + 1e-12)
        assert F.grad.abs().sum() > 0 and across.max() < 1e-3
        assert ((F - F.grad).norm(dim=2) >= F.norm(dim=2) - 1e-5).all()


def test_frames_in_which_a_trunk_is_silent_leave_a_finite_slope(batch, features):
    F_t, F_s, W_t, W_s = features
    before = F_s.masked_fill(torch.rand(250, 1) < 0.5, -1).requires_grad_()  # the ReLU's input
    loss = joint.distillation("dfd_d", batch, F_t, before.relu(), W_t, W_s)
    loss.backward()
    assert 0 < loss < 2 and before.grad.isfinite().all()


@pytest.mark.parametrize("teacher, student", [(512, 160), (26, 16), (8, 8), (8, 20)])
def test_projections_are_orthonormal_fixed_and_always_the_same(teacher, student):
    torch.manual_seed(teacher)  # whatever the state of the global generator
    W_t, W_s = joint.projections(teacher, student)
    width = min(teacher, student)
    assert W_t.shape == (teacher, width) and W_s.shape == (student, width)
    for W in (W_t, W_s):
        assert torch.allclose(W.T @ W, torch.eye(width), atol=1e-5) and not W.requires_grad
    again = joint.projections(teacher, student)
    assert torch.equal(W_t, again[0]) and torch.equal(W_s, again[1])


def test_distillation_moves_both_trunks_and_nothing_else(batch):
    pair, (_, _, F_t), (_, _, F_s) = outputs(batch)
    joint.distillation(
        "tfd", batch, F_t, F_s, *joint.projections(F_t.shape[2], F_s.shape[2])
    ).backward()
    for net in (pair.teacher, pair.student):
        assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in convolutions(net.trunk))
        assert all(w.grad is None for w in net.aed.parameters())


def convolutions(trunk):
    return [m.weight for m in trunk if isinstance(m, torch.nn.Conv2d)]


# Scores


@pytest.fixture
def said(corpus):
    """Made-up outputs on validation and test: the truth with much noise, 25 frames a second."""
    rng, found = np.random.default_rng(3), {}
    for name in ("validation", "test"):
        Y = postprocess.active_frames(corpus[name].events, LABELS, 250, 25)
        noise = np.repeat(rng.normal(0, 1, (len(Y), 25, 4)), 10, axis=1)
        frames = 1 / (1 + np.exp(-(3.0 * Y - 1.5 + noise)))
        found[name] = frames.astype(np.float32), np.float32(rng.random((len(Y), 4)) * 0.6 + 0.3)
    return found


def test_rules_leave_out_other_post_processing_and_change_nothing_else(corpus, said):
    every = detection_scores.score(corpus, said, 10.0, 0)
    some = detection_scores.score(corpus, said, 10.0, 0, rules=("average", "none"))
    assert all(bits(some[k]) == bits(every[k]) for k in some)
    assert {"event_f1_validation_average", "tagging_f1_raw", "psds_none"} <= set(some)
    others = "|".join(set(detection_scores.filters(corpus, 25.0)) - {"average", "none"})
    of_others = {k for k in every if re.search(rf"_({others})(_class|_resampled)?$", k)}
    assert set(every) - set(some) == of_others != set()


@pytest.mark.parametrize("rule", ["average", "baseline", "none", "whole_clip"])
def test_scores_are_scorings_of_the_events_at_a_half(corpus, said, rule):
    scores = detection_scores.score(corpus, said, 10.0, 0, rules=(rule,))
    for name, key in (("validation", "event_f1_validation"), ("test", "event_f1")):
        frames, gate = said[name]
        frames = np.ones_like(frames) if rule == "whole_clip" else frames
        settings = detection_scores.filters(corpus, 25.0)[rule]
        gate = None if rule == "baseline" else gate
        found = postprocess.detect(frames, gate, LABELS, 25.0, **settings)
        estimated = dict(zip(corpus[name].clips, found, strict=True))
        by_class, mean = scoring.event_f1(corpus[name].reference, estimated, LABELS)
        assert scores[f"{key}_{rule}"] == pytest.approx(mean, abs=1e-9)
        rounded = np.array(scores[f"{key}_{rule}_class"], float)
        np.testing.assert_allclose(rounded, by_class, atol=1e-4)
    resampled = [k for k in scores if k.endswith("_resampled")]
    assert not any("validation" in k for k in resampled)
    assert (f"event_f1_{rule}_resampled" in resampled) == (rule in detection_scores.RESAMPLED)


def test_seconds_a_class_are_the_strong_events_mean_and_tags_the_clip_branchs(corpus, said):
    scores = detection_scores.score(corpus, said, 10.0, 0, rules=())
    for label, mean in zip(LABELS, scores["seconds_class"], strict=True):
        events = [e for es in corpus["strong"].events for e in es if e.label == label]
        seconds = [e.offset - e.onset for e in events]
        assert mean == pytest.approx(sum(seconds) / len(seconds), abs=1e-3)
    tags = scoring.tagging_f1(corpus["test"].clip_labels, said["test"][1])
    assert scores["tagging_f1_raw"] == pytest.approx(tags.mean())


def test_a_splits_reference_is_its_clips_with_their_events(corpus):
    validation = corpus["validation"]
    assert list(validation.reference) == validation.clips
    assert validation.reference["validation_3.wav"] == validation.events[3] != []


# Training


def trained(method, folder, tell=lambda row: None, **more):
    folder.mkdir(exist_ok=True)
    return METHODS[method].train(spec(method, **more), 0, folder, [], tell)


def bits(scores):
    return json.dumps(scores, sort_keys=True)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_killed_between_two_epochs_ends_in_the_same_scores(
    method, corpus, tmp_path, monkeypatch
):
    monkeypatch.setenv("CHECKPOINT_SECONDS", "0")
    whole = trained(method, tmp_path / "whole")

    def kill(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(method, tmp_path / "killed", kill)
    assert (tmp_path / "killed/checkpoint.pt").exists()
    epochs = []
    again = trained(method, tmp_path / "killed", lambda row: epochs.append(row["epoch"]))
    assert epochs == [2, 3]  # the first one was not trained again
    assert bits(whole) == bits(again)
    a, b = (load_file(tmp_path / name / "net.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_class_that_never_occurs_and_a_clip_without_events_train(corpus, tmp_path):
    for part in (corpus[name] for name in SIZES if name != "test"):
        part.hidden_events[:] = [[e for e in es if e.label != "Cat"] for es in part.hidden_events]
        for labels in (part.clip_labels, part.clean_labels):
            if labels is not None:
                labels[:, 1] = 0
    corpus["strong"].events[0].clear()
    corpus["strong"].clip_labels[0] = 0
    for method in METHODS:
        scores = trained(method, tmp_path / method)
        assert np.isfinite(scores["loss"]).all()
        assert 0 <= scores["event_f1_average"] <= 1 and 0 <= scores["tagging_f1_raw"] <= 1


def test_guided_learning_trains_with_its_disentangled_features(corpus, data, tmp_path):
    trained("guided_learning", tmp_path / "gl")
    kept = load_file(tmp_path / "gl/net.safetensors")
    n = data.lone_class_counts()
    for half in ("teacher", "student"):
        channels = kept[f"{half}.channels"]
        h = channels.shape[1]
        k = [max(1, int(h * (0.04 + 0.96 * (n_c / n.max())))) for n_c in n]
        assert channels.sum(1).int().tolist() == k and min(k) < h


def test_without_any_clip_of_a_single_class_guided_learning_says_so(corpus, tmp_path):
    for part in (corpus["weak"], corpus["strong"]):
        part.clip_labels[:] = 1
    with pytest.raises(ValueError, match="clips with a single class") as error:
        trained("guided_learning", tmp_path / "gl")
    assert "\n" not in str(error.value)


def test_every_distillation_and_the_focal_loss_are_trained(corpus, tmp_path):
    rows = []
    trained("joint", tmp_path / "joint", rows.append)
    terms = {"weak_t", "weak_s", "strong_t", "strong_s", "t_to_s", "s_to_t", *ALL["distill"]}
    assert set(rows[0]) == {"epoch", "loss", *terms}
    assert rows[0]["s_to_t"] == 0 < rows[1]["s_to_t"]  # from epoch 30 of 100 on
    assert all(row["tfd"] > 0 and row["dfd_d"] > row["tfd"] for row in rows)


@pytest.mark.parametrize("method", METHODS)
def test_the_truth_about_unlabelled_clips_is_never_read(method, corpus, tmp_path):
    free = corpus["unlabelled"]
    free.hidden_events = free.clean_labels = None
    corpus["weak"].hidden_events = None
    scores = trained(method, tmp_path / method)
    assert np.isfinite(scores["loss"]).all()


def test_training_learns_what_the_strong_clips_teach(corpus, tmp_path):
    """A band of its own for every class is no task: it must be found, on unseen clips too."""
    budget = {"epochs": 30, "batch_size": 8, "learning_rate": 2e-2}
    net = NETS["joint"] | {"dropout": 0.0}
    rows = []
    scores = trained("joint", tmp_path / "joint", rows.append, budget=budget, net=net, distill=[])
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert scores["event_f1_baseline"] > 0.25 > 0.1 > scores["event_f1_whole_clip"]


def test_a_corpus_without_one_kind_of_clips_is_one_line(corpus):
    del corpus.splits["unlabelled"]
    with pytest.raises(ValueError, match="made has no unlabelled clips"):
        detection.Data(corpus, spec())
