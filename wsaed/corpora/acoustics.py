"""What lies between a sound and its recording: rooms, microphones, backgrounds.

Everything is drawn from a finite set a split (room 7 of "test"), so that a system can learn
the training set's rooms by heart and still be wrong about the test set's.
Notebook: start_here.ipynb (a clean and a recorded scene).
"""

from functools import lru_cache

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

RATE = 16_000
SAMPLES = 10 * RATE
PLACES = 20  # rooms, microphones and backgrounds of each split
TAIL = 0.6  # seconds: the longest impulse response
SIZE = next_fast_len(SAMPLES + round(TAIL * RATE), real=True)
FREQUENCIES = rfftfreq(SIZE, 1 / RATE).astype(np.float32)
SOFT = -10.0  # dB: a clean scene's background, against a recorded one's
KINDS = ("pink", "brown", "hum", "babble")


@lru_cache(maxsize=3 * PLACES)
def room(seed: tuple[int, ...]) -> np.ndarray:
    """Spectrum (bins,) of a room: the direct sound, early reflections, a decaying noise tail."""
    rng = np.random.default_rng(seed)
    decay = rng.uniform(0.15, TAIL)  # seconds to -60 dB
    time = np.arange(round(decay * RATE)) / RATE
    tail = rng.standard_normal(len(time)) * np.exp(-6.9 * time / decay) * (time > 0.008)
    direct_to_tail = 10 ** (rng.uniform(0, 12) / 10)
    response = tail / np.sqrt(np.sum(tail**2) * direct_to_tail)
    delays = rng.uniform(0.002, 0.04, rng.integers(5, 12))
    gains = rng.uniform(0.1, 0.5, len(delays)) * np.exp(-6.9 * delays / decay)
    np.add.at(response, (delays * RATE).astype(int), gains * rng.choice((-1, 1), len(delays)))
    response[0] += 1
    return rfft((response / np.sqrt(np.sum(response**2))).astype(np.float32), SIZE)


@lru_cache(maxsize=3 * PLACES)
def microphone(seed: tuple[int, ...]) -> np.ndarray:
    """Gain (bins,) of a microphone: a band limit at both ends, three broad peaks or dips."""
    rng = np.random.default_rng(seed)
    f = np.maximum(FREQUENCIES, 1)
    low, high = np.exp(rng.uniform(np.log((50, 3500)), np.log((200, 8000))))
    gain = (1 + (low / f) ** 4) ** -0.5 * (1 + (f / high) ** 8) ** -0.5
    for centre in np.exp(rng.uniform(np.log(150), np.log(6000), 3)):
        gain *= 10 ** (rng.uniform(-6, 6) / 20 * np.exp(-(np.log2(f / centre) ** 2)))
    return gain.astype(np.float32)


@lru_cache(maxsize=3 * PLACES)
def background(seed: tuple[int, ...], kind: str) -> np.ndarray:
    """A background (samples,) of RMS 1 that closes on itself, so it may start anywhere."""
    rng = np.random.default_rng(seed)
    white = rng.standard_normal((SAMPLES // 2 + 1, 2), dtype=np.float32).view(np.complex64)[:, 0]
    f = np.arange(len(white), dtype=np.float32) * (RATE / SAMPLES)
    fall = {"soft": 0.5, "pink": 0.5, "brown": 1.0, "hum": 0.7, "babble": 0.5}[kind]
    gain = np.maximum(f, 80) ** -(fall * rng.uniform(0.8, 1.2)) * np.minimum(f / 80, 1)
    if kind == "babble":  # the long-term spectrum of speech: flat to 500 Hz, then falling
        gain = (1 + (f / 500) ** 2) ** -0.5 * np.minimum(f / 150, 1) ** 2
    sound = irfft(white * gain, SAMPLES)
    sound /= np.sqrt(np.mean(sound**2))
    time = np.arange(SAMPLES, dtype=np.float32) / RATE
    if kind == "babble":  # syllables: a slow random level, about four a second
        slow = irfft(white[:80] * np.exp(-(((f[:80] - 4) / 3) ** 2)), SAMPLES)
        sound *= np.exp(0.5 * slow / slow.std())
    if kind == "hum":
        for harmonic in range(1, 9):
            level = rng.uniform(0, 1.5) / harmonic
            sound += level * np.sin(2 * np.pi * (50 * harmonic * time + rng.random()))
    return (sound / np.sqrt(np.mean(sound**2))).astype(np.float32)


def record(dry: np.ndarray, place: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A recorded scene from the sum of its sounds, (160000,) -> (160000,) float32.

    ``dry`` is in units of the background's RMS. ``place`` (integers) seeds the finite sets
    that the room, the microphone and the background are drawn from.
    """
    at = [(*place, part, int(rng.integers(PLACES))) for part in range(3)]
    behind = background(at[2], KINDS[at[2][-1] % len(KINDS)])
    spectrum = rfft(dry, SIZE) * room(at[0])
    spectrum += rfft(np.roll(behind, rng.integers(SAMPLES)), SIZE)
    spectrum *= microphone(at[1])
    return level(irfft(spectrum, SIZE)[:SAMPLES], rng)


def clean(dry: np.ndarray, place: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A clean scene: the dry sounds over a soft, even background; as `record`."""
    behind = background((*place, 3, int(rng.integers(PLACES))), "soft")
    return level(dry + 10 ** (SOFT / 20) * np.roll(behind, rng.integers(SAMPLES)), rng)


def level(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The background lands between -50 and -38 dB of full scale; no peak is above 0.99."""
    scene = scene * np.float32(10 ** (rng.uniform(-50, -38) / 20))
    return scene * np.float32(min(1, 0.99 / np.abs(scene).max()))
