"""The embedded corpus keeps its promises: independence, structure of the noise, DESED's habits."""

import pickle
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import CASES, REAL, needs_real, refused, tags_of
from recorded import small_steps

from wsaed.corpora import desed, load, scenes, shapes, sounds, soundscapes
from wsaed.corpora.sources import DESED, SPLITS, URBAN
from wsaed.features import FRONT_ENDS

PROBABILITIES = DESED["probabilities"]
ASKED = {"base_a": 60, "base_b": 60, "novel": 60, "validation": 40, "test": 100}
SIZES = {
    "ontology": {"train": 1000, "validation": 300, "test": 1000},
    "domestic": {"strong": 600, "weak": 20, "unlabelled": 20, "validation": 20, "test": 1000},
    "targets": {**ASKED, "references": 6},
}


def made(shape="ontology", replicate=0, **spec):
    return load({"name": "soundscapes", "shape": shape, **SIZES[shape], **spec}, replicate)


@pytest.fixture(scope="module")
def corpora():
    return {shape: made(shape) for shape in SIZES}


@pytest.fixture
def ontology(corpora):
    return corpora["ontology"]


@pytest.mark.parametrize("shape", SIZES)
def test_a_clip_depends_on_nothing_but_its_number(corpora, shape):
    few = dict.fromkeys(SIZES[shape], 7) | {"validation": 0}
    few |= {"references": 6} if shape == "targets" else {}
    some, again = made(shape, **few), made(shape, 1, **few)
    for name, split in some.splits.items():
        n, whole = len(split), corpora[shape][name]
        assert split.hidden == whole.hidden[:n]
        assert np.array_equal(split.groups, whole.groups[:n])
        if split.clip_labels is not None:
            assert np.array_equal(split.clip_labels, whole.clip_labels[:n])
        if split.pairs:
            for mine, every in zip(split.pairs, whole.pairs, strict=True):
                assert np.array_equal(mine, every[: len(mine)])
            assert (whole.pairs.clip[len(split.pairs.clip) :] >= n).all()
        late, early = whole.waveform(6), whole.waveform(3)
        assert np.array_equal(split.waveform(6), late) and not np.array_equal(late, early)
        assert not np.array_equal(late, again[name].waveform(6))
        assert not np.array_equal(late, corpora[shape]["validation"].waveform(6))


def test_the_annotated_time_is_where_the_sound_is():
    gaps, split = [], made("domestic", strong=30, test=0, snr=[25, 25])["strong"]
    for i, events in enumerate(split.events):
        x, on = split.waveform(i), np.zeros(160_000, bool)
        for event in events:
            on[round(event.onset * 16_000) : round(event.offset * 16_000)] = True
        if 0.2 < on.mean() < 0.8:
            gaps.append(10 * np.log10(np.mean(x[on] ** 2) / np.mean(x[~on] ** 2)))
    # dry sounds 25 dB over a background that is 10 dB soft: 35 dB between them, to the sample
    assert len(gaps) > 5 and np.median(gaps) > 30


def test_splits_share_no_source(corpora):
    for corpus in corpora.values():
        heard = set()
        for name, split in corpus.splits.items():
            sources = [e.source.split("/") for events in split.hidden for e in events]
            assert {own for _, own, _ in sources} == {name}
            assert max(int(number) for *_, number in sources) < SPLITS[name]["sources"]
            sounds = split.waveform.args[0].sounds
            twice = (np.random.default_rng(0) for _ in range(2))
            sound, again = (sounds.render("siren", name, 4, 1.0, rng) for rng in twice)
            assert np.array_equal(sound, again)
            heard.add(sound.tobytes())
        assert len(heard) == len(corpus.splits)


def test_long_tail_and_flat_test(ontology):
    train = ontology["train"].clean_labels.mean(0)
    assert len(ontology.labels) == len(set(ontology.labels)) == 60
    assert 5 < train.max() / train.min() < 20 and train.min() * 1000 >= 10
    assert 2.5 < ontology["train"].clean_labels.sum(1).mean() < 3
    assert (ontology["test"].clean_labels.sum(0) >= 15).all()
    spec = soundscapes.complete({"shape": "ontology"})
    tails = [shapes.ontology(soundscapes.Sounds(r), spec, "train")["first"] for r in (0, 5)]
    assert (tails[0] == tails[1]).all()  # the same tail every time
    assert 1.5 * tails[0].max() / tails[0].min() == pytest.approx(spec["span"])


def test_sub_types_imply_their_class(ontology):
    scenes = ontology["train"].waveform.args[0]
    column = {label: k for k, label in enumerate(ontology.labels)}
    for split in ontology.splits.values():
        for name, subtypes in scenes.sounds.subtypes.items():
            children = sum(split.clean_labels[:, column[s]] for s in subtypes)
            parent = split.clean_labels[:, column[name]]
            assert np.array_equal(parent, np.minimum(children, 1)), name


def test_missing_labels_are_structured(ontology):
    rates = shapes.missing_rates(ontology.labels)
    assert rates.min() == pytest.approx(0.05) and rates.max() == pytest.approx(0.6)
    assert 0.25 < rates.mean() < 0.29
    big = made(train=4000, validation=0, test=0)["train"]
    loudest = np.full(big.clean_labels.shape, -np.inf)
    for i, event in ((i, event) for i, events in enumerate(big.hidden) for event in events):
        k = ontology.labels.index(event.label)
        loudest[i, k] = max(loudest[i, k], event.snr)
    true, given = big.clean_labels > 0, big.clip_labels > 0
    missed = true & ~given
    assert 0.2 < missed.sum() / true.sum() < 0.33
    faint, loud = true & (loudest < 15), true & (loudest > 25)
    assert missed[faint].mean() > 1.8 * missed[loud].mean()
    often = true.sum(0) > 60
    measured = missed.sum(0)[often] / true.sum(0)[often]
    assert np.corrcoef(measured, rates[often])[0, 1] > 0.9
    wrong = given & ~true
    assert 0.02 < wrong.sum() / given.sum() < 0.045
    # a wrong label stands only where a label that is taken for it is true
    _, siblings = shapes.labels(big.waveform.args[0].sounds, "ontology")
    for clip, k in zip(*np.nonzero(wrong), strict=True):
        heard = [label for label, on in zip(ontology.labels, true[clip], strict=True) if on]
        assert ontology.labels[k] in {siblings[label] for label in heard}


def test_noise_changes_labels_only(ontology):
    clean, double = made(noise=0), made(noise=2.0)
    for split in ("train", "validation", "test"):
        assert np.array_equal(clean[split].clip_labels, clean[split].clean_labels)
        assert np.array_equal(clean[split].clean_labels, double[split].clean_labels)
    true = clean["train"].clean_labels > 0
    once, twice = (c["train"].clip_labels[true].mean() for c in (ontology, double))
    assert twice < once - 0.15
    assert np.array_equal(clean["test"].waveform(5), double["test"].waveform(5))


def test_features_are_shared_across_noise_and_sizes(tmp_path, monkeypatch):
    small_steps(tmp_path, 8, monkeypatch)
    front_end = FRONT_ENDS["secost_40ms"]

    def features(front_end=front_end, only=None, **spec):
        return made(validation=0, test=0, **spec)["train"].features(front_end, only=only)

    first = features(train=18)
    files = sorted(tmp_path.rglob("*.npy"))
    assert first.shape == (18, 250, 32) and len(files) == 3
    again = features(train=16, noise=0)
    assert sorted(tmp_path.rglob("*.npy")) == files
    assert np.array_equal(again[:], first[:16])
    assert np.array_equal(features(train=19, only=2)[:], features(train=19)[16:])
    assert np.array_equal(features(train=19)[:18], first[:])
    features(train=8, snr=[5, 5])
    assert len(list(tmp_path.rglob("*.npy"))) == 5
    faster = replace(front_end, rate=8000, hop=320, n_fft=512, window=512)
    assert features(faster, train=2).shape == (2, 250, 32)


def test_events_keep_desed_s_annotation_rules(corpora):
    for events in (e for c in corpora.values() for s in c.splits.values() for e in s.hidden):
        assert events
        for event in events:
            assert event.offset - event.onset >= sounds.SHORTEST - 1e-3
            assert event.onset >= 0 and event.offset <= 10 + 1e-3
        for a, b in pairwise(sorted(events)):  # by label, then by onset
            assert a.label != b.label or b.onset - a.offset >= scenes.GAP - 1e-3


def test_what_a_split_tells(corpora):
    for shape, corpus in corpora.items():
        assert list(corpus.splits) == list(SIZES[shape]) and "\n" not in corpus.about
        assert "20 classes of embedded sounds" in corpus.about
        for name, split in corpus.splits.items():
            size = SIZES[shape][name] * (20 if name == "references" else 1)
            assert len(split) == len(split.clips) == len(split.hidden) == size
            assert f"{size:,} {name}" in corpus.about
            known = name in ("strong", "base_a", "base_b", "validation", "test")
            assert split.events == (split.hidden if known else None)
            assert (split.clip_labels is None) == (name == "unlabelled")
            if shape != "ontology" and name != "unlabelled":
                assert np.array_equal(split.clip_labels, split.clean_labels)
            assert np.array_equal(split.clean_labels, tags_of(split.hidden, corpus.labels))
            clean = name in ("strong", "base_b")
            assert split.waveform.args[0].domain == ("clean" if clean else "recorded")
            x, copy = split.waveform(1), pickle.loads(pickle.dumps(split))
            assert x.shape == (160_000,) and x.dtype == np.float32 and np.isfinite(x).all()
            assert 1e-3 < np.sqrt(np.mean(x**2)) < 0.5 and abs(x).max() <= 1
            assert np.array_equal(copy.waveform(1), x)
    assert [len(corpus.labels) for corpus in corpora.values()] == [60, 10, 20]
    assert corpora["domestic"].labels == desed.LABELS == tuple(DESED["clean"]["seconds"])


def overlap(clips: list[list[tuple[float, float]]]) -> float:
    """Share of the active time in which two or more of a clip's (onset, offset) are on."""
    active = shared = 0.0
    for events in clips:
        edges = sorted([(onset, 1) for onset, _ in events] + [(offset, -1) for _, offset in events])
        on = 0
        for (time, step), (then, _) in pairwise(edges):
            on += step
            active += (then - time) * (on > 0)
            shared += (then - time) * (on > 1)
    return shared / active


@pytest.mark.parametrize("split, table", [("strong", DESED["clean"]), ("test", DESED["recorded"])])
def test_domestic_scenes_behave_as_desed_s(corpora, split, table):
    domestic = corpora["domestic"]
    events, clean = domestic[split].events, domestic[split].clean_labels
    for name in domestic.labels:
        mine = [e.offset - e.onset for clip in events for e in clip if e.label == name]
        wanted = np.trapezoid(table["seconds"][name], PROBABILITIES)
        # long events that must share ten seconds with their repeats end up shorter
        assert 0.7 * wanted < np.mean(mine) < 1.25 * wanted, name
        counts = table["repeats"][name]
        repeats = np.average(np.arange(1, len(counts) + 1), weights=counts)
        clips = sum(any(e.label == name for e in clip) for clip in events)
        assert 0.6 * repeats < len(mine) / clips < 1.2 * repeats, name
        assert split == "strong" or len(mine) >= 100
    wanted = table["classes"][0] / sum(table["classes"])
    assert np.mean(clean.sum(1) == 1) == pytest.approx(wanted, abs=0.05)
    shared = overlap([[(e.onset, e.offset) for e in clip] for clip in events])
    assert shared == pytest.approx(table["overlap"], abs=0.06)
    if split == "test":  # frying meets dishes and never a cat, as in the annotations
        meet, column = clean.T @ clean, domestic.labels.index
        assert meet[column("Frying"), column("Dishes")] > 10
        assert meet[column("Frying"), column("Cat")] <= 1


def test_urban_habits_agree_with_urban_sed():
    assert np.trapezoid(URBAN["seconds"], PROBABILITIES) == pytest.approx(2.0, abs=0.05)
    assert URBAN["seconds"][-1] == 4.79
    repeats = np.average((1, 2, 3), weights=URBAN["repeats"])
    assert repeats == pytest.approx(29_919 / 23_106, abs=0.01)


def measured(tsv: Path) -> dict:
    """The statistics of desed.yaml from a DESED annotation file: filename, onset, offset, label."""
    table = pd.read_csv(tsv, sep="\t").dropna(subset="event_label")
    lengths = (table["offset"] - table["onset"]).groupby(table["event_label"])
    counts = pd.crosstab(table["filename"], table["event_label"])
    there = np.sign(counts.to_numpy())
    clips = [list(zip(c["onset"], c["offset"], strict=True)) for _, c in table.groupby("filename")]
    return {
        "seconds": {n: np.quantile(s, PROBABILITIES).round(2).tolist() for n, s in lengths},
        "repeats": {name: np.bincount(counts[name])[1:].tolist() for name in counts},
        "together": dict(zip(counts, (there.T @ there).tolist(), strict=True)),
        "classes": np.bincount(there.sum(1))[1:].tolist(),
        "overlap": round(overlap(clips), 3),
    }


@needs_real
@pytest.mark.parametrize("table, file", [("clean", "synthetic"), ("recorded", "validation")])
def test_statistics_are_those_of_the_files(table, file):
    assert measured(REAL / "desed2019" / f"{file}.tsv") == DESED[table]


@pytest.mark.parametrize("spec, says", CASES["soundscapes"])
def test_a_bad_spec_gets_one_line(spec, says):
    with refused(says):
        load({"name": "soundscapes", **spec}, 0)


def roles(count: int) -> dict[str, set]:
    found = shapes.target_roles(tuple(map(str, range(count))))
    return {name: set(mine) for name, mine in found.items()}


@pytest.mark.parametrize("count, sizes", [(10, [4, 4, 4]), (20, [7, 7, 8])])
def test_target_roles(count, sizes):
    base_a, base_b, novel = (roles(count)[name] for name in ("base_a", "base_b", "novel"))
    assert [len(base_a), len(base_b), len(novel)] == sizes
    assert base_a | base_b | novel == set(map(str, range(count)))
    assert not base_a & (base_b | novel) and len(base_b & novel) == 2


def test_too_few_classes_for_targets_get_one_line():
    assert all(len(mine) >= 3 for count in (8, 9, 11, 13) for mine in roles(count).values())
    with pytest.raises(ValueError, match="7 sound classes are too few; give 8"):
        roles(7)
