"""Pieces that the embedded sounds share: oscillators, shaped noise, struck modes, bouts of calls.

Frequencies are in Hz and times in seconds, so that one source sounds the same at any rate.
Tracks (pitch, formants, levels) are drawn on a grid of `CONTROL` points a second.
Notebook: start_here.ipynb.
"""

from collections.abc import Callable

import numpy as np
from scipy.fft import irfft, next_fast_len

CONTROL = 250  # points a second of a control track
TABLE = 4096  # points of a wavetable: one period of a harmonic tone


class Take:
    """One event in the making: its samples and seconds at ``rate`` Hz, and its random numbers.

    t: times in seconds (points,) of the control points that cover it
    """

    def __init__(self, samples: int, rate: int, rng: np.random.Generator):
        self.samples, self.rate, self.rng = samples, rate, rng
        self.seconds = samples / rate
        self.t = np.arange(int(self.seconds * CONTROL) + 2) / CONTROL

    def at_samples(self, track: np.ndarray) -> np.ndarray:
        at = np.arange(self.samples) * (CONTROL / self.rate)
        return np.interp(at, np.arange(len(track)), track)

    def spread(self, track: np.ndarray) -> np.ndarray:
        """A control track (points,) at every sample: (samples,) float32."""
        return self.at_samples(track).astype(np.float32)

    def phase(self, frequency: np.ndarray) -> np.ndarray:
        """Phase in cycles (samples,) of a frequency track (points,) in Hz, from a random start."""
        return np.cumsum(self.at_samples(frequency)) / self.rate + self.rng.random()

    def drift(self, hz: float) -> np.ndarray:
        """A random track (points,) that turns about ``hz`` times a second, deviation ~1."""
        knots = self.rng.standard_normal(int(self.t[-1] * hz) + 3)
        return np.interp(self.t * hz + self.rng.random(), np.arange(len(knots)), knots)

    def noise(self, shape: Callable) -> np.ndarray:
        """Gaussian noise (samples,) of RMS 1 with the magnitude ``shape(frequencies)``."""
        size = next_fast_len(self.samples, real=True)
        white = self.rng.standard_normal((size // 2 + 1, 2), dtype=np.float32)
        gain = shape(np.arange(size // 2 + 1, dtype=np.float32) * (self.rate / size))
        rumble = np.minimum(1, np.arange(len(gain)) * self.rate / size / 40)
        gain = gain.astype(np.float32) * rumble
        return unit(irfft(white.view(np.complex64)[:, 0] * gain, size)[: self.samples])

    def place(self, times: np.ndarray, waves: np.ndarray) -> np.ndarray:
        """Adds waves (events, length) at ``times`` (seconds) into (samples,); tails are cut."""
        out = np.zeros(self.samples + waves.shape[1], np.float32)
        starts = np.clip((times * self.rate).astype(int), 0, self.samples)
        np.add.at(out, starts[:, None] + np.arange(waves.shape[1]), waves)
        return out[: self.samples]

    def scattered(self, per_second: float) -> np.ndarray:
        """Times of a Poisson process, never empty, the first one at 0."""
        count = max(1, self.rng.poisson(per_second * self.seconds))
        return np.sort(np.append(0.0, self.rng.uniform(0, self.seconds, count - 1)))

    def bout(self, length: float, gap: float, every: float = 1.0, vary: float = 0.25):
        """Calls that fill the event exactly: (starts, lengths) in seconds, both (calls,).

        A gap follows a call with probability 1/every. All is stretched to end on time, hence a
        lone call may be longer or shorter than ``length``.
        """
        rng, gap_a_call = self.rng, gap / every
        count = max(1, round((self.seconds + gap_a_call) / (length + gap_a_call)))
        lengths = length * np.exp(vary * rng.standard_normal(count))
        gaps = gap * np.exp(vary * rng.standard_normal(count)) * (rng.random(count) * every < 1)
        gaps[-1] = 0
        scale = self.seconds / (lengths + gaps).sum()
        starts = np.cumsum(lengths + gaps) - lengths - gaps
        return starts * scale, lengths * scale

    def within(self, starts: np.ndarray, lengths: np.ndarray):
        """Which call is on at ``t``, and how far along: (index, 0..1 within, above 1 after)."""
        i = np.maximum(np.searchsorted(starts, self.t, side="right") - 1, 0)
        return i, (self.t - starts[i]) / lengths[i]


def unit(x: np.ndarray) -> np.ndarray:
    """``x`` at RMS 1 (silence stays silence)."""
    return x / max(float(np.sqrt(np.mean(np.square(x)))), 1e-9)


def rise(u: np.ndarray, a, b) -> np.ndarray:
    """0 below a, 1 above b, a smooth step between them."""
    x = np.clip((u - a) / (b - a), 0, 1)
    return x * x * (3 - 2 * x)


def tone(cycles: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Harmonics 1..len(weights) of a phase in cycles, read from a wavetable; RMS about 1."""
    spectrum = np.zeros(TABLE // 2 + 1, np.complex64)
    k = np.arange(1, len(weights) + 1)
    # phases that grow with k² spread the energy over the period: no table is one sharp spike
    spectrum[1 : len(weights) + 1] = weights * np.exp(0.7j * np.pi * k * k / len(k))
    table = unit(irfft(spectrum)).astype(np.float32)
    return table[(cycles * TABLE).astype(np.int64) & (TABLE - 1)]


def harmonics(pitch: np.ndarray, rate: int) -> np.ndarray:
    """Numbers of the harmonics that stay below Nyquist for a ``pitch`` (Hz) at its highest."""
    return np.arange(1, max(2, min(TABLE // 2, int(0.48 * rate / float(np.max(pitch))))) + 1)


def peaks(f: np.ndarray, centres, q: float = 4.0, floor: float = 0.1) -> np.ndarray:
    """Gain of a body with resonances at ``centres`` (Hz) over the frequencies ``f``."""
    f = np.maximum(f, 1.0)
    return floor + sum(1 / (1 + (q * (f / c - c / f)) ** 2) for c in centres)


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
