"""The paper's grid over lambda_1 and lambda_2: every system gets the same number of tuned trials.

Trains each configuration with all 25 pairs on seeds that no result uses, keeps the best epoch's
event F1 on validation, and writes a file for the parameter ``grid`` of shallow_student.yaml.

    python -m wsaed.papers.shallow_student_grid --profile laptop --out grid.csv
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
import pandas as pd

from wsaed import runs
from wsaed.calibration import FIRST_SEED
from wsaed.commands import one_line
from wsaed.papers import shallow_student as paper


def grid(p: dict, names: list[str], seeds: int) -> pd.DataFrame:
    """One row a (system, lambda_1, lambda_2): the mean over seeds of the best validation score."""
    specs = paper.systems(p | {"grid": ""})
    rows = []
    for name, pair in itertools.product(names, itertools.product(paper.GRID, repeat=2)):
        spec = specs[name] | {"lambdas": list(pair)}
        rows.append((name, *pair, spec))
    wanted = [(row[-1], FIRST_SEED + k) for row in rows for k in range(seeds)]
    records = runs.train(wanted, "grid")
    best = np.array([max(r["scores"]["validation"]) for r in records]).reshape(-1, seeds).mean(1)
    table = pd.DataFrame(rows, columns=["system", "lambda_1", "lambda_2", "spec"])
    return table.drop(columns="spec").assign(validation=best.round(5), seeds=seeds)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m wsaed.papers.shallow_student_grid",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--systems", nargs="*", default=list(paper.CONFIGURATIONS))
    parser.add_argument("--seeds", type=int, default=1, help="how many corpora each pair sees")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    unknown = sorted(set(options.systems) - set(paper.CONFIGURATIONS))
    if unknown:
        parser.error(f"no such system: {unknown[0]}; there are {', '.join(paper.CONFIGURATIONS)}")
    p = runs.parameters(options.profile, "shallow_student")
    table = grid(p, options.systems, options.seeds)
    table.to_csv(options.out, index=False)
    best = table.loc[table.groupby("system")["validation"].idxmax()]
    print(best.to_string(index=False))


if __name__ == "__main__":
    one_line(main)
