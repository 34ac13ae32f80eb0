"""What the corpora's shapes are made of: which classes, how often, who meets whom, which labels.

Notebook: start_here.ipynb.
"""

import hashlib

import numpy as np

from wsaed.corpora.desed_statistics import CLEAN, RECORDED
from wsaed.corpora.sources import Sounds

MISSING = (0.05, 0.6)  # range over labels of the share of positives that annotators miss


def order(names, purpose: str) -> list[str]:
    """A fixed order that means nothing, another one for each purpose: by the names' hashes."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{purpose} {name}".encode()).digest())


def ontology(sounds: Sounds, spec: dict, split: str) -> dict:
    """Units and weights of AudioSet's shape.

    The rank of a class in the long tail is fixed by its name, so that a class is as rare in
    every replicate. With sub-types the r-th class has a share of 1/r, split four to one, which
    spans two decades over 20 classes; a flat list falls geometrically.
    """
    ranks = {name: rank for rank, name in enumerate(order(sounds.classes, "rank"))}
    units, weights, span = [], [], spec["span"]
    for name in sounds.classes:
        subtypes, position = sounds.subtypes[name], ranks[name] / (len(ranks) - 1)
        if subtypes:
            tail = np.log(span / 5) / np.log(len(ranks))
            for t, share in zip((0, 1), (0.8, 0.2) if ranks[name] % 2 else (0.2, 0.8), strict=True):
                units.append((name, t))
                weights.append(share * (ranks[name] + 1) ** -tail)
        else:
            units.append((name, None))
            weights.append(span**-position)
    weights = np.array(weights) ** (1 if split == "train" else spec["flatten"])
    differ = np.array([[a[0] != b[0] for b in units] for a in units], float)
    classes = tuple(spec["classes_per_scene"])
    return dict(units=tuple(units), first=weights, prior=weights, others=differ, classes=classes)


def domestic(sounds: Sounds, spec: dict, split: str) -> dict:
    """Units and weights of DESED's shape: ten classes that meet as its annotations say.

    A scene's first class is drawn evenly, so that the rarest has a hundred reference events in
    1,000 scenes; the others follow how often they meet it, which brings speech back. Classes
    that are not DESED's meet evenly.
    """
    table = CLEAN if split == "strong" else RECORDED
    known, names = list(table["together"]), domestic_classes(sounds)
    meet = np.ones((len(names), len(names))) - np.eye(len(names))
    have = np.ones(len(names))
    if set(names) <= set(known):
        rows = [known.index(name) for name in names]
        counts = np.array(list(table["together"].values()), float)[np.ix_(rows, rows)]
        have = np.diag(counts).copy()
        meet = counts / np.outer(have, have) * (1 - np.eye(len(names)))
    return dict(
        units=tuple((name, None) for name in names),
        first=np.ones(len(names)),
        prior=have,
        others=meet,
        classes=table["classes"],
    )


def domestic_classes(sounds: Sounds) -> tuple[str, ...]:
    """DESED's ten where they are all there, else the first ten."""
    known = tuple(name for name in sounds.classes if name in RECORDED["seconds"])
    return known if len(known) == len(RECORDED["seconds"]) else sounds.classes[:10]


def target_roles(classes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Which classes are base A's, base B's and the novel ones in the shape ``targets``.

    In the fixed order of `order`, the last two fifths are novel; the rest is shared out
    between the bases, two classes standing in both. Ten classes give 4, 4 and 4.
    """
    ranked, novel = tuple(order(classes, "role")), 2 * len(classes) // 5
    bases = ranked[: len(ranked) - novel]
    half = (len(bases) + 2) // 2
    return {"base_a": bases[:half], "base_b": bases[half - 2 :], "novel": ranked[len(bases) :]}


def labels(sounds: Sounds, shape: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """(labels, sibling of each label): with an ontology every class is followed by its sub-types"""
    names = domestic_classes(sounds) if shape == "domestic" else sounds.classes
    siblings = {name: sounds.siblings[name] for name in names}
    if shape == "domestic" or not any(sounds.subtypes.values()):
        return tuple(names), {a: b if b in names else a for a, b in siblings.items()}
    found = []
    for name in names:
        found += [name, *sounds.subtypes[name]]
        siblings |= zip(sounds.subtypes[name], reversed(sounds.subtypes[name]), strict=True)
    return tuple(found), siblings


def missing_rates(labels: tuple[str, ...]) -> np.ndarray:
    """Share of each label's positives that the annotators miss, (labels,), at ``noise`` 1.

    Fixed by the names: between 0.05 and 0.6, 0.27 on average.
    """
    ranked, (low, high) = order(labels, "missing"), MISSING
    position = np.array([ranked.index(label) for label in labels]) / (len(labels) - 1)
    return low + (high - low) * position**1.5
