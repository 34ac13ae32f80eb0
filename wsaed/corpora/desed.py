"""DESED, the set of DCASE 2019 task 4, as a `Corpus`: the official annotations and their audio.

DESED names a folder in the official layout, or one that has it in dataset/

    metadata/train/{synthetic,weak,unlabel_in_domain}.tsv   audio/train/{the same names}/
    metadata/validation/validation.tsv                      audio/validation/[validation/]
    metadata/eval/public.tsv                                audio/eval/public/

Annotations may also lie flat in the folder, be called .csv and lack their header; the synthetic
soundscapes may be those of 2020 or 2021, train/{synthetic20,synthetic21_train}/soundscapes. Audio
may have any rate and any channels, as WAV, FLAC, Ogg, Opus or MP3.

Splits: strong (synthetic), weak, unlabelled, validation and test (the public evaluation set), each
in a fixed order that its names' hashes give. Clips that were cut from one video share a group.

A spec has a number of clips for each split and ``front_end``, see `recordings.Reader.load`.
``python -m wsaed.corpora desed`` makes it all ahead of a run, in parallel (JOBS) and resumable:
what is done is kept in CACHE/desed. Notebook: start_here.ipynb.
"""

import re
from itertools import combinations, product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wsaed.corpora import Event, Split, digest_of, recordings
from wsaed.corpora.recordings import NAME, SECONDS, TIME, Clip, Listing, Reader
from wsaed.files import table

TABLE = table("corpora/readers.yaml")["desed"]
PUBLISHED, PLACES = TABLE["published"], TABLE["places"]
LABELS = tuple(sorted(table("corpora/desed.yaml")["clean"]["seconds"]))  # the ten classes

_EVENTS = "filename, onset, offset, event_label between tabs"
_STRONG = rf"{NAME}(?:\t{TIME}\t{TIME}\t([^\t]+)|\t*)", _EVENTS
_WEAK = rf"{NAME}\t([^\t]*)", "filename, event_labels between tabs"
_FORMS = {"weak": _WEAK, "unlabelled": (NAME, "a filename")}
_VIDEO = re.compile(r"Y?([\w-]{11})_(\d+(?:\.\d+)?)_(\d+(?:\.\d+)?)", re.ASCII)


class Annotations(NamedTuple):
    """What a list says of its clips, in its order.

    clips: file names; events: a list of `Event` a clip, or None where onsets are unknown;
    labels: the classes of each clip, from the events where there are events, or None.
    """

    clips: list[str]
    events: list[list[Event]] | None
    labels: list[list[str]] | None


def annotations(folder: str | Path) -> dict[str, Annotations]:
    """{split: `Annotations`} of the lists that are in a folder; needs no audio.

    Raises FileNotFoundError where there is no list, ValueError with file and line for a malformed
    line, an event that does not end after it starts, or a label outside `LABELS`.
    """
    found = {split: _find(Path(folder), split) for split in PLACES}
    if not any(found.values()):
        raise FileNotFoundError(f"{folder}: no list of DESED, such as metadata/train/weak.tsv")
    return {split: read(one[0], split) for split, one in found.items() if one}


def read(path: Path, split: str) -> Annotations:
    """One list. A clip on several lines is one clip, an event or a label given twice is one.

    A line that has a name and no event is a clip without events. Errors as in `annotations`.
    """
    clips: dict[str, dict] = {}
    for where, (name, *rest) in recordings.fields(path, *_FORMS.get(split, _STRONG)):
        mine = clips.setdefault(name, {})
        if split == "weak":
            given = (x.strip() for x in rest[0].split(","))
            mine |= {recordings.known(where, x, LABELS): None for x in given if x}
        elif any(rest):
            onset, offset, label = rest
            seconds = _video(name)[1]
            mine[recordings.event(where, label, onset, offset, LABELS, seconds)] = None
    if not clips or (split != "unlabelled" and not any(clips.values())):
        raise ValueError(f"{path}: no {'label' if clips else 'clip'} in it: fetch it again")
    found = None if split == "unlabelled" else [[*mine] for mine in clips.values()]
    if found is None or split == "weak":
        return Annotations([*clips], None, found)
    return Annotations([*clips], found, [[event.label for event in mine] for mine in found])


def files(sizes: dict[str, int]) -> dict[str, tuple[list[Path], dict]]:
    """{split: (its list, recordings by name)}; FileNotFoundError without the first."""
    root, found = recordings.root_of("DESED"), {}
    for split in sizes:
        path, place = _find(root, split) or (None, PLACES[split][0])
        if not path:
            raise FileNotFoundError(f"{root}: no metadata/{place}.tsv: {READER.get_it()}")
        found[split] = [path], recordings.found_in(root, _folders(place))
    return found


def listed(sizes: dict[str, int]) -> Listing:
    """As a `Reader` wants it."""
    root, videos = recordings.root_of("DESED"), {}
    found = Listing(LABELS, {}, {}, [], {})
    for split, ((path,), there) in files(sizes).items():
        (_, place), one, clips = _find(root, split), read(path, split), []
        for i, name in enumerate(one.clips):
            video, seconds, stem = _video(name)
            # one number a video, whatever the split
            group = videos.setdefault(video or (split, name), len(videos))
            of = root, *there.get(stem, (None, 0)), f"{split}/{name}", name, seconds
            events, labels = one.events and one.events[i], one.labels and one.labels[i]
            clips.append(Clip(*of, events, labels, group))
        found.splits[split] = sorted(clips, key=lambda clip: digest_of(clip.name))
        found.where[split] = f"{' or '.join(_folders(place))} of {root}"
        found.notes.extend([f"{split} is {place}"] if place != PLACES[split][0] else [])
    return found


def _video(name: str) -> tuple[str | None, float, str]:
    """(video, seconds, stem) of a clip's name; None and `SECONDS` where it does not say them."""
    file = recordings.FILE.fullmatch(name)
    stem = file[1] if file else name
    cut = _VIDEO.fullmatch(stem)
    seconds = float(cut[3]) - float(cut[2]) if cut else 0
    return cut and cut[1], seconds if seconds > 0 else SECONDS, stem


def _find(root: Path, split: str) -> tuple[Path, str] | None:
    """(a split's list, its place), or None."""
    first = PLACES[split][0]
    for base, place, end in product((root, root / "dataset"), PLACES[split], (".tsv", ".csv")):
        flat = [f"{Path(place).name}{end}"] if place == first else []
        for name in (f"metadata/{place}{end}", *flat):
            if (base / name).is_file():
                return base / name, place
    return None


def _folders(place: str) -> list[str]:
    """Where a place's audio may lie, within the root."""
    places = [place, "validation"] if place == "validation/validation" else [place]
    return [f"{base}audio/{x}" for base, x in product(("", "dataset/"), places)]


def shared(listing: Listing, splits: dict[str, Split]) -> list[str]:
    """Notes on videos in two splits."""
    both = [
        (a, b, len(np.intersect1d(splits[a].groups, splits[b].groups)))
        for a, b in combinations(splits, 2)
    ]
    return [f"videos in both {a} and {b}: {count:,}" for a, b, count in both if count]


SIZES = dict.fromkeys(PLACES, 0)
READER = Reader("desed", "DESED", __doc__, PUBLISHED, SIZES, files, listed, shared)
load, fingerprint = READER.load, READER.fingerprint
