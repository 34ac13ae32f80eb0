"""Target sound detection's systems as specs, and what its tables and figure need.

The published numbers are published.yaml. Notebooks: notebooks/mixed_tsd/.
"""

import os
from pathlib import Path

from wsaed.corpora import spec_of
from wsaed.files import table
from wsaed.tsd.method import TRAINING, algorithm_1, student
from wsaed.tsd.scores import CONTROLS

PAPER, NEEDS = "mixed_tsd", ("URBAN_SED", "AUDIOSET")
BANK = 8, 8  # classes, and recordings of each, that a bank must have
PUBLISHED = table("tsd/published.yaml")
KD, AD, ITERATIONS = (PUBLISHED["chains"]["b"][key] for key in ("kd", "ad", "iterations"))

# Frozen on baselines alone, on corpus seeds that no result uses
# (results/calibration/mixed_tsd.csv). The students' rates differ by profile: params/.
PRETRAINING = 3e-3  # Adam's learning rate, the conditional network
SNR = [10, 30]  # dB above the background, the embedded corpus
# What calibration may look at: the baselines and their scores
BASELINES = ("ss", "ws", "b_source", "a_source")
VALIDATED = "event_f1_validation"  # over the classes that validation has, as the claims' scores are
CALIBRATED = ("event_f1", "event_f1_tuned", "segment_f1", "event_f1_paper")
ERRORS = {  # figure 1 (c): system -> how its frame labels are spoilt
    f"{kind}_{rate:g}": {"kind": kind, "rate": rate}
    for kind, rates in PUBLISHED["errors"].items()
    for rate in rates
}


def base_spec(p: dict) -> dict:
    """A student at the sizes of ``p``, the references' embeddings its only teacher so far.

    They are of PANNs where the environment's PANNS is the file, else of `pretrained`.
    """
    splits = (*TRAINING, "validation", "test", "references")
    corpus = spec_of(p, splits, "targets", snr=SNR)
    front_end = {"front_end": p["front_end"]}
    teacher = {"method": "tsd.conditional:embed", "corpus": corpus}
    if file := os.environ.get("PANNS"):
        teacher |= {"net": {"name": "tsd.conditional:Conditional"}, "panns": Path(file).name}
        teacher |= {"front_end": "panns"}
    else:
        teacher |= front_end | {"teachers": [pretrained(p)]}
    net = {"name": "tsd.nets:DetectionNet"}
    net |= {key: p[key] for key in ("form", "dropout", "width", "mels")}
    budget = {key: p[key] for key in ("epochs", "batch_size", "learning_rate")}
    shared = {"method": "tsd.method:train", "corpus": corpus, "net": net, "draw": 0}
    return shared | front_end | {"budget": budget, "teachers": [teacher]}


def pretrained(p: dict) -> dict:
    """The conditional network, where it has not PANNs' published weights.

    It learns to tag generated clips with all classes of the embedded corpus and their sub-types,
    evenly frequent, from a split whose sources no other has: never of a bank, whose recordings
    the experiment needs. It has half of the students' share of the paper's width, since it has six
    wide blocks, and costs as much.
    """
    many = p["pretrain_clips"]
    corpus = {"name": "soundscapes", "shape": "ontology", "bank": None, "snr": SNR, "noise": 0}
    corpus |= {"span": 3, "train": many, "validation": -(-many // 8), "test": 0}
    net = {"name": "tsd.conditional:Conditional", "width": p["width"] / 2}
    net |= {key: p[key] for key in ("mels", "dropout")}
    budget = {"epochs": p["pretrain_epochs"], "batch_size": 16, "learning_rate": PRETRAINING}
    spec = {"method": "tsd.conditional:train", "front_end": p["front_end"], "net": net}
    return spec | {"corpus": corpus, "budget": budget, "draw": 0}


def systems(p: dict) -> dict[str, dict]:
    """Every system of the paper's tables, figures and claims by name, as a spec.

    a_ and b_ are algorithm 1 from source A and B; b_kd_ and b_ad_ leave out one of its parts,
    b_none_ both; b_released_ has the adversarial loss with the sign of the released code. Source A
    lies in the target's domain and has no adversarial training, as in the public code.
    """
    base = base_spec(p)
    found = {"ss": student(base, "novel", "strong"), "ws": student(base, "novel", "weak")}
    again = {"epochs": p["retrain_epochs"], "learning_rate": p["retrain_rate"]}
    for name, chain in PUBLISHED["chains"].items():
        made = algorithm_1(base, **chain, **again)
        found |= {f"{name}_{who}": spec for who, spec in made.items()}
    for control in CONTROLS:
        kept = {key: base[key] for key in ("corpus", "front_end")}
        found[control] = {"method": "tsd.scores:control", "control": control} | kept
    found["a_source"], found["b_source"] = found["a_f_source"], found["b_kd_f_source"]
    (found["embedding"],) = base["teachers"]
    if p["corpus"] != "target_sound":  # a user's corpus is not spoilt
        found |= {k: student(base, "novel", "strong", errors=how) for k, how in ERRORS.items()}
    return found


def replicates(system: str, p: dict, wanted: int) -> int:
    """How many of a profile's replicates a system gets: three at most where no claim needs more."""
    return min(wanted, 3) if system in PUBLISHED["three"] else wanted


def artefacts(profile: str) -> dict[str, list[str]]:
    """The systems that each table or figure compares; small profiles train the headlines.

    Profile paper leaves figure 1 (c) out: real labels would have to be spoilt.
    """
    left = {*PUBLISHED["beside"], *PUBLISHED["three"]} if profile in ("smoke", "laptop") else set()
    left |= {*ERRORS} if profile == "paper" else set()
    every = PUBLISHED["artefacts"].items()
    return {name: [system for system in systems if system not in left] for name, systems in every}
