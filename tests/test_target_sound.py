"""Target sound detection's sets: the rules one by one, then small lists and folders of audio."""

import itertools
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import one_line, small_steps
from test_urban_sed import txt

from wsaed import corpora
from wsaed.audio import resample
from wsaed.corpora import Event, audioset, recordings, target_sound, urban_sed
from wsaed.corpora.pairs import halves, pairs, reference
from wsaed.corpora.target_sound_rules import (
    VAGUE,
    Clip,
    held_out,
    intervals,
    references,
    repeated,
    roles,
)
from wsaed.features import FRONT_ENDS, log_mel

NAME = "secost_50ms"
FRONT_END = FRONT_ENDS[NAME]
RATE = 8000


# ---- which classes


def test_l_tsd_has_the_frequent_classes_and_s_tsd_the_next_51():
    assert len(VAGUE) == len(set(VAGUE)) == 11
    ranks = {f"class {k:03d}": 850 - k for k in range(440)}  # 850 events down to 411
    train = Counter(ranks | dict.fromkeys(VAGUE, 9000))
    test = Counter({name: 51 for name in train})
    test["class 007"], test["class 008"], test["class 360"] = 50, 0, 0
    found = roles(train, test)
    # more than 500 training events: 000 to 349, but for the two that are rare in evaluation
    wanted = [f"class {k:03d}" for k in range(350) if k not in (7, 8)]
    assert found["novel"] == tuple(wanted)
    rest = ["class 007", *(f"class {k:03d}" for k in range(350, 401) if k != 360)]
    assert found["base_a"] == tuple(rest) and len(rest) == 51
    train["another"] = train["class 400"]  # as frequent as the last, and before it by its name
    test["another"] = 1
    assert set(rest) - set(roles(train, test)["base_a"]) == {"class 400"}


def test_192_of_456_classes_leave_51_that_none_of_them_is():
    names = [f"class {k:03d}" for k in range(456 - 11)]
    train = Counter({name: 501 if k < 192 else 500 - k for k, name in enumerate(names)})
    test = Counter(dict.fromkeys(names, 51) | dict.fromkeys(VAGUE, 10_000))
    found = roles(train | Counter(dict.fromkeys(VAGUE, 10_000)), test)
    assert len(found["novel"]) == 192 and len(found["base_a"]) == 51
    assert not {*found["novel"], *VAGUE} & {*found["base_a"]}


def test_lists_without_enough_events_are_refused_in_one_line():
    for train in (Counter(a=501), Counter(a=500)):
        with pytest.raises(ValueError, match="fetch both lists whole") as error:
            roles(train, Counter(a=51))
        one_line(error)


# ---- pairs


def published_clip_labels() -> np.ndarray:
    """(16118, 192): 47,803 positives, as many clips with an odd number as their halves need.

    Let N be a clip's positives. Of all floor(N/2) + 1 the paper's 83,334 pairs leave 35,531, so
    the floors add up to 19,413 and 47,803 - 2 * 19,413 = 8,977 clips have an odd N.
    """
    draw = np.random.default_rng(0)
    half = np.ones(16_118, int)  # floor(N/2)
    half[:8977] = 0  # of the odd ones
    np.add.at(half, draw.integers(16_118, size=19_413 - half.sum()), 1)
    N = 2 * half + (np.arange(16_118) < 8977)
    labels = np.zeros((16_118, 192), np.float32)
    popular = draw.zipf(1.3, size=(16_118, 400)) % 192  # some classes are in very many clips
    for row, n, candidates in zip(labels, N, popular, strict=True):
        row[list(dict.fromkeys([*candidates, *range(192)]))[:n]] = 1
    return labels


def test_the_papers_test_clips_give_its_83334_pairs():
    labels = published_clip_labels()
    assert labels.shape == (16_118, 192) and labels.sum() == 47_803
    N = labels.sum(1).astype(int)
    counts = {  # the other two readings of "N/2 negatives" miss the paper's number
        "floor": (N + N // 2).sum(),
        "ceil": (N + -(-N // 2)).sum(),
        "floor + 1": (N + N // 2 + 1).sum(),
    }
    assert counts == {"floor": 67_216, "ceil": 76_193, "floor + 1": 83_334}
    found = pairs(labels, range(192), 0)
    assert len(found.clip) == 83_334 and found.present.sum() == 47_803
    np.testing.assert_array_equal(labels[found.clip, found.label] > 0, found.present)
    refused = np.bincount(found.label[~found.present], minlength=192)
    assert refused.sum() == 35_531 and refused.max() - refused.min() <= 20  # about 185 each
    np.testing.assert_array_equal(np.bincount(found.clip[~found.present]), N // 2 + 1)


# ---- the held-out clips


@pytest.mark.parametrize("seed", range(5))
def test_about_a_thirtieth_of_each_class_is_held_out(seed):
    draw = np.random.default_rng(seed)
    rates = np.append(draw.uniform(0.005, 0.1, 30), 0.5)  # one class is in every other clip
    labels = draw.random((4000, 31)) < rates
    held = held_out(labels.astype(np.float32))
    count, room = labels[held].sum(0), np.ceil(0.035 * labels.sum(0) - 1e-9)
    assert (count <= room).all()
    # greedy: whoever stayed outside has a class that was full when its turn came
    for i in np.flatnonzero(~held):
        mine = labels[i]
        assert (labels[:i][held[:i]].sum(0)[mine] == room[mine]).any()
    assert count[-1] == room[-1] and np.median(count / room) > 0.8


# ---- references


def naive_intervals(events, label, alone) -> np.ndarray:
    """(10000,) bool: the milliseconds of the class's events, event by event."""
    on = np.zeros(10_000, bool)
    for event in events:
        if event.label != label:
            continue
        mine = np.zeros(10_000, bool)
        mine[round(1000 * event.onset) : round(1000 * event.offset)] = True
        free = True
        for other in events:
            if alone and other.label != label:
                free &= not mine[round(1000 * other.onset) : round(1000 * other.offset)].any()
        on |= mine & free
    return on


@pytest.mark.parametrize("seed", range(20))
def test_intervals_are_those_of_a_naive_search(seed):
    draw = np.random.default_rng(seed)
    events = []
    for _ in range(draw.integers(1, 15)):
        onset, lasts = draw.integers(0, 9000), draw.integers(1, 1000)
        events.append(Event(str(draw.choice(["a", "b"])), onset / 1000, (onset + lasts) / 1000))
    for alone in (True, False):
        found = intervals(events, "a", alone)
        on = np.zeros(10_000, bool)
        for onset, offset in found:
            on[round(1000 * onset) : round(1000 * offset)] = True
        np.testing.assert_array_equal(on, naive_intervals(events, "a", alone))
        for (_, end), (start, _) in itertools.pairwise(found):
            assert end < start


def test_a_reference_is_joined_and_repeated_to_ten_seconds():
    waveform = np.arange(100.0)  # at 10 Hz
    joined = [*range(5, 20), *range(50, 52)]
    found = repeated(waveform, 10, [(0.5, 2.0), (5.0, 5.2)])
    np.testing.assert_array_equal(found, (joined * 6)[:100])
    np.testing.assert_array_equal(repeated(waveform, 10, [(0.0, 10.0)]), waveform)
    with pytest.raises(ValueError, match=r"of 10.00 s ends before 11.0 s"):
        repeated(waveform, 10, [(11.0, 12.0)])


def clip(name: str, *events) -> Clip:
    return Clip(name, Path("/"), f"{name}.wav", 1, [Event(*event) for event in events])


def test_references_are_the_longest_of_the_first_and_then_in_no_order():
    short = [clip(f"short {k}", ("a", 1, 2), ("b", 2, 10)) for k in range(40)]
    long = [clip(f"long {k}", ("a", 1, 2), ("a", 3, 5 + k), ("b", 2, 3)) for k in range(3)]
    never = [clip("never", ("a", 1, 3), ("b", 2, 4)), clip("other", ("b", 1, 9))]
    found = references([*never, *short[:8], *long, *short[8:]], "a", 3)
    assert {x.clip.id for x in found} == {"long 0", "long 1", "long 2"}
    assert [x.intervals for x in found if x.clip.id == "long 1"] == [[(1, 2), (3, 6)]]
    assert all(x.alone and x.label == "a" for x in found)
    assert {x.clip.id for x in references([*short, *long], "a", 3)} == {
        "short 0",
        "short 1",
        "short 2",
    }
    many = references(short, "a", 10)
    assert [x.clip.id for x in many] != [f"short {k}" for k in range(10)]
    assert sorted(x.clip.id for x in many) == [f"short {k}" for k in range(10)]


def test_a_class_that_is_never_alone_is_taken_with_what_else_sounds():
    clips = [clip(f"{k}", ("a", 1, 3), ("b", 2, 4 + k)) for k in range(5)]
    clips.append(clip("alone", ("a", 1, 2)))
    found = references(clips, "a", 4)
    assert len(found) == 4 and not any(x.alone for x in found)
    assert all(x.intervals == [(1, 3)] for x in found)
    assert references([clip("tail", ("a", 9.8, 10)), clip("b", ("b", 1, 2))], "a", 4) == []


# ---- the corpus

MIDS = {
    "/m/05tny_": "Bark",
    "/m/032s66": "Gunshot, gunfire",
    "/m/04rlf": "Music",
    "/m/096m7z": "Noise",
    "/m/0brhx": "Whistle",
    "/m/01hsr_": "Sneeze",
    "/t/dd00141": "Yak",
}
NOVEL, BASE_A = ("Bark", "Gunshot, gunfire", "Music"), ("Sneeze", "Whistle")
BASE_B = (
    "Bark",
    "Gunshot, gunfire",
    *(x for x in urban_sed.LABELS if x not in target_sound.SHARED),
)
LABELS = tuple(sorted({*NOVEL, *BASE_A, *BASE_B}))


def strong_clips() -> dict[str, dict[str, list[tuple]]]:
    """{list: {segment: (label, onset, offset)}}, of 2 s; the first two have no recording."""
    counts = {"Bark": 501, "Gunshot, gunfire": 501, "Music": 501, "Noise": 900, "Yak": 3}
    many = [(x, k / 100, k / 100 + 0.01) for x, n in counts.items() for k in range(n)]
    train = {"-" * 10 + "0_30000": many, "-" * 10 + "1_0": [("Noise", 0.0, 1.0)]}
    for number, label in enumerate((*NOVEL, *BASE_A)):
        for k in range(7):
            events = [(label, 0.1, 0.5), (label, 1.0, 1.5 + k / 20)]
            train[f"{label[0]}_alone-{k:02d}-_{1000 * number}"] = events
    for k in range(6):
        mixed = [
            ("Music", 0.0, 2.0),
            ("Whistle", 0.5, 1.0),
            ("Noise", 0.0, 0.2),
            ("Bark", 1.5, 1.8),
        ]
        train[f"mixed{k}_yes-_{k}"] = mixed[: 3 + k % 2]
    test = {"-" * 10 + "2_0": [(x, k / 100, k / 100 + 0.01) for x in NOVEL for k in range(51)]}
    test |= {f"evaluation{k}_90000": [(NOVEL[k % 3], 0.5, 1.25 + k / 8)] for k in range(6)}
    test["evaluation9_0"] = [("Sneeze", 0.0, 1.0), ("Whistle", 1.0, 2.0)]
    return {"audioset_train_strong.tsv": train, "audioset_eval_strong.tsv": test}


STRONG = strong_clips()
SOUNDSCAPES = {
    f"soundscape_train_uniform{k}_{j}": [(label, 0.5, 1.0)]
    for k, label in enumerate(urban_sed.LABELS)
    for j in range(3)
} | {f"soundscape_train_bimodal{k}": [("dog_bark", 0, 1.0), ("siren", 0.5, 1.5)] for k in range(4)}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Both folders: of AudioSet one recording cut off and one short, of URBAN-SED one missing."""
    root, draw = tmp_path_factory.mktemp("both"), np.random.default_rng(0)
    ours, urban = root / "audioset", root / "urban"
    for folder in (ours / "audio/part00", urban / "annotations/train", urban / "audio/train"):
        folder.mkdir(parents=True)
    (ours / "mid_to_display_name.tsv").write_text("".join(f"{m}\t{n}\n" for m, n in MIDS.items()))
    back = {name: mid for mid, name in MIDS.items()}
    for path, clips in STRONG.items():
        lines = [
            f"{segment}\t{onset:.3f}\t{offset:.3f}\t{back[label]}\n"
            for segment, events in clips.items()
            for label, onset, offset in events
        ]
        header = "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"
        (ours / path).write_text(header + "".join(lines))
        for segment in clips:
            if not segment.startswith("-" * 10):
                samples = draw.standard_normal(RATE * (1 if segment[:11] == "evaluation1" else 2))
                soundfile.write(ours / f"audio/part00/Y{segment[:11]}.wav", 0.1 * samples, RATE)
    broken = ours / "audio/part00/Yevaluation0.wav"
    broken.write_bytes(broken.read_bytes()[:9000])
    for name, events in SOUNDSCAPES.items():
        (urban / f"annotations/train/{name}.txt").write_text(txt(events))
        if name != "soundscape_train_bimodal3":
            path = urban / f"audio/train/{name}.wav"
            soundfile.write(path, 0.1 * draw.standard_normal(RATE * 2), RATE)
    return root


@pytest.fixture
def root(original, tmp_path, monkeypatch):
    """A copy of them that a test may change, with a cache of its own and small shards."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("AUDIOSET", str(tmp_path / "audioset"))
    monkeypatch.setenv("URBAN_SED", str(tmp_path / "urban"))
    small_steps(tmp_path / "cache", 5, monkeypatch)
    return tmp_path


def load(**spec):
    return target_sound.load({"name": "target_sound", "references": 2, **spec}, 0)


def truth(name: str) -> list[tuple]:
    """What the lists say of a recording, in the corpus' labels."""
    for clips in STRONG.values():
        for segment, events in clips.items():
            if segment[:11] in name:
                return events
    events = SOUNDSCAPES[Path(name).stem]
    shared = target_sound.SHARED
    return [(shared.get(x, x), onset, onset + lasts) for x, onset, lasts in events]


def test_the_splits_hold_what_the_lists_say_of_their_roles(root):
    corpus = corpora.load({"name": "target_sound", "references": 2}, 5)
    assert corpus.labels == LABELS
    assert {*BASE_B} & {*NOVEL} == {"Bark", "Gunshot, gunfire"}
    allowed = dict(base_a=BASE_A, base_b=BASE_B, novel=NOVEL, validation=NOVEL, test=NOVEL)
    assert list(corpus.splits) == [*allowed, "references"]
    for name, role in allowed.items():
        split = corpus[name]
        assert split.clip_labels.dtype == np.float32 and len(split) > 1
        for clip, events, labels in zip(
            split.clips, split.hidden_events, split.clip_labels, strict=True
        ):
            wanted = [event for event in truth(clip) if event[0] in role]
            assert [event[:3] for event in events] == [pytest.approx(e) for e in wanted] != []
            given = {LABELS[k] for k in np.flatnonzero(labels)}
            assert given == {event.label for event in events}
        assert split.events is (None if name == "novel" else split.hidden_events)
        seed, columns = [*allowed].index(name), [LABELS.index(x) for x in role]
        for mine, wanted in zip(split.pairs, pairs(split.clip_labels, columns, seed), strict=True):
            np.testing.assert_array_equal(mine, wanted)
    assert {Path(x).stem[1:] for x in corpus["test"].clips} == {
        f"evaluation{k}" for k in range(1, 6)
    }


def test_no_clip_serves_two_purposes(root):
    corpus = load()
    clips = {name: {*split.groups.tolist()} for name, split in corpus.splits.items()}
    assert clips["base_a"] & clips["novel"]  # the mixed ones, annotated for each role
    both = [("base_a", "novel")]
    for a, b in itertools.combinations(clips, 2):
        assert (a, b) in both or not clips[a] & clips[b]
    train = [x for x in STRONG["audioset_train_strong.tsv"] if not x.startswith("-" * 10)]
    used = clips["base_a"] | clips["novel"] | clips["validation"]
    used |= {
        g
        for g, c in zip(
            *(getattr(corpus["references"], x) for x in ("groups", "clips")), strict=True
        )
        if "_Y" in c
    }
    assert len(used) == len(train)
    share = corpus["validation"].clip_labels.sum(0)
    assert all(share[LABELS.index(label)] == 1 for label in NOVEL)  # 3.5 % of some ten, rounded up


def test_references_hold_one_class_alone_and_repeat_it(root):
    corpus = load(references=3)
    split = corpus["references"]
    assert len(split) == 3 * len(LABELS) and split.pairs is None
    assert (split.clip_labels.sum(0) == 3).all() and (split.clip_labels.sum(1) == 1).all()
    assert split.clip_labels.argmax(1).tolist() == [*range(len(LABELS))] * 3  # in turn
    train, test = halves(split.clip_labels)
    assert {len(x) for x in train} == {1} and {len(x) for x in test} == {2}
    for name in ("base_a", "base_b", "novel", "validation", "test"):
        asked = corpus[name].pairs
        for half in (train, test):
            rows = reference(asked, half, 0)
            np.testing.assert_array_equal(split.clip_labels[rows].argmax(1), asked.label)
    shards = split.features(FRONT_END)
    assert shards.shape == (len(split), FRONT_END.frames, 64)
    for i, clip in enumerate(split.clips):
        label, _, file = clip.rpartition("_Y" if "_Y" in clip else "_soundscape")
        ours = "_Y" in clip
        assert ours == (label in (*NOVEL, *BASE_A))  # the shared classes' are recorded
        path = f"audioset/audio/part00/Y{file}" if ours else f"urban/audio/train/soundscape{file}"
        samples, rate = soundfile.read(root / path, dtype="float32")
        samples = resample(samples, rate, split.rate)
        spans = [e[1:] for e in truth(file if ours else f"soundscape{file}") if e[0] == label]
        pieces = [samples[round(a * 16_000) : round(b * 16_000)] for a, b in spans]
        wanted = np.concatenate(pieces * 30)[:160_000]
        np.testing.assert_array_equal(split.waveform(i), wanted)
        np.testing.assert_array_equal(shards[i], log_mel(wanted, FRONT_END), strict=True)
        assert [e[:3] for e in split.events[i]] == [(label, 0.0, 10.0)]
        assert LABELS[split.clip_labels[i].argmax()] == label
    apart = [split.features(FRONT_END, only=k)[:] for k in range(-(-len(split) // 5))]
    np.testing.assert_array_equal(np.concatenate(apart), shards[:])


def test_missing_broken_and_short_files_are_counted_and_listed(root):
    about = load().about
    # all training and test clips that hold a class, whether a split takes them or not
    total = sum(map(len, STRONG.values())) - 2 + len(SOUNDSCAPES)
    said = f"of {total} clips 3 have no recording, 1 a broken one (left out), 1 a short one"
    assert said in about
    listed = corpora.cache_root() / about.partition("listed in ")[2].partition(" of the cache")[0]
    lines = [line.split("\t") for line in listed.read_text().splitlines()]
    assert {clip: state for clip, state, *_ in lines[1:]} == {
        "-" * 10 + "0_30000": "missing",
        "-" * 10 + "2_0": "missing",
        "soundscape_train_bimodal3": "missing",
        "evaluation0_90000": "broken",
        "evaluation1_90000": "short",
    }
    for part in (
        "S-TSD's 51 were not published: here it has 2, those of the others with most training",
        "L-TSD has the 3 classes of AudioSet's strong lists with more than 500 training and 50",
        "URBAN-TSD has 10, of which L-TSD has 2 too",
        "5 test (",
        "26 references clips",
    ):
        assert part in about


def test_features_are_the_log_mel_of_the_clips_that_are_left(root):
    for name, split in load().splits.items():
        shards = split.features(FRONT_END)
        assert shards.shape[0] == len(split)
        for i in (0, len(split) - 1):
            wanted = log_mel(split.waveform(i), FRONT_END)
            np.testing.assert_array_equal(shards[i], wanted, strict=True)
            assert name != "base_b" or len(split.waveform(i)) == 2 * split.rate


def test_sizes_take_the_first_clips(root):
    whole, some = load(), load(base_a=3, novel=2, test=1, base_b=4, validation=None)
    assert [len(some[x]) for x in ("base_a", "base_b", "novel", "test")] == [3, 4, 2, 1]
    for name, split in some.splits.items():
        assert split.clips == whole[name].clips[: len(split)]
    assert len(some["validation"]) == len(whole["validation"])
    for unsaid in (0, None):
        assert target_sound._sizes({"references": unsaid})["references"] == 10


def test_a_reference_that_is_cut_off_is_left_out(root):
    before = load(references=3)["references"]
    first = next(clip for clip in load()["references"].clips if clip.startswith("Sneeze_Y"))
    path = root / "audioset/audio/part00" / first.removeprefix("Sneeze_")
    path.write_bytes(path.read_bytes()[:9000])
    after = load(references=3)["references"]
    assert after.clips == [clip for clip in before.clips if clip != first]
    with pytest.raises(ValueError, match="1 training recordings have 'Sneeze' and") as error:
        load()
    assert "two are needed" in one_line(error)


def test_the_fingerprint_sees_lists_and_audio_of_both_folders(root):
    seen = {target_sound.fingerprint({})}
    assert seen == {target_sound.fingerprint({"name": "target_sound", "novel": 3})}
    for name, text in (
        ("audioset/mid_to_display_name.tsv", "/m/new\tNew\n"),
        ("audioset/audioset_eval_strong.tsv", "evaluation9_0\t0.5\t0.6\t/m/0brhx\n"),
        ("audioset/audio/part00/Yevaluation5.wav", "more"),
        ("urban/annotations/train/soundscape_train_bimodal0.txt", "5\t6\tsiren\n"),
        ("urban/audio/train/soundscape_train_bimodal0.wav", "more"),
    ):
        with open(root / name, "a") as file:
            file.write(text)
        seen.add(target_sound.fingerprint({}))
    assert len(seen) == 6


def test_bad_input_gets_one_line(root, monkeypatch):
    cases = [
        ({"novel": "4"}, "novel='4': give base_a, base_b, novel, validation, test as numbers"),
        ({"novel": -1}, "novel=-1: give"),
        ({"novel": True}, "novel=True: give"),
        ({"nowel": 5}, "nowel=5: give"),
        ({"references": 1}, "references=1: give"),
        ({"references": -2}, "references=-2: give"),
        ({"base_b": 500}, "base_b=500, but"),
        ({"front_end": "mfcc"}, "front_end is one of"),
    ]
    for more, said in cases:
        with pytest.raises(ValueError) as error:
            load(**more)
        assert said in one_line(error)
    names = root / "audioset/mid_to_display_name.tsv"
    text = names.read_text()
    for line in ("/m/0x", "m/0x\tX", "/m/0x\t"):
        names.write_text(f"{text}{line}\n")
        with pytest.raises(ValueError) as error:
            load()
        assert one_line(error).startswith(f"{names}:{len(MIDS) + 1}: expected MID, display name")
    names.unlink()
    with pytest.raises(FileNotFoundError, match=r"no mid_to_display_name.tsv: fetch") as error:
        load()
    with pytest.raises(SystemExit, match=r"no mid_to_display_name.tsv: fetch") as error:
        target_sound.main(["--novel", "3"])
    one_line(error)
    names.write_text(text)
    shutil.rmtree(root / "audioset/audio")
    with pytest.raises(FileNotFoundError, match="no recording for base_a: AUDIOSET has") as error:
        load()
    one_line(error)
    for variable in ("URBAN_SED", "AUDIOSET"):
        monkeypatch.delenv(variable)
        with pytest.raises(ValueError, match=f"{variable} is not set: give the folder"):
            load()


def test_names_outside_the_list_are_told(root):
    names = root / "audioset/mid_to_display_name.tsv"
    names.write_text(names.read_text().replace("/t/dd00141\tYak\n", ""))
    assert "3 events of audioset_train_strong.tsv have labels outside mid_to" in load().about


def test_the_command_makes_all_features_ahead(root, monkeypatch, capsys):
    target_sound.main(["--front-end", NAME, "--references", "2"])
    assert "Target sounds: " in capsys.readouterr().out
    monkeypatch.setattr(recordings, "decode", lambda path: os.abort())  # nothing is left to do
    for split in load().splits.values():
        assert len(split.features(FRONT_END)) == len(split)
    with pytest.raises(SystemExit) as stopped:
        target_sound.main(["--help"])
    assert stopped.value.code == 0
    assert "mid_to_display_name.tsv" in capsys.readouterr().out
    assert audioset.find_recordings(root / "audioset")
