"""A folder of a user's recordings: every file decoded once, features in shards, what is wrong kept.

Shared by audioset, desed, urban_sed and target_sound of `wsaed.corpora`. The work is cut into
blocks of up to `wsaed.corpora.SHARD` clips, one shard each; a clip is a tuple (id, file name
within the root, bytes, seconds). What is done is kept in CACHE/<corpus>.
Notebook: start_here.ipynb.
"""

import argparse
import hashlib
import os
import random
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import soundfile
import torch
from filelock import FileLock

from wsaed import audio, corpora, progress
from wsaed.code import digest
from wsaed.corpora import Shards, cache_root
from wsaed.features import FRONT_ENDS, FrontEnd, log_mel

RATE = 16_000  # Hz, of `Split.waveform`
SUFFIXES = ("wav", "flac", "ogg", "oga", "opus", "mp3")  # of what soundfile reads


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


def waveform(root: Path, names: list[str], i: int) -> np.ndarray:
    """`Split.waveform` of the file ``names[i]``: (samples,) float32 at `RATE`."""
    return audio.resample(*decode(root / names[i]), RATE)


def blocks_of(clips: list[tuple]) -> list[list[tuple]]:
    """The clips in their order, cut into blocks."""
    return [clips[k : k + corpora.SHARD] for k in range(0, len(clips), corpora.SHARD)]


def _paths(corpus: str, block: list[tuple], front_end: FrontEnd | None) -> tuple[Path, Path | None]:
    """(list of what is wrong in the block, its features): named by all that they depend on."""
    base, name = cache_root() / corpus.lower(), digest_of(repr(block))
    checked = base / "checked" / f"{name}.tsv"
    if front_end is None:
        return checked, None
    made_by = digest_of(repr(front_end), digest(("wsaed.features", "wsaed.audio")))
    return checked, base / "features" / made_by / f"{name}.npy"


def _make(corpus: str, root: Path, block: list[tuple], front_end: FrontEnd | None) -> int:
    """Decode a block under its lock; keep what is wrong and, given a front end, the features."""
    torch.set_num_threads(1)
    checked, shard = _paths(corpus, block, front_end)
    checked.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{checked}.lock"):
        if checked.exists() and (shard is None or shard.exists()):
            return len(block)
        wrong, rows = [], []
        for clip, name, _, seconds in block:
            try:
                samples, rate = decode(root / name)
            except ValueError as error:
                reason = " ".join(str(error).removeprefix(f"{root / name}: ").split())
                wrong.append(f"{clip}\tbroken\t{name}\t{reason}\n")
                continue
            if len(samples) < 0.95 * seconds * rate:
                detail = f"{len(samples) / rate:.2f} s of {seconds:g} s, used"
                wrong.append(f"{clip}\tshort\t{name}\t{detail}\n")
            if shard:
                rows.append(log_mel(audio.resample(samples, rate, front_end.rate), front_end))
        text = "".join(wrong)
        known = checked.read_text(encoding="utf-8") if checked.exists() else text
        if known.count("\tbroken\t") != text.count("\tbroken\t"):
            where = cache_root() / corpus.lower()
            raise ValueError(f"{root}: recordings changed since their check: delete {where}")
        if shard:
            rows = np.array(rows, np.float16).reshape(-1, front_end.frames, front_end.mels)
            write(shard, partial(np.save, arr=rows))
        write(checked, lambda file: file.write(text.encode()))
    return len(block)


def build(corpus: str, root: Path, blocks: list, front_end: FrontEnd | None, jobs: int = 1) -> None:
    """Make what is missing of the blocks, ``jobs`` at a time; resumable.

    Processes that build the same blocks at once share the work, a kill costs at most a block.
    """
    todo = [x for x in blocks if any(p and not p.exists() for p in _paths(corpus, x, front_end))]
    if not todo:
        return
    random.Random(os.getpid()).shuffle(todo)  # so that other processes seldom wait for this one
    calls = (joblib.delayed(_make)(corpus, root, block, front_end) for block in todo)
    total = sum(map(len, todo))
    with progress.bar(corpus, total, "clips") as bar:
        for done in joblib.Parallel(jobs, return_as="generator_unordered")(calls):
            bar(done)


def features(
    corpus: str, root: Path, blocks: list, front_end: FrontEnd, only: int | None = None
) -> Shards:
    """`Split.features`; ``only`` makes that one shard and no other."""
    blocks = blocks if only is None else blocks[only : only + 1]
    build(corpus, root, blocks, front_end)
    return Shards(tuple(_paths(corpus, block, front_end)[1] for block in blocks))


def check(
    corpus: str, root: Path, blocks: list, front_end: str | None, jobs: int
) -> list[list[str]]:
    """Decode all blocks; the rows (id, "broken" or "short", file, detail) of what is wrong.

    ``front_end`` (a name of FRONT_ENDS) makes those features in the same pass.
    """
    build(corpus, root, blocks, FRONT_ENDS.get(front_end), jobs)
    texts = [_paths(corpus, block, None)[0].read_text(encoding="utf-8") for block in blocks]
    return [line.split("\t") for text in texts for line in text.splitlines()]


def told(corpus: str, what: str, total: int, missing: list[str], wrong: list[list[str]]) -> str:
    """The sentence part on what is missing, broken or short, after listing it in a file."""
    lines = ["segment\tstate\tfile\tdetail", *(f"{clip}\tmissing\t\t" for clip in missing)]
    text = "\n".join([*lines, *map("\t".join, sorted(wrong))]) + "\n"
    path = cache_root() / corpus.lower() / f"missing_{digest_of(text)}.tsv"
    if not path.exists():
        write(path, lambda file: file.write(text.encode()))
    broken = sum(state == "broken" for _, state, *_ in wrong)
    return (
        f"of {total:,} {what} {len(missing):,} have no recording, {broken:,} a broken one (left "
        f"out), {len(wrong) - broken:,} a short one (padded), listed in "
        f"{path.relative_to(cache_root())} of the cache"
    )


def write(path: Path, save: Callable) -> None:
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


def digest_of(*parts: str) -> str:
    """20 hex digits that stand for the parts."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]


def root_of(variable: str) -> Path:
    """The folder that an environment variable names; ValueError where it is not set."""
    root = os.environ.get(variable)
    if not root:
        raise ValueError(f"{variable} is not set: give the folder that has the lists and the audio")
    return Path(root).absolute()


def sizes(corpus: str, defaults: dict[str, int], spec: dict) -> dict[str, int]:
    """Clips by split, 0 for all, without those that are -1, after a check of the whole spec."""
    given = {k: 0 if n is None else n for k, n in spec.items() if k not in ("name", "front_end")}
    found = defaults | given
    for name, n in found.items():
        if name not in defaults or type(n) is not int or n < -1:
            options = f"{', '.join(defaults)} as numbers of clips, 0: all, -1: without"
            raise ValueError(f"{corpus}: {name}={n!r}: give {options}")
    if spec.get("front_end") not in (None, *FRONT_ENDS):
        raise ValueError(f"{corpus}: front_end is one of {', '.join(FRONT_ENDS)}")
    return {name: n for name, n in found.items() if n != -1}


def found_in(root: Path, folders: list[str]) -> dict[str, tuple[str, int]]:
    """{name without suffix: (file within root, bytes)} of the recordings in folders of the root.

    Of two with one name the first counts, by folders and then by suffixes.
    """
    found = {}
    for folder in folders:
        entries = os.scandir(root / folder) if (root / folder).is_dir() else ()
        for entry in sorted(entries, key=lambda entry: entry.name):
            stem, _, suffix = entry.name.rpartition(".")
            # a link to nothing counts as missing
            if suffix.lower() in SUFFIXES and entry.is_file():
                found.setdefault(stem, (f"{folder}/{entry.name}", entry.stat().st_size))
    return found


def command(
    corpus: str,
    doc: str,
    sizes: dict,
    read: Callable,
    arguments: list[str] | None,
    front_end: str | None = None,
) -> None:
    """``python -m`` a corpus' module: all audio checked, features made; errors are one line."""
    form = argparse.RawDescriptionHelpFormatter
    name = f"python -m wsaed.corpora.{corpus.lower()}"
    parser = argparse.ArgumentParser(name, description=doc, formatter_class=form)
    for key, count in sizes.items():
        parser.add_argument(f"--{key}", type=int, default=count, help=f"clips ({count or 'all'})")
    parser.add_argument("--front-end", default=front_end, choices=sorted(FRONT_ENDS))
    try:
        jobs = int(os.environ.get("JOBS") or joblib.cpu_count())
        print(read(vars(parser.parse_args(arguments)), jobs).about)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
