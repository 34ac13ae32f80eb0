"""SeCoST's systems as specs, and which of them each table and figure needs.

Published values and names are in published.yaml. Notebooks: notebooks/secost/.
"""

from wsaed.corpora import spec_of
from wsaed.features import FRONT_ENDS
from wsaed.files import table
from wsaed.secost.method import cascade, stage

PAPER, NEEDS = "secost", ("AUDIOSET",)
BANK = 2, 3  # classes, and recordings of each, that a bank must have
PUBLISHED = table("secost/published.yaml")

# Frozen on baselines alone, on corpus seeds that no result uses (results/calibration/secost.csv).
LEARNING_RATE = 3e-3  # Adam, one cycle, narrow nets; the paper's width takes PANNs' rate
FULL_WIDTH_RATE = 1e-3

# What calibration may look at: the baselines and their scores
BASELINES = ("base", *PUBLISHED["rivals"])
VALIDATED = "validation"  # mAP on the annotated labels
CALIBRATED = ("map_noisy", "map_clean", "mauc_noisy")
CALIBRATED += ("train_map_noisy", "train_map_clean", "train_missing_auc", "train_positives")


def base_spec(p: dict, **corpus) -> dict:
    """WELS-Net on the annotated labels at the sizes of a profile's parameters ``p``."""
    if p["corpus"] != "soundscapes":  # features made in the pass that checks the audio
        corpus["front_end"] = p["front_end"]
    splits = "train", "validation", "test"
    rate = LEARNING_RATE if p["width"] < 1 else FULL_WIDTH_RATE
    net = {"name": "secost.net:WelsNet", "width": p["width"], "first_pool": p["first_pool"]}
    return {
        "method": "secost.method:train",
        "net": net | {"mels": FRONT_ENDS[p["front_end"]].mels},
        "corpus": spec_of(p, splits, "ontology") | corpus,
        "front_end": p["front_end"],
        "budget": {key: p[key] for key in ("epochs", "batch_size")} | {"learning_rate": rate},
        "draw": 0,
    }


def systems(p: dict) -> dict[str, dict]:
    """Every system of the paper's tables, figures and claims by name, as a spec."""
    base = base_spec(p)
    again = base | {"draw": 1}
    found = {"base": base, "base_again": again}
    found |= {f"alpha_{a:g}": cascade(base, [a])[1] for a in PUBLISHED["alphas"]}
    for name, alphas in PUBLISHED["cascades"].items():
        stages = enumerate(cascade(base, alphas))
        found |= {f"{name}_{s}": spec for s, spec in stages if s}
    found["two_teachers"] = stage(base, [base, again], [0.3, 0.35, 0.35], draw=2)
    averaged = {"method": "secost.method:ensemble", "corpus": base["corpus"]}
    found["ensemble"] = averaged | {"teachers": [base, again]}
    found["smoothed"] = base | {"smoothing": 0.1}
    sizes = {key: base["net"][key] for key in ("width", "mels")}
    found |= {name: base | {"net": sizes | net} for name, net in PUBLISHED["rivals"].items()}
    if p["corpus"] == "soundscapes":
        for level in PUBLISHED["noise_levels"]:
            noisy = base if level == 1 else base_spec(p, noise=level)
            found |= {f"noise_{level:g}_{s}": x for s, x in enumerate(cascade(noisy, [0.3]))}
    return found


def replicates(system: str, p: dict, wanted: int) -> int:
    """How many of a profile's replicates a system gets: three at most of those beside.

    S15 compares four of them, and so stays an estimate.
    """
    return min(wanted, 3) if system in PUBLISHED["three"] else wanted


def artefacts(profile: str) -> dict[str, list[str]]:
    """The systems that each table or figure compares; small profiles train no ``beside`` ones."""
    found = PUBLISHED["artefacts"] | {"table_2": [*PUBLISHED["names"]]}
    left = PUBLISHED["beside"] if profile in ("smoke", "laptop") else []
    return {name: [x for x in systems if x not in left] for name, systems in found.items()}
