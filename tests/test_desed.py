"""DESED from its official annotations: lists, layouts, videos; the rest is in test_readers."""

import shutil
from collections import Counter

import numpy as np
import pytest
from conftest import CASES, REAL, needs_real, put, refused
from recorded import SMALL, write

from wsaed.corpora import desed

STATES = SMALL["desed"].states


@pytest.fixture
def root(lay):
    return lay("desed") / "desed"


def load(**spec):
    return desed.load({"name": "desed", **spec}, 0)


# ---- the annotations alone


@needs_real
def test_the_official_lists_of_2019_hold_what_is_published(monkeypatch):
    lists = desed.annotations(REAL / "desed2019")
    sizes, published = {split: len(one.clips) for split, one in lists.items()}, CASES["desed_2019"]
    assert sizes == published["sizes"]
    clips = {split: lists[split].events for split in ("strong", "validation")}
    events = {split: Counter(e.label for es in mine for e in es) for split, mine in clips.items()}
    assert events["strong"].total() == 6032 and events["validation"].total() == 4236
    assert [events["strong"][label] for label in desed.LABELS] == published["synthetic"]
    weak = Counter(label for mine in lists["weak"].labels for label in mine)
    assert [weak[label] for label in desed.LABELS] == published["weak"]
    assert Counter(map(len, lists["weak"].labels)) == {1: 986, 2: 518, 3: 74}
    silent = [not clip for clip in lists["validation"].events]
    assert sum(silent) == 15 and all(lists["strong"].events)
    assert [not mine for mine in lists["validation"].labels] == silent
    assert lists["weak"].events is None and lists["unlabelled"][1:] == (None, None)
    monkeypatch.setenv("DESED", str(REAL / "desed2019"))
    splits = desed.listed(sizes).splits.values()
    videos = [clip.group for mine in splits for clip in mine]
    assert len(set(videos)) == len(videos) == 19_203  # none is in two clips


@needs_real
def test_real_lists_with_little_audio_tell_how_much_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DESED", str(tmp_path))
    clips = {split: one.clips[:2] for split, one in desed.annotations(REAL / "desed2019").items()}
    for path in (REAL / "desed2019").glob("*.tsv"):
        (tmp_path / path.name).symlink_to(path)
    for split, mine in clips.items():
        for clip in mine:
            path = tmp_path / "audio" / desed.PLACES[split][0] / clip
            write(path, np.random.default_rng(0), 10, 16_000)
    corpus = load(test=-1)
    found = {name: set(split.clips) for name, split in corpus.splits.items()}
    assert found == {name: set(mine) for name, mine in clips.items()}
    assert "of 19,203 clips 19,195 have no recording, 0 a broken one" in corpus.about
    assert "the spec leaves out test" in corpus.about


@pytest.mark.parametrize("offset", [10.115, 11.0])
def test_events_may_end_after_their_clip_as_published_ones_do(tmp_path, offset):
    path = put(tmp_path / "x.tsv", f"Y4p-h_aOrhIw_30.000_40.000.wav\t9.865\t{offset}\tDog\n")
    (events,) = desed.read(path, "strong").events
    assert events[0][:3] == ("Dog", 9.865, offset)


@pytest.mark.parametrize(("split", "text", "what"), CASES["empty"])
def test_a_list_without_clips_or_without_labels_is_refused(tmp_path, split, text, what):
    path = put(tmp_path / "x.tsv", text)
    with refused(f"no {what} in it: fetch it again"):
        desed.read(path, split)


@pytest.mark.parametrize("header", [True, False])
def test_headers_and_repeated_lines_do_not_matter(tmp_path, header):
    path = tmp_path / "x.csv"

    def read(split: str, *lines: str) -> desed.Annotations:
        path.write_text("\n".join([SMALL["desed"].headers[split]] * header + [*lines]))
        return desed.read(path, split)

    lines = ["a.wav\t0\t1\tDog", "b.wav", "a.wav\t2\t3\tDog", "a.wav\t0\t1\tDog", "c.wav\t\t\t"]
    clips, events, labels = read("strong", *lines, "", "b.wav\t\t\t")
    assert clips == ["a.wav", "b.wav", "c.wav"]
    assert [[e[:3] for e in clip] for clip in events] == [[("Dog", 0, 1), ("Dog", 2, 3)], [], []]
    assert [{*mine} for mine in labels] == [{"Dog"}, set(), set()]
    clips, events, labels = read("weak", "a.wav\tDog,Cat", "b.wav\t", "a.wav\tCat, Speech")
    assert clips == ["a.wav", "b.wav"] and events is None
    assert [sorted(mine) for mine in labels] == [["Cat", "Dog", "Speech"], []]
    assert read("unlabelled", "a.wav", "b.wav", "a.wav") == (["a.wav", "b.wav"], None, None)


def test_annotations_need_no_audio_and_take_the_lists_that_are_there(root):
    shutil.rmtree(root / "audio")
    lists = desed.annotations(root)
    assert list(lists) == ["strong", "weak", "unlabelled", "validation", "test"]
    assert lists["strong"].clips == ["10.wav", "7.wav", "8.wav", "9.wav"]  # the list's order
    shutil.rmtree(root / "metadata/eval")
    assert list(desed.annotations(root)) == ["strong", "weak", "unlabelled", "validation"]
    shutil.rmtree(root / "metadata")
    with refused("no list of DESED, such as", FileNotFoundError):
        desed.annotations(root)


# ---- the corpus


def test_the_splits_hold_what_the_lists_say_and_nothing_broken(root):
    corpus = load()
    listed = desed.annotations(root)
    for name, split in corpus.splits.items():
        clips = [c for c in listed[name].clips if "short" in STATES.get(f"{name}/{c}", "short")]
        assert sorted(split.clips) == sorted(clips)
        rows = [listed[name].clips.index(clip) for clip in split.clips]
        assert split.clean_labels is None
        assert (split.events is None) == (name in ("weak", "unlabelled"))
        if split.events is not None:
            assert split.events == [listed[name].events[i] for i in rows]
        if name == "unlabelled":
            assert split.clip_labels is None
            continue
        wanted = [[c in listed[name].labels[i] for c in desed.LABELS] for i in rows]
        np.testing.assert_array_equal(split.clip_labels, np.float32(wanted), strict=True)
    silent = corpus["validation"].clips.index("Yvvvvvvvvvv2_5.000_6.000.wav")
    assert corpus["validation"].events[silent] == []
    assert "test has no Alarm_bell_ringing, Blender, Cat, Dog, Electric" in corpus.about
    assert "unlabelled has no" not in corpus.about


def test_clips_of_one_video_share_a_group_across_splits_and_are_told(root):
    corpus = load()
    splits = corpus.splits.values()
    groups = {c: g for s in splits for c, g in zip(s.clips, s.groups.tolist(), strict=True)}
    one = [group for clip, group in groups.items() if "aaaaaaaaaaa" in clip]
    assert len(one) == 3 and len(set(one)) == 1
    assert len(set(groups.values())) == len(groups) - 2
    assert corpus["strong"].groups.dtype.kind == "i"
    assert "videos in both weak and test: 1" in corpus.about


def test_the_order_of_clips_is_not_the_list_s(root):
    whole = load(test=-1)["unlabelled"]
    path = root / "metadata/train/unlabel_in_domain.tsv"
    path.write_text("\n".join(reversed(path.read_text().splitlines()[1:])))
    assert load(test=-1)["unlabelled"].clips == whole.clips
    assert whole.clips[:2] == ["Yuuuuuuuuuu3_0.000_1.000.wav", "Yuuuuuuuuuu1_0.000_1.000.wav"]


def test_other_layouts_are_found(root):
    wanted = load()
    waveforms = {name: split.waveform(0) for name, split in wanted.splits.items()}

    def move(old, new):
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        (root / old).rename(root / new)

    move("metadata/eval/public.tsv", "dataset/metadata/eval/public.csv")  # as that set unpacks
    move("audio/eval", "dataset/audio/eval")
    move("audio/validation", "audio/inner")
    move("audio/inner", "audio/validation/validation")  # as since 2020
    move("metadata/train/weak.tsv", "weak.tsv")  # flat
    found = load()
    for name, split in wanted.splits.items():
        assert found[name].clips == split.clips
        np.testing.assert_array_equal(found[name].waveform(0), waveforms[name])
    new = "train/synthetic21_train/soundscapes"  # of 2021
    move("metadata/train/synthetic.tsv", f"metadata/{new}.tsv")
    move("audio/train/synthetic", f"audio/{new}")
    later = load()
    assert later["strong"].clips == wanted["strong"].clips
    assert f"strong is {new}" in later.about and "strong is" not in found.about
