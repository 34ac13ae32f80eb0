"""Two students that teach each other: losses, data, objectives, scores, the whole algorithm."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from conftest import CASES, bce, bits, ends_the_same, made_events, made_split, refused, weights_in

from wsaed import features, nets, parameters, scoring, tagging, training
from wsaed.corpora import Corpus, Event, Split, shapes, soundscapes
from wsaed.corpora.pairs import Pairs, halves, pairs
from wsaed.tsd import conditional, method, scores, systems
from wsaed.tsd.method import Data, Student, algorithm_1, objective, student

TSD = features.FRONT_ENDS["tsd_40ms"]
LABELS = ("Alarm", "Bell", "Cat", "Dog", "Saw", "Speech")
ROLES = {"base_a": (0, 1), "base_b": (2, 3), "novel": (3, 4, 5)}
SIZES = {"base_a": 8, "base_b": 8, "novel": 10, "validation": 6, "test": 10, "references": 24}
SIZES["train"] = 12  # of the conditional network
NARROW = {"width": 0.05, "mels": 32, "dropout": 0.5}
BUDGET = {"epochs": 2, "batch_size": 4, "learning_rate": 2e-3}
SHARED = {"corpus": {}, "front_end": "tsd_40ms", "budget": BUDGET, "draw": 0}
TAGGER = {"net": {"name": "tsd.conditional:Conditional", **NARROW}, **SHARED}
EMBED = {"corpus": {}, "front_end": "tsd_40ms", "teachers": [TAGGER]}
BASE = {"net": {"name": "tsd.nets:DetectionNet", **NARROW}, "teachers": [EMBED], **SHARED}


def split(name, folder, count):
    """Noise with a band of its own for every class where it sounds; references sound throughout."""
    asked = ROLES.get(name, ROLES["novel"])
    if name == "references":
        events = [[Event(LABELS[i % len(LABELS)], 0, 10)] for i in range(count)]
    else:
        events = made_events(name, count, [LABELS[c] for c in asked])
    made = made_split(name, count, folder, LABELS, events)
    if name != "references":
        made.pairs = pairs(made.clip_labels, asked, len(name))
    return made


def made_corpus(folder, sizes):
    return Corpus("made", LABELS, {n: split(n, folder, k) for n, k in sizes.items()}, "")


@pytest.fixture
def tagger(tmp_path):
    """A folder of embeddings that tell the classes apart."""
    e = np.random.default_rng(0).random((SIZES["references"], 128)).astype(np.float32) / 5
    e[:, : len(LABELS)] += 3 * np.tile(np.eye(len(LABELS)), (4, 1))
    np.save(tmp_path / "embeddings.npy", e)
    return tmp_path


def net_of(**settings):
    return nets.build(BASE | {"net": BASE["net"] | settings}, len(LABELS))


def trained(spec, folder, teachers, tell=lambda row: None, replicate=0):
    folder.mkdir(exist_ok=True)
    return method.train(spec, replicate, folder, teachers, tell)


def active(events, label, steps):
    """(steps,) 1 where one of the ten-second clip's events of the label sounds, else 0."""
    y = np.zeros(steps)
    for e in (e for e in events if e.label == label):
        y[int(e.onset * steps / 10) : int(e.offset * steps / 10)] = 1
    return y


# Data


def data_of(corpus, tagger, spec):
    found = Data(corpus, spec, 0, tagger)
    if spec["labels"] == "strong":
        found.set_frame_labels(LABELS, 125, 12.5, spec["errors"])
    return found


def heard(part):
    """What is heard of a split's clips."""
    return torch.from_numpy(part.features(TSD)[:])


def rows_in(x, features):
    """The row of ``features`` that each clip of a batch is."""
    return [next(i for i, y in enumerate(features) if np.allclose(one, y, atol=1e-2)) for one in x]


def test_all_pairs_of_chosen_clips_in_their_order():
    asked = Pairs(np.array([0, 0, 1, 3, 3, 3]), np.zeros(6, int), np.zeros(6, bool))
    numbers, clip = method.pairs_of(asked, np.array([3, 0, 2]))
    assert numbers.tolist() == [3, 4, 5, 0, 1] and clip.tolist() == [0, 0, 0, 1, 1]


def test_a_batch_holds_its_clips_with_all_their_pairs(corpus, tagger):
    data = data_of(corpus, tagger, student(BASE, "base_b", "strong"))
    part, seen = corpus["base_b"], []
    for batch in data.batches(BUDGET, 0):
        assert batch.source == len(batch.x) and batch.e.shape == (len(batch.clip), 128)
        rows = rows_in(batch.x, part.features(TSD))
        for k, row in enumerate(rows):
            mine, wanted = (batch.clip == k).numpy(), part.pairs.clip == row
            labels = part.pairs.label[wanted].tolist()
            assert batch.present[mine].tolist() == part.pairs.present[wanted].tolist()
            assert batch.e[mine][:, : len(LABELS)].argmax(1).tolist() == labels
            for y, label in zip(batch.frame_labels[mine], labels, strict=True):
                assert y.tolist() == active(part.events[row], LABELS[label], 125).tolist()
        seen += rows
    assert sorted(seen) == list(range(8))


def test_references_are_drawn_anew_each_epoch_and_never_shared_with_the_test(corpus, tagger):
    data = data_of(corpus, tagger, student(BASE, "novel", "weak"))
    asked = corpus["novel"].pairs
    rows = {tuple(row): i for i, row in enumerate(data.embeddings.tolist())}

    def drawn(by_class, epoch):
        return [rows[tuple(e)] for e in data.references(asked, by_class, epoch).tolist()]

    epochs = [drawn(data.trained, k) for k in range(20)]
    assert epochs[0] == drawn(data.trained, 0) and epochs[0] != epochs[1]
    trained, tested = halves(corpus["references"].clip_labels)
    for label, column in zip(asked.label, np.transpose(epochs), strict=True):
        assert set(column) == set(trained[label])
    tested = set(np.concatenate(tested).tolist())
    assert set(drawn(data.tested, 0)) <= tested and not {r for e in epochs for r in e} & tested


def test_the_domain_loss_s_batches_hold_as_many_target_clips(corpus, tagger):
    data = data_of(corpus, tagger, student(BASE, "base_b", "weak", ad=0.2))
    for epoch in range(2):
        used = []
        for batch in data.batches(BUDGET, epoch):
            assert len(batch.x) == 2 * batch.source == 8 and batch.clip.max() < batch.source
            used += rows_in(batch.x[batch.source :], corpus["novel"].features(TSD))
        assert len(set(used)) == len(used) == 8
    data.target = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 250, 32)))
    used = [batch.x[batch.source :] for batch in data.batches(BUDGET, 0)]
    counts = np.bincount(rows_in(torch.cat(used), data.target))
    assert counts.sum() == 8 and counts.min() >= 2  # it goes round


def test_novel_clips_strong_labels_are_the_hidden_ones_or_say_how_wrong(corpus, tagger):
    data = Data(corpus, student(BASE, "novel", "strong"), 0, tagger)
    assert set(data.set_frame_labels(LABELS, 125, 12.5, None).values()) == {0}
    true = data.frame_labels.clone()
    assert true.any(1).tolist() == corpus["novel"].pairs.present.tolist()
    found = data.set_frame_labels(LABELS, 125, 12.5, {"kind": "flip", "rate": 0.3})
    wrong = (data.frame_labels != true).float()
    assert found["label_error"] == pytest.approx(wrong.mean().item(), abs=1e-6)
    both = wrong[true].mean() + wrong[~true].mean()
    assert found["label_error_balanced"] == pytest.approx(both.item() / 2, abs=1e-6)
    assert 0.2 < found["label_error"] < 0.4
    corpus["novel"].hidden = None
    with refused("novel has no onsets and offsets"):
        data.set_frame_labels(LABELS, 125, 12.5, None)


# Objectives

F = student(BASE, "base_b", "strong")
W = student(BASE, "novel", "weak")


def first_batch(corpus, tagger, spec):
    return next(data_of(corpus, tagger, spec).batches(BUDGET, 0))


def found_by(spec, batch, guide=None):
    """(what an objective finds for a fresh student, what that student said)."""
    learner, said = Student(net_of(), spec["ad"]), []

    def told(*asked):
        said.append(learner(*asked))
        return said[-1]

    return objective(spec, guide)(told, batch), *said[-1]


@pytest.mark.parametrize("spec, term", [(F, "strong"), (W, "weak")])
def test_equations_2_and_3_are_cross_entropy_of_frames_or_pooled(corpus, tagger, spec, term):
    batch = first_batch(corpus, tagger, spec)
    found, p, *_ = found_by(spec, batch)
    pooled = [sum(v * v for v in row) / sum(row) for row in p.tolist()]
    both = (p.detach(), batch.frame_labels) if term == "strong" else (pooled, batch.present)
    assert found["loss"].item() == pytest.approx(bce(*both), rel=1e-4)
    assert set(found) == {term, "loss"}


def test_equations_4_and_5_add_the_weighted_distance_and_leave_the_guide_as_it_was(corpus, tagger):
    spec = student(BASE, "base_b", "weak", guide=F, kd=5.0, ad=0.2)
    # a net whose dropout and batch statistics would show in training mode
    guide, batch = net_of(dropout=1.0).train(), first_batch(corpus, tagger, spec)
    before = {k: v.clone() for k, v in guide.state_dict().items()}
    found, _, G, D_z = found_by(spec, batch, guide)
    with torch.no_grad():  # the guide hears the source's clips alone
        expected = guide.eval()(batch.x[: batch.source], batch.e, batch.clip)[1]
    by_hand = np.mean((expected - G.detach()).numpy().astype(float) ** 2)
    assert found["kd"].item() == pytest.approx(5 * by_hand, rel=1e-4)
    d = np.repeat([[1.0, 0.0], [0.0, 1.0]], batch.source, 0)
    apart = np.mean(np.sum((D_z.detach().numpy() - d) ** 2, 1))
    assert found["domain"].item() == pytest.approx(apart, rel=1e-4)
    terms = found["weak"] + found["kd"] + found["domain"]
    assert found["loss"].item() == pytest.approx(terms.item(), rel=1e-6)
    found["loss"].backward()
    assert all(w.grad is None and not w.requires_grad for w in guide.parameters())
    assert all(torch.equal(v, before[k]) for k, v in guide.state_dict().items())


def test_equation_7_takes_soft_labels_of_a_guide_in_eval_mode_times_the_clip_label(corpus, tagger):
    spec = student(BASE, "novel", "pseudo", start=F, guide=W)
    guide, batch = net_of(dropout=1.0).train(), first_batch(corpus, tagger, spec)
    found, p, G, _ = found_by(spec, batch, guide)
    with torch.no_grad():
        said = guide.eval()(batch.x, batch.e, batch.clip)[0]
    y = np.array([q.numpy() * there for q, there in zip(said, batch.present.tolist(), strict=True)])
    assert found["loss"].item() == pytest.approx(bce(p.detach(), y), rel=1e-4)
    assert set(found) == {"pseudo", "loss"}
    absent = batch.present == 0
    assert absent.any() and not y[absent].any()
    # the same again: no dropout, no batch statistics
    again = objective(spec, guide)(lambda *asked: (p, G, None), batch)
    assert torch.equal(again["loss"], found["loss"])


# Specs


def test_algorithm_1_names_each_student_its_start_and_its_guide():
    found = algorithm_1(BASE, "base_b", 5.0, 0.2, 3, learning_rate=2e-4)
    for (name, spec), wanted in zip(found.items(), CASES["algorithm_1"], strict=True):
        method.check(spec)
        rows = [spec["start"], spec["guide"]]
        taken = [None if row is None else spec["teachers"][row] for row in rows]
        assert [name, taken] == [wanted[0], [found.get(other) for other in wanted[1:3]]]
        assert spec["teachers"][0] == EMBED
        assert [spec[key] for key in ("data", "labels", "kd", "ad")] == wanted[3:7]
        assert spec["budget"] == BUDGET | {"learning_rate": pytest.approx(wanted[7])}
    assert found["f_source"]["draw"] != found["w_source"]["draw"]
    assert json.loads(json.dumps(found)) == found


def test_algorithm_1_without_one_of_its_parts():
    plain, full = (algorithm_1(BASE, "base_b", kd, 0.2, 2) for kd in (0, 5.0))
    assert all(spec["kd"] == 0 for spec in plain.values())
    assert plain["w_source"]["guide"] is plain["w_2"]["guide"] is None
    assert plain["f_source"] == full["f_source"]  # one run for both
    assert plain["f_2"]["teachers"][plain["f_2"]["guide"]] == plain["w_2"]
    again = algorithm_1(BASE, "base_a", 5.0, 0, 1, epochs=7)
    assert all(spec["ad"] == 0 for spec in again.values())
    assert again["w_1"]["budget"] == BUDGET | {"epochs": 7}
    assert again["w_source"]["budget"] == BUDGET


@pytest.mark.parametrize("data, labels, more, complaint", CASES["contradictions"])
def test_a_spec_that_contradicts_itself_is_one_line(data, labels, more, complaint):
    others = {role: {"F": F, "W": W}[more[role]] for role in ("start", "guide") if role in more}
    with refused(f"tsd: .*{complaint}"):
        method.check(student(BASE, data, labels, **more | others))


def test_the_stop_rule_keeps_the_last_iteration_that_improved():
    for f1, stop in (("123", 3), ("122", 2), ("324", 1), ("132", 2), ("5", 1)):
        assert method.stops_at([int(digit) / 10 for digit in f1]) == stop


def test_the_papers_tables_agree_and_its_systems_are_what_they_say(monkeypatch):
    for column in ("event_f1_paper", "segment_f1"):
        one, two, three = (systems.PUBLISHED[f"table_{k}"][column] for k in (1, 2, 3))
        assert two["ws"] == one["ws"] and three["a_f_3"] == one["a_f_3"]
        assert two["b_f_1"] == one["b_f_3"]  # whatever its iterations
    monkeypatch.setenv("PANNS", "/somewhere/panns.pth")
    p = parameters.chosen("mixed_tsd", "laptop")
    found = systems.systems(p)
    for profile in ("smoke", "laptop", "evidence", "paper"):
        wanted = {name for names in systems.artefacts(profile).values() for name in names}
        assert wanted <= found.keys() and ("flip_0.2" in wanted) == (profile == "evidence")
        assert ("flip_0.3" in wanted) == (profile != "paper")
    teacher = found["b_f_3"]["teachers"][0]
    assert teacher["panns"] == "panns.pth" and teacher["front_end"] == "panns"
    assert "teachers" not in teacher and found["embedding"] == teacher
    rates = [found[name]["budget"]["learning_rate"] for name in ("ss", "b_f_source", "b_w_1")]
    assert rates == [p["learning_rate"], p["learning_rate"], p["retrain_rate"]]
    assert not found["b_none_w_1"]["kd"] and not found["b_none_w_1"]["ad"]
    for name in ("b", "b_ad"):  # the same but for the adversarial loss's sign
        ours = found[name.replace("b", "b_released") + "_f_source"]
        assert ours | {"ad": -ours["ad"]} == found[f"{name}_f_source"] and ours["ad"] < 0
    for system, many in {"ss": 6, "flip_0.3": 6, "drop_0.1": 3}.items():
        assert [systems.replicates(system, p, n) for n in (1, 6)] == [1, many]
    assert "flip_0.1" not in systems.systems(p | {"corpus": "target_sound"})


def test_the_conditional_network_s_clips_share_no_source_with_the_experiment(monkeypatch):
    monkeypatch.delenv("PANNS", raising=False)
    monkeypatch.setenv("BANK", "/somewhere/sounds")
    spec = systems.systems(parameters.chosen("mixed_tsd", "smoke"))["ss"]
    (pretraining,) = spec["teachers"][0]["teachers"]
    learned, used = (soundscapes.complete(one["corpus"]) for one in (pretraining, spec))
    assert learned["bank"] is None and used["bank"] == "sounds"
    assert learned["train"] and not used["train"] and not learned["noise"]
    sounds = soundscapes.Sounds(0)
    of = shapes.ontology(sounds, learned, "train")
    assert {name for name, _ in of["units"]} == set(sounds.classes)
    first = dict(zip(of["units"], of["first"], strict=True))
    shares = [sum(w for (c, _), w in first.items() if c == name) for name in sounds.classes]
    assert np.allclose(shares, shares[0])  # no class is rare


# Scores

CLASSES = ("Cat", "Dog")
TRUE = [[Event("Cat", 1.0, 2.0)], [Event("Dog", 0.5, 3.0)], [], []]
ASKED = Pairs(np.array([0, 1, 0, 1]), np.array([0, 1, 1, 0]), np.array([True, True, False, False]))
TEST = Split("test", ["0.wav", "1.wav"], TRUE[:2], None, None, np.arange(2), None, None, 1, ASKED)
SAID = [[[Event(*e) for e in events] for events in answer] for answer in CASES["answers"]]


@pytest.mark.parametrize("said", SAID)
def test_both_conventions_are_sed_eval_s_own_numbers(said):
    assert scores.truth(TEST, CLASSES) == TRUE
    found = scores.counts(TEST, CLASSES, said)
    plain = [dict(enumerate(events)) for events in (TRUE, said)]
    dummy = [[(CLASSES[label], 0.0, 0.0)] for label in ASKED.label]
    dummies = [{i: events or dummy[i] for i, events in side.items()} for side in plain]
    events = {"event_f1": plain, "event_f1_paper": dummies}
    expected = {name: scoring.sed_eval_event(*of, CLASSES) for name, of in events.items()}
    expected["segment_f1"] = scoring.sed_eval_segment(*plain, CLASSES, 0.2)
    for name, (by_class, macro) in expected.items():
        mine = scoring.class_f1(found[name])
        assert np.allclose(mine, by_class, atol=1e-12), name
        assert scoring.macro(mine)[0] == pytest.approx(macro, abs=1e-12)
    # events of no length never reach a segment
    silly = scoring.sed_eval_segment(*dummies, CLASSES, 0.2)
    assert np.allclose(silly[0], expected["segment_f1"][0], atol=1e-12)


def test_a_silent_negative_is_a_hit_under_the_paper_s_convention_alone():
    found = scores.counts(TEST, CLASSES, SAID[2])
    assert found["event_f1"].sum(0).tolist() == [[0, 1, 0], [0, 1, 0]]
    assert found["event_f1_paper"].sum(0).tolist() == [[1, 2, 2], [1, 2, 2]]


def test_events_are_runs_of_frames_over_the_threshold_of_their_class():
    p = np.zeros((4, 20))
    p[0, 3:6], p[0, 9], p[3, 0:20], p[1, 5:10] = 0.5, 0.49, 0.8, 0.3
    both = (scores.detect(p, ASKED, CLASSES, 10.0, t) for t in (0.5, np.array([0.9, 0.25])))
    plain, tuned = ([[e[:3] for e in es] for es in found] for found in both)
    assert plain == [[("Cat", 1.5, 3.0)], [], [], [("Cat", 0.0, 10.0)]]
    assert tuned == [[], [("Dog", 2.5, 5.0)], [], []]


def answers(corpus, low, high):
    """Both splits' (pairs, 1000) probabilities: low[c] for a class c, high[c] where it sounds."""
    found = {}
    for name in ("validation", "test"):
        part = corpus[name]
        asked = zip(part.pairs.clip, part.pairs.label, strict=True)
        y = [(active(part.events[clip], LABELS[c], 1000), c) for clip, c in asked]
        found[name] = np.array([low[c] + (high[c] - low[c]) * on for on, c in y])
    return found


def test_scores_of_an_oracle_and_of_what_costs_nothing(corpus):
    best = scores.score(corpus, answers(corpus, [0] * 6, [1] * 6), 10.0, 0)
    metrics = ("event_f1", "event_f1_paper", "event_f1_tuned", "segment_f1")
    assert [best[m] for m in metrics] == pytest.approx([1, 1, 1, 1], abs=0.02)
    assert best["event_f1_validation"] == 1
    p = answers(corpus, [0] * 6, [0.4] * 5 + [1])["validation"]
    assert scores.validation_f1(corpus, p, 10.0) == pytest.approx(1 / 3)  # cut at 0.5
    assert best["event_f1_class"] == [None, None, None, 1, 1, 1]
    assert len(best["segment_f1_resampled"]) == 50 and min(best["event_f1_resampled"]) == 1
    spec = {"corpus": {}, "front_end": "tsd_40ms"}
    specs = [spec | {"control": name} for name in scores.CONTROLS]
    silent, tags = (scores.control(spec, 0, None, [], None) for spec in specs)
    assert silent["event_f1"] == silent["segment_f1"] == silent["event_f1_tuned"] == 0
    assert 0.3 < silent["event_f1_paper"] < 0.8
    assert tags["event_f1"] < 0.2 < tags["segment_f1"] < 0.8
    with refused("control must be one of"):
        scores.controlled(corpus, "coin", 10.0)


def test_thresholds_are_tuned_on_validation_and_one_a_class(corpus):
    """Three classes whose probabilities need three thresholds; 0.5 finds one of them."""
    high = np.array([0, 0, 0, 0.3, 0.6, 0.9])
    found = scores.score(corpus, answers(corpus, high - 0.15, high), 10.0, 0)
    assert found["event_f1_class"][3:5] == [0, 1] and found["event_f1_class"][5] < 0.2
    assert found["event_f1_tuned_class"][3:] == [1, 1, 1] and found["event_f1_tuned"] == 1


# Prediction and training


def test_prediction_asks_every_pair_once_whatever_the_batch_and_stretches_time(corpus, monkeypatch):
    net, part = net_of(), corpus["test"]
    x, e = heard(part), torch.rand(len(part.pairs.clip), 128)
    p = method.predict(net, x, part.pairs, e)
    assert p.shape == (len(e), 125) and not net.training
    clip = int(part.pairs.clip[5])
    with torch.no_grad():
        alone = net(x[clip : clip + 1].float(), e[5:6], torch.tensor([0]))[0][0]
    assert np.allclose(p[5], alone, atol=1e-6)
    fine = method.predict(net, x, part.pairs, e, frames=250)
    times, coarse = (np.arange(250) + 0.5) / 25, (np.arange(125) + 0.5) / 12.5
    assert np.allclose(fine[3], np.interp(times, coarse, p[3]), atol=1e-5)
    monkeypatch.setattr(training, "predict", partial(training.predict, batch_size=3))
    assert np.allclose(p, method.predict(net, x, part.pairs, e), atol=1e-6)


def test_the_conditional_network_trains_and_embeds_all_references(corpus, tmp_path):
    found = conditional.train(TAGGER, 0, tmp_path, [], lambda row: None)
    seen = found["curves"]["validation"]
    assert len(seen) == 2 and seen[found["best_epoch"] - 1] == max(seen)
    (folder := tmp_path / "embedded").mkdir()
    told = conditional.embed(EMBED, 0, folder, [tmp_path], None)
    e = np.load(folder / "embeddings.npy")
    assert e.shape == (24, 128) and e.dtype == np.float32 and np.isfinite(e).all()
    net, part = nets.trained(TAGGER, len(LABELS), tmp_path), corpus["references"]
    with torch.no_grad():
        assert np.allclose(e, net.embedding(heard(part).float()), atol=1e-5)
    clips = training.predict(net, heard(corpus["validation"]))[1]
    mAP = tagging.map_of(corpus["validation"].clip_labels, clips)
    assert mAP == pytest.approx(max(seen), abs=1e-3)  # the best epoch's weights are kept
    assert told == {"reference_accuracy": conditional.reference_accuracy(e, part.clip_labels)}


def test_an_embedding_s_accuracy_is_that_of_the_nearest_class_of_unheard_references():
    labels = np.eye(3)[np.tile(np.arange(3), 4)]  # the first two of each class are for training
    e, rng = np.zeros((12, 128), np.float32), np.random.default_rng(0)
    e[:, :3] = labels
    assert conditional.reference_accuracy(rng.uniform(1, 9, (12, 1)) * e, labels) == 1
    e[6] = e[1]  # a reference for testing, of class 0, lies where class 1 does
    assert conditional.reference_accuracy(e, labels) == pytest.approx(5 / 6)
    near = [max(range(3), key=lambda k: e[i] @ (e[k] + e[k + 3])) for i in range(6, 12)]
    assert np.mean([k == i % 3 for i, k in enumerate(near)]) == pytest.approx(5 / 6)


def test_the_conditional_network_may_be_panns_as_it_is(corpus, tmp_path, monkeypatch):
    net = {"name": TAGGER["net"]["name"], "width": 0.02}
    spec = EMBED | {"net": net, "panns": "panns.pth", "front_end": "panns", "teachers": []}
    given = nets.build(spec, 527).state_dict()
    model = {k: v for k, v in given.items() if k not in ("mean", "std")}
    torch.save({"model": model}, tmp_path / "panns.pth")
    monkeypatch.setenv("PANNS", str(tmp_path / "panns.pth"))
    assert set(conditional.embed(spec, 0, tmp_path, [], None)) == {"reference_accuracy"}
    fresh = nets.build(spec, 4)
    conditional.load_panns(tmp_path / "panns.pth", fresh)
    x = torch.from_numpy(corpus["references"].features(features.FRONT_ENDS["panns"])[:])
    e = np.load(tmp_path / "embeddings.npy")
    assert e.shape == (24, 128) and np.allclose(e, conditional.embeddings(fresh, x), atol=1e-5)
    monkeypatch.setenv("PANNS", str(tmp_path / "other.pth"))
    with refused(r"must be the path of the file panns\.pth"):
        conditional.embed(spec, 0, tmp_path, [], None)


def test_algorithm_1_from_end_to_end(corpus, tagger, tmp_path):
    done = [(EMBED, tagger)]
    for name, spec in algorithm_1(BASE, "base_b", 5.0, 0.2, 2).items():
        teachers = [next(f for s, f in done if s == t) for t in spec["teachers"]]
        rows, folder = [], tmp_path / name
        found = trained(spec, folder, teachers, rows.append)
        done.append((spec, folder))
        terms = {spec["labels"], *(t for k, t in (("kd", "kd"), ("ad", "domain")) if spec[k])}
        both = terms | {f"{term}'" for term in terms}  # and its gradient on the trunk
        assert found["curves"].keys() == {"loss", "validation", *both}, name
        assert found["curves"].keys() == rows[0].keys() - {"epoch", "steps"}
        assert np.isfinite([*found["curves"].values()]).all() and min(rows[0][k] for k in both) > 0
        assert 0 <= found["event_f1"] <= 1 and 0 <= found["event_f1_paper"] <= 1
        assert found.get("silent_error_balanced") == (0.5 if name in ("w_1", "w_2") else None)
        first = name == "f_source"
        assert ("label_error" in found) == ("domain_accuracy" in found) == first
        assert "discriminator" not in " ".join(weights_in(folder))
        json.dumps(found)


def test_a_new_discriminator_tells_domains_that_the_trunk_tells_and_no_others():
    net, rng = net_of(dropout=0.0).eval(), np.random.default_rng(0)
    quiet, loud, more = (rng.normal(size=(60, 250, 32)).astype(np.float16) for _ in range(3))
    loud[:, :, :16] += 3
    assert method.domain_accuracy(net, (quiet, loud), 0) > 0.9
    assert 0.3 < method.domain_accuracy(net, (quiet, more), 0) < 0.7
    both = quiet, torch.from_numpy(loud[:20])  # as many of each
    assert method.domain_accuracy(net, both, 0) > 0.8


def test_a_student_starts_from_its_own_last_weights_statistics_included(corpus, tagger, tmp_path):
    first = student(BASE, "base_b", "weak")
    trained(first, tmp_path / "first", [tagger])
    still = BASE | {"budget": BUDGET | {"learning_rate": 0.0, "epochs": 1}}
    again = student(still, "novel", "weak", start=first)
    trained(again, tmp_path / "again", [tagger, tmp_path / "first"])
    a, b = (weights_in(tmp_path / name) for name in ("first", "again"))
    for key in a:
        moves = "running" in key or "batches" in key  # of batch norm: they follow the new clips
        assert torch.equal(a[key], b[key]) != moves, key
    fresh = nets.initialised(again, len(LABELS), 0, corpus["novel"].features(TSD)).state_dict()
    assert not torch.equal(fresh["head.0.weight"], b["head.0.weight"])
    assert not torch.equal(fresh["mean"], b["mean"])


def test_scoring_takes_unheard_references_and_needs_no_truth(corpus, tagger, tmp_path, monkeypatch):
    corpus["novel"].hidden = corpus["novel"].clean_labels = None
    seen = {}
    monkeypatch.setattr(scores, "score", lambda c, outputs, *_: seen.update(outputs) or {})
    found = trained(W, tmp_path / "w", [tagger])
    assert set(found) == {"curves", "best_epoch", "steps"}
    data, net = data_of(corpus, tagger, W), nets.trained(W, len(LABELS), tmp_path / "w")
    for name in ("validation", "test"):
        part = corpus[name]
        e = data.references(part.pairs, data.tested)
        assert np.array_equal(seen[name], method.predict(net, heard(part), part.pairs, e, 250))
    spec = student(BASE, "novel", "pseudo", guide=W)
    found = trained(spec, tmp_path / "f", [tagger, tmp_path / "w"])
    assert np.isfinite(found["curves"]["pseudo"]).all()


def test_a_run_killed_between_epochs_ends_the_same(corpus, tagger, tmp_path, monkeypatch):
    monkeypatch.setenv("CHECKPOINT_SECONDS", "0")
    guide = student(BASE, "base_b", "strong", ad=0.2)
    trained(guide, tmp_path / "guide", [tagger])
    longer = BASE | {"budget": BUDGET | {"epochs": 3}}
    spec = student(longer, "base_b", "weak", guide=guide, kd=5.0, ad=0.2)
    train = partial(trained, spec, teachers=[tagger, tmp_path / "guide"])
    whole = ends_the_same(lambda folder, tell: train(folder, tell=tell), tmp_path)
    assert bits(train(tmp_path / "other", replicate=1)) != bits(whole)


@pytest.mark.parametrize("corpus", [dict(novel=40, test=16)], indirect=True)
def test_training_finds_what_is_taught_and_hears_the_reference(corpus, tagger, tmp_path):
    """A band of its own for every class is no task: it must be found, for the class asked for."""
    net = BASE["net"] | {"width": 0.1, "dropout": 0.0}
    budget = {"epochs": 14, "batch_size": 8, "learning_rate": 1e-2}
    spec = student(BASE | {"net": net, "budget": budget}, "novel", "strong")
    best = trained(spec, tmp_path / "f", [tagger])
    tags = scores.controlled(corpus, "clip_label", 10)
    assert best["curves"]["loss"][-1] < 0.4 * best["curves"]["loss"][0]
    assert best["event_f1"] > 0.4 > tags["event_f1"]
    seen = best["curves"]["validation"]  # the best epoch on the validation pairs is kept
    assert best["best_epoch"] == 1 + int(np.argmax(seen))
    assert best["event_f1_validation"] == pytest.approx(max(seen), abs=1e-3)
    assert best["segment_f1"] > tags["segment_f1"] + 0.1
