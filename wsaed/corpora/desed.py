"""DESED, the set of DCASE 2019 task 4, as a `Corpus`: the official annotations and their audio.

DESED names a folder in the official layout, or one that has it in dataset/

    metadata/train/{synthetic,weak,unlabel_in_domain}.tsv   audio/train/{the same names}/
    metadata/validation/validation.tsv                      audio/validation/[validation/]
    metadata/eval/public.tsv                                audio/eval/public/

Annotations may also lie flat in the folder, be called .csv and lack their header; the synthetic
soundscapes may be those of 2020 or 2021, train/{synthetic20,synthetic21_train}/soundscapes. Audio
may have any rate and any channels, as WAV, FLAC, Ogg, Opus or MP3.

Splits: strong (synthetic), weak, unlabelled, validation and test (the public evaluation set), each
in a fixed order that its names' hashes give. Every file is decoded before it enters a split; what
is missing, broken or short is counted in ``about`` and listed in the cache.

``python -m wsaed.corpora.desed`` makes it all ahead of a run, in parallel (JOBS) and resumable:
what is done is kept in CACHE/desed. Notebook: start_here.ipynb.
"""

import hashlib
import re
from functools import partial
from itertools import chain, combinations, islice, product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wsaed.corpora import Corpus, Event, Split, recordings
from wsaed.files import table

LABELS = tuple(sorted(table("corpora/desed.yaml")["clean"]["seconds"]))  # the ten classes
# Where a split's annotations and audio lie below metadata/ and audio/, the set of 2019 first
PLACES = {
    "strong": (
        "train/synthetic",
        "train/synthetic20/soundscapes",
        "train/synthetic21_train/soundscapes",
    ),
    "weak": ("train/weak",),
    "unlabelled": ("train/unlabel_in_domain",),
    "validation": ("validation/validation",),
    "test": ("eval/public",),
}
DEFAULTS = dict.fromkeys(PLACES, 0)  # clips; 0: all
SECONDS = 10.0  # of a clip whose name does not say it
GET_IT = "`make data` says where it is published; or go without it by"

_EVENTS = "filename, onset, offset, event_label between tabs"
_FORMS = {"weak": "filename, event_labels between tabs", "unlabelled": "a filename"}
_SUFFIX = re.compile(rf"\.(?:{'|'.join(recordings.SUFFIXES)})$", re.I)
_VIDEO = re.compile(r"Y?([\w-]{11})_(\d+(?:\.\d+)?)_(\d+(?:\.\d+)?)", re.ASCII)


class Annotations(NamedTuple):
    """What a list says of its clips, in its order.

    clips: file names; events: a list of `Event` a clip, or None where onsets are unknown;
    clip_labels: (clips, 10) float32, from the events where there are events, or None.
    """

    clips: list[str]
    events: list[list[Event]] | None
    clip_labels: np.ndarray | None


def load(spec: dict, replicate: int) -> Corpus:
    """The splits of the DESED under the folder DESED.

    spec: ``strong``, ``weak``, ``unlabelled``, ``validation``, ``test`` (a number of clips, the
    first ones; 0 or None: all; -1 leaves the split out), ``front_end`` (make these features in the
    pass that checks the audio). ``replicate`` changes nothing here. Clips that were cut from one
    video share a group. Raises ValueError, FileNotFoundError or OSError in one line.
    """
    return _corpus(spec, jobs=1)  # a pool's processes call this at once, and share the work


def annotations(folder: str | Path) -> dict[str, Annotations]:
    """{split: `Annotations`} of the lists that are in a folder; needs no audio.

    Raises FileNotFoundError where there is no list, ValueError with file and line for a malformed
    line, an event that does not end after it starts, or a label outside `LABELS`.
    """
    root = Path(folder)
    found = {split: _find(root, split) for split in PLACES}
    if not any(found.values()):
        raise FileNotFoundError(f"{root}: no list of DESED, such as metadata/train/weak.tsv")
    return {split: read(one[0], split) for split, one in found.items() if one}


def fingerprint(spec: dict) -> str:
    """Digest of a user's own DESED: the lists, and the recordings' names and sizes."""
    parts, root = [], recordings.root_of("DESED")
    for split in recordings.sizes("desed", DEFAULTS, spec):
        path, place = _list(root, split)
        parts.append(hashlib.sha256(path.read_bytes()).hexdigest())
        parts.append(repr(sorted(recordings.found_in(root, _folders(place)).values())))
    return recordings.digest_of(*parts)


def read(path: Path, split: str) -> Annotations:
    """One list. A clip on several lines is one clip, an event or a label given twice is one.

    A line that has a name and no event is a clip without events. Errors as in `annotations`.
    """
    clips: dict[str, dict] = {}
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            fields = [field.strip() for field in line.split("\t")]
            if not line.strip() or fields[0] == "filename":
                continue
            found = _parsed(fields, split)
            if found is None:
                form = _FORMS.get(split, _EVENTS)
                raise ValueError(f"{path}:{number}: expected {form}, found {line.rstrip()[:60]!r}")
            for label, *_ in found:
                if label not in LABELS:
                    names = ", ".join(LABELS)
                    raise ValueError(f"{path}:{number}: label {label!r} is none of {names}")
            clips.setdefault(fields[0], {}).update(dict.fromkeys(found))
    if not clips or (split != "unlabelled" and not any(clips.values())):
        raise ValueError(f"{path}: no {'label' if clips else 'clip'} in it: fetch it again")
    events = [list(found) for found in clips.values()]
    if split == "unlabelled":
        return Annotations([*clips], None, None)
    given = [{x[0] for x in found} for found in events]
    labels = np.array([[label in mine for label in LABELS] for mine in given], np.float32)
    return Annotations([*clips], None if split == "weak" else events, labels)


def _parsed(fields: list[str], split: str) -> list[tuple] | None:
    """The (label,) or `Event` that a line gives, [] for none; None where it has another form."""
    name, *rest = fields
    if not name or "," in name:  # a list between commas
        return None
    if split == "weak":
        return [(x.strip(),) for x in rest[0].split(",") if x.strip()] if len(rest) == 1 else None
    if not any(rest):
        return []
    try:
        onset, offset, label = rest
        event = Event(label, float(onset), float(offset))
    except ValueError:
        return None
    right = split != "unlabelled" and label and 0 <= event.onset < event.offset < np.inf
    return [event] if right else None


def _find(root: Path, split: str) -> tuple[Path, str] | None:
    """(a split's list, its place), or None."""
    first = PLACES[split][0]
    for base, place, end in product((root, root / "dataset"), PLACES[split], (".tsv", ".csv")):
        flat = [f"{Path(place).name}{end}"] if place == first else []
        for name in (f"metadata/{place}{end}", *flat):
            if (base / name).is_file():
                return base / name, place
    return None


def _list(root: Path, split: str) -> tuple[Path, str]:
    found = _find(root, split)
    if not found:
        place = PLACES[split][0]
        raise FileNotFoundError(f"{root}: no metadata/{place}.tsv: {GET_IT} {split}=-1 in the spec")
    return found


def _folders(place: str) -> list[str]:
    """Where a place's audio may lie, within the root."""
    places = [place, "validation"] if place == "validation/validation" else [place]
    return [f"{base}audio/{x}" for base, x in product(("", "dataset/"), places)]


def _stem(name: str) -> str:
    """A file name without the suffix of an audio format, if it has one."""
    return _SUFFIX.sub("", name)


def _corpus(spec: dict, jobs: int) -> Corpus:
    sizes, root = recordings.sizes("desed", DEFAULTS, spec), recordings.root_of("DESED")
    lists, rows, missing, notes = {}, {}, [], []
    for split, size in sizes.items():
        path, place = _list(root, split)
        notes += [f"{split} is {place}"] if place != PLACES[split][0] else []
        lists[split] = read(path, split)
        rows[split], absent = _recorded(root, split, place, lists[split].clips, size)
        missing += absent
    blocks = {split: recordings.blocks_of([*mine.values()]) for split, mine in rows.items()}
    together = [*chain(*blocks.values())]
    wrong = recordings.check("DESED", root, together, spec.get("front_end"), jobs)
    broken = {clip for clip, state, *_ in wrong if state == "broken"}
    groups, splits = _groups(lists), {}
    for split, (clips, events, labels) in lists.items():
        kept = [i for i, clip in rows[split].items() if clip[0] not in broken]
        if not kept:
            raise ValueError(f"{root}: no recording of {split} can be decoded: fetch them again")
        splits[split] = Split(
            split,
            [clips[i] for i in kept],
            None if events is None else [events[i] for i in kept],
            None if labels is None else labels[kept],
            None,
            groups[split][kept],
            partial(recordings.features, "DESED", root, blocks[split]),
            partial(recordings.waveform, root, [rows[split][i][1] for i in kept]),
            recordings.RATE,
        )
    total = sum(len(one.clips) for one in lists.values())
    counts = ", ".join(f"{len(split):,} {name}" for name, split in splits.items())
    about = [f"DESED: {counts} clips of {len(LABELS)} classes"]
    about += [recordings.told("DESED", "clips", total, missing, wrong), *notes, *_remarks(splits)]
    return Corpus("desed", LABELS, splits, "; ".join(about) + ".")


def _recorded(
    root: Path, split: str, place: str, clips: list[str], size: int
) -> tuple[dict[int, tuple], list[str]]:
    """({row: clip as `recordings` wants it} in the order of the names' hashes, names missing)."""
    folders, there, missing = _folders(place), {}, []
    found = recordings.found_in(root, folders)
    for i in sorted(range(len(clips)), key=lambda i: hashlib.sha256(clips[i].encode()).digest()):
        stem, name = _stem(clips[i]), f"{split}/{clips[i]}"
        cut = _VIDEO.fullmatch(stem)
        if stem in found:
            there[i] = name, *found[stem], float(cut[3]) - float(cut[2]) if cut else SECONDS
        else:
            missing.append(name)
    if not there:
        where = f"no recording of any of {len(clips)} {split} clips in {' or '.join(folders)}"
        raise FileNotFoundError(f"{root}: {where}: {GET_IT} {split}=-1 in the spec")
    if size > len(there):
        raise ValueError(f"desed: {split}={size}, but {len(there)} recordings are there")
    return dict(islice(there.items(), size or None)), missing


def _groups(lists: dict[str, Annotations]) -> dict[str, np.ndarray]:
    """{split: (clips,) int}: one number a video, whatever the split; a clip of no video its own."""
    numbers, groups = {}, {}
    for split, one in lists.items():
        videos = [_VIDEO.fullmatch(_stem(clip)) for clip in one.clips]
        keys = [v[1] if v else (split, c) for v, c in zip(videos, one.clips, strict=True)]
        groups[split] = np.array([numbers.setdefault(key, len(numbers)) for key in keys])
    return groups


def _remarks(splits: dict[str, Split]) -> list[str]:
    """What a reader must know: splits left out, classes that never occur, videos in two splits."""
    without = [name for name in PLACES if name not in splits]
    remarks = [f"the spec leaves out {', '.join(without)}"] if without else []
    for name, split in splits.items():
        if split.clip_labels is not None and not (occurs := split.clip_labels.any(0)).all():
            absent = [label for label, there in zip(LABELS, occurs, strict=True) if not there]
            remarks.append(f"{name} has no {', '.join(absent)}")
    for (a, one), (b, other) in combinations(splits.items(), 2):
        if shared := len(np.intersect1d(one.groups, other.groups)):
            remarks.append(f"videos in both {a} and {b}: {shared:,}")
    return remarks


def main(arguments: list[str] | None = None) -> None:
    """Check all audio and make features ahead of a run; errors are one line and exit 1."""
    recordings.command("DESED", __doc__, DEFAULTS, _corpus, arguments)


if __name__ == "__main__":
    main()
