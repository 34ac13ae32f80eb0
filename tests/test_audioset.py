"""AudioSet's lists, the splits drawn from them and recordings found by their names."""

from itertools import chain

import numpy as np
import pytest
from conftest import put, refused
from recorded import HERE, SMALL

from wsaed.corpora import audioset
from wsaed.files import content

FILES = HERE / "audioset_files"
SPEC = {"name": "audioset", **SMALL["audioset"].spec}
LINES = [x for name in audioset.LISTS for x in (FILES / name).read_text().splitlines()[3:]]
YTIDS = {line.split(",")[0]: line.split('"')[1].split(",") for line in LINES}
MIDS = [x.split(",")[1] for x in (FILES / audioset.CLASSES).read_text().splitlines()[1:]]


@pytest.fixture
def root(lay):
    return lay("audioset", shard=3) / "audioset"


def ids(split) -> list[str]:
    return [next(y for y in YTIDS if y in clip) for clip in split.clips]


def test_the_splits_hold_what_the_lists_say_and_nothing_broken(root):
    corpus = audioset.load(SPEC, 0)
    assert corpus.labels == ("Speech", "Dog", "Siren", "Rain")
    found = {name: ids(split) for name, split in corpus.splits.items()}
    gone = [x[:11] for x, state in SMALL["audioset"].states.items() if "short" not in state]
    assert sorted(chain(*found.values())) == sorted({*YTIDS} - {*gone})
    assert set(found["test"]) == {"-ppppppppp-", "qqqqqqqqqqq", "rrrrrrrrrrr"}
    groups = np.concatenate([split.groups for split in corpus.splits.values()])
    assert len(set(groups)) == len(groups)
    for split in corpus.splits.values():
        truth = [[mid in YTIDS[y] for mid in MIDS] for y in ids(split)]
        np.testing.assert_array_equal(split.clip_labels, truth)
        assert split.clip_labels.dtype == np.uint8 and split.clean_labels is None
        assert split.clip_labels.any(0).all()
        for i, clip in enumerate(split.clips):
            seconds = 6 if "rrr" in clip else 10
            assert len(split.waveform(i)) == pytest.approx(seconds * split.rate, rel=0.02)
    assert audioset.load(SPEC, 5)["train"].clips == corpus["train"].clips


def test_events_of_the_strong_list(root):
    corpus = audioset.load(SPEC, 0)
    test = corpus["test"]
    events = dict(zip(ids(test), test.events, strict=True))
    assert [e[:3] for e in events["qqqqqqqqqqq"]] == [("Dog", 0.0, 1.25), ("Siren", 4.1, 10.0)]
    assert [e[:3] for e in events["-ppppppppp-"]] == [("Speech", 2.0, 3.0)]
    assert events["rrrrrrrrrrr"] is None  # nobody annotated it: not the same as silence
    assert "1 events of audioset_eval_strong.tsv have labels outside" in corpus.about
    assert "nobody annotated events of 1 test clips" in corpus.about
    assert corpus["train"].events is None and corpus["validation"].events is None


@pytest.mark.parametrize("seed", range(20))
def test_both_sides_of_the_hold_out_have_every_class(seed):
    draw = np.random.default_rng(seed)
    rates = draw.uniform(0.003, 0.3, 30)
    labels = draw.random((2000, 30)) < rates
    held = audioset.hold_out([np.flatnonzero(mine).tolist() for mine in labels], 60)
    assert held.sum() == 60
    assert labels[held].any(0).all() and labels[~held].any(0).all()
    rest = np.flatnonzero(held)
    assert np.median(rest) < 1000  # beyond the rare classes it takes the first ones of the order


@pytest.mark.parametrize("count", [1, 13])
def test_a_hold_out_that_can_not_have_every_class_says_what_can(root, count):
    with refused("with 13 training recordings give a number from"):
        audioset.load({**SPEC, "validation": count}, 0)


def test_without_a_validation_all_are_for_training(root):
    corpus = audioset.load({"name": "audioset", "validation": -1}, 0)
    assert {name: len(split) for name, split in corpus.splits.items()} == {"train": 11, "test": 3}


def test_a_video_that_is_listed_twice_is_refused(root):
    with open(root / "unbalanced_train_segments.csv", "a") as file:
        file.write('ddddddddddd, 0.000, 10.000, "/m/09x0r"\n')
    with refused("ddddddddddd is listed twice"):
        audioset.load(SPEC, 0)


def test_names_are_matched_by_the_whole_id(tmp_path, monkeypatch):
    monkeypatch.setenv("CACHE", str(tmp_path / "cache"))
    named = SMALL["audioset"].named
    for name in named:
        put(tmp_path / name, name)
    (tmp_path / "Yddddddddddd.wav").symlink_to("nowhere.wav")
    known = {one: (name, content(tmp_path / name)) for name, one in named.items() if one}
    assert audioset.find_recordings(tmp_path) == known
