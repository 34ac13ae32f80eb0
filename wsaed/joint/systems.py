"""The joint paper's systems as specs, its published numbers as data, what each artefact needs.

Notebooks: notebooks/joint_at_aed/.
"""

from wsaed.corpora import spec_of
from wsaed.files import table

PAPER, NEEDS = "joint_at_aed", ("DESED",)
BANK = 2, 5  # classes, and recordings of each, that a bank must have
PUBLISHED = table("joint/published.yaml")
# Adam, one cycle: rates of narrow nets by validation, on a corpus seed that no result uses
# (results/calibration/joint_at_aed.csv; of the mean teacher none was tried: it takes guided
# learning's); the paper's width takes the public code's
RATES = {"joint": 2e-3, "guided_learning": 4e-3, "mean_teacher": 4e-3}
WARM_UP = 0.1  # of one cycle, likewise
FULL_WIDTH_RATE = 1e-3
SNR = [10, 25]  # dB above the background, the embedded corpus
HEADLINES = ["mt", "gl", "pts", "tfd", "tfd_afl"]
# What calibration may look at: the baselines and those who are told labels alone, their scores
BASELINES = ("gl", "mt", "labelled", "synthetic_only", "recorded_strong", "all_tagged")
VALIDATED = "event_f1_tuned_validation_average"
CALIBRATED = tuple(PUBLISHED["calibrated"])


def systems(p: dict) -> dict[str, dict]:
    """Every system of the paper's tables, figures and claims by name, as a spec."""
    found = {name: _spec(p, **how) for name, how in PUBLISHED["systems"].items()}
    if p["corpus"] == "soundscapes":
        return found
    return {name: spec for name, spec in found.items() if "oracle" not in spec}


def _spec(p: dict, method: str, net: str, **more) -> dict:
    """A system at the sizes of a profile's parameters ``p``; ``more`` goes into the spec."""
    mt = "mt_" if method == "mean_teacher" else ""  # the official baseline has sizes of its own
    splits = "strong", "weak", "unlabelled", "validation", "test"
    sizes = {"width": p[f"{mt}width"], "frames": p[f"{mt}frames"]}
    own = ("mels", "dropout", *(("at_pool", "units") if method == "joint" else ()))
    rate = RATES[method] if p["width"] < 1 else FULL_WIDTH_RATE
    return {
        "method": f"joint.method:{method}",
        "net": {"name": f"joint.nets:{net}"} | sizes | {key: p[key] for key in own},
        "corpus": spec_of(p, splits, "domestic", snr=SNR),
        "front_end": p[f"{mt}front_end"],
        "budget": {k: p[k] for k in ("steps", "epochs", "batch_size")}
        | {"learning_rate": rate, "warm_up": WARM_UP},
        "draw": 0,
    } | more


def replicates(system: str, p: dict, wanted: int) -> int:
    """How many of a profile's replicates a system gets: three of what decides nothing."""
    return wanted if system in (*PUBLISHED["names"], "modern") else min(wanted, 3)


def artefacts(profile: str) -> dict[str, list[str]]:
    """The systems that each table or figure compares.

    A laptop trains the headlines. The nets that measure the preconditions, and our variant of the
    distillations, are left to evidence, and to smoke, to test them.
    """
    table_1 = HEADLINES if profile == "laptop" else [*PUBLISHED["names"]]
    if profile in ("smoke", "evidence"):
        table_1 = [*PUBLISHED["systems"]]
    return {"table_1": table_1, "table_2": ["tfd_afl"], "figure_2": []}
