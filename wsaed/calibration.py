"""Calibration on baselines alone, on corpus seeds that no result uses; every try is logged.

First a baseline's recipe (epochs, learning rate), towards a validation plateau and as far as a
laptop's patience goes, then the corpus's difficulty until the baseline lands mid-scale. What was
chosen is frozen in params/, in the paper's module and in the corpus's defaults;
results/calibration/<paper>.csv holds every try, also the rejected ones.

    python -m wsaed.calibration secost --set epochs=8 learning_rate=0.001 snr=[0,20]
    python -m wsaed.calibration joint_at_aed --system gl --set dropout=1.0
"""

import argparse
import importlib
import json
from pathlib import Path

import numpy as np
import pandas as pd

from wsaed import code, runs
from wsaed.files import one_line
from wsaed.corpora.soundscapes import DEFAULTS
from wsaed.features import FRONT_ENDS

FIRST_SEED = 1000  # results use replicates 0, 1, 2, ...: never these
BUDGET = ("epochs", "steps", "generation", "batch_size", "learning_rate")


def changed(spec: dict, settings: dict) -> dict:
    """A baseline's spec with settings laid over it, each where a key of its name belongs.

    A setting of the corpus is its teachers', too: they hear the same clips.
    """
    budget = {k: v for k, v in settings.items() if k in (*BUDGET, "schedule")}
    net = {k: v for k, v in settings.items() if k in spec.get("net", {})}
    corpus = {k: v for k, v in settings.items() if k not in budget and k not in net}
    found = spec | {"corpus": spec["corpus"] | corpus}
    for key, more in (("budget", budget), ("net", net)):
        found |= {key: spec[key] | more} if more else {}
    if "teachers" in spec:
        found["teachers"] = [changed(teacher, corpus) for teacher in spec["teachers"]]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m wsaed.calibration",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paper", choices=["secost", "joint_at_aed", "shallow_student", "mixed_tsd"])
    parser.add_argument("--system", help="default: the paper's first baseline")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=JSON", dest="settings")
    parser.add_argument("--replicates", type=int, default=2)
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--note", default="", help="what else is different in this try")
    options = parser.parse_args()
    settings = {k: json.loads(v) for k, v in (s.split("=", 1) for s in options.settings)}
    paper = importlib.import_module(f"wsaed.papers.{options.paper}")
    system = options.system or paper.BASELINES[0]
    if system not in paper.BASELINES:
        parser.error(f"only baselines may be calibrated on: {', '.join(paper.BASELINES)}")
    p = runs.parameters(options.profile, options.paper)
    spec = changed(paper.systems(p)[system], settings)
    seeds = range(FIRST_SEED, FIRST_SEED + options.replicates)
    records = runs.train([(spec, seed) for seed in seeds], "calibration")
    front_end, snr = FRONT_ENDS[spec["front_end"]], spec["corpus"].get("snr", DEFAULTS["snr"])
    noted = {k: v for k, v in settings.items() if k in spec["net"] or k == "schedule"}
    row = {"system": system} if len(paper.BASELINES) > 1 else {}
    row |= {
        "corpus": spec["corpus"].get("bank") or spec["corpus"]["name"],
        "hop": f"{1000 / front_end.frames_per_second:g} ms",
        **{split: spec["corpus"][split] for split in paper.TRAINING_SPLITS},
        "snr": f"{snr[0]:g} to {snr[1]:g}",
        **{name: spec["budget"][name] for name in BUDGET if name in spec["budget"]},
        "note": ", ".join(filter(None, (options.note, *(f"{k} {v}" for k, v in noted.items())))),
        "replicates": options.replicates,
    }
    for name in paper.CALIBRATED:
        row[name] = round(float(np.mean([r["scores"][name] for r in records])), 4)
    path = Path(code.ROOT / "results" / "calibration" / f"{options.paper}.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame([row]).to_csv(path, mode="a", header=not path.exists(), index=False)
    print(json.dumps(row))


if __name__ == "__main__":
    one_line(main)
