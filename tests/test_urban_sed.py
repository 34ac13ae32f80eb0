"""URBAN-SED from its two kinds of annotation and its audio, whole and damaged."""

import json
import os
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import one_line, small_steps

from wsaed import corpora
from wsaed.audio import resample
from wsaed.corpora import recordings, urban_sed
from wsaed.features import FRONT_ENDS, log_mel

NAME = "secost_50ms"
FRONT_END = FRONT_ENDS[NAME]
EVENTS = {  # folder -> soundscape -> (label, onset, duration)
    "train": {
        "soundscape_train_bimodal0": [("dog_bark", 9.164, 0.836), ("siren", 0.5, 2.25)],
        "soundscape_train_bimodal1": [("siren", 1.0, 0.5), ("siren", 1.25, 0.5)],
        "soundscape_train_uniform2": [("gun_shot", 3.0, 0.41)],
        "soundscape_train_uniform3": [("street_music", 2.0, 4.0)],  # no recording
    },
    "validate": {
        "soundscape_validate_uniform0": [("drilling", 0.0, 3.0), ("car_horn", 7.0, 1.0)],
        "soundscape_validate_uniform1": [("jackhammer", 4.0, 2.0)],  # cut off
    },
    "test": {
        "soundscape_test_unimodal0": [("engine_idling", 5.0, 4.7)],  # 6 s of 10
        "soundscape_test_unimodal1": [("air_conditioner", 1.0, 1.0)],
    },
}
STATES = {  # what the list of missing files must say, and nothing else
    "soundscape_train_uniform3": "missing",
    "soundscape_validate_uniform1": "broken",
    "soundscape_test_unimodal0": "short",
}


def jams(events) -> str:
    """A soundscape's JAMS file, of what is read in the published ones and of what is not."""
    background = observation("noise", 0.0, 10.0, "background", "brownian.wav")
    data = [background] + [observation(label, *span) for label, *span in events]
    scaper = {"namespace": "scaper", "sandbox": {"scaper": {"n_events": len(events)}}, "data": data}
    other = {"namespace": "tag_open", "data": []}
    return json.dumps(
        {"annotations": [other, scaper], "file_metadata": {"duration": 10.0}}, indent=2
    )


def observation(label, time, duration, role="foreground", file=None):
    value = {"label": label, "role": role, "snr": 12.5, "event_time": time + 1e-7}
    value |= {"event_duration": 1.2 * duration, "time_stretch": 1 / 1.2}
    value |= {"source_file": f"/bank/{label}/{file or f'{label}-1-0-{time:g}.wav'}"}
    return {"time": time, "duration": duration, "value": value, "confidence": 1.0}


def txt(events) -> str:
    return "".join(f"{onset}\t{onset + lasts}\t{label}\n" for label, onset, lasts in events)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A small URBAN-SED: one recording missing, one cut off, one short; one FLAC among WAV."""
    root = tmp_path_factory.mktemp("urban_sed")
    draw = np.random.default_rng(0)
    for folder, soundscapes in EVENTS.items():
        for kind in ("annotations", "audio"):
            (root / kind / folder).mkdir(parents=True)
        for clip, events in soundscapes.items():
            (root / "annotations" / folder / f"{clip}.jams").write_text(jams(events))
            (root / "annotations" / folder / f"{clip}.txt").write_text(txt(events))
            end = "flac" if "bimodal1" in clip else "wav"
            seconds = 6 if STATES.get(clip) == "short" else 10
            path = root / "audio" / folder / f"{clip}.{end}"
            soundfile.write(path, 0.1 * draw.standard_normal(seconds * 8000), 8000)
            if STATES.get(clip) == "broken":
                path.write_bytes(path.read_bytes()[:9000])
            if STATES.get(clip) == "missing":
                path.unlink()
    return root


@pytest.fixture
def root(original, tmp_path, monkeypatch):
    """A copy of it that a test may change, with a cache of its own and small shards."""
    monkeypatch.setenv("URBAN_SED", str(tmp_path / "urban"))
    small_steps(tmp_path / "cache", 2, monkeypatch)
    return Path(shutil.copytree(original, tmp_path / "urban"))


def load(**spec):
    return urban_sed.load({"name": "urban_sed", **spec}, 0)


def truth(clip: str) -> list[tuple]:
    (events,) = (x[clip] for x in EVENTS.values() if clip in x)
    return sorted((label, onset, min(onset + lasts, 10.0)) for label, onset, lasts in events)


# ---- the annotations alone


def test_either_annotation_suffices_and_jams_names_the_source(root):
    both = {split: urban_sed.annotations(root, split) for split in urban_sed.FOLDERS}
    for split, found in both.items():
        assert sorted(found) == sorted(EVENTS[urban_sed.FOLDERS[split]])
        for clip, events in found.items():
            assert [event[:3] for event in events] == [pytest.approx(e) for e in truth(clip)]
            assert [e.source for e in events] == [f"{e.label}-1-0-{e.onset:g}" for e in events]
            assert {event.snr for event in events} == {12.5}
    for gone, suffix in (("*.txt", "jams"), ("*.jams", "txt")):
        half = Path(shutil.copytree(root, root.parent / suffix))
        for path in half.glob(f"annotations/*/{gone}"):
            path.unlink()
        for split, found in both.items():
            mine = urban_sed.annotations(half, split)
            assert list(mine) == list(found)
            for clip, events in mine.items():
                assert [e[:3] for e in events] == [e[:3] for e in found[clip]]
                assert suffix == "jams" or all(e.source == "" and e.snr != e.snr for e in events)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("3.0\t3.41\tgun_shot", "3.0\t3.42\tgun_shot"),
        ("3.0\t3.41\tgun_shot", "3.01\t3.41\tgun_shot"),
        ("3.0\t3.41\tgun_shot", "3.0\t3.41\tsiren"),
        ("3.0\t3.41\tgun_shot\n", ""),
        ("3.0\t3.41\tgun_shot\n", "3.0\t3.41\tgun_shot\n3.0\t3.41\tgun_shot\n"),
    ],
)
def test_two_annotations_that_differ_are_named(root, old, new):
    path = root / "annotations/train/soundscape_train_uniform2.txt"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError) as error:
        load()
    said = one_line(error)
    assert (
        said.startswith(f"{path}: ") and "uniform2.txt and soundscape_train_uniform2.jams" in said
    )
    path.write_text("3.0004\t3.4096\tgun_shot\r\n")  # rounding, and another system's line end
    assert urban_sed.annotations(root, "train")["soundscape_train_uniform2"][0][:2] == (
        "gun_shot",
        3,
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1.0\t2.0", "expected onset, offset, label between tabs"),
        ("1.0\t2.0\tsiren\t1", "expected onset, offset"),
        ("1.0,2.0,siren", "expected onset, offset"),
        ("one\t2.0\tsiren", "expected onset, offset"),
        ("1.0\t2.0\tnoise", "label 'noise' is none of air_conditioner, car_horn"),
        ("2.0\t2.0\tsiren", "from 2 to 2 s is no event in 10 s"),
        ("-1\t2.0\tsiren", "from -1 to 2 s"),
        ("nan\t2.0\tsiren", "from nan to 2 s"),
        ("9.0\t10.5\tsiren", "from 9 to 10.5 s"),
        ("9.0\tinf\tsiren", "from 9 to inf s"),
    ],
)
def test_a_malformed_line_is_named_with_its_file_and_number(tmp_path, line, said):
    path = tmp_path / "soundscape.txt"
    path.write_text(f"0.5\t10.000000000000002\tsiren\n\n{line}\n")
    with pytest.raises(ValueError) as error:
        urban_sed.read_txt(path)
    assert one_line(error).startswith(f"{path}:3: {said}")
    path.write_text("0.5\t10.000000000000002\tsiren\n\n")
    assert urban_sed.read_txt(path) == [
        ("siren", 0.5, 10.0, "", pytest.approx(np.nan, nan_ok=True))
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"time": 1.0', '"time": ', ":{line}: not JSON (Expecting value): fetch it again"),
        ('"scaper",', '"sound_event",', ": expected one annotation of the namespace scaper"),
        ('"tag_open"', '"scaper"', ": expected one annotation of the namespace scaper"),
        ('"annotations"', '"annotation"', ": expected one annotation"),
        ('"time": 1.0', '"time": null', ": event 2: expected time, duration, value with label"),
        ('"source_file"', '"source"', ": event 1: expected time, duration, value with label"),
        ('"label": "siren"', '"label": "bell"', ": event 2: label 'bell' is none of"),
        ('"time": 1.0', '"time": 11', ": event 2: from 11 to 11.5 s is no event"),
    ],
)
def test_a_malformed_jams_file_is_named_with_the_line_or_event(tmp_path, old, new, said):
    path, text = tmp_path / "soundscape.jams", jams([("siren", 1.0, 0.5)])
    assert old in text
    path.write_text(text.replace(old, new))
    line = text[: text.index(old)].count("\n") + 1
    with pytest.raises(ValueError) as error:
        urban_sed.read_jams(path)
    assert one_line(error).startswith(f"{path}{said.format(line=line)}")


# ---- the corpus


def test_the_splits_hold_what_the_annotations_say_and_nothing_broken(root):
    corpus = corpora.load({"name": "urban_sed"}, 3)
    assert corpus.labels == urban_sed.LABELS and len(corpus.labels) == 10
    assert list(corpus.splits) == ["train", "validation", "test"]
    for name, split in corpus.splits.items():
        stems = [Path(clip).stem for clip in split.clips]
        there = [x for x in EVENTS[urban_sed.FOLDERS[name]] if STATES.get(x, "short") == "short"]
        assert sorted(stems) == sorted(there)
        for stem, events, labels in zip(stems, split.events, split.clip_labels, strict=True):
            assert [event[:3] for event in events] == [pytest.approx(e) for e in truth(stem)]
            given = {corpus.labels[k] for k in np.flatnonzero(labels)}
            assert given == {event.label for event in events}
        assert split.clip_labels.dtype == np.float32 and split.clean_labels is split.clip_labels
    groups = np.concatenate([split.groups for split in corpus.splits.values()])
    assert len(set(groups.tolist())) == len(groups) == 6 and groups.dtype.kind == "i"


def test_missing_broken_and_short_files_are_counted_and_listed(root):
    about = load().about
    assert "URBAN-SED: 3 train, 1 validation, 2 test clips of 10 classes" in about
    assert "of 8 clips 1 have no recording, 1 a broken one (left out), 1 a short one" in about
    listed = corpora.cache_root() / about.partition("listed in ")[2].partition(" of the cache")[0]
    lines = [line.split("\t") for line in listed.read_text().splitlines()]
    assert {clip: state for clip, state, *_ in lines[1:]} == STATES
    assert "train has no air_conditioner, car_horn, children_playing, drilling" in about


def test_features_are_the_log_mel_of_the_clips_that_are_left(root):
    for name, split in load().splits.items():
        shards = split.features(FRONT_END)
        assert shards.shape == (len(split), FRONT_END.frames, 64) and shards[:].dtype == np.float16
        for i, clip in enumerate(split.clips):
            path = root / "audio" / urban_sed.FOLDERS[name] / clip
            samples, rate = soundfile.read(path, dtype="float32")
            waveform = resample(samples, rate, FRONT_END.rate)
            np.testing.assert_array_equal(shards[i], log_mel(waveform, FRONT_END), strict=True)
            np.testing.assert_array_equal(split.waveform(i), waveform)
    split = load()["train"]
    apart = np.concatenate([split.features(FRONT_END, only=k)[:] for k in range(2)])
    np.testing.assert_array_equal(apart, split.features(FRONT_END)[:])


def test_sizes_take_the_first_clips_and_minus_one_none(root):
    whole = load()
    for some in (0, None):
        assert [x.clips for x in load(train=some).splits.values()] == [
            x.clips for x in whole.splits.values()
        ]
    some = load(train=2, test=-1)
    assert list(some.splits) == ["train", "validation"]
    assert some["train"].clips == whole["train"].clips[:2]
    assert "the spec leaves out test" in some.about


def test_the_published_archive_may_lie_unpacked_in_the_folder(root, monkeypatch):
    wanted, old = load(), urban_sed.fingerprint({})
    (root / "URBAN-SED_v2.0.0").mkdir()
    for kind in ("annotations", "audio"):
        (root / kind).rename(root / "URBAN-SED_v2.0.0" / kind)
    found = load()
    assert urban_sed.fingerprint({}) == old
    for name, split in wanted.splits.items():
        assert found[name].clips == split.clips and found[name].events == split.events


def test_the_fingerprint_sees_annotations_and_audio_of_the_splits_that_are_used(root):
    old, without = urban_sed.fingerprint({}), urban_sed.fingerprint({"test": -1})
    assert old == urban_sed.fingerprint({"name": "urban_sed", "train": 2}) != without
    (root / "audio/test/soundscape_test_unimodal1.wav").write_bytes(b"other")
    assert urban_sed.fingerprint({}) != old and urban_sed.fingerprint({"test": -1}) == without
    path = root / "annotations/train/soundscape_train_uniform2.jams"
    path.write_text(path.read_text().replace("12.5", "12.6"))
    assert urban_sed.fingerprint({"test": -1}) != without


def test_bad_input_gets_one_line(root, monkeypatch, capsys):
    cases = [
        ({"train": "4"}, "train='4': give train, validation, test as numbers of clips"),
        ({"train": -2}, "train=-2: give"),
        ({"train": True}, "train=True: give"),
        ({"trian": 5}, "trian=5: give"),
        ({"train": 5}, "train=5, but 3 recordings are there"),
        ({"front_end": "mfcc"}, "front_end is one of"),
    ]
    for more, said in cases:
        with pytest.raises(ValueError) as error:
            load(**more)
        assert said in one_line(error)
    (root / "audio/validate/soundscape_validate_uniform0.wav").unlink()
    with pytest.raises(ValueError, match="no recording of validation can be decoded") as error:
        load()
    one_line(error)
    shutil.rmtree(root / "audio/test")
    with pytest.raises(FileNotFoundError, match="of any of 2 test clips in audio/test") as error:
        load(validation=-1)
    assert "test=-1 in the spec" in one_line(error)
    shutil.rmtree(root / "annotations/test")
    with pytest.raises(FileNotFoundError, match=r"no .jams or .txt in annotations/test") as error:
        load(validation=-1)
    one_line(error)
    with pytest.raises(SystemExit, match=r"no .jams or .txt in annotations/test") as error:
        urban_sed.main([])
    one_line(error)
    monkeypatch.delenv("URBAN_SED")
    with pytest.raises(ValueError, match="URBAN_SED is not set: give the folder"):
        load()
    monkeypatch.setattr(sys, "argv", ["urban_sed", "--help"])
    with pytest.raises(SystemExit) as stopped, pytest.warns(RuntimeWarning, match="sys.modules"):
        runpy.run_module("wsaed.corpora.urban_sed", run_name="__main__")
    assert stopped.value.code == 0 and "annotations/{train,validate" in capsys.readouterr().out


def test_the_command_makes_the_features_ahead(root, monkeypatch, capsys):
    urban_sed.main(["--front-end", NAME, "--test", "-1"])
    assert "3 train, 1 validation clips" in capsys.readouterr().out
    monkeypatch.setattr(recordings, "decode", lambda path: os.abort())  # nothing is left to do
    assert len(load(test=-1)["train"].features(FRONT_END)) == 3
