"""A folder of recordings as sound sources: a sub-folder a class.

Read are WAV, FLAC, Ogg, Opus, MP3, and what else soundfile reads and says its own rate. Folders
whose names begin with "_" are no classes, files below a class's folder are not used; what begins
with "." is not seen.

A recording is cut at its silences into takes, resampled and kept; a source of the corpus is a
recording, an event one take of it. A stationary sound may be looped to a longer duration, any
other keeps its own length.
Notebook: start_here.ipynb.
"""

import json
import os
import re
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wsaed import audio, corpora
from wsaed.code import digest
from wsaed.corpora.acoustics import RATE
from wsaed.files import cache_root

NOT_AUDIO = (".txt", ".csv", ".tsv", ".json", ".md", ".xml", ".html", ".pdf", ".jams", ".yaml")
SILENCE, PAUSE = -40.0, 0.5  # dB below the loudest 20 ms; a shorter pause (s) stays in a take
# Stationary: 3 s or more, of which this share of 100 ms frames is so near (dB) to the median
STEADY, WITHIN, ENOUGH = 0.8, 6.0, 30
LONGEST = 4.79  # seconds of a sound that keeps its own length: URBAN-SED's longest event
CROSSFADE = 0.1  # seconds


class Recording(NamedTuple):
    """One file of a bank: takes are (samples,) float32 of RMS 1 at 16 kHz, in order."""

    path: str
    label: str
    takes: tuple[np.ndarray, ...]
    stationary: bool


class Bank(NamedTuple):
    recordings: dict[str, tuple[Recording, ...]]  # class -> recordings by name
    broken: list[str]  # "path (reason)"


def named(name: str) -> str:
    """The folder BANK, whose last part must be ``name``; ValueError otherwise."""
    folder = os.environ.get("BANK", "")
    if Path(folder).name != name:
        raise ValueError(f"bank {name!r}: BANK={folder or '(unset)'} must be a folder of that name")
    return folder


class Sounds:
    """The folder BANK, whose last part must be ``name``, as sources, like `sources.Sounds`.

    where: of `choose`, which says what recordings a split may use
    siblings: within the stationary classes, and within the others, each class is taken for the
    next in the alphabet, the last for the first; a lone one for the next of all
    """

    def __init__(self, name: str, replicate: int, shape: str):
        folder = named(name)
        mark = fingerprint(folder)
        found = read(folder, mark)
        folds = roles(found, replicate, os.environ.get("TEST_FOLD") or None)
        self.where, self.key = (folder, mark, folds, shape), f"{mark} {folds}"
        self.classes, self.siblings = tuple(found.recordings), {}
        self.subtypes = dict.fromkeys(self.classes, ())
        stationary = {c: [one.stationary for one in mine] for c, mine in found.recordings.items()}
        steady = {c: np.mean(mine) >= 0.5 for c, mine in stationary.items()}
        for c in self.classes:
            alike = [other for other in self.classes if steady[other] == steady[c]]
            ring = alike if len(alike) > 1 else self.classes
            self.siblings[c] = ring[(ring.index(c) + 1) % len(ring)]
        total = sum(map(len, found.recordings.values()))
        self.about = f"{total} recordings of {len(self.classes)} classes ({name}"
        self.about += f", test fold {folds[0]}" if folds else ""
        self.about += f"; {len(found.broken)} files unreadable)" if found.broken else ")"
        broken = {"unreadable, silent or cut off": found.broken} if found.broken else {}
        left = (broken | _files(Path(folder))[1]).items()
        told = [f"{len(x)} {why} ({'; '.join(x[:5])}{'; ...' * (len(x) > 5)})" for why, x in left]
        self.left_out = f"Files of {name} that are not used: {', '.join(told)}." if told else ""

    def count(self, name: str, split: str) -> int:
        return len(choose(self.where, name, split))

    def take(self, name: str, split: str, source: int, rng) -> tuple[np.ndarray, bool]:
        recording = choose(self.where, name, split)[source]
        return recording.takes[rng.integers(len(recording.takes))], recording.stationary

    def seconds(self, name: str, split: str, source: int, planned: float, rng) -> float:
        take, steady = self.take(name, split, source, rng)
        return planned if steady else min(LONGEST, len(take) / RATE)

    def render(self, name: str, split: str, source: int, seconds: float, rng) -> np.ndarray:
        take, steady = self.take(name, split, source, rng)
        samples = round(seconds * RATE)
        sound = loop(take, samples, rng) if steady else take[:samples].copy()
        edge = min(len(sound) // 4, 80)  # 5 ms
        fade = np.linspace(0, 1, edge, dtype=np.float32)
        sound[:edge] *= fade
        sound[len(sound) - edge :] *= fade[::-1]
        return sound / np.float32(np.sqrt(np.mean(sound**2)) + 1e-9)


def rotates(name: str) -> bool:
    """Whether the folder BANK has folds, so that replicates test on different recordings."""
    folder = named(name)
    test_fold = os.environ.get("TEST_FOLD")
    return not test_fold and roles(read(folder, fingerprint(folder)), 0) is not None


def fingerprint(folder: str) -> str:
    """Digest of what a bank's files are called and hold."""
    root, files = Path(folder), _files(Path(folder))[0]
    seen = corpora.contents(root, [str(x.relative_to(root)) for x in files if x.is_file()])
    marks = (seen.get(str(path.relative_to(root)), -1) for path in files)
    return corpora.fingerprint([], zip((_shown(x, root) for x in files), marks, strict=True))


def _files(root: Path) -> tuple[list[Path], dict[str, list[str]]]:
    """(the classes' files, {why they are not used: others}), in order, but for what is no audio."""
    files, left = [], {}
    for base, inner, names in os.walk(root, followlinks=True):
        inner[:] = [name for name in inner if name[0] != "."]
        within = Path(base).relative_to(root).parts
        for path in (Path(base, name) for name in names if name[0] != "."):
            if path.suffix.lower() in NOT_AUDIO:
                continue
            if len(within) == 1 and within[0][0] != "_":
                files.append(path)
            else:
                why = "below a class's folder" if within else "outside of the classes' folders"
                why = "in folders that begin with _" if within and within[0][0] == "_" else why
                left.setdefault(why, []).append(_shown(path, root))
    return sorted(files), {why: sorted(left[why]) for why in sorted(left)}


def _shown(path: Path, root: Path) -> str:
    """A path within the root as text that can be written, even where it is no UTF-8."""
    return path.relative_to(root).as_posix().encode(errors="backslashreplace").decode()


@lru_cache(maxsize=2)
def read(folder: str, fingerprint: str) -> Bank:
    """All recordings of a bank with that `fingerprint`, decoded once and cached in one file.

    ValueError or FileNotFoundError, one line, for a folder without at least two classes, or a
    class without a readable file.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"BANK={folder} is no folder; give one with a sub-folder a class")
    folders = (path for path in root.iterdir() if path.is_dir() and path.name[0] not in "._")
    classes = sorted(_shown(path, root) for path in folders)
    if len(classes) < 2:
        few = f"has {len(classes)} class folders; at least two sub-folders are needed"
        raise ValueError(f"BANK={folder} {few}")
    base = cache_root() / "banks" / f"{fingerprint}_{digest(('wsaed.corpora.bank',))}"
    files = base.with_suffix(".json"), base.with_suffix(".npy")
    corpora.once(partial(_decode, root), *files)
    listed, lengths, broken = json.loads(files[0].read_text(encoding="utf-8"))
    takes = np.load(files[1], mmap_mode="r")  # of an hour's recording few are used at once
    takes = iter(np.split(takes, np.cumsum(lengths, dtype=int)))
    found = [
        Recording(name, name.split("/")[0], tuple(islice(takes, count)), steady)
        for name, count, steady in listed
    ]
    recordings = {label: tuple(one for one in found if one.label == label) for label in classes}
    empty = [label for label, mine in recordings.items() if not mine]
    if empty:
        none = f"class {empty[0]!r} has no readable recording; add some or remove it"
        raise ValueError(f"BANK={folder}: {none}")
    return Bank(recordings, broken)


def _decode(root: Path) -> list:
    """[JSON of a bank's recordings, takes' lengths and broken files, all takes in turn]."""
    listed, broken, takes = [], [], [np.zeros(0, np.float32)]
    for file in _files(root)[0]:
        name, mine, reason = _shown(file, root), [], "silent"
        try:
            mine = cut(audio.read(file, RATE)[0])
        except (ValueError, FileNotFoundError) as error:
            reason = str(error).removeprefix(f"{file}: ")
        if mine:
            listed.append((name, len(mine), stationary(max(mine, key=len))))
            takes += [take / np.sqrt(np.mean(take**2)) for take in mine]
        else:
            broken.append(f"{name} ({reason})")
    return [json.dumps([listed, [len(x) for x in takes[1:]], broken]), np.concatenate(takes)]


def _frame_levels(sound: np.ndarray, seconds: float) -> np.ndarray:
    """RMS of a waveform's frames in dB, (frames,); a last short frame is left out."""
    width = round(seconds * RATE)
    frames = sound[: len(sound) // width * width].reshape(-1, width)
    return 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)


def cut(sound: np.ndarray) -> list[np.ndarray]:
    """The stretches of a recording that sound, without the silence around and between them."""
    levels = _frame_levels(np.append(sound, np.zeros(-len(sound) % 320, np.float32)), 0.02)
    if not len(levels) or not np.isfinite(levels).all() or levels.max() < -100:
        return []
    loud = np.flatnonzero(levels > levels.max() + SILENCE)
    runs = np.split(loud, np.flatnonzero(np.diff(loud) > PAUSE / 0.02) + 1)
    return [sound[320 * run[0] : 320 * (run[-1] + 1)] for run in runs]


def stationary(sound: np.ndarray) -> bool:
    """Whether a sound may be held: most of its 100 ms frames lie close to their median level."""
    levels = _frame_levels(sound, 0.1)
    return bool(
        len(levels) >= ENOUGH and np.mean(abs(levels - np.median(levels)) < WITHIN) >= STEADY
    )


def _fold(recording: Recording) -> str | None:
    match = re.match(r"0*(\d+)-", Path(recording.path).name, re.ASCII)
    return match and match[1]


NO_FOLDS = "give TEST_FOLD=none if the digits before the dash are no folds"


def roles(found: Bank, replicate: int, test_fold: str | None = None) -> tuple[str, str] | None:
    """(test fold, validation fold), or None where the bank has no folds, or is to have none.

    A fold is the digits before a dash that a file's name begins with. Replicate r tests on the
    r-th fold in turn, validates on the next and trains on the rest; TEST_FOLD fixes the test fold,
    and the validation fold goes round the others. ValueError where there are folds, but not three
    or not of every file: some would be on two sides.
    """
    every = {_fold(r): r.path for mine in found.recordings.values() for r in mine}
    without, folds = every.pop(None, None), sorted(every, key=int)
    if test_fold == "none" or (len(folds) < 2 and not test_fold):
        return None
    told = f"the bank's folds are {', '.join(folds) or 'none'}"
    if test_fold and test_fold not in folds:
        raise ValueError(f"TEST_FOLD={test_fold}: {told}")
    if without or len(folds) < 3:
        what = f"{without} has none" if without else "training, validation and test need three"
        raise ValueError(f"BANK: {told}, but {what}: rename files, or {NO_FOLDS}")
    if test_fold is None:
        return folds[replicate % len(folds)], folds[(replicate + 1) % len(folds)]
    others = [fold for fold in folds if fold != test_fold]
    return test_fold, others[replicate % len(others)]


@lru_cache(maxsize=1024)
def choose(where: tuple, name: str, split: str) -> tuple[Recording, ...]:
    """The recordings of a class that a split may use; no two splits of a corpus share one.

    Without folds a fifth of each class goes to test, a fifth to validation, the rest to
    training, in the fixed order of the names' hashes. ``strong``, ``weak`` and ``unlabelled``
    share the training recordings as 1 : 1 : 2, a base, ``novel`` and the references that are for
    training as 1 : 2 : 1. As many references, the second half, are for validation and test. They
    are taken from validation's recordings: cuts of one original share a fold, and a test scene
    must not hold what its reference was cut from.
    """
    folder, fingerprint, folds, shape = where
    found = read(folder, fingerprint).recordings[name]
    found = sorted(found, key=lambda r: corpora.digest_of(r.path))
    if folds:
        held_out = [[r for r in found if _fold(r) == fold] for fold in folds]
    else:
        fifth = max(1, round(len(found) / 5))
        held_out = [found[:fifth], found[fifth : 2 * fifth]]
    out = {r.path for part in held_out for r in part}
    train = [r for r in found if r.path not in out]
    quarters = [train[k::4] for k in range(4)]
    half = min(len(quarters[3]), len(held_out[1]) // 2) if shape == "targets" else 0
    mine = {
        "test": held_out[0],
        "validation": held_out[1][half:],
        "train": train,
        "strong": quarters[0],
        "weak": quarters[1],
        "unlabelled": quarters[2] + quarters[3],
        "base_a": quarters[0],  # no class is in both bases
        "base_b": quarters[0],
        "novel": quarters[1] + quarters[2],
        "references": quarters[3][:half] + held_out[1][:half],
    }[split]
    if not mine:
        none = f"class {name!r} has no recording left for {split!r}; add recordings"
        none += f" to folds {' and '.join(folds)}, or {NO_FOLDS}" if folds else ""
        raise ValueError(f"BANK={folder}: {none}")
    return tuple(mine)


def loop(sound: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """(samples,) of a steady sound from a random place on, its end crossfaded into its start."""
    width = min(round(CROSSFADE * RATE), len(sound) // 4)
    ramp = np.sin(np.pi / 2 * np.arange(width, dtype=np.float32) / max(width, 1))
    ring = sound[: len(sound) - width].copy()
    ring[:width] = sound[:width] * ramp + sound[len(sound) - width :] * ramp[::-1]
    start = int(rng.integers(len(ring)))
    return np.tile(ring, (start + samples) // len(ring) + 1)[start : start + samples]
