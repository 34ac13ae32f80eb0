"""Target sound detection's systems as specs, its published numbers as data, what artefacts need.

Notebooks: notebooks/mixed_tsd/.
"""

import os
from itertools import groupby
from pathlib import Path

from wsaed import verdicts
from wsaed.methods import conditional, two_student
from wsaed.methods.target_scores import CONTROLS
from wsaed.papers.embedded import embedded

# Frozen on baselines alone, on corpus seeds that no result uses
# (results/calibration/mixed_tsd.csv).
LEARNING_RATE = 1e-3  # Adam; a tenth of it where a student is trained again (section 5.2)
SNR = [10, 30]  # dB above the background, the embedded corpus
DIFFICULTY = {"easier": [15, 35], "harder": [5, 25]}
KD, AD = 5.0, 0.2  # weights of the distillation (the public code's) and of the domain loss
ITERATIONS = 3
STABLE = 0.35  # error rate of the frame labels up to which detection is said to be stable
# What calibration may look at: the baselines, their training clips, their scores
TRAINING_SPLITS = conditional.TRAINING
BASELINES = ("ss", "ws", "b_source", "a_source")
CALIBRATED = ("event_f1", "event_f1_tuned", "segment_f1", "event_f1_paper")

# Table 1: segment F1, event F1 on L-TSD's test set
TABLE_1 = {
    "ss": (0.5857, 0.504),
    "ws": (0.4939, 0.3907),
    "a_f_3": (0.5095, 0.4719),
    "b_f_3": (0.5131, 0.4756),
}
# Table 2, source URBAN-TSD: what is switched on, segment F1, event F1
TABLE_2 = {
    "ws": ("", 0.4939, 0.3907),
    "b_ad_w_1": ("AD", 0.4934, 0.3911),
    "b_kd_w_1": ("KD", 0.3755, 0.3974),
    "b_w_1": ("KD, AD", 0.5034, 0.4135),
    "b_ad_f_1": ("PS, AD", 0.4809, 0.4347),
    "b_kd_f_1": ("KD, PS", 0.3767, 0.4542),
    "b_f_1": ("KD, PS, AD", 0.5131, 0.4756),
}
# Table 3, source S-TSD: segment F1, event F1 by iteration
TABLE_3 = {
    "a_w_1": (0.5039, 0.4088),
    "a_f_1": (0.5021, 0.4699),
    "a_w_2": (0.5014, 0.4160),
    "a_f_2": (0.5110, 0.4696),
    "a_w_3": (0.5133, 0.4470),
    "a_f_3": (0.5095, 0.4719),
}
PSEUDO_ERROR = 0.2703  # printed error rate of the pseudo labels
NAMES = {
    "ss": "strong supervision",
    "ws": "weak supervision",
    "a_f_3": "mixed, source A (for S-TSD: the target's domain)",
    "b_f_3": "mixed, source B (for URBAN-TSD: another domain)",
    "all_silent": "all silent",
    "clip_label": "true clip labels on all frames",
    "ws_long": "weak supervision, as long as a chain",
    "b_none_w_1": "w_student, neither KD nor AD",
}
# Figure 1 (c): how the frame labels of strong supervision are spoilt
ERRORS = {
    f"{kind}_{rate:g}": {"kind": kind, "rate": rate}
    for kind, rates in {
        "flip": (0.1, 0.2, 0.3, 0.45),
        "erode": (0.05, 0.1, 0.15),  # a quarter of the frames is active: more would leave little
        "dilate": (0.1, 0.2, 0.3),
        "drop": (0.05, 0.1, 0.15),
    }.items()
    for rate in rates
}


def corpus_spec(p: dict, snr: list) -> dict:
    """The corpus at the sizes of a profile's parameters ``p``."""
    splits = (*TRAINING_SPLITS, "validation", "test", "references")
    found = {"name": p["corpus"], **{split: p[f"{split}_clips"] for split in splits}}
    if p["corpus"] != "soundscapes":
        return found
    return found | embedded("targets", snr=snr)


def base_spec(p: dict, snr: list = SNR) -> dict:
    """A student at the sizes of ``p``, its conditional network the only teacher so far.

    That network has PANNs' published weights where the environment's PANNS is the file, else half
    of the students' share of the paper's width: it has six wide blocks, and costs as much.
    """
    shared = {"corpus": corpus_spec(p, snr), "front_end": p["front_end"], "draw": 0}
    sizes = {"width": p["width"], "mels": p["mels"]}
    budget = {"epochs": p["epochs"], "batch_size": p["batch_size"]}
    budget |= {"learning_rate": LEARNING_RATE}
    halved = {"name": "conditional", "width": p["width"] / 2, "mels": p["mels"]}
    teacher = {"method": "conditional", "net": halved, "budget": budget} | shared
    if file := os.environ.get("PANNS"):
        teacher |= {"net": {"name": "conditional"}, "front_end": "panns"}
        teacher |= {"panns": Path(file).name}
    net = {"name": "tsdnet", "form": p["form"], "dropout": p["dropout"]} | sizes
    student = {"method": "two_student", "net": net, "budget": budget} | shared
    return student | {"teachers": [teacher]}


def systems(p: dict) -> dict[str, dict]:
    """Every system of the paper's tables, figures and claims by name, as a spec.

    a_ and b_ are algorithm 1 from source A and B; b_kd_ and b_ad_ leave out one of its parts,
    b_none_ both; ws_long is weak supervision with the epochs of all students of a chain.
    Source A lies in the target's domain and has no adversarial training, as in the public code.
    """
    base = base_spec(p)
    found = {"ss": two_student.student(base, "novel", "strong")}
    found |= {"ws": two_student.student(base, "novel", "weak")}
    chains = {  # iterations: all for table 3 and table 1, one for table 2's comparisons
        "a": ("base_a", KD, 0, ITERATIONS),
        "b": ("base_b", KD, AD, ITERATIONS),
        "b_kd": ("base_b", KD, 0, 1),
        "b_ad": ("base_b", 0, AD, 1),
        "b_none": ("base_b", 0, 0, 1),
    }
    for name, chain in chains.items():
        made = two_student.algorithm_1(base, *chain, epochs=p["retrain_epochs"])
        found |= {f"{name}_{student}": spec for student, spec in made.items()}
    for control in CONTROLS:
        kept = {key: base[key] for key in ("corpus", "front_end")}
        found[control] = {"method": "target_controls", "control": control} | kept
    as_long = 2 * p["epochs"] + 2 * ITERATIONS * p["retrain_epochs"]  # as all students of a chain
    found["ws_long"] = found["ws"] | {"budget": base["budget"] | {"epochs": as_long}}
    found["a_source"], found["b_source"] = found["a_f_source"], found["b_kd_f_source"]
    if p["corpus"] == "target_sound":
        return found  # a user's corpus is not spoilt, nor made easier
    for name, errors in ERRORS.items():
        found[name] = two_student.student(base, "novel", "strong", errors=errors)
    for level, snr in DIFFICULTY.items():
        other = base_spec(p, snr)
        found[f"{level}_ws"] = two_student.student(other, "novel", "weak")
        made = two_student.algorithm_1(other, "base_b", KD, AD, 1, epochs=p["retrain_epochs"])
        found[f"{level}_b_f_1"] = made["f_1"]
    return found


def replicates(system: str, p: dict, wanted: int) -> int:
    """How many of a profile's replicates a system gets; another difficulty what a verdict needs.

    Of three, the longest run takes one: no claim is decided by it.
    """
    if system.startswith(tuple(DIFFICULTY)):
        return min(wanted, verdicts.MINIMUM)
    return 1 if wanted <= 3 and system == "ws_long" else wanted


def artefacts(profile: str) -> dict[str, list[str]]:
    """The systems that each table or figure compares; evidence adds two difficulties.

    Those stand `beside` the claims and have no notebook.

    The small profiles take every second rate of each kind of error. On real corpora figure 1 (c)
    is left out: its labels would have to be spoilt.
    """
    errors = [] if profile == "paper" else list(ERRORS)
    if profile in ("smoke", "laptop"):
        kinds = groupby(ERRORS, lambda name: ERRORS[name]["kind"])
        errors = [name for _, names in kinds for name in list(names)[::2]]
    wanted = {
        "figure_1": ["ss", "ws", "b_w_1", *errors],
        "table_1": [*TABLE_1, *CONTROLS, "b_source", "a_source", "ws_long"],
        "table_2": [*TABLE_2, *CONTROLS, "b_none_w_1"],
        "table_3": [*TABLE_3, *CONTROLS],
    }
    if profile.startswith("evidence"):
        wanted["beside"] = [f"{level}_{s}" for level in DIFFICULTY for s in ("ws", "b_f_1")]
    return wanted
