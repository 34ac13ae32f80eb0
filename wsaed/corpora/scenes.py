"""How one scene is made: planned, rendered, recorded; and how its clip labels go wrong.

Clip i of a split depends on (replicate, split, i) alone. Every purpose has its own random
stream, so that label noise never touches a scene.
Notebook: start_here.ipynb.
"""

from typing import NamedTuple

import numpy as np

from wsaed.corpora import acoustics
from wsaed.corpora.acoustics import RATE, SAMPLES
from wsaed.corpora.sounds import SHORTEST
from wsaed.corpora.sources import SPLITS, Sounds, draw, durations

PLAN, SOUND, RECORDING, NOISE, START, PLACE = range(1, 7)  # random streams; see `Scenes.rng`
GAP = 0.15  # seconds: a shorter gap between a class's events is none in DESED
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
        return SPLITS[self.split]["domain"]

    def seed(self, stream: int, *more: int) -> tuple[int, ...]:
        return stream, self.replicate, SPLITS[self.split]["seed"], *more

    def rng(self, stream: int, *more: int) -> np.random.Generator:
        return np.random.default_rng(self.seed(stream, *more))


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
    rng, sounds, (low, high) = scenes.rng(PLAN, i), scenes.sounds, scenes.snr
    chosen = [draw(scenes.first, (scenes.rng(START).random() + i * GOLDEN) % 1)]
    for _ in range(draw(np.array(scenes.classes), rng.random())):
        weights = scenes.prior * scenes.others[chosen].prod(0)
        if weights.any():
            chosen.append(draw(weights, rng.random()))
    events = []
    for name, subtype in (scenes.units[unit] for unit in chosen):
        sources = sounds.count(name, scenes.split)
        source = int(rng.integers(sources))
        if subtype is not None:
            source = 2 * int(rng.integers(sources // 2)) + subtype
        loudness = rng.uniform(low, high)
        lengths = []
        for seconds in durations(name, scenes.domain, rng):
            own = scenes.rng(SOUND, i, len(events) + len(lengths))
            seconds = sounds.seconds(name, scenes.split, source, seconds, own)
            lengths.append(max(SHORTEST, seconds))
        # people and machines take turns: of two arrangements, the one that overlaps less
        tries = [arrange(lengths, rng) for _ in range(2)]
        for onset, seconds in min(tries, key=lambda spans: _overlap(spans, events)):
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
    snr = float(scenes.rng(PLAN, i).uniform(*scenes.snr))
    return Planned(name, None, source, 0.0, SAMPLES / RATE, snr, 0)


def arrange(lengths: list[float], rng: np.random.Generator) -> list[tuple[float, float]]:
    """Onsets and lengths of one class's events in ten seconds, at least `GAP` apart.

    The last events are left out as long as not all fit.
    """
    lengths = [min(length, 10.0) for length in lengths]
    while sum(lengths) + GAP * (len(lengths) - 1) > 10:
        lengths.pop()
    free = 10 - sum(lengths) - GAP * (len(lengths) - 1)
    gaps = free * rng.dirichlet(np.ones(len(lengths) + 1))[:-1] + GAP
    gaps[0] -= GAP
    onsets = np.cumsum(gaps) + np.cumsum([0, *lengths[:-1]])
    return list(zip(onsets, lengths, strict=True))


def _overlap(spans: list[tuple[float, float]], events: list[Planned]) -> float:
    """Seconds that new events share with ``events``, added up over all pairs."""
    return sum(
        max(0.0, min(onset + seconds, e.onset + e.seconds) - max(onset, e.onset))
        for onset, seconds in spans
        for e in events
    )


def scene(scenes: Scenes, i: int) -> np.ndarray:
    """The waveform of clip i: (160000,) float32 at 16 kHz."""
    dry = np.zeros(SAMPLES, np.float32)
    for event in plan(scenes, i):
        own = scenes.rng(SOUND, i, event.seed)
        sound = scenes.sounds.render(event.name, scenes.split, event.source, event.seconds, own)
        if scenes.references:
            sound = np.resize(sound, len(dry))  # what is shorter is repeated
        start = round(event.onset * RATE)
        sound = sound[: len(dry) - start] * np.float32(10 ** (event.snr / 20))
        dry[start : start + len(sound)] += sound
    record = acoustics.clean if scenes.domain == "clean" else acoustics.record
    return record(dry, scenes.seed(PLACE), scenes.rng(RECORDING, i))


def annotate(scenes: Scenes, loudest, rates, sibling, noise: float) -> np.ndarray:
    """Noisy clip labels (clips, labels) float32.

    A label is missed twice as often as its rate where its loudest event lies at the faint end
    of the range, half as often at the loud end. A true label may put its sibling beside it.
    loudest: (clips, labels) dB, -inf where a label isn't true; rates: (labels,);
    sibling: (labels,) index of each one's sibling.
    """
    (low, high), true = scenes.snr, loudest > -np.inf
    fainter = ((low + high) / 2 - loudest) / max((high - low) / 2, 1e-9)
    miss = np.minimum(0.9, noise * rates * 2.0 ** np.where(true, fainter, 0))
    u = np.stack([scenes.rng(NOISE, i).random((2, len(rates))) for i in range(len(true))])
    given = true & (u[:, 0] >= miss)
    clips, heard = np.nonzero(true & (u[:, 1] < min(0.9, noise * WRONG)))
    wrong = clips, sibling[heard]
    given[wrong] |= ~true[wrong]
    return given.astype(np.float32)
