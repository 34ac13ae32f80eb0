"""Target sound detection's sets as one `Corpus`: S-TSD and L-TSD from AudioSet, URBAN-TSD.

AUDIOSET names a folder with AudioSet's strong lists as they are published

    audioset_train_strong.tsv  audioset_eval_strong.tsv  mid_to_display_name.tsv

and, in any folders below it, the recordings, named as `wsaed.corpora.audioset` wants them.
URBAN_SED names URBAN-SED's folder, see `wsaed.corpora.urban_sed`; its training part is used.

Classes, from all events of the lists, with a recording or without (`roles`): L-TSD has those with
more than 500 events in the training list and more than 50 in the evaluation list, without 11 vague
ones, as in the authors' public code. S-TSD has 51 of the others; which ones was not published, so
here it is the 51 with most training events among those that occur in both lists. URBAN-TSD has
URBAN-SED's ten. Dog bark and gun shot are shared with L-TSD, as the paper says (section 5.1), and
take AudioSet's names "Bark" and "Gunshot, gunfire".

Splits:
    base_a      S-TSD: training clips, events of its classes
    base_b      URBAN-TSD: training soundscapes, events
    novel       L-TSD: training clips, clip labels alone; ``hidden`` has the onsets
    validation  L-TSD: training clips held out, about 3.5 % of each class (`held_out`)
    test        L-TSD: evaluation clips
    references  10 a class, each a class alone: its events in one training clip that overlap no
                other class, joined and repeated to 10 s (`intervals`); for URBAN-TSD from its
                soundscapes, where its authors took UrbanSound8K
A split knows the classes of its own role only. All but references carry ``pairs``. A clip that
serves as a reference is in no other split; those of shared classes come from AudioSet. Pairs ask a
clip with N classes for these and for floor(N / 2) + 1 others.

The clips stand in an order that their names' hashes give, and replicates differ in nothing here.
Computed: 64 kB of features a clip at 500 frames and 64 mels,
7 GB for the 94,126 + 16,118 clips that the paper counts. On made-up lists of the published
size, reading them, drawing the splits and the pairs takes 40 s and 1.1 GB of memory a process.

A spec has ``base_a``, ``base_b``, ``novel``, ``validation``, ``test`` (a number of clips, the first
ones; 0 or None: all), ``references`` (a number a class; 0 or None: 10, for all would leave nothing
to train on) and ``front_end``, see `recordings.Reader.load`.
``python -m wsaed.corpora target_sound`` makes it all ahead of a run, in parallel (JOBS) and
resumable: what is done is kept in CACHE/target_sound. Notebook: mixed_tsd/method.ipynb.
"""

from collections import Counter
from itertools import chain, islice
from pathlib import Path

import numpy as np

from wsaed.corpora import Event, Split, audioset, digest_of, recordings, urban_sed
from wsaed.corpora.pairs import pairs
from wsaed.corpora.recordings import SECONDS, Clip, Listing, Reader, clip_labels
from wsaed.files import table

TABLE = table("corpora/readers.yaml")["target_sound"]
PUBLISHED, SHARED, VAGUE = TABLE["published"], TABLE["shared"], TABLE["vague"]
TRAIN_EVENTS, EVAL_EVENTS = 500, 50  # L-TSD's classes have more
BASE_CLASSES = 51  # of S-TSD
HELD_OUT = 35  # of 1,000 clips of a class
SPLITS = ("base_a", "base_b", "novel", "validation", "test")
REFERENCES = 10  # a class
NAMES = "mid_to_display_name.tsv"
FORM = r"(/[^\t]*)\t([^\t]+)", "MID, display name between tabs"


def files(sizes: dict[str, int]) -> dict[str, tuple[list[Path], dict]]:
    """{"" for AudioSet, "train" for URBAN-SED: (lists, recordings by their names)}."""
    root = recordings.root_of("AUDIOSET")
    lists = [audioset.find(root, name) for name in (NAMES, *audioset.STRONG.values())]
    return {"": (lists, audioset.find_recordings(root))} | urban_sed.files({"train": 0})


def listed(sizes: dict[str, int]) -> Listing:
    """As a `Reader` wants it."""
    # a number a class: these are no clips to be cut to size
    count = sizes.pop("references") or REFERENCES
    if count == 1:
        raise ValueError("target_sound: references=1: give 2 or more, to train and to test with")
    ((names, *lists), there), urban = files(sizes).values()
    names = dict(fields for _, fields in recordings.fields(names, *FORM))
    (train, notes), (test, more) = (audioset.read_strong(path, names) for path in lists)
    classes = roles(*(Counter(e.label for mine in x.values() for e in mine) for x in (train, test)))
    new = {x: SHARED[x] if SHARED.get(x) in classes["novel"] else x for x in urban_sed.LABELS}
    urban = [
        _lasting(clip, [event._replace(label=new[event.label]) for event in clip.events])
        for clip in urban_sed.clips(*urban)
    ]
    classes |= {"base_b": tuple(sorted(new.values()))}
    classes |= dict.fromkeys(("validation", "test"), classes["novel"])
    root = lists[0].parent
    splits, mixed = _draw(_clips(root, train, there), urban, classes, count)
    splits["test"] = _of_role(_clips(root, test, there), classes["test"])
    splits = {name: splits[name] for name in (*SPLITS, "references")}
    where = dict.fromkeys(SPLITS, f"{audioset.WHERE} of {root}")
    where["base_b"] = f"audio/train of {urban[0].root}"
    labels = tuple(sorted({*chain(*classes.values())}))
    return Listing(labels, splits, where, _about(classes, mixed) + notes + more, classes)


def _clips(root: Path, segments: dict[str, list[Event]], there: dict) -> list[Clip]:
    """The segments of a strong list, in the order of hashes."""
    found = []
    for one in sorted(segments, key=digest_of):
        file, content = there.get(one[:11], (None, 0))
        clip = Clip(root, file, content, one, Path(file or one).name, SECONDS)
        found.append(_lasting(clip, segments[one]))
    return found


def _lasting(clip: Clip, events: list[Event]) -> Clip:
    """The clip with these events; its recording lasts at least as they do."""
    end = max((event.offset for event in events), default=0)
    return clip._replace(events=events, seconds=min(end, SECONDS))


def _of_role(clips: list[Clip], classes) -> list[Clip]:
    """The clips in which one of the classes sounds, with these events alone."""
    classes, found = {*classes}, []
    for clip in clips:
        events = [event for event in clip.events if event.label in classes]
        if events:
            found.append(clip._replace(events=events, labels={event.label for event in events}))
    return found


def _draw(train: list[Clip], urban: list[Clip], classes: dict, count: int) -> tuple[dict, list]:
    """({split: clips} of all splits but test, classes that are alone in no two clips)."""
    novel = _of_role([clip for clip in train if clip.file], classes["novel"])
    held = held_out(clip_labels((clip.labels for clip in novel), classes["novel"]))
    validation = [clip for clip, out in zip(novel, held, strict=True) if out]
    away = {clip.id for clip in validation}
    pool = _by_class(urban) | _by_class(clip for clip in train if clip.id not in away)
    labels = sorted({*chain(*classes.values())})
    found = {label: references(pool.get(label, []), label, count) for label in labels}
    turns = [mine[k] for k in range(count) for mine, _ in found.values() if k < len(mine)]
    away |= {clip.id for clip in turns}
    drawn = {"base_a": train, "base_b": urban, "novel": train}
    drawn = {name: [clip for clip in clips if clip.id not in away] for name, clips in drawn.items()}
    drawn = {name: _of_role(clips, classes[name]) for name, clips in drawn.items()}
    mixed = [label for label, (mine, alone) in found.items() if mine and not alone]
    return drawn | {"validation": validation, "references": turns}, mixed


def _by_class(clips) -> dict[str, list[Clip]]:
    """{class: the clips that have it and a recording}."""
    found = {}
    for clip in clips:
        for label in {event.label for event in clip.events} if clip.file else ():
            found.setdefault(label, []).append(clip)
    return found


def _about(classes: dict[str, tuple[str, ...]], mixed: list[str]) -> list[str]:
    """What a reader must know of the classes, and which references are mixed."""
    both = len({*classes["base_b"]} & {*classes["novel"]})
    return [
        f"L-TSD has the {len(classes['novel'])} classes with more than {TRAIN_EVENTS} training and "
        f"{EVAL_EVENTS} evaluation events, without the vague ones, S-TSD {len(classes['base_a'])} "
        f"of the others, those with most training events (its {BASE_CLASSES} were not published), "
        f"URBAN-TSD {len(classes['base_b'])}, of which L-TSD has {both} too",
        *([f"never alone, so that references hold more: {', '.join(mixed)}"] if mixed else []),
    ]


# ---- the rules, as pure functions: the authors' public code decides where the paper is silent


def roles(train: Counter, test: Counter) -> dict[str, tuple[str, ...]]:
    """{"base_a": S-TSD's classes, "novel": L-TSD's}, from the events a class in the two lists.

    Equally frequent ones of S-TSD rank by name. Raises ValueError where a set stays empty.
    """
    both = [name for name in train if test[name] and name not in VAGUE]
    novel = {name for name in both if train[name] > TRAIN_EVENTS and test[name] > EVAL_EVENTS}
    others = sorted(set(both) - novel, key=lambda name: (-train[name], name))
    if not novel or not others:
        raise ValueError(
            f"AudioSet's strong lists have {len(novel)} classes of L-TSD (more than "
            f"{TRAIN_EVENTS} training and {EVAL_EVENTS} evaluation events) and {len(others)} "
            "others: fetch both lists whole"
        )
    return {"base_a": tuple(sorted(others[:BASE_CLASSES])), "novel": tuple(sorted(novel))}


def held_out(clip_labels: np.ndarray) -> np.ndarray:
    """(clips,) bool, the validation clips: about 3.5 % of the clips of each class.

    Greedy, as in the authors' public code: clip after clip goes in unless one of its classes has
    its 3.5 % (rounded up) by then. clip_labels: (clips, classes).
    """
    on = clip_labels > 0
    room, held = -(-HELD_OUT * on.sum(0) // 1000), np.zeros(len(on), bool)
    for i, mine in enumerate(on):
        held[i] = (room[mine] > 0).all()
        room -= held[i] * mine
    return held


def intervals(events: list[Event], label: str, alone: bool = True) -> list[tuple[float, float]]:
    """Onsets and offsets in s of a clip's events of one class, joined where they meet, in order.

    alone: without those that overlap an event of another class.
    """
    others = [e for e in events if e.label != label] if alone else []
    spans = []
    for event in sorted((e for e in events if e.label == label), key=lambda e: e.onset):
        if any(event.onset < e.offset and e.onset < event.offset for e in others):
            continue
        if spans and event.onset <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(spans[-1][1], event.offset)
        else:
            spans.append((event.onset, event.offset))
    return spans


def references(clips: list[Clip], label: str, count: int) -> tuple[list[Clip], bool]:
    """(up to ``count`` clips cut to a class's references, whether it is alone in them).

    Of the first clips in which it is alone, ten times as many, those where it is for longest. A
    class that is alone in no two clips (a conversation without speech) is taken with what else
    sounds. They come in the order of hashes, so that every half is as good.
    """
    for alone in (True, False):
        found = ((clip, intervals(clip.events, label, alone)) for clip in clips)
        usable = list(islice((x for x in found if _surely_there(*x)), 10 * count))
        if len(usable) >= 2:
            break
    usable.sort(key=lambda x: -min(SECONDS, sum(offset - onset for onset, offset in x[1])))
    chosen = sorted(usable[:count], key=lambda x: digest_of(f"{label} {x[0].id}"))
    found = []
    for clip, spans in chosen:
        whole = [Event(label, 0.0, SECONDS, clip.id)]
        clip = clip._replace(name=f"{label}_{clip.name}", events=whole, labels=[label])
        found.append(clip._replace(spans=tuple(spans)))
    return found, alone


def _surely_there(clip: Clip, spans: list) -> bool:
    """Whether some of the spans are heard in a recording that lacks its last 5 %."""
    return bool(spans) and spans[0][0] < 0.94 * max(event.offset for event in clip.events)


def finish(listing: Listing, splits: dict[str, Split]) -> list[str]:
    """Hide novel's events, ask for the pairs; ValueError for a class without two references."""
    references = splits["references"].clip_labels.sum(0)
    for label, there in zip(listing.labels, references, strict=True):
        if there < 2:
            raise ValueError(
                f"target_sound: {there:g} training recordings have {label!r} and can be its "
                "references, two are needed (for training, for testing): fetch more"
            )
    for split in splits.values():
        split.hidden = split.events
    splits["novel"].events = None
    for k, name in enumerate(SPLITS):
        asked = [listing.labels.index(label) for label in listing.classes[name]]
        splits[name].pairs = pairs(splits[name].clip_labels, asked, k)
    counts = ", ".join(f"{len(splits[name].pairs.clip):,} {name}" for name in SPLITS)
    return [f"pairs: {counts}"]


SIZES = dict.fromkeys(SPLITS, 0) | {"references": REFERENCES}
READER = Reader(
    "target_sound", "Target sounds", __doc__, PUBLISHED, SIZES, files, listed, finish, False
)
load, fingerprint = READER.load, READER.fingerprint
