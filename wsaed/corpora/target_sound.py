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
7 GB for the paper's 94,126 + 16,118 clips of L-TSD. On made-up lists of the published size, reading
them, drawing the splits and the pairs takes 40 s and 1.1 GB of memory, in every process.

A spec has ``base_a``, ``base_b``, ``novel``, ``validation``, ``test`` (a number of clips, the first
ones; 0 or None: all), ``references`` (a number a class; 0 or None: 10, for all would leave nothing
to train on) and ``front_end``, see `recordings.Reader.load`.
``python -m wsaed.corpora target_sound`` makes it all ahead of a run, in parallel (JOBS) and
resumable: what is done is kept in CACHE/target_sound. Notebook: mixed_tsd/method.ipynb.
"""

from collections import Counter
from itertools import chain
from pathlib import Path

from wsaed.corpora import Event, Split, audioset, recordings, urban_sed
from wsaed.corpora.pairs import pairs
from wsaed.corpora.recordings import Clip, Listing, Reader, clip_labels, hashed
from wsaed.corpora.target_sound_rules import (
    BASE_CLASSES,
    EVAL_EVENTS,
    SECONDS,
    TRAIN_EVENTS,
    held_out,
    references,
    roles,
)
from wsaed.files import table

TABLE = table("corpora/readers.yaml")["target_sound"]
PUBLISHED, SHARED = TABLE["published"], TABLE["shared"]
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
    for one in sorted(segments, key=hashed):
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
