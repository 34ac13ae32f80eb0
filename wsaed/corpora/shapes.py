"""What the corpora's shapes are made of: which classes, how often, who meets whom, which labels.

`ontology`, `domestic` and `targets` give what `wsaed.corpora.scenes.Scenes` says of a split.
Notebook: start_here.ipynb.
"""

import numpy as np

from wsaed.corpora import digest_of
from wsaed.corpora.sources import DESED, SPLITS, Sounds
from wsaed.files import table

SHAPES: dict[str, dict] = table("corpora/shapes.yaml")["shapes"]
MISSING = (0.05, 0.6)  # range over labels of the share of positives that annotators miss


def order(names, purpose: str) -> list[str]:
    """A fixed order that means nothing, another one for each purpose: by the names' hashes."""
    return sorted(names, key=lambda name: digest_of(f"{purpose} {name}"))


def ontology(sounds: Sounds, spec: dict, split: str) -> dict:
    """Units and weights of AudioSet's shape.

    The rank of a class in the long tail is fixed by its name, so that a class is as rare in
    every replicate. With sub-types the r-th class has a share of r^-tail, split two to one, which
    spans ``span`` from the first class to the last one's rarer sub-type; a flat list falls
    geometrically.
    """
    span, units, weights = spec["span"], {}, []
    ranks = {name: rank for rank, name in enumerate(order(sounds.classes, "rank"))}
    tail = np.log(span / 3) / np.log(len(ranks))
    weights = {}
    for name, rank in ((name, ranks[name]) for name in sounds.classes):
        if sounds.subtypes[name]:
            for t, share in enumerate((2 / 3, 1 / 3) if rank % 2 else (1 / 3, 2 / 3)):
                weights[name, t] = share * (rank + 1) ** -tail
        else:
            weights[name, None] = span ** -(rank / (len(ranks) - 1))
    units = tuple(weights)
    prior = np.array(list(weights.values())) ** (1 if split == "train" else spec["flatten"])
    differ = np.array([[a != b for b, _ in units] for a, _ in units], float)
    classes = tuple(spec["classes_per_scene"])
    return dict(units=units, first=prior, prior=prior, others=differ, classes=classes)


def domestic(sounds: Sounds, spec: dict, split: str) -> dict:
    """Units and weights of DESED's shape: ten classes that meet as its annotations say.

    A scene's first class is drawn evenly, so that the rarest has a hundred reference events in
    1,000 scenes; the others follow how often they meet it, which brings speech back. Classes
    that are not DESED's meet evenly.
    """
    desed, names = DESED[SPLITS[split]["domain"]], domestic_classes(sounds)
    found, known = evenly(names, desed["classes"]), list(desed["together"])
    if set(names) <= set(known):
        rows = [known.index(name) for name in names]
        counts = np.array(list(desed["together"].values()), float)[np.ix_(rows, rows)]
        have = np.diag(counts).copy()
        found |= dict(prior=have, others=counts / np.outer(have, have) * found["others"])
    return found


def evenly(names, classes) -> dict:
    """Units and weights of classes that meet evenly, ``classes`` the weights of 1, 2, ... ."""
    units, ones = tuple((name, None) for name in names), np.ones(len(names))
    return dict(
        units=units, first=ones, prior=ones, others=1 - np.eye(len(names)), classes=tuple(classes)
    )


def domestic_classes(sounds: Sounds) -> tuple[str, ...]:
    """DESED's ten where they are all there, else the first ten."""
    desed = DESED["clean"]["seconds"]
    known = tuple(name for name in sounds.classes if name in desed)
    return known if len(known) == len(desed) else sounds.classes[:10]


def targets(sounds: Sounds, spec: dict, split: str) -> dict:
    """Units and weights of target sound detection's shape: a role's classes, which meet evenly."""
    roles = target_roles(sounds.classes) | {"references": sounds.classes}
    found = evenly(roles.get(split, roles["novel"]), spec["classes_per_scene"])
    return found | {"references": spec["references"] if split == "references" else 0}


def target_roles(classes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Which classes are base A's, base B's and the novel ones in the shape ``targets``.

    In the fixed order of `order`, the last two fifths are novel; the rest is shared out
    between the bases, and base B has two novel classes besides, as URBAN-TSD shares two with
    L-TSD. Ten classes give 4, 4 and 4. ValueError for too few to leave a class novel to both.
    """
    ranked, novel = tuple(order(classes, "role")), 2 * len(classes) // 5
    if novel < 3:
        raise ValueError(f"shape 'targets': {len(classes)} sound classes are too few; give 8")
    half, rest = (len(ranked) - novel + 2) // 2, len(ranked) - novel
    return {"base_a": ranked[:half], "base_b": ranked[half : rest + 2], "novel": ranked[rest:]}


def labels(sounds: Sounds, shape: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """(labels, sibling of each label): with an ontology every class is followed by its sub-types"""
    names = domestic_classes(sounds) if shape == "domestic" else sounds.classes
    siblings = {name: sounds.siblings[name] for name in names}
    if shape != "ontology" or not any(sounds.subtypes.values()):
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
