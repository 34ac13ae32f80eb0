"""Pieces that the sound generators share: oscillators, shaped noise, struck modes, motors.

Frequencies are in Hz and times in seconds, so that one source sounds the same at any rate.
Tracks (pitch, formants, levels) are drawn on a grid of `CONTROL` points a second.
Notebook: start_here.ipynb.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.fft import irfft, next_fast_len

CONTROL = 250  # points a second of a control track
TABLE = 4096  # points of a wavetable: one period of a harmonic tone


class SoundClass(NamedTuple):
    """One of the 20 classes.

    family:     "domestic" (DESED's) or "urban" (URBAN-SED's)
    subtypes:   names of its two parameter sub-types
    stationary: may be held for any time (a motor), unlike a bark
    sibling:    the class of the same family that it is most easily taken for
    draw:       ``draw(subtype, rng) -> dict`` of floats, one source's identity
    render:     ``render(source, samples, rate, rng) -> (<= samples,)``, of any level
    """

    name: str
    family: str
    subtypes: tuple[str, str]
    stationary: bool
    sibling: str
    draw: Callable
    render: Callable


def draw(ranges: dict, subtype: int, rng: np.random.Generator) -> dict:
    """A source: every parameter log-uniform within its sub-type's (low, high), all above 0."""
    return {key: float(np.exp(rng.uniform(*np.log(pair[subtype])))) for key, pair in ranges.items()}


def unit(x: np.ndarray) -> np.ndarray:
    """``x`` at RMS 1 (silence stays silence)."""
    return x / max(float(np.sqrt(np.mean(np.square(x)))), 1e-9)


def rise(u: np.ndarray, a, b) -> np.ndarray:
    """0 below a, 1 above b, a smooth step between them."""
    x = np.clip((u - a) / (b - a), 0, 1)
    return x * x * (3 - 2 * x)


def spread(track: np.ndarray, samples: int, rate: int) -> np.ndarray:
    """A control track (points,) at every sample: (samples,)."""
    at = np.arange(samples) * (CONTROL / rate)
    return np.interp(at, np.arange(len(track)), track).astype(np.float32)


def controls(samples: int, rate: int) -> np.ndarray:
    """Times in seconds of the control points that cover ``samples``."""
    return np.arange(int(samples / rate * CONTROL) + 2) / CONTROL


def drift(t: np.ndarray, hz: float, rng) -> np.ndarray:
    """A random curve on the control times that turns about ``hz`` times a second, deviation ~1."""
    knots = rng.standard_normal(int(t[-1] * hz) + 3)
    return np.interp(t * hz + rng.random(), np.arange(len(knots)), knots)


def phase(frequency: np.ndarray, samples: int, rate: int, rng) -> np.ndarray:
    """Phase in cycles (samples,) of a frequency track (points,) in Hz, from a random start."""
    steps = np.interp(np.arange(samples) * (CONTROL / rate), np.arange(len(frequency)), frequency)
    return np.cumsum(steps) / rate + rng.random()


def tone(cycles: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Harmonics 1..len(weights) of a phase in cycles, read from a wavetable; RMS about 1."""
    spectrum = np.zeros(TABLE // 2 + 1, np.complex64)
    k = np.arange(1, len(weights) + 1)
    # phases that grow with k² spread the energy over the period: no table is one sharp spike
    spectrum[1 : len(weights) + 1] = weights * np.exp(0.7j * np.pi * k * k / len(k))
    table = unit(irfft(spectrum)).astype(np.float32)
    return table[(cycles * TABLE).astype(np.int64) & (TABLE - 1)]


def harmonics(top_hz: float, rate: int) -> np.ndarray:
    """Numbers of the harmonics that stay below Nyquist for a pitch of up to ``top_hz``."""
    return np.arange(1, max(2, min(TABLE // 2, int(0.48 * rate / top_hz)) + 1))


def peaks(f: np.ndarray, centres, q: float = 4.0, floor: float = 0.1) -> np.ndarray:
    """Gain of a body with resonances at ``centres`` (Hz) over the frequencies ``f``."""
    f = np.maximum(f, 1.0)
    return floor + sum(1 / (1 + (q * (f / c - c / f)) ** 2) for c in centres)


def noise(samples: int, rate: int, rng, shape: Callable) -> np.ndarray:
    """Gaussian noise (samples,) of RMS 1 with the magnitude ``shape(frequencies)``."""
    size = next_fast_len(samples, real=True)
    white = rng.standard_normal((size // 2 + 1, 2), dtype=np.float32).view(np.complex64)[:, 0]
    gain = shape(np.arange(size // 2 + 1, dtype=np.float32) * (rate / size))
    gain = gain.astype(np.float32) * np.minimum(1, np.arange(len(gain)) * rate / size / 40)
    return unit(irfft(white * gain, size)[:samples])


def slope(f: np.ndarray, corner: float, per_octave: float, low: float = 60.0) -> np.ndarray:
    """Flat up to ``corner``, falling by ``per_octave`` dB above and by 6 dB below ``low``."""
    high = (1 + (f / corner) ** 2) ** (-per_octave / 12.04)
    return high * f / np.sqrt(f * f + low * low)


def modes(rate: int, seconds: float, frequencies, decays, levels) -> np.ndarray:
    """Damped sines summed over the last axis: arrays (..., modes) -> (..., samples) float32.

    ``decays`` are the times in seconds to fall to 1/e; modes above Nyquist are left out.
    """
    t = np.arange(max(1, int(seconds * rate)), dtype=np.float32) / rate
    f, d, g = np.broadcast_arrays(frequencies, decays, levels)
    g = np.where(f < 0.48 * rate, g, 0.0).astype(np.float32)
    f, d = np.asarray(2 * np.pi * f, np.float32), np.asarray(1 / d, np.float32)
    wave = 0.0
    for j in range(f.shape[-1]):
        wave = wave + g[..., j, None] * np.sin(f[..., j, None] * t) * np.exp(-d[..., j, None] * t)
    return wave


def place(samples: int, rate: int, times: np.ndarray, waves: np.ndarray) -> np.ndarray:
    """Adds waves (events, length) at ``times`` (seconds) into (samples,); tails are cut."""
    out = np.zeros(samples + waves.shape[1], np.float32)
    starts = np.clip((times * rate).astype(int), 0, samples)
    np.add.at(out, starts[:, None] + np.arange(waves.shape[1]), waves)
    return out[:samples]


def scattered(seconds: float, per_second: float, rng) -> np.ndarray:
    """Times of a Poisson process, never empty, the first one at 0."""
    count = max(1, rng.poisson(per_second * seconds))
    return np.sort(np.append(0.0, rng.uniform(0, seconds, count - 1)))


def bout(seconds: float, length: float, gap: float, rng, every: float = 1.0, vary: float = 0.25):
    """Calls that fill ``seconds`` exactly: (starts, lengths) in seconds, both (calls,).

    A gap follows a call with probability 1/every. All is stretched to end on time, hence a
    lone call may be longer or shorter than ``length``.
    """
    count = max(1, round((seconds + gap / every) / (length + gap / every)))
    lengths = length * np.exp(vary * rng.standard_normal(count))
    gaps = gap * np.exp(vary * rng.standard_normal(count)) * (rng.random(count) * every < 1)
    gaps[-1] = 0
    scale = seconds / (lengths + gaps).sum()
    starts = np.cumsum(lengths + gaps) - lengths - gaps
    return starts * scale, lengths * scale


def within(t: np.ndarray, starts: np.ndarray, lengths: np.ndarray):
    """Which call is on at each time, and how far along: (index, 0..1 within, above 1 after)."""
    i = np.maximum(np.searchsorted(starts, t, side="right") - 1, 0)
    return i, (t - starts[i]) / lengths[i]


def motor(source: dict, samples: int, rate: int, rng, load: np.ndarray | None = None):
    """A running machine: harmonics of its turning plus turbulent noise, through one body.

    source: f0 (Hz), slope (harmonics fall as k^-slope), timbre (which harmonics stand out),
    body, body2 (resonances, Hz), tonal (harmonics' share of the RMS), corner, fall (noise: Hz,
    dB an octave), wobble (speed, share), flutter (noise modulated by the turning), ramp (s).
    load (points,): slows the turning by that share, above 0.
    """
    t = controls(samples, rate)
    start = rng.uniform(0.1, 0.6) * np.exp(-t / (source["ramp"] * rng.uniform(0.7, 1.4)))
    speed = source["f0"] * rng.uniform(0.95, 1.05) * (1 - start)
    speed = speed * (1 + source["wobble"] * drift(t, 3.0, rng))
    speed = np.maximum(speed * (1 - (0 if load is None else load)), 5.0)
    k = harmonics(float(speed.max()), rate)
    body = (source["body"], source["body2"])
    uneven = 10 ** (0.5 * np.cos(2 * np.pi * k * k * source["timbre"]))
    cycles = phase(speed, samples, rate, rng)
    hum = tone(cycles, k ** -source["slope"] * uneven * peaks(k * source["f0"], body, 2.0, 0.2))
    air = noise(
        samples,
        rate,
        rng,
        lambda f: slope(f, source["corner"], source["fall"], 100) * peaks(f, body, 2.0, 0.35),
    )
    air = air * (1 + source["flutter"] * tone(cycles, np.ones(1)))
    level = spread(1 - start, samples, rate) ** 2
    return level * (source["tonal"] * hum + (1 - source["tonal"]) * air)
