"""DESED's ten domestic classes as signal models.

Every dict of ranges gives (low, high) for both sub-types; siblings' ranges overlap on purpose.
Notebook: start_here.ipynb.
"""

from functools import partial

import numpy as np
from scipy.signal import oaconvolve

from wsaed.corpora.synthesis import (
    SoundClass,
    controls,
    draw,
    drift,
    harmonics,
    modes,
    motor,
    noise,
    peaks,
    phase,
    place,
    rise,
    scattered,
    slope,
    spread,
    tone,
    unit,
)
from wsaed.corpora.voices import bark, meow, talk


def alarm_bell(s: dict, samples: int, rate: int, rng) -> np.ndarray:
    """A bell struck 8 to 25 times a second, its partials those of a small gong."""
    seconds = samples / rate
    ratios = np.array([1.0, 1.58, 2.24, 2.92, 3.46, 4.07]) ** s["stretch"]
    ring = modes(
        rate, 0.5, s["f0"] * ratios, s["decay"] / ratios**0.7, ratios ** (s["bright"] - 1.5)
    )
    beats = np.arange(0, seconds, 1 / (s["pace"] * rng.uniform(0.95, 1.05)))
    times = beats + 0.004 * rng.standard_normal(len(beats))
    train = np.zeros(samples, np.float32)
    where = np.clip((times * rate).astype(int), 0, samples - 1)
    train[where] = rng.uniform(0.5, 1, len(beats))
    return oaconvolve(train, ring)[:samples]


def alarm_beeps(s: dict, samples: int, rate: int, rng) -> np.ndarray:
    """Gated tones of a buzzer, in groups, between two pitches."""
    t = controls(samples, rate)
    beat = (t * s["pace"] + 0.05) % 1
    gate = rise(beat, 0, 0.06) * (1 - rise(beat, s["duty"], s["duty"] + 0.06))
    turn = np.floor(t * s["pace"] + 0.05).astype(int)
    gate *= (turn % round(s["group"] + 1)) < s["group"]  # every so often one beep is left out
    pitch = s["f0"] * np.where(turn % 2, s["stretch"], 1.0)
    k = harmonics(float(pitch.max()), rate)
    weights = k ** -(2.5 - s["bright"]) * np.where(k % 2, 1, 0.3)
    return tone(phase(pitch, samples, rate, rng), weights) * spread(gate, samples, rate)


def alarm(s: dict, samples: int, rate: int, rng) -> np.ndarray:
    return (alarm_beeps if s["buzzer"] > 1 else alarm_bell)(s, samples, rate, rng)


def dishes(s: dict, samples: int, rate: int, rng) -> np.ndarray:
    """Four pieces of tableware, struck in clusters; every piece has its own damped modes."""
    seconds = samples / rate
    ratios = np.array([1.0, 1.9, 2.7, 4.1, 5.6, 7.3])
    # the pieces are the source's own: their detuning is a function of its numbers
    piece = np.arange(4)[:, None]
    detune = np.exp(0.35 * np.sin(piece * 2.4 + s["set"]) + 0.12 * np.sin(piece + 9 * ratios))
    f = s["f0"] * ratios * detune
    d = s["decay"] * (f / 2000) ** -0.6
    waves = modes(rate, min(0.5, 5 * s["decay"]), f, d, ratios ** (s["bright"] - 1))
    waves = waves / np.sqrt((waves**2).sum(1, keepdims=True))
    knocks = scattered(seconds, s["pace"], rng)
    times = np.concatenate([knocks, knocks + rng.exponential(0.06, len(knocks))])
    times = times[times < seconds]
    gains = 10 ** rng.uniform(-1.2, 0, (len(times), 1))
    gains[0] = 1.0
    rattle = place(samples, rate, times, gains * waves[rng.integers(4, size=len(times))])
    scrape = noise(samples, rate, rng, lambda f: peaks(f, (2.2 * s["f0"],), 1.5, 0.05))
    t = controls(samples, rate)
    rub = np.maximum(drift(t, 4, rng) - 0.5, 0)
    return unit(rattle) + s["scrape"] * spread(rub, samples, rate) * scrape


def frying(s: dict, samples: int, rate: int, rng) -> np.ndarray:
    """Steam hissing from many small bursts: shaped noise plus a Poisson train of crackles."""
    seconds = samples / rate
    hiss = noise(
        samples,
        rate,
        rng,
        lambda f: slope(f, s["corner"], 9, s["low"]) * peaks(f, (s["body"],), 1.0, 0.4),
    )
    times = scattered(seconds, s["pace"], rng)
    f = s["pop"] * np.exp(0.4 * rng.standard_normal((len(times), 1)))
    pops = modes(rate, 0.008, f, s["decay"] * np.exp(0.4 * rng.standard_normal(f.shape)), 1.0)
    pops = pops * rng.exponential(1, f.shape)
    level = 10 ** (0.08 * drift(controls(samples, rate), 1.5, rng))
    mix = hiss * spread(level, samples, rate)
    return mix + s["crackle"] * unit(place(samples, rate, times, pops))


def water(s: dict, samples: int, rate: int, rng) -> np.ndarray:
    """Falling water: hiss of the spray plus bubbles, each a damped tone (Minnaert)."""
    seconds = samples / rate
    spray = noise(
        samples,
        rate,
        rng,
        lambda f: slope(f, s["corner"], 5, s["low"]) * peaks(f, (s["body"], s["body2"]), 1.5, 0.4),
    )
    times = scattered(seconds, s["pace"], rng)
    f = s["bubble"] * np.exp(0.45 * rng.standard_normal((len(times), 1)))
    drops = modes(rate, 0.03, f, 9 / f, rng.exponential(1, f.shape))
    level = 10 ** (0.06 * drift(controls(samples, rate), 4, rng))
    wet = s["bubbling"] * unit(place(samples, rate, times, drops))
    return spray * spread(level, samples, rate) + wet


def blender(s: dict, samples: int, rate: int, rng) -> np.ndarray:
    t = controls(samples, rate)
    chunks = np.clip(s["chunks"] * drift(t, 9, rng), -0.2, 0.25)
    churn = 10 ** (1.2 * spread(chunks, samples, rate))
    return motor(s, samples, rate, rng, chunks * 0.5) * churn


def vacuum(s: dict, samples: int, rate: int, rng) -> np.ndarray:
    t = controls(samples, rate)
    nozzle = s["stroke"] * np.sin(2 * np.pi * s["pace"] * t + 0.5 * drift(t, 1, rng))
    return motor(s, samples, rate, rng, 0.1 * nozzle) * spread(10**nozzle, samples, rate)


def shaver(s: dict, samples: int, rate: int, rng) -> np.ndarray:
    t = controls(samples, rate)
    contact = np.clip(0.5 + s["contact"] * drift(t, 2.5, rng), 0, 1)
    return motor(s, samples, rate, rng, 0.08 * contact) * spread(1 - 0.5 * contact, samples, rate)


MOTOR = {"timbre": ((0.05, 0.5), (0.05, 0.5)), "ramp": ((0.08, 0.4), (0.05, 0.25))}
ALARM = {
    "f0": ((900, 2400), (750, 3200)),
    "stretch": ((0.93, 1.08), (0.75, 1.33)),
    "decay": ((0.05, 0.35), (0.1, 0.11)),
    "bright": ((0.4, 1.6), (0.5, 1.5)),
    "pace": ((7, 22), (1.5, 9)),
    "duty": ((0.5, 0.51), (0.3, 0.65)),
    "group": ((3, 4), (2, 8)),
    "buzzer": ((0.5, 0.6), (2, 2.1)),
}
BLENDER = MOTOR | {
    "f0": ((90, 190), (150, 320)),
    "slope": ((0.3, 0.8), (0.4, 1.0)),
    "body": ((350, 1100), (700, 2200)),
    "body2": ((1500, 3500), (2200, 5000)),
    "tonal": ((0.35, 0.6), (0.45, 0.75)),
    "corner": ((1200, 3500), (1500, 5000)),
    "fall": ((4, 9), (3, 8)),
    "wobble": ((0.008, 0.03), (0.01, 0.04)),
    "flutter": ((0.2, 0.7), (0.1, 0.5)),
    "chunks": ((0.06, 0.2), (0.03, 0.12)),
}
CAT = {
    "f0": ((450, 850), (300, 620)),
    "tract": ((0.95, 1.35), (0.8, 1.15)),
    "length": ((0.45, 0.95), (0.8, 1.8)),
    "gap": ((0.3, 1.2), (0.15, 0.6)),
    "bend": ((0.3, 0.8), (0.4, 1.0)),
    "vibrato": ((4, 8), (5, 11)),
    "depth": ((0.005, 0.03), (0.02, 0.08)),
    "breath": ((0.05, 0.2), (0.1, 0.4)),
    "tilt": ((0.7, 1.3), (0.4, 1.0)),
}
DISHES = {
    "f0": ((500, 1300), (900, 2600)),
    "set": ((0.5, 6.5), (0.5, 6.5)),
    "decay": ((0.012, 0.05), (0.025, 0.13)),
    "bright": ((0.2, 0.9), (0.5, 1.2)),
    "pace": ((2.5, 8), (3, 10)),
    "scrape": ((0.05, 0.3), (0.05, 0.4)),
}
DOG = {
    "f0": ((420, 900), (180, 500)),
    "tract": ((1.0, 1.5), (0.65, 1.1)),
    "length": ((0.10, 0.2), (0.15, 0.32)),
    "gap": ((0.12, 0.4), (0.2, 0.7)),
    "bend": ((0.3, 0.9), (0.3, 0.8)),
    "rough": ((0.02, 0.1), (0.04, 0.15)),
    "breath": ((0.1, 0.4), (0.2, 0.7)),
    "tilt": ((0.5, 1.1), (0.6, 1.2)),
}
SHAVER = MOTOR | {
    "f0": ((60, 130), (110, 270)),
    "slope": ((0.1, 0.5), (0.1, 0.7)),
    "body": ((1200, 3500), (500, 1800)),
    "body2": ((3500, 7000), (2000, 5500)),
    "tonal": ((0.7, 0.95), (0.75, 0.97)),
    "corner": ((3000, 7000), (2000, 6000)),
    "fall": ((3, 7), (4, 8)),
    "wobble": ((0.003, 0.012), (0.004, 0.02)),
    "flutter": ((0.3, 0.9), (0.2, 0.8)),
    "contact": ((0.15, 0.5), (0.15, 0.6)),
}
FRYING = {
    "corner": ((2800, 9000), (2000, 7000)),
    "low": ((450, 2000), (250, 1200)),
    "body": ((2800, 7000), (1500, 5000)),
    "pace": ((40, 160), (60, 200)),
    "pop": ((1600, 5500), (900, 3800)),
    "decay": ((0.0006, 0.002), (0.001, 0.004)),
    "crackle": ((0.3, 1.2), (0.5, 1.6)),
}
WATER = {
    "corner": ((1200, 5500), (2200, 8000)),
    "low": ((150, 900), (300, 1500)),
    "body": ((400, 2000), (700, 3000)),
    "body2": ((1800, 4500), (3000, 6500)),
    "pace": ((40, 140), (20, 90)),
    "bubble": ((450, 1300), (800, 2200)),
    "bubbling": ((0.3, 1.5), (0.1, 0.8)),
}
SPEECH = {
    "f0": ((85, 165), (150, 270)),
    "tract": ((0.9, 1.1), (1.05, 1.25)),
    "syllable": ((0.15, 0.25), (0.14, 0.24)),
    "pause": ((0.2, 0.6), (0.2, 0.6)),
    "phrase": ((4, 12), (4, 12)),
    "accent": ((0.06, 0.2), (0.08, 0.25)),
    "breath": ((0.02, 0.1), (0.04, 0.18)),
    "hiss": ((3800, 5500), (4500, 6800)),
    "tilt": ((0.8, 1.3), (0.9, 1.5)),
}
VACUUM = MOTOR | {
    "f0": ((170, 420), (300, 750)),
    "slope": ((0.5, 1.2), (0.4, 1.1)),
    "body": ((400, 1300), (800, 2500)),
    "body2": ((1500, 4000), (2500, 6000)),
    "tonal": ((0.08, 0.35), (0.15, 0.45)),
    "corner": ((800, 3000), (1500, 5000)),
    "fall": ((3, 7), (3, 6)),
    "wobble": ((0.002, 0.008), (0.002, 0.01)),
    "flutter": ((0.03, 0.2), (0.03, 0.2)),
    "stroke": ((0.02, 0.15), (0.02, 0.12)),
    "pace": ((0.3, 0.9), (0.4, 1.2)),
}

# name: sub-types, stationary, sibling, ranges, renderer
_TABLE = {
    "Alarm_bell_ringing": (("Bell", "Beeper"), False, "Dishes", ALARM, alarm),
    "Blender": (("Jug_blender", "Hand_blender"), True, "Vacuum_cleaner", BLENDER, blender),
    "Cat": (("Meow", "Caterwaul"), False, "Dog", CAT, meow),
    "Dishes": (("Crockery", "Cutlery"), False, "Alarm_bell_ringing", DISHES, dishes),
    "Dog": (("Yap", "Woof"), False, "Cat", DOG, bark),
    "Electric_shaver_toothbrush": (
        ("Shaver", "Toothbrush"),
        True,
        "Vacuum_cleaner",
        SHAVER,
        shaver,
    ),
    "Frying": (("Sizzle", "Deep_frying"), True, "Running_water", FRYING, frying),
    "Running_water": (("Tap", "Shower"), True, "Frying", WATER, water),
    "Speech": (("Male_speech", "Female_speech"), False, "Cat", SPEECH, talk),
    "Vacuum_cleaner": (("Floor_vacuum", "Handheld_vacuum"), True, "Blender", VACUUM, vacuum),
}
DOMESTIC = tuple(
    SoundClass(name, "domestic", types, held, sibling, partial(draw, ranges), model)
    for name, (types, held, sibling, ranges, model) in _TABLE.items()
)
