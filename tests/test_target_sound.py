"""Target sound detection's sets: the rules one by one, then small lists and folders of audio."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import refused, tags_of
from recorded import BASE_A, NAME, NOVEL, RARE, SMALL, SOUNDSCAPES, STRONG, edit, half

from wsaed.audio import repeated, resample
from wsaed.corpora import Event, recordings, target_sound, urban_sed
from wsaed.corpora.pairs import halves, pairs, reference
from wsaed.features import FRONT_ENDS, log_mel

FRONT_END, SHARED = FRONT_ENDS[NAME], target_sound.SHARED


# ---- which classes


def test_l_tsd_has_the_frequent_classes_and_s_tsd_the_next_51():
    assert len(target_sound.VAGUE) == len(set(target_sound.VAGUE)) == 11
    ranks = {f"class {k:03d}": 850 - k for k in range(440)}  # 850 events down to 411
    train = Counter(ranks | dict.fromkeys(target_sound.VAGUE, 9000))
    test = Counter({name: 51 for name in train})
    test["class 007"], test["class 008"], test["class 360"] = 50, 0, 0
    found = target_sound.roles(train, test)
    # more than 500 training events: 000 to 349, but for the two that are rare in evaluation
    wanted = [f"class {k:03d}" for k in range(350) if k not in (7, 8)]
    assert found["novel"] == tuple(wanted)
    rest = ["class 007", *(f"class {k:03d}" for k in range(350, 401) if k != 360)]
    assert found["base_a"] == tuple(rest) and len(rest) == 51
    train["another"] = train["class 400"]  # as frequent as the last, and before it by its name
    test["another"] = 1
    assert set(rest) - set(target_sound.roles(train, test)["base_a"]) == {"class 400"}


def test_lists_without_enough_events_are_refused_in_one_line():
    for train in (Counter(a=501), Counter(a=500)):
        with refused("fetch both lists whole"):
            target_sound.roles(train, Counter(a=51))


# ---- the held-out clips


@pytest.mark.parametrize("seed", range(5))
def test_about_a_thirtieth_of_each_class_is_held_out(seed):
    draw = np.random.default_rng(seed)
    rates = np.append(draw.uniform(0.005, 0.1, 30), 0.5)  # one class is in every other clip
    labels = draw.random((4000, 31)) < rates
    held = target_sound.held_out(labels.astype(np.float32))
    count, room = labels[held].sum(0), np.ceil(0.035 * labels.sum(0) - 1e-9)
    assert (count <= room).all()
    # greedy: whoever stayed outside has a class that was full when its turn came
    for i in np.flatnonzero(~held):
        mine = labels[i]
        assert (labels[:i][held[:i]].sum(0)[mine] == room[mine]).any()
    assert count[-1] == room[-1] and np.median(count / room) > 0.8


# ---- references


def on(*spans) -> np.ndarray:
    """(10000,) bool: the milliseconds in any of the spans, in seconds."""
    found = np.zeros(10_000, bool)
    for onset, offset in spans:
        found[round(1000 * onset) : round(1000 * offset)] = True
    return found


def naive_intervals(events, label, alone) -> np.ndarray:
    """(10000,) bool: the milliseconds of the class's events, event by event."""
    others = on(*(event[1:3] for event in events if alone and event.label != label))
    mine = [event[1:3] for event in events if event.label == label]
    return on(*(span for span in mine if not (on(span) & others).any()))


@pytest.mark.parametrize("seed", range(20))
def test_intervals_are_those_of_a_naive_search(seed):
    draw = np.random.default_rng(seed)
    events = []
    for _ in range(draw.integers(1, 15)):
        onset, lasts = draw.integers(0, 9000), draw.integers(1, 1000)
        events.append(Event(str(draw.choice(["a", "b"])), onset / 1000, (onset + lasts) / 1000))
    for alone in (True, False):
        found = target_sound.intervals(events, "a", alone)
        np.testing.assert_array_equal(on(*found), naive_intervals(events, "a", alone))
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


def clip(name: str, *events) -> recordings.Clip:
    return recordings.Clip(Path(), f"{name}.wav", 1, name, name, 10.0, [Event(*e) for e in events])


def test_references_are_the_longest_of_the_first_and_then_in_no_order():
    short = [clip(f"short {k}", ("a", 1, 2), ("b", 2, 10)) for k in range(40)]
    long = [clip(f"long {k}", ("a", 1, 2), ("a", 3, 5 + k), ("b", 2, 3)) for k in range(3)]
    never = [clip("never", ("a", 1, 3), ("b", 2, 4)), clip("other", ("b", 1, 9))]
    found, alone = target_sound.references([*never, *short[:8], *long, *short[8:]], "a", 3)
    assert alone and {x.id for x in found} == {"long 0", "long 1", "long 2"}
    assert [x.spans for x in found if x.id == "long 1"] == [((1, 2), (3, 6))]
    for x in found:
        assert x.name == f"a_{x.id}" and x.labels == ["a"]
        assert [e[:4] for e in x.events] == [("a", 0.0, 10.0, x.id)]
    first, _ = target_sound.references([*short, *long], "a", 3)
    assert {x.id for x in first} == {"short 0", "short 1", "short 2"}
    many, _ = target_sound.references(short, "a", 10)
    assert [x.id for x in many] != [f"short {k}" for k in range(10)]
    assert sorted(x.id for x in many) == [f"short {k}" for k in range(10)]


def test_a_class_that_is_never_alone_is_taken_with_what_else_sounds():
    clips = [clip(f"{k}", ("a", 1, 3), ("b", 2, 4 + k)) for k in range(5)]
    clips.append(clip("alone", ("a", 1, 2)))
    found, alone = target_sound.references(clips, "a", 4)
    assert len(found) == 4 and not alone
    assert all(x.spans == ((1, 3),) for x in found)
    few = [clip("tail", ("a", 9.8, 10)), clip("b", ("b", 1, 2))]
    assert target_sound.references(few, "a", 4) == ([], False)


# ---- the corpus

BASE_B = ("Bark", "Gunshot, gunfire", *(x for x in urban_sed.LABELS if x not in SHARED))
LABELS = tuple(sorted({*NOVEL, *BASE_A, *BASE_B}))
ROLES = dict(base_a=BASE_A, base_b=BASE_B, novel=NOVEL, validation=NOVEL, test=NOVEL)


@pytest.fixture
def root(lay):
    return lay("target_sound", shard=5)


def load(**spec):
    return target_sound.load({"name": "target_sound", "references": 2, **spec}, 0)


def truth(name: str) -> list[tuple]:
    """What the lists say of a recording, in the corpus' labels."""
    for clips in STRONG.values():
        for segment, events in clips.items():
            if segment[:11] in name:
                return events
    events = SOUNDSCAPES[Path(name).stem]
    return [(SHARED.get(x, x), onset, onset + lasts) for x, onset, lasts in events]


def test_the_splits_hold_what_the_lists_say_of_their_roles(root):
    corpus = load()
    assert corpus.labels == LABELS
    assert {*BASE_B} & {*NOVEL} == {"Bark", "Gunshot, gunfire"}
    assert list(corpus.splits) == [*ROLES, "references"]
    for name, role in ROLES.items():
        split = corpus[name]
        for clip, events in zip(split.clips, split.hidden, strict=True):
            wanted = [event for event in truth(clip) if event[0] in role]
            assert [event[:3] for event in events] == [pytest.approx(e) for e in wanted] != []
        given = tags_of(split.hidden, LABELS)
        np.testing.assert_array_equal(split.clip_labels, given, strict=True)
        assert len(split) > 1
        assert split.events is (None if name == "novel" else split.hidden)
        seed, columns = [*ROLES].index(name), [LABELS.index(x) for x in role]
        for mine, wanted in zip(split.pairs, pairs(split.clip_labels, columns, seed), strict=True):
            np.testing.assert_array_equal(mine, wanted)
    tested = {Path(x).stem[1:] for x in corpus["test"].clips}
    assert tested == {f"evaluation{k}" for k in range(1, 6)}


def test_no_clip_serves_two_purposes(root):
    corpus = load()
    clips = {name: {*split.groups.tolist()} for name, split in corpus.splits.items()}
    assert clips["base_a"] & clips["novel"]  # the mixed ones, annotated for each role
    both = [("base_a", "novel")]
    for a, b in itertools.combinations(clips, 2):
        assert (a, b) in both or not clips[a] & clips[b]
    train = [x for x in STRONG["audioset_train_strong.tsv"] if not x.startswith(RARE)]
    used = clips["base_a"] | clips["novel"] | clips["validation"]
    ours = ["_Y" in clip for clip in corpus["references"].clips]
    used |= {*corpus["references"].groups[ours].tolist()}
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
        for rows in (train, test):
            rows = reference(asked, rows, 0)
            np.testing.assert_array_equal(split.clip_labels[rows].argmax(1), asked.label)
    shards = split.features(FRONT_END)
    assert shards.shape == (len(split), FRONT_END.frames, FRONT_END.mels)
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


def test_the_classes_are_told(root):
    about = load().about
    for part in SMALL["target_sound"].about:
        assert part in about
    assert "have labels outside" not in about and "_b has no" not in about
    edit(root / "audioset/mid_to_display_name.tsv", "/t/dd00141\tYak\n", "")
    said = "3 events of audioset_train_strong.tsv have labels outside the list of names"
    assert said in load().about
    assert "base_b has no" in load(references=3, base_b=4).about


@pytest.mark.parametrize("unsaid", [0, None])
def test_ten_references_a_class_where_nothing_is_said(root, unsaid):
    def drawn(count):
        sizes = target_sound.READER.checked({"references": count})
        return [clip.name for clip in target_sound.listed(sizes).splits["references"]]

    assert drawn(unsaid) == drawn(10) != drawn(3)
    for count in (1, -2):
        with refused(f"references={count}: give"):
            load(references=count)


def test_a_reference_that_is_cut_off_is_left_out(root):
    before = load(references=3)["references"]
    first = next(clip for clip in load()["references"].clips if clip.startswith("Sneeze_Y"))
    path = root / "audioset/audio/part00" / first.removeprefix("Sneeze_")
    half(path)
    after = load(references=3)["references"]
    assert after.clips == [clip for clip in before.clips if clip != first]
    with refused("1 training recordings have 'Sneeze' and.*two are needed"):
        load()
