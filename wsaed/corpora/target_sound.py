"""Target sound detection's sets as one `Corpus`: S-TSD and L-TSD from AudioSet, URBAN-TSD.

AUDIOSET names a folder with AudioSet's strong lists as they are published

    audioset_train_strong.tsv  audioset_eval_strong.tsv  mid_to_display_name.tsv

and, in any folders below it, the recordings, named as `wsaed.corpora.audioset` wants them.
URBAN_SED names URBAN-SED's folder, see `wsaed.corpora.urban_sed`; its training part is used.

Classes, from all events of the lists, with a recording or without (`roles`): L-TSD has those with
more than 500 events in the training list and more than 50 in the evaluation list, without 11 vague
ones, as in the authors' public code. S-TSD has 51 of the others; which ones was not published, so
here it is the 51 with most training events among those that occur in both lists. URBAN-TSD has
URBAN-SED's ten. Dog bark and gun shot are shared with L-TSD, as the paper says (section 5.1), and
take AudioSet's names "Bark" and "Gunshot, gunfire".

Splits:
    base_a      S-TSD: training clips, events of its classes
    base_b      URBAN-TSD: training soundscapes, events
    novel       L-TSD: training clips, clip labels alone; ``hidden`` has the onsets
    validation  L-TSD: training clips held out, about 3.5 % of each class (`held_out`)
    test        L-TSD: evaluation clips
    references  10 a class, each a class alone: its events in one training clip that overlap no
                other class, joined and repeated to 10 s (`intervals`, `repeated`); for URBAN-TSD
                from its soundscapes, where its authors took UrbanSound8K
A split knows the classes of its own role only. All but references carry ``pairs``. A clip that
serves as a reference is in no other split; those of shared classes come from AudioSet. Pairs ask a
clip with N classes for these and for floor(N / 2) + 1 others.

The clips stand in an order that their names' hashes give, and replicates differ in nothing here.
Every file is decoded before it enters a split; what is missing, broken or short is counted in
``about`` and listed in the cache. Computed: 64 kB of features a clip at 500 frames and 64 mels,
7 GB for the paper's 94,126 + 16,118 clips of L-TSD. On made-up lists of the published size, reading
them, drawing the splits and the pairs takes 40 s and 1.1 GB of memory, in every process.

``python -m wsaed.corpora.target_sound`` makes it all ahead of a run, in parallel (JOBS) and
resumable: what is done is kept in CACHE/target_sound. Notebook: mixed_tsd/method.ipynb.
"""

import hashlib
from collections import Counter
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from wsaed import audio
from wsaed.code import digest
from wsaed.corpora import (
    Corpus,
    Event,
    Shards,
    Split,
    audioset,
    audioset_lists,
    build_shards,
    cache_root,
    recordings,
    urban_sed,
)
from wsaed.corpora.pairs import pairs
from wsaed.corpora.target_sound_rules import (
    BASE_CLASSES,
    EVAL_EVENTS,
    SECONDS,
    TRAIN_EVENTS,
    Clip,
    Reference,
    hashed,
    held_out,
    references,
    repeated,
    roles,
)
from wsaed.features import FRONT_ENDS, FrontEnd, log_mel

SHARED = {"dog_bark": "Bark", "gun_shot": "Gunshot, gunfire"}
DEFAULTS = dict.fromkeys(("base_a", "base_b", "novel", "validation", "test"), 0)  # clips; 0: all
DEFAULTS["references"] = 10  # a class
LISTS = tuple(audioset_lists.STRONG.values())  # of the training and of the evaluation clips
NAMES = "mid_to_display_name.tsv"


def load(spec: dict, replicate: int) -> Corpus:
    """The splits from the folders AUDIOSET and URBAN_SED.

    spec: ``base_a``, ``base_b``, ``novel``, ``validation``, ``test`` (a number of clips, the first
    ones; 0 or None: all), ``references`` (a number a class; 0 or None: 10, for all would leave
    nothing to train on), ``front_end`` (make these features in the pass that checks the audio).
    ``replicate`` changes nothing here. Raises ValueError, FileNotFoundError or OSError in one line.
    """
    return _corpus(spec, jobs=1)  # a pool's processes call this at once, and share the work


def fingerprint(spec: dict) -> str:
    """Digest of a user's own AudioSet and URBAN-SED: lists, recordings' names and sizes."""
    root = recordings.root_of("AUDIOSET")
    lists = [audioset_lists.find(root, name) for name in (*LISTS, NAMES)]
    parts = [hashlib.sha256(path.read_bytes()).hexdigest() for path in lists]
    parts.append(repr(sorted(audioset.find_recordings(root).values())))
    return recordings.digest_of(*parts, urban_sed.fingerprint({"validation": -1, "test": -1}))


def _sizes(spec: dict) -> dict[str, int]:
    """Clips by split (0: all) and references a class, after a check of the whole spec."""
    given = {k: n for k, n in spec.items() if k not in ("name", "front_end") and n is not None}
    sizes = DEFAULTS | given
    for name, n in sizes.items():
        if name not in DEFAULTS or type(n) is not int or n < 0 or (name, n) == ("references", 1):
            clips = ", ".join(name for name in DEFAULTS if name != "references")
            options = f"{clips} as numbers of clips, 0: all, references as 2 or more a class"
            raise ValueError(f"target_sound: {name}={n!r}: give {options}")
    sizes["references"] = sizes["references"] or DEFAULTS["references"]
    if spec.get("front_end") not in (None, *FRONT_ENDS):
        raise ValueError(f"target_sound: front_end is one of {', '.join(FRONT_ENDS)}")
    return sizes


def _names(path: Path) -> dict[str, str]:
    """{MID: display name}."""
    names = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        mid, _, name = line.partition("\t")
        if not mid.startswith("/") or not name.strip():
            form = "MID, display name between tabs"
            raise ValueError(f"{path}:{number}: expected {form}, found {line[:60]!r}")
        names[mid] = name.strip()
    return names


def _listed(root: Path) -> tuple[list[dict[str, list[Event]]], list[str]]:
    """([segment -> events, of the training and of the evaluation list], notes)."""
    names, found, notes = _names(audioset_lists.find(root, NAMES)), [], []
    for name in LISTS:
        events, left_out = audioset_lists.read_strong(audioset_lists.find(root, name), names)
        found.append(events)
        notes += [f"{left_out:,} events of {name} have labels outside {NAMES}"] if left_out else []
    return found, notes


def _urban(home: Path, novel: tuple[str, ...]) -> tuple[dict[str, list[Event]], tuple[str, ...]]:
    """(soundscape -> events, classes) of URBAN-TSD, in L-TSD's names where they are shared."""
    names = {x: SHARED[x] if SHARED.get(x) in novel else x for x in urban_sed.LABELS}
    events = {
        clip: [event._replace(label=names[event.label]) for event in mine]
        for clip, mine in urban_sed.annotations(home, "train").items()
    }
    return events, tuple(sorted(names.values()))


def _clips(
    listed: dict[str, list[Event]], classes, root: Path, there: dict, width: int | None = None
) -> tuple[list[Clip], list[str]]:
    """(clips that hold one of the classes, in the order of hashes, ids of those not recorded).

    there: {first ``width`` characters of an id: (file, bytes)}.
    """
    classes = set(classes)
    ids = [one for one, events in listed.items() if any(e.label in classes for e in events)]
    ids.sort(key=hashed)
    clips = [Clip(x, root, *there[x[:width]], listed[x]) for x in ids if x[:width] in there]
    return clips, [x for x in ids if x[:width] not in there]


def _draw(train: list[Clip], urban: list[Clip], classes: dict, count: int) -> tuple[dict, list]:
    """({split: clips} of all splits but test, references, the classes in turn)."""
    novel = _holding(train, classes["novel"])
    held = held_out(urban_sed.clip_labels(_events(novel, classes["novel"]), classes["novel"]))
    validation = [clip for clip, out in zip(novel, held, strict=True) if out]
    away = {clip.id for clip in validation}
    pool = _by_class(urban) | _by_class(clip for clip in train if clip.id not in away)
    labels = sorted({*chain(*classes.values())})
    chosen = [references(pool.get(label, []), label, count) for label in labels]
    turns = [mine[k] for k in range(count) for mine in chosen if k < len(mine)]
    away |= {reference.clip.id for reference in turns}
    of = {"base_a": train, "base_b": urban, "novel": novel}
    drawn = {
        name: [clip for clip in _holding(clips, classes[name]) if clip.id not in away]
        for name, clips in of.items()
    }
    return drawn | {"validation": validation}, turns


def _holding(clips: list[Clip], classes) -> list[Clip]:
    """The clips in which one of the classes sounds."""
    mine = _events(clips, classes)
    return [clip for clip, events in zip(clips, mine, strict=True) if events]


def _events(clips: list[Clip], classes) -> list[list[Event]]:
    """The clips' events of the classes."""
    classes = set(classes)
    return [[event for event in clip.events if event.label in classes] for clip in clips]


def _by_class(clips) -> dict[str, list[Clip]]:
    found = {}
    for clip in clips:
        for label in {event.label for event in clip.events}:
            found.setdefault(label, []).append(clip)
    return found


def _cut(drawn: dict[str, list[Clip]], sizes: dict[str, int]) -> dict[str, list[Clip]]:
    """The first clips of each split, as many as the spec wants."""
    for name, clips in drawn.items():
        if not clips:
            raise FileNotFoundError(
                f"target_sound: no recording for {name}: AUDIOSET has Y<YTID>.wav or "
                "<YTID>_<start in ms>.wav (or .flac, .ogg, .opus, .mp3), URBAN_SED audio/train/"
            )
        if sizes[name] > len(clips):
            there = f"{len(clips)} recordings are there"
            raise ValueError(f"target_sound: {name}={sizes[name]}, but {there}")
    return {name: clips[: sizes[name] or None] for name, clips in drawn.items()}


def _blocks(clips: list[Clip]) -> list[list[tuple]]:
    """The clips as `recordings` wants them; a recording lasts at least as its events do."""
    ends = (max(event.offset for event in clip.events) for clip in clips)
    return recordings.blocks_of(
        [(x.id, x.file, x.size, min(end, SECONDS)) for x, end in zip(clips, ends, strict=True)]
    )


def _check(drawn: dict, turns: list[Reference], front_end: str | None, jobs: int) -> list:
    """As `recordings.check`, each wrong recording once."""
    wrong, alone = set(), {reference.clip.id: reference.clip for reference in turns}
    for root in dict.fromkeys(clips[0].root for clips in drawn.values()):
        mine = [_blocks(clips) for clips in drawn.values() if clips[0].root == root]
        others = _blocks([clip for clip in alone.values() if clip.root == root])
        for blocks, made in ((chain(*mine), front_end), (others, None)):
            found = recordings.check("target_sound", root, [*blocks], made, jobs)
            wrong |= {*map(tuple, found)}
    return [*map(list, wrong)]


def _corpus(spec: dict, jobs: int) -> Corpus:
    sizes, root, home = _sizes(spec), recordings.root_of("AUDIOSET"), urban_sed.root()
    (train, test), notes = _listed(root)
    classes = roles(*(Counter(e.label for mine in x.values() for e in mine) for x in (train, test)))
    urban, classes["base_b"] = _urban(home, classes["novel"])
    labels = tuple(sorted({*chain(*classes.values())}))
    there, ours = audioset.find_recordings(root), classes["base_a"] + classes["novel"]
    train, absent = _clips(train, ours, root, there, 11)
    test, absent_too = _clips(test, classes["novel"], root, there, 11)
    there = urban_sed.find_recordings(home, "train")
    urban, silent = _clips(urban, classes["base_b"], home, there)
    missing, wanted = [*absent, *absent_too, *silent], [*train, *test, *urban]
    drawn, turns = _draw(train, urban, classes, sizes["references"])
    drawn = _cut(drawn | {"test": test}, sizes)
    wrong = _check(drawn, turns, spec.get("front_end"), jobs)
    broken = {clip for clip, state, *_ in wrong if state == "broken"}
    splits = {
        name: _split(name, clips, broken, classes.get(name, classes["novel"]), labels)
        for name, clips in drawn.items()
    }
    # a short one may end before its class sounds
    turns = [x for x in turns if x.clip.id not in {clip for clip, *_ in wrong}]
    splits["references"] = _references(turns, labels)
    if spec.get("front_end"):
        splits["references"].features(FRONT_ENDS[spec["front_end"]])
    total = len(missing) + len(wanted)
    told = recordings.told("target_sound", "clips", total, missing, wrong)
    about = [*_about(splits, classes), told, *notes, *_remarks(splits, classes, turns)]
    return Corpus("target_sound", labels, splits, "; ".join(about) + ".")


def _split(name: str, clips: list[Clip], broken: set, classes, labels: tuple[str, ...]) -> Split:
    kept, root = [clip for clip in clips if clip.id not in broken], clips[0].root
    if not kept:
        raise ValueError(f"{root}: no recording of {name} can be decoded: fetch them again")
    events, files = _events(kept, classes), [clip.file for clip in kept]
    given = urban_sed.clip_labels(events, labels)
    split = Split(
        name,
        [Path(file).name for file in files],
        None if name == "novel" else events,
        given,
        None,
        _groups(kept),
        partial(recordings.features, "target_sound", root, _blocks(clips)),
        partial(recordings.waveform, root, files),
        recordings.RATE,
        pairs(given, [labels.index(label) for label in classes], [*DEFAULTS].index(name)),
    )
    split.hidden = events
    return split


def _groups(clips: list[Clip]) -> np.ndarray:
    """A number a recording, the same in every split."""
    return np.array([int.from_bytes(hashed(clip.id)[:6]) for clip in clips])


def _references(turns: list[Reference], labels: tuple[str, ...]) -> Split:
    there = Counter(reference.label for reference in turns)
    for label in labels:
        if there[label] < 2:
            raise ValueError(
                f"target_sound: {there[label]} training recordings have {label!r} and can be its "
                "references, two are needed (for training, for testing): fetch more"
            )
    events = [[Event(x.label, 0.0, SECONDS, x.clip.id)] for x in turns]
    split = Split(
        "references",
        [f"{x.label}_{Path(x.clip.file).name}" for x in turns],
        events,
        urban_sed.clip_labels(events, labels),
        None,
        _groups([x.clip for x in turns]),
        partial(_features, turns),
        partial(_waveform, turns, recordings.RATE),
        recordings.RATE,
    )
    split.hidden = events
    return split


def _waveform(turns: list[Reference], rate: int, i: int) -> np.ndarray:
    clip = turns[i].clip
    waveform = audio.resample(*recordings.decode(clip.root / clip.file), rate)
    return repeated(waveform, rate, turns[i].intervals)


def _features(turns: list[Reference], front_end: FrontEnd, only: int | None = None) -> Shards:
    """`Split.features` of the references."""
    key = [(x.clip.id, x.clip.file, x.clip.size, x.intervals) for x in turns]
    code = digest(("wsaed.corpora.target_sound", "wsaed.features"))
    name = recordings.digest_of(repr(key), repr(front_end), code)
    folder = cache_root() / "target_sound" / "references" / name
    make = partial(_waveform, turns, front_end.rate)
    return build_shards(folder, len(turns), lambda i: log_mel(make(i), front_end), only)


def _about(splits: dict[str, Split], classes: dict) -> list[str]:
    sizes = [
        f"{len(split):,} {name}" + (f" ({len(split.pairs.clip):,} pairs)" if split.pairs else "")
        for name, split in splits.items()
    ]
    return [
        f"Target sounds: {', '.join(sizes)} clips",
        f"L-TSD has the {len(classes['novel'])} classes of AudioSet's strong lists with more than "
        f"{TRAIN_EVENTS} training and {EVAL_EVENTS} evaluation events, without the vague ones",
        f"S-TSD's {BASE_CLASSES} were not published: here it has {len(classes['base_a'])}, those "
        "of the others with most training events",
        f"URBAN-TSD has {len(classes['base_b'])}, of which L-TSD has "
        f"{len({*classes['base_b']} & {*classes['novel']})} too",
    ]


def _remarks(splits: dict[str, Split], classes: dict, turns: list[Reference]) -> list[str]:
    """What a reader must know: classes that never occur in a split, references that are mixed."""
    mixed = sorted({x.label for x in turns if not x.alone})
    remarks = [f"never alone, so that references hold more: {', '.join(mixed)}"] if mixed else []
    for name, split in splits.items():
        mine = len(classes.get(name, classes["novel"]))
        absent = mine - np.count_nonzero(split.clip_labels.any(0))
        remarks += [f"{absent} classes never occur in {name}"] if absent > 0 else []
    return remarks


def main(arguments: list[str] | None = None) -> None:
    """Check all audio and make features ahead of a run; errors are one line and exit 1."""
    recordings.command("target_sound", __doc__, DEFAULTS, _corpus, arguments)


if __name__ == "__main__":
    main()
