"""Calibration: tries on corpus seeds that no result uses, each logged, and who is trained out.

    python -m wsaed.calibration secost base --set learning_rate=0.001 epochs=30
    python -m wsaed.calibration joint_at_aed --plateau

The first trains systems with settings laid over theirs, and adds a line a system to
results/calibration/<paper>.csv, whatever came out: how long, its best epoch, the score on
validation that chose it. Only of baselines are there scores on test clips: of a proposal one may
see whether it has finished learning, never whether it beats its rival. What is chosen is frozen in
params/ and the papers' tables. The second holds each system that a claim compares against one of
half as much budget again (what it learns from keeps its own), in the evidence's own replicates
from 0 on, and adds lines to results/evidence/<paper>/plateau.csv: by a paper's score VALIDATED of
the epoch kept, of clips' event F1 at thresholds tuned on the same validation clips, since at 0.5
it scatters from epoch to epoch.
"""

import argparse
import json

import numpy as np
import pandas as pd

from wsaed import parameters, runs
from wsaed.claims.claims import compared
from wsaed.committed import RECORDS, read_records, writing
from wsaed.files import ROOT, one_line, table, write_whole
from wsaed.papers import PAPERS

FIRST_SEED = 1000  # of tries; results use replicates 0, 1, 2, ...: never these
BUDGET = ("epochs", "steps", "generation", "batch_size", "learning_rate", "schedule", "warm_up")
LONGER = 1.5


def changed(spec: dict, settings: dict) -> dict:
    """A system's spec with settings laid over it, each where a key of its name belongs.

    A setting of the corpus is its teachers', too, of those that hear the same clips.
    """
    mine = {"budget": BUDGET, "net": spec.get("net", ())}
    mine["own"] = spec.keys() - {"corpus", "teachers", *mine}
    parts = {part: {k: v for k, v in settings.items() if k in keys} for part, keys in mine.items()}
    other = {k: v for k, v in settings.items() if not any(k in part for part in parts.values())}
    found = spec | parts.pop("own")
    found |= {part: spec[part] | more for part, more in parts.items() if more}
    found["corpus"] = spec["corpus"] | other
    if "teachers" in spec:
        same = [x["corpus"] == spec["corpus"] for x in spec["teachers"]]
        heard = [other if hears else {} for hears in same]
        found["teachers"] = [changed(*x) for x in zip(spec["teachers"], heard, strict=True)]
    return found


def longer(spec: dict) -> dict:
    """The spec with half as much again of its own budget."""
    key = "steps" if "steps" in spec["budget"] else "epochs"
    return changed(spec, {key: round(LONGER * spec["budget"][key])})


def validated(record: dict) -> dict:
    """A run's scores, with its number of epochs and the score on validation that chose one."""
    scores, curve = record["scores"], record["scores"]["curves"]["validation"]
    return scores | {"epochs": len(curve), "validation": curve[scores["best_epoch"] - 1]}


def measured(records: list[dict], *columns: str) -> dict[str, float]:
    """The means over runs: what they took, the score that chose the epoch kept, more columns."""
    rows = [validated(record) | {"seconds": record["cost"]["seconds"]} for record in records]
    kept = ("steps", "seconds", "best_epoch", "epochs", "validation", *columns)
    means = {name: round(float(np.mean([row[name] for row in rows])), 4) for name in kept}
    return means | {name: round(means[name]) for name in ("steps", "seconds")}


def told(system: str, spec: dict, records: list[dict], note: str, columns) -> dict:
    """A line of the log: all that a spec says of itself, and what came out."""
    corpus = {k: v for k, v in spec["corpus"].items() if k != "name"}
    return {
        "system": system,
        "corpus": json.dumps(corpus),
        "net": json.dumps({"front_end": spec["front_end"]} | spec["net"]),
        "budget": json.dumps(spec["budget"]),
        "note": note,
        "seeds": len(records),
    } | measured(records, *columns)


def add(name: str, rows: pd.DataFrame, settled=lambda rows: rows) -> pd.DataFrame:
    """Write rows below those of results/<name>, ``settled`` together; give all of them."""
    path = ROOT / "results" / name
    with writing():
        rows = settled(pd.concat([pd.read_csv(path), rows]) if path.exists() else rows)
        write_whole(path, rows.to_csv(index=False))
    return rows


def plateau(paper: str, systems: list[str], specs: dict, replicates: range) -> pd.DataFrame:
    """A row a system and replicate: steps, score, score at 1.5 times, and the change.

    A run that is among the evidence's committed records is not trained again.
    """
    score, pairs = PAPERS[paper].VALIDATED, [(s, r) for s in systems for r in replicates]
    known = read_records(ROOT / "results" / "evidence" / paper / RECORDS)
    known = {(s, r): v for (s, r), v in known.items() if v["spec"] == specs.get(s)}
    new = [pair for pair in pairs if pair not in known or not runs.current(known[pair])]
    wanted = [(longer(specs[s]), r) for s, r in pairs] + [(specs[s], r) for s, r in new]
    records = runs.train(wanted, f"{paper}: trained out?")
    longer_runs, own = records[: len(pairs)], records[len(pairs) :]
    known |= zip(new, own, strict=True)
    rows = []
    for pair, more in zip(pairs, longer_runs, strict=True):
        now, more = validated(known[pair]), validated(more)
        scores = [round(x, 4) for x in (now[score], more[score], more[score] - now[score])]
        rows.append([*pair, now["steps"], *scores])
    heads = ["system", "replicate", "steps", "score", "score at 1.5 times", "change"]
    return pd.DataFrame(rows, columns=heads)


def met(rows: pd.DataFrame, delta: float) -> pd.DataFrame:
    """Of each system's replicate the last row, if of its last steps; met: mean change < delta."""
    rows = rows.drop_duplicates(["system", "replicate"], keep="last")
    rows = rows[rows["steps"] == rows.groupby("system")["steps"].transform("last")]
    return rows.assign(met=rows.groupby("system")["change"].transform("mean") < delta)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m wsaed.calibration", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("paper", choices=list(PAPERS))
    parser.add_argument("systems", nargs="*", help="default: those that a claim compares")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=JSON", dest="settings")
    parser.add_argument("--plateau", action="store_true", help="who is trained out?")
    parser.add_argument(
        "--seeds", type=int, default=2, help="how many: from 1000 on, of --plateau from 0 on"
    )
    parser.add_argument("--profile", default="evidence")
    parser.add_argument("--note", default="", help="what else is different in this try")
    options = parser.parse_args(arguments)
    try:
        settings = {k: json.loads(v) for k, _, v in (s.partition("=") for s in options.settings)}
    except ValueError:
        parser.error("--set wants KEY=JSON, a text in double quotes: 'schedule=\"one_cycle\"'")
    paper, seeds = PAPERS[options.paper], range(FIRST_SEED, FIRST_SEED + options.seeds)
    every = paper.systems(parameters.chosen(options.paper, options.profile))
    trained = {name: changed(s, settings) for name, s in every.items() if "budget" in s}
    systems = options.systems or [s for s in compared(options.paper) if s in trained]
    if unknown := set(systems) - trained.keys():
        parser.error(f"{min(unknown)} is not trained; there are {', '.join(trained)}")
    if options.plateau:
        made = plateau(options.paper, systems, trained, range(options.seeds))
        delta = table("claims/claims.yaml")[options.paper]["delta"]
        made = add(f"evidence/{options.paper}/plateau.csv", made, lambda rows: met(rows, delta))
        print(made[made["system"].isin(systems)].to_string(index=False))
        return
    for system in systems:
        records = runs.train([(trained[system], seed) for seed in seeds], f"calibration, {system}")
        columns = (paper.VALIDATED, *(paper.CALIBRATED if system in paper.BASELINES else ()))
        row = told(system, trained[system], records, options.note, columns)
        add(f"calibration/{options.paper}.csv", pd.DataFrame([row]))
        print(json.dumps(row))


if __name__ == "__main__":
    one_line(main)
