"""What every reader of recordings must do: audioset, desed, urban_sed, target_sound."""

import hashlib
import io
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pytest
import soundfile
from conftest import CASES, ROOT, one_line, python, refused
from recorded import NAME, SMALL, edit
from test_runs import until

from wsaed import audio, corpora, files, runs
from wsaed.corpora import __main__ as command
from wsaed.corpora import audioset, desed, recordings, urban_sed
from wsaed.features import FRONT_ENDS, log_mel

FRONT_END, FILE = FRONT_ENDS[NAME], recordings.FILE


@pytest.fixture(params=SMALL)
def small(request):
    return SMALL[request.param]


@pytest.fixture
def root(small, lay):
    return lay(small.name)


@pytest.fixture
def desed_root(lay):
    """Of what all share, one tells for all."""
    return lay("desed")


def load(small, **spec):
    return small.reader.load({"name": small.name, **small.spec, **spec}, 0)


def desed_corpus(**spec):
    return load(SMALL["desed"], **spec)


def recordings_of(root: Path, small) -> list[Path]:
    """Of the last split or so: what `Small.audio` says."""
    return sorted(p for p in (root / small.audio["folder"]).rglob("*") if FILE.fullmatch(p.name))


# ---- what is in the splits


def test_missing_broken_and_short_files_are_counted_and_listed(small, root):
    corpus = corpora.load({"name": small.name, **small.spec}, 3)
    assert {name: len(split) for name, split in corpus.splits.items()} == small.sizes
    sizes = ", ".join(f"{n} {name}" for name, n in small.sizes.items())
    assert f": {sizes} clips of {len(corpus.labels)} classes" in corpus.about
    missing, broken, short = (small.wrong[state] for state in ("missing", "broken", "short"))
    said = f"of {small.total} clips {missing} have no recording, {broken} a broken one (left out)"
    assert f"{said}, {short} a short one (padded)" in corpus.about
    listed = corpus.about.partition("listed in ")[2].partition(" of the cache")[0]
    lines = (files.cache_root() / listed).read_text().splitlines()
    assert lines[0] == "segment\tstate\tfile\tdetail"
    found = {clip: (state, detail) for clip, state, _, detail in (x.split("\t") for x in lines[1:])}
    assert {*found} == {*small.states}
    for clip, (state, detail) in found.items():
        assert f"{state}: {detail}".startswith(small.states[clip])
    again = load(small)
    assert again.about == corpus.about and again.left_out == corpus.left_out
    assert f"{said}, {short} a short one (padded), listed in {listed}" in corpus.left_out
    assert corpora.left_out({"name": small.name, **small.spec}) == corpus.left_out


def test_what_is_left_out_is_said_once_on_the_terminal(desed_root, capfd):
    wanted = [({"corpus": {"name": "desed"}, "front_end": NAME}, r) for r in range(2)]
    for _ in range(2):
        runs.prepare(joblib.Parallel(1, return_as="generator"), wanted, "here")
    said = "DESED: of 18 clips 1 have no recording, 2 a broken one (left out), 1 a short one"
    assert capfd.readouterr().err.count(said) == 1
    by = "(1 of 4 strong, 1 of 3 weak, 1 of 6 unlabelled, 1 of 3 validation)."
    assert by in corpora.left_out({"name": "desed"})


def test_features_are_the_log_mel_of_the_clips_that_are_left(small, root):
    for name, split in load(small).splits.items():
        shards = split.features(FRONT_END)
        assert shards.shape == (len(split), FRONT_END.frames, 32) and shards[:].dtype == np.float16
        assert len(shards.paths) > 1 or len(split) <= 2
        for i, clip in enumerate(split.clips):
            waveform = split.waveform(i)
            wanted = log_mel(waveform, FRONT_END)
            np.testing.assert_array_equal(shards[i], wanted, strict=True)
            if name == "references":
                continue
            found = root.rglob(f"{Path(clip).stem}.*")
            (path,) = (p for p in found if FILE.fullmatch(p.name))
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
            wanted = audio.resample(samples.mean(1), rate, split.rate)
            np.testing.assert_array_equal(waveform, wanted, strict=True)
        single = [split.features(FRONT_END, only=k)[:] for k in range(len(shards.paths))]
        np.testing.assert_array_equal(np.concatenate(single), shards[:])


def test_a_number_takes_the_first_clips_zero_and_null_take_all(small, root):
    whole, some = load(small), load(small, **small.cut)
    for name, split in some.splits.items():
        assert split.clips == whole[name].clips[: len(split)]
        lost = small.cut.get(name, len(whole[name])) - len(split)
        assert 0 <= lost <= small.wrong["broken"]
        paths = split.features(FRONT_END).paths
        if name in small.cut:
            shared = len(paths) - len(split) % corpora.SHARD
            assert paths[:shared] == whole[name].features(FRONT_END).paths[:shared]
    others = [name for name in small.sizes if name not in small.spec]
    for some in (0, None):
        for name, split in load(small, **dict.fromkeys(others, some)).splits.items():
            assert split.clips == whole[name].clips


def test_minus_one_leaves_a_split_out(small, root):
    name = small.audio["split"]
    if small.reader.optional:
        corpus = load(small, **{name: -1})
        assert list(corpus.splits) == [split for split in small.sizes if split != name]
        assert f"the spec leaves out {name}" in corpus.about
    else:
        with pytest.raises(ValueError, match="base_a=-1: give base_a, base_b, novel, val"):
            load(small, base_a=-1)


def test_the_command_makes_what_a_run_needs(small, root, monkeypatch, capfd):
    reader = small.reader
    monkeypatch.setenv("JOBS", "2" if reader.name == "desed" else "1")
    command.main([reader.name, "--front-end", NAME, *small.arguments])
    assert f"{reader.title}: " in capfd.readouterr().out
    monkeypatch.setattr(audio, "read", lambda *of: os.abort())  # nothing is left to do
    for name, split in load(small).splits.items():
        assert len(split.features(FRONT_END)) == small.sizes[name]
    with pytest.raises(SystemExit) as stopped:
        command.main([reader.name, "--help"])
    said = capfd.readouterr().out
    assert stopped.value.code == 0
    assert small.reader.published in said and next(iter(small.variables)) in said


def test_every_file_is_read_once(small, root, monkeypatch):
    read, found = audio.read, []
    counted = lambda path, *rate: found.append(path) or read(path, *rate)  # noqa: E731
    monkeypatch.setattr(audio, "read", counted)
    for split in load(small, front_end=NAME).splits.values():
        split.features(FRONT_END)
    assert len(found) == sum(small.sizes.values()) + small.wrong["broken"]
    assert len({*found}) == len(found) - (6 if small.spec.get("references") else 0)


def test_where_the_corpora_are_published(capsys):
    command.main([])
    said = capsys.readouterr().out
    for small in SMALL.values():
        assert f"{small.name}: {small.reader.published}" in said
        assert small.reader.published.startswith("https://")
    assert "ESC-10" in said and "CC BY" in said


# ---- bad input


def test_bad_sizes_get_one_line(small, root):
    split, reader = small.audio["split"], small.reader
    cases = [({split: x}, f"{split}={x!r}: give {', '.join(reader.sizes)}") for x in ("4", "", -2)]
    cases += [({split: True}, f"{split}=True: give"), ({"trian": 5}, "trian=5: give")]
    cases += [({split: 500}, f"{reader.name}: {split}=500, but"), ({"front_end": "x"}, "is one of")]
    for more, said in cases:
        with refused(re.escape(said)):
            load(small, **more)


MALFORMED = [(name, *case) for name, small in SMALL.items() for case in small.malformed]


@pytest.mark.parametrize(("name", "path", "old", "new", "said"), MALFORMED)
def test_a_malformed_line_is_named_with_its_file_and_number(name, path, old, new, said, lay):
    root, small = lay(name), SMALL[name]
    edit(root / path, old, new)
    with pytest.raises(ValueError) as error:
        load(small)
    assert one_line(error).startswith(f"{root / path}:") and said in str(error.value)
    with pytest.raises(SystemExit) as stopped:
        files.one_line(partial(command.main, [name, *small.arguments]))
    assert stopped.value.code == str(error.value)


READ = {split: partial(desed.read, split=split) for split in ("strong", "weak", "unlabelled")} | {
    "segments": lambda path: audioset.read_segments(path, {"/m/09x0r": "Speech"}, {}, 7),
    "classes": audioset.read_classes,
    "events": lambda path: audioset.read_strong(path, {}),
    "soundscape": urban_sed.read,
}
LISTS = {kind: mine for small in SMALL.values() for kind, mine in small.lines.items()}
LINES = [(kind, *case) for kind, mine in LISTS.items() for case in mine["bad"]]


@pytest.mark.parametrize(("kind", "line", "said"), LINES)
def test_every_malformed_line_of_a_list_is_told(tmp_path, kind, line, said):
    path, good = tmp_path / "x.tsv", LISTS[kind]["good"]
    path.write_text(f"{good}\n\n{line}\n{good}\n")
    with pytest.raises(ValueError) as error:
        READ[kind](path)
    assert one_line(error).startswith(f"{path}:3: ") and said in one_line(error)


@pytest.mark.parametrize("how", CASES["written"])
def test_lists_may_be_written_otherwise(small, root, how):
    def said() -> list:
        every = load(small).splits.items()
        labels = [np.array(x.clip_labels).tolist() for _, x in every]
        return [labels, *((name, x.clips, x.events, x.hidden) for name, x in every)]

    before, folders = said(), [root / folder for folder in small.variables.values()]
    lists = [p for x in folders for p in x.rglob("*") if p.suffix in (".tsv", ".csv", ".txt")]
    end, encoding = CASES["written"][how]
    for path in lists:
        path.write_bytes(path.read_text().replace("\n", end).encode(encoding))
    assert len(lists) >= 5 and said() == before


def test_nan_is_no_event(small, root):
    edit(root / small.silent[0], *small.silent[1:])
    splits = load(small).splits.values()
    assert small.name == "target_sound" or any([] in (split.events or []) for split in splits)


def test_what_is_not_there_is_named(small, root, monkeypatch):
    split, said = small.audio["split"], small.audio["said"]
    for path in recordings_of(root, small):
        path.write_bytes(b"RIFF")
    with refused(f"no recording of {split} can be decoded: f"):
        load(small)
    for path in recordings_of(root, small):
        path.unlink()
    with refused("no recording of any of", FileNotFoundError) as error:
        load(small)
    assert said in str(error.value) and small.reader.published.splitlines()[0] in str(error.value)
    path = root / small.edits[-1][0]
    for other in path.parent.glob(f"*{path.suffix}"):
        other.unlink()
    for call in (partial(load, small), partial(small.reader.fingerprint, small.spec)):
        with refused(r"no .*: fetch it, see https", FileNotFoundError):
            call()
    for variable in [*small.variables][::-1]:
        monkeypatch.delenv(variable)
        with pytest.raises(ValueError, match=f"{variable} is not set: give the folder"):
            load(small)


def test_the_fingerprint_sees_lists_and_audio(small, root, monkeypatch):
    fingerprint, split = small.reader.fingerprint, small.audio["split"]
    seen, without = [fingerprint({}), fingerprint({})], {split: -small.reader.optional}
    assert fingerprint({"name": "x", **small.spec, split: 2}) == seen[0]
    for path, old, new in small.edits:
        edit(root / path, old, new)
        seen.append(fingerprint({}))
    others, path = fingerprint(without), recordings_of(root, small)[0]
    for other in (path.read_bytes()[::-1], b"other"):  # as many bytes, and others
        path.write_bytes(other)
        seen.append(fingerprint({}))
    path.touch()
    assert fingerprint({}) == seen[-1]
    assert len({*seen}) == len(seen) - 1
    monkeypatch.setattr(corpora, "content", lambda path: os.abort())  # nothing is read again
    assert fingerprint({}) == seen[-1]
    if small.name in ("desed", "urban_sed"):  # whose splits lie apart
        assert fingerprint(without) == others not in seen


def test_a_recording_that_breaks_after_its_check_does_not_shift_the_rows(small, root):
    split = load(small)[small.audio["split"]]
    path = next(p for p in recordings_of(root, small) if p.name == Path(split.clips[0]).name)
    path.write_bytes(bytes(path.stat().st_size))
    with refused("changed since their check: call again"):
        split.features(FRONT_END)
    assert len(split.waveform(1))
    again = load(small)[small.audio["split"]]
    assert len(again.features(FRONT_END)) == len(again) == len(split) - 1


def test_a_file_that_arrives_later_is_found(desed_root):
    before, audio = desed_corpus(), desed_root / "desed/audio/train/synthetic"
    (audio / "8.wav").symlink_to("nowhere.wav")  # counts as missing
    assert desed_corpus().about == before.about
    (audio / "8.wav").unlink()
    (audio / "9.wav").rename(audio / "8.wav")
    (audio / "9.wav").write_bytes((audio / "7.wav").read_bytes())
    after = desed_corpus()
    assert len(after["strong"]) == len(before["strong"]) + 1
    assert "of 18 clips 0 have no recording, 2 a broken one" in after.about
    mended = desed_root / "desed/audio/validation/Yvvvvvvvvvv3_5.000_6.000.wav"
    mended.write_bytes((audio / "7.wav").read_bytes())
    assert "1 a broken one" in desed_corpus().about


# ---- the cache


def test_a_lost_disk_is_not_taken_for_broken_files(desed_root, monkeypatch):
    def file_digest(*of):
        raise OSError(5, "Input/output error")

    for lists in (False, True):  # lost before the files' contents are known, and after
        if lists:
            SMALL["desed"].reader.fingerprint({})
        with monkeypatch.context() as patch:
            patch.setattr(hashlib, "file_digest", file_digest)
            with refused("Input/output error: mend", OSError):
                desed_corpus()
    assert "2 a broken one" in desed_corpus().about


def test_a_full_disk_stops_in_one_line_and_leaves_nothing_half_made(desed_root, monkeypatch):
    def save(path, array=None):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    strong = desed_corpus()["strong"]
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", save)
        with refused(r"No space left on device: mend that \(free sp", OSError):
            strong.features(FRONT_END)
        patch.setattr(corpora, "FileLock", lambda path: save(path, None))
        with refused(r"No space left on device: mend that \(free sp", OSError):
            strong.features(FRONT_END)
    assert not [*files.cache_root().rglob("*.partial*")]
    assert len(strong.features(FRONT_END)) == len(strong)


def test_features_of_other_code_are_not_used(desed_root, monkeypatch):
    strong = desed_corpus()["strong"]
    before = strong.features(FRONT_END)
    monkeypatch.setattr(recordings, "digest", lambda modules: "other")
    monkeypatch.setattr(recordings, "log_mel", lambda waveform, f: log_mel(waveform / 2, f))
    after = strong.features(FRONT_END)
    assert not np.isclose(before[0], after[0], atol=0.1).any()


def contents(cache: Path) -> dict[str, bytes]:
    kinds = ("features/**/[!.]*.npy", "checked/**/[!.]*.json")
    return {p.name: p.read_bytes() for kind in kinds for p in (cache / "desed").glob(kind)}


def build(environment: dict, slow: bool) -> None:
    """In a process of its own; slowly, each file is half written most of the time."""

    def slowly(path, array, save=np.save):
        content = io.BytesIO()
        save(content, array)
        middle = len(content.getvalue()) // 2
        with open(path, "wb") as file:
            file.write(content.getvalue()[:middle])
            file.flush()
            time.sleep(0.1)
            file.write(content.getvalue()[middle:])

    os.environ.update(environment)
    corpora.SHARD = 1
    np.save = slowly if slow else np.save
    command.main(["desed", "--front-end", NAME])


def test_killed_at_any_moment_it_goes_on_and_ends_in_the_same_features(desed_root, monkeypatch):
    """Also when two processes go on at once: they share the work."""
    monkeypatch.setattr(corpora, "SHARD", 1)
    command.main(["desed", "--front-end", NAME])
    wanted, cache = contents(files.cache_root()), desed_root / "other"
    assert len(wanted) == 2 * 17  # a list and a shard of every recording
    environment = {name: os.environ[name] for name in ("DESED", "JOBS")} | {"CACHE": str(cache)}
    processes = multiprocessing.get_context("forkserver")  # which imports torch once for all
    processes.set_forkserver_preload(["wsaed.corpora.desed"])
    midway, seed = 0, random.randrange(1 << 30)
    moments = random.Random(seed)
    for _ in range(3):
        before = len(contents(cache))
        child = processes.Process(target=build, args=(environment, True))
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
    # a block is done when its list of what is wrong is there too: written last
    done = {p.stem for p in cache.rglob("checked/*.json")}
    kept = {p: p.stat().st_mtime_ns for p in cache.rglob("*.npy") if p.stem in done}
    both = [processes.Process(target=build, args=(environment, False)) for _ in range(2)]
    for child in both:
        child.start()
    for child in both:
        child.join()
    assert [child.exitcode for child in both] == [0, 0]
    assert contents(cache) == wanted, f"seed {seed}"
    assert not [*cache.rglob(".*.partial*")], f"seed {seed}"  # the kills' have been written over
    assert all(p.stat().st_mtime_ns == t for p, t in kept.items()), f"seed {seed}"


def test_the_module_runs(desed_root):
    """As a user types it, in a plain locale too; errors are one line and exit 1."""
    (desed_root / "desed/metadata/train/weak.tsv").write_text("a.wav\t狗\n", encoding="utf-8")
    plain = os.environ | {"LANG": "C", "LC_ALL": "C"}
    done = python("-m", "wsaed.corpora", "desed", env=plain)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "weak.tsv:1: label '狗' is none of Alarm" in done.stderr


def test_an_interrupt_of_all_processes_says_nothing(desed_root):
    """Each recording takes a second here, in the workers too."""
    slow = "import time, soundfile\nread = soundfile.SoundFile.read\n"
    slow += "soundfile.SoundFile.read = lambda *a, **k: [time.sleep(1), read(*a, **k)][1]\n"
    (desed_root / "sitecustomize.py").write_text(slow)
    slow = "from wsaed import corpora, files; from wsaed.corpora import __main__ as command; "
    slow += "corpora.SHARD = 1; files.one_line(lambda: command.main(['desed']))"
    environment = os.environ | {"PYTHONPATH": f"{desed_root}:{ROOT}", "JOBS": "2", "HEADLESS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    process = subprocess.Popen([sys.executable, "-c", slow], env=environment, **pipes)
    until(lambda: process.poll() is not None or contents(files.cache_root()))
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=120)[1] == b"" and process.returncode == 130
    assert 0 < len(contents(files.cache_root())) < 17
