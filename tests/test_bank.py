"""A folder of recordings: what is read, cut, looped, shared out and said about broken files."""

import warnings

import numpy as np
import pytest
import soundfile
from conftest import REAL, needs_real

from wsaed.corpora import bank, load, soundscapes

RATE = 16_000


def hiss(seconds, rate=RATE, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A small bank: ``rain`` is steady, ``knock`` short; one file each is 8 kHz, stereo, broken."""
    monkeypatch.setenv("CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TEST_FOLD", raising=False)
    root = tmp_path / "sounds"
    (root / "rain").mkdir(parents=True)
    (root / "knock").mkdir()
    for k in range(8):
        soundfile.write(root / "rain" / f"r{k}.wav", hiss(4, seed=k), RATE)
        knock = np.concatenate([np.zeros(8000), hiss(0.4, seed=k), np.zeros(12_000)])
        soundfile.write(root / "knock" / f"k{k}.wav", knock, RATE)
    soundfile.write(root / "knock" / "low.wav", hiss(0.5, 8000), 8000)
    soundfile.write(root / "knock" / "stereo.flac", np.stack([hiss(0.3)] * 2, axis=1), RATE)
    (root / "rain" / "notes.txt").write_text("not a sound")
    monkeypatch.setenv("BANK", str(root))
    return root


def read(folder):
    return bank.read(str(folder), bank.fingerprint(str(folder)))


def test_reading_trims_resamples_and_mixes_down(folder):
    found = {r.path: r for recordings in read(folder).recordings.values() for r in recordings}
    assert len(found) == 18
    assert [len(t) / RATE for t in found["knock/k0.wav"].takes] == [pytest.approx(0.4, abs=0.03)]
    assert sum(map(len, found["knock/low.wav"].takes)) / RATE == pytest.approx(0.5, abs=0.03)
    assert len(found["knock/stereo.flac"].takes) == 1
    for recording in found.values():
        assert recording.stationary == (recording.label == "rain")
        for take in recording.takes:
            assert np.sqrt(np.mean(take**2)) == pytest.approx(1, abs=1e-3)
    before = read(folder)
    bank.read.cache_clear()
    assert np.array_equal(
        before.recordings["rain"][3].takes[0], read(folder).recordings["rain"][3].takes[0]
    )


def test_pauses_part_takes():
    quiet = np.zeros(RATE, np.float32)
    sound = hiss(1).astype(np.float32)
    takes = bank.cut(np.concatenate([quiet, sound, quiet, sound[:4000], quiet[:3000], sound]))
    assert [round(len(take) / RATE, 1) for take in takes] == [1.0, 1.4]
    assert bank.cut(quiet) == []


def test_broken_files_are_listed(folder):
    whole = (folder / "rain" / "r0.wav").read_bytes()
    (folder / "rain" / "bad.wav").write_bytes(whole[:20])
    (folder / "rain" / "empty.ogg").write_bytes(b"")
    soundfile.write(folder / "rain" / "mute.wav", np.zeros(RATE), RATE)
    (folder / "rain" / "lost.wav").symlink_to(folder / "nowhere.wav")
    (folder / "rain" / "cut.wav").write_bytes(whole[: len(whole) // 2])
    names = ("bad.wav", "empty.ogg", "mute.wav (silent)", "lost.wav", "cut.wav (cut off")
    for _ in range(2):  # decoded, then from the cache
        bank.read.cache_clear()
        with pytest.warns(UserWarning, match="5 unreadable") as caught:
            read(folder)
        message = str(caught[0].message)
        assert "\n" not in message and all(f"rain/{name}" in message for name in names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "5 files unreadable" in load({"name": "soundscapes", "bank": "sounds"}, 0).about


def test_a_bank_that_can_t_be_used_gets_one_line(folder, monkeypatch, tmp_path):
    spec = {"name": "soundscapes", "bank": "sounds"}
    (folder / "siren").mkdir()
    with pytest.raises(ValueError, match="'siren' has no readable recording"):
        load(spec, 0)
    (folder / "siren").rmdir()
    with pytest.raises(ValueError, match=r"BANK=.*must be a folder of that name"):
        load({**spec, "bank": "others"}, 0)
    monkeypatch.setenv("TEST_FOLD", "7")
    with pytest.raises(ValueError, match="TEST_FOLD=7"):
        load(spec, 0)
    monkeypatch.delenv("TEST_FOLD")
    for path in sorted((folder / "knock").iterdir())[2:]:
        path.unlink()
    with pytest.raises(ValueError, match="'knock' has no recording left for 'train'"):
        load(spec, 0)
    monkeypatch.setenv("BANK", str(tmp_path / "none" / "sounds"))
    with pytest.raises(FileNotFoundError, match="is no folder"):
        load(spec, 0)
    lone = tmp_path / "lone" / "sounds"
    lone.mkdir(parents=True)
    monkeypatch.setenv("BANK", str(lone))
    with pytest.raises(ValueError, match="0 class folders"):
        load(spec, 0)


def test_steady_sounds_are_looped_without_a_seam():
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    long = bank.loop(tone, 5 * RATE, np.random.default_rng(0))
    assert len(long) == 5 * RATE
    assert abs(np.diff(long)).max() < 1.5 * abs(np.diff(tone)).max()
    steady = bank._frame_levels(bank.loop(hiss(2), 8 * RATE, np.random.default_rng(0)), 0.1)
    assert np.ptp(steady) < 2  # dB: no dip where the ends meet


def test_scenes_use_the_recordings_and_say_how_long(folder):
    corpus = load({"name": "soundscapes", "bank": "sounds", "train": 40, "test": 40}, 0)
    assert corpus.labels == ("knock", "rain")
    assert "18 recordings of 2 classes (sounds)" in corpus.about
    lengths = {"knock": [], "rain": []}
    for split in corpus.splits.values():
        for events in split.hidden:
            for event in events:
                lengths[event.label].append(event.offset - event.onset)
    assert set(np.round(lengths["knock"], 1)) <= {0.3, 0.4, 0.5}  # they keep their length
    assert max(lengths["rain"]) > 4  # longer than any recording
    used = [
        {r.path for name in corpus.labels for r in bank.choose(where, name, split)}
        for where in [corpus["test"].waveform.args[0].sounds.where]
        for split in ("train", "validation", "test")
    ]
    assert sum(map(len, used)) == len(set().union(*used)) == 18
    assert corpus["test"].waveform(1).shape == (160_000,)


def test_other_recordings_make_other_features(folder):
    spec = {"name": "soundscapes", "bank": "sounds", "train": 2}
    first = soundscapes.load(spec, 0)["train"].features.args[2]
    soundfile.write(folder / "rain" / "r0.wav", hiss(5), RATE)
    # a process that goes on keeps what it read; a new one, as here, sees the folder anew
    assert soundscapes.load(spec, 0)["train"].features.args[2] != first


@needs_real
def test_folds_rotate_and_can_be_fixed(monkeypatch, tmp_path):
    monkeypatch.setenv("BANK", str(REAL / "esc10"))
    monkeypatch.setenv("CACHE", str(tmp_path))
    monkeypatch.delenv("TEST_FOLD", raising=False)
    found = read(REAL / "esc10")
    assert len(found.recordings) == 10 and not found.broken
    assert all(len(recordings) == 32 for recordings in found.recordings.values())
    share = {c: np.mean([r.stationary for r in rs]) for c, rs in found.recordings.items()}
    assert share["rain"] > 0.9 and share["helicopter"] > 0.8
    assert max(share[c] for c in ("baby_cry", "dog_bark", "person_sneeze", "rooster")) < 0.1
    assert [bank.roles(found, r) for r in range(5)] == [
        ("1", "2"), ("2", "3"), ("3", "4"), ("4", "1"), ("1", "2"),
    ]  # fmt: skip
    assert [bank.roles(found, r, "3") for r in range(4)] == [
        ("3", "1"), ("3", "2"), ("3", "4"), ("3", "1"),
    ]  # fmt: skip
    corpus = load({"name": "soundscapes", "bank": "esc10", "test": 60}, 2)
    where = corpus["test"].waveform.args[0].sounds.where
    for split, folds in (("test", "3"), ("validation", "4"), ("train", "12")):
        chosen = bank.choose(where, "rain", split)
        assert {r.path.split("/")[1][0] for r in chosen} == set(folds)
    assert corpus["test"].waveform(0).shape == (160_000,)
    domestic = load({"name": "soundscapes", "bank": "esc10", "shape": "domestic", "test": 5}, 0)
    assert len(domestic.labels) == 10
