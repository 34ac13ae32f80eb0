"""Calibration on baselines alone, on corpus seeds that no result uses; every try is logged.

First a baseline's recipe (epochs, learning rate), towards a validation plateau and as far as a
laptop's patience goes, then the corpus's difficulty until the baseline lands mid-scale. What was
chosen is frozen in params/, in the paper's systems and in the corpus's defaults;
results/calibration/<paper>.csv holds every try, also the rejected ones.

    python -m wsaed.calibration secost --set epochs=8 learning_rate=0.001 snr=[0,20]
    python -m wsaed.calibration joint_at_aed --system gl --set dropout=1.0
"""

import argparse
import json

import numpy as np
import pandas as pd

from wsaed import parameters, runs
from wsaed.corpora.soundscapes import DEFAULTS
from wsaed.features import FRONT_ENDS
from wsaed.files import ROOT, one_line
from wsaed.papers import PAPERS

FIRST_SEED = 1000  # results use replicates 0, 1, 2, ...: never these
BUDGET = ("epochs", "steps", "generation", "batch_size", "learning_rate")


def changed(spec: dict, settings: dict) -> dict:
    """A baseline's spec with settings laid over it, each where a key of its name belongs.

    A setting of the corpus is its teachers', too: they hear the same clips.
    """
    mine = {"budget": {*BUDGET, "schedule"}, "net": spec.get("net", {}).keys()}
    kept = {part: {k: v for k, v in settings.items() if k in keys} for part, keys in mine.items()}
    kept["corpus"] = {k: v for k, v in settings.items() if not any(k in p for p in kept.values())}
    found = spec | {part: spec[part] | more for part, more in kept.items() if more}
    if "teachers" in spec:
        found["teachers"] = [changed(teacher, kept["corpus"]) for teacher in spec["teachers"]]
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m wsaed.calibration", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("paper", choices=list(PAPERS))
    parser.add_argument("--system", help="default: the paper's first baseline")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=JSON", dest="settings")
    parser.add_argument("--replicates", type=int, default=2)
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--note", default="", help="what else is different in this try")
    options = parser.parse_args(arguments)
    settings = {k: json.loads(v) for k, v in (s.split("=", 1) for s in options.settings)}
    paper = PAPERS[options.paper]
    system = options.system or paper.BASELINES[0]
    if system not in paper.BASELINES:
        parser.error(f"only baselines may be calibrated on: {', '.join(paper.BASELINES)}")
    p = parameters.chosen(options.paper, options.profile)
    spec = changed(paper.systems(p)[system], settings)
    seeds = range(FIRST_SEED, FIRST_SEED + options.replicates)
    scores = [r["scores"] for r in runs.train([(spec, seed) for seed in seeds], "calibration")]
    corpus, budget = spec["corpus"], spec["budget"]
    snr = corpus.get("snr", DEFAULTS["snr"])
    noted = [f"{k} {v}" for k, v in settings.items() if k in spec["net"] or k == "schedule"]
    row = {
        **({"system": system} if len(paper.BASELINES) > 1 else {}),
        "corpus": corpus.get("bank") or corpus["name"],
        "hop": f"{1000 / FRONT_ENDS[spec['front_end']].frames_per_second:g} ms",
        **{split: corpus[split] for split in paper.TRAINING_SPLITS},
        "snr": f"{snr[0]:g} to {snr[1]:g}",
        **{name: budget[name] for name in BUDGET if name in budget},
        "note": ", ".join(filter(None, (options.note, *noted))),
        "replicates": options.replicates,
        **{name: round(float(np.mean([s[name] for s in scores])), 4) for name in paper.CALIBRATED},
    }
    path = ROOT / "results" / "calibration" / f"{options.paper}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame([row]).to_csv(path, mode="a", header=not path.exists(), index=False)
    print(json.dumps(row))


if __name__ == "__main__":
    one_line(main)
