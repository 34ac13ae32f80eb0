"""The joint paper's systems as specs, its published numbers as data, what each artefact needs.

Notebooks: notebooks/joint_at_aed/.
"""

from wsaed import verdicts
from wsaed.papers.embedded import embedded

# Frozen on baselines alone, on corpus seeds that no result uses
# (results/calibration/joint_at_aed.csv).
LEARNING_RATE = 8e-3  # Adam, one cycle, narrow nets; the paper's width takes the public code's
FULL_WIDTH_RATE = 1e-3
SNR = [10, 25]  # dB above the background, the embedded corpus
DIFFICULTY = {"easier": [15, 30], "harder": [5, 20]}
# What calibration may look at: the baselines, their training clips, their scores
TRAINING_SPLITS = ("strong", "weak", "unlabelled")
BASELINES = ("gl", "mt", "labelled", "synthetic_only", "recorded_strong", "all_tagged")
CALIBRATED = (
    "event_f1_average",
    "event_f1_tuned_average",
    "event_f1_baseline",
    "event_f1_tuned_baseline",
    "segment_f1_average",
    "tagging_f1_raw",
)

# Table I: event-based F1, segment-based F1, tagging F1 on DCASE 2019 task 4's evaluation set. A
# row is a system and the post-processing that its events went through.
TABLE_1 = {
    ("mt", "baseline"): (0.258, 0.537, 0.458),
    ("gl", "average"): (0.405, 0.665, 0.702),
    ("pts", "average"): (0.409, 0.681, 0.734),
    ("dfd_mse", "average"): (0.413, 0.696, 0.687),
    ("dfd_d", "average"): (0.417, 0.711, 0.729),
    ("tfd", "average"): (0.454, 0.702, 0.771),
    ("tfd_dfd_d_wu", "average"): (0.401, 0.720, 0.733),
    ("tfd_afl", "average"): (0.471, 0.740, 0.781),
    ("tfd_afl", "esp"): (0.498, 0.759, 0.812),
}
# Below the paper's rows: both baselines under the same post-processing as the rest
CONTROLS = (("mt", "average"), ("mt", "esp"), ("gl", "esp"), ("tfd_afl", "none"))
NAMES = {
    "mt": "MT",
    "gl": "GL",
    "pts": "PTS",
    "dfd_mse": "PTS + DFD-MSE",
    "dfd_d": "PTS + DFD-D",
    "tfd": "PTS + TFD",
    "tfd_dfd_d_wu": "PTS + TFD + DFD-D (w+u)",
    "tfd_afl": "PTS + TFD + AFL",
}
FILTERS = {
    "baseline": "0.46 s window, no gate",
    "average": "average windows",
    "median": "median windows",
    "esp": "ESP",
    "esp_knee": "ESP, the other reading",
    "none": "no filter",
    "whole_clip": "tags on all frames",
}
# Table II: (event F1, tagging F1) under average windows, then under ESP
TABLE_2 = {
    "Alarm_bell_ringing": (0.476, 0.774, 0.483, 0.833),
    "Blender": (0.395, 0.637, 0.403, 0.723),
    "Cat": (0.571, 0.861, 0.662, 0.896),
    "Dishes": (0.345, 0.746, 0.385, 0.782),
    "Dog": (0.522, 0.877, 0.528, 0.883),
    "Electric_shaver_toothbrush": (0.435, 0.780, 0.514, 0.808),
    "Frying": (0.515, 0.738, 0.545, 0.802),
    "Running_water": (0.329, 0.681, 0.312, 0.632),
    "Speech": (0.569, 0.934, 0.589, 0.933),
    "Vacuum_cleaner": (0.547, 0.777, 0.552, 0.823),
}
OVERALL = (0.471, 0.780, 0.498, 0.812)
# Beside the claims: the chain with three times the epochs, since its deeper nets learn slowly
LONGER = ("gl", "pts", "tfd", "tfd_afl")


def base_spec(p: dict, net: str, method: str, **more) -> dict:
    """A system at the sizes of a profile's parameters ``p``; ``more`` goes into the spec."""
    snr = more.pop("snr", SNR)
    splits = ("strong", "weak", "unlabelled", "validation", "test")
    corpus = {"name": p["corpus"], **{split: p[f"{split}_clips"] for split in splits}}
    baseline = net == "mean_teacher_crnn"
    sizes = {key: p[key] for key in ("mels", "dropout")}
    width, frames = ("mt_width", "mt_frames") if baseline else ("width", "frames")
    sizes |= {"width": p[width], "frames": p[frames]}
    if net == "joint_crnn":
        sizes["at_pool"] = p["at_pool"]
    return {
        "method": method,
        "net": {"name": net} | sizes,
        "corpus": corpus | (embedded("domestic", snr=snr) if p["corpus"] == "soundscapes" else {}),
        "front_end": p["mt_front_end" if baseline else "front_end"],
        "budget": {
            "epochs": p["epochs"],
            "batch_size": p["batch_size"],
            "learning_rate": LEARNING_RATE if p["width"] < 1 else FULL_WIDTH_RATE,
        },
        "draw": 0,
    } | more


def systems(p: dict) -> dict[str, dict]:
    """Every system of the paper's tables, figures and claims by name, as a spec."""

    def mt(**more):
        return base_spec(p, "mean_teacher_crnn", "mean_teacher", **more)

    def gl(**more):
        return base_spec(p, "guided", "guided_learning", **more)

    def joint(*distill, **more):
        return base_spec(p, "joint_crnn", "joint", distill=list(distill), **more)

    found = {
        "mt": mt(),
        "gl": gl(),
        "pts": joint(),
        "dfd_mse": joint("dfd_mse"),
        "dfd_d": joint("dfd_d"),
        "tfd": joint("tfd"),
        "tfd_dfd_d_wu": joint("tfd", "dfd_d_wu"),
        "tfd_afl": joint("tfd", focal=2.0),
        "labelled": mt(consistency=0.0),
    }
    if p["corpus"] == "soundscapes":
        for oracle in ("synthetic only", "recorded strong", "all tagged"):
            found[oracle.replace(" ", "_")] = mt(consistency=0.0, oracle=oracle)
        for name, snr in DIFFICULTY.items():
            found[f"{name}_gl"] = gl(snr=snr)
            found[f"{name}_tfd_afl"] = joint("tfd", focal=2.0, snr=snr)
        for name in LONGER:
            budget = found[name]["budget"] | {"epochs": 3 * p["epochs"]}
            found[f"longer_{name}"] = found[name] | {"budget": budget}
    return found


PRECONDITIONS = ("labelled", "synthetic_only", "recorded_strong", "all_tagged")


def replicates(system: str, p: dict, wanted: int) -> int:
    """How many of a profile's replicates a system gets: beside a claim, what a verdict needs."""
    beside = system.startswith((*DIFFICULTY, "longer"))
    return min(wanted, verdicts.MINIMUM) if beside else wanted


def artefacts(profile: str) -> dict[str, list[str]]:
    """The systems that each table or figure compares.

    What only a verdict needs is left to evidence: the nets that measure the preconditions, which
    smoke runs too, to test them; and `beside` the claims, without a notebook, the headline pair
    on an easier and on a harder corpus, and on the embedded sounds the chain with longer training.
    """
    wanted = {"table_1": list(NAMES), "table_2": ["tfd_afl"], "figure_2": []}
    evidence = profile.startswith("evidence")
    if evidence or profile == "smoke":
        wanted["table_1"] += PRECONDITIONS
    if evidence:
        wanted["beside"] = [f"{d}_{s}" for d in DIFFICULTY for s in ("gl", "tfd_afl")]
        wanted["beside"] += [f"longer_{s}" for s in LONGER] if profile == "evidence" else []
    return wanted
