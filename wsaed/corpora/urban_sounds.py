"""URBAN-SED's ten urban classes as signal models.

Every dict of ranges gives (low, high) for both sub-types; siblings' ranges overlap on purpose.
Notebook: start_here.ipynb.
"""

from functools import partial

import numpy as np
from scipy.signal import oaconvolve

from wsaed.corpora.domestic_sounds import DOG, MOTOR
from wsaed.corpora.synthesis import (
    SoundClass,
    bout,
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
    slope,
    spread,
    tone,
    unit,
    within,
)
from wsaed.corpora.voices import bark, talk


def horn(s: dict, samples: int, rate: int, rng) -> np.ndarray:
    """Honks of two reeds at once, their overtones lifted by the horn's own resonance."""
    t = controls(samples, rate)
    length = s["length"] * np.exp(0.4 * rng.standard_normal())
    starts, lengths = bout(samples / rate, length, s["gap"], rng, vary=0.35)
    i, u = within(t, starts, lengths)
    edge = (np.minimum(0.03, 0.2 * lengths) / lengths)[i]
    gate = rise(u, 0, edge) * (1 - rise(u, 1 - edge, 1.0))
    sag = 1 + 0.02 * rise(u, 0.9, 1.0) - 0.015 * (1 - rise(u, 0, 3 * edge))
    k = harmonics(s["f0"] * s["interval"] * 1.05, rate)
    x = 0.0
    for ratio in (1.0, s["interval"]):
        weights = k ** -s["slope"] * peaks(k * s["f0"] * ratio, (s["body"], s["body2"]), 2, 0.15)
        x = x + tone(phase(s["f0"] * ratio * sag, samples, rate, rng), weights)
    return x * spread(gate, samples, rate)


def siren(s: dict, samples: int, rate: int, rng) -> np.ndarray:
    """A tone swept between two pitches, fast up and slower down, through a horn."""
    t = controls(samples, rate)
    turn = (t * s["pace"] * rng.uniform(0.95, 1.05) + rng.random()) % 1
    up = s["up"]
    sweep = np.where(turn < up, turn / up, (1 - turn) / (1 - up)) ** s["bow"]
    pitch = s["f0"] * s["range"] ** sweep
    k = harmonics(float(pitch.max()), rate)
    level = (0.35 + 0.65 / (1 + ((pitch - s["body"]) / (0.6 * s["body"])) ** 2)) * 10 ** (
        0.1 * drift(t, 0.7, rng)
    )
    return tone(phase(pitch, samples, rate, rng), k ** -s["slope"]) * spread(level, samples, rate)


def children(s: dict, samples: int, rate: int, rng) -> np.ndarray:
    """Two children at once: `talk` with a high and lively pitch and a short tract."""
    other = s | {"f0": s["f0"] * s["second"], "tract": s["tract"] * s["second"] ** 0.25}
    near, far = talk(s, samples, rate, rng), talk(other, samples, rate, rng)
    return unit(near) + rng.uniform(0.3, 1.0) * unit(far)


def drill(s: dict, samples: int, rate: int, rng) -> np.ndarray:
    """A geared motor that slows when pressed, with the hammering of a percussion drill."""
    t = controls(samples, rate)
    press = np.clip(0.5 + drift(t, s["pace"], rng), 0, 1)
    x = motor(s, samples, rate, rng, s["load"] * press)
    hits = phase(s["hammer"] * (1 - 0.15 * press), samples, rate, rng) % 1
    knock = np.exp(-6 * hits) * spread(press, samples, rate)
    debris = noise(samples, rate, rng, lambda f: peaks(f, (s["body2"],), 1.2, 0.1))
    return unit(x) + s["knock"] * knock * debris


def engine(s: dict, samples: int, rate: int, rng) -> np.ndarray:
    """Four cylinders at idle: exhaust pulses through a pipe, and the knock of each ignition."""
    t = controls(samples, rate)
    speed = s["f0"] * rng.uniform(0.94, 1.06) * (1 + s["hunt"] * drift(t, 2, rng))
    cycles = phase(speed / 4, samples, rate, rng)
    k = np.arange(1, 161)
    uneven = np.where(k % 4, s["uneven"] * (0.6 + 0.4 * np.cos(k * k * 2.4)), 1.0)
    pipe = peaks(k * s["f0"] / 4, (s["body"], s["body2"]), 2, 0.1)
    exhaust = tone(cycles, k ** -s["slope"] * uneven * pipe)
    strike = np.exp(-s["sharp"] * (4 * cycles % 1))
    rattle = noise(samples, rate, rng, lambda f: peaks(f, (s["knock_hz"],), 1.5, 0.1))
    air = noise(samples, rate, rng, lambda f: slope(f, s["corner"], 6))
    return exhaust + s["knock"] * unit(strike * rattle) + s["air"] * air


def hammer(s: dict, samples: int, rate: int, rng) -> np.ndarray:
    """Blows of a breaker: each an exhaust burst and a ringing chisel, at a near-steady pace."""
    t = controls(samples, rate)
    speed = s["pace"] * rng.uniform(0.94, 1.06) * (1 + 0.03 * drift(t, 3, rng))
    cycles = phase(speed, samples, rate, rng)
    since = cycles % 1
    blow = np.flatnonzero(np.diff(np.floor(cycles), prepend=-1))
    train = np.zeros(samples, np.float32)
    train[blow] = rng.uniform(0.4, 1, len(blow))
    ratios = np.array([1.0, 1.7, 2.6, 3.9])
    ring = modes(rate, 0.12, s["f0"] * ratios, s["decay"] / ratios**0.5, ratios**-0.4)
    burst = np.exp(-since / (s["burst"] * s["pace"]))
    air = noise(
        samples,
        rate,
        rng,
        lambda f: slope(f, s["corner"], 5) * peaks(f, (s["body"],), 1.5, 0.3),
    )
    clang = unit(oaconvolve(train, ring)[:samples])
    return unit(burst * air) + s["clang"] * clang + 0.1 * air


def shot(s: dict, samples: int, rate: int, rng) -> np.ndarray:
    """One to four shots: a crack, a boom, then echoes that grow darker as they fade."""
    tail = max(0.3, s["tail"] * rng.uniform(2.5, 4))
    count = rng.choice([1, 2, 3, 4], p=(0.6, 0.2, 0.1, 0.1))
    times = np.append(0.0, np.cumsum(s["repeat"] * rng.uniform(0.8, 1.3, count - 1)))
    times = times[times < max(samples / rate - 0.3, 0.01)]
    samples = min(samples, round((times[-1] + tail) * rate))
    t = np.arange(min(samples, round(tail * rate)), dtype=np.float32) / rate
    crack = noise(len(t), rate, rng, lambda f: slope(f, s["corner"], 4, s["low"]))
    boom = noise(len(t), rate, rng, lambda f: slope(f, s["body"], 14, 50))
    echo = noise(len(t), rate, rng, lambda f: slope(f, s["echo_hz"], 8, 80))
    one = 3 * np.exp(-t / s["decay"]) * crack + s["boom"] * np.exp(-t / (4 * s["decay"])) * boom
    one = one + s["echo"] * np.exp(-t / s["tail"]) * rise(t, 0.0, s["delay"]) * echo
    gains = np.append(1.0, rng.uniform(0.6, 1, len(times) - 1))[:, None]
    return place(samples, rate, times, gains * one)


def music(s: dict, samples: int, rate: int, rng) -> np.ndarray:
    """A tune over a slow bass; every note starts bright and grows mellow as it decays."""
    seconds, t = samples / rate, controls(samples, rate)
    scale = np.array([0, 2, 4, 7, 9, 12, 14, 16, 19])
    x = 0.0
    for octave, note, level in ((1.0, s["note"], 1.0), (0.5, 2 * s["note"], 0.6)):
        starts, lengths = bout(seconds, note, note, rng, every=6, vary=0.15)
        steps = np.cumsum(rng.integers(-2, 3, len(starts))) + rng.integers(len(scale))
        steps = np.abs((steps + 8) % 16 - 8)  # a walk that turns back at the scale's ends
        i, u = within(t, starts, lengths)
        pitch = s["f0"] * octave * 2 ** (scale[steps] / 12)
        since = u * lengths[i]
        attack = rise(since, 0, s["attack"]) * (1 - rise(u, 0.9, 1.0 + s["ring"]))
        fade = np.exp(-since / s["decay"])
        shake = 1 + 0.004 * s["vibrato"] * np.sin(2 * np.pi * 5.5 * t)
        cycles = phase(pitch[i] * shake, samples, rate, rng)
        k = harmonics(float(pitch.max()), rate)
        weights = k ** -s["slope"] * peaks(k * s["f0"], (s["body"], s["body2"]), 1.5, 0.3)
        bright, mellow = tone(cycles, weights), tone(cycles, weights / k)
        share = spread(np.exp(-since / (0.25 * s["decay"])), samples, rate)
        gain = spread(attack * fade * level, samples, rate)
        x = x + gain * (share * bright + (1 - share) * mellow)
    return x


AIR = MOTOR | {
    "f0": ((48, 62), (22, 55)),
    "slope": ((0.3, 0.9), (0.4, 1.1)),
    "body": ((110, 320), (70, 220)),
    "body2": ((500, 1600), (300, 1100)),
    "tonal": ((0.25, 0.6), (0.1, 0.45)),
    "corner": ((250, 900), (200, 1000)),
    "fall": ((3, 6), (3.5, 7)),
    "wobble": ((0.001, 0.004), (0.002, 0.01)),
    "flutter": ((0.03, 0.2), (0.1, 0.45)),
}
HORN = {
    "f0": ((330, 480), (150, 360)),
    "interval": ((1.18, 1.35), (1.15, 1.55)),
    "slope": ((0.1, 0.6), (0.2, 0.8)),
    "body": ((1500, 3200), (700, 1900)),
    "body2": ((3000, 5000), (1600, 3500)),
    "length": ((0.2, 0.8), (0.6, 1.8)),
    "gap": ((0.1, 0.4), (0.2, 0.7)),
}
CHILDREN = {
    "f0": ((240, 380), (330, 620)),
    "tract": ((1.2, 1.42), (1.28, 1.5)),
    "second": ((0.8, 1.25), (0.75, 1.3)),
    "syllable": ((0.15, 0.26), (0.22, 0.55)),
    "pause": ((0.25, 0.7), (0.3, 0.9)),
    "phrase": ((3, 8), (1.5, 4)),
    "accent": ((0.15, 0.35), (0.2, 0.5)),
    "breath": ((0.03, 0.15), (0.04, 0.2)),
    "hiss": ((5000, 7200), (5000, 7200)),
    "tilt": ((0.8, 1.3), (0.6, 1.1)),
}
# the street's dogs are the home's, a little farther apart in pitch and quicker
BARK = DOG | {"f0": ((380, 820), (160, 470)), "gap": ((0.1, 0.35), (0.15, 0.6))}
DRILL = MOTOR | {
    "f0": ((180, 480), (120, 330)),
    "slope": ((0.2, 0.8), (0.2, 0.8)),
    "body": ((900, 2600), (600, 2000)),
    "body2": ((2500, 6000), (1800, 5000)),
    "tonal": ((0.55, 0.85), (0.4, 0.7)),
    "corner": ((2000, 6000), (1500, 5000)),
    "fall": ((3, 7), (3, 7)),
    "wobble": ((0.005, 0.02), (0.005, 0.03)),
    "flutter": ((0.1, 0.5), (0.1, 0.5)),
    "pace": ((0.4, 1.2), (0.5, 1.5)),
    "load": ((0.1, 0.35), (0.05, 0.25)),
    "hammer": ((35, 70), (24, 60)),
    "knock": ((0.1, 0.6), (0.8, 2.5)),
}
ENGINE = {
    "f0": ((20, 38), (17, 30)),
    "hunt": ((0.005, 0.02), (0.01, 0.04)),
    "uneven": ((0.1, 0.4), (0.2, 0.7)),
    "slope": ((0.3, 0.8), (0.2, 0.7)),
    "body": ((60, 170), (50, 140)),
    "body2": ((220, 700), (300, 1000)),
    "sharp": ((2, 5), (4, 10)),
    "knock": ((0.1, 0.45), (0.3, 1.2)),
    "knock_hz": ((900, 3000), (1000, 2800)),
    "corner": ((200, 900), (300, 1500)),
    "air": ((0.1, 0.5), (0.1, 0.5)),
}
SHOT = {
    "corner": ((1500, 5000), (700, 3000)),
    "low": ((250, 900), (80, 350)),
    "decay": ((0.008, 0.03), (0.015, 0.06)),
    "body": ((150, 500), (90, 300)),
    "boom": ((0.5, 1.5), (1, 3)),
    "tail": ((0.08, 0.3), (0.15, 0.6)),
    "delay": ((0.01, 0.08), (0.02, 0.2)),
    "echo": ((0.1, 0.4), (0.15, 0.6)),
    "echo_hz": ((500, 1800), (300, 1200)),
    "repeat": ((0.15, 0.5), (0.25, 0.9)),
}
HAMMER = {
    "pace": ((9, 17), (14, 30)),
    "f0": ((500, 1500), (900, 2500)),
    "decay": ((0.006, 0.03), (0.004, 0.018)),
    "burst": ((0.012, 0.035), (0.008, 0.02)),
    "corner": ((700, 3000), (1500, 5000)),
    "body": ((300, 1200), (600, 2200)),
    "clang": ((0.3, 1.0), (0.4, 1.3)),
}
SIREN = {
    "f0": ((450, 750), (550, 900)),
    "range": ((1.7, 2.8), (1.4, 2.3)),
    "pace": ((0.12, 0.5), (1.2, 4.5)),
    "up": ((0.3, 0.6), (0.3, 0.7)),
    "bow": ((0.5, 1.2), (0.6, 1.5)),
    "slope": ((0.7, 1.8), (0.6, 1.6)),
    "body": ((800, 1700), (800, 1900)),
}
MUSIC = {
    "f0": ((180, 360), (200, 420)),
    "note": ((0.16, 0.45), (0.25, 0.7)),
    "attack": ((0.004, 0.012), (0.03, 0.1)),
    "decay": ((0.25, 0.9), (2, 6)),
    "ring": ((0.3, 1.0), (0.05, 0.3)),
    "vibrato": ((0.1, 0.3), (0.5, 2.0)),
    "slope": ((0.6, 1.2), (0.3, 1.0)),
    "body": ((300, 1000), (500, 1600)),
    "body2": ((1200, 3000), (1800, 4000)),
}

# name: sub-types, stationary, sibling, ranges, renderer
_TABLE = {
    "air_conditioner": (("Window_unit", "Roof_fan"), True, "engine_idling", AIR, motor),
    "car_horn": (("Car_honk", "Truck_horn"), False, "siren", HORN, horn),
    "children_playing": (("Chatter", "Shouting"), False, "dog_bark", CHILDREN, children),
    "dog_bark": (("Small_dog_bark", "Large_dog_bark"), False, "children_playing", BARK, bark),
    "drilling": (("Power_drill", "Hammer_drill"), True, "jackhammer", DRILL, drill),
    "engine_idling": (("Petrol", "Diesel"), True, "air_conditioner", ENGINE, engine),
    "gun_shot": (("Pistol", "Rifle"), False, "dog_bark", SHOT, shot),
    "jackhammer": (("Pneumatic_breaker", "Electric_breaker"), True, "drilling", HAMMER, hammer),
    "siren": (("Wail", "Yelp"), True, "car_horn", SIREN, siren),
    "street_music": (("Plucked", "Accordion"), True, "car_horn", MUSIC, music),
}
URBAN = tuple(
    SoundClass(name, "urban", types, held, sibling, partial(draw, ranges), model)
    for name, (types, held, sibling, ranges, model) in _TABLE.items()
)
