"""Voices by source and filter: people, dogs and cats. A model is ``(source, take) -> (samples,)``.

Notebook: start_here.ipynb.
"""

from types import SimpleNamespace as Source

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from wsaed.corpora.synthesis import CONTROL, Take, harmonics, rise, tone, unit
from wsaed.files import table

VOWELS = np.array(table("corpora/sounds.yaml")["vowels"], float)
VOWEL, FRICATIVE, STOP, NASAL = range(4)  # how a syllable begins


def vocal(take: Take, pitch, voiced, breath, formants, tilt, hiss=0.0, hiss_hz=5000.0):
    """A voice, source and filter: pulses and noise through formants that move.

    pitch, voiced, breath, hiss (points,): Hz, and the levels of pulses, of noise in the throat
    and of noise at the teeth around ``hiss_hz`` (a number, or (points,)).
    formants (points, 3): resonances in Hz; a fourth stands 1.35 times above the third.
    tilt: the pulses' harmonics fall as k^-tilt.
    The frames are 24 ms long, half overlapped, square-root Hann on both sides.
    """
    samples, rate = take.samples, take.rate
    hop = next_fast_len(round(0.012 * rate), real=True)
    window = np.sin(np.pi * (np.arange(2 * hop) + 0.5) / (2 * hop)).astype(np.float32)
    f = np.arange(hop + 1, dtype=np.float32) * (rate / (2 * hop))
    pulses = tone(take.phase(pitch), harmonics(pitch, rate) ** -tilt)
    white = take.rng.standard_normal(samples, dtype=np.float32)
    hiss = np.broadcast_to(hiss, voiced.shape)
    source = pulses * take.spread(voiced) + white * take.spread(breath + hiss)
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


def talk(s: Source, take: Take) -> np.ndarray:
    """Speech: syllables of consonant and vowel in phrases, pitch that falls along a phrase.

    s: f0 (Hz), tract (formants' scale), syllable, pause (s), phrase (syllables), accent
    (octaves), breath, hiss (Hz), tilt.
    """
    t, rng = take.t, take.rng
    length = s.syllable * rng.uniform(0.85, 1.2)
    starts, lengths = take.bout(length, s.pause, s.phrase, 0.3)
    i, u = take.within(starts, lengths)
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
    hiss_hz = (s.hiss * np.exp(rng.uniform(-0.5, 0.35, many)))[i]

    middles = starts + 0.55 * lengths
    vowels = VOWELS[rng.integers(len(VOWELS), size=many)] * s.tract
    formants = np.stack([np.interp(t, middles, column) for column in vowels.T], axis=1)
    accents = np.interp(t, middles, s.accent * rng.standard_normal(many))
    pitch = s.f0 * np.exp2(accents - s.accent * rise(since, 0, 2) + 0.01 * take.drift(30))
    pitch = np.clip(pitch, 50, 1500)
    hiss = (0.35 * rub + 0.5 * burst) * level[i]
    return vocal(take, pitch, voiced, s.breath * voiced, formants, s.tilt, hiss, hiss_hz)


def children(s: Source, take: Take) -> np.ndarray:
    """Two children at once: `talk` with a high and lively pitch and a short tract."""
    second = {"f0": s.f0 * s.second, "tract": s.tract * s.second**0.25}
    near, far = talk(s, take), talk(Source(**vars(s) | second), take)
    return unit(near) + take.rng.uniform(0.3, 1.0) * unit(far)


def bark(s: Source, take: Take) -> np.ndarray:
    """A bout of barks: pitch up and down within each, rough, the mouth opening and closing.

    s: f0 (Hz), tract, length, gap (s), bend (octaves), rough, breath, tilt.
    """
    rng = take.rng
    starts, lengths = take.bout(s.length, s.gap, vary=0.2)
    i, u = take.within(starts, lengths)
    level = 10 ** rng.uniform(-0.3, 0, len(starts))
    attack = np.minimum(0.12, 0.02 / lengths)
    shape = rise(u, 0, attack[i]) * (1 - rise(u, 0.45, 1.0)) * level[i]
    arc = np.sin(np.pi * np.clip(u, 0, 1) ** 0.7)
    own = 0.06 * rng.standard_normal(len(starts))
    pitch = s.f0 * np.exp2(s.bend * (arc - 0.6) + own[i] + s.rough * take.drift(90))
    formants = s.tract * (0.7 + 0.4 * arc)[:, None] * np.array([650.0, 1500.0, 2700.0])
    voiced = shape * np.clip(1 + 4 * s.rough * take.drift(60), 0.2, 2)
    return vocal(take, np.clip(pitch, 60, 3000), voiced, s.breath * shape, formants, s.tilt)


def meow(s: Source, take: Take) -> np.ndarray:
    """Meows: one pitch arc each, the mouth closed, open, closed again; vibrato and breath."""
    rng = take.rng
    starts, lengths = take.bout(s.length, s.gap)
    i, u = take.within(starts, lengths)
    many = len(starts)
    top = rng.uniform(0.25, 0.6, many)[i]
    arc = np.sin(np.pi * np.clip(u, 0, 1) ** (np.log(0.5) / np.log(top)))
    level = 10 ** rng.uniform(-0.4, 0, many)
    shape = rise(u, 0, 0.15) * (1 - rise(u, 0.7, 1.0)) * (0.5 + 0.5 * arc) * level[i]
    wave = s.depth * np.sin(2 * np.pi * s.vibrato * take.t + rng.uniform(0, 6))
    own = 0.1 * rng.standard_normal(many)
    bend = s.bend * (arc - 0.5) + own[i] + wave + 0.01 * take.drift(40)
    pitch = np.clip(s.f0 * np.exp2(bend), 80, 2500)
    shut, wide = np.array([450.0, 1900.0, 3000.0]), np.array([1050.0, 1600.0, 3100.0])
    formants = s.tract * (shut + arc[:, None] * (wide - shut))
    return vocal(take, pitch, shape, s.breath * shape, formants, s.tilt)
