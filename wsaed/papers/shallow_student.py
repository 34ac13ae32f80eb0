"""The shallow student's systems as specs, its published numbers as data, what each artefact needs.

Notebooks: notebooks/shallow_student/.
"""

import os

from wsaed import code, runs, verdicts
from wsaed.papers import joint_at_aed

# Adam, constant (section 5), at the paper's width; a net of a quarter of it takes four times as
# much, frozen on plain distillation alone (results/calibration/shallow_student.csv)
LEARNING_RATE = 1e-3
DECAYS = (0.996, 0.99, 1.0, 0.99, 0.996, 0.996)  # lambda of guided learning's six, its own first
GRID = (0.5, 0.75, 1.0, 1.5, 2.0)  # of lambda_1 and of lambda_2 (section 5.1)
# What calibration may look at: the baselines, their training clips, their scores
TRAINING_SPLITS = joint_at_aed.TRAINING_SPLITS
BASELINES = ("sw_nm_ns", "labelled")
CALIBRATED = ("event_f1_median", "event_f1_tuned_median", "segment_f1_median", "tagging_f1_raw")

# A configuration: curriculum, pseudolabels, mask of the frame loss, SpecAugment
CONFIGURATIONS = {
    "ef_sw_em_cs": ("easier", "strong+weak", "event", "custom"),
    "sw_em_cs": ("all", "strong+weak", "event", "custom"),
    "hf_sw_em_cs": ("harder", "strong+weak", "event", "custom"),
    "sw_nm_ns": ("all", "strong+weak", "none", "none"),
    "ef_sw_em_ss": ("easier", "strong+weak", "event", "standard"),
    "ef_sw_em_ns": ("easier", "strong+weak", "event", "none"),
    "ef_sw_sm_cs": ("easier", "strong+weak", "segment", "custom"),
    "ef_sw_nm_cs": ("easier", "strong+weak", "none", "custom"),
    "ef_w_em_cs": ("easier", "weak", "event", "custom"),
    "em_cs": ("none", "none", "event", "custom"),
    "labelled": ("none", "none", "none", "none"),  # not the paper's: what labels alone give
}
NAMES = {name: name.upper().replace("_", "+") for name in CONFIGURATIONS}
NAMES |= {"ensemble": "teacher, all", "single": "teacher, best one", "labelled": "labels only"}
HEADLINE = ("ef_sw_em_cs", "sw_nm_ns")
# Tables 1 to 3: macro event F1 on validation and on test, (mean, standard deviation of 10 runs);
# the teachers, systems 3 and 2 of the challenge's winner, have one run each.
PUBLISHED = {
    "ensemble": ((0.453, None), (0.427, None)),
    "single": ((0.440, None), (0.409, None)),
    "ef_sw_em_cs": ((0.407, 0.006), (0.413, 0.009)),
    "sw_em_cs": ((0.403, 0.007), (0.410, 0.011)),
    "hf_sw_em_cs": ((0.403, 0.008), (0.403, 0.012)),
    "sw_nm_ns": ((0.331, 0.007), (0.335, 0.009)),
    "ef_sw_em_ss": ((0.400, 0.004), (0.409, 0.006)),
    "ef_sw_em_ns": ((0.395, 0.004), (0.399, 0.007)),
    "ef_sw_sm_cs": ((0.392, 0.004), (0.391, 0.005)),
    "ef_sw_nm_cs": ((0.339, 0.008), (0.329, 0.008)),
    "ef_w_em_cs": ((0.260, 0.010), (0.256, 0.018)),
    "em_cs": ((0.210, 0.016), (0.212, 0.020)),
}
BEST_STUDENT, RUNS = 0.42738, 10  # the best of ten on test, which the abstract sets beside 0.427
# Table 4: two systems and the printed t statistic of their validation scores
TABLE_4 = {
    "Easier first vs all": ("ef_sw_em_cs", "sw_em_cs", 1.413),
    "Harder first vs all": ("hf_sw_em_cs", "sw_em_cs", 0.143),
    "Easier vs harder first": ("ef_sw_em_cs", "hf_sw_em_cs", 1.483),
    "Custom SpecAugment vs standard": ("ef_sw_em_cs", "ef_sw_em_ss", 2.802),
    "Custom SpecAugment vs none": ("ef_sw_em_cs", "ef_sw_em_ns", 7.055),
    "Standard SpecAugment vs none": ("ef_sw_em_ss", "ef_sw_em_ns", 2.989),
    "Event mask vs segment": ("ef_sw_em_cs", "ef_sw_sm_cs", 6.800),
    "Segment mask vs none": ("ef_sw_sm_cs", "ef_sw_nm_cs", 19.875),
    "Event mask vs none": ("ef_sw_em_cs", "ef_sw_nm_cs", 23.021),
    "Weak pseudolabels vs none": ("ef_w_em_cs", "em_cs", 8.361),
    "Strong + weak vs weak": ("ef_sw_em_cs", "ef_w_em_cs", 41.954),
    "Strong + weak vs none": ("ef_sw_em_cs", "em_cs", 36.011),
}
LEVELS = (0.2, 0.05, 0.01)  # of significance that table 4 marks
MASK_SUM = ("ef_sw_em_cs", "ef_sw_sm_cs")  # also with the frame loss divided by the mask's sum


def teacher(p: dict, replicate: int = 0, single: bool = False, system: str = "gl") -> dict:
    """The spec of a teacher: an ensemble of the joint paper's guided learning, members[0] its own.

    One teacher serves the students of all replicates: its runs are those of ``replicate``. On a
    bank, whose folds take turns as test set, each replicate has the teacher of its own folds,
    since any other has heard its test clips. ``single``: the best member alone; ``system``: the
    joint paper's, of which a difficulty's has one member.
    """
    sizes = {key: p[key] for key in p if key.endswith("_clips")} | {"corpus": p["corpus"]}
    every = joint_at_aed.systems(runs.parameters(p["profile"], "joint_at_aed") | sizes)
    pin = {} if os.environ.get("BANK") else {"replicate": replicate}
    members = [every[system] | pin]
    for draw, decay in enumerate(DECAYS[: p["members"]]):
        if draw and system == "gl":
            changed = {} if decay == DECAYS[0] else {"decay": decay}
            members.append(members[0] | changed | {"draw": draw})
    kept = {key: members[0][key] for key in ("net", "corpus", "front_end")}
    more = {"rule": "mean", "single": single, "teachers": members}
    return {"method": "teacher_ensemble"} | kept | more


def student(p: dict, name: str, guide: dict, **more) -> dict:
    """The spec of one of `CONFIGURATIONS`, taught by ``guide``, a spec of `teacher`."""
    curriculum, pseudolabels, mask, augment = CONFIGURATIONS[name]
    return {
        "method": "pseudolabel",
        "net": {"name": "lstm_student", "width": p["width"], "mels": p["mels"]},
        "corpus": guide["corpus"],
        "front_end": p["front_end"],
        "budget": {
            "steps": p["steps"],
            "generation": p["generation"],
            "batch_size": p["batch_size"],
            "learning_rate": LEARNING_RATE / p["width"],
        },
        "curriculum": curriculum,
        "pseudolabels": pseudolabels,
        "mask": mask,
        "denominator": "cells",
        "augment": augment,
        "lambdas": lambdas(p).get(name, [1.0, 1.0]),
        "draw": 0,
        "teachers": [guide] if pseudolabels != "none" else [],
    } | more


def lambdas(p: dict) -> dict[str, list[float]]:
    """Each configuration's lambda_1 and lambda_2 by the grid in ``p["grid"]``, a file of
    `wsaed.papers.shallow_student_grid`; {} where that is empty."""
    if not p["grid"]:
        return {}
    path = code.ROOT / p["grid"]  # a notebook runs in its own folder
    if not path.exists():
        raise ValueError(f"grid: {p['grid']} does not exist: make it, or leave grid empty")
    import pandas as pd  # which training goes without

    trials = pd.read_csv(path)
    best = trials.loc[trials.groupby("system")["validation"].idxmax()]
    return {r.system: [r.lambda_1, r.lambda_2] for r in best.itertuples()}


def systems(p: dict) -> dict[str, dict]:
    """Every system of the paper's tables and claims by name, as a spec."""
    guide = teacher(p)
    found = {"ensemble": guide, "single": teacher(p, single=True)}
    found |= {name: student(p, name, guide) for name in CONFIGURATIONS}
    for name in MASK_SUM:
        found[f"{name}_mask_sum"] = student(p, name, guide, denominator="mask")
    if p["corpus"] == "soundscapes":
        for level in joint_at_aed.DIFFICULTY:
            guide = found[f"{level}_ensemble"] = teacher(p, system=f"{level}_gl")
            found |= {f"{level}_{name}": student(p, name, guide) for name in HEADLINE}
        if not os.environ.get("BANK"):
            guide = found["ensemble_again"] = teacher(p, replicate=1)
            found |= {f"{name}_again": student(p, name, guide) for name in HEADLINE}
    return found


SINGLE = tuple(f"{name}_mask_sum" for name in MASK_SUM)
AGAIN = ("ensemble_again", *(f"{name}_again" for name in HEADLINE))


def replicates(system: str, p: dict, wanted: int) -> int:
    """How many of a profile's replicates a system gets: rows no claim compares get one of 3.

    Another difficulty and the second teacher get what a verdict needs.
    """
    if system.startswith(tuple(joint_at_aed.DIFFICULTY)) or system in AGAIN:
        return min(wanted, verdicts.MINIMUM)
    return 1 if wanted <= 3 and system in SINGLE else wanted


def artefacts(profile: str) -> dict[str, list[str]]:
    """The systems that each table compares.

    Evidence has `beside` the claims, without a notebook, two difficulties and, where one teacher
    serves all replicates, a second one.
    """
    curriculum = ("ef_sw_em_cs", "sw_em_cs", "hf_sw_em_cs")
    augment, mask = ("ef_sw_em_ss", "ef_sw_em_ns"), ("ef_sw_sm_cs", "ef_sw_nm_cs")
    wanted = {
        "table_1": ["ensemble", "single", *curriculum, "sw_nm_ns", "labelled"],
        "table_2": ["ef_sw_em_cs", *augment, *mask, *SINGLE],
        "table_3": ["ef_sw_em_cs", "ef_w_em_cs", "em_cs", "labelled"],
        "table_4": [name for name in CONFIGURATIONS if name != "labelled"],
    }
    if profile.startswith("evidence"):
        more = [f"{level}_{s}" for level in joint_at_aed.DIFFICULTY for s in HEADLINE]
        # a bank's replicates have a teacher each: `systems` has no second one there
        wanted["beside"] = [*more, *(AGAIN if profile == "evidence" else ())]
    return wanted
