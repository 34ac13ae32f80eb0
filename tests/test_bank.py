"""A folder of recordings: what is read, cut, looped, shared out and said about broken files."""

import os

import numpy as np
import pytest
import soundfile
from conftest import CASES, REAL, needs_real, put, refused
from recorded import half, use_bank

from wsaed import corpora, parameters, postprocess, report
from wsaed.corpora import bank, load, soundscapes

RATE = 16_000


def hiss(seconds, rate=RATE, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A small bank: ``rain`` is steady, ``knock`` short; one file each is 8 kHz, stereo, broken."""
    root = tmp_path / "sounds"
    use_bank(root, tmp_path, monkeypatch)
    put(root / "rain/notes.txt", "not a sound")
    (root / "knock").mkdir()
    for k in range(8):
        soundfile.write(root / "rain" / f"r{k}.wav", hiss(4, seed=k), RATE)
        knock = np.concatenate([np.zeros(8000), hiss(0.4, seed=k), np.zeros(12_000)])
        soundfile.write(root / "knock" / f"k{k}.wav", knock, RATE)
    soundfile.write(root / "knock" / "low.wav", hiss(0.5, 8000), 8000)
    soundfile.write(root / "knock" / "stereo.flac", np.stack([hiss(0.3)] * 2, axis=1), RATE)
    return root


def read(folder):
    return bank.read(str(folder), bank.fingerprint(str(folder)))


def loaded(**more):
    return load({"name": "soundscapes", "bank": "sounds", **more}, 0)


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
    one, again = (found.recordings["rain"][3].takes[0] for found in (before, read(folder)))
    assert np.array_equal(one, again)


def test_pauses_part_takes():
    quiet = np.zeros(RATE, np.float32)
    sound = hiss(1).astype(np.float32)
    takes = bank.cut(np.concatenate([quiet, sound, quiet, sound[:4000], quiet[:3000], sound]))
    assert [round(len(take) / RATE, 1) for take in takes] == [1.0, 1.4]
    assert bank.cut(quiet) == []


def test_broken_files_are_listed(folder):
    whole = (folder / "rain" / "r0.wav").read_bytes()
    soundfile.write(folder / "rain" / "cut.ogg", hiss(4), RATE)
    half(folder / "rain" / "cut.ogg")
    (folder / "rain" / "bad.wav").write_bytes(whole[:20])
    (folder / "rain" / "empty.ogg").write_bytes(b"")
    soundfile.write(folder / "rain" / "mute.wav", np.zeros(RATE), RATE)
    (folder / "rain" / "lost.wav").symlink_to(folder / "nowhere.wav")
    (folder / "rain" / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "rain" / "headerless.raw").write_bytes(whole)
    os.mkfifo(folder / "rain" / "pipe.wav")
    names = ("bad.wav (not a read", "empty.ogg", "mute.wav (silent)", "lost.wav (no such audio")
    names += ("cut.wav (cut off", "cut.ogg (cut off", "headerless.raw", "pipe.wav (no such")
    for _ in range(2):  # decoded, then from the cache
        bank.read.cache_clear()
        broken = read(folder).broken
        assert len(broken) == len(names)
        assert all(any(x.startswith(f"rain/{name}") for x in broken) for name in names)
    corpus = loaded()
    assert "8 files unreadable" in corpus.about
    assert "not used: 8 unreadable, silent or cut off (rain/bad.wav (not" in corpus.left_out
    assert "\n" not in corpus.left_out and corpus.left_out.endswith("; ...).")


def test_what_lies_elsewhere_is_told(folder):
    before, wav = loaded(), (folder / "rain" / "r0.wav").read_bytes()
    assert before.left_out == ""
    for name in ("_background_noise_/a.wav", "rain/more/b.wav", "c.wav", "rain/.d.wav", ".e/f.wav"):
        put(folder / name, wav)
    put(folder / "LICENSE.txt", "free")
    corpora._load.cache_clear()
    after = loaded()
    said = "Files of sounds that are not used: 1 below a class's folder (rain/more/b.wav), 1 in "
    said += "folders that begin with _ (_background_noise_/a.wav), 1 outside of the classes' "
    assert after.left_out == said + "folders (c.wav)."
    assert after.about == before.about and after.labels == before.labels


def test_a_name_that_is_no_utf_8_is_shown_and_read(folder):
    whole = (folder / "rain" / "r0.wav").read_bytes()
    put(folder / os.fsdecode(b"rain/\xff.wav"), whole)
    put(folder / os.fsdecode(b"rain/broken\xff.wav"), whole[:999])
    corpus = loaded(test=9)
    assert "19 recordings of 2 classes" in corpus.about
    left_out = corpus.left_out
    assert r"rain/broken\xff.wav" in left_out.replace("udc", "x") and left_out.encode()
    assert corpus["test"].waveform(1).shape == (160_000,)


@pytest.mark.parametrize(("count", "others", "fixed", "wanted"), CASES["folds"])
def test_folds_are_honoured_or_refused(monkeypatch, count, others, fixed, wanted):
    names = [f"{k + 1}-{take}.wav" for k in range(count) for take in "ab"] + others
    mine = tuple(bank.Recording(f"dog/{name}", "dog", (), False) for name in names)
    found = bank.Bank({"dog": mine}, [])
    if isinstance(wanted, str):
        with refused(wanted):
            bank.roles(found, 0, fixed)
        return
    every = [folds and tuple(folds) for folds in wanted]
    assert [bank.roles(found, r, fixed) for r in range(len(every))] == every
    monkeypatch.setattr(bank, "read", lambda folder, mark: found)
    for r, folds in enumerate(every):
        where = "folder", f"{names} {r}", folds, "domestic"
        sides = [bank.choose(where, "dog", x) for x in ("test", "validation", "train")]
        on = [{x.path.split("/")[1].split("-")[0] for x in side} for side in sides]
        assert sum(map(len, sides)) == len(names)
        assert folds is None or sum(map(len, on)) == len(set().union(*on))


@pytest.mark.parametrize(("names", "said"), CASES["replicates"])
def test_a_table_tells_of_folds_and_of_what_is_left_out(folder, names, said):
    for path in [*folder.glob("*/*.wav"), *folder.glob("*/*.flac")]:
        path.rename(path.with_name(names.format(ord(path.stem[-1]) % 8) + path.suffix))
    put(folder / "rain" / names.format("9999"))
    p = parameters.chosen("secost", "smoke", replicates=2) | {"paper": "secost"}
    told = report.caption(p | {"artefact": "table_2"}).replace("\n", " ")
    for part in (said, "9999", "only on the paper's corpus. Files of sounds that"):
        assert part in told


def test_a_bank_that_can_t_be_used_gets_one_line(folder, monkeypatch, tmp_path):
    (folder / "siren").mkdir()
    with refused("'siren' has no readable recording"):
        loaded()
    (folder / "siren").rmdir()
    with refused(r"BANK=.*must be a folder of that name"):
        loaded(bank="others")
    monkeypatch.setenv("TEST_FOLD", "7")
    with refused("TEST_FOLD=7"):
        loaded()
    monkeypatch.delenv("TEST_FOLD")
    for path in sorted((folder / "knock").iterdir())[2:]:
        path.unlink()
    with refused("'knock' has no recording left for 'train'"):
        loaded()
    monkeypatch.setenv("BANK", str(tmp_path / "lone" / "sounds"))
    with refused("is no folder", FileNotFoundError):
        loaded()
    (tmp_path / "lone" / "sounds").mkdir(parents=True)
    with refused("0 class folders"):
        loaded()


def test_steady_sounds_are_looped_without_a_seam():
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    long = bank.loop(tone, 5 * RATE, np.random.default_rng(0))
    assert len(long) == 5 * RATE
    assert abs(np.diff(long)).max() < 1.5 * abs(np.diff(tone)).max()
    steady = bank._frame_levels(bank.loop(hiss(2), 8 * RATE, np.random.default_rng(0)), 0.1)
    assert np.ptp(steady) < 2  # dB: no dip where the ends meet


def test_scenes_use_the_recordings_and_say_how_long(folder):
    corpus = loaded(train=40, test=40)
    assert corpus.labels == ("knock", "rain")
    assert "18 recordings of 2 classes (sounds)" in corpus.about
    clips = [events for split in corpus.splits.values() for events in split.hidden]
    knock, rain = postprocess.durations(clips, corpus.labels)
    assert set(np.round(knock, 1)) <= {0.3, 0.4, 0.5}  # they keep their length
    assert max(rain) > 4  # longer than any recording
    where = corpus["test"].waveform.args[0].sounds.where
    chosen = ([bank.choose(where, name, x) for name in corpus.labels] for x in corpus.splits)
    used = [{r.path for mine in every for r in mine} for every in chosen]
    assert sum(map(len, used)) == len(set().union(*used)) == 18
    assert corpus["test"].waveform(1).shape == (160_000,)


def test_other_recordings_make_other_features(folder):
    spec = {"name": "soundscapes", "bank": "sounds", "train": 2}
    first = soundscapes.load(spec, 0)["train"].features.args[2]
    soundfile.write(folder / "rain" / "r0.wav", hiss(4, seed=99), RATE)  # as many bytes
    # a process that goes on keeps what it read; a new one, as here, sees the folder anew
    assert soundscapes.load(spec, 0)["train"].features.args[2] != first


@needs_real
def test_folds_rotate_and_can_be_fixed(monkeypatch, tmp_path):
    use_bank(REAL / "esc10", tmp_path, monkeypatch)
    found = read(REAL / "esc10")
    assert len(found.recordings) == 10 and not found.broken
    assert all(len(recordings) == 32 for recordings in found.recordings.values())
    share = {c: np.mean([r.stationary for r in rs]) for c, rs in found.recordings.items()}
    assert share["rain"] > 0.9 and share["helicopter"] > 0.8
    assert max(share[c] for c in ("baby_cry", "dog_bark", "person_sneeze", "rooster")) < 0.1
    assert ["".join(bank.roles(found, r)) for r in range(5)] == ["12", "23", "34", "41", "12"]
    assert ["".join(bank.roles(found, r, "3")) for r in range(4)] == ["31", "32", "34", "31"]
    corpus = load({"name": "soundscapes", "bank": "esc10", "test": 60}, 2)
    where = corpus["test"].waveform.args[0].sounds.where
    for split, folds in (("test", "3"), ("validation", "4"), ("train", "12")):
        chosen = bank.choose(where, "rain", split)
        assert {r.path.split("/")[1][0] for r in chosen} == set(folds)
    assert corpus["test"].waveform(0).shape == (160_000,)
    domestic = load({"name": "soundscapes", "bank": "esc10", "shape": "domestic", "test": 5}, 0)
    assert len(domestic.labels) == 10
