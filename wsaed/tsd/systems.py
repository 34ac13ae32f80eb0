"""Target sound detection's systems as specs, and what its tables and figure need.

The published numbers are published.yaml. Notebooks: notebooks/mixed_tsd/.
"""

import os
from pathlib import Path

from wsaed.corpora import embedded
from wsaed.files import table
from wsaed.tsd import conditional
from wsaed.tsd.method import algorithm_1, student
from wsaed.tsd.scores import CONTROLS

PAPER, NEEDS = "mixed_tsd", ("URBAN_SED", "AUDIOSET")
BANK = 8, 8  # classes, and recordings of each, that a bank must have
PUBLISHED = table("tsd/published.yaml")
KD, AD, ITERATIONS = (PUBLISHED["chains"]["b"][key] for key in ("kd", "ad", "iterations"))

# Frozen on baselines alone, on corpus seeds that no result uses
# (results/calibration/mixed_tsd.csv).
LEARNING_RATE = 1e-3  # Adam; a tenth of it where a student is trained again (section 5.2)
SNR = [10, 30]  # dB above the background, the embedded corpus
# What calibration may look at: the baselines, their training clips, their scores
TRAINING_SPLITS = conditional.TRAINING
BASELINES = ("ss", "ws", "b_source", "a_source")
CALIBRATED = ("event_f1", "event_f1_tuned", "segment_f1", "event_f1_paper")
ERRORS = {  # figure 1 (c): system -> how its frame labels are spoilt
    f"{kind}_{rate:g}": {"kind": kind, "rate": rate}
    for kind, rates in PUBLISHED["errors"].items()
    for rate in rates
}


def base_spec(p: dict) -> dict:
    """A student at the sizes of ``p``, its conditional network the only teacher so far.

    That network has PANNs' published weights where the environment's PANNS is the file, else half
    of the students' share of the paper's width: it has six wide blocks, and costs as much.
    """
    splits = (*TRAINING_SPLITS, "validation", "test", "references")
    corpus = {"name": p["corpus"], **{split: p[f"{split}_clips"] for split in splits}}
    if p["corpus"] == "soundscapes":
        corpus |= embedded("targets", snr=SNR)
    budget = {"epochs": p["epochs"], "batch_size": p["batch_size"], "learning_rate": LEARNING_RATE}
    shared = {"corpus": corpus, "front_end": p["front_end"], "draw": 0, "budget": budget}
    halved = {"name": "tsd.conditional:Conditional", "width": p["width"] / 2, "mels": p["mels"]}
    teacher = shared | {"method": "tsd.conditional:train", "net": halved}
    if file := os.environ.get("PANNS"):
        teacher |= {"net": {"name": halved["name"]}, "front_end": "panns", "panns": Path(file).name}
    net = {"name": "tsd.nets:DetectionNet"}
    net |= {key: p[key] for key in ("form", "dropout", "width", "mels")}
    return shared | {"method": "tsd.method:train", "net": net, "teachers": [teacher]}


def systems(p: dict) -> dict[str, dict]:
    """Every system of the paper's tables, figures and claims by name, as a spec.

    a_ and b_ are algorithm 1 from source A and B; b_kd_ and b_ad_ leave out one of its parts,
    b_none_ both; ws_long is weak supervision with the epochs of all students of a chain.
    Source A lies in the target's domain and has no adversarial training, as in the public code.
    """
    base = base_spec(p)
    found = {"ss": student(base, "novel", "strong"), "ws": student(base, "novel", "weak")}
    for name, chain in PUBLISHED["chains"].items():
        made = algorithm_1(base, **chain, epochs=p["retrain_epochs"])
        found |= {f"{name}_{who}": spec for who, spec in made.items()}
    for control in CONTROLS:
        kept = {key: base[key] for key in ("corpus", "front_end")}
        found[control] = {"method": "tsd.scores:control", "control": control} | kept
    retrained = ITERATIONS * p["retrain_epochs"]
    as_long = 2 * (p["epochs"] + retrained)  # as all students of a chain
    found["ws_long"] = found["ws"] | {"budget": base["budget"] | {"epochs": as_long}}
    found["a_source"], found["b_source"] = found["a_f_source"], found["b_kd_f_source"]
    if p["corpus"] != "target_sound":  # a user's corpus is not spoilt
        found |= {k: student(base, "novel", "strong", errors=how) for k, how in ERRORS.items()}
    return found


def replicates(system: str, p: dict, wanted: int) -> int:
    """How many of a profile's replicates a system gets.

    Of three, the longest run takes one: no claim is decided by it.
    """
    return 1 if wanted <= 3 and system == "ws_long" else wanted


def artefacts(profile: str) -> dict[str, list[str]]:
    """The systems that each table or figure compares.

    The small profiles take every second rate of each kind of error. On real corpora figure 1 (c)
    is left out: its labels would have to be spoilt.
    """
    found, step = dict(PUBLISHED["artefacts"]), 2 if profile in ("smoke", "laptop") else 1
    for kind, rates in PUBLISHED["errors"].items() if profile != "paper" else ():
        found["figure_1"] = found["figure_1"] + [f"{kind}_{rate:g}" for rate in rates[::step]]
    return found
