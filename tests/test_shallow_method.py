"""The shallow student's curriculum, objective and training: pools, equations 3 to 7, resuming."""

import numpy as np
import pytest
import torch
from conftest import CASES, LABELS, bce, bits, ends_the_same, lose_cats, refused

from wsaed import features, nets, postprocess, training
from wsaed.joint import scores
from wsaed.joint.data import STRONG, UNLABELLED, UNUSED, WEAK, Batch, Data
from wsaed.shallow import augment, method, systems

SIZES = {"strong": 8, "weak": 8, "unlabelled": 20, "validation": 6, "test": 8}
LABELLED, CURRICULA = 16, tuple(method.SHARES)
FRONT_END = features.FRONT_ENDS["lstm_40ms"]


def spec(name="ef_sw_em_cs", steps=22, **more):
    p = {"width": 0.03, "mels": 20, "front_end": "lstm_40ms", "steps": steps, "batch_size": 8}
    found = systems.student(p | {"generation": 2}, name, {"corpus": {}})
    found["budget"]["learning_rate"] = 1e-2
    return found | {"lambdas": [0.75, 1.5]} | more


@pytest.fixture
def teacher(corpus, tmp_path):
    """The folder of a teacher that is nearly sure of the truth, and of some clips surer."""
    folder = tmp_path / "teacher"
    folder.mkdir()
    Y = postprocess.active_frames(corpus["unlabelled"].hidden, LABELS, 250, 25.0).astype(np.float32)
    sure = np.linspace(0.6, 0.95, len(Y), dtype=np.float32)[:, None, None]
    t_s = 0.5 + (sure - 0.5) * (2 * Y - 1)
    np.save(folder / "unlabelled_frames.npy", t_s.astype(np.float16))
    np.save(folder / "unlabelled_clips.npy", t_s.max(1).astype(np.float16))
    return folder


@pytest.fixture
def train(teacher, tmp_path):
    """``train(...)``: the scores of a run on the made corpus, in ``folder`` below tmp_path."""

    def trained(tell=None, name="ef_sw_em_cs", folder="run", replicate=0, **more):
        (tmp_path / folder).mkdir(exist_ok=True)
        wanted, tell = spec(name, **more), tell or (lambda row: None)
        teachers = [teacher] * bool(wanted["teachers"])
        return method.train(wanted, replicate, tmp_path / folder, teachers, tell)

    return trained


@pytest.fixture
def watched(monkeypatch):
    """Every batch that training takes a step on, as `objective` gets it."""
    seen, plain = [], method.objective
    monkeypatch.setattr(method, "objective", lambda b, *a, **k: seen.append(b) or plain(b, *a, **k))
    return seen


@pytest.fixture
def unscored(monkeypatch):
    """Training without the scores on test: what would have been scored, a run."""
    asked = []
    monkeypatch.setattr(scores, "score", lambda _, outputs, *more: asked.append(outputs) or {})
    return asked


def rows_of(batch, corpus):
    """The rows of a batch's clips, known by their first frame, for nothing is augmented."""
    names = ("weak", "strong", "unlabelled")
    x = np.concatenate([corpus[n].features(FRONT_END)[:][:, 0] for n in names])
    return [int(np.flatnonzero((x == one).all(1))[0]) for one in batch.x[:, 0].half().numpy()]


# The curriculum


@pytest.mark.parametrize("curriculum", CURRICULA)
@pytest.mark.parametrize("steps", [1, 2, 11, 60, 1560])
@pytest.mark.parametrize("generation", [1, 5])
def test_every_curriculum_gets_exactly_the_budgets_steps(curriculum, steps, generation):
    budget = {"steps": steps, "batch_size": 16, "generation": generation}
    epochs, places = method.plan(curriculum, 40, 201, budget), np.arange(201)
    assert sum(e.steps for e in epochs) == steps and all(e.steps > 0 for e in epochs)
    for number, epoch in enumerate(epochs):
        assert epoch.generation == 1 + number // generation
        pool = method.active_pool(curriculum, epoch.generation, places, np.arange(40), places)
        assert epoch.clips == len(pool)
        batches = len(training.shuffled(len(pool), 16, 3, number))
        cut = number == len(epochs) - 1
        assert epoch.steps <= batches if cut else epoch.steps == batches


# The objective

MIXED = [WEAK, STRONG, UNLABELLED, STRONG, UNLABELLED, UNLABELLED, WEAK]
SETTINGS = ("pseudolabels", "mask", "denominator", "lambdas")


def objective(wanted, case, margin=3):
    return method.objective(*case, margin, **{key: wanted[key] for key in SETTINGS})


def batch_of(kinds):
    """Random hard labels and soft pseudolabels, and what a student says of them."""
    rng = np.random.default_rng(0)
    kind, n = np.array(kinds), len(kinds)
    Y = (rng.random((n, 30, 4)) < 0.1).astype(np.float32)
    Y[:, :, 3] = 0  # a class that no strong clip holds
    t = rng.uniform(0, 1, (n, 30, 4)).astype(np.float32) ** 3
    free, weak, strong = ((kind == k)[:, None] for k in (UNLABELLED, WEAK, STRONG))
    Y = np.where(free[:, None], t, Y) * ~weak[:, None]
    y = np.where(strong, Y.max(1), (rng.random((n, 4)) < 0.5).astype(np.float32))
    y = np.where(free, rng.uniform(0, 1, (n, 4)).astype(np.float32), y)
    s_s, s_w = (torch.tensor(rng.uniform(0.05, 0.95, s)).float() for s in ((n, 30, 4), (n, 4)))
    labels = torch.tensor(y), torch.tensor(Y), torch.tensor(kind)
    return Batch(torch.zeros(n, 30, 20), *labels, 0, 1), s_s, s_w


def mask_cell(kind, y_w, Y_s, t, c, margin):
    if kind == "none":
        return 1
    near = Y_s[max(0, t - margin) : t + margin + 1, c]
    return int(y_w[c] >= 0.5 and (kind == "event" or max(near) >= 0.5))


def naive(spec, batch, s_s, s_w, margin):
    """Equations 3 to 7 as loops over clips, frames and classes."""
    known = (batch.clip_labels, batch.frame_labels, s_s, s_w)
    y_w, Y_s, p_s, p_w = (v.double().numpy() for v in known)
    found = {}
    for name, kind in (("weak", WEAK), ("strong", STRONG), ("unlabelled", UNLABELLED)):
        clips = [i for i, k in enumerate(batch.kind.tolist()) if k == kind]
        tags = bce(p_w[clips], y_w[clips]) if clips else 0
        cells = [(i, t, c) for i in clips for t in range(30) for c in range(4)]
        M = [mask_cell(spec["mask"], y_w[i], Y_s[i], t, c, margin) for i, t, c in cells]
        frames = sum(bce(p_s[cell], Y_s[cell]) for cell, m in zip(cells, M, strict=True) if m)
        by = len(cells) if spec["denominator"] == "cells" else max(sum(M), 1)
        found[f"{name}_w"] = (1 if kind == WEAK else 0.75) * tags
        if kind == STRONG or (kind == UNLABELLED and spec["pseudolabels"] == "strong+weak"):
            found[f"{name}_s"] = 1.5 * frames / max(by, 1)
    return found


@pytest.mark.parametrize("mask", method.MASKS)
@pytest.mark.parametrize("denominator", method.DENOMINATORS)
@pytest.mark.parametrize("pseudolabels", method.FRAMES_OF)
@pytest.mark.parametrize("kind", [MIXED, WEAK, STRONG, UNLABELLED, UNUSED])
def test_the_objective_is_its_naive_transcription(mask, denominator, pseudolabels, kind):
    wanted = spec(mask=mask, denominator=denominator, pseudolabels=pseudolabels)
    case = batch_of(kind if kind is MIXED else [kind] * 3)
    for margin in (0, 3, 40):
        found, expected = objective(wanted, case, margin), naive(wanted, *case, margin)
        assert set(found) == {*expected, "loss"}
        for name, value in (expected | {"loss": sum(expected.values())}).items():
            assert found[name].item() == pytest.approx(value, rel=1e-5, abs=1e-7), name


def test_the_published_margin_and_masks_in_frames():
    for rate, margin, standard in ((50.0, 12, 16), (25.0, 6, 8)):
        assert round(method.MARGIN * rate) == margin
        assert round(augment.TIME_MASK * rate) == standard
    assert (augment.TIME_MASKS, augment.GAMMA, augment.BANDS) == (2, 0.25, (4, 1))


# What augmentation knows of the corpus, and the teacher's labels


def test_median_lengths_come_from_the_strong_clips(corpus):
    lengths = {label: [] for label in LABELS}
    for event in (e for clip in corpus["strong"].events for e in clip):
        lengths[event.label].append(25 * (event.offset - event.onset))
    expected = [np.median(lengths[label]) if lengths[label] else 0 for label in LABELS]
    assert method.median_lengths(corpus, 25.0).tolist() == pytest.approx(expected)
    for clip in corpus["strong"].events:
        clip[:] = [e for e in clip if e.label != "Cat"]
    assert method.median_lengths(corpus, 25.0)[1] == 0


def test_the_unlabelled_clips_get_the_teachers_labels_and_no_others_do(corpus, teacher):
    data = Data(corpus, spec())
    method.teach(data, [teacher], 250, 25.0)
    t_s, t_w = (np.load(teacher / f"unlabelled_{part}.npy") for part in ("frames", "clips"))
    assert np.array_equal(data.frame_labels[LABELLED:].numpy(), t_s)
    assert np.array_equal(data.clip_labels[LABELLED:].numpy(), t_w.astype(np.float32))
    Y = postprocess.active_frames(corpus["strong"].events, LABELS, 250, 25.0)
    assert np.array_equal(data.frame_labels[8:16].numpy(), Y) and data.frame_labels[:8].sum() == 0
    tags = np.concatenate([corpus[name].clip_labels for name in ("weak", "strong")])
    assert np.array_equal(data.clip_labels[:LABELLED].numpy(), tags)


@pytest.mark.parametrize("theirs, ours", [(600, 500), (500, 500), (250, 500), (500, 250)])
def test_a_teacher_of_another_rate_gives_each_frame_its_nearest(corpus, teacher, theirs, ours):
    times = (np.arange(theirs) + 0.5) / theirs
    frames = np.broadcast_to(np.arange(theirs)[None, :, None], (20, theirs, 4)) / 1024
    np.save(teacher / "unlabelled_frames.npy", frames.astype(np.float16))
    data = Data(corpus, spec())
    method.teach(data, [teacher], ours, ours / 10)
    said = (data.frame_labels[LABELLED, :, 0].double() * 1024).long().numpy()
    for i, j in enumerate(said):
        away = abs(times - (i + 0.5) / ours)
        assert away[j] <= away.min() + 1e-9


def test_a_teacher_of_other_clips_is_one_line(corpus, teacher):
    clips = np.load(teacher / "unlabelled_clips.npy")
    np.save(teacher / "unlabelled_clips.npy", clips[:5])
    with refused("of 5 clips for 20 unlabelled"):
        method.teach(Data(corpus, spec()), [teacher], 250, 25.0)


# Training


@pytest.mark.parametrize("name", systems.CONFIGURATIONS)
def test_every_configuration_trains_for_the_same_steps(name, unscored, watched, train):
    rows = []
    found = train(rows.append, name)
    assert len(watched) == found["steps"] == 22
    assert [(batch.step, batch.steps) for batch in watched] == [(i, 22) for i in range(22)]
    curves, many = found["curves"], len(found["pool"])
    assert {len(curve) for curve in curves.values()} == {many} and len(rows) == many
    terms = {name for name in curves if f"{name}'" in curves}  # each with its slope
    more = ["unlabelled_s"] * (spec(name)["pseudolabels"] == "strong+weak")
    assert terms == {"weak_w", "strong_w", "strong_s", "unlabelled_w", *more}
    assert np.isfinite(curves["loss"]).all()
    assert min(curves["validation"]) >= 0 and found["best_epoch"] <= many
    rankings = 2 if spec(name)["teachers"] else 0
    assert len(found["difficulty"]) == rankings == sum(key.endswith("_lift") for key in found)
    for deciles in found["difficulty"]:
        assert len(deciles) == 11 and deciles == sorted(deciles) and 0 <= deciles[0] <= 1


@pytest.mark.parametrize("schedule", [None, "one_cycle"])
def test_the_optimiser_is_the_published_one(schedule, monkeypatch, train):
    def fit(net, losses, batches, budget, **options):
        assert options["betas"] == (0.9, 0.99)
        assert options["schedule"] is (training.one_cycle if schedule else None)
        assert budget["learning_rate"] == 1e-2
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "fit", fit)
    budget = spec()["budget"] | ({"schedule": schedule} if schedule else {})
    with pytest.raises(KeyboardInterrupt):
        train(budget=budget)


@pytest.mark.parametrize("name", ["ef_sw_em_ns", "hf_sw_em_cs", "sw_nm_ns", "em_cs"])
def test_an_epoch_is_one_pass_over_its_pool(name, unscored, corpus, watched, train):
    found = train(name=name, augment="none", steps=30)
    wanted = spec(name, steps=30)
    epochs = method.plan(wanted["curriculum"], LABELLED, 20, wanted["budget"])
    assert found["pool"] == [e.clips for e in epochs]
    batches = iter(watched)
    for epoch in epochs:
        mine = [next(batches) for _ in range(epoch.steps)]
        seen = [row for batch in mine for row in rows_of(batch, corpus)]
        assert len(set(seen)) == len(seen) <= epoch.clips
        if epoch is not epochs[-1]:
            assert len(seen) == epoch.clips and set(range(LABELLED)) <= set(seen)
        kinds = torch.cat([batch.kind for batch in mine]).tolist()
        assert kinds == [WEAK if r < 8 else STRONG if r < 16 else UNLABELLED for r in seen]
    assert next(batches, None) is None


@pytest.mark.parametrize("name, first", [("ef_sw_em_ns", True), ("hf_sw_em_cs", False)])
def test_what_joins_is_ranked_by_the_student_at_the_generations_end(
    name, first, unscored, corpus, teacher, watched, monkeypatch, train
):
    t_w = np.load(teacher / "unlabelled_clips.npy").astype(np.float32)
    rng, plain, asked = np.random.default_rng(5), training.predict, []

    def predict(net, features):
        if len(features) != 20:
            return plain(net, features)
        gap = rng.permutation(20) / 100
        asked.append((gap, len(watched)))
        return None, t_w - gap[:, None].astype(np.float32) * np.array([1, 0.5, -0.2, 0], "f")

    monkeypatch.setattr(training, "predict", predict)
    found = train(name=name, augment="none", steps=30)
    epochs = method.plan("easier", LABELLED, 20, spec(steps=30)["budget"])
    starts = np.cumsum([0, *(e.steps for e in epochs)])
    assert [at for _, at in asked] == [starts[2], starts[4]]  # as generations 2 and 3 begin
    for number, (gap, _) in enumerate(asked):
        for epoch in (2 + 2 * number, 3 + 2 * number):
            mine = watched[starts[epoch] : starts[epoch + 1]]
            seen = {row - 16 for b in mine for row in rows_of(b, corpus) if row >= 16}
            ranked = np.argsort(gap if first else -gap)
            assert seen == set(ranked[: 4 + 4 * number].tolist())
        deciles = np.quantile(gap, np.linspace(0, 1, 11))
        assert found["difficulty"][number] == pytest.approx(deciles, abs=1e-3)


def test_ties_of_difficulty_go_by_the_clips_number():
    memory = method.Memory(1, 6)
    memory.rank(0, torch.tensor([[0.5], [0.2], [0.5], [0.2], [0.9], [0.2]]), torch.zeros(6, 1))
    assert memory.order.tolist() == [1, 3, 5, 0, 2, 4]


def test_a_rankings_quality_is_its_naive_transcription():
    rng = np.random.default_rng(2)
    y = (rng.random((40, 4)) < 0.3).astype(np.float32)
    y[:, 2] = 0  # a class that no clip has counts neither for precision nor for prevalence
    t, s = np.abs(y - 0.4 * rng.random(y.shape)), rng.random(y.shape)
    precision = []
    for c in (0, 1, 3):
        hits = y[np.argsort(-s[:, c]), c]
        precision.append(np.mean([hits[: k + 1].mean() for k in np.flatnonzero(hits)]))
    lift, error = method.ranking_quality(t, s, y)
    assert lift == pytest.approx(np.mean(precision) / y[:, [0, 1, 3]].mean())
    mu = [max(abs(t[i] - s[i])) for i in range(40)]
    wrong = [max(abs(t[i] - y[i])) for i in range(40)]
    ranks = (np.argsort(np.argsort(v)) for v in (mu, wrong))
    assert error == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert method.ranking_quality(t, y, y) == pytest.approx((1 / y[:, [0, 1, 3]].mean(), 1))


FALLING = [0.1, 0.4, 0.3, 0.2, 0.25, 0.3, 0.1, 0.2]  # the best epoch is the second


@pytest.mark.parametrize("killed_in", [2, 3, 4, 6])
def test_an_interrupted_run_ends_in_the_same_bits(
    killed_in, unscored, tmp_path, monkeypatch, train
):
    def again(folder, tell):
        resumed = (folder / "checkpoint.pt").exists()  # it is of the epoch before
        said = iter(FALLING[killed_in - 1 :] if resumed else FALLING)  # one a call
        monkeypatch.setattr(scores, "validation_f1", lambda *any: next(said))
        return train(tell, folder=folder)

    monkeypatch.setenv("CHECKPOINT_SECONDS", "0")
    whole = ends_the_same(again, tmp_path, killed_in, epochs=8)
    assert len(whole["pool"]) == 8 and whole["best_epoch"] == 2


def test_the_kept_weights_have_the_best_validation_score(corpus, tmp_path, train):
    found = train(steps=60, name="ef_sw_em_ns")
    net = nets.trained(spec(), len(LABELS), tmp_path / "run")
    outputs = scores.outputs_of(net, corpus, FRONT_END)["validation"]
    f1 = scores.validation_f1(corpus, *outputs, 10.0)
    curve = found["curves"]["validation"]
    assert max(curve) == curve[found["best_epoch"] - 1]
    assert f1 == pytest.approx(max(curve), rel=1e-3)
    assert f1 == found["event_f1_validation_median"] and 0.1 < f1 < 1
    for rule in ("average", "median", "none"):
        assert 0 <= found[f"event_f1_{rule}"] <= 1
    assert len(found["event_f1_median_resampled"]) == 50


def test_a_run_depends_on_its_replicate_and_its_draw_alone(unscored, corpus, watched, train):
    def once(folder, **more):
        watched.clear()
        found = train(name="ef_sw_em_ns", folder=folder, **more)
        return bits(found), [row for batch in watched for row in rows_of(batch, corpus)]

    first = once("a")
    torch.rand(7)
    assert once("b") == first
    (replicate, its_rows), (draw, same_rows) = once("c", replicate=1), once("d", draw=1)
    assert replicate != first[0] != draw  # initialisations of their own
    assert its_rows[:16] != first[1][:16] == same_rows[:16]  # before any ranking


def test_the_first_generation_is_the_same_whatever_the_curriculum(unscored, train):
    names = ("ef_sw_em_cs", "hf_sw_em_cs", "sw_em_cs", "ef_w_em_cs", "em_cs")
    found = [train(name=name, folder=name)["curves"]["loss"] for name in names]
    assert all(loss[:2] == found[0][:2] for loss in found)
    assert len({tuple(loss[2:5]) for loss in found}) == len(names)


def test_the_truth_about_unlabelled_clips_is_for_diagnosis_alone(unscored, corpus, train):
    free, told = corpus["unlabelled"], train(folder="told")
    free.hidden = free.clean_labels = corpus["weak"].hidden = None
    found = train()
    assert {*told} - {*found} == {f"ranking_{k}_{of}" for k in (1, 2) for of in ("lift", "error")}
    assert bits(found) == bits({name: told[name] for name in found})


def test_a_class_that_never_occurs_and_a_clip_without_events_train(unscored, corpus, train):
    lose_cats(corpus)
    for name in ("ef_sw_sm_cs_mask_sum", "ef_sw_em_cs"):
        assert np.isfinite(train(name=name, folder=name)["curves"]["loss"]).all()


def test_the_student_learns_what_labels_and_teacher_say(train):
    """A band of its own for every class is no task: it must be found, on unseen clips too."""
    rows, budget = [], {"steps": 150, "batch_size": 8, "learning_rate": 2e-2, "generation": 2}
    net = {"name": "shallow.net:LstmStudent", "width": 0.06, "mels": 20}
    more = {"name": "ef_sw_em_ns", "budget": budget, "net": net}
    found = train(rows.append, **more)
    assert rows[-1]["weak_w"] < 0.6 * rows[0]["weak_w"]
    assert rows[-1]["strong_s"] < 0.6 * rows[0]["strong_s"]
    assert max(found["event_f1_median"], found["event_f1_tuned_median"]) > 0.3
    first, last = found["difficulty"]
    assert 0 < last[5] < 1 and last[5] != first[5]


@pytest.mark.parametrize("change, says", CASES["student"])
def test_a_setting_that_makes_no_sense_is_one_line(change, says, train):
    with refused(says):
        train(**change)
