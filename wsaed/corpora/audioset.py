"""AudioSet as a `Corpus`: the official lists, a folder of audio, features in shards.

AUDIOSET names a folder with the lists as they are published

    balanced_train_segments.csv  unbalanced_train_segments.csv  eval_segments.csv
    class_labels_indices.csv
    audioset_train_strong.tsv  audioset_eval_strong.tsv  (optional: events of validation and test)

and, in any folders below it, the recordings. A recording holds one segment, from the segment's
start, and is found by its name: Y<YTID>.wav, <YTID>.wav, <YTID>_<start in ms>.flac,
<YTID>_<start>_<end>.ogg; any rate, any channels, WAV, FLAC, Ogg, Opus or MP3 (convert M4A and
WebM).

Splits (SeCoST section 4): train is balanced + unbalanced without a held-out validation of 25,000
that has every class; test is eval. They are drawn once, by a fixed seed, among the segments whose
audio is there, so replicates differ in initialisation and order alone. Every file is decoded
before it enters a split; what is missing, broken or short is counted in ``about`` and listed in
the cache.

The full lists have 2,084,320 segments (published downloads hold about 94 % of them). Computed, as
clips x frames x mels x 2 bytes: 267 GB of features at 10 ms hop and 64 mels, 53 GB at 50 ms; and
1.1 GB of labels. Extrapolated from the processor time of 55 ten-second stereo clips at 44.1 kHz on
one busy server core, 17 s per 1,000 clips of WAV, 20 s of FLAC, 33 s of Ogg: 10, 11 and 19 hours
of one core at 10 ms hop, divided by the cores as long as the disk keeps up (WAV: 3.7 TB to read).
On synthetic lists of that size, reading them and drawing the splits takes half a minute and 2.7 GB
of memory at its peak, in every process; looking through the folder comes on top.

``python -m wsaed.corpora.audioset`` makes it all ahead of a run, in parallel (JOBS) and resumable:
what is done is kept in CACHE/audioset. Notebook: start_here.ipynb.
"""

import argparse
import hashlib
import os
import random
import re
import sys
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path

import joblib
import numpy as np
import soundfile
import torch
from filelock import FileLock

from wsaed import audio, corpora, progress
from wsaed.code import digest
from wsaed.corpora import Corpus, Shards, Split, audioset_lists, cache_root
from wsaed.features import FRONT_ENDS, FrontEnd, log_mel

DEFAULTS = {"validation": 25_000, "train": 0, "test": 0}
RATE = 16_000  # Hz, of `Split.waveform`

_NAME = re.compile(r"Y?([\w-]{11})(?:_\d[\d._-]*)?\.(?:wav|flac|ogg|oga|opus|mp3)", re.ASCII | re.I)


def load(spec: dict, replicate: int) -> Corpus:
    """Train, validation and test of the AudioSet under the folder AUDIOSET.

    spec: ``validation`` (25000), ``train`` and ``test`` (a number of clips; 0: all), ``front_end``
    (make these features in the pass that checks the audio). ``replicate`` changes nothing here.
    clip_labels are (clips, classes) uint8, a quarter of float32's memory. Test and validation have
    ``events`` where the strong lists are there, with None for a clip that they leave out. Raises
    ValueError, FileNotFoundError or OSError in one line.
    """
    return _corpus(spec, jobs=1)  # a pool's processes call this at once, and share the work


def fingerprint(spec: dict) -> str:
    """Digest of a user's own AudioSet: the lists, and the recordings' names and sizes."""
    root = _root()
    lists = [audioset_lists.find(root, x) for x in (*audioset_lists.LISTS, audioset_lists.CLASSES)]
    lists += [root / x for x in audioset_lists.STRONG.values() if (root / x).is_file()]
    parts = [hashlib.sha256(path.read_bytes()).hexdigest() for path in lists]
    return _digest(*parts, repr(sorted(recordings(root).values())))


def recordings(root: Path) -> dict[str, tuple[str, int]]:
    """{YTID: (name within root, bytes)} of the recordings anywhere under ``root``."""
    found = {}
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            match, path = _NAME.fullmatch(name), os.path.join(folder, name)
            if match and os.path.isfile(path):  # a link to nothing counts as missing
                one = (os.path.relpath(path, root), os.path.getsize(path))
                found[match[1]] = min(one, found.get(match[1], one))
    return found


def decode(path: Path) -> tuple[np.ndarray, int]:
    """One recording's mean over channels: ((samples,) float32, rate in Hz).

    Raises OSError in one line when the disk fails, ValueError for a broken file: not audio, no
    sample, not finite, cut off as far as its header tells (a cut Ogg file is only shorter).
    """
    try:
        path.read_bytes()  # apart, so that a lost disk does not make its recordings broken for good
    except OSError as error:
        raise OSError(f"{path}: {error.strerror}: mend that and call again") from None
    waveform, rate = audio.read(path)
    about = soundfile.info(path)
    sizes = re.search(r"\bdata : (\d+) \(should be (\d+)\)", about.extra_info)
    # writers to a pipe leave 0xFFFFFFFF there; MP3 lengths are estimates
    cut = sizes and int(sizes[2]) < int(sizes[1]) < 0x7FFF0000
    if cut or len(waveform) < 0.95 * about.frames:
        raise ValueError(f"{path}: cut off, it holds less than its header says; fetch it again")
    return waveform, rate


def _waveform(root: Path, clips: list[str], i: int) -> np.ndarray:
    return audio.resample(*decode(root / clips[i]), RATE)


# A block is what one shard is made of: up to SHARD tuples (segment id, name, bytes, seconds).


def _paths(block: list[tuple], front_end: FrontEnd | None) -> tuple[Path, Path | None]:
    """(list of what is wrong in the block, its features): named by all that they depend on."""
    base, name = cache_root() / "audioset", _digest(repr(block))
    checked = base / "checked" / f"{name}.tsv"
    if front_end is None:
        return checked, None
    made_by = _digest(repr(front_end), digest(("wsaed.features", "wsaed.audio")))
    return checked, base / "features" / made_by / f"{name}.npy"


def _make(root: Path, block: list[tuple], front_end: FrontEnd | None) -> int:
    """Decode a block under its lock; keep what is wrong and, given a front end, the features."""
    torch.set_num_threads(1)
    checked, shard = _paths(block, front_end)
    checked.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{checked}.lock"):
        if checked.exists() and (shard is None or shard.exists()):
            return len(block)
        wrong, rows = [], []
        for segment, clip, _, seconds in block:
            try:
                waveform, rate = decode(root / clip)
            except ValueError as error:
                reason = " ".join(str(error).removeprefix(f"{root / clip}: ").split())
                wrong.append(f"{segment}\tbroken\t{clip}\t{reason}\n")
                continue
            if len(waveform) < 0.95 * seconds * rate:
                detail = f"{len(waveform) / rate:.2f} s of {seconds:g} s, used"
                wrong.append(f"{segment}\tshort\t{clip}\t{detail}\n")
            if shard:
                rows.append(log_mel(audio.resample(waveform, rate, front_end.rate), front_end))
        text = "".join(wrong)
        known = checked.read_text(encoding="utf-8") if checked.exists() else text
        if known.count("\tbroken\t") != text.count("\tbroken\t"):
            where = cache_root() / "audioset"
            raise ValueError(f"{root}: recordings changed since their check: delete {where}")
        if shard:
            rows = np.array(rows, np.float16).reshape(-1, front_end.frames, front_end.mels)
            _write(shard, partial(np.save, arr=rows))
        _write(checked, lambda file: file.write(text.encode()))
    return len(block)


def build(root: Path, blocks: list[list[tuple]], front_end: FrontEnd | None, jobs: int = 1) -> None:
    """Make what is missing of the blocks, ``jobs`` at a time; resumable.

    Processes that build the same blocks at once share the work, a kill costs at most a block.
    """
    todo = [x for x in blocks if not all(p is None or p.exists() for p in _paths(x, front_end))]
    if not todo:
        return
    random.Random(os.getpid()).shuffle(todo)  # so that other processes seldom wait for this one
    calls = (joblib.delayed(_make)(root, block, front_end) for block in todo)
    total = sum(map(len, todo))
    with progress.bar("AudioSet", total, "clips") as bar:
        for done in joblib.Parallel(jobs, return_as="generator_unordered")(calls):
            bar(done)


def _features(root: Path, blocks: list, front_end: FrontEnd, only: int | None = None) -> Shards:
    """`Split.features`; ``only`` makes that one shard and no other."""
    blocks = blocks if only is None else blocks[only : only + 1]
    build(root, blocks, front_end)
    return Shards(tuple(_paths(block, front_end)[1] for block in blocks))


def _counts(spec: dict) -> dict[str, int]:
    """Clips by split, 0 for all, after a check of the whole spec."""
    counts = DEFAULTS | {name: n for name, n in spec.items() if name not in ("name", "front_end")}
    for name, n in counts.items():
        if name not in DEFAULTS or type(n) is not int or n < 0:
            options = ", ".join(DEFAULTS)
            raise ValueError(f"audioset: {name}={n!r}: give {options} as numbers of clips, 0: all")
    if spec.get("front_end") not in (None, *FRONT_ENDS):
        raise ValueError(f"audioset: front_end is one of {', '.join(FRONT_ENDS)}")
    return counts


def _corpus(spec: dict, jobs: int) -> Corpus:
    counts, root = _counts(spec), _root()
    names, mids, segments, first_test = audioset_lists.read(root)
    found = recordings(root)
    files = [found.get(segment[:11]) for segment in segments.ids]
    present = np.array([file is not None for file in files])
    if not present.any():
        raise FileNotFoundError(
            f"{root}: no recording of any of {len(files)} segments: name it Y<YTID>.wav or "
            "<YTID>_<start in ms>.wav (or .flac, .ogg, .opus, .mp3)"
        )
    drawn = audioset_lists.draw(segments.labels, present, first_test, counts)
    long = segments.seconds.tolist()
    blocks = {}
    for split, rows in drawn.items():
        clips = [(segments.ids[i], *files[i], long[i]) for i in rows]
        starts = range(0, len(clips), corpora.SHARD)
        blocks[split] = [clips[k : k + corpora.SHARD] for k in starts]
    together = [*chain(*blocks.values())]
    build(root, together, FRONT_ENDS.get(spec.get("front_end")), jobs)
    wrong = [_paths(block, None)[0].read_text(encoding="utf-8") for block in together]
    wrong = [line.split("\t") for text in wrong for line in text.splitlines()]
    broken = {segment for segment, state, *_ in wrong if state == "broken"}
    notes, splits = [], {}
    for name, rows in drawn.items():
        rows = np.array([i for i in rows if segments.ids[i] not in broken], int)
        if not len(rows):
            raise ValueError(f"{root}: no recording of {name} is there and can be decoded")
        clips, labels = [files[i][0] for i in rows], segments.labels[rows].toarray()
        without = np.count_nonzero(~labels.any(0))
        notes += [f"{without} classes never occur in {name}"] if without else []
        strong = root / audioset_lists.STRONG.get(name, "")
        events, told = _events(strong, mids, names, [segments.ids[i] for i in rows])
        notes += told
        features = partial(_features, root, blocks[name])
        waveform = partial(_waveform, root, clips)
        splits[name] = Split(name, clips, events, labels, None, rows, features, waveform, RATE)
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in splits.items())
    missing = [segment for segment, file in zip(segments.ids, files, strict=True) if not file]
    about = (
        f"AudioSet: {sizes} clips of {len(names)} classes; of {len(files):,} segments "
        f"{len(missing):,} have no recording, {len(broken):,} a broken one (left out), "
        f"{len(wrong) - len(broken):,} a short one (padded), listed in "
        f"{_listed(missing, wrong).relative_to(cache_root())} of the cache"
    )
    return Corpus("audioset", names, splits, "; ".join([about, *notes]) + ".")


def _events(path: Path, mids: dict, names: tuple, ids: list[str]) -> tuple[list | None, list[str]]:
    """(events by clip, a note) of a strong list; (None, no note) where there is none."""
    if not path.is_file():
        return None, []
    strong, left_out = audioset_lists.read_strong(path, {mid: names[k] for mid, k in mids.items()})
    events = [strong.get(segment) for segment in ids]
    known = sum(mine is not None for mine in events)
    outside = f"{left_out:,} events have labels outside the list"
    return events, [f"{path.name} gives events of {known:,} clips ({outside})"]


def _listed(missing: list[str], wrong: list[list[str]]) -> Path:
    """The file that lists what is missing, broken or short, named by its content."""
    lines = ["segment\tstate\tfile\tdetail", *(f"{segment}\tmissing\t\t" for segment in missing)]
    text = "\n".join([*lines, *map("\t".join, sorted(wrong))]) + "\n"
    path = cache_root() / "audioset" / f"missing_{_digest(text)}.tsv"
    if not path.exists():
        _write(path, lambda file: file.write(text.encode()))
    return path


def _write(path: Path, save: Callable) -> None:
    """Let ``save(file)`` write a file that is moved into place whole."""
    unfinished = path.with_suffix(f".{os.getpid()}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(unfinished, "wb") as file:
            save(file)
        os.replace(unfinished, path)
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"{path}: {reason}: free space there or set CACHE, then call again") from None


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]


def _root() -> Path:
    root = os.environ.get("AUDIOSET")
    if not root:
        raise ValueError("AUDIOSET is not set: give the folder that has the lists and the audio")
    return Path(root).absolute()


def main(arguments: list[str] | None = None) -> None:
    """Check all audio and make the features ahead of a run; errors are one line and exit 1."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m wsaed.corpora.audioset", description=__doc__, formatter_class=form
    )
    for name, count in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, default=count, help=f"clips ({count or 'all'})")
    parser.add_argument("--front-end", default="secost", choices=sorted(FRONT_ENDS))
    try:
        jobs = int(os.environ.get("JOBS") or joblib.cpu_count())
        print(_corpus(vars(parser.parse_args(arguments)), jobs).about)
    except (ValueError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    from wsaed.corpora import audioset  # the pool's workers find functions by this name

    audioset.main()
