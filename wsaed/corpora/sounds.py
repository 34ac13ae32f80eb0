"""The embedded sounds: twenty classes, each a small physical or signal model with two sub-types.

A source (`draw_source`) is one thing that sounds: this dog, this vacuum cleaner. An event
(`render`) is one time that it does. Both depend on their arguments and the generator alone.
The classes are DESED's ten and URBAN-SED's ten; sounds.yaml has their ranges, and here are the
models that are neither voices nor machines.
Notebook: start_here.ipynb.
"""

from types import SimpleNamespace as Source

import numpy as np
from scipy.signal import oaconvolve

from wsaed.corpora import machines, voices
from wsaed.corpora.synthesis import Take, harmonics, modes, peaks, rise, slope, tone, unit
from wsaed.files import table

CLASSES: dict[str, dict] = {
    name: {"family": family, **sound}
    for family in ("domestic", "urban")
    for name, sound in table("corpora/sounds.yaml")[family].items()
}
SHORTEST = 0.25  # seconds: no event is shorter where more was asked for


def draw_source(name: str, subtype: int, rng: np.random.Generator) -> dict:
    """One identity of a class as a dict of floats; ``subtype`` is 0 or 1.

    Every parameter is log-uniform within its sub-type's (low, high), all above 0.
    """
    sound = _class(name)
    if subtype not in (0, 1):
        raise ValueError(f"{name} has no sub-type {subtype!r}; use 0 or 1: {sound['subtypes']}")
    ranges = {key: np.log(pair[subtype]) for key, pair in sound["ranges"].items()}
    return {key: float(np.exp(rng.uniform(*pair))) for key, pair in ranges.items()}


def render(
    name: str, source: dict, seconds: float, rng: np.random.Generator, rate: int = 16_000
) -> np.ndarray:
    """One event of a source: float32 (samples,) at ``rate`` Hz, RMS 1, no DC, edges faded.

    It lasts ``seconds`` at most; an impulsive sound may end sooner, though not before 0.25 s.
    """
    _class(name)
    samples = round(seconds * rate)
    if samples < 2:
        raise ValueError(f"{name}: {seconds} s at {rate} Hz is no sound; ask for more seconds")
    x = MODELS[name](Source(**source), Take(samples, rate, rng)).astype(np.float64)
    x = np.pad(x, (0, max(0, min(samples, round(SHORTEST * rate)) - len(x))))
    fade = np.ones(len(x))
    for edge, at in ((0.003, slice(None)), (0.015, slice(None, None, -1))):
        width = min(round(edge * rate), len(x) // 4)
        fade[at][:width] *= np.sin(np.pi / 2 * np.arange(width) / max(width, 1)) ** 2
    x = (x - x.mean()) * fade
    x -= fade * (x.sum() / fade.sum())  # the fades brought a little DC back
    return (x / np.sqrt(np.mean(x * x))).astype(np.float32)


def _class(name: str) -> dict:
    if name not in CLASSES:
        raise ValueError(f"unknown sound class {name!r}; use one of: {', '.join(CLASSES)}")
    return CLASSES[name]


def alarm_bell(s: Source, take: Take) -> np.ndarray:
    """A bell struck 8 to 25 times a second, its partials those of a small gong."""
    rng = take.rng
    ratios = np.array([1.0, 1.58, 2.24, 2.92, 3.46, 4.07]) ** s.stretch
    levels = ratios ** (s.bright - 1.5)
    ring = modes(take.rate, 0.5, s.f0 * ratios, s.decay / ratios**0.7, levels)
    beats = np.arange(0, take.seconds, 1 / (s.pace * rng.uniform(0.95, 1.05)))
    times = beats + 0.004 * rng.standard_normal(len(beats))
    train = np.zeros(take.samples, np.float32)
    where = np.clip((times * take.rate).astype(int), 0, take.samples - 1)
    train[where] = rng.uniform(0.5, 1, len(beats))
    return oaconvolve(train, ring)[: take.samples]


def alarm_beeps(s: Source, take: Take) -> np.ndarray:
    """Gated tones of a buzzer, in groups, between two pitches."""
    beats = take.t * s.pace + 0.05
    beat, turn = beats % 1, np.floor(beats).astype(int)
    gate = rise(beat, 0, 0.06) * (1 - rise(beat, s.duty, s.duty + 0.06))
    gate *= (turn % round(s.group + 1)) < s.group  # every so often one beep is left out
    pitch = s.f0 * np.where(turn % 2, s.stretch, 1.0)
    k = harmonics(pitch, take.rate)
    weights = k ** -(2.5 - s.bright) * np.where(k % 2, 1, 0.3)
    return tone(take.phase(pitch), weights) * take.spread(gate)


def alarm(s: Source, take: Take) -> np.ndarray:
    return alarm_beeps(s, take) if s.buzzer > 1 else alarm_bell(s, take)


def dishes(s: Source, take: Take) -> np.ndarray:
    """Four pieces of tableware, struck in clusters; every piece has its own damped modes."""
    rng = take.rng
    ratios = np.array([1.0, 1.9, 2.7, 4.1, 5.6, 7.3])
    # the pieces are the source's own: their detuning is a function of its numbers
    piece = np.arange(4)[:, None]
    detune = np.exp(0.35 * np.sin(piece * 2.4 + s.set) + 0.12 * np.sin(piece + 9 * ratios))
    f = s.f0 * ratios * detune
    d = s.decay * (f / 2000) ** -0.6
    waves = modes(take.rate, min(0.5, 5 * s.decay), f, d, ratios ** (s.bright - 1))
    waves = waves / np.sqrt((waves**2).sum(1, keepdims=True))
    knocks = take.scattered(s.pace)
    times = np.concatenate([knocks, knocks + rng.exponential(0.06, len(knocks))])
    times = times[times < take.seconds]
    gains = 10 ** rng.uniform(-1.2, 0, (len(times), 1))
    gains[0] = 1.0
    rattle = take.place(times, gains * waves[rng.integers(4, size=len(times))])
    scrape = take.noise(lambda f: peaks(f, (2.2 * s.f0,), 1.5, 0.05))
    rub = np.maximum(take.drift(4) - 0.5, 0)
    return unit(rattle) + s.scrape * take.spread(rub) * scrape


def frying(s: Source, take: Take) -> np.ndarray:
    """Steam hissing from many small bursts: shaped noise plus a Poisson train of crackles."""
    rng = take.rng
    hiss = take.noise(lambda f: slope(f, s.corner, 9, s.low) * peaks(f, (s.body,), 1.0, 0.4))
    times = take.scattered(s.pace)
    f = s.pop * np.exp(0.4 * rng.standard_normal((len(times), 1)))
    pops = modes(take.rate, 0.008, f, s.decay * np.exp(0.4 * rng.standard_normal(f.shape)), 1.0)
    pops = pops * rng.exponential(1, f.shape)
    level = 10 ** (0.08 * take.drift(1.5))
    return hiss * take.spread(level) + s.crackle * unit(take.place(times, pops))


def water(s: Source, take: Take) -> np.ndarray:
    """Falling water: hiss of the spray plus bubbles, each a damped tone (Minnaert)."""
    rng, body = take.rng, (s.body, s.body2)
    spray = take.noise(lambda f: slope(f, s.corner, 5, s.low) * peaks(f, body, 1.5, 0.4))
    times = take.scattered(s.pace)
    f = s.bubble * np.exp(0.45 * rng.standard_normal((len(times), 1)))
    drops = modes(take.rate, 0.03, f, 9 / f, rng.exponential(1, f.shape))
    level = 10 ** (0.06 * take.drift(4))
    return spray * take.spread(level) + s.bubbling * unit(take.place(times, drops))


def horn(s: Source, take: Take) -> np.ndarray:
    """Honks of two reeds at once, their overtones lifted by the horn's own resonance."""
    length = s.length * np.exp(0.4 * take.rng.standard_normal())
    starts, lengths = take.bout(length, s.gap, vary=0.35)
    i, u = take.within(starts, lengths)
    edge = (np.minimum(0.03, 0.2 * lengths) / lengths)[i]
    gate = rise(u, 0, edge) * (1 - rise(u, 1 - edge, 1.0))
    sag = 1 + 0.02 * rise(u, 0.9, 1.0) - 0.015 * (1 - rise(u, 0, 3 * edge))
    k = harmonics(s.f0 * s.interval * 1.05, take.rate)
    x = 0.0
    for ratio in (1.0, s.interval):
        weights = k**-s.slope * peaks(k * s.f0 * ratio, (s.body, s.body2), 2, 0.15)
        x = x + tone(take.phase(s.f0 * ratio * sag), weights)
    return x * take.spread(gate)


def siren(s: Source, take: Take) -> np.ndarray:
    """A tone swept between two pitches, fast up and slower down, through a horn."""
    turn = (take.t * s.pace * take.rng.uniform(0.95, 1.05) + take.rng.random()) % 1
    sweep = np.where(turn < s.up, turn / s.up, (1 - turn) / (1 - s.up)) ** s.bow
    pitch = s.f0 * s.range**sweep
    through = 0.35 + 0.65 / (1 + ((pitch - s.body) / (0.6 * s.body)) ** 2)
    level = through * 10 ** (0.1 * take.drift(0.7))
    k = harmonics(pitch, take.rate)
    return tone(take.phase(pitch), k**-s.slope) * take.spread(level)


def shot(s: Source, take: Take) -> np.ndarray:
    """One to four shots: a crack, a boom, then echoes that grow darker as they fade."""
    rate, rng = take.rate, take.rng
    tail = max(0.3, s.tail * rng.uniform(2.5, 4))
    count = rng.choice([1, 2, 3, 4], p=(0.6, 0.2, 0.1, 0.1))
    times = np.append(0.0, np.cumsum(s.repeat * rng.uniform(0.8, 1.3, count - 1)))
    times = times[times < max(take.seconds - 0.3, 0.01)]
    all_of_them = Take(min(take.samples, round((times[-1] + tail) * rate)), rate, rng)
    one = Take(min(all_of_them.samples, round(tail * rate)), rate, rng)
    t = np.arange(one.samples, dtype=np.float32) / rate
    crack = one.noise(lambda f: slope(f, s.corner, 4, s.low))
    boom = one.noise(lambda f: slope(f, s.body, 14, 50))
    echo = one.noise(lambda f: slope(f, s.echo_hz, 8, 80))
    wave = 3 * np.exp(-t / s.decay) * crack + s.boom * np.exp(-t / (4 * s.decay)) * boom
    wave = wave + s.echo * np.exp(-t / s.tail) * rise(t, 0.0, s.delay) * echo
    gains = np.append(1.0, rng.uniform(0.6, 1, len(times) - 1))[:, None]
    return all_of_them.place(times, gains * wave)


def music(s: Source, take: Take) -> np.ndarray:
    """A tune over a slow bass; every note starts bright and grows mellow as it decays."""
    rng = take.rng
    scale = np.array([0, 2, 4, 7, 9, 12, 14, 16, 19])
    x = 0.0
    for octave, note, level in ((1.0, s.note, 1.0), (0.5, 2 * s.note, 0.6)):
        starts, lengths = take.bout(note, note, every=6, vary=0.15)
        steps = np.cumsum(rng.integers(-2, 3, len(starts))) + rng.integers(len(scale))
        steps = np.abs((steps + 8) % 16 - 8)  # a walk that turns back at the scale's ends
        i, u = take.within(starts, lengths)
        pitch = s.f0 * octave * 2 ** (scale[steps] / 12)
        since = u * lengths[i]
        attack = rise(since, 0, s.attack) * (1 - rise(u, 0.9, 1.0 + s.ring))
        fade = np.exp(-since / s.decay)
        shake = 1 + 0.004 * s.vibrato * np.sin(2 * np.pi * 5.5 * take.t)
        cycles = take.phase(pitch[i] * shake)
        k = harmonics(pitch, take.rate)
        weights = k**-s.slope * peaks(k * s.f0, (s.body, s.body2), 1.5, 0.3)
        bright, mellow = tone(cycles, weights), tone(cycles, weights / k)
        share = take.spread(np.exp(-since / (0.25 * s.decay)))
        gain = take.spread(attack * fade * level)
        x = x + gain * (share * bright + (1 - share) * mellow)
    return x


_KNOWN = {**vars(machines), **vars(voices), **globals()}
MODELS = {name: _KNOWN[sound["model"]] for name, sound in CLASSES.items()}
