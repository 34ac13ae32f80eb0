"""URBAN-SED v2 (Salamon et al., WASPAA 2017) as a `Corpus`: its annotations and its audio.

URBAN_SED names a folder in the published layout, or one that has it in URBAN-SED_v2.0.0/

    annotations/{train,validate,test}/soundscape_*.jams and soundscape_*.txt
    audio/{train,validate,test}/soundscape_*.wav

A soundscape's events stand in its JAMS file (namespace scaper, where the background is one more
event) and in its text file (onset, offset, label between tabs, no header). One of the two
suffices; where both are there, they must agree. JAMS alone names the source of an event and its
signal-to-noise ratio. Audio may have any rate and any channels, as WAV, FLAC, Ogg, Opus or MP3.

Splits: train, validation (validate) and test, all with events, each in a fixed order that its
names' hashes give. UrbanSound8K's folds 1-6, 7-8 and 9-10 keep their sources apart. Every file is
decoded before it enters a split; what is missing, broken or short is counted in ``about`` and
listed in the cache.

``python -m wsaed.corpora.urban_sed`` makes it all ahead of a run, in parallel (JOBS) and
resumable: what is done is kept in CACHE/urban_sed. Notebook: start_here.ipynb.
"""

import hashlib
import json
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from wsaed.corpora import Corpus, Event, Split, recordings

LABELS = (
    "air_conditioner",
    "car_horn",
    "children_playing",
    "dog_bark",
    "drilling",
    "engine_idling",
    "gun_shot",
    "jackhammer",
    "siren",
    "street_music",
)
FOLDERS = {"train": "train", "validation": "validate", "test": "test"}
DEFAULTS = dict.fromkeys(FOLDERS, 0)  # clips; 0: all
SECONDS = 10.0
AGREE = 1e-3  # s, between a soundscape's two annotations


def load(spec: dict, replicate: int) -> Corpus:
    """The splits of the URBAN-SED under the folder URBAN_SED.

    spec: ``train``, ``validation``, ``test`` (a number of clips, the first ones; 0 or None: all;
    -1 leaves the split out), ``front_end`` (make these features in the pass that checks the
    audio). ``replicate`` changes nothing here. Every clip is a group of its own, since nearly all
    share some source. Raises ValueError, FileNotFoundError or OSError in one line.
    """
    return _corpus(spec, jobs=1)  # a pool's processes call this at once, and share the work


def fingerprint(spec: dict) -> str:
    """Digest of a user's own URBAN-SED: the annotations, and the recordings' names and sizes."""
    parts, home = [], root()
    for split in recordings.sizes("urban_sed", DEFAULTS, spec):
        paths = [x for pair in _annotation_files(home, split).values() for x in pair.values()]
        parts += [f"{x.name} {hashlib.sha256(x.read_bytes()).hexdigest()}" for x in sorted(paths)]
        parts.append(repr(sorted(find_recordings(home, split).values())))
    return recordings.digest_of(*parts)


def root() -> Path:
    """The folder that holds annotations/ and audio/; ValueError where URBAN_SED is not set."""
    home = recordings.root_of("URBAN_SED")
    inner = home / "URBAN-SED_v2.0.0"
    return inner if inner.is_dir() else home


def annotations(home: Path, split: str) -> dict[str, list[Event]]:
    """{clip's name without suffix: its events in order} of a split; needs no audio.

    The clips come in the order of their names' hashes. Raises FileNotFoundError where there is
    no annotation, ValueError with file and line (JAMS: number of the event) for a malformed one,
    for a label outside `LABELS` and for two annotations that differ.
    """
    files, found = _annotation_files(home, split), {}
    for clip in sorted(files, key=lambda clip: hashlib.sha256(clip.encode()).digest()):
        paths = files[clip]
        events = [READERS[suffix](path) for suffix, path in sorted(paths.items())]
        if len(events) == 2 and not _agree(*events):
            jams, txt = (paths[suffix].name for suffix in (".jams", ".txt"))
            raise ValueError(f"{paths['.txt']}: {txt} and {jams} differ: fetch both again")
        found[clip] = events[0]
    return found


def _annotation_files(home: Path, split: str) -> dict[str, dict[str, Path]]:
    """{clip: {suffix: path}}, for one or both suffixes."""
    files, folder = {}, home / "annotations" / FOLDERS[split]
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix in READERS:
            files.setdefault(path.stem, {})[path.suffix] = path
    if not files:
        where = f"{home}: no .jams or .txt in annotations/{FOLDERS[split]}"
        raise FileNotFoundError(f"{where}: `make data` says where URBAN-SED is published")
    return files


def read_txt(path: Path) -> list[Event]:
    """Events of one soundscape's text file, in order. Errors as in `annotations`."""
    events = []
    for number, line in enumerate(path.read_text("utf-8-sig", "replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            onset, offset, label = line.split("\t")
            span = float(onset), float(offset)
        except ValueError:
            form = "onset, offset, label between tabs"
            raise ValueError(f"{path}:{number}: expected {form}, found {line[:60]!r}") from None
        events.append(_event(f"{path}:{number}", label.strip(), *span))
    return sorted(events, key=_place)


def read_jams(path: Path) -> list[Event]:
    """Foreground events of one soundscape's JAMS file, in order. Errors as in `annotations`.

    An event lasts as long as its observation does: the value's event_duration is the source's,
    before any stretching.
    """
    try:
        written = json.loads(path.read_text("utf-8-sig", "replace"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not JSON ({error.msg}): fetch it again") from None
    try:
        (data,) = (x["data"] for x in written["annotations"] if x["namespace"] == "scaper")
    except (ValueError, KeyError, TypeError):
        form = "one annotation of the namespace scaper, as in version 2"
        raise ValueError(f"{path}: expected {form}: fetch it again") from None
    events = []
    for number, seen in enumerate(data, 1):
        where = f"{path}: event {number}"
        try:
            value, onset, lasts = seen["value"], float(seen["time"]), float(seen["duration"])
            label, role = value["label"], value["role"]
            source, snr = Path(value["source_file"]).stem, float(value["snr"])
        except (KeyError, TypeError, ValueError):
            form = "time, duration, value with label, role, source_file, snr"
            raise ValueError(f"{where}: expected {form}: fetch it again") from None
        if role == "foreground":
            event = _event(where, label, onset, onset + lasts)
            events.append(event._replace(source=source, snr=snr))
    return sorted(events, key=_place)


READERS = {".jams": read_jams, ".txt": read_txt}


def _event(where: str, label: str, onset: float, offset: float) -> Event:
    """An event, cut at the soundscape's end, which rounding may exceed."""
    if label not in LABELS:
        raise ValueError(f"{where}: label {label!r} is none of {', '.join(LABELS)}")
    if not 0 <= onset < min(offset, SECONDS) or offset > SECONDS + AGREE:
        raise ValueError(f"{where}: from {onset:g} to {offset:g} s is no event in {SECONDS:g} s")
    return Event(label, onset, min(offset, SECONDS))


def _place(event: Event) -> tuple:
    return event.label, event.onset, event.offset


def _agree(one: list[Event], other: list[Event]) -> bool:
    """Whether two lists, both sorted by `_place`, say the same."""
    return len(one) == len(other) and all(
        a.label == b.label and max(abs(a.onset - b.onset), abs(a.offset - b.offset)) <= AGREE
        for a, b in zip(one, other, strict=True)
    )


def find_recordings(home: Path, split: str) -> dict[str, tuple[str, int]]:
    """{clip's name without suffix: (file within ``home``, bytes)}."""
    return recordings.found_in(home, [f"audio/{FOLDERS[split]}"])


def clip_labels(events: list[list[Event]], labels: tuple[str, ...]) -> np.ndarray:
    """(clips, classes) float32: which of ``labels`` each clip's events have."""
    index = {label: k for k, label in enumerate(labels)}
    found = np.zeros((len(events), len(labels)), np.float32)
    for row, mine in zip(found, events, strict=True):
        row[[index[event.label] for event in mine]] = 1
    return found


def _corpus(spec: dict, jobs: int) -> Corpus:
    sizes, home, missing, blocks = recordings.sizes("urban_sed", DEFAULTS, spec), root(), [], {}
    events = {split: annotations(home, split) for split in sizes}
    for split, size in sizes.items():
        there = find_recordings(home, split)
        clips = [(clip, *there[clip], SECONDS) for clip in events[split] if clip in there]
        missing += [clip for clip in events[split] if clip not in there]
        if not clips:
            folder = f"audio/{FOLDERS[split]}"
            raise FileNotFoundError(
                f"{home}: no recording of any of {len(events[split])} {split} clips in {folder}: "
                f"fetch them, or go without by {split}=-1 in the spec"
            )
        if size > len(clips):
            raise ValueError(f"urban_sed: {split}={size}, but {len(clips)} recordings are there")
        blocks[split] = recordings.blocks_of(clips[: size or None])
    together = [*chain(*blocks.values())]
    wrong = recordings.check("urban_sed", home, together, spec.get("front_end"), jobs)
    broken = {clip for clip, state, *_ in wrong if state == "broken"}
    splits = {}
    for split, mine in blocks.items():
        kept = [clip for clip in chain(*mine) if clip[0] not in broken]
        if not kept:
            raise ValueError(f"{home}: no recording of {split} can be decoded: fetch them again")
        splits[split] = _split(split, home, mine, kept, events[split])
    total = sum(map(len, events.values()))
    counts = ", ".join(f"{len(split):,} {name}" for name, split in splits.items())
    about = [f"URBAN-SED: {counts} clips of {len(LABELS)} classes"]
    about += [recordings.told("urban_sed", "clips", total, missing, wrong), *_remarks(splits)]
    return Corpus("urban_sed", LABELS, splits, "; ".join(about) + ".")


def _split(name: str, home: Path, blocks: list, kept: list[tuple], events: dict) -> Split:
    mine = [events[clip] for clip, *_ in kept]
    files = [file for _, file, *_ in kept]
    labels, groups = clip_labels(mine, LABELS), len(DEFAULTS) * np.arange(len(kept))
    return Split(
        name,
        [Path(file).name for file in files],
        mine,
        labels,
        labels,
        groups + [*DEFAULTS].index(name),
        partial(recordings.features, "urban_sed", home, blocks),
        partial(recordings.waveform, home, files),
        recordings.RATE,
    )


def _remarks(splits: dict[str, Split]) -> list[str]:
    """What a reader must know: splits left out, classes that never occur."""
    without = [name for name in DEFAULTS if name not in splits]
    remarks = [f"the spec leaves out {', '.join(without)}"] if without else []
    for name, split in splits.items():
        occurs = split.clip_labels.any(0)
        absent = [label for label, there in zip(LABELS, occurs, strict=True) if not there]
        remarks += [f"{name} has no {', '.join(absent)}"] if absent else []
    return remarks


def main(arguments: list[str] | None = None) -> None:
    """Check all audio and make features ahead of a run; errors are one line and exit 1."""
    recordings.command("urban_sed", __doc__, DEFAULTS, _corpus, arguments)


if __name__ == "__main__":
    main()
