"""AudioSet from its official lists and a folder of audio, whole, damaged and interrupted."""

import io
import multiprocessing
import os
import random
import runpy
import shutil
import sys
import time
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import one_line, small_steps
from scipy import sparse

from wsaed import corpora
from wsaed.corpora import audioset, audioset_lists, recordings
from wsaed.features import FRONT_ENDS, log_mel

FILES = Path(__file__).parent / "audioset_files"
NAME = "secost_50ms"
FRONT_END = FRONT_ENDS[NAME]
SPEC = {"name": "audioset", "validation": 4}
COMMAND = ["--front-end", NAME, "--validation", "4"]
# name and rate of each recording, as different downloaders leave them
AUDIO = {
    "audio/balanced_train_segments/Y--abcdefghi.wav": 44_100,
    "audio/balanced_train_segments/Y_bcdefghij-.wav": 16_000,
    "audio/balanced_train_segments/Ycdefghijkl_120000.flac": 8_000,
    "audio/balanced_train_segments/ddddddddddd.ogg": 22_050,
    "audio/balanced_train_segments/eeeeeeeeeee_20_30.flac": 32_000,
    "audio/balanced_train_segments/Yfffffffffff.mp3": 44_100,
    "audio/unbalanced_train_segments/part00/Yggggggggggg.wav": 11_025,
    "audio/unbalanced_train_segments/part00/Yhhhhhhhhhhh.wav": 48_000,
    "audio/unbalanced_train_segments/part01/Yiiiiiiiiiii.flac": 16_000,
    "audio/unbalanced_train_segments/part01/Yjjjjjjjjjjj.wav": 16_000,
    "audio/unbalanced_train_segments/part01/Ykkkkkkkkkkk.flac": 16_000,  # to be cut off
    "audio/unbalanced_train_segments/part01/Ylllllllllll.wav": 16_000,  # to be emptied
    "audio/unbalanced_train_segments/part01/Ynnnnnnnnnnn_12500.ogg": 16_000,
    "audio/eval_segments/Y-ppppppppp-.wav": 16_000,
    "audio/eval_segments/Yqqqqqqqqqqq.ogg": 24_000,
    "audio/eval_segments/Yrrrrrrrrrrr.flac": 44_100,  # 6 s of 10
    "audio/eval_segments/Ysssssssssss.wav": 16_000,  # to be cut off
}
STATES = {  # what missing.tsv must say, and nothing else
    "mmmmmmmmmmm_90000": "missing",
    "kkkkkkkkkkk_70000": "broken",
    "lllllllllll_80000": "broken",
    "sssssssssss_100000": "broken",
    "rrrrrrrrrrr_15000": "short",
}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A small AudioSet: one recording missing, two cut off, one empty, one short."""
    root = tmp_path_factory.mktemp("audioset")
    shutil.copytree(FILES, root, dirs_exist_ok=True)
    draw = np.random.default_rng(0)
    for name, rate in AUDIO.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        channels, seconds = draw.integers(1, 3), 6 if "rrr" in name else 10
        soundfile.write(path, 0.1 * draw.standard_normal((seconds * rate, channels)), rate)
        if "kkk" in name or "sss" in name:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        if "lll" in name:
            path.write_bytes(b"")
    return root


@pytest.fixture
def root(original, tmp_path, monkeypatch):
    """A copy of it that a test may change, with a cache of its own and small shards."""
    monkeypatch.setenv("AUDIOSET", str(tmp_path / "audioset"))
    small_steps(tmp_path / "cache", 3, monkeypatch)
    return Path(shutil.copytree(original, tmp_path / "audioset"))


def ids(split) -> list[str]:
    return [next(y for y in YTIDS if y in clip) for clip in split.clips]


YTIDS = {
    line.split(",")[0]: [mid for mid in line.split('"')[1].split(",")]
    for name in audioset_lists.LISTS
    for line in (FILES / name).read_text().splitlines()[3:]
}
MIDS = [x.split(",")[1] for x in (FILES / audioset_lists.CLASSES).read_text().splitlines()[1:]]


def test_the_splits_hold_what_the_lists_say_and_nothing_broken(root):
    corpus = audioset.load(SPEC, 0)
    assert corpus.labels == ("Speech", "Dog", "Siren", "Rain")
    found = {name: ids(split) for name, split in corpus.splits.items()}
    whole = {y for y in YTIDS if not any(state[0] == y[0] for state in STATES if state[0] != "r")}
    assert sorted(chain(*found.values())) == sorted(whole)
    assert set(found["test"]) == {"-ppppppppp-", "qqqqqqqqqqq", "rrrrrrrrrrr"}
    assert len(set(np.concatenate([s.groups for s in corpus.splits.values()]))) == len(whole)
    for split in corpus.splits.values():
        truth = [[mid in YTIDS[y] for mid in MIDS] for y in ids(split)]
        np.testing.assert_array_equal(split.clip_labels, truth)
        assert split.clip_labels.dtype == np.uint8
    assert audioset.load(SPEC, 5)["train"].clips == corpus["train"].clips


def test_missing_broken_and_short_files_are_counted_and_listed(root):
    about = audioset.load(SPEC, 0).about
    assert "of 18 segments 1 have no recording, 3 a broken one (left out), 1 a short one" in about
    listed = corpora.cache_root() / about.partition("listed in ")[2].partition(" of the cache")[0]
    lines = [line.split("\t") for line in listed.read_text().splitlines()]
    assert lines[0] == ["segment", "state", "file", "detail"]
    assert {segment: state for segment, state, *_ in lines[1:]} == STATES
    details = {segment[0]: detail for segment, _, _, detail in lines[1:]}
    assert "not a readable audio file" in details["l"] and "cut off" in details["s"]
    assert "lost sync" in details["k"] and details["r"] == "6.00 s of 10 s, used"


def test_features_are_the_log_mel_of_the_clips_that_are_left(root):
    corpus = audioset.load(SPEC, 0)
    for split in corpus.splits.values():
        shards = split.features(FRONT_END)
        assert shards.shape == (len(split), FRONT_END.frames, 64) and shards[:].dtype == np.float16
        for i in range(len(split)):
            wanted = log_mel(split.waveform(i), FRONT_END)
            np.testing.assert_array_equal(shards[i], wanted, strict=True)
            long = 6 if "rrr" in split.clips[i] else 10
            assert len(split.waveform(i)) == pytest.approx(long * split.rate, rel=0.02)


def test_single_shards_can_be_made_by_anyone(root):
    train = audioset.load(SPEC, 0)["train"]
    shards = range(-(-len(train) // corpora.SHARD))  # as `wsaed.runs.prepare` counts them
    apart = np.concatenate([train.features(FRONT_END, only=k)[:] for k in shards])
    np.testing.assert_array_equal(apart, train.features(FRONT_END)[: len(apart)])


def test_events_of_the_strong_list(root):
    corpus = audioset.load(SPEC, 0)
    test = corpus["test"]
    events = dict(zip(ids(test), test.events, strict=True))
    assert [e[:3] for e in events["qqqqqqqqqqq"]] == [("Dog", 0.0, 1.25), ("Siren", 4.1, 10.0)]
    assert [e[:3] for e in events["-ppppppppp-"]] == [("Speech", 2.0, 3.0)]
    assert events["rrrrrrrrrrr"] is None  # nobody annotated it: not the same as silence
    assert "2 clips (1 events have labels outside" in corpus.about
    assert corpus["train"].events is None and corpus["validation"].events is None


def test_train_grows_from_its_own_beginning_and_shares_its_shards(root):
    small, whole = (audioset.load({**SPEC, "train": n}, 0)["train"] for n in (6, 0))
    assert whole.clips[: len(small)] == small.clips
    paths = small.features(FRONT_END).paths
    assert paths == whole.features(FRONT_END).paths[: len(paths)]


@pytest.mark.parametrize("seed", range(20))
def test_both_sides_of_the_hold_out_have_every_class(seed):
    draw = np.random.default_rng(seed)
    rates = draw.uniform(0.003, 0.3, 30)
    labels = (draw.random((2000, 30)) < rates).astype(np.uint8)
    held = audioset_lists.hold_out(sparse.csr_array(labels), 60)
    assert held.sum() == 60
    assert labels[held].any(0).all() and labels[~held].any(0).all()
    rest = np.flatnonzero(held)
    assert np.median(rest) < 1000  # beyond the rare classes it takes the first ones of the order


def test_a_hold_out_that_can_not_have_every_class_says_what_can(root):
    with pytest.raises(ValueError, match="give a number from") as error:
        audioset.load({**SPEC, "validation": 1}, 0)
    one_line(error)
    with pytest.raises(ValueError, match="give a number from"):
        audioset.load({**SPEC, "validation": 13}, 0)


GOOD = 'aaaaaaaaaaa, 0.000, 10.000, "/m/09x0r"\n'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("aaaaaaaaaab, 0.000\n", "expected YTID"),
        ("aaaaaaaaaab, 0.000, 10.000, /m/09x0r\n", "expected YTID"),
        ('aaaaaaaaaab, 0.000, 10.000, "/m/09x0r\n', "expected YTID"),
        ('short, 0.000, 10.000, "/m/09x0r"\n', "expected YTID"),
        ('aaaaaaaaaab, 0.0.0, 10.000, "/m/09x0r"\n', "expected YTID"),
        ("\n", "expected YTID"),
        ('aaaaaaaaaab, 10.000, 10.000, "/m/09x0r"\n', "ends before"),
        ('aaaaaaaaaab, 0.000, 10.000, "/m/09x0r,/m/nowhere"\n', "label '/m/nowhere' is not in"),
    ],
)
def test_a_malformed_line_is_named_with_its_file_and_number(tmp_path, line, said):
    path = tmp_path / "eval_segments.csv"
    path.write_text("# a\n# b\n# c\n" + GOOD + line + GOOD)
    with pytest.raises(ValueError) as error:
        audioset_lists.read_segments(path, {"/m/09x0r": 0})
    assert one_line(error).startswith(f"{path}:5: ") and said in one_line(error)


def test_malformed_class_and_strong_lists_are_named_too(tmp_path):
    path = tmp_path / "x"
    for text, line in (("a,b\n", 1), ("index,mid,display_name\n1,/m/a,A\n", 2)):
        path.write_text(text)
        with pytest.raises(ValueError) as error:
            audioset_lists.read_classes(path)
        assert one_line(error).startswith(f"{path}:{line}: ")
    path.write_text("segment_id\tstart_time_seconds\tend_time_seconds\tlabel\nab_0\t0\t1\t/m/a\n")
    with pytest.raises(ValueError) as error:
        audioset_lists.read_strong(path, {})
    assert one_line(error).startswith(f"{path}:2: ")


def test_bad_input_gets_one_line(root, monkeypatch):
    cases = [
        ({"validation": "4"}, "validation='4': give validation, train"),
        ({"train": 500}, "train=500, but 9 recordings"),
        ({"trian": 5}, "trian=5: give validation, train"),
        ({"front_end": "mfcc"}, "front_end is one of"),
    ]
    for more, said in cases:
        with pytest.raises(ValueError) as error:
            audioset.load(SPEC | more, 0)
        assert said in one_line(error)
    with open(root / "unbalanced_train_segments.csv", "a") as file:
        file.write('ddddddddddd, 0.000, 10.000, "/m/09x0r"\n')
    with pytest.raises(ValueError, match="ddddddddddd is listed twice"):
        audioset.load(SPEC, 0)
    (root / "eval_segments.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"no eval_segments.csv.*fetch") as error:
        audioset.load(SPEC, 0)
    one_line(error)
    monkeypatch.delenv("AUDIOSET")
    with pytest.raises(ValueError, match="AUDIOSET is not set"):
        audioset.load(SPEC, 0)


def test_names_are_matched_by_the_whole_id(tmp_path):
    names = ["a/Yabcdefghijk.wav", "a/Ybcdefghijk.flac", "_bcdefghij__1000.ogg", "x/note.txt"]
    names += ["Ycdefghijkl_.wav", "abcdefghijk.json", "-bcdefghijkl.wav", "b/Yabcdefghijk.m4a"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "Yddddddddddd.wav").symlink_to("nowhere.wav")
    assert audioset.find_recordings(tmp_path) == {
        "abcdefghijk": ("a/Yabcdefghijk.wav", 18),  # what can't be decoded does not hide it
        "Ybcdefghijk": ("a/Ybcdefghijk.flac", 18),  # an id that begins with Y
        "_bcdefghij_": ("_bcdefghij__1000.ogg", 20),
        "cdefghijkl_": ("Ycdefghijkl_.wav", 16),
    }


def test_a_file_that_arrives_later_is_found_and_changes_the_fingerprint(root):
    before, old = audioset.load(SPEC, 0), audioset.fingerprint(SPEC)
    assert audioset.fingerprint(SPEC) == old
    part = root / "audio/unbalanced_train_segments/part01"
    shutil.copy(part / "Yjjjjjjjjjjj.wav", part / "Ymmmmmmmmmmm.wav")
    after = audioset.load(SPEC, 0)
    assert sum(map(len, after.splits.values())) == sum(map(len, before.splits.values())) + 1
    assert audioset.fingerprint(SPEC) != old and "0 have no recording" in after.about
    shutil.copy(part / "Yjjjjjjjjjjj.wav", part / "Ylllllllllll.wav")  # a broken one, mended
    assert "2 a broken one" in audioset.load(SPEC, 0).about


def test_a_lost_disk_is_not_taken_for_broken_files(root, monkeypatch):
    def read_bytes(path):
        raise OSError(5, "Input/output error", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(audioset.Path, "read_bytes", read_bytes)
        with pytest.raises(OSError, match="Input/output error: mend") as error:
            audioset.load(SPEC, 0)
        one_line(error)
    assert "3 a broken one" in audioset.load(SPEC, 0).about


def test_a_full_disk_stops_in_one_line_and_leaves_nothing_half_made(root, monkeypatch):
    def save(file, arr):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    train = audioset.load(SPEC, 0)["train"]
    with monkeypatch.context() as patch:
        patch.setattr(audioset.np, "save", save)
        with pytest.raises(OSError, match="No space left on device: free space") as error:
            train.features(FRONT_END)
        one_line(error)
    assert len(train.features(FRONT_END)) == len(train)


def test_features_of_other_code_are_not_used(root, monkeypatch):
    train = audioset.load(SPEC, 0)["train"]
    before = train.features(FRONT_END)
    monkeypatch.setattr(recordings, "digest", lambda modules: "other")
    monkeypatch.setattr(recordings, "log_mel", lambda waveform, f: log_mel(waveform / 2, f))
    after = train.features(FRONT_END)
    assert not np.isclose(before[0], after[0], atol=0.1).any()


def test_a_recording_that_breaks_after_its_check_does_not_shift_the_rows(root):
    train = audioset.load(SPEC, 0)["train"]
    path = root / train.clips[0]
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(ValueError, match="changed since their check: delete") as error:
        train.features(FRONT_END)
    one_line(error)


def contents(cache: Path) -> dict[str, bytes]:
    found = (p for kind in ("features", "checked") for p in (cache / "audioset" / kind).rglob("*"))
    return {p.name: p.read_bytes() for p in found if p.suffix in (".npy", ".tsv")}


def build_slowly(environment: dict) -> None:
    """In a process of its own: each file is half written most of the time, for kills to find."""

    def slowly(save, file):
        content = io.BytesIO()
        save(content)
        half = len(content.getvalue()) // 2
        file.write(content.getvalue()[:half])
        file.flush()
        time.sleep(0.1)
        file.write(content.getvalue()[half:])

    os.environ.update(environment)
    corpora.SHARD, write = 1, recordings.write
    recordings.write = lambda path, save: write(path, partial(slowly, save))
    audioset.main(COMMAND)


def test_killed_at_any_moment_it_goes_on_and_ends_in_the_same_features(root, monkeypatch):
    monkeypatch.setattr(corpora, "SHARD", 1)
    audioset.main(COMMAND)
    wanted = contents(corpora.cache_root())
    assert len(wanted) == 2 * len(AUDIO)
    cache = root.parent / "killed"
    environment = {name: os.environ[name] for name in ("AUDIOSET", "JOBS")} | {"CACHE": str(cache)}
    processes = multiprocessing.get_context("forkserver")  # which imports torch once for all
    processes.set_forkserver_preload(["wsaed.corpora.audioset"])
    midway, seed = 0, random.randrange(1 << 30)
    moments = random.Random(seed)
    for _ in range(3):
        before = len(contents(cache))
        child = processes.Process(target=build_slowly, args=(environment,))
        child.start()
        while len(contents(cache)) == before and child.is_alive():
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.3))
        child.kill()
        child.join()
        found = contents(cache)
        assert all(wanted[name] == found[name] for name in found), f"seed {seed}"
        midway += 0 < len(found) < len(wanted)
    assert midway, f"seed {seed}"
    # a block is done when its list of broken files is there too: written last
    done = {p.stem for p in cache.rglob("checked/*.tsv")}
    kept = {p: p.stat().st_mtime_ns for p in cache.rglob("*.npy") if p.stem in done}
    monkeypatch.setenv("CACHE", str(cache))
    audioset.main(COMMAND)
    assert contents(cache) == wanted, f"seed {seed}"
    assert all(p.stat().st_mtime_ns == t for p, t in kept.items()), f"seed {seed}"


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_the_command_builds_in_parallel_and_reports_errors_in_one_line(root, monkeypatch, capfd):
    monkeypatch.setenv("JOBS", "2")
    monkeypatch.setattr(sys, "argv", ["audioset", *COMMAND])
    runpy.run_module("wsaed.corpora.audioset", run_name="__main__")
    assert "3 a broken one" in capfd.readouterr().out
    made = contents(corpora.cache_root())
    train = audioset.load(SPEC, 0)["train"]
    for i in (0, len(train) - 1):
        wanted = log_mel(train.waveform(i), FRONT_END)
        np.testing.assert_array_equal(train.features(FRONT_END)[i], wanted)
    assert contents(corpora.cache_root()) == made
    with pytest.raises(SystemExit, match="give a number from") as error:
        audioset.main(["--validation", "1"])
    one_line(error)
