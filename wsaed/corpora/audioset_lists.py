"""AudioSet's official lists (segments, classes, strong labels) and the splits drawn from them.

Formats: research.google.com/audioset/download.html and download_strong.html. A segment's id is
``<YTID>_<start in ms>`` here, as in the strong lists. Notebook: start_here.ipynb.
"""

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import sparse

from wsaed.corpora import Event

LISTS = ("balanced_train_segments.csv", "unbalanced_train_segments.csv", "eval_segments.csv")
CLASSES = "class_labels_indices.csv"
STRONG = {"validation": "audioset_train_strong.tsv", "test": "audioset_eval_strong.tsv"}
PUBLISHED = "research.google.com/audioset/download.html"
SEED = 25_000  # of the one split that all replicates share

_HEADERS = ("#", "index,mid,", "segment_id\t")
_TIME = r"(\d+(?:\.\d+)?)"
_CLASS = re.compile(r'(\d+),(/[^,]+),"?(.+?)"?')
_SEGMENT = re.compile(rf'([\w-]{{11}}),\s*{_TIME},\s*{_TIME},\s*"([^"]+)"', re.ASCII)
_EVENT = re.compile(rf"(\S{{11}}_\d+)\t{_TIME}\t{_TIME}\t(/[a-z]/\S+)")


class Segments(NamedTuple):
    """Segments in file order: ids, lengths in s, (segments, classes) sparse uint8 labels."""

    ids: list[str]
    seconds: np.ndarray
    labels: sparse.csr_array


def find(root: Path, name: str) -> Path:
    """The list of that name; FileNotFoundError says where it is published."""
    if not (root / name).is_file():
        raise FileNotFoundError(f"{root}: no {name}: fetch it from {PUBLISHED}")
    return root / name


def read(root: Path) -> tuple[tuple[str, ...], dict[str, int], Segments, int]:
    """(class names, MID -> class, segments of the three lists in turn, row of the first of eval).

    Raises FileNotFoundError for a list that is not there, ValueError for a malformed line.
    """
    names, mids = read_classes(find(root, CLASSES))
    lists = [read_segments(find(root, name), mids) for name in LISTS]
    ids = [segment for one in lists for segment in one.ids]
    twice = [ytid for ytid, n in Counter(segment[:11] for segment in ids).items() if n > 1]
    if twice:
        raise ValueError(f"{root}: YTID {twice[0]} is listed twice in {', '.join(LISTS)}: keep one")
    seconds = np.concatenate([one.seconds for one in lists])
    labels = sparse.vstack([one.labels for one in lists], format="csr")
    return names, mids, Segments(ids, seconds, labels), len(ids) - len(lists[-1].ids)


def _fields(path: Path, pattern: re.Pattern, form: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(line number, fields) of every line but headers; ValueError names a line of another form."""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.startswith(_HEADERS):
                continue
            match = pattern.fullmatch(line.rstrip())
            if not match:
                raise ValueError(f"{path}:{number}: expected {form}, found {line.rstrip()[:60]!r}")
            yield number, match.groups()


def read_classes(path: Path) -> tuple[tuple[str, ...], dict[str, int]]:
    """(display names in index order, MID -> index) of class_labels_indices.csv."""
    names, mids = [], {}
    for number, (index, mid, name) in _fields(path, _CLASS, "index,mid,display_name"):
        if index != str(len(names)) or mid in mids:
            raise ValueError(f"{path}:{number}: expected {len(names)},<a new MID>,<display name>")
        mids[mid] = len(names)
        names.append(name)
    return tuple(names), mids


def read_segments(path: Path, mids: dict[str, int]) -> Segments:
    """One of the segment lists: '#' lines, then ``YTID, start, end, "mid,mid"``.

    Raises ValueError, with file and line, at a malformed line and at a MID outside ``mids``.
    """
    ids, seconds, columns, ends = [], array("d"), array("i"), array("q", [0])
    for number, fields in _fields(path, _SEGMENT, 'YTID, start, end, "mid,mid"'):
        start, end = float(fields[1]), float(fields[2])
        if end <= start:
            raise ValueError(f"{path}:{number}: the segment ends before it starts")
        try:
            columns.extend(sorted({mids[mid] for mid in fields[3].split(",")}))
        except KeyError as error:
            raise ValueError(
                f"{path}:{number}: label {error} is not in {CLASSES}: both must be of one release "
                f"({PUBLISHED})"
            ) from None
        ids.append(f"{fields[0]}_{round(1000 * start)}")
        seconds.append(end - start)
        ends.append(len(columns))
    data = (np.ones(len(columns), np.uint8), np.array(columns), np.array(ends))
    return Segments(ids, np.array(seconds), sparse.csr_array(data, shape=(len(ids), len(mids))))


def read_strong(path: Path, labels: dict[str, str]) -> tuple[dict[str, list[Event]], int]:
    """(events by segment id, events left out) of a strong list; malformed: ValueError.

    ``labels`` gives the display name of a MID. The strong lists have labels outside the 527; a
    segment with none but these has an empty list.
    """
    events, left_out = {}, 0
    form = "segment id, start, end, MID between tabs"
    for _, (segment, onset, offset, mid) in _fields(path, _EVENT, form):
        mine = events.setdefault(segment, [])
        if mid in labels:
            mine.append(Event(labels[mid], float(onset), float(offset)))
        else:
            left_out += 1
    return events, left_out


def draw(labels: sparse.csr_array, present: np.ndarray, first_test: int, counts: dict) -> dict:
    """{split: rows} among the segments that are ``present``; counts: clips a split, 0 for all.

    A smaller train or test is the beginning of a larger one. ValueError where too few are there.
    """
    pool = np.random.default_rng([SEED, 0]).permutation(first_test)
    test = first_test + np.random.default_rng([SEED, 1]).permutation(len(present) - first_test)
    pool, test = pool[present[pool]], test[present[test]]
    held = hold_out(labels[pool], counts["validation"])
    splits = {"train": pool[~held], "validation": pool[held], "test": test}
    for name in ("train", "test"):
        there = len(splits[name])
        if counts[name] > there:
            raise ValueError(f"audioset: {name}={counts[name]}, but {there} recordings are there")
        splits[name] = splits[name][: counts[name] or None]
    return splits


def hold_out(labels: sparse.csr_array, count: int) -> np.ndarray:
    """(clips,) bool: ``count`` clips to hold out, the first ones after one of each class.

    The first clip of each class stays outside, the next of each goes in: both sides have every
    class. Raises ValueError where ``count`` can't do that.
    """
    clips = np.arange(labels.shape[0])
    kept = _one_of_each(labels, clips)
    held = _one_of_each(labels, np.setdiff1d(clips, kept))
    if not len(held) <= count <= len(clips) - len(kept):
        raise ValueError(
            f"audioset: validation={count}: with {len(clips)} training recordings give a number "
            f"from {len(held)} to {len(clips) - len(kept)}, so that both sides have every class"
        )
    spare = np.setdiff1d(clips, np.union1d(kept, held))
    return np.isin(clips, np.union1d(held, spare[: count - len(held)]))


def _one_of_each(labels: sparse.csr_array, clips: np.ndarray) -> np.ndarray:
    """The first of ``clips`` (ascending rows) that has a class, for all classes."""
    rows, classes = labels[clips].nonzero()
    return np.unique(clips[rows[np.unique(classes, return_index=True)[1]]])
