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
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import soundfile
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
# A clip's name within a list's line: alone there it must look like one, or an event would be lost
# whose tabs were made spaces; with a comma it would be a list between commas
_ALONE = rf"[^\t,;]+\.(?i:{SUFFIXES})|(?!.*\.(?i:{SUFFIXES}))[^\s,;]+"
NAME = rf"(?=[^\t]+\t+[^\t]|(?:{_ALONE})\t*$)([^\t,]+)"
SECONDS, OVER = 10.0, 1.0  # of a clip; that published events go on after theirs
ROUNDING = 1e-3  # s that an event may seem to go on after its clip
# An MP3's first frame where it counts the others; without it a length is a guess from the size
COUNTED = re.compile(rb"\xff[\xe2-\xff]..\0{9,34}(?:Xing|Info)\0{3}[\1\3\7\17]", re.S)


class Clip(NamedTuple):
    """A clip that a reader's lists name.

    root, file:    its recording is ``root / file``; file None: there is none
    content:       a number of what the recording holds
    id, name:      how lists of what is wrong call it, and its split
    seconds:       how long it should be
    events:        its `Event` s, or None where onsets and offsets are unknown
    labels:        its classes, or None where nobody knows
    group:         a number of its source, or None: its id decides, for all clips
    spans:         (onset, offset) in s of the parts to be joined and repeated to 10 s; (): all
    """

    root: Path
    file: str | None
    content: int
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
    files:       ``files(sizes)``: key -> (lists, {name: (recording within root, `content`)})
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
        told, left_out = self._told(listing.splits, wrong)
        about = [
            f"{self.title}: {counts} clips of {len(listing.labels)} classes",
            told,
            *listing.notes,
            *self._remarks(listing, splits),
            *(self.finish(listing, splits) if self.finish else ()),
        ]
        return Corpus(self.name, listing.labels, splits, "; ".join(about) + ".", left_out)

    def left_out(self, spec: dict) -> str:
        """`Corpus.left_out`, which the cache keeps: large lists take a minute to read."""
        key = json.dumps(spec, sort_keys=True), self.fingerprint(spec), digest([__name__])
        path = cache_root() / self.name / f"left_out_{digest_of(*key)}.txt"
        corpora.once(lambda: [self.load(spec, 0).left_out], path)
        return path.read_text(encoding="utf-8")

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

    def get_it(self) -> str:
        """What to do about something that is not there."""
        return f"fetch it, see {self.published.splitlines()[0]}"

    def _first(self, split: str, listing: Listing, size: int) -> list[Clip]:
        """The first clips that have a recording."""
        there = [clip for clip in listing.splits[split] if clip.file]
        if not there:
            which = f"any of {len(listing.splits[split])} {split} clips in {listing.where[split]}"
            said = f"no recording of {which}, as {audio.FORMATS}: {self.get_it()}"
            raise FileNotFoundError(f"{self.name}: {said}")
        if size > len(there):
            raise ValueError(f"{self.name}: {split}={size}, but {len(there)} recordings are there")
        return there[: size or None]

    def _split(self, name: str, clips: list, blocks: list, wrong: dict, listing: Listing) -> Split:
        kept = [clip for clip in clips if not _lost(clip, wrong)]
        if not kept:
            root = clips[0].root
            raise ValueError(f"{root}: no recording of {name} can be decoded: fetch them again")
        names, events, groups = ([getattr(x, y) for x in kept] for y in ("name", "events", "group"))
        events, tags = None if events.count(None) == len(kept) else events, None
        if kept[0].labels is not None:
            tags = clip_labels((clip.labels for clip in kept), listing.labels, self.dtype)
        if None in groups:
            groups = [int(digest_of(clip.id)[:12], 16) for clip in kept]
        clean, made = tags if self.exact else None, partial(features, self.name, blocks)
        of = np.array(groups), made, partial(waveform, kept), RATE
        return Split(name, names, events, tags, clean, *of)

    def _told(self, splits: dict[str, list[Clip]], wrong: dict[str, tuple]) -> tuple[str, str]:
        """(for ``about``: what is missing, broken or short, listed in a file; ``left_out``)."""
        clips = [*chain(*splits.values())]
        missing = {clip.id: ("missing", "", "") for clip in clips if not clip.file}
        every = missing | wrong
        lines = [("segment", "state", "file", "detail")]
        lines += [(clip, *what) for clip, what in sorted(every.items())]
        text = "".join("\t".join(line) + "\n" for line in lines)
        path = cache_root() / self.name / f"missing_{digest_of(text)}.tsv"
        corpora.once(lambda: [text], path)
        broken = sum(state == "broken" for state, *_ in wrong.values())
        told = (
            f"of {len({clip.id for clip in clips}):,} clips {len(missing):,} have no recording, "
            f"{broken:,} a broken one (left out), {len(wrong) - broken:,} a short one (padded), "
            f"listed in {path.relative_to(cache_root())} of the cache"
        )
        counts = {name: sum(clip.id in every for clip in mine) for name, mine in splits.items()}
        by = ", ".join(f"{n:,} of {len(splits[name]):,} {name}" for name, n in counts.items() if n)
        return told, f"{self.title}: {told} ({by})." if every else ""

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
    name = digest_of(repr([(x.id, x.file, x.content, x.seconds, x.spans) for x in block]))
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
            promised = min(_promised(path), clip.seconds) - 0.05  # two frames of an MP3
            if len(samples) < max(0.95 * clip.seconds, promised) * rate:
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
    if any(_lost(clip, before) != _lost(clip, wrong) for clip in block):
        raise ValueError(f"{block[0].root}: recordings changed since their check: call again")
    if front_end is None:
        return [json.dumps(wrong)]
    shape = -1, front_end.frames, front_end.mels
    return [json.dumps(wrong), np.array(rows, np.float16).reshape(shape)]


def _promised(path: Path) -> float:
    """The seconds that an MP3 says it holds: its end may be cut off by less than `audio` tells."""
    with open(path, "rb") as file:
        counted = COUNTED.search(file.read(1 << 16))
    return soundfile.info(os.fsencode(path)).duration if counted else 0.0


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
    """{name: (file within root, its `content`)} of the recordings in folders of the root.

    named: of a file; its first group is the name. Of two with one name the first counts, by
    folders and then by paths. deep: also in all folders below.
    """
    found = {}
    for rank, folder in enumerate(folders):
        for base, inner, names in os.walk(root / folder, followlinks=True):
            for name in names:
                match, path = named.fullmatch(name), os.path.join(base, name)
                if match and os.path.isfile(path):  # a link to nothing counts as missing
                    one = rank, os.path.relpath(path, root)
                    found[match[1]] = min(one, found.get(match[1], one))
            if not deep:
                inner.clear()
    content = corpora.contents(root, [file for _, file in found.values()])
    for name, (_, file) in found.items():  # in place: AudioSet has two million
        found[name] = file, content[file]
    return found


def fields(
    path: Path, form: str, what: str, header: str = r"filename(\t.*)?"
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """("file:line", the groups of ``form``) of each line of a list, without headers and blank ones.

    form, header: regular expressions; white space around tabs is gone by then, and NaN where all
    after the first is NaN: pandas writes so what is empty. Tabs may follow. ValueError names a
    line that is not ``what``. Lists are UTF-8 or, as Excel writes them, UTF-16.
    """
    form, header = re.compile(rf"(?:{form})\t*", re.ASCII), re.compile(header)
    with open(path, "rb") as file:
        encoding = "utf-16" if b"\0" in file.read(400) else "utf-8-sig"
    with open(path, encoding=encoding, errors="replace") as file:
        for number, line in enumerate(file, 1):
            first, *rest = (x.strip() for x in line.split("\t"))
            if {x.lower() for x in rest} <= {"nan", ""}:
                first, rest = "" if first.lower() == "nan" else first, [""] * len(rest)
            text = "\t".join([first, *rest])
            if not text.strip() or header.fullmatch(text):
                continue
            match, shown = form.fullmatch(text), line.rstrip("\r\n")[:60]
            if not match:
                raise ValueError(f"{path}:{number}: expected {what}, found {shown!r}")
            yield f"{path}:{number}", match.groups()


def known(where: str, label: str, labels: tuple[str, ...]) -> str:
    """The label; ValueError where it is none of the list's."""
    if label not in labels:
        raise ValueError(f"{where}: label {label!r} is none of {', '.join(labels)}")
    return label


def event(
    where: str, label: str, onset: str, offset: str, labels, seconds=SECONDS, over=OVER
) -> Event:
    """A line's event in a clip of ``seconds`` s; ValueError for none.

    It may go on for ``over`` s after the clip, as some do that are published; what is only rounded
    is cut.
    """
    a, b = float(onset), float(offset)
    if not 0 <= a < min(b, seconds) or b > seconds + over:
        said = f"from {a:g} to {b:g} s is no event in {seconds:g} s"
        raise ValueError(f"{where}: {said}: give onset, then offset, in seconds")
    return Event(known(where, label, labels), a, seconds if 0 < b - seconds <= ROUNDING else b)


def clip_labels(given: Iterable[Collection[str]], labels: tuple[str, ...], dtype=np.float32):
    """(clips, classes): which of ``labels`` each clip has."""
    index, given = {label: k for k, label in enumerate(labels)}, [*given]
    found = np.zeros((len(given), len(labels)), dtype)
    rows = np.repeat(np.arange(len(given)), [len(mine) for mine in given])
    found[rows, [index[label] for mine in given for label in mine]] = 1
    return found
