"""The embedded corpus: ten-second scenes with exact onsets and offsets, made where needed.

Clip i of a split depends on (replicate, split, i) alone, so any subset can be made anywhere,
in any order, always the same. Label noise has its own random stream: it never touches a scene.
Three shapes, each after one of the papers' corpora:
  ontology  AudioSet's: weak labels with structured noise, a long tail, sub-types under parents
  domestic  DESED's: strong (clean scenes), weak, unlabelled, validation and test (recorded)
  targets   target sound detection's: two bases with events (A recorded, B clean), novel classes
            with clip labels (`shapes.target_roles`), and references, one target alone in a clip
Splits without events still carry the truth, for oracles and pictures: `Split.clean_labels`
and the attribute ``hidden`` (a list of `Event` a clip); no method may read them.
Notebook: start_here.ipynb.
"""

import hashlib
import json
import os
from dataclasses import asdict
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from torchaudio.functional import resample

from wsaed.code import digest
from wsaed.corpora import (
    SHARD,
    Corpus,
    Event,
    Shards,
    Split,
    acoustics,
    bank,
    build_shards,
    cache_root,
    pairs,
    shapes,
)
from wsaed.corpora.sources import (
    RATE,
    SHORTEST,
    SPLITS,
    Sounds,
    arrange,
    draw,
    durations,
    generated,
)
from wsaed.features import FrontEnd, log_mel

DEFAULTS = MappingProxyType(
    {
        "name": "soundscapes",
        "shape": "ontology",
        "bank": None,  # name of the folder of recordings that the environment's BANK is
        # clips (of references: clips a class); None: the shape's, see shapes.SHAPES
        **{split: None for split in SPLITS},
        "noise": None,  # times the rates of missing and wrong labels, 0 for none; None: as above
        "snr": (10.0, 30.0),  # dB, range of an event's level above the background
        "classes_per_scene": None,  # ontology, targets: shares of 1, 2, ...; None: as above
        "span": 100.0,  # ontology: most frequent over rarest training label
        "flatten": 0.25,  # ontology: exponent that evens out validation and test prevalences
    }
)
AUDIO = ("shape", "bank", "snr", "classes_per_scene", "span", "flatten")  # keys one can hear
PLAN, SOUND, RECORDING, NOISE, START, PLACE = range(1, 7)  # random streams; see `_rng`
PAIRS = 8  # the seventh is sources.IDENTITY
WRONG = 0.023  # wrong labels a true one, at noise 1
GOLDEN = (5**0.5 - 1) / 2


class Scenes(NamedTuple):
    """All that decides how one split sounds.

    units:    (class, sub-type or None) that a scene may contain
    first:    (units,) weights of a scene's first unit
    others:   (units, units) weights of a unit, given one already there; 0 within a class
    prior:    (units,) weights of a further unit before ``others``
    classes:  weights of 1, 2, ... classes a scene
    references: how many of each class there are in the split of that name; 0 in all others
    """

    replicate: int
    split: str
    snr: tuple[float, float]
    sounds: Sounds
    units: tuple[tuple[str, int | None], ...]
    first: np.ndarray
    others: np.ndarray
    prior: np.ndarray
    classes: tuple[float, ...]
    references: int = 0

    @property
    def domain(self) -> str:
        return "clean" if self.split in ("strong", "base_b") else "recorded"


class Planned(NamedTuple):
    """An event of a scene: class, sub-type, source number, seconds, dB, seed of its rendering."""

    name: str
    subtype: int | None
    source: int
    onset: float
    seconds: float
    snr: float
    seed: int


def plan(scenes: Scenes, i: int) -> list[Planned]:
    """The events of clip i, loudest first.

    The first class follows a golden-ratio sequence over the clips: still a function of i, but
    any run of clips has each class about as often as it should, so none is missing by chance.
    """
    if scenes.references:
        return [plan_reference(scenes, i)]
    rng = _rng(PLAN, scenes, i)
    chosen = [draw(scenes.first, (_rng(START, scenes).random() + i * GOLDEN) % 1)]
    for _ in range(draw(np.array(scenes.classes), rng.random())):
        weights = scenes.prior * scenes.others[chosen].prod(0)
        if weights.any():
            chosen.append(draw(weights, rng.random()))
    events = []
    for name, subtype in (scenes.units[unit] for unit in chosen):
        sources = scenes.sounds.count(name, scenes.split)
        source = int(rng.integers(sources))
        if subtype is not None:
            source = 2 * int(rng.integers(sources // 2)) + subtype
        low, high = scenes.snr
        loudness = rng.uniform(low, high)
        lengths = [
            scenes.sounds.seconds(
                name, scenes.split, source, seconds, _rng(SOUND, scenes, i, len(events) + k)
            )
            for k, seconds in enumerate(durations(name, scenes.domain, rng))
        ]
        lengths = [max(SHORTEST, seconds) for seconds in lengths]
        # people and machines take turns: of two arrangements, the one that overlaps less
        tries = [arrange(lengths, rng) for _ in range(2)]
        onsets, lengths = min(tries, key=lambda spans: _overlap(*spans, events))
        for onset, seconds in zip(onsets, lengths, strict=True):
            snr = float(np.clip(loudness + rng.uniform(-3, 3), low, high))
            events.append(Planned(name, subtype, source, onset, seconds, snr, len(events)))
    return sorted(events, key=lambda event: -event.snr)


def plan_reference(scenes: Scenes, i: int) -> Planned:
    """The event of reference i: class i, modulo the classes, alone for the whole ten seconds.

    The first half of a class's references has the first half of its sources, the second the other.
    """
    k, name = i // len(scenes.units), scenes.units[i % len(scenes.units)][0]
    half, sources = scenes.references // 2, scenes.sounds.count(name, scenes.split) // 2
    source = k % sources if k < half else sources + (k - half) % sources
    snr = float(_rng(PLAN, scenes, i).uniform(*scenes.snr))
    return Planned(name, None, source, 0.0, acoustics.SAMPLES / RATE, snr, 0)


def _overlap(onsets, lengths, events: list[Planned]) -> float:
    """Seconds that new events share with ``events``, added up over all pairs."""
    return sum(
        max(0.0, min(onset + seconds, e.onset + e.seconds) - max(onset, e.onset))
        for onset, seconds in zip(onsets, lengths, strict=True)
        for e in events
    )


def _rng(stream: int, scenes: Scenes, *seeds: int) -> np.random.Generator:
    return np.random.default_rng((stream, scenes.replicate, SPLITS[scenes.split], *seeds))


def scene(scenes: Scenes, i: int) -> np.ndarray:
    """The waveform of clip i: (160000,) float32 at 16 kHz."""
    dry = np.zeros(acoustics.SAMPLES, np.float32)
    for event in plan(scenes, i):
        sound = scenes.sounds.render(
            event.name,
            scenes.split,
            event.source,
            event.seconds,
            _rng(SOUND, scenes, i, event.seed),
        )
        if scenes.references:
            sound = np.resize(sound, len(dry))  # what is shorter is repeated
        start = round(event.onset * RATE)
        sound = sound[: len(dry) - start] * np.float32(10 ** (event.snr / 20))
        dry[start : start + len(sound)] += sound
    record = acoustics.clean if scenes.domain == "clean" else acoustics.record
    place = PLACE, scenes.replicate, SPLITS[scenes.split]
    return record(dry, place, _rng(RECORDING, scenes, i))


def annotate(scenes: Scenes, clean, loudest, rates, sibling, noise: float) -> np.ndarray:
    """Noisy clip labels from clean ones, both (clips, labels) float32.

    A label is missed twice as often as its rate where its loudest event lies at the faint end
    of the range, half as often at the loud end. A true label may put its sibling beside it.
    loudest: (clips, labels) dB; rates: (labels,); sibling: (labels,) index of each one's sibling.
    """
    low, high = scenes.snr
    fainter = ((low + high) / 2 - loudest) / max((high - low) / 2, 1e-9)
    miss = np.minimum(0.9, noise * rates * 2.0 ** np.where(clean > 0, fainter, 0))
    u = np.stack([_rng(NOISE, scenes, i).random((2, len(rates))) for i in range(len(clean))])
    given = clean * (u[:, 0] >= miss)
    clips, true = np.nonzero((clean > 0) & (u[:, 1] < min(0.9, noise * WRONG)))
    wrong = clips, sibling[true]
    given[wrong] = np.where(clean[wrong] > 0, given[wrong], 1)
    return given.astype(np.float32)


def _features(scenes: Scenes, count: int, key: dict, front_end: FrontEnd, only=None) -> Shards:
    """As `wsaed.corpora.build_shards`; full shards serve splits of every size, the rest its own."""
    key = key | {
        "front_end": asdict(front_end),
        "replicate": scenes.replicate,
        "split": scenes.split,
        "references": scenes.references,
        "code": digest(("wsaed.corpora.soundscapes", "wsaed.features")),
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    folder, full = cache_root() / "features" / name, count // SHARD

    def feature(i: int) -> np.ndarray:
        waveform = scene(scenes, i)
        if front_end.rate != RATE:
            waveform = resample(torch.from_numpy(waveform), RATE, front_end.rate).numpy()
        return log_mel(waveform, front_end)

    def rest(i: int) -> np.ndarray:
        return feature(full * SHARD + i)

    paths = ()
    if only is None or only < full:
        paths += build_shards(folder, full * SHARD, feature, only).paths
    if count % SHARD and only in (None, full):
        paths += build_shards(folder / f"rest_{count}", count % SHARD, rest).paths
    return Shards(paths)


def _split(scenes: Scenes, labels, siblings, count: int, noise: float, key: dict) -> Split:
    index = {label: k for k, label in enumerate(labels)}
    clean = np.zeros((count, len(labels)), np.float32)
    loudest = np.full(clean.shape, -np.inf)
    events, groups, named = [], [], len(index) > len(scenes.sounds.classes)
    for i in range(count):
        planned = plan(scenes, i)
        groups.append(scenes.sounds.classes.index(planned[0].name) * 100_000 + planned[0].source)
        events.append([])
        for event in planned:
            source = f"{event.name}/{scenes.split}/{event.source}"
            span = round(event.onset, 4), round(event.onset + event.seconds, 4)
            both = [event.name]
            if named and event.subtype is not None:
                both.append(scenes.sounds.subtypes[event.name][event.subtype])
            for label in both:
                events[-1].append(Event(label, *span, source, event.snr))
                clean[i, index[label]] = 1
                loudest[i, index[label]] = max(loudest[i, index[label]], event.snr)
    sibling = np.array([index[siblings[label]] for label in labels])
    strong = scenes.split in ("strong", "base_a", "base_b", "validation", "test")
    noisy = annotate(scenes, clean, loudest, shapes.missing_rates(labels), sibling, noise)
    split = Split(
        scenes.split,
        [f"{scenes.split}_{i:05d}.wav" for i in range(count)],
        events if strong else None,
        None if scenes.split == "unlabelled" else noisy,
        clean,
        np.array(groups),
        partial(_features, scenes, count, key),
        partial(scene, scenes),
        RATE,
    )
    split.hidden = events
    return split


def complete(spec: dict) -> dict:
    """The spec with every default filled in; ValueError, one line, for what makes no sense."""
    unknown = sorted(set(spec) - set(DEFAULTS))
    if unknown:
        raise ValueError(
            f"soundscapes: unknown key {unknown[0]!r} in the spec; keys: {', '.join(DEFAULTS)}"
        )
    spec = {**DEFAULTS, **spec}
    shape = shapes.SHAPES.get(spec["shape"])
    if shape is None:
        known = ", ".join(shapes.SHAPES)
        raise ValueError(f"soundscapes: shape {spec['shape']!r} can't be made; use one of: {known}")
    spec |= {name: value for name, value in shape.items() if spec[name] is None}
    for split in SPLITS:
        size = spec[split]
        if split not in shape and size:
            raise ValueError(f"soundscapes: shape {spec['shape']!r} has no split {split!r}")
        if split in shape and (not isinstance(size, int) or size < 0):
            raise ValueError(f"soundscapes: {split}={size!r} must be a number of clips, 0 or more")
    if spec["references"] == 1:
        raise ValueError("soundscapes: references=1 must be 2 or more: to train and to test with")
    low, high = spec["snr"]
    if not low <= high or not spec["noise"] >= 0:
        raise ValueError(
            f"soundscapes: snr={list(spec['snr'])} must rise and noise={spec['noise']} be 0 or more"
        )
    return spec


def load(spec: dict, replicate: int) -> Corpus:
    """The corpus of ``spec`` (keys: `DEFAULTS`), drawn anew for ``replicate``.

    A bank's folder comes from the environment's BANK; its last part must be spec["bank"].
    Raises ValueError, one line, for a spec or a bank that can't be used.
    """
    spec = complete(spec)
    folder, shape = spec["bank"], spec["shape"]
    sounds = bank.sounds(folder, replicate, shape) if folder else generated(replicate)
    weights = {
        "ontology": shapes.ontology,
        "domestic": shapes.domestic,
        "targets": shapes.targets,
    }[shape]
    labels, siblings = shapes.labels(sounds, shape)
    key = {name: spec[name] for name in AUDIO} | {"sounds": sounds.key}
    splits = {}
    for name in SPLITS:
        if spec[name]:
            snr = tuple(map(float, spec["snr"]))
            scenes = Scenes(replicate, name, snr, sounds, **weights(sounds, spec, name))
            count = spec[name] * (len(labels) if name == "references" else 1)
            splits[name] = _split(scenes, labels, siblings, count, spec["noise"], key)
            if shape == "targets" and name != "references":
                splits[name].pairs = _pairs(scenes, splits[name], labels)
    return Corpus("soundscapes", labels, splits, _about(spec, labels, splits, sounds))


def _pairs(scenes: Scenes, split: Split, labels: tuple[str, ...]) -> pairs.Pairs:
    """Asks for the classes of the split's role alone; label noise never contradicts events."""
    known = split.clip_labels if split.events is None else split.clean_labels
    asked = [labels.index(name) for name, _ in scenes.units]
    return pairs.pairs(known, asked, _rng(PAIRS, scenes))


def fingerprint(spec: dict) -> str:
    """What identifies a user's own recordings to the run cache; "" for the embedded sounds."""
    if not spec.get("bank"):
        return ""
    fold = os.environ.get("TEST_FOLD", "")
    return bank.fingerprint(bank.named(spec["bank"])) + (f" fold {fold}" if fold else "")


def _about(spec: dict, labels, splits: dict[str, Split], sounds: Sounds) -> str:
    """The corpus in one sentence with numbers."""
    first = next(iter(splits.values()))
    clean = first.clean_labels
    given = clean if first.clip_labels is None else first.clip_labels
    share, right = clean.mean(0), (given * clean).sum()
    scenes = [s for s in splits.values() if s.name != "references"]
    lengths = [e.offset - e.onset for s in scenes for c in s.hidden for e in c]
    roles = ""
    if spec["shape"] == "targets":
        found = shapes.target_roles(sounds.classes).items()
        roles = "; ".join(f"{role}: {', '.join(names)}" for role, names in found)
        roles = f" ({roles})"
        share = share[share > 0]  # a scene has its role's classes alone
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in splits.items())
    return (
        f"Ten-second soundscapes ({sizes}) from {sounds.about}{roles}: {len(labels)} labels, "
        f"{clean.sum(1).mean():.1f} a clip, in {share.min():.1%} to {share.max():.1%} of the "
        f"{first.name} clips; there {1 - right / clean.sum():.0%} of the true labels are missing "
        f"and {1 - right / max(given.sum(), 1):.0%} of the given ones wrong; events "
        f"{np.mean(lengths):.1f} s on average, {spec['snr'][0]:g} to {spec['snr'][1]:g} dB above "
        "the background."
    )
