"""AudioSet as a `Corpus`: the official lists, a folder of audio, features in shards.

AUDIOSET names a folder with the lists as they are published

    balanced_train_segments.csv  unbalanced_train_segments.csv  eval_segments.csv
    class_labels_indices.csv
    audioset_train_strong.tsv  audioset_eval_strong.tsv  (optional: events of validation and test)

and, in any folders below it, the recordings. A recording holds one segment, from the segment's
start, and is found by its name: Y<YTID>.wav, <YTID>.wav, <YTID>_<start in ms>.flac,
<YTID>_<start>_<end>.ogg; any rate, any channels, WAV, FLAC, Ogg, Opus or MP3 (convert M4A and
WebM). A segment's id is <YTID>_<start in ms>, as in the strong lists.

Splits (SeCoST section 4): train is balanced + unbalanced without a held-out validation of 25,000
that has every class; test is eval. They are drawn once, by a fixed seed, among the segments whose
audio is there, so replicates differ in initialisation and order alone. Test and validation have
``events`` where the strong lists are there, with None for a clip that they leave out.

The full lists have 2,084,320 segments (published downloads hold about 94 % of them). Computed, as
clips x frames x mels x 2 bytes: 267 GB of features at 10 ms hop and 64 mels, 33 GB at 40 ms and 32;
and 1.1 GB of labels (uint8, a quarter of float32's memory). Extrapolated from the processor time of
55 ten-second stereo clips at 44.1 kHz on one busy server core, 17 s per 1,000 clips of WAV, 20 s of
FLAC, 33 s of Ogg: 10, 11 and 19 hours of one core at 10 ms hop, divided by the cores as long as the
disk keeps up (WAV: 3.7 TB to read). Extrapolated from synthetic lists of an eighth of that size,
reading them and drawing the splits takes some 45 s and 2.7 GB of memory at its peak, the labels
among them, in every process; looking through the folder comes on top.

A spec has ``validation`` (25000), ``train``, ``test`` and ``front_end``, see
`recordings.Reader.load`. ``python -m wsaed.corpora audioset --front-end secost`` makes it all ahead
of a run, in parallel (JOBS) and resumable: what is done is kept in CACHE/audioset.
Notebook: start_here.ipynb.
"""

import re
from pathlib import Path

import numpy as np

from wsaed.corpora import recordings
from wsaed.corpora.recordings import Clip, Listing, Reader
from wsaed.files import table

PUBLISHED = table("corpora/readers.yaml")["audioset"]["published"]
LISTS = ("balanced_train_segments.csv", "unbalanced_train_segments.csv", "eval_segments.csv")
CLASSES = "class_labels_indices.csv"
STRONG = {"validation": "audioset_train_strong.tsv", "test": "audioset_eval_strong.tsv"}
SEED = 25_000  # of the one split that all replicates share
WHERE = "any folder, named Y<YTID>.wav or <YTID>_<start in ms>.wav (or .flac, .ogg, .opus, .mp3),"

_FILE = re.compile(rf"Y?([\w-]{{11}})(?:_\d[\d._-]*)?\.(?:{recordings.SUFFIXES})", re.ASCII | re.I)
_TIME, _HEADER = r"(\d+(?:\.\d+)?)", r"#.*|index,mid,.*|segment_id\t.*"
_CLASS = r'(\d+),(/[^,]+),"?(.+?)"?', "index,mid,display_name", _HEADER
_LINE = rf'([\w-]{{11}}),\s*{_TIME},\s*{_TIME},\s*"([^"]+)"'
_SEGMENT = _LINE, 'YTID, start, end, "mid,mid"', _HEADER
_LINE = rf"(\S{{11}}_\d+)(?:\t{recordings.TIME}\t{recordings.TIME}\t(/[a-z]/\S+)|\t*)"
_EVENT = _LINE, "segment id, start, end, MID between tabs", _HEADER


def find(root: Path, name: str) -> Path:
    """The list of that name; FileNotFoundError says where it is published."""
    if not (root / name).is_file():
        raise FileNotFoundError(f"{root}: no {name}: {READER.get_it()}")
    return root / name


def find_recordings(root: Path) -> dict[str, tuple[str, int]]:
    """{YTID: (name within root, its content)} of the recordings anywhere under ``root``."""
    return recordings.found_in(root, [""], _FILE, deep=True)


def files(sizes: dict[str, int]) -> dict[str, tuple[list[Path], dict]]:
    """{"": (the lists, recordings by YTID)}; FileNotFoundError names a list that is not there."""
    root = recordings.root_of("AUDIOSET")
    lists = [find(root, name) for name in (CLASSES, *LISTS)]
    lists += [root / name for name in STRONG.values() if (root / name).is_file()]
    return {"": (lists, find_recordings(root))}


def read_classes(path: Path) -> dict[str, str]:
    """{MID: display name} of class_labels_indices.csv, in index order."""
    names = {}
    for where, (index, mid, name) in recordings.fields(path, *_CLASS):
        if index != str(len(names)) or mid in names or name in names.values():
            raise ValueError(f"{where}: expected {len(names)},<a new MID>,<a new display name>")
        names[mid] = name
    return names


def read_segments(path: Path, names: dict[str, str], there: dict, first: int) -> list[Clip]:
    """One of the segment lists: '#' lines, then ``YTID, start, end, "mid,mid"``.

    names: of MIDs; there: {YTID: (recording, content)}, from which they are taken: two million
    take room; first: number of the first segment. Raises ValueError, with file and line, at a
    malformed line and at a MID without a name.
    """
    root, clips, known = path.parent, [], {}  # many have the same labels, most the same length
    for where, (ytid, onset, offset, mids) in recordings.fields(path, *_SEGMENT):
        start, end = float(onset), float(offset)
        if not 0 < end - start <= recordings.SECONDS + recordings.OVER:
            said = f"from {onset} to {offset} s is no segment: it ends before it starts or is"
            raise ValueError(f"{where}: {said} longer than {recordings.SECONDS:g} s")
        if mids not in known:
            unknown = [mid for mid in mids.split(",") if mid not in names]
            if unknown:
                both = f"both must be of one release, see {PUBLISHED.splitlines()[0]}"
                raise ValueError(f"{where}: label {unknown[0]!r} is not in {CLASSES}: {both}")
            known[mids] = tuple(names[mid] for mid in mids.split(","))
        (file, content), one = there.pop(ytid, (None, 0)), f"{ytid}_{round(1000 * start)}"
        seconds = known.setdefault(end - start, end - start)
        of = root, file, content, one, file, seconds, None, known[mids]
        clips.append(Clip(*of, first + len(clips)))
    return clips


def read_strong(path: Path, names: dict[str, str], of=None) -> tuple[dict, list[str]]:
    """({segment id: its events}, a note on those left out) of a strong list; malformed: ValueError.

    ``names`` gives the display name of a MID; of: the segments that are kept, None: all. The strong
    lists have labels outside the 527; a segment with none but these has an empty list.
    """
    events, left_out = {}, 0
    for where, (segment, onset, offset, mid) in recordings.fields(path, *_EVENT):
        mine = events.setdefault(segment, []) if of is None or segment in of else []
        if mid:
            one = recordings.event(where, mid, onset, offset, (mid,))
            left_out += mid not in names
            mine += [one._replace(label=names[mid])] if mid in names else []
    note = f"{left_out:,} events of {path.name} have labels outside the list of names"
    return events, [note] if left_out else []


def listed(sizes: dict[str, int]) -> Listing:
    """As a `Reader` wants it."""
    (((classes, *paths), there),) = files(sizes).values()
    names, notes, clips = read_classes(classes), [], []
    for path in paths[: len(LISTS)]:
        first_test = len(clips)  # in the last list
        clips += read_segments(path, names, there, first_test)
    ids = np.sort(np.fromiter((clip.id[:11].encode() for clip in clips), "S11", len(clips)))
    twice = ids[1:][ids[1:] == ids[:-1]]
    if len(twice):
        every = f"{', '.join(LISTS)} of {classes.parent}"
        raise ValueError(f"YTID {twice[0].decode()} is listed twice in {every}: keep one")
    drawn = draw(clips, first_test, sizes.get("validation"))
    for split, path in ((x, classes.parent / name) for x, name in STRONG.items()):
        if path.is_file():
            strong, note = read_strong(path, names, {clip.id for clip in drawn[split]})
            drawn[split] = [clip._replace(events=strong.get(clip.id)) for clip in drawn[split]]
            notes += note
    where = dict.fromkeys(drawn, f"{WHERE} of {classes.parent}")
    splits = {split: mine for split, mine in drawn.items() if split in sizes}
    return Listing(tuple(names.values()), splits, where, notes, {})


def draw(clips: list[Clip], first_test: int, validation: int | None) -> dict[str, list[Clip]]:
    """{split: its clips}, in an order that is always the same; all without a recording are kept.

    validation: how many of those with a recording to hold out; ValueError where it can't be done.
    """
    pool = np.random.default_rng([SEED, 0]).permutation(first_test)
    test = first_test + np.random.default_rng([SEED, 1]).permutation(len(clips) - first_test)
    there, held = pool[[clips[i].file is not None for i in pool]], []
    if len(there) and validation is not None:
        held = there[hold_out([clips[i].labels for i in there], validation)]
    rows = {"train": pool[~np.isin(pool, held)], "validation": held, "test": test}
    return {split: [clips[i] for i in mine] for split, mine in rows.items()}


def hold_out(labels: list, count: int) -> np.ndarray:
    """(clips,) bool: ``count`` clips to hold out, the first ones after one of each class.

    The first clip of each class stays outside, the next of each goes in: both sides have every
    class that has two. labels: those of each clip. Raises ValueError where ``count`` can't do that.
    """
    clips = np.arange(len(labels))
    kept = _one_of_each(labels, clips)
    held = _one_of_each(labels, np.setdiff1d(clips, kept))
    if not len(held) <= count <= len(clips) - len(kept):
        raise ValueError(
            f"audioset: validation={count}: with {len(clips)} training recordings give a number "
            f"from {len(held)} to {len(clips) - len(kept)}, so that both sides have every class"
        )
    spare = np.setdiff1d(clips, kept + held)
    return np.isin(clips, [*held, *spare[: count - len(held)]])


def _one_of_each(labels: list, clips: np.ndarray) -> list[int]:
    """The first of ``clips`` that has a class, for all classes."""
    seen, first = set(), []
    for i in clips:
        if not seen.issuperset(labels[i]):
            seen.update(labels[i])
            first.append(i)
    return first


SIZES = {"validation": 25_000, "train": 0, "test": 0}
READER = Reader("audioset", "AudioSet", __doc__, PUBLISHED, SIZES, files, listed, dtype=np.uint8)
load, fingerprint = READER.load, READER.fingerprint
