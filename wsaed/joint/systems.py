"""The joint paper's systems as specs, its published numbers as data, what each artefact needs.

Notebooks: notebooks/joint_at_aed/.
"""

from wsaed.corpora import embedded
from wsaed.files import table

PAPER, NEEDS = "joint_at_aed", ("DESED",)
PUBLISHED = table("joint/published.yaml")
# Frozen on baselines alone, on corpus seeds that no result uses
# (results/calibration/joint_at_aed.csv).
LEARNING_RATE = 8e-3  # Adam, one cycle, narrow nets; the paper's width takes the public code's
FULL_WIDTH_RATE = 1e-3
SNR = [10, 25]  # dB above the background, the embedded corpus
# What a precondition needs: nets that are told labels alone, some of them more of the truth
PRECONDITIONS = ("labelled", "synthetic_only", "recorded_strong", "all_tagged")
# What calibration may look at: the baselines, their training clips, their scores
TRAINING_SPLITS = ("strong", "weak", "unlabelled")
BASELINES = ("gl", "mt", *PRECONDITIONS)
CALIBRATED = (
    "event_f1_average",
    "event_f1_tuned_average",
    "event_f1_baseline",
    "event_f1_tuned_baseline",
    "segment_f1_average",
    "tagging_f1_raw",
)


def systems(p: dict) -> dict[str, dict]:
    """Every system of the paper's tables, figures and claims by name, as a spec."""

    def joint(*distill, **more):
        net = {"name": "joint.nets:joint_pair", "at_pool": p["at_pool"]}
        return _spec(p, "joint.method:joint", net, distill=list(distill), **more)

    def mt(**more):
        net = {"name": "joint.nets:mean_teacher_pair"}
        return _spec(p, "joint.method:mean_teacher", net, **more)

    found = {
        "mt": mt(),
        "gl": _spec(p, "joint.method:guided_learning", {"name": "joint.nets:guided_pair"}),
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
    return found


def _spec(p: dict, method: str, net: dict, **more) -> dict:
    """A system at the sizes of a profile's parameters ``p``; ``more`` goes into the spec."""
    mt = "mt_" if "mean_teacher" in method else ""  # the official baseline has sizes of its own
    splits = (*TRAINING_SPLITS, "validation", "test")
    corpus = {"name": p["corpus"], **{split: p[f"{split}_clips"] for split in splits}}
    if p["corpus"] == "soundscapes":
        corpus |= embedded("domestic", snr=SNR)
    sizes = {"width": p[f"{mt}width"], "frames": p[f"{mt}frames"]}
    return {
        "method": method,
        "net": net | sizes | {key: p[key] for key in ("mels", "dropout")},
        "corpus": corpus,
        "front_end": p[f"{mt}front_end"],
        "budget": {
            "epochs": p["epochs"],
            "batch_size": p["batch_size"],
            "learning_rate": LEARNING_RATE if p["width"] < 1 else FULL_WIDTH_RATE,
        },
        "draw": 0,
    } | more


def replicates(system: str, p: dict, wanted: int) -> int:
    """How many of a profile's replicates a system gets: all."""
    return wanted


def artefacts(profile: str) -> dict[str, list[str]]:
    """The systems that each table or figure compares.

    The nets that measure the preconditions are left to evidence, and to smoke, to test them.
    """
    measured = PRECONDITIONS if profile == "smoke" or profile.startswith("evidence") else ()
    table_1 = [*PUBLISHED["names"], *measured]
    return {"table_1": table_1, "table_2": ["tfd_afl"], "figure_2": []}
