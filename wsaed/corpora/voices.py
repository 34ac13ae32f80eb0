"""Voices by source and filter: people, dogs and cats.

Notebook: start_here.ipynb.
"""

from functools import lru_cache

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from wsaed.corpora.synthesis import (
    CONTROL,
    bout,
    controls,
    drift,
    harmonics,
    phase,
    rise,
    spread,
    tone,
    within,
)

# First three formants of ten vowels, Hz: Peterson and Barney (1952), table II, men
VOWELS = np.array(
    [
        (270, 2290, 3010),
        (390, 1990, 2550),
        (530, 1840, 2480),
        (660, 1720, 2410),
        (730, 1090, 2440),
        (570, 840, 2410),
        (440, 1020, 2240),
        (300, 870, 2240),
        (640, 1190, 2390),
        (490, 1350, 1690),
    ],
    float,
)
VOWEL, FRICATIVE, STOP, NASAL = range(4)  # how a syllable begins


@lru_cache
def _frames(rate: int):
    hop = next_fast_len(round(0.012 * rate), real=True)
    window = np.sin(np.pi * (np.arange(2 * hop) + 0.5) / (2 * hop)).astype(np.float32)
    return hop, window, np.arange(hop + 1, dtype=np.float32) * (rate / (2 * hop))


def vocal(samples, rate, rng, pitch, voiced, breath, formants, hiss=None, hiss_hz=5000.0, tilt=1.0):
    """A voice, source and filter: pulses and noise through formants that move.

    pitch, voiced, breath, hiss (points,): Hz, and the levels of pulses, of noise in the throat
    and of noise at the teeth around ``hiss_hz`` (a number, or (points,)).
    formants (points, 3): resonances in Hz; a fourth stands 1.35 times above the third.
    The frames are 24 ms long, half overlapped, square-root Hann on both sides.
    """
    hop, window, f = _frames(rate)
    k = harmonics(float(pitch.max()), rate)
    pulses = tone(phase(pitch, samples, rate, rng), k**-tilt)
    white = rng.standard_normal(samples, dtype=np.float32)
    hiss = np.zeros_like(voiced) if hiss is None else hiss
    source = pulses * spread(voiced, samples, rate) + white * spread(breath + hiss, samples, rate)
    rows = np.pad(source, (hop, hop + -samples % hop)).reshape(-1, hop)
    spectra = rfft(np.hstack([rows[:-1], rows[1:]]) * window)
    at = np.minimum((np.arange(len(spectra)) * hop * CONTROL / rate).astype(int), len(pitch) - 1)
    centres = formants[at].astype(np.float32)
    centres = np.hstack([centres, 1.35 * centres[:, 2:]])
    gains = 1.0
    for j in range(4):
        c = centres[:, j, None]
        width = 50 + 0.04 * c
        gains = gains * (c * c / np.sqrt((c * c - f * f) ** 2 + (width * f) ** 2))
    gains = gains + 0.03  # what higher formants leave, some 50 dB below the peaks
    share = (hiss / (hiss + voiced + breath + 1e-3)).astype(np.float32)[at, None]
    if share.any():
        centre = np.broadcast_to(hiss_hz, pitch.shape)[at, None].astype(np.float32)
        teeth = 6 / (1 + (3 * (f / centre - centre / np.maximum(f, 1))) ** 2)
        gains = gains * (1 - share) + teeth * share
    y = irfft(spectra * gains, 2 * hop) * window
    return (y[:-1, hop:] + y[1:, :hop]).ravel()[:samples]


def talk(s: dict, samples: int, rate: int, rng) -> np.ndarray:
    """Speech: syllables of consonant and vowel in phrases, pitch that falls along a phrase.

    s: f0 (Hz), tract (formants' scale), syllable, pause (s), phrase (syllables), accent
    (octaves), breath, tilt.
    """
    t = controls(samples, rate)
    length = s["syllable"] * rng.uniform(0.85, 1.2)
    starts, lengths = bout(samples / rate, length, s["pause"], rng, s["phrase"], 0.3)
    i, u = within(t, starts, lengths)
    many = len(starts)
    pauses = np.diff(starts, prepend=-1) > np.append(0.0, lengths[:-1] * 1.01)
    begins = starts[np.flatnonzero(pauses)]
    since = t - begins[np.maximum(np.searchsorted(begins, t, side="right") - 1, 0)]

    onset = rng.choice(4, many, p=(0.2, 0.3, 0.3, 0.2))
    edge = np.where(onset == VOWEL, 0.02, rng.uniform(0.2, 0.4, many))
    level = 10 ** (rng.uniform(-0.5, 0.1, many))
    fall = 1 - 0.35 * rise(since, 0.2, 2.5)
    body = rise(u, edge[i], edge[i] + 0.15) * (1 - rise(u, 0.75, 1.02))
    murmur = 0.25 * (onset == NASAL)[i] * (1 - rise(u, edge[i] * 0.9, edge[i] * 1.1)) * (u < 1)
    voiced = (body + murmur) * level[i] * fall
    v = u / edge[i]  # how far along the consonant
    rub = (onset == FRICATIVE)[i] * rise(v, 0, 0.4) * (1 - rise(v, 0.8, 1.2))
    burst = (onset == STOP)[i] * rise(v, 0.7, 0.75) * (1 - rise(v, 0.85, 1.15))
    hiss_hz = (s["hiss"] * np.exp(rng.uniform(-0.5, 0.35, many)))[i]

    middles = starts + 0.55 * lengths
    vowels = VOWELS[rng.integers(len(VOWELS), size=many)] * s["tract"]
    formants = np.stack([np.interp(t, middles, column) for column in vowels.T], axis=1)
    accents = np.interp(t, middles, s["accent"] * rng.standard_normal(many))
    pitch = s["f0"] * np.exp2(accents - s["accent"] * rise(since, 0, 2) + 0.01 * drift(t, 30, rng))
    return vocal(
        samples,
        rate,
        rng,
        np.clip(pitch, 50, 1500),
        voiced,
        s["breath"] * voiced,
        formants,
        (0.35 * rub + 0.5 * burst) * level[i],
        hiss_hz,
        s["tilt"],
    )


def bark(s: dict, samples: int, rate: int, rng) -> np.ndarray:
    """A bout of barks: pitch up and down within each, rough, the mouth opening and closing.

    s: f0 (Hz), tract, length, gap (s), bend (octaves), rough, breath, tilt.
    """
    t = controls(samples, rate)
    starts, lengths = bout(samples / rate, s["length"], s["gap"], rng, vary=0.2)
    i, u = within(t, starts, lengths)
    level = 10 ** rng.uniform(-0.3, 0, len(starts))
    attack = np.minimum(0.12, 0.02 / lengths)
    shape = rise(u, 0, attack[i]) * (1 - rise(u, 0.45, 1.0)) * level[i]
    arc = np.sin(np.pi * np.clip(u, 0, 1) ** 0.7)
    own = 0.06 * rng.standard_normal(len(starts))
    pitch = s["f0"] * np.exp2(s["bend"] * (arc - 0.6) + own[i] + s["rough"] * drift(t, 90, rng))
    mouth = 0.7 + 0.4 * arc
    formants = s["tract"] * mouth[:, None] * np.array([650.0, 1500.0, 2700.0])
    rough = np.clip(1 + 4 * s["rough"] * drift(t, 60, rng), 0.2, 2)
    pitch = np.clip(pitch, 60, 3000)
    return vocal(
        samples, rate, rng, pitch, shape * rough, s["breath"] * shape, formants, tilt=s["tilt"]
    )


def meow(s: dict, samples: int, rate: int, rng) -> np.ndarray:
    """Meows: one pitch arc each, the mouth closed, open, closed again; vibrato and breath."""
    t = controls(samples, rate)
    starts, lengths = bout(samples / rate, s["length"], s["gap"], rng)
    i, u = within(t, starts, lengths)
    many = len(starts)
    top = rng.uniform(0.25, 0.6, many)[i]
    c = np.clip(u, 0, 1)
    arc = np.sin(np.pi * c ** (np.log(0.5) / np.log(top)))
    level = 10 ** rng.uniform(-0.4, 0, many)
    shape = rise(u, 0, 0.15) * (1 - rise(u, 0.7, 1.0)) * (0.5 + 0.5 * arc) * level[i]
    wave = s["depth"] * np.sin(2 * np.pi * s["vibrato"] * t + rng.uniform(0, 6))
    own = 0.1 * rng.standard_normal(many)
    bend = s["bend"] * (arc - 0.5) + own[i] + wave + 0.01 * drift(t, 40, rng)
    pitch = np.clip(s["f0"] * np.exp2(bend), 80, 2500)
    shut, wide = np.array([450.0, 1900.0, 3000.0]), np.array([1050.0, 1600.0, 3100.0])
    formants = s["tract"] * (shut + arc[:, None] * (wide - shut))
    return vocal(samples, rate, rng, pitch, shape, s["breath"] * shape, formants, tilt=s["tilt"])
