"""DESED from its official annotations and a folder of audio, whole, damaged and interrupted."""

import csv
import multiprocessing
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import REAL, needs_real, one_line, small_steps

from wsaed import corpora
from wsaed.audio import resample
from wsaed.corpora import desed, export, recordings, soundscapes
from wsaed.features import FRONT_ENDS, log_mel

NAME = "secost_50ms"
FRONT_END = FRONT_ENDS[NAME]
HEADERS = {
    "strong": "filename\tonset\toffset\tevent_label",
    "weak": "filename\tevent_labels",
    "unlabelled": "filename",
}
LISTS = {  # in the layout of 2019, and the lines of each list
    "train/synthetic.tsv": [
        HEADERS["strong"],
        "10.wav\t0.287\t1.5\tAlarm_bell_ringing",
        "10.wav\t0.5\t9.25\tFrying",
        "7.wav\t2\t10.0\tDog",
        "8.wav\t0.0\t0.25\tDog",  # no recording
        "9.wav\t3.0\t4.0\tDog",
    ],
    "train/weak.tsv": [
        HEADERS["weak"],
        "Yaaaaaaaaaaa_0.000_1.000.wav\tSpeech,Dog",
        "Yaaaaaaaaaaa_30.000_31.000.wav\tCat",
        "Y-b_cccccc_-_0.000_4.000.wav\tBlender",  # 1 s of 4
    ],
    "train/unlabel_in_domain.tsv": [
        HEADERS["unlabelled"],
        *(f"Yuuuuuuuuuu{k}_0.000_1.000.wav" for k in range(5)),
        "Yuuuuuuuuuu9_0.000_1.000.wav",  # cut off
    ],
    "validation/validation.tsv": [
        HEADERS["strong"],
        "Yvvvvvvvvvv1_5.000_6.000.wav\t0.000\t0.9\tVacuum_cleaner",
        "Yvvvvvvvvvv2_5.000_6.000.wav\t\t\t",
        "Yvvvvvvvvvv3_5.000_6.000.wav\t0.1\t0.9\tCat",  # empty file
    ],
    "eval/public.tsv": [
        HEADERS["strong"],
        "YYYYYYYYYYY_120_121.wav\t0.0\t1.0\tRunning_water",  # an id that begins with Y
        "aaaaaaaaaaa_60_61.wav\t0.0\t1.0\tDishes",
    ],
}
RATES = (44_100, 16_000, 22_050)
STATES = {  # what the list of missing files must say, and nothing else
    "strong/8.wav": "missing",
    "weak/Y-b_cccccc_-_0.000_4.000.wav": "short",
    "unlabelled/Yuuuuuuuuuu9_0.000_1.000.wav": "broken",
    "validation/Yvvvvvvvvvv3_5.000_6.000.wav": "broken",
}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A small DESED: one recording missing, one cut off, one empty, one short; FLAC among WAV."""
    root = tmp_path_factory.mktemp("desed")
    draw = np.random.default_rng(0)
    for number, (name, lines) in enumerate(LISTS.items()):
        path = root / "metadata" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        stem = name.removesuffix(".tsv")
        audio = root / "audio" / ("validation" if "validation" in name else stem)
        audio.mkdir(parents=True)
        for clip in dict.fromkeys(line.split("\t")[0] for line in lines[1:]):
            seconds, rate = 10 if "synthetic" in name else 1, RATES[number % 3]
            end = "FLAC" if "uuu2" in clip else "wav"
            path = audio / f"{clip.removesuffix('.wav')}.{end}"
            noise = 0.1 * draw.standard_normal((seconds * rate, 1 + number % 2))
            soundfile.write(path, noise, rate)
    (root / "audio/train/synthetic/8.wav").unlink()
    path = root / "audio/train/unlabel_in_domain/Yuuuuuuuuuu9_0.000_1.000.wav"
    path.write_bytes(path.read_bytes()[:9000])
    (root / "audio/validation/Yvvvvvvvvvv3_5.000_6.000.wav").write_bytes(b"")
    return root


@pytest.fixture
def root(original, tmp_path, monkeypatch):
    """A copy of it that a test may change, with a cache of its own and small shards."""
    monkeypatch.setenv("DESED", str(tmp_path / "desed"))
    small_steps(tmp_path / "cache", 2, monkeypatch)
    return Path(shutil.copytree(original, tmp_path / "desed"))


def load(**spec):
    return desed.load({"name": "desed", **spec}, 0)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# ---- the annotations alone


@needs_real
def test_the_official_lists_of_2019_hold_what_is_published():
    lists = desed.annotations(REAL / "desed2019")
    sizes = {split: len(one.clips) for split, one in lists.items()}
    assert sizes == {"strong": 2045, "weak": 1578, "unlabelled": 14412, "validation": 1168}
    events = {
        split: Counter(event.label for clip in lists[split].events for event in clip)
        for split in ("strong", "validation")
    }
    assert events["strong"].total() == 6032 and events["validation"].total() == 4236
    synthetic = [755, 540, 547, 814, 516, 230, 137, 157, 2132, 204]
    assert [events["strong"][label] for label in desed.LABELS] == synthetic
    # 2,247 labels stand in weak.tsv, but three clips have one of theirs twice
    weak = [206 - 1, 134, 173, 184, 214, 103, 171, 345 - 2, 550, 167]
    assert lists["weak"].clip_labels.sum(0).tolist() == weak
    assert Counter(lists["weak"].clip_labels.sum(1)) == {1: 986, 2: 518, 3: 74}
    silent = np.array([not clip for clip in lists["validation"].events])
    assert silent.sum() == 15 and all(lists["strong"].events)
    assert (lists["validation"].clip_labels.any(1) == ~silent).all()
    assert lists["weak"].events is None and lists["unlabelled"][1:] == (None, None)
    videos = np.concatenate([*desed._groups(lists).values()])
    assert len(set(videos)) == len(videos) == 19_203  # none is in two clips


@needs_real
def test_real_lists_with_little_audio_tell_how_much_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DESED", str(tmp_path))
    clips = {split: one.clips[:2] for split, one in desed.annotations(REAL / "desed2019").items()}
    for path in (REAL / "desed2019").glob("*.tsv"):
        (tmp_path / path.name).symlink_to(path)
    for split, mine in clips.items():
        folder = tmp_path / "audio" / desed.PLACES[split][0]
        folder.mkdir(parents=True)
        for clip in mine:
            soundfile.write(folder / clip, np.zeros(160_000, np.float32), 16_000)
    corpus = load(test=-1)
    assert {name: set(split.clips) for name, split in corpus.splits.items()} == {
        name: set(mine) for name, mine in clips.items()
    }
    assert "of 19,203 clips 19,195 have no recording, 0 a broken one" in corpus.about
    assert "the spec leaves out test" in corpus.about


def test_the_soundscapes_have_the_same_labels_and_their_export_reads_back(tmp_path):
    spec = {
        "shape": "domestic",
        "strong": 4,
        "weak": 4,
        "unlabelled": 4,
        "validation": 4,
        "test": 0,
    }
    made = soundscapes.load({"name": "soundscapes", **spec}, 0)
    assert made.labels == desed.LABELS
    for name, split in made.splits.items():
        path = tmp_path / f"{name}.tsv"
        with open(path, "w", newline="") as file:
            csv.writer(file, delimiter="\t").writerows(export.rows(split, made.labels))
        clips, events, labels = desed.read(path, name)
        assert clips == split.clips
        if labels is not None:
            np.testing.assert_array_equal(labels, split.clip_labels, strict=True)
        if events is not None:
            wanted = [sorted((e[1], e[0], e[2]) for e in clip) for clip in split.events]
            assert [[(e[1], e[0], e[2]) for e in clip] for clip in events] == wanted


@pytest.mark.parametrize(
    ("split", "line", "said"),
    [
        ("strong", "a.wav\t0.0\t1.0", "expected filename, onset, offset, event_label"),
        ("strong", "a.wav\t0.0\t1.0\tDog\tCat", "expected filename, onset"),
        ("strong", "a.wav,0.0,1.0,Dog", "expected filename, onset"),
        ("strong", "a.wav\tzero\t1.0\tDog", "expected filename, onset"),
        ("strong", "a.wav\tnan\t1.0\tDog", "expected filename, onset"),
        ("strong", "a.wav\t0.0\tinf\tDog", "expected filename, onset"),
        ("strong", "a.wav\t-1\t1.0\tDog", "expected filename, onset"),
        ("strong", "a.wav\t1.0\t1.0\tDog", "expected filename, onset"),
        ("strong", "a.wav\t0.0\t1.0\t", "expected filename, onset"),
        ("strong", "\t0.0\t1.0\tDog", "expected filename, onset"),
        ("strong", "a.wav\t0.0\t1.0\tDogs", "label 'Dogs' is none of Alarm_bell_ringing, Blen"),
        ("weak", "a.wav", "expected filename, event_labels between tabs"),
        ("weak", "a.wav\tDog\tCat", "expected filename, event_labels"),
        ("weak", "a.wav\tDog;Cat", "label 'Dog;Cat' is none of"),
        ("weak", "a.wav\tdog", "label 'dog' is none of"),
        ("unlabelled", "a.wav\tDog", "expected a filename"),
        ("unlabelled", "a.wav\t0.0\t1.0\tDog", "expected a filename"),
    ],
)
def test_a_malformed_line_is_named_with_its_file_and_number(tmp_path, split, line, said):
    path = tmp_path / "x.tsv"
    good = {"strong": "b.wav\t0.0\t1.0\tDog", "weak": "b.wav\tDog", "unlabelled": "b.wav"}[split]
    path.write_text("\n".join([HEADERS[split], good, line, good]) + "\n")
    with pytest.raises(ValueError) as error:
        desed.read(path, split)
    assert one_line(error).startswith(f"{path}:3: ") and said in one_line(error)


def test_a_list_without_clips_or_without_labels_is_refused(tmp_path):
    path = tmp_path / "x.tsv"
    cases = [("strong", "", "clip"), ("unlabelled", "filename\n\n", "clip")]
    cases += [("strong", "a.wav\t\t\t\nb.wav\n", "label"), ("weak", "a.wav\t\n", "label")]
    for split, text, what in cases:
        path.write_text(text)
        with pytest.raises(ValueError, match=f"no {what} in it: fetch it again") as error:
            desed.read(path, split)
        one_line(error)


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_headers_line_ends_and_repeated_lines_do_not_matter(tmp_path, header, end):
    path = tmp_path / "x.csv"
    lines = ["a.wav\t0\t1\tDog", "b.wav", "a.wav\t2\t3\tDog", "a.wav\t0\t1\tDog", "c.wav\t\t\t"]
    lines += ["", "b.wav\t\t\t"]
    byte_order_mark = b"\xef\xbb\xbf"
    path.write_bytes(byte_order_mark + end.join([HEADERS["strong"]] * header + lines).encode())
    clips, events, labels = desed.read(path, "strong")
    assert clips == ["a.wav", "b.wav", "c.wav"]
    assert [[e[:3] for e in clip] for clip in events] == [[("Dog", 0, 1), ("Dog", 2, 3)], [], []]
    assert labels.sum() == labels[0, desed.LABELS.index("Dog")] == 1
    lines = ["a.wav\tDog,Cat", "b.wav\t", "a.wav\tCat, Speech"]
    path.write_bytes(end.join([HEADERS["weak"]] * header + lines).encode())
    clips, events, labels = desed.read(path, "weak")
    given = {desed.LABELS[k] for k in np.flatnonzero(labels[0])}
    assert clips == ["a.wav", "b.wav"] and given == {"Cat", "Dog", "Speech"}
    assert events is None and not labels[1].any()
    path.write_bytes(
        end.join([HEADERS["unlabelled"]] * header + ["a.wav", "b.wav", "a.wav"]).encode()
    )
    assert desed.read(path, "unlabelled") == (["a.wav", "b.wav"], None, None)


def test_annotations_need_no_audio_and_take_the_lists_that_are_there(root):
    shutil.rmtree(root / "audio")
    lists = desed.annotations(root)
    assert list(lists) == ["strong", "weak", "unlabelled", "validation", "test"]
    assert lists["strong"].clips == ["10.wav", "7.wav", "8.wav", "9.wav"]  # the list's order
    shutil.rmtree(root / "metadata/eval")
    assert list(desed.annotations(root)) == ["strong", "weak", "unlabelled", "validation"]
    shutil.rmtree(root / "metadata")
    with pytest.raises(FileNotFoundError, match="no list of DESED, such as") as error:
        desed.annotations(root)
    one_line(error)


# ---- the corpus


def test_the_splits_hold_what_the_lists_say_and_nothing_broken(root):
    corpus = corpora.load({"name": "desed"}, 3)
    assert corpus.labels == desed.LABELS == tuple(sorted(desed.LABELS))
    assert list(corpus.splits) == ["strong", "weak", "unlabelled", "validation", "test"]
    listed = desed.annotations(root)
    for name, split in corpus.splits.items():
        clips = [c for c in listed[name].clips if STATES.get(f"{name}/{c}", "short") == "short"]
        assert sorted(split.clips) == sorted(clips)
        rows = [listed[name].clips.index(clip) for clip in split.clips]
        assert split.clean_labels is None
        if name == "unlabelled":
            assert split.events is None and split.clip_labels is None
            continue
        np.testing.assert_array_equal(split.clip_labels, listed[name].clip_labels[rows])
        assert split.clip_labels.dtype == np.float32
        if name == "weak":
            assert split.events is None
            continue
        assert split.events == [listed[name].events[i] for i in rows]
        for events, labels in zip(split.events, split.clip_labels, strict=True):
            assert {desed.LABELS[k] for k in np.flatnonzero(labels)} == {e.label for e in events}
    silent = corpus["validation"].clips.index("Yvvvvvvvvvv2_5.000_6.000.wav")
    assert corpus["validation"].events[silent] == []


def test_missing_broken_and_short_files_are_counted_and_listed(root):
    (root / "audio/train/synthetic/8.wav").symlink_to("nowhere.wav")  # counts as missing
    about = load().about
    assert "3 strong, 3 weak, 5 unlabelled, 2 validation, 2 test clips of 10 classes" in about
    assert "of 18 clips 1 have no recording, 2 a broken one (left out), 1 a short one" in about
    listed = corpora.cache_root() / about.partition("listed in ")[2].partition(" of the cache")[0]
    lines = [line.split("\t") for line in listed.read_text().splitlines()]
    assert {clip: state for clip, state, *_ in lines[1:]} == STATES
    details = {clip: detail for clip, _, _, detail in lines[1:]}
    assert "cut off" in details["unlabelled/Yuuuuuuuuuu9_0.000_1.000.wav"]
    assert "not a readable audio" in details["validation/Yvvvvvvvvvv3_5.000_6.000.wav"]
    assert details["weak/Y-b_cccccc_-_0.000_4.000.wav"] == "1.00 s of 4 s, used"


def test_clips_of_one_video_share_a_group_across_splits_and_are_told(root):
    corpus = load()
    groups = {
        clip: group
        for split in corpus.splits.values()
        for clip, group in zip(split.clips, split.groups.tolist(), strict=True)
    }
    one = [group for clip, group in groups.items() if "aaaaaaaaaaa" in clip]
    assert len(one) == 3 and len(set(one)) == 1
    assert len(set(groups.values())) == len(groups) - 2
    assert corpus["strong"].groups.dtype.kind == "i"
    assert "videos in both weak and test: 1" in corpus.about


def test_a_class_that_never_occurs_is_told(root):
    about = load().about
    assert "test has no Alarm_bell_ringing, Blender, Cat, Dog, Electric" in about
    assert "unlabelled has no" not in about


def test_features_are_the_log_mel_of_the_clips_that_are_left(root):
    for name, split in load().splits.items():
        shards = split.features(FRONT_END)
        assert shards.shape == (len(split), FRONT_END.frames, 64) and shards[:].dtype == np.float16
        assert len(shards.paths) > 1 or len(split) <= 2
        for i, clip in enumerate(split.clips):
            (path,) = (root / "audio").rglob(f"{clip.removesuffix('.wav')}.*")
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
            waveform = resample(samples.mean(1), rate, FRONT_END.rate)
            np.testing.assert_array_equal(shards[i], log_mel(waveform, FRONT_END), strict=True)
            np.testing.assert_array_equal(split.waveform(i), waveform)
            assert len(waveform) == (10 if name == "strong" else 1) * split.rate


def test_a_number_takes_the_first_clips_of_an_order_that_the_list_does_not_change(root):
    whole = load(test=-1)["unlabelled"]
    assert "Yuuuuuuuuuu9_0.000_1.000.wav" not in whole.clips
    path = root / "metadata/train/unlabel_in_domain.tsv"
    path.write_text("\n".join(reversed(path.read_text().splitlines()[1:])))
    some = load(test=-1, unlabelled=4, weak=1)
    assert len(some["weak"]) == 1 and len(some["strong"]) == 3
    assert [c for c in whole.clips if c in some["unlabelled"].clips] == some["unlabelled"].clips
    assert some["unlabelled"].clips == whole.clips[: len(some["unlabelled"])]
    assert whole.clips[:2] == ["Yuuuuuuuuuu3_0.000_1.000.wav", "Yuuuuuuuuuu1_0.000_1.000.wav"]
    paths = some["unlabelled"].features(FRONT_END).paths
    assert paths == load(test=-1)["unlabelled"].features(FRONT_END).paths[: len(paths)]


def test_other_layouts_are_found(root):
    wanted = load()
    waveforms = {name: split.waveform(0) for name, split in wanted.splits.items()}
    (root / "dataset").mkdir()
    (root / "metadata/eval").rename(root / "dataset/public")  # as the public set unpacks
    (root / "dataset/metadata").mkdir()
    (root / "dataset/public").rename(root / "dataset/metadata/eval")
    (root / "dataset/metadata/eval/public.tsv").rename(root / "dataset/metadata/eval/public.csv")
    (root / "dataset/audio").mkdir()
    (root / "audio/eval").rename(root / "dataset/audio/eval")
    (root / "audio/validation").rename(root / "audio/inner")
    (root / "audio/validation").mkdir()
    (root / "audio/inner").rename(root / "audio/validation/validation")  # as since 2020
    (root / "metadata/train/weak.tsv").rename(root / "weak.tsv")  # flat
    found = load()
    for name, split in wanted.splits.items():
        assert found[name].clips == split.clips
        np.testing.assert_array_equal(found[name].waveform(0), waveforms[name])
    for kind in ("metadata", "audio"):  # the synthetic soundscapes of 2021
        (root / kind / "train/synthetic21_train").mkdir()
    new = "train/synthetic21_train/soundscapes"
    (root / "metadata/train/synthetic.tsv").rename(root / f"metadata/{new}.tsv")
    (root / "audio/train/synthetic").rename(root / f"audio/{new}")
    later = load()
    assert later["strong"].clips == wanted["strong"].clips
    assert f"strong is {new}" in later.about and "strong is" not in found.about


def contents(cache: Path) -> dict[str, bytes]:
    found = (p for kind in ("features", "checked") for p in (cache / "desed" / kind).rglob("*"))
    return {p.name: p.read_bytes() for p in found if p.suffix in (".npy", ".tsv")}


def test_only_a_deleted_shard_is_made_again(root):
    split = load()["unlabelled"]
    before, paths = split.features(FRONT_END)[:], split.features(FRONT_END).paths
    made = contents(corpora.cache_root())
    paths[1].unlink()
    times = {p: p.stat().st_mtime_ns for p in paths if p.exists()}
    np.testing.assert_array_equal(load()["unlabelled"].features(FRONT_END)[:], before)
    assert contents(corpora.cache_root()) == made
    assert all(p.stat().st_mtime_ns == t for p, t in times.items()) and len(times) == len(paths) - 1


def test_single_shards_can_be_made_by_anyone(root):
    split = load()["strong"]
    apart = np.concatenate([split.features(FRONT_END, only=k)[:] for k in range(2)])
    np.testing.assert_array_equal(apart, split.features(FRONT_END)[:])


def build_in_a_process(environment: dict) -> None:
    os.environ.update(environment)
    corpora.SHARD = 1
    desed.main(["--front-end", NAME])


def test_two_processes_at_once_share_the_work_and_end_in_the_same_features(root, monkeypatch):
    monkeypatch.setattr(corpora, "SHARD", 1)
    desed.main(["--front-end", NAME])
    wanted = contents(corpora.cache_root())
    assert len(wanted) == 2 * 17  # a list and a shard of every recording
    cache = root.parent / "shared"
    environment = {name: os.environ[name] for name in ("DESED", "JOBS")} | {"CACHE": str(cache)}
    processes = multiprocessing.get_context("forkserver")  # which imports torch once for all
    processes.set_forkserver_preload(["wsaed.corpora.desed"])
    both = [processes.Process(target=build_in_a_process, args=(environment,)) for _ in range(2)]
    for child in both:
        child.start()
    for child in both:
        child.join()
    assert [child.exitcode for child in both] == [0, 0]
    assert contents(cache) == wanted
    assert not [*cache.rglob("*.partial")]


def test_a_block_of_broken_files_alone_leaves_an_empty_shard(root, monkeypatch):
    monkeypatch.setattr(corpora, "SHARD", 1)
    split = load()["unlabelled"]
    shards = split.features(FRONT_END)
    assert len(shards.paths) == 6 and len(shards) == len(split) == 5
    assert np.isfinite(shards[:]).all()


def test_zero_and_null_take_all_clips_and_minus_one_none(root):
    sizes = {name: len(split) for name, split in load().splits.items()}
    for some in (0, None):
        corpus = load(**dict.fromkeys(sizes, some))
        assert {name: len(split) for name, split in corpus.splits.items()} == sizes
    assert list(load(strong=-1, weak=1, test=-1).splits) == ["weak", "unlabelled", "validation"]


def test_the_fingerprint_sees_lists_and_audio_of_the_splits_that_are_used(root):
    old, without = desed.fingerprint({}), desed.fingerprint({"test": -1})
    assert old == desed.fingerprint({"name": "desed", "weak": 2}) != without
    (root / "audio/eval/public/aaaaaaaaaaa_60_61.wav").write_bytes(b"other")
    assert desed.fingerprint({}) != old and desed.fingerprint({"test": -1}) == without
    edit(root / "metadata/train/synthetic.tsv", "7.wav\t2\t", "7.wav\t3\t")
    assert desed.fingerprint({"test": -1}) != without


def test_a_split_that_is_not_there_must_be_left_out_by_the_spec(root):
    shutil.rmtree(root / "metadata/eval")
    with pytest.raises(
        FileNotFoundError, match=r"no metadata/eval/public.tsv: `make data`"
    ) as error:
        load()
    assert "tsv: `make data` says where" in one_line(error) and "test=-1 in the" in one_line(error)
    with pytest.raises(FileNotFoundError, match="no metadata/eval/public"):
        desed.fingerprint({})
    corpus = load(test=-1)
    assert "test" not in corpus.splits and "the spec leaves out test" in corpus.about


def test_lists_without_audio_say_where_it_was_looked_for(root):
    shutil.rmtree(root / "audio/validation")
    with pytest.raises(
        FileNotFoundError, match="no recording of any of 3 validation clips"
    ) as error:
        load()
    said = one_line(error)
    assert "in audio/validation/validation or audio/validation or dataset/audio/val" in said
    assert "validation=-1 in the spec" in said
    shutil.rmtree(root / "audio")
    with pytest.raises(FileNotFoundError, match="any of 4 strong clips in audio/train/synthetic"):
        load()


def test_bad_input_gets_one_line(root, monkeypatch):
    cases = [
        ({"weak": "4"}, "weak='4': give strong, weak, unlabelled, validation, test as numbers"),
        ({"weak": -2}, "weak=-2: give"),
        ({"weak": True}, "weak=True: give"),
        ({"weak": ""}, "weak='': give"),
        ({"weka": 5}, "weka=5: give"),
        ({"weak": 5}, "weak=5, but 3 recordings are there"),
        ({"front_end": "mfcc"}, "front_end is one of"),
    ]
    for more, said in cases:
        with pytest.raises(ValueError) as error:
            load(**more)
        assert said in one_line(error)
    edit(root / "metadata/train/weak.tsv", "Blender", "Mixer")
    with pytest.raises(ValueError, match=r"weak.tsv:4: label 'Mixer' is none of"):
        load()
    with pytest.raises(SystemExit, match=r"weak.tsv:4: label 'Mixer' is none of") as error:
        desed.main([])
    one_line(error)
    for path in (root / "audio/eval/public").iterdir():
        path.write_bytes(b"RIFF")
    with pytest.raises(ValueError, match="no recording of test can be decoded") as error:
        load(weak=-1)
    one_line(error)
    monkeypatch.delenv("DESED")
    with pytest.raises(ValueError, match="DESED is not set: give the folder"):
        load()


def test_a_recording_that_breaks_after_its_check_does_not_shift_the_rows(root):
    split = load()["weak"]
    path = root / "audio/train/weak" / split.clips[0]
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(ValueError, match="changed since their check: delete") as error:
        split.features(FRONT_END)
    assert str(corpora.cache_root() / "desed") in one_line(error)
    assert recordings.decode(root / "audio/train/weak" / split.clips[1])[1] == 16_000
