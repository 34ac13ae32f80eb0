"""What every corpus gives: named splits over one label list.

Each module of this package has ``load(spec, replicate) -> Corpus``; `load` here picks it by
``spec["name"]``. A method never asks where a corpus came from.
Notebook: start_here.ipynb.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
from filelock import FileLock

from wsaed import progress
from wsaed.corpora.pairs import Pairs
from wsaed.files import cache_root, content, on_disk, whole
from wsaed.scoring import Event


@dataclass(frozen=True)
class Shards:
    """A features array that lies in several .npy files, each memory-mapped, float16.

    Rows are clips in the split's order. ``shards[indices]`` gives (len(indices), frames, mels).
    """

    paths: tuple[Path, ...]
    arrays: tuple[np.ndarray, ...] = field(init=False, repr=False)
    starts: np.ndarray = field(init=False, repr=False)

    def __post_init__(self):
        arrays = tuple(np.load(path, mmap_mode="r") for path in self.paths)
        object.__setattr__(self, "arrays", arrays)
        object.__setattr__(self, "starts", np.cumsum([0] + [len(a) for a in arrays]))

    def __reduce__(self):  # a spawned worker maps the files anew, it is not sent their content
        return Shards, (self.paths,)

    @property
    def shape(self) -> tuple[int, ...]:
        return (int(self.starts[-1]), *self.arrays[0].shape[1:])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, rows) -> np.ndarray:
        rows = np.arange(len(self))[rows]
        if rows.ndim == 0:
            return self[rows[None]][0]
        out = np.empty((len(rows), *self.shape[1:]), self.arrays[0].dtype)
        which = np.searchsorted(self.starts, rows, side="right") - 1
        for i in np.unique(which):
            mine = which == i
            out[mine] = self.arrays[i][rows[mine] - self.starts[i]]
        return out


@dataclass
class Split:
    """Clips plus annotations: events in seconds, or clip labels, or none (None).

    clips:        file names, one a clip
    events:       a list of `Event` a clip, or None where onsets and offsets are unknown
    clip_labels:  (clips, classes) float32 as the annotators gave them, or None
    clean_labels: the same without annotation noise, or None where nobody knows
    groups:       (clips,) int, clips with the same number share a sound source
    features:     ``features(front_end) -> Shards``, made on first use and cached
    waveform:     ``waveform(i) -> (samples,) float32`` at ``rate`` Hz
    pairs:        of target sound detection: which clip is asked for which label, or None
    hidden:       the true events, which only the corpus' maker knows, or None: for diagnosis
    """

    name: str
    clips: list[str]
    events: list[list[Event]] | None
    clip_labels: np.ndarray | None
    clean_labels: np.ndarray | None
    groups: np.ndarray
    features: Callable
    waveform: Callable
    rate: int
    pairs: Pairs | None = None
    hidden: list[list[Event]] | None = None

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def reference(self) -> dict[str, list[Event]]:
        """Clip -> its events, as `wsaed.scoring` takes them."""
        return dict(zip(self.clips, self.events, strict=True))


@dataclass
class Corpus:
    """Named splits over one label list.

    about, left_out: sentences that a report prints: what it is, what of its files was missing,
    broken or not used ("" where nothing was)
    """

    name: str
    labels: tuple[str, ...]
    splits: dict[str, Split]
    about: str
    left_out: str = ""

    def __getitem__(self, split: str) -> Split:
        return self.splits[split]


def load(spec: dict, replicate: int) -> Corpus:
    """The corpus that ``spec`` names, drawn anew for ``replicate`` where it is synthetic."""
    folders = tuple(os.environ.get(name) for name in ENVIRONMENT)
    return _load(json.dumps(spec, sort_keys=True), replicate, folders)


def check(spec: dict, replicate: int) -> None:
    """ValueError, in one line, where `load` would find too little, before anything is made."""
    getattr(_module(spec), "check", lambda *spec: None)(spec, replicate)


def left_out(spec: dict) -> str:
    """`Corpus.left_out` of the corpus that ``spec`` names."""
    reader = getattr(_module(spec), "READER", None)
    return reader.left_out(spec) if reader else load(spec, 0).left_out


def spec_of(p: dict, splits: Iterable[str], shape: str, **more) -> dict:
    """A corpus as specs hold it: its name, and how many clips of each split ``p`` asks for.

    Of the embedded one also ``shape``, ``more``, and BANK's name or None: a bank of recordings is
    known by its folder's name, so that a spec holds no path.
    """
    spec = {"name": p["corpus"]} | {split: p[f"{split}_clips"] for split in splits}
    if p["corpus"] != "soundscapes":
        return spec
    bank = os.environ.get("BANK")
    return spec | {"shape": shape, "bank": Path(bank).name if bank else None} | more


ENVIRONMENT = ("BANK", "TEST_FOLD", "AUDIOSET", "DESED", "URBAN_SED", "CACHE")


@lru_cache(maxsize=4)  # a worker trains many runs on one corpus in turn
def _load(text: str, replicate: int, folders: tuple) -> Corpus:
    spec = json.loads(text)
    return _module(spec).load(spec, replicate)


def _module(spec: dict):
    """The module of this package that ``spec`` names."""
    return resolve_name(f"wsaed.corpora.{spec['name']}")


SHARD = 250  # clips a features file: small enough that a killed build loses seconds


def once(make: Callable[[], list], *paths: Path) -> None:
    """Make files that belong together where one of them is missing; ``make`` gives their contents.

    Contents are texts and arrays (.npy), in the order of the paths. Processes that want the same
    files make them once, under the first one's lock; every file appears whole, the first one last.
    """
    if all(path.exists() for path in paths):
        return
    with on_disk(paths[0]):
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{paths[0]}.lock").acquire()
    with lock:
        if all(path.exists() for path in paths):
            return
        for path, made in [*zip(paths, make(), strict=True)][::-1]:
            with whole(path, locked=True) as partial:
                if isinstance(made, str):
                    partial.write_text(made, encoding="utf-8", errors="backslashreplace")
                else:
                    np.save(partial, made)


def digest_of(*parts: str) -> str:
    """20 hex digits that stand for the parts: also an order that is always the same, for a sort."""
    return hashlib.sha256("\n".join(parts).encode(errors="backslashreplace")).hexdigest()[:20]


def contents(root: Path, files: list[str]) -> dict[str, int]:
    """{file: its `content`} of files within a root.

    Only what has changed is read, by times of change and sizes: the cache keeps the rest, in
    lists of some 50 files, of a number of lists that seldom changes.
    """
    parts = [[] for _ in range(1 << max(0, len(files).bit_length() - 6))]
    for file in files:
        parts[zlib.crc32(os.fsencode(file)) % len(parts)].append(file)
    lists, found, quiet = {}, {}, nullcontext(lambda _: None)
    for part in parts:
        stats = [os.stat(root / file) for file in part]
        marks = [(s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in stats]
        lists[cache_root() / "contents" / f"{digest_of(repr((part, marks)))}.txt"] = part
    todo = sum(not path.exists() for path in lists)
    with progress.bar("recordings read", todo, "lists") if todo > 64 else quiet as bar:
        for path, part in lists.items():
            if not path.exists():
                once(lambda part=part: ["\n".join(str(content(root / x)) for x in part)], path)
                bar(1)
            found |= zip(part, map(int, path.read_text().split()), strict=True)
    return found


def fingerprint(lists: Iterable[Path], recordings: Iterable[tuple[str, int]]) -> str:
    """Digest of a user's own data: what the lists hold, the recordings' names and `contents`."""
    parts = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in lists]
    return digest_of(*parts, repr(sorted(recordings)))
