"""The joint paper's losses against naive transcriptions; batches, objectives, scores, training."""

import math
import re
from functools import partial

import numpy as np
import pytest
import torch
from conftest import LABELS, bce, bits, ends_the_same, lose_cats, refused, weights_in
from torch.nn.functional import binary_cross_entropy

from wsaed import nets, postprocess, scoring, training
from wsaed.features import FRONT_ENDS
from wsaed.joint import data as parts
from wsaed.joint import method as m
from wsaed.joint import scores as scoring_of
from wsaed.joint.data import STRONG, UNLABELLED, UNUSED, WEAK, Data, coarser, mixed, of_kind

GUIDED = FRONT_ENDS["guided_40ms"]
SIZES = {"strong": 8, "weak": 8, "unlabelled": 16, "validation": 6, "test": 8}
SMALL = {"width": 0.05, "frames": 250, "mels": 32, "dropout": 0.5}
NETS = {
    "joint": {"name": "joint.nets:joint_pair", "at_pool": 5, "units": 8, **SMALL},
    "guided_learning": {"name": "joint.nets:guided_pair", **SMALL},
    "mean_teacher": {"name": "joint.nets:mean_teacher_pair", **SMALL},
}
KINDS = ["tfd", "dfd_d", "dfd_d_wu", "dfd_mse"]


def spec(method="joint", **more):
    budget = {"steps": 12, "epochs": 3, "batch_size": 8, "learning_rate": 2e-3}
    found = {"net": NETS[method], "corpus": {}, "front_end": "guided_40ms", "budget": budget}
    return found | ({"distill": KINDS, "focal": 2.0} if method == "joint" else {}) | more


def losses(method, batch, teacher, student, **more):
    return getattr(m, f"{method}_losses")(spec(method, **more), batch, teacher, student)


def data_of(corpus, **more):
    found = Data(corpus, spec(**more))
    found.set_rate(250, 25.0)
    return found


@pytest.fixture
def data(corpus):
    return data_of(corpus)


@pytest.fixture
def batch(data):
    return next(data.batches({"batch_size": 8, "steps": 12, "epochs": 3}, 0, 0))


def at(batch, e):
    return batch._replace(step=e, steps=100)


def outputs(batch, method="joint"):
    pair = nets.build(spec(method), len(LABELS))
    return pair, *pair(batch.x)


# Equations


def focal(p, y, gamma):
    cells = zip(np.ravel(p).tolist(), np.ravel(y).tolist(), strict=True)
    sure = [a if b == 1 else 1 - a for a, b in cells]
    return np.mean([-((1 - p_t) ** gamma) * math.log(p_t) for p_t in sure])


def cells(shape=(6, 5)):
    rng = np.random.default_rng(1)
    p, y = rng.uniform(0.02, 0.98, shape), (rng.random(shape) < 0.3).astype(float)
    return torch.tensor(p), torch.tensor(y)


def test_the_distance_has_a_finite_slope_where_both_nets_agree():
    F = torch.randn(1, 3, 4, requires_grad=True)
    m.frame_distance(F, F.detach().clone()).sum().backward()
    assert F.grad.isfinite().all() and F.grad.abs().max() < 1e-3


def test_the_focal_loss_is_its_naive_transcription_and_with_gamma_0_cross_entropy_at_the_ends_too():
    p, y = cells()
    for gamma in (0.5, 1.0, 2.0, 5.0):
        assert m.focal(p, y, gamma).item() == pytest.approx(focal(p, y, gamma), abs=1e-12)
    for said in (p, torch.zeros_like(p), torch.ones_like(p), y):
        a, b = m.focal(said, y, 0.0), binary_cross_entropy(said, y)
        assert a.item() == pytest.approx(b.item(), abs=1e-12)


@pytest.mark.parametrize("z", [-200.0, -40.0, 0.0, 40.0, 200.0])
@pytest.mark.parametrize("y", [0.0, 1.0])
def test_the_focal_loss_and_its_slope_stay_finite_where_a_sigmoid_saturates(z, y):
    z = torch.tensor([z], requires_grad=True)
    loss = m.focal(z.sigmoid(), torch.tensor([y]))
    loss.backward()
    assert 0 <= loss.item() <= 100 and z.grad.isfinite().all()


# Batches

COUNTS = {"weak": 24, "strong": 30, "unlabelled": 100}


def rows_of_kind(batches, counts, kind):
    start = sum(list(counts.values())[: list(counts).index(kind)])
    rows = np.concatenate(batches)
    return rows[(rows >= start) & (rows < start + counts[kind])] - start


def shares(batch):
    return [len(rows_of_kind([batch], COUNTS, kind)) for kind in COUNTS]


@pytest.mark.parametrize("batch_size, wanted", [(16, [4, 4, 8]), (8, [2, 2, 4]), (4, [1, 1, 2])])
def test_every_batch_holds_its_share_of_every_kind(batch_size, wanted):
    for epoch in range(3):
        batches = mixed(COUNTS, batch_size, 5, 0, epoch)
        assert len(batches) == 5
        assert all(shares(batch) == wanted for batch in batches)


@pytest.mark.parametrize("kind", COUNTS)
def test_no_clip_comes_twice_before_all_others_came_once(kind):
    batches = [mixed(COUNTS, 16, 6, 0, epoch) for epoch in range(50)]
    seen, count = rows_of_kind([b for one in batches for b in one], COUNTS, kind), COUNTS[kind]
    passes = [seen[i : i + count] for i in range(0, len(seen) - count + 1, count)]
    assert len(passes) >= 8 and all(sorted(one) == list(range(count)) for one in passes)
    assert (passes[0] != passes[1]).any()
    if kind == "weak":  # six steps of four are one pass
        epochs = [sorted(rows_of_kind(epoch, COUNTS, kind)) for epoch in batches]
        assert all(rows == list(range(24)) for rows in epochs)


def test_batches_depend_on_seed_and_epoch_alone():
    once = {(s, e): np.concatenate(mixed(COUNTS, 16, 6, s, e)) for s in (1, 2) for e in (2, 3)}
    assert (once[1, 2] == np.concatenate(mixed(COUNTS, 16, 6, 1, 2))).all()
    assert (once[1, 2] != once[1, 3]).any() and (once[1, 2] != once[2, 2]).any()


def test_a_kind_smaller_than_its_share_goes_round():
    counts = {"weak": 3, "strong": 10, "unlabelled": 5}
    batches = [b for epoch in range(6) for b in mixed(counts, 16, 1, 0, epoch)]
    assert all(len(batch) == 16 for batch in batches)
    assert np.bincount(rows_of_kind(batches, counts, "weak")).tolist() == [8, 8, 8]


def test_processes_share_every_kind_of_a_batch(monkeypatch):
    whole, found = mixed(COUNTS, 16, 6, 0, 1), []
    for rank in range(2):
        monkeypatch.setattr(training, "rank_and_world", lambda rank=rank: (rank, 2))
        found.append(mixed(COUNTS, 16, 6, 0, 1))
    for both, a, b in zip(whole, *found, strict=True):
        assert sorted(both) == sorted([*a, *b]) and shares(a) == [2, 2, 4]


ORACLES = {"": (WEAK, STRONG, UNLABELLED), "synthetic only": (UNUSED, STRONG, UNLABELLED)}
ORACLES |= {"recorded strong": (STRONG, UNUSED, UNLABELLED), "all tagged": (WEAK, STRONG, WEAK)}


@pytest.mark.parametrize("oracle, kinds", ORACLES.items())
def test_a_split_counts_as_what_it_is_or_an_oracle_says(corpus, oracle, kinds):
    data = data_of(corpus, **{"oracle": oracle} if oracle else {})
    assert data.counts == {"weak": 8, "strong": 8, "unlabelled": 16}
    active, start = data.frame_labels.amax(1), 0
    for (name, count), kind in zip(data.counts.items(), kinds, strict=True):
        rows, truth = slice(start, start + count), torch.tensor(corpus[name].clean_labels)
        assert np.array_equal(data.features[start].numpy(), corpus[name].features(GUIDED)[0])
        assert (data.kind[rows] == kind).all()
        assert torch.equal(active[rows].float(), truth * (kind == STRONG))
        if kind != UNUSED:
            assert torch.equal(data.clip_labels[rows], truth * (kind != UNLABELLED))
        start += count
    assert data.frame_labels.shape == (32, 250, 4)
    assert parts.ORACLES.keys() == ORACLES.keys() - {""}


def test_clips_in_which_a_class_is_alone_are_counted(corpus, data):
    every = [{e.label for e in es} for name in ("weak", "strong") for es in corpus[name].hidden]
    found = [sum(present == {label} for present in every) for label in LABELS]
    assert sum(found) > 0 and data.lone_class_counts().tolist() == found


def test_a_batch_says_how_far_training_has_come(data):
    budget = {"batch_size": 8, "steps": 23, "epochs": 5}
    batches = [b for k in range(5) for b in data.batches(budget, 0, k)]
    e = [batch.e for batch in batches]  # five epochs of four steps
    assert e[0] == 0 and e[10] == pytest.approx(50) and e[-1] == pytest.approx(95)
    assert np.allclose(np.diff(e), 5)
    assert batches[0].x.dtype == torch.float32 and batches[0].frame_labels.dtype == torch.float32


def test_a_loss_over_no_clip_is_0_and_has_a_slope():
    p, nobody = torch.rand(4, 3, requires_grad=True), torch.zeros(4, dtype=torch.bool)
    loss = of_kind(binary_cross_entropy, p, torch.zeros(4, 3), nobody)
    loss.backward()
    assert loss == 0 and p.grad.abs().sum() == 0


# Objectives


def test_equations_3_5_and_6_term_by_term(batch):
    _, teacher, student = outputs(batch)
    p_t, c_t, F_t, p_s, c_s, F_s = (v.detach().numpy() for v in (*teacher, *student))
    y, Y, kind = (v.numpy() for v in (batch.clip_labels, batch.frame_labels, batch.kind))
    labelled, strong, free = kind != UNLABELLED, kind == STRONG, kind == UNLABELLED
    spans = [Y[:, math.floor(j * 250 / 6) : math.ceil((j + 1) * 250 / 6)] for j in range(6)]
    Y_t = np.stack([window.max(1) for window in spans], 1)
    for e in (0, 20, 30, 40, 60, 100):
        gamma = 2 if e > 30 else 0
        expected = {
            "weak_t": focal(c_t[labelled], y[labelled], gamma),
            "weak_s": focal(c_s[labelled], y[labelled], gamma),
            "strong_t": focal(p_t[strong], Y_t[strong], gamma),
            "strong_s": focal(p_s[strong], Y[strong], gamma),
            "t_to_s": bce(c_s[free], c_t[free] > 0.5),
            "s_to_t": max(0, 1 - 0.996 ** (e - 30)) * bce(c_t[free], c_s[free] > 0.5),
            "tfd": math.exp(-5 * (1 - min(e / 50, 1)) ** 2) * tfd_loop(Y, F_t, F_s, strong),
        }
        found = losses("joint", at(batch, e), teacher, student, distill=["tfd"])
        expected["loss"] = sum(expected.values())
        assert {k: v.item() for k, v in found.items()} == pytest.approx(expected, rel=1e-4), e


def tfd_loop(Y, Z_t, Z_s, strong):
    total, T = 0.0, Z_s.shape[1]
    for clip in np.flatnonzero(strong):
        for j in range(T):
            if Y[clip, j].any():
                gap = Z_t[clip, j * Z_t.shape[1] // T] - Z_s[clip, j]
                total += math.sqrt(sum(gap**2)) / T
    return total / strong.sum()


TAGS, TEACHING = {"weak_t", "weak_s"}, {"t_to_s", "s_to_t"}
FED = {  # by clips that are weak, strong, unlabelled, unused
    "joint": (TAGS, TAGS | {"strong_t", "strong_s", "tfd"}, TEACHING, set()),
    "guided_learning": (TAGS, TAGS, TEACHING, set()),
    "mean_teacher": tuple(one | {"consistency"} for one in ({"weak"}, {"strong"}, set(), set())),
}


@pytest.mark.parametrize("method", NETS)
def test_each_kind_of_clip_feeds_its_own_terms(method, batch):
    _, teacher, student = outputs(batch, method)
    labels = torch.ones_like(batch.frame_labels[:, : student[0].shape[1]])
    for kind, terms in enumerate(FED[method]):
        only = at(batch, 60)._replace(kind=torch.full_like(batch.kind, kind), frame_labels=labels)
        found = losses(method, only, teacher, student, distill=["tfd"])
        assert {name for name, value in found.items() if value > 0 and name != "loss"} == terms


@pytest.mark.parametrize("e", [0, 5, 6, 50, 100])
def test_lambda_says_how_fast_the_student_gets_its_say_and_1_is_never(batch, e):
    _, teacher, student = outputs(batch, "guided_learning")
    (_, c_t, _), (_, c_s, _) = teacher, student
    free = batch.kind == UNLABELLED
    full = bce(c_t[free].detach(), c_s[free].detach() > 0.5)
    found = {}
    for decay in (None, 0.9, 1.0):
        more = {} if decay is None else {"decay": decay}
        found[decay] = losses("guided_learning", at(batch, e), teacher, student, **more)
        alpha = 1 - (decay or 0.996) ** (e - 5) if e > 5 else 0
        assert found[decay]["s_to_t"].item() == pytest.approx(alpha * full, rel=1e-4)
    assert found[1.0]["s_to_t"] == 0
    assert all(found[1.0][k] == found[None][k] for k in ("weak_t", "weak_s", "t_to_s"))


def test_consistency_targets_are_hard_and_carry_no_gradient(batch):
    c_t, c_s = (torch.rand(len(batch.kind), 4, requires_grad=True) for _ in range(2))
    free = batch.kind == UNLABELLED
    found = m.tagging_losses(at(batch, 60), c_t, c_s, start=30)
    for name, guide, learner in (("t_to_s", c_t, c_s), ("s_to_t", c_s, c_t)):
        guide.grad = learner.grad = None
        found[name].backward(retain_graph=True)
        assert guide.grad is None
        assert (learner.grad[free] != 0).all() and (learner.grad[~free] == 0).all()
        # towards the side on which the other one is
        assert torch.equal(learner.grad[free] < 0, guide.detach()[free] > 0.5)


def test_the_mean_teachers_targets_are_soft_and_move_the_student_only(batch):
    pair, teacher, student = outputs(batch, "mean_teacher")
    slow = batch._replace(frame_labels=coarser(batch.frame_labels, student[0].shape[1]))
    found = losses("mean_teacher", at(slow, 60), teacher, student)
    (p_t, c_t, _), (p_s, c_s, _) = teacher, student
    by_hand = (p_t - p_s).square().mean() + (c_t - c_s).square().mean()
    assert torch.isclose(found["consistency"], by_hand)
    supervised = found["weak"] + found["strong"]
    assert torch.isclose(found["loss"], supervised + 2 * by_hand)
    # without consistency the unlabelled clips change nothing
    without = losses("mean_teacher", at(slow, 60), teacher, student, consistency=0.0)
    assert torch.isclose(without["loss"], supervised)
    found["loss"].backward()
    assert all(w.grad is None and not w.requires_grad for w in pair.teacher.parameters())
    assert any(w.grad is not None and w.grad.abs().sum() > 0 for w in pair.student.parameters())


def test_the_mean_teacher_is_the_plain_mean_at_first_and_a_running_one_then():
    """Of the weights; batch statistics are its own."""
    pair = nets.build(spec("mean_teacher"), 4)
    buffers = {k: v.clone() for k, v in pair.teacher.named_buffers()}
    for buffer in pair.student.buffers():
        buffer.fill_(7)
    old, new = pair.teacher.frames.weight, pair.student.frames.weight
    seen = [new.detach().clone()]
    for mine, other in zip(*map(torch.nn.Module.parameters, pair.children()), strict=True):
        assert torch.equal(mine, other) and mine is not other
    for k in range(1, 9):
        new.data.normal_()
        seen.append(new.detach().clone())
        pair.average(m.share_kept(k, 2100))
        assert torch.allclose(old, torch.stack(seen).mean(0), atol=1e-6)
    assert all(torch.equal(v, buffers[k]) for k, v in pair.teacher.named_buffers())
    assert m.share_kept(2001, 2100) == pytest.approx(0.99)  # a memory of 2100 / 21 steps
    assert m.share_kept(20_000, 21_000) == pytest.approx(0.999)


# Distillation


@pytest.fixture
def features(batch):
    return torch.randn(len(batch.kind), 6, 8), torch.randn(len(batch.kind), 250, 8)


def test_tfd_is_0_where_no_target_sounds_and_where_no_clip_is_strong(batch, features):
    silent = batch._replace(frame_labels=torch.zeros_like(batch.frame_labels))
    weak = batch._replace(kind=torch.full_like(batch.kind, WEAK))
    assert m.distillation("tfd", silent, *features) == m.distillation("tfd", weak, *features) == 0


@pytest.mark.parametrize("unit", [False, True])
def test_tfd_and_its_rivals_are_means_over_the_frames_that_they_count(batch, features, unit):
    Z_t, Z_s = features[0][:, torch.arange(250) * 6 // 250], features[1]
    if unit:
        Z_t, Z_s = (Z / Z.norm(dim=2, keepdim=True) for Z in (Z_t, Z_s))
    square = (Z_t - Z_s).square()
    D, others = square.sum(2).sqrt(), batch.kind != STRONG
    active = batch.frame_labels.amax(2)[~others]
    mean = (square.sum(2) if unit else square).mean()
    expected = {"tfd": (D[~others] * active).mean(), "dfd_d": D.mean()}
    expected |= {"dfd_d_wu": D[others].mean(), "dfd_mse": mean}
    for kind, value in expected.items():
        assert torch.isclose(m.distillation(kind, batch, *features, unit), value), kind


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_down_the_unit_distillation_makes_no_features_smaller(kind, batch, features):
    trained = [F.clone().requires_grad_() for F in features]
    m.distillation(kind, batch, *trained, True).backward()
    for F in trained:
        across = (F * F.grad).sum(2).abs() / (F.norm(dim=2) * F.grad.norm(dim=2) + 1e-12)
        assert F.grad.abs().sum() > 0 and across.max() < 1e-3
        assert ((F - F.grad).norm(dim=2) >= F.norm(dim=2) - 1e-5).all()


@pytest.mark.parametrize("unit", [False, True])
def test_frames_in_which_a_trunk_is_silent_leave_a_finite_slope(batch, features, unit):
    F_t, F_s = features
    before = F_s.masked_fill(torch.rand(250, 1) < 0.5, -1).requires_grad_()  # the ReLU's input
    loss = m.distillation("dfd_d", batch, F_t, before.relu(), unit)
    loss.backward()
    assert loss > 0 and before.grad.isfinite().all()


def test_distillation_moves_both_trunks_and_their_matrices_and_nothing_else(batch):
    pair, (_, _, F_t), (_, _, F_s) = outputs(batch)
    m.distillation("tfd", batch, F_t, F_s).backward()
    assert all(W.grad.abs().sum() > 0 for W in (pair.W_t, pair.W_s))
    for net in (pair.teacher, pair.student):
        convolutions = [part for part in net.trunk if isinstance(part, torch.nn.Conv2d)]
        assert all(conv.weight.grad.abs().sum() > 0 for conv in convolutions)
        assert all(w.grad is None for w in net.aed.parameters())


HOW = [({}, True), ({"unit": True}, False), ({"distill": []}, False)]


@pytest.mark.parametrize("how, learned", HOW)
def test_the_matrices_are_learned_where_the_paper_s_loss_is(how, learned, data, tmp_path):
    trained("joint", tmp_path / "joint", **how)
    start = nets.initialised(spec(**how), len(LABELS), 0, data.features)
    kept = weights_in(tmp_path / "joint")
    for name in ("W_t", "W_s"):
        W = getattr(start, name).detach()
        assert torch.allclose(W.T @ W, torch.eye(W.shape[1]), atol=1e-5)
        assert torch.equal(kept[name], W) != learned


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
    every = scoring_of.score(corpus, said, 10.0, 0)
    some = scoring_of.score(corpus, said, 10.0, 0, rules=("average", "none"))
    assert bits(some) == bits({k: every[k] for k in some})
    found = {"event_f1_validation_average", "tagging_f1_raw", "psds_1", "event_f1_boxes"}
    assert found | {"event_f1_ungated_none", "event_f1_tuned_ungated_average"} <= set(some)
    others = "|".join(set(scoring_of.filters(corpus, 25.0)) - {"average", "none"})
    of_others = {k for k in every if re.search(rf"_({others})(_class|_resampled)?$", k)}
    assert set(every) - set(some) == of_others != set()


@pytest.mark.parametrize("rule", ["average", "baseline", "none", "whole_clip"])
def test_scores_are_scorings_of_the_events_at_a_half(corpus, said, rule):
    scores = scoring_of.score(corpus, said, 10.0, 0, rules=(rule,))
    settings = scoring_of.filters(corpus, 25.0)[rule]

    def event_f1(name, gate):
        frames = np.ones_like(said[name][0]) if rule == "whole_clip" else said[name][0]
        found = postprocess.detect(frames, gate, LABELS, 25.0, **settings)
        estimated = dict(zip(corpus[name].clips, found, strict=True))
        return scoring.event_f1(corpus[name].reference, estimated, LABELS)

    for name, of in (("validation", "_validation"), ("test", "")):
        by_class, mean = event_f1(name, None if rule == "baseline" else said[name][1])
        assert scores[f"event_f1{of}_{rule}"] == pytest.approx(mean, abs=1e-9)
        rounded = np.array(scores[f"event_f1{of}_{rule}_class"], float)
        np.testing.assert_allclose(rounded, by_class, atol=1e-4)
        if rule != "baseline":  # which has no gate as it is
            free = event_f1(name, None)[1]
            assert scores[f"event_f1_ungated{of}_{rule}"] == pytest.approx(free, abs=1e-9)
    best = scores[f"event_f1_tuned_validation_{rule}"]
    assert best >= scores[f"event_f1_validation_{rule}"]
    resampled = [k for k in scores if k.endswith("_resampled")]
    assert not any("validation" in k for k in resampled)
    assert (f"event_f1_{rule}_resampled" in resampled) == (rule in scoring_of.RESAMPLED)


def test_seconds_a_class_are_the_strong_events_mean_and_tags_the_clip_branchs(corpus, said):
    scores = scoring_of.score(corpus, said, 10.0, 0, rules=())
    for label, mean in zip(LABELS, scores["seconds_class"], strict=True):
        events = [e for es in corpus["strong"].events for e in es if e.label == label]
        assert mean == pytest.approx(np.mean([e.offset - e.onset for e in events]), abs=1e-3)
    tags = scoring.tagging_f1(corpus["test"].clip_labels, said["test"][1])
    assert scores["tagging_f1_raw"] == pytest.approx(tags.mean())
    assert scores["tagging_f1_raw_lowest"] == pytest.approx(tags.min())


# Training


def trained(method, folder, tell=lambda row: None, **more):
    folder.mkdir(exist_ok=True)
    return getattr(m, method)(spec(method, **more), 0, folder, [], tell)


@pytest.mark.parametrize("method", NETS)
def test_a_run_killed_between_epochs_ends_the_same(method, corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("CHECKPOINT_SECONDS", "0")
    ends_the_same(lambda folder, tell: trained(method, folder, tell), tmp_path)


@pytest.mark.parametrize("method", NETS)
def test_an_absent_class_and_a_silent_clip_train_and_no_truth_is_read(method, corpus, tmp_path):
    lose_cats(corpus)
    for part in (corpus[name] for name in SIZES if name != "test"):
        part.hidden = part.clean_labels = None
    scores = trained(method, tmp_path / method)
    assert np.isfinite(scores["curves"]["loss"]).all() and np.isfinite(scores["start_tags"])
    assert 0 <= scores["event_f1_average"] <= 1 and 0 <= scores["tagging_f1_raw"] <= 1


def test_guided_learning_trains_with_its_disentangled_features(data, tmp_path):
    trained("guided_learning", tmp_path / "gl")
    kept = weights_in(tmp_path / "gl")
    for half, net in nets.build(spec("guided_learning"), len(LABELS)).named_children():
        net.set_class_counts(data.lone_class_counts())
        assert torch.equal(kept[f"{half}.channels"], net.channels) and net.channels.min() == 0


def test_every_distillation_and_the_focal_loss_are_trained(corpus, tmp_path):
    rows = []
    trained("joint", tmp_path / "joint", rows.append)
    terms = {"strong_t", "strong_s", *TAGS, *TEACHING, *KINDS}
    slopes = {f"{term}'" for term in terms}
    assert set(rows[0]) == {"epoch", "steps", "loss", "validation"} | terms | slopes
    # the student's trunk moves by its own losses and the distances, not by the teacher's
    zero = {term for term in slopes if rows[1][term] == 0}
    assert zero == {"weak_t'", "strong_t'", "s_to_t'"}
    assert rows[0]["s_to_t"] == 0 < rows[1]["s_to_t"]  # from epoch 30 of 100 on
    assert all(row["tfd"] > 0 and row["dfd_d"] > row["tfd"] for row in rows)


def test_a_run_tells_the_teacher_s_tags_at_stage_2_and_distillation_s_share(corpus, tmp_path):
    rows, budget = [], spec()["budget"] | {"steps": 1, "epochs": 1}  # 30 of 100 is its only step
    found = trained("joint", tmp_path / "joint", rows.append, budget=budget)
    pair = nets.trained(spec(), len(LABELS), tmp_path / "joint")
    heard = torch.tensor(corpus["validation"].features(GUIDED)[:]).float()
    with torch.inference_mode():
        tags, truth = pair.teacher(heard)[1].numpy(), corpus["validation"].clip_labels
    f1 = scoring.tagging_f1(truth, tags).mean()
    assert found["start_tagging_f1"] == pytest.approx(f1, abs=1e-4)
    assert found["start_tags"] == pytest.approx((tags >= 0.5).sum() / truth.sum(), abs=1e-4)
    slopes = {name: slope for name, slope in rows[0].items() if name.endswith("'")}
    share = sum(slopes[f"{kind}'"] for kind in KINDS) / sum(slopes.values())
    assert found["distillation_share"] == pytest.approx(share, rel=1e-3)
    assert "distillation_share" not in trained("joint", tmp_path / "pts", distill=[])


@pytest.mark.parametrize("corpus", [dict(strong=16, weak=16, unlabelled=32)], indirect=True)
def test_training_learns_what_the_strong_clips_teach(corpus, tmp_path):
    """A band of its own for every class is no task: it must be found, on unseen clips too."""
    budget = {"steps": 192, "epochs": 12, "batch_size": 8, "learning_rate": 2e-2}
    net, rows = NETS["joint"] | {"dropout": 0.0}, []
    scores = trained("joint", tmp_path / "joint", rows.append, budget=budget, net=net, distill=[])
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert scores["event_f1_baseline"] > 0.4 > 0.1 > scores["event_f1_whole_clip"]


def test_a_corpus_without_one_kind_of_clips_is_one_line(corpus):
    del corpus.splits["unlabelled"]
    with refused("made has no unlabelled clips"):
        Data(corpus, spec())


def test_searched_windows_are_each_classs_best_on_validation(corpus, said):
    """Against every window by hand, a class at a time."""
    (frames, clips), valid = said["validation"], corpus["validation"]
    sizes = [scoring_of.odd(seconds * 25) for seconds in scoring_of.SEARCHED]
    assert sizes == [1, 5, 9, 21, 41, 81]
    at = [partial(postprocess.detect, frames, clips, LABELS, 25, [w] * 4) for w in sizes]
    best = [postprocess.tuned(valid.reference, one, LABELS)[2] for one in at]
    found = scoring_of.searched(corpus, said, 25)["windows"]
    assert [best[sizes.index(w)][c] for c, w in enumerate(found)] == np.max(best, 0).tolist()
    assert len(set(found)) > 1


def test_mixup_mixes_each_clip_and_its_labels_with_one_of_its_kind(batch):
    torch.manual_seed(0)
    found, shares, partners = parts.mixup(batch, 5.0), set(), []
    known = ([b.x.flatten(1), b.clip_labels, b.frame_labels.flatten(1)] for b in (batch, found))
    every, mixed = (torch.cat(three, 1).double() for three in known)
    for i, row in enumerate(mixed):
        line = every - every[i]  # row - every[i] = (1 - share) (partner - every[i])
        share = (line @ (row - every[i])) / line.square().sum(1).clamp_min(1e-9)
        off = (every[i] + share[:, None] * line - row).abs().amax(1)
        partners.append(i if off[i] < 1e-4 else int(off.argmin()))
        assert off.min() < 1e-4 and batch.kind[partners[-1]] == batch.kind[i]
        shares |= {round(float(share[partners[-1]]), 4)} if partners[-1] != i else set()
    assert len(shares) == 1 and sorted(partners) == list(range(len(every)))
    assert torch.equal(found.kind, batch.kind) and found.step == batch.step
