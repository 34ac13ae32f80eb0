"""The shallow student's systems as specs, its published numbers as data, what each table needs.

Notebooks: notebooks/shallow_student/.
"""

import os
from math import hypot

from wsaed import parameters
from wsaed.files import table
from wsaed.joint import systems as joint

PAPER, NEEDS = "shallow_student", ("DESED",)
BANK = 2, 5  # classes, and recordings of each, that a bank must have
PUBLISHED = table("shallow/published.yaml")
# Adam, constant (section 5), at the paper's width; a net of a quarter of it takes four times as
# much, frozen on plain distillation alone (results/calibration/shallow_student.csv)
LEARNING_RATE = 1e-3
DECAYS = (0.996, 0.99, 1.0, 0.99, 0.996, 0.996)  # lambda of guided learning's six, its own first
# What calibration may look at: the baselines, their scores
BASELINES = ("sw_nm_ns", "labelled", "member")
VALIDATED = "event_f1_tuned_validation_median"
CALIBRATED = ("event_f1_median", "event_f1_tuned_median", "segment_f1_median", "tagging_f1_raw")

SETTINGS, CONFIGURATIONS = PUBLISHED["settings"], PUBLISHED["configurations"]
HEADLINES = PUBLISHED["headlines"]


def systems(p: dict) -> dict[str, dict]:
    """Every system of the paper's tables by name, as a spec."""
    guide = teacher(p)
    found = {"ensemble": guide, "single": teacher(p, single=True)}
    found["member"] = {k: v for k, v in guide["teachers"][0].items() if k != "replicate"}
    return found | {name: student(p, name, guide) for name in CONFIGURATIONS}


def teacher(p: dict, single: bool = False) -> dict:
    """The spec of the teacher: an ensemble of the joint paper's guided learning.

    One teacher serves the students of all replicates: its runs are those of replicate 0. On a
    bank, whose folds take turns as test set, each replicate has the teacher of its own folds,
    since any other has heard its test clips. ``single``: the best member alone.
    """
    sizes = {key: p[key] for key in p if key.endswith("_clips")}
    sizes |= {"corpus": p["corpus"]} | {key: p[f"teacher_{key}"] for key in ("width", "steps")}
    gl = joint.systems(parameters.chosen(joint.PAPER, p["profile"]) | sizes)["gl"]
    members = [gl | ({} if os.environ.get("BANK") else {"replicate": 0})]
    for draw, decay in enumerate(DECAYS[1 : p["members"]], 1):
        changed = {} if decay == DECAYS[0] else {"decay": decay}
        members.append(members[0] | changed | {"draw": draw})
    kept = {key: gl[key] for key in ("net", "corpus", "front_end")}
    more = {"rule": "mean", "single": single, "teachers": members}
    return {"method": "shallow.teacher:ensemble"} | kept | more


def student(p: dict, name: str, guide: dict) -> dict:
    """The spec of one of `CONFIGURATIONS`, taught by ``guide``, a spec of `teacher`."""
    settings = dict(zip(SETTINGS, CONFIGURATIONS[name], strict=True))
    budget = {key: p[key] for key in ("steps", "generation", "batch_size")}
    lambdas = [1.0, settings.pop("lambda_2")]
    return {
        "method": "shallow.method:train",
        "net": {"name": "shallow.net:LstmStudent", "width": p["width"], "mels": p["mels"]},
        "corpus": guide["corpus"],
        "front_end": p["front_end"],
        "budget": budget | {"learning_rate": LEARNING_RATE / p["width"]},
        "lambdas": lambdas,
        "draw": 0,
        "teachers": [guide] if settings["pseudolabels"] != "none" else [],
    } | settings


def replicates(system: str, p: dict, wanted: int) -> int:
    """How many of a profile's replicates a system gets: three where no claim compares it.

    A net of the teacher's has one, which the students of all replicates share, or a bank's folds.
    """
    if system == "member" and "replicate" in teacher(p)["teachers"][0]:
        return 1
    return min(wanted, 3) if system.endswith("_mask_sum") else wanted


def artefacts(profile: str) -> dict[str, list[str]]:
    """The systems that each table compares; a laptop trains the headlines, the teachers theirs."""
    every = PUBLISHED["artefacts"]
    left_out = set().union(*every.values()) - {*HEADLINES} if profile == "laptop" else ()
    return {name: [s for s in systems if s not in left_out] for name, systems in every.items()}


def printed_change(a: str, b: str, column: str) -> tuple[float, float]:
    """The paper's a - b in points and half of its 95 % interval.

    The interval is that of two independent means of ten runs, 0 where a run stands alone.
    """
    (mean_a, *sd_a), (mean_b, *sd_b) = (PUBLISHED["printed"][column][name] for name in (a, b))
    error = hypot(*sd_a, *sd_b) / PUBLISHED["runs"] ** 0.5 if sd_a and sd_b else 0.0
    return 100 * (mean_a - mean_b), 100 * T_18 * error


T_18 = 2.10092  # the two-sided 95 % point of Student's t with 18 degrees of freedom
