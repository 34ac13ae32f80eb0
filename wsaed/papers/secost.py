"""SeCoST's systems as specs, its published numbers as data, and what each artefact needs.

Notebooks: notebooks/secost/.
"""

import os

from wsaed import verdicts
from wsaed.methods.secost import cascade, stage
from wsaed.papers.embedded import embedded

# Frozen on baselines alone, on corpus seeds that no result uses (results/calibration/secost.csv).
LEARNING_RATE = 3e-3  # Adam, one cycle, narrow nets; the paper's width takes PANNs' rate
FULL_WIDTH_RATE = 1e-3
VARIABLE = [0.3, 0.3, 0.2, 0.1, 0.05]  # alpha_1 ... alpha_5, section 4
FIXED = [0.3] * 4
ALPHAS = [0.0, 0.1, 0.3, 0.6]  # figure 2, left; alpha 1 is `base_again`
NOISE_LEVELS = [0.0, 0.5, 1.0, 1.5]  # claim A15; 1 is every other system's
DIFFICULTY = {"easier": [15, 35], "harder": [5, 25]}  # dB above the background
# Beside the claims: these with three times the epochs, in all their stages
LONGER = ("base", "base_again", "alpha_0.3", "alpha_0", "fixed_2", "variable_4")

# What calibration may look at: the baselines, their training clips, their scores
BASELINES, TRAINING_SPLITS = ("base",), ("train",)
CALIBRATED = ("map_noisy", "map_clean", "mauc_noisy", "train_map_noisy", "train_missing_auc")

# Table 2: mAP, mAUC on AudioSet's evaluation set
TABLE_2 = {
    "pooling": (0.343, 0.966),
    "attention": (0.361, 0.969),
    "attention_large": (0.369, 0.969),
    "talnet_pooling": (0.361, 0.966),
    "talnet_attention": (0.362, 0.965),
    "base": (0.352, 0.962),
    "fixed_2": (0.379, 0.970),
    "variable_4": (0.383, 0.971),
}
NAMES = {
    "pooling": "[7] pooling",
    "attention": "[7] attention",
    "attention_large": "[7] attention, large",
    "talnet_pooling": "TALNet, linear softmax pooling",
    "talnet_attention": "TALNet, attention",
    "base": "WELS-Net (base)",
    "fixed_1": "SeCoST, alpha 0.3 (stage 1)",
    "fixed_2": "SeCoST, fixed alpha (stage 2)",
    "variable_4": "SeCoST, variable alpha (stage 4)",
    "base_again": "control: base, another initialisation",
    "base_long": "control: base, the cascade's total compute",
    "smoothed": "control: label smoothing 0.1",
    "ensemble": "control: two bases averaged",
    "two_teachers": "two teachers, one stage (equation 6)",
}
# The values that the text states for the figures; None where only a picture shows them.
FIGURE_2_LEFT = {1.0: 0.352, 0.3: 0.374, 0.0: 0.366}
FIGURE_2_RIGHT = [0.352, 0.374, 0.379, None, None]  # "saturates" after the second stage
FIGURE_3_LEFT = [0.352, 0.374, 0.379, None, 0.383, None]
FIGURE_3_RIGHT = [0.352, 0.366, None, None]
# Figure 4 and the class analysis: bins of the base's AP and the relative gain of their mean AP
FIGURE_4 = {(0.0, 0.1): 0.28, (0.1, 0.2): 0.21, (0.5, 1.0): 0.045}
CLASS_COUNTS = {"classes": 527, "improve": 448, "gain over 20 %": 110, "lose over 10 %": 12}


def base_spec(p: dict, **corpus) -> dict:
    """WELS-Net on the annotated labels at the sizes of a profile's parameters ``p``."""
    sizes = {split: p[f"{split}_clips"] for split in ("train", "validation", "test")}
    return {
        "method": "secost",
        "net": {"name": "wels_net", "width": p["width"]},
        "corpus": {"name": p["corpus"]}
        | (embedded("ontology") if p["corpus"] == "soundscapes" else {"front_end": p["front_end"]})
        | sizes
        | corpus,
        "front_end": p["front_end"],
        "budget": {
            "epochs": p["epochs"],
            "batch_size": p["batch_size"],
            "learning_rate": LEARNING_RATE if p["width"] < 1 else FULL_WIDTH_RATE,
        },
        "draw": 0,
    }


def systems(p: dict) -> dict[str, dict]:
    """Every system of the paper's tables, figures and claims by name, as a spec."""
    base = base_spec(p)
    fixed, variable, alone = (cascade(base, a) for a in (FIXED, VARIABLE, [0.0] * 3))
    again = {**base, "draw": 1}
    found = {"base": base, "base_again": again}
    found |= {f"alpha_{a:g}": cascade(base, [a])[1] for a in ALPHAS}
    found |= {f"fixed_{s}": fixed[s] for s in range(1, 5)}
    found |= {f"variable_{s}": variable[s] for s in range(1, 6)}
    found |= {f"alone_{s}": alone[s] for s in range(1, 4)}
    found["two_teachers"] = stage(base, [base, again], [0.3, 0.35, 0.35], draw=2)
    found["ensemble"] = {
        "method": "ensemble",
        "corpus": base["corpus"],
        "teachers": [base, again],
    }
    found["base_long"] = {**base, "budget": {**base["budget"], "epochs": 5 * p["epochs"]}}
    found["smoothed"] = {**base, "smoothing": 0.1}
    width = {"width": p["width"]}
    for kind in ("pooling", "attention", "attention_large"):
        net = {"name": "embedding_attention", "kind": kind, "level": "feature"} | width
        found[kind] = {**base, "net": net}
    for kind, pooling in (("pooling", "linear"), ("attention", "attention")):
        net = {"name": "talnet", "pooling": pooling} | width
        found[f"talnet_{kind}"] = {**base, "net": net}
    found["base_10ms"] = {**base, "front_end": "secost", "localize": True}
    if p["corpus"] == "soundscapes":
        for level in NOISE_LEVELS:
            for s, spec in enumerate(cascade(base_spec(p, noise=level), [0.3])):
                found[f"noise_{level:g}_{s}"] = spec if level != 1 else fixed[s]
        for name, snr in DIFFICULTY.items():
            for s, spec in enumerate(cascade(base_spec(p, snr=snr), VARIABLE[:4])):
                found[f"{name}_{s}"] = spec
        if not os.environ.get("BANK"):
            found |= {f"longer_{name}": longer(found[name]) for name in LONGER}
    return found


def longer(spec: dict) -> dict:
    """A spec with three times the epochs, its teachers' too."""
    budget = spec["budget"] | {"epochs": 3 * spec["budget"]["epochs"]}
    teachers = [longer(teacher) for teacher in spec.get("teachers", [])]
    return spec | {"budget": budget} | ({"teachers": teachers} if teachers else {})


# Rows that no claim compares, and the costly ones, take one replicate where a profile has three.
SINGLE = ("smoothed", "pooling", "attention", "talnet_pooling", "base_long", "base_10ms")
SINGLE += ("alpha_0.1", "alpha_0.6", "variable_5")


def replicates(system: str, p: dict, wanted: int) -> int:
    """How many of a profile's replicates a system gets; beside a claim, what a verdict needs."""
    if system.startswith((*DIFFICULTY, "longer")):
        return min(wanted, verdicts.MINIMUM)
    return 1 if wanted <= 3 and (system in SINGLE or system.startswith("noise_")) else wanted


def artefacts(profile: str) -> dict[str, list[str]]:
    """The systems that each table or figure compares.

    The small profiles take two of the four noise levels, and only evidence has, `beside` the
    claims and without a notebook, the two difficulties and, on the embedded sounds, longer
    training: claims are decided on evidence.
    """
    levels = NOISE_LEVELS[::2] if profile in ("smoke", "laptop") else NOISE_LEVELS
    wanted = {
        "table_1": [],
        "table_2": list(NAMES),
        "figure_2": ["base", "base_again", *(f"alpha_{a:g}" for a in ALPHAS)]
        + [f"fixed_{s}" for s in range(1, 5)],
        "figure_3": ["base", *(f"variable_{s}" for s in range(1, 6))]
        + [f"fixed_{s}" for s in range(1, 5)]
        + [f"alone_{s}" for s in range(1, 4)],
        "figure_4": ["base", "base_again", "variable_4"]
        + [f"noise_{level:g}_{s}" for level in levels for s in (0, 1)],
        "localization": ["base_10ms"],
    }
    if profile.startswith("evidence"):
        wanted["beside"] = [f"{d}_{s}" for d in DIFFICULTY for s in range(5)]
        wanted["beside"] += [f"longer_{s}" for s in LONGER] if profile == "evidence" else []
    return wanted
