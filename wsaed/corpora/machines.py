"""Machines: what turns, hums and hammers. A model is ``(source, take) -> (samples,)``.

Notebook: start_here.ipynb.
"""

from types import SimpleNamespace as Source

import numpy as np
from scipy.signal import oaconvolve

from wsaed.corpora.synthesis import Take, harmonics, modes, peaks, slope, tone, unit


def motor(s: Source, take: Take, load: np.ndarray | float = 0.0) -> np.ndarray:
    """A running machine: harmonics of its turning plus turbulent noise, through one body.

    s: f0 (Hz), slope (harmonics fall as k^-slope), timbre (which harmonics stand out), body,
    body2 (resonances, Hz), tonal (harmonics' share of the RMS), corner, fall (noise: Hz, dB an
    octave), wobble (speed, share), flutter (noise modulated by the turning), ramp (s).
    load (points,): slows the turning by that share, above 0.
    """
    rng = take.rng
    start = rng.uniform(0.1, 0.6) * np.exp(-take.t / (s.ramp * rng.uniform(0.7, 1.4)))
    speed = s.f0 * rng.uniform(0.95, 1.05) * (1 - start)
    speed = speed * (1 + s.wobble * take.drift(3.0))
    speed = np.maximum(speed * (1 - load), 5.0)
    k = harmonics(speed, take.rate)
    body = (s.body, s.body2)
    uneven = 10 ** (0.5 * np.cos(2 * np.pi * k * k * s.timbre))
    cycles = take.phase(speed)
    hum = tone(cycles, k**-s.slope * uneven * peaks(k * s.f0, body, 2.0, 0.2))
    air = take.noise(lambda f: slope(f, s.corner, s.fall, 100) * peaks(f, body, 2.0, 0.35))
    air = air * (1 + s.flutter * tone(cycles, np.ones(1)))
    return take.spread(1 - start) ** 2 * (s.tonal * hum + (1 - s.tonal) * air)


def blender(s: Source, take: Take) -> np.ndarray:
    chunks = np.clip(s.chunks * take.drift(9), -0.2, 0.25)
    return motor(s, take, chunks * 0.5) * 10 ** (1.2 * take.spread(chunks))


def vacuum(s: Source, take: Take) -> np.ndarray:
    nozzle = s.stroke * np.sin(2 * np.pi * s.pace * take.t + 0.5 * take.drift(1))
    return motor(s, take, 0.1 * nozzle) * take.spread(10**nozzle)


def shaver(s: Source, take: Take) -> np.ndarray:
    contact = np.clip(0.5 + s.contact * take.drift(2.5), 0, 1)
    return motor(s, take, 0.08 * contact) * take.spread(1 - 0.5 * contact)


def drill(s: Source, take: Take) -> np.ndarray:
    """A geared motor that slows when pressed, with the hammering of a percussion drill."""
    press = np.clip(0.5 + take.drift(s.pace), 0, 1)
    x = motor(s, take, s.load * press)
    hits = take.phase(s.hammer * (1 - 0.15 * press)) % 1
    knock = np.exp(-6 * hits) * take.spread(press)
    debris = take.noise(lambda f: peaks(f, (s.body2,), 1.2, 0.1))
    return unit(x) + s.knock * knock * debris


def engine(s: Source, take: Take) -> np.ndarray:
    """Four cylinders at idle: exhaust pulses through a pipe, and the knock of each ignition."""
    speed = s.f0 * take.rng.uniform(0.94, 1.06) * (1 + s.hunt * take.drift(2))
    cycles = take.phase(speed / 4)
    k = np.arange(1, 161)
    uneven = np.where(k % 4, s.uneven * (0.6 + 0.4 * np.cos(k * k * 2.4)), 1.0)
    pipe = peaks(k * s.f0 / 4, (s.body, s.body2), 2, 0.1)
    exhaust = tone(cycles, k**-s.slope * uneven * pipe)
    strike = np.exp(-s.sharp * (4 * cycles % 1))
    rattle = take.noise(lambda f: peaks(f, (s.knock_hz,), 1.5, 0.1))
    air = take.noise(lambda f: slope(f, s.corner, 6))
    return exhaust + s.knock * unit(strike * rattle) + s.air * air


def hammer(s: Source, take: Take) -> np.ndarray:
    """Blows of a breaker: each an exhaust burst and a ringing chisel, at a near-steady pace."""
    cycles = take.phase(s.pace * take.rng.uniform(0.94, 1.06) * (1 + 0.03 * take.drift(3)))
    blow = np.flatnonzero(np.diff(np.floor(cycles), prepend=-1))
    train = np.zeros(take.samples, np.float32)
    train[blow] = take.rng.uniform(0.4, 1, len(blow))
    ratios = np.array([1.0, 1.7, 2.6, 3.9])
    ring = modes(take.rate, 0.12, s.f0 * ratios, s.decay / ratios**0.5, ratios**-0.4)
    burst = np.exp(-(cycles % 1) / (s.burst * s.pace))
    air = take.noise(lambda f: slope(f, s.corner, 5) * peaks(f, (s.body,), 1.5, 0.3))
    clang = unit(oaconvolve(train, ring)[: take.samples])
    return unit(burst * air) + s.clang * clang + 0.1 * air
