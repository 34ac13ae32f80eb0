"""The embedded corpus: ten-second scenes with exact onsets and offsets, made where needed.

Clip i of a split depends on (replicate, split, i) alone, so any subset can be made anywhere,
in any order, always the same. Label noise has its own random stream: it never touches a scene.
Three shapes, each after one of the papers' corpora:
  ontology  AudioSet's: weak labels with structured noise, a long tail, sub-types under parents
  domestic  DESED's: strong (clean scenes), weak, unlabelled, validation and test (recorded)
  targets   target sound detection's: two bases with events (A recorded, B clean), novel classes
            with clip labels (`shapes.target_roles`), and references, one target alone in a clip
Splits without events still carry the truth, for oracles and pictures: `Split.clean_labels`
and `Split.hidden`; no method may read them.
Notebook: start_here.ipynb.
"""

import json
import os
from dataclasses import asdict
from functools import partial

import numpy as np

from wsaed import corpora
from wsaed.audio import resample
from wsaed.code import digest
from wsaed.corpora import Corpus, Event, Shards, Split, bank, pairs, shapes
from wsaed.corpora.acoustics import RATE
from wsaed.corpora.scenes import Scenes, annotate, plan, scene
from wsaed.corpora.sources import SPLITS, Sounds
from wsaed.features import FrontEnd, log_mel
from wsaed.files import cache_root, table

DEFAULTS = {**table("corpora/shapes.yaml")["spec"], **dict.fromkeys(SPLITS)}
AUDIO = ("shape", "bank", "snr", "classes_per_scene", "span", "flatten")  # keys one can hear
PAIRS = 8  # a random stream, as in `scenes`; the seventh is sources.IDENTITY


def load(spec: dict, replicate: int) -> Corpus:
    """The corpus of ``spec`` (keys: `DEFAULTS`), drawn anew for ``replicate``.

    A bank's folder comes from the environment's BANK; its last part must be spec["bank"].
    Raises ValueError, one line, for a spec or a bank that can't be used.
    """
    spec = complete(spec)
    folder, shape = spec["bank"], spec["shape"]
    sounds = bank.Sounds(folder, replicate, shape) if folder else Sounds(replicate)
    labels, siblings = shapes.labels(sounds, shape)
    key = {name: spec[name] for name in AUDIO} | {"sounds": sounds.key}
    snr, splits = tuple(map(float, spec["snr"])), {}
    for name in (split for split in SPLITS if spec[split]):
        scenes = Scenes(replicate, name, snr, sounds, **getattr(shapes, shape)(sounds, spec, name))
        count = spec[name] * (len(labels) if name == "references" else 1)
        splits[name] = split = _split(scenes, labels, siblings, count, spec["noise"], key)
        if shape == "targets" and name != "references":
            # asks for its role's classes alone; label noise never contradicts events
            known = split.clip_labels if split.events is None else split.clean_labels
            asked = [labels.index(name) for name, _ in scenes.units]
            split.pairs = pairs.pairs(known, asked, scenes.rng(PAIRS))
    about = _about(spec, labels, splits, sounds)
    return Corpus("soundscapes", labels, splits, about, sounds.left_out)


def complete(spec: dict) -> dict:
    """The spec with every default filled in; ValueError, one line, for what makes no sense."""
    for key in spec:
        _check(key in DEFAULTS, f"unknown key {key!r} in the spec; keys: {', '.join(DEFAULTS)}")
    spec = {**DEFAULTS, **spec}
    name, known = spec["shape"], ", ".join(shapes.SHAPES)
    _check(name in shapes.SHAPES, f"shape {name!r} can't be made; use one of: {known}")
    shape = shapes.SHAPES[name]
    spec |= {key: value for key, value in shape.items() if spec[key] is None}
    for split in SPLITS:
        size = spec[split] or 0
        _check(split in shape or not size, f"shape {name!r} has no split {split!r}")
        _check(isinstance(size, int) and size >= 0, f"{split}={size!r}: give clips, 0 or more")
    _check(spec["references"] != 1, "references=1: give 2 or more, to train and to test with")
    _check(spec["snr"][0] <= spec["snr"][1], f"snr={spec['snr']} must rise")
    _check(spec["noise"] >= 0, f"noise={spec['noise']} must be 0 or more")
    return spec


def _check(right: bool, says: str) -> None:
    if not right:
        raise ValueError(f"soundscapes: {says}")


def check(spec: dict, replicate: int) -> None:
    """ValueError, one line, where a bank has too few classes or recordings for the splits."""
    spec = complete(spec)
    if spec["bank"]:
        sounds = bank.Sounds(spec["bank"], replicate, spec["shape"])
        if spec["shape"] == "targets":
            shapes.target_roles(sounds.classes)
        for split in (split for split in SPLITS if spec[split]):
            for label in shapes.labels(sounds, spec["shape"])[0]:
                sounds.count(label, split)


def fingerprint(spec: dict) -> str:
    """What identifies a user's own recordings to the run cache; "" for the embedded sounds."""
    if not spec.get("bank"):
        return ""
    fold = os.environ.get("TEST_FOLD", "")
    return bank.fingerprint(bank.named(spec["bank"])) + (f" fold {fold}" if fold else "")


def _split(scenes: Scenes, labels, siblings, count: int, noise: float, key: dict) -> Split:
    index = {label: k for k, label in enumerate(labels)}
    sounds, name, tells = scenes.sounds, scenes.split, SPLITS[scenes.split]["tells"]
    loudest = np.full((count, len(labels)), -np.inf)
    events, groups = [[] for _ in range(count)], np.zeros(count, int)
    for i in range(count):
        planned = plan(scenes, i)
        groups[i] = sounds.classes.index(planned[0].name) * 100_000 + planned[0].source
        for event in planned:
            source = f"{event.name}/{name}/{event.source}"
            span = round(event.onset, 4), round(event.onset + event.seconds, 4)
            subtypes = sounds.subtypes[event.name]
            both = (event.name,) if event.subtype is None else (event.name, subtypes[event.subtype])
            for label in both:
                events[i].append(Event(label, *span, source, event.snr))
                loudest[i, index[label]] = max(loudest[i, index[label]], event.snr)
    sibling = np.array([index[siblings[label]] for label in labels])
    noisy = annotate(scenes, loudest, shapes.missing_rates(labels), sibling, noise)
    return Split(
        name,
        clips=[f"{name}_{i:05d}.wav" for i in range(count)],
        events=events if tells == "events" else None,
        clip_labels=None if tells == "nothing" else noisy,
        clean_labels=(loudest > -np.inf).astype(np.float32),
        groups=groups,
        features=partial(_features, scenes, count, key),
        waveform=partial(scene, scenes),
        rate=RATE,
        hidden=events,
    )


def _features(scenes: Scenes, count: int, key: dict, front_end: FrontEnd, only=None) -> Shards:
    """`Split.features`; full shards serve splits of every size. ``only`` makes that one alone."""
    key = key | {
        "front_end": asdict(front_end),
        "replicate": scenes.replicate,
        "split": scenes.split,
        "references": scenes.references,
        "code": digest(("wsaed.corpora.soundscapes", "wsaed.features")),
    }
    folder = cache_root() / "features" / corpora.digest_of(json.dumps(key, sort_keys=True))

    def shard(rows: range) -> list[np.ndarray]:
        waveforms = (resample(scene(scenes, i), RATE, front_end.rate) for i in rows)
        return [np.stack([log_mel(waveform, front_end) for waveform in waveforms])]

    blocks = [range(count)[k : k + corpora.SHARD] for k in range(0, count, corpora.SHARD)]
    blocks = blocks if only is None else blocks[only : only + 1]
    paths = tuple(folder / f"{rows.start:07d}_{rows.stop:07d}.npy" for rows in blocks)
    for rows, path in zip(blocks, paths, strict=True):
        corpora.once(partial(shard, rows), path)
    return Shards(paths)


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
        roles = " (" + "; ".join(f"{role}: {', '.join(names)}" for role, names in found) + ")"
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
