"""A user's recordings as a `Corpus`: a reader lists its clips, all the rest is done here.

The readers are audioset, desed, urban_sed and target_sound of `wsaed.corpora`; each is a `Reader`.
Every file is decoded before it enters a split, in blocks of up to `wsaed.corpora.SHARD` clips,
features in the same pass where they are wanted, one shard a block; what is missing, broken or
short is counted in ``about`` and listed in the cache. What is done is kept in CACHE/<reader>.
Notebook: start_here.ipynb.
"""

import json
import os
import random
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import torch

from wsaed import audio, corpora, progress
from wsaed.code import digest
from wsaed.corpora import Corpus, Event, Shards, Split, digest_of
from wsaed.features import FRONT_ENDS, FrontEnd, log_mel
from wsaed.files import cache_root

RATE = 16_000  # Hz, of `Split.waveform`
SUFFIXES = "wav|flac|ogg|oga|opus|mp3"  # of what soundfile reads
FILE = re.compile(rf"(.+)\.(?:{SUFFIXES})", re.I)
TIME = r"([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?|nan|inf)"  # in s, within a list's line
ROUNDING = 1e-3  # s that an event may seem to go on after its clip


class Clip(NamedTuple):
    """A clip that a reader's lists name.

    root, file:    its recording is ``root / file``; file None: there is none
    bytes:         the recording's size
    id, name:      how lists of what is wrong call it, and its split
    seconds:       how long it should be
    events:        its `Event` s, or None where onsets and offsets are unknown
    labels:        its classes, or None where nobody knows
    group:         a number of its source, or None: its id decides, for all clips
    spans:         (onset, offset) in s of the parts to be joined and repeated to 10 s; (): all
    """

    root: Path
    file: str | None
    bytes: int
    id: str
    name: str
    seconds: float
    events: list[Event] | None = None
    labels: Collection[str] | None = None
    group: int | None = None
    spans: tuple = ()


class Listing(NamedTuple):
    """What a reader gives: all clips of each split in their order, with a recording or without.

    where:   split -> where its recordings were looked for
    notes:   parts of the sentence ``about``
    classes: split -> labels that it can have, where these are not all
    """

    labels: tuple[str, ...]
    splits: dict[str, list[Clip]]
    where: dict[str, str]
    notes: list[str]
    classes: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Reader:
    """A corpus of recordings: what its module, of `wsaed.corpora`, tells of it.

    name, title: of the module and its folder in the cache; in ``about`` and in errors
    doc:         the module's docstring
    published:   where the corpus can be had; the first line is an address
    sizes:       split -> clips where a spec says nothing; 0: all
    files:       ``files(sizes)``: key -> (lists, {name: (recording within root, bytes)})
    listed:      ``listed(sizes) -> Listing``
    finish:      ``finish(listing, splits) -> notes``, which may complete the splits
    optional:    whether splits may be left out, by -1
    exact:       whether clip labels are free of noise
    """

    name: str
    title: str
    doc: str
    published: str
    sizes: dict[str, int]
    files: Callable
    listed: Callable
    finish: Callable | None = None
    optional: bool = True
    exact: bool = False
    dtype: type = np.float32

    def load(self, spec: dict, replicate: int, jobs: int = 1) -> Corpus:
        """The corpus; ``replicate`` changes nothing.

        spec: a number of clips a split, the first ones (0 or None: all; -1 leaves it out), and
        ``front_end`` (make these features in the pass that checks the audio). Processes that call
        this at once share the work. Raises ValueError, FileNotFoundError or OSError in one line.
        """
        sizes = self.checked(spec)
        listing = self.listed(sizes)
        clips = {name: self._first(name, listing, sizes.get(name, 0)) for name in listing.splits}
        blocks = {name: _blocks(mine) for name, mine in clips.items()}
        every = [*chain(*blocks.values())]
        build(self.name, every, FRONT_ENDS.get(spec.get("front_end")), jobs)
        wrong = {}  # {clip's id: (state, file, detail)}
        for block in every:
            wrong |= json.loads(_files(self.name, block)[0].read_text(encoding="utf-8"))
        splits = {
            name: self._split(name, mine, blocks[name], wrong, listing)
            for name, mine in clips.items()
        }
        counts = ", ".join(f"{len(split):,} {name}" for name, split in splits.items())
        about = [
            f"{self.title}: {counts} clips of {len(listing.labels)} classes",
            self._told([*chain(*listing.splits.values())], wrong),
            *listing.notes,
            *self._remarks(listing, splits),
            *(self.finish(listing, splits) if self.finish else ()),
        ]
        return Corpus(self.name, listing.labels, splits, "; ".join(about) + ".")

    def fingerprint(self, spec: dict) -> str:
        """Digest of a user's own data, of the splits that a spec uses."""
        found = self.files(self.checked(spec)).values()
        lists = (path for paths, _ in found for path in paths)
        return corpora.fingerprint(lists, (one for _, there in found for one in there.values()))

    def checked(self, spec: dict) -> dict[str, int]:
        """Clips by split, 0 for all, without those that are -1, after a check of the whole spec."""
        found = self.sizes | {name: 0 if n is None else n for name, n in spec.items()}
        found = {k: n for k, n in found.items() if k not in ("name", "front_end")}
        for name, n in found.items():
            if name not in self.sizes or type(n) is not int or n < -self.optional:
                options = f"{', '.join(self.sizes)} as numbers of clips, 0: all"
                options += ", -1: without" if self.optional else ""
                raise ValueError(f"{self.name}: {name}={n!r}: give {options}")
        if spec.get("front_end") not in (None, *FRONT_ENDS):
            raise ValueError(f"{self.name}: front_end is one of {', '.join(FRONT_ENDS)}")
        return {name: n for name, n in found.items() if n != -1}

    def get_it(self, split: str = "") -> str:
        """What to do about something that is not there."""
        advice = f"fetch it, see {self.published.splitlines()[0]}"
        without = f", or go without by {split}_clips: -1 in params/paper/*.yaml"
        return advice + without if split and self.optional else advice

    def _first(self, split: str, listing: Listing, size: int) -> list[Clip]:
        """The first clips that have a recording."""
        there = [clip for clip in listing.splits[split] if clip.file]
        if not there:
            which = f"any of {len(listing.splits[split])} {split} clips in {listing.where[split]}"
            raise FileNotFoundError(f"{self.name}: no recording of {which}: {self.get_it(split)}")
        if size > len(there):
            raise ValueError(f"{self.name}: {split}={size}, but {len(there)} recordings are there")
        return there[: size or None]

    def _split(self, name: str, clips: list, blocks: list, wrong: dict, listing: Listing) -> Split:
        kept = [clip for clip in clips if not _lost(clip, wrong)]
        if not kept:
            root = clips[0].root
            raise ValueError(f"{root}: no recording of {name} can be decoded: fetch them again")
        events, tags = [clip.events for clip in kept], None
        if kept[0].labels is not None:
            tags = clip_labels((clip.labels for clip in kept), listing.labels, self.dtype)
        groups = [clip.group for clip in kept]
        if None in groups:
            groups = [int.from_bytes(hashed(clip.id)[:6]) for clip in kept]
        return Split(
            name,
            [clip.name for clip in kept],
            events if any(mine is not None for mine in events) else None,
            tags,
            tags if self.exact else None,
            np.array(groups),
            partial(features, self.name, blocks),
            partial(waveform, kept),
            RATE,
        )

    def _told(self, clips: list[Clip], wrong: dict[str, tuple]) -> str:
        """The sentence part on what is missing, broken or short, after listing it in a file."""
        missing = {clip.id: ("missing", "", "") for clip in clips if not clip.file}
        lines = [("segment", "state", "file", "detail")]
        lines += [(clip, *what) for clip, what in sorted((missing | wrong).items())]
        text = "".join("\t".join(line) + "\n" for line in lines)
        path = cache_root() / self.name / f"missing_{digest_of(text)}.tsv"
        corpora.once(lambda: [text], path)
        broken = sum(state == "broken" for state, *_ in wrong.values())
        return (
            f"of {len({clip.id for clip in clips}):,} clips {len(missing):,} have no recording, "
            f"{broken:,} a broken one (left out), {len(wrong) - broken:,} a short one (padded), "
            f"listed in {path.relative_to(cache_root())} of the cache"
        )

    def _remarks(self, listing: Listing, splits: dict[str, Split]) -> list[str]:
        """What a reader must know: splits left out, classes that never occur, unknown events."""
        without = [name for name in self.sizes if name not in splits]
        remarks = [f"the spec leaves out {', '.join(without)}"] if without else []
        for name, split in splits.items():
            if split.clip_labels is not None:
                occurs = np.array(listing.labels)[split.clip_labels.any(0)]
                absent = [x for x in listing.classes.get(name, listing.labels) if x not in occurs]
                which = f"{len(absent)} classes" if len(absent) > 10 else ", ".join(absent)
                remarks += [f"{name} has no {which}"] if absent else []
            if unknown := (split.events or []).count(None):
                remarks.append(f"nobody annotated events of {unknown:,} {name} clips")
        return remarks


def _blocks(clips: list[Clip]) -> list[list[Clip]]:
    return [clips[k : k + corpora.SHARD] for k in range(0, len(clips), corpora.SHARD)]


def _lost(clip: Clip, wrong: dict[str, tuple]) -> bool:
    """Whether a clip enters no split: broken, or too short to be sure that its spans are there."""
    return clip.id in wrong and (wrong[clip.id][0] == "broken" or bool(clip.spans))


def _files(reader: str, block: list[Clip], front_end: FrontEnd | None = None) -> list[Path]:
    """(list of what is wrong in a block, its features): named by all that they depend on."""
    base = cache_root() / reader
    name = digest_of(repr([(x.id, x.file, x.bytes, x.seconds, x.spans) for x in block]))
    checked = base / "checked" / f"{name}.json"
    if front_end is None:
        return [checked]
    made_by = digest_of(repr(front_end), digest(("wsaed.features", "wsaed.audio")))
    return [checked, base / "features" / made_by / f"{name}.npy"]


def _decoded(reader: str, block: list[Clip], front_end: FrontEnd | None) -> list:
    """What is wrong in a block, {clip's id: (state, file, detail)} as JSON, and its features."""
    torch.set_num_threads(1)
    wrong, rows = {}, []
    for clip in block:
        path = clip.root / clip.file
        try:
            samples, rate = audio.read(path)
            if len(samples) < 0.95 * clip.seconds * rate:
                detail = f"{len(samples) / rate:.2f} s of {clip.seconds:g} s, used"
                wrong[clip.id] = "short", clip.file, detail
        except ValueError as error:
            detail = " ".join(str(error).removeprefix(f"{path}: ").split())
            wrong[clip.id] = "broken", clip.file, detail
        if front_end and not _lost(clip, wrong):
            samples = audio.resample(samples, rate, front_end.rate)
            rows.append(log_mel(_heard(clip, samples, front_end.rate), front_end))
    (checked,) = _files(reader, block)
    before = json.loads(checked.read_text(encoding="utf-8")) if checked.exists() else wrong
    if {(clip, what[0]) for clip, what in before.items()} != {(c, w[0]) for c, w in wrong.items()}:
        where = f"delete {cache_root() / reader}"
        raise ValueError(f"{block[0].root}: recordings changed since their check: {where}")
    if front_end is None:
        return [json.dumps(wrong)]
    shape = -1, front_end.frames, front_end.mels
    return [json.dumps(wrong), np.array(rows, np.float16).reshape(shape)]


def _heard(clip: Clip, samples: np.ndarray, rate: int) -> np.ndarray:
    return audio.repeated(samples, rate, clip.spans) if clip.spans else samples


def build(reader: str, blocks: list, front_end: FrontEnd | None, jobs: int = 1) -> None:
    """Check the blocks and make their features, where that is not done, ``jobs`` at a time."""
    todo = [(x, _files(reader, x, front_end)) for x in blocks]
    todo = [(block, paths) for block, paths in todo if not all(path.exists() for path in paths)]
    if not todo:
        return
    random.Random(os.getpid()).shuffle(todo)  # so that other processes seldom wait for this one
    calls = (
        joblib.delayed(corpora.once)(partial(_decoded, reader, block, front_end), *paths)
        for block, paths in todo
    )
    total = sum(len(block) for block, _ in todo)
    with progress.bar(reader, total, "clips") as bar:
        for _ in joblib.Parallel(jobs, return_as="generator_unordered")(calls):
            bar(total / len(todo))


def features(reader: str, blocks: list, front_end: FrontEnd, only: int | None = None) -> Shards:
    """`Split.features`; ``only`` makes that one shard and no other."""
    blocks = blocks if only is None else blocks[only : only + 1]
    build(reader, blocks, front_end)
    return Shards(tuple(_files(reader, block, front_end)[1] for block in blocks))


def waveform(clips: list[Clip], i: int) -> np.ndarray:
    """`Split.waveform`: (samples,) float32 at `RATE`."""
    samples, _ = audio.read(clips[i].root / clips[i].file, RATE)
    return _heard(clips[i], samples, RATE)


# ---- what readers share


def root_of(variable: str) -> Path:
    """The folder that an environment variable names; ValueError where it is not set."""
    root = os.environ.get(variable)
    if not root:
        raise ValueError(f"{variable} is not set: give the folder that has the lists and the audio")
    return Path(root).absolute()


def found_in(
    root: Path, folders: list[str], named: re.Pattern = FILE, deep: bool = False
) -> dict[str, tuple[str, int]]:
    """{name: (file within root, bytes)} of the recordings in folders of the root.

    named: of a file; its first group is the name. Of two with one name the first counts, by
    folders and then by paths. deep: also in all folders below.
    """
    found = {}
    for rank, folder in enumerate(folders):
        for base, inner, names in os.walk(root / folder, followlinks=True):
            for name in names:
                match, path = named.fullmatch(name), os.path.join(base, name)
                if match and os.path.isfile(path):  # a link to nothing counts as missing
                    one = rank, os.path.relpath(path, root), os.path.getsize(path)
                    found[match[1]] = min(one, found.get(match[1], one))
            if not deep:
                inner.clear()
    return {name: one[1:] for name, one in found.items()}


def fields(
    path: Path, form: str, what: str, header: str = r"filename(\t.*)?"
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """("file:line", the groups of ``form``) of each line of a list, without headers and blank ones.

    form, header: regular expressions; white space around tabs is gone by then. ValueError names
    a line that is not ``what``.
    """
    form, header = re.compile(form, re.ASCII), re.compile(header)
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            line = "\t".join(x.strip() for x in line.split("\t")) if "\t" in line else line.strip()
            if not line.strip() or header.fullmatch(line):
                continue
            match = form.fullmatch(line)
            if not match:
                raise ValueError(f"{path}:{number}: expected {what}, found {line[:60]!r}")
            yield f"{path}:{number}", match.groups()


def known(where: str, label: str, labels: tuple[str, ...]) -> str:
    """The label; ValueError where it is none of the list's."""
    if label not in labels:
        raise ValueError(f"{where}: label {label!r} is none of {', '.join(labels)}")
    return label


def event(where: str, label: str, onset: str, offset: str, labels, longest=86_400.0) -> Event:
    """A line's event, cut at ``longest`` s, which rounding may exceed; ValueError for none."""
    a, b = float(onset), float(offset)
    if not 0 <= a < min(b, longest) or b > longest + ROUNDING:
        raise ValueError(f"{where}: from {a:g} to {b:g} s is no event in {longest:g} s")
    return Event(known(where, label, labels), a, min(b, longest))


def hashed(name: str) -> bytes:
    """What clips are sorted by: an order that is always the same and means nothing."""
    return sha256(name.encode()).digest()


def clip_labels(given: Iterable[Collection[str]], labels: tuple[str, ...], dtype=np.float32):
    """(clips, classes): which of ``labels`` each clip has."""
    index, given = {label: k for k, label in enumerate(labels)}, [*given]
    found = np.zeros((len(given), len(labels)), dtype)
    rows = np.repeat(np.arange(len(given)), [len(mine) for mine in given])
    found[rows, [index[label] for mine in given for label in mine]] = 1
    return found
