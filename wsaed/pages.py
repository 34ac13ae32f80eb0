"""The report of a folder of results, and what holds committed results to today's code.

``python -m wsaed.pages --profile laptop`` writes results/laptop/README.md.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

from wsaed import render, report, runs
from wsaed.claims import claims
from wsaed.files import ROOT, folder_of, one_line, shown, write_whole
from wsaed.papers import PAPERS

READING = (
    "A verdict says how a comparison comes out with the networks, budgets and corpus below. "
    "*Opposite* means that it comes out the other way here, not that the paper measured something "
    "else. A link's outcome is before any correction, a verdict after all of them; in brackets "
    "stands the 95 % interval, and 90 % where a link says no change or no worse."
)


def page(home: Path) -> str:
    """The report of a results folder: what made it, every artefact, the claims it decides."""
    parts = [f"# Results: {report.escaped(home.name)}\n", f"{READING}\n"]
    every = {paper: runs.read_records(home / paper / runs.RECORDS) for paper in PAPERS}
    frames = {paper: report.recorded(home, paper) for paper in PAPERS if every[paper]}
    for paper, found in claims.judged(frames).items():
        records, published = every[paper], PAPERS[paper].PUBLISHED
        parts += [f"## {published['title']}\n", f"{_origin(home / paper, records)}\n"]
        parts += _artefacts(home / paper, records)
        asked, table = claims.preconditions(paper, frames[paper])[0], report.claims_table(found)
        parts += ["### Preconditions\n", report.markdown(asked) + "\n"]
        parts += ["### Claims\n", f"{published['legend']}\n"]
        parts += [report.markdown(table, bold="verdict") + "\n"]
    return "\n".join(parts)


def _origin(home: Path, records: dict) -> str:
    """What a paper's records were trained on, and what that took; a run of two names once."""
    corpus = next(iter(records.values()))["spec"]["corpus"]
    bank, many = report.escaped(corpus.get("bank") or ""), len({r for _, r in records})
    sizes = ", ".join(f"{n or 'all'} {split}" for split, n in corpus.items() if type(n) is int)
    costs, taken = runs.read_costs(home), {}
    for (system, r), record in records.items():
        run = json.dumps([record["spec"], r], sort_keys=True)
        taken[run] = costs.get(f"{system}/{r}", {}).get("seconds", 0)
    return (
        f"Corpus: {corpus['name']}{f' of the recordings {bank}' if bank else ''}, {sizes} clips; "
        f"replicates: {many}. Absolute values compare with the paper's only on the paper's corpus. "
        f"Training these systems took {sum(taken.values()) / 3600:.1f} hours of one core or device."
    )


def _artefacts(home: Path, records: dict) -> list[str]:
    """A paper's tables and figures, or what each still waits for."""
    paper, profile = home.name, home.parent.name.partition("-")[0]
    old, run, parts = set(runs.stale(records)), {system for system, _ in records}, []
    for artefact, systems in PAPERS[paper].artefacts(profile).items():
        parts.append(f"### {artefact.replace('_', ' ').capitalize()}\n")
        if not (home / f"{artefact}.ipynb").exists():
            missing = ", ".join(sorted(set(systems) - run))
            parts.append("Not made yet." + f" Not run: {missing}." * bool(missing) + "\n")
            continue
        parts.append(f"[executed notebook]({paper}/{artefact}.ipynb)\n")
        if old & set(systems):
            parts.append("**Stale: older code made this; make it again.**\n")
        pictures, tables = (sorted(home.glob(f"{artefact}*.{kind}")) for kind in ("png", "md"))
        parts += [f"![{path.stem}]({paper}/{path.name})\n" for path in pictures]
        parts += [path.read_text(encoding="utf-8") for path in tables]
    return parts


def check(results: Path) -> list[str]:
    """A line for everything in committed results that today's code would not make.

    Records of other code, replicates of one system with different scores, executed notebooks
    whose source reads otherwise, reports that would be written otherwise.
    """
    lines, paths = [], sorted(results.glob(f"*/*/{runs.RECORDS}"))
    for path in paths:
        where, records = shown(path.parent), runs.read_records(path)
        kinds = {(system, frozenset(r["scores"])) for (system, _), r in records.items()}
        mixed = Counter(sorted(system for system, _ in kinds)) - Counter({s for s, _ in records})
        lines += [f"{where}: {system} was made by older code" for system in runs.stale(records)]
        lines += [f"{where}: {system}'s replicates hold different scores" for system in mixed]
        for copy in sorted(path.parent.glob("*.ipynb")):
            source = ROOT / "notebooks" / path.parent.name / copy.name
            if _sources(copy) != _sources(source):
                lines.append(f"{where}: {copy.name} was executed from another text than today's")
    for home in sorted({path.parents[1] for path in paths}):
        file = home / "README.md"
        if file.exists() and file.read_text(encoding="utf-8") != page(home):
            lines.append(f"{shown(file)} is not what today's code makes of the records")
    return lines


def _sources(path: Path) -> list[str]:
    cells = render.read(path).cells
    return [cell.source for cell in cells if not render.tagged(cell, "injected-parameters")]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m wsaed.pages", description=__doc__)
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--results", type=Path, help="default: results/<profile>[-<bank>]")
    parser.add_argument("--check", action="store_true", help="list stale committed results")
    options = parser.parse_args(arguments)
    if options.check:
        lines = check(ROOT / "results")
        print("\n".join(lines) or "every committed result was made by the committed code")
        raise SystemExit(1 if lines else 0)
    home = (options.results or ROOT / "results" / folder_of(options.profile)).absolute()
    write_whole(home / "README.md", page(home))
    print(f"report: {shown(home / 'README.md')}")


if __name__ == "__main__":
    one_line(main)
