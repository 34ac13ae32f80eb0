"""Twenty sound classes, each a small physical or signal model with two sub-types.

A source (`draw_source`) is one thing that sounds: this dog, this vacuum cleaner. An event
(`render`) is one time that it does. Both depend on their arguments and the generator alone.
The classes are DESED's ten and URBAN-SED's ten.
Notebook: start_here.ipynb.
"""

import numpy as np

from wsaed.corpora.domestic_sounds import DOMESTIC
from wsaed.corpora.synthesis import SoundClass
from wsaed.corpora.urban_sounds import URBAN

CLASSES: dict[str, SoundClass] = {sound.name: sound for sound in (*DOMESTIC, *URBAN)}
SHORTEST = 0.25  # seconds: no event is shorter where more was asked for


def _class(name: str) -> SoundClass:
    if name not in CLASSES:
        raise ValueError(f"unknown sound class {name!r}; use one of: {', '.join(CLASSES)}")
    return CLASSES[name]


def draw_source(name: str, subtype: int, rng: np.random.Generator) -> dict:
    """One identity of a class as a dict of floats; ``subtype`` is 0 or 1."""
    sound = _class(name)
    if subtype not in (0, 1):
        raise ValueError(f"{name} has no sub-type {subtype!r}; use 0 or 1: {sound.subtypes}")
    return sound.draw(subtype, rng)


def render(
    name: str, source: dict, seconds: float, rng: np.random.Generator, rate: int = 16_000
) -> np.ndarray:
    """One event of a source: float32 (samples,) at ``rate`` Hz, RMS 1, no DC, edges faded.

    It lasts ``seconds`` at most; an impulsive sound may end sooner, though not before 0.25 s.
    """
    sound = _class(name)
    samples = round(seconds * rate)
    if samples < 2:
        raise ValueError(f"{name}: {seconds} s at {rate} Hz is no sound; ask for more seconds")
    x = np.asarray(sound.render(source, samples, rate, rng), np.float64)
    x = np.pad(x, (0, max(0, min(samples, round(SHORTEST * rate)) - len(x))))
    fade = np.ones(len(x))
    for edge, at in ((0.003, slice(None)), (0.015, slice(None, None, -1))):
        width = min(round(edge * rate), len(x) // 4)
        fade[at][:width] *= np.sin(np.pi / 2 * np.arange(width) / max(width, 1)) ** 2
    x = (x - x.mean()) * fade
    x -= fade * (x.sum() / fade.sum())  # the fades brought a little DC back
    return (x / np.sqrt(np.mean(x * x))).astype(np.float32)
