"""What a scene is made of: the embedded sounds as sources, how long and how often they sound.

Notebook: start_here.ipynb.
"""

import zlib

import numpy as np

from wsaed.corpora import sounds
from wsaed.corpora.acoustics import RATE
from wsaed.files import table

SPLITS: dict[str, dict] = table("corpora/shapes.yaml")["splits"]
URBAN: dict[str, list] = table("corpora/shapes.yaml")["urban"]
DESED: dict = table("corpora/desed.yaml")
IDENTITY = 7  # the random stream of sources; a scene's are those of `wsaed.corpora.scenes`


class Sounds:
    """Sound classes and what a scene asks of them: here the embedded sounds.

    `wsaed.corpora.bank.Sounds` has the same of a folder of recordings.
    classes:  names, in the labels' order
    subtypes: class -> names of its sub-types, or (); sub-type t owns the sources 2 j + t
    siblings: class -> the class that it is most easily taken for
    about:    what the sources are, for a report's sentence
    left_out: what is not used of a user's own, see `wsaed.corpora.Corpus`
    key:      what tells these sources from others, for a cache's key
    """

    def __init__(self, replicate: int):
        self.replicate = replicate  # every one has other sources
        self.classes = tuple(sounds.CLASSES)
        self.subtypes = {name: sound["subtypes"] for name, sound in sounds.CLASSES.items()}
        self.siblings = {name: sound["sibling"] for name, sound in sounds.CLASSES.items()}
        self.about, self.key = f"{len(self.classes)} classes of embedded sounds", ""
        self.left_out = ""

    def count(self, name: str, split: str) -> int:
        """How many sources of a class a split has; their numbers start at 0."""
        return SPLITS[split]["sources"]

    def seconds(self, name: str, split: str, source: int, planned: float, rng) -> float:
        """How long an event will sound that is planned for so many seconds."""
        if not sounds.CLASSES[name].get("ends"):
            return planned
        return len(self.render(name, split, source, planned, rng)) / RATE

    def render(self, name: str, split: str, source: int, seconds: float, rng) -> np.ndarray:
        """One event of RMS 1: (samples,) float32 at `RATE`."""
        seed = IDENTITY, self.replicate, SPLITS[split]["seed"], source, zlib.crc32(name.encode())
        identity = sounds.draw_source(name, source % 2, np.random.default_rng(seed))
        return sounds.render(name, identity, seconds, rng, RATE)


def durations(name: str, domain: str, rng: np.random.Generator) -> np.ndarray:
    """Planned seconds (repeats,) of the events of one class in one scene.

    DESED's classes behave as in its synthetic ("clean") or its validation ("recorded")
    annotations, every other class as the average one of URBAN-SED.
    """
    seconds, repeats = (DESED[domain][key].get(name, URBAN[key]) for key in URBAN)
    count = 1 + draw(np.array(repeats), rng.random())
    return np.interp(rng.random(count), DESED["probabilities"], seconds)


def draw(weights: np.ndarray, u: float) -> int:
    """The index that ``u`` in [0, 1) falls on when [0, 1) is shared out by ``weights``."""
    edges = np.cumsum(weights)
    return int(np.searchsorted(edges, u * edges[-1], side="right"))
