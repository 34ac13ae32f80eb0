"""URBAN-SED from its text annotations; what all readers do is in test_readers."""

from pathlib import Path

import numpy as np
import pytest
from conftest import refused, tags_of
from recorded import SMALL, annotate

from wsaed.corpora import Event, urban_sed

URBAN = SMALL["urban_sed"].events


@pytest.fixture
def root(lay):
    return lay("urban_sed") / "urban"


def load(**spec):
    return urban_sed.load({"name": "urban_sed", **spec}, 0)


def truth(clip: str) -> list[tuple]:
    (events,) = (x[clip] for x in URBAN.values() if clip in x)
    return sorted((label, onset, min(onset + lasts, 10.0)) for label, onset, lasts in events)


def test_the_splits_hold_what_the_annotations_say_and_nothing_broken(root):
    corpus = load()
    assert corpus.labels == urban_sed.LABELS and len(corpus.labels) == 10
    for name, split in corpus.splits.items():
        stems = [Path(clip).stem for clip in split.clips]
        states = SMALL["urban_sed"].states
        there = [x for x in URBAN[urban_sed.FOLDERS[name]] if "short" in states.get(x, "short")]
        assert sorted(stems) == sorted(there)
        for stem, events in zip(stems, split.events, strict=True):
            assert [event[:3] for event in events] == [pytest.approx(e) for e in truth(stem)]
        given = tags_of(split.events, corpus.labels)
        np.testing.assert_array_equal(split.clip_labels, given, strict=True)
        assert split.clean_labels is split.clip_labels
    groups = np.concatenate([split.groups for split in corpus.splits.values()])
    assert len(set(groups.tolist())) == len(groups) == 6 and groups.dtype.kind == "i"
    assert "train has no air_conditioner, car_horn, children_playing, drilling" in corpus.about


def test_events_come_by_label_and_onset_and_end_with_the_soundscape(tmp_path):
    path = tmp_path / "soundscape.txt"
    path.write_text("3\t4\tsiren\r\n5e-1\t10.0000000002\tsiren\r\n\r\n1.0\t2\tdrilling\r\n")
    found = [Event("drilling", 1.0, 2.0), Event("siren", 0.5, 10.0), Event("siren", 3.0, 4.0)]
    assert urban_sed.read(path) == found
    path.write_text("\n")
    assert urban_sed.read(path) == []


def test_the_published_archive_may_lie_unpacked_in_the_folder(root):
    wanted, old = load(), urban_sed.fingerprint({})
    (root / "URBAN-SED_v2.0.0").mkdir()
    for kind in ("annotations", "audio"):
        (root / kind).rename(root / "URBAN-SED_v2.0.0" / kind)
    found = load()
    assert urban_sed.fingerprint({}) == old
    for name, split in wanted.splits.items():
        assert found[name].clips == split.clips and found[name].events == split.events


def test_jams_alone_is_not_enough(root):
    annotate(root / "annotations/train/soundscape_train_uniform2.jams", [])  # is not read
    assert len(load()["train"]) == 3
    for path in (root / "annotations/train").glob("*.txt"):
        path.rename(path.with_suffix(".jams"))
    with refused("only JAMS and no .txt in annot", FileNotFoundError) as error:
        load()
    assert urban_sed.PUBLISHED.splitlines()[0] in str(error.value)
