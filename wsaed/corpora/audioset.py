"""AudioSet as a `Corpus`: the official lists, a folder of audio, features in shards.

AUDIOSET names a folder, laid out as downloads usually leave it:

    balanced_train_segments.csv  unbalanced_train_segments.csv  eval_segments.csv
    class_labels_indices.csv  (all of these here or in metadata/)
    audioset_train_strong.tsv  audioset_eval_strong.tsv  (optional: events of validation and test)
    audio/ or audios/, with any folders below it (without either, the whole folder is searched)

A recording holds one segment, from the segment's start, and is found by its name: Y<YTID>.wav,
<YTID>.wav, <YTID>_<start in ms>.flac, <YTID>_<start>_<end>.ogg; any rate, any channels, any
format that libsndfile reads (WAV, FLAC, Ogg, Opus, MP3; not M4A or WebM: convert those).

Splits (SeCoST section 4): train is balanced + unbalanced without a held-out validation of 25,000
that has every class; test is eval. They are drawn once, by a fixed seed, among the segments whose
audio is there, so replicates differ in initialisation and order alone, and ``train: N`` is the
beginning of a larger N. Every file is decoded before it enters a split; what is missing, broken
or short is counted in ``about`` and listed in missing.tsv.

The full lists have 2,084,320 segments (published downloads hold about 94 % of them). Computed, as
clips x frames x mels x 2 bytes: 267 GB of features at 10 ms hop and 64 mels, 67 GB at 40 ms; and
1.1 GB of labels. Extrapolated from the processor time of ten-second stereo clips at 44.1 kHz on one
server core, 12.7 s per 1,000 clips of WAV, 18 s of FLAC, 24 s of Ogg: 7, 11 and 14 hours of one
core at 10 ms hop, divided by the cores as long as the disk keeps up (WAV: 3.7 TB to read). On
synthetic lists of that size, reading them and drawing the splits takes half a minute and 2.6 GB of
memory at its peak; looking through the audio folder comes on top, once.

``python -m wsaed.corpora.audioset --help`` makes it all ahead of a run, in parallel (JOBS) and
resumable: what is done is kept in CACHE/audioset. Notebook: start_here.ipynb.
"""

import argparse
import csv
import hashlib
import io
import json
import multiprocessing
import os
import random
import re
import shutil
import sys
import time
from array import array
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import soundfile
import torch
from filelock import FileLock
from scipy import sparse

from wsaed import corpora, progress
from wsaed.audio import resample
from wsaed.corpora import Corpus, Event, Shards, Split, cache_root
from wsaed.features import FRONT_ENDS, FrontEnd, log_mel

LISTS = ("balanced_train_segments.csv", "unbalanced_train_segments.csv", "eval_segments.csv")
CLASSES = "class_labels_indices.csv"
STRONG = {"validation": "audioset_train_strong.tsv", "test": "audioset_eval_strong.tsv"}
PUBLISHED = "research.google.com/audioset/download.html"
DEFAULTS = {"validation": 25_000, "train": None, "test": None, "front_end": None}
RATE = 16_000  # Hz, of `Split.waveform`
SEED = 25_000  # of the one split that all replicates share

_LINE = re.compile(r'([\w-]{11}),\s*([\d.]+),\s*([\d.]+),\s*"([^"]+)"\s*', re.ASCII)
_STRONG_LINE = re.compile(r"(\S{11}_\d+)\t([\d.]+)\t([\d.]+)\t(/[a-z]/\S+)\s*")
_STEM = re.compile(r"Y?([\w-]{11})(?:_\d[\d._-]*)?", re.ASCII)


class Segments(NamedTuple):
    """Segments in file order; ``labels`` is (segments, classes) sparse uint8, times in seconds."""

    ids: list[str]
    starts: np.ndarray
    seconds: np.ndarray
    labels: sparse.csr_array
    stated: int  # the number of segments that the file's own header gives, or the lines found


class Plan(NamedTuple):
    """What to load: rows of the three lists taken together, by split, in a fixed order."""

    root: Path
    names: tuple[str, ...]  # of the classes
    mids: dict[str, int]
    segments: Segments
    files: list[tuple[str, int]]  # (name within root, bytes) of a segment's audio, or ("", 0)
    splits: dict[str, np.ndarray]
    notes: list[str]
    key: str


def load(spec: dict, replicate: int) -> Corpus:
    """Train, validation and test of the AudioSet under the folder AUDIOSET.

    spec: ``validation`` (25000), ``train`` and ``test`` (a number of clips; 0 or None: all),
    ``front_end`` (make these features in the pass that checks the audio). ``replicate`` changes
    nothing here. clip_labels are a memory-mapped (clips, classes) uint8 array: as float32 they
    would take 4.3 GB in every process, so take the rows of a batch, then make them float.
    Test and validation have ``events`` where the strong lists are there, with None for a clip
    that they leave out. Raises ValueError or FileNotFoundError in one line.
    """
    return _corpus(_plan(spec), spec.get("front_end"))


def fingerprint(spec: dict) -> str:
    """Digest of a user's own AudioSet: the lists, and the audio's names and sizes."""
    root = _root()
    lists = [_find(root, name) for name in (*LISTS, CLASSES)]
    lists += [path for name in STRONG.values() if (path := _find(root, name, False))]
    parts = [hashlib.sha256(path.read_bytes()).hexdigest() for path in lists]
    return _digest(*parts, *(f"{name}\t{size}" for name, size in sorted(scan(root).items())))


# ------------------------------------------------------------------ the official lists


def read_classes(path: Path) -> tuple[tuple[str, ...], dict[str, int]]:
    """(display names in index order, MID -> index) of class_labels_indices.csv."""
    names, mids = [], {}
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        if next(reader, None) != ["index", "mid", "display_name"]:
            raise ValueError(f"{path}:1: expected the header index,mid,display_name")
        for row in reader:
            if len(row) != 3 or row[0] != str(len(names)) or row[1] in mids:
                raise ValueError(
                    f"{path}:{reader.line_num}: expected {len(names)},<a new MID>,<display name>"
                )
            mids[row[1]] = len(names)
            names.append(row[2])
    return tuple(names), mids


def read_segments(path: Path, mids: dict[str, int]) -> Segments:
    """One of the three segment lists: '#' lines, then ``YTID, start, end, "mid,mid"``.

    Raises ValueError, with file and line, at a malformed line and at a MID outside ``mids``.
    """
    ids, times, columns, ends, stated = [], array("d"), array("i"), array("q", [0]), 0
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.startswith("#"):
                found = re.search(r"num_segs=(\d+)", line)
                stated = int(found[1]) if found else stated
                continue
            match = _LINE.fullmatch(line)
            try:
                ytid, start, end, labels = match.groups()
                times.extend((float(start), float(end)))
                columns.extend([mids[mid] for mid in labels.split(",")])
            except KeyError as error:
                raise ValueError(
                    f"{path}:{number}: label {error} is not in {CLASSES}: both must be of one "
                    f"release ({PUBLISHED})"
                ) from None
            except (AttributeError, ValueError):
                raise ValueError(
                    f'{path}:{number}: expected YTID, start, end, "mid,mid", found '
                    f"{line.rstrip()[:60]!r}"
                ) from None
            if times[-1] <= times[-2]:
                raise ValueError(f"{path}:{number}: the segment ends before it starts")
            ids.append(ytid)
            ends.append(len(columns))
    starts, stops = np.array(times).reshape(-1, 2).T
    data = (np.ones(len(columns), np.uint8), np.array(columns), np.array(ends))
    labels = sparse.csr_array(data, shape=(len(ids), len(mids)))
    labels.sum_duplicates()
    labels.data[:] = 1
    return Segments(ids, starts, stops - starts, labels, stated or len(ids))


def read_strong(path: Path, labels: dict[str, str]) -> tuple[dict[str, list[Event]], int]:
    """(events by segment id ``<YTID>_<start in ms>``, events left out) of a strong list.

    ``labels`` gives the display name of a MID. The strong lists have labels outside the 527; a
    segment with none but these has an empty list. Malformed lines raise ValueError.
    """
    events, left_out = {}, 0
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            match = _STRONG_LINE.fullmatch(line)
            if match is None and number == 1 and line.startswith("segment_id\t"):
                continue
            try:
                segment, onset, offset, mid = match.groups()
                event = Event(labels.get(mid, ""), float(onset), float(offset))
            except (AttributeError, ValueError):
                raise ValueError(
                    f"{path}:{number}: expected segment id, start, end, MID between tabs, found "
                    f"{line.rstrip()[:60]!r}"
                ) from None
            mine = events.setdefault(segment, [])
            if event.label:
                mine.append(event)
            else:
                left_out += 1
    return events, left_out


# ------------------------------------------------------------------ the audio folder


def scan(root: Path, again: bool = False) -> dict[str, int]:
    """Bytes of every file under the audio folder, by its name within ``root``.

    Kept in the cache while no folder's time of change moves; ``again`` looks anew, which a file
    that was overwritten in place needs.
    """
    top = next((root / name for name in ("audio", "audios") if (root / name).is_dir()), root)
    kept = _base() / f"scan_{_digest(str(top.absolute()))}.json"
    if kept.exists() and not again:
        seen = json.loads(kept.read_text(encoding="utf-8"))
        with suppress(OSError):
            if all(os.stat(root / name).st_mtime_ns == t for name, t in seen["folders"].items()):
                return seen["files"]
    folders, files = {}, {}
    for folder, inner, names in os.walk(top, followlinks=True):
        here = Path(folder)
        inner[:] = [x for x in inner if x[0] != "." and here / x != cache_root()]
        relative = here.relative_to(root)
        folders[str(relative)] = here.stat().st_mtime_ns
        for name in names:
            with suppress(FileNotFoundError):  # a link to nothing counts as missing
                files[str(relative / name)] = os.stat(here / name).st_size
    kept.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{kept}.lock"):
        _write(kept, [json.dumps({"folders": folders, "files": files}).encode()])
    return files


def _locate(files: dict[str, int]) -> dict[str, tuple[str, int]]:
    """(name, bytes) of a YTID's recording; of several, one that can be decoded."""
    readable = {f".{name.lower()}" for name in soundfile.available_formats()} | {".opus", ".oga"}
    found = {}
    for name in sorted(files):
        stem, extension = os.path.splitext(name.rpartition(os.sep)[2])
        match = _STEM.fullmatch(stem)
        if match and (match[1] not in found or found[match[1]][0] > (extension not in readable)):
            found[match[1]] = (extension not in readable, name)
    return {ytid: (name, files[name]) for ytid, (_, name) in found.items()}


# ------------------------------------------------------------------ the splits


def _plan(spec: dict, rescan: bool = False) -> Plan:
    options = _options(spec)
    root = _root()
    names, mids = read_classes(_find(root, CLASSES))
    lists = [read_segments(_find(root, name), mids) for name in LISTS]
    ids = [ytid for one in lists for ytid in one.ids]
    if len(set(ids)) < len(ids):
        twice = next(i for i, n in zip(*np.unique(ids, return_counts=True), strict=True) if n > 1)
        raise ValueError(f"{root}: YTID {twice} is listed twice in {', '.join(LISTS)}: keep one")
    joined = [np.concatenate([one[k] for one in lists]) for k in (1, 2)]
    labels = sparse.vstack([one.labels for one in lists], format="csr")
    segments = Segments(ids, *joined, labels, sum(one.stated for one in lists))
    found = _locate(scan(root, rescan))
    files = [found.get(ytid, ("", 0)) for ytid in ids]
    present = np.array([bool(name) for name, _ in files], bool)
    if not present.any():
        raise FileNotFoundError(
            f"{root}: no audio for any of {len(ids)} segments: name it audio/Y<YTID>.wav or "
            "audio/<YTID>_<start in ms>.wav"
        )
    first_test = len(ids) - len(lists[-1].ids)
    pool = np.random.default_rng([SEED, 0]).permutation(first_test)
    test = first_test + np.random.default_rng([SEED, 1]).permutation(len(lists[-1].ids))
    pool, test = pool[present[pool]], test[present[test]]
    held = hold_out(labels[pool], options["validation"])
    train = _first(pool[~held], options["train"], "train")
    splits = {
        "train": train,
        "validation": pool[held],
        "test": _first(test, options["test"], "test"),
    }
    notes = [
        f"{name} has {len(one.ids):,} of the {one.stated:,} segments that its header states"
        for name, one in zip(LISTS, lists, strict=True)
        if one.stated != len(one.ids)
    ]
    key = _digest(
        fingerprint(spec), *(f"{k}={options[k]}" for k in ("validation", "train", "test"))
    )
    return Plan(root, names, mids, segments, files, splits, notes, key)


def hold_out(labels: sparse.csr_array, count: int) -> np.ndarray:
    """(clips,) bool: the ``count`` clips to hold out so that both sides have every class.

    The first clips in order, after one of each class, rarest first, was put on either side. A
    class with one clip stays outside. Raises ValueError where ``count`` can't do that.
    """
    free = np.ones(labels.shape[0], bool)
    kept = _one_of_each(labels, free)
    held = _one_of_each(labels, free)
    spare = np.flatnonzero(free)[: max(0, count - len(held))]
    if not len(held) <= count <= len(held) + len(spare):
        raise ValueError(
            f"validation={count}: with the {labels.shape[0]} training recordings that are there, "
            f"give a number from {len(held)} to {labels.shape[0] - len(kept)}, so that training "
            "and validation have every class"
        )
    mask = np.zeros(labels.shape[0], bool)
    mask[held] = mask[spare] = True
    return mask


def _one_of_each(labels: sparse.csr_array, free: np.ndarray) -> list[int]:
    """The first free clip of each class, rarest class first; they are no longer free."""
    by_class, chosen, covered = labels.tocsc(), [], np.zeros(labels.shape[1], bool)
    for k in np.argsort(np.diff(by_class.indptr), kind="stable"):
        rows = by_class.indices[by_class.indptr[k] : by_class.indptr[k + 1]]
        rows = rows[free[rows]]
        if len(rows) and not covered[k]:
            chosen.append(int(rows.min()))
            free[chosen[-1]] = False
            covered[labels.indices[labels.indptr[chosen[-1]] : labels.indptr[chosen[-1] + 1]]] = (
                True
            )
    return chosen


def _options(spec: dict) -> dict:
    unknown = sorted(set(spec) - {"name", *DEFAULTS})
    if unknown:
        raise ValueError(f"audioset has no option {unknown[0]!r}: it has {', '.join(DEFAULTS)}")
    options = DEFAULTS | {k: v for k, v in spec.items() if k != "name"}
    for name in ("validation", "train", "test"):
        value = 0 if options[name] is None else options[name]
        if type(value) is not int or value < (name == "validation"):
            raise ValueError(f"audioset: {name}={options[name]!r} is not a number of clips")
    if options["front_end"] not in (None, *FRONT_ENDS):
        raise ValueError(f"audioset: front_end is one of {', '.join(FRONT_ENDS)}")
    return options


def _first(rows: np.ndarray, count: int | None, name: str) -> np.ndarray:
    if (count or 0) > len(rows):
        raise ValueError(f"audioset: {name}={count}, but {len(rows)} recordings are there for it")
    return rows[: count or None]


# ------------------------------------------------------------------ decoding and features


def decode(path: Path) -> tuple[np.ndarray, int]:
    """One recording's mean over channels: ((samples,) float32, rate in Hz).

    Raises ValueError with the reason for a broken file: not audio, no sample, cut off (as far as
    its header or its coding tells; a cut Ogg file is only shorter), not finite.
    """
    content = path.read_bytes()
    if not content:
        raise ValueError("empty file")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            sizes = re.search(r"\bdata : (\d+) \(should be (\d+)\)", file.extra_info)
            declared, rate = file.frames, file.samplerate
            waveform = file.read(dtype="float32", always_2d=True).mean(axis=1)
    except soundfile.LibsndfileError as error:
        raise ValueError(error.error_string) from None
    if not len(waveform):
        raise ValueError("no samples")
    # writers to a pipe leave 0xFFFFFFFF there; MP3 lengths are estimates
    if len(waveform) < 0.95 * declared or (sizes and int(sizes[2]) < int(sizes[1]) < 0x7FFF0000):
        raise ValueError("cut off: it holds less than its header says")
    if not np.isfinite(waveform).all():
        raise ValueError("samples that are not finite")
    return waveform, rate


def _waveform(root: Path, clips: list[str], i: int) -> np.ndarray:
    return resample(*decode(root / clips[i]), RATE)


def _feature(waveform: np.ndarray, rate: int, front_end: FrontEnd) -> np.ndarray:
    waveform = waveform[: round(front_end.seconds * rate)]
    return log_mel(resample(waveform, rate, front_end.rate), front_end)


class Block(NamedTuple):
    """A shard's clips: names and lengths in seconds; its own name follows from them."""

    name: str
    clips: tuple[str, ...]
    seconds: tuple[float, ...]


def _blocks(plan: Plan, split: str) -> list[Block]:
    rows, blocks = plan.splits[split], []
    for cut in pairwise([*range(0, len(rows), corpora.SHARD), len(rows)]):
        mine = [(*plan.files[i], float(plan.segments.seconds[i])) for i in rows[slice(*cut)]]
        name = _digest(*map(str, mine))
        blocks.append(Block(name, *zip(*((clip, long) for clip, _, long in mine), strict=True)))
    return blocks


def _checked(block: Block) -> dict[str, tuple[str, str]] | None:
    """(state, detail) of a block's broken and short clips; None before they were decoded."""
    path = _base() / "checked" / f"{block.name}.tsv"
    if not path.exists():
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    return {clip: (state, detail) for clip, state, detail in (x.split("\t") for x in lines)}


def _folder(front_end: FrontEnd) -> Path:
    """The features' folder, after a check that today's code makes what is in it."""
    folder = _base() / "features" / _digest(repr(front_end))
    noise = np.random.default_rng(0).standard_normal(22_050).astype(np.float32) / 10
    now, kept = _feature(noise, 22_050, front_end), folder / "probe"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{kept}.lock"):
        if not kept.exists():
            _write(kept, [now.tobytes()])
    then = np.frombuffer(kept.read_bytes(), np.float16)
    if then.size != now.size or not np.allclose(then, now.ravel(), atol=0.05):
        raise ValueError(f"{folder}: features that other code made: delete this folder")
    return folder


def _make(root: Path, block: Block, front_end: FrontEnd | None, folder: Path) -> int:
    """Decode a block; keep what is wrong with it and, given a front end, its features.

    Only the lock's holder writes, to a partial file that is then moved into place whole.
    """
    torch.set_num_threads(1)
    target = folder / f"{block.name}.npy" if front_end else None
    lock = _base() / "checked" / f"{block.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        known = _checked(block)
        if known is not None and (target is None or target.exists()):
            return len(block.clips)
        wrong, rows = {}, []
        for clip, seconds in zip(block.clips, block.seconds, strict=True):
            try:
                waveform, rate = decode(root / clip)
            except ValueError as error:
                wrong[clip] = ("broken", " ".join(str(error).split()))
                continue
            except OSError as error:  # a lost disk must not make its recordings broken for good
                reason = error.strerror or error
                raise OSError(f"{root / clip}: {reason}: mend that and call again") from None
            if len(waveform) < 0.95 * seconds * rate:
                wrong[clip] = ("short", f"{len(waveform) / rate:.2f} s of {seconds:g} s, used")
            if front_end:
                rows.append(_feature(waveform, rate, front_end))
        if known is not None and known != wrong:
            clip = min(set(known.items()) ^ set(wrong.items()))[0]
            raise ValueError(
                f"{root / clip} changed since its check: delete all {block.name}.* in {_base()}"
            )
        if target:
            empty = np.empty((0, front_end.frames, front_end.mels), np.float16)
            content = io.BytesIO()
            np.save(content, np.stack(rows) if rows else empty)
            _write(target, [content.getbuffer()])
        lines = [f"{clip}\t{state}\t{detail}\n" for clip, (state, detail) in wrong.items()]
        _write(_base() / "checked" / f"{block.name}.tsv", [line.encode() for line in lines])
    return len(block.clips)


def build(root: Path, blocks: list[Block], front_end: FrontEnd | None) -> None:
    """Make what is missing of the blocks, JOBS (else all cores) at a time, resumable.

    Raises OSError in one line when the disk can't hold it.
    """
    folder = _folder(front_end) if front_end else _base()
    todo = [
        block
        for block in blocks
        if _checked(block) is None or (front_end and not (folder / f"{block.name}.npy").exists())
    ]
    if not todo:
        return
    total = sum(len(block.clips) for block in todo)
    needed = total * front_end.frames * front_end.mels * 2 / 1e9 if front_end else 0
    free = shutil.disk_usage(folder).free / 1e9
    if needed > free:
        raise OSError(f"{folder}: needs {needed:.1f} GB, {free:.1f} GB are free: set CACHE")
    random.Random(os.getpid()).shuffle(todo)  # processes that build at once meet seldom
    inside = multiprocessing.current_process().name != "MainProcess"  # of a pool that is in use
    jobs = 1 if inside else int(os.environ.get("JOBS") or joblib.cpu_count())
    calls = (joblib.delayed(_make)(root, block, front_end, folder) for block in todo)
    threads = torch.get_num_threads()
    try:
        with progress.bar(f"AudioSet, {total:,} clips", total) as bar:
            for done in joblib.Parallel(jobs, return_as="generator_unordered")(calls):
                bar(done)
    finally:
        torch.set_num_threads(threads)


def _features(root, blocks: list[Block], count: int, front_end, only: int | None = None) -> Shards:
    """`Split.features`: ``front_end`` is a `FrontEnd` or the name of one; ``only`` one shard."""
    front_end = FRONT_ENDS.get(front_end, front_end)
    folder = _folder(front_end)
    if only is None:
        build(root, blocks, front_end)
    else:
        blocks = blocks[only : only + 1]
        for block in blocks:
            _make(root, block, front_end, folder)
    shards = Shards(tuple(folder / f"{block.name}.npy" for block in blocks))
    if only is None and len(shards) != count:
        raise ValueError(f"{folder}: {len(shards)} rows for {count} clips: delete {_base()}")
    return shards


# ------------------------------------------------------------------ the corpus


def _corpus(plan: Plan, front_end: str | None) -> Corpus:
    blocks = {split: _blocks(plan, split) for split in plan.splits}
    together = [block for mine in blocks.values() for block in mine]
    build(plan.root, together, FRONT_ENDS.get(front_end))
    wrong = {clip: why for block in together for clip, why in _checked(block).items()}
    notes, splits = list(plan.notes), {}
    for name, rows in plan.splits.items():
        rows = np.array([i for i in rows if wrong.get(plan.files[i][0], "  ")[0] != "broken"], int)
        if not len(rows):
            raise ValueError(f"{plan.root}: no recording of {name} can be decoded")
        clips = [plan.files[i][0] for i in rows]
        labels = _labels(plan, rows, name)
        without = np.count_nonzero(plan.segments.labels[rows].sum(axis=0) == 0)
        notes += [f"{without} classes never occur in {name}"] if without else []
        events, note = _events(plan, rows, STRONG.get(name))
        notes += [note] if note else []
        features = partial(_features, plan.root, blocks[name], len(rows))
        waveform = partial(_waveform, plan.root, clips)
        splits[name] = Split(name, clips, events, labels, None, rows, features, waveform, RATE)
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in splits.items())
    about = f"AudioSet: {sizes} clips of {len(plan.names)} classes; {_list_missing(plan, wrong)}"
    return Corpus("audioset", plan.names, splits, "; ".join([about, *notes]) + ".")


def _labels(plan: Plan, rows: np.ndarray, split: str) -> np.ndarray:
    path = _base() / plan.key / f"{split}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            head = io.BytesIO()
            array = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), len(plan.names))}
            np.lib.format.write_array_header_1_0(head, array)
            parts = (rows[k : k + 50_000] for k in range(0, len(rows), 50_000))
            dense = (plan.segments.labels[part].toarray().tobytes() for part in parts)
            _write(path, chain([head.getvalue()], dense))
    return np.load(path, mmap_mode="r")


def _segment_id(plan: Plan, i: int) -> str:
    return f"{plan.segments.ids[i]}_{round(plan.segments.starts[i] * 1000)}"


def _events(plan: Plan, rows: np.ndarray, name: str | None) -> tuple[list | None, str]:
    path = _find(plan.root, name, False) if name else None
    if path is None:
        return None, ""
    strong, left_out = read_strong(path, {mid: plan.names[k] for mid, k in plan.mids.items()})
    events = [strong.get(_segment_id(plan, i)) for i in rows]
    known = sum(mine is not None for mine in events)
    note = (
        f"{name} gives events of {known:,} clips ({left_out:,} events have labels outside the list)"
    )
    return events, note


def _list_missing(plan: Plan, wrong: dict[str, tuple[str, str]]) -> str:
    """Write missing.tsv, once for these files and this spec; the counts in words."""
    path = _base() / plan.key / "missing.tsv"
    missing = [i for i, (name, _) in enumerate(plan.files) if not name]
    ytid = {plan.files[i][0]: i for rows in plan.splits.values() for i in rows}
    lines = ["segment\tstate\tfile\tdetail"]
    lines += [f"{_segment_id(plan, i)}\tmissing\t\t" for i in missing]
    lines += [
        f"{_segment_id(plan, ytid[clip])}\t{state}\t{clip}\t{detail}"
        for clip, (state, detail) in sorted(wrong.items())
    ]
    with FileLock(f"{path}.lock"):
        if not path.exists():
            _write(path, [f"{line}\n".encode() for line in lines])
    states = [state for state, _ in wrong.values()]
    return (
        f"of {len(plan.files):,} segments {len(missing):,} have no recording, "
        f"{states.count('broken'):,} a broken one (left out), {states.count('short'):,} a short "
        f"one (padded), listed in {path.relative_to(cache_root())} of the cache"
    )


def _base() -> Path:
    return cache_root() / "audioset"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]


def _write(path: Path, content: Iterable) -> None:
    """Write pieces of bytes to a file, moved into place whole; the caller holds its lock."""
    unfinished = path.with_name(f"{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(unfinished, "wb") as file:
            file.writelines(content)
        os.replace(unfinished, path)
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"{path}: {reason}: free space there or set CACHE, then call again") from None


def _root() -> Path:
    root = os.environ.get("AUDIOSET")
    if not root:
        raise ValueError("AUDIOSET is not set: give the folder that has the lists and the audio")
    return Path(root).absolute()


def _find(root: Path, name: str, needed: bool = True) -> Path | None:
    found = [path for path in (root / name, root / "metadata" / name) if path.is_file()]
    if needed and not found:
        raise FileNotFoundError(f"{root}: no {name}, nor in metadata/: fetch it from {PUBLISHED}")
    return found[0] if found else None


def main(arguments: list[str] | None = None) -> int:
    """Check all audio and make the features ahead of a run."""
    about, _, rest = __doc__.partition("\n\n")
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "wsaed.corpora.audioset", None, about, rest, formatter_class=form
    )
    for name in ("validation", "train", "test"):
        default = DEFAULTS[name]
        parser.add_argument(
            f"--{name}", type=int, default=default, help=f"clips ({default or 'all'})"
        )
    parser.add_argument("--front-end", default="secost", choices=sorted(FRONT_ENDS))
    parser.add_argument(
        "--rescan", action="store_true", help="look at every file of the folder anew"
    )
    given = vars(parser.parse_args(arguments))
    began, rescan = time.monotonic(), given.pop("rescan")
    try:
        plan = _plan(given, rescan)
        corpus = _corpus(plan, given["front_end"])
    except (ValueError, OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    clips, spent = sum(map(len, corpus.splits.values())), time.monotonic() - began
    print(corpus.about)
    print(f"{clips:,} clips are ready after {spent / 60:.1f} min", file=sys.stderr)
    return 0


if __name__ == "__main__":
    from wsaed.corpora import audioset  # the pool's workers find functions by this name

    sys.exit(audioset.main())
