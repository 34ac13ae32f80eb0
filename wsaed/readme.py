"""The report of a folder of results, and what holds committed results to today's code.

``python -m wsaed.readme --profile laptop`` writes results/<profile>/README.md.
"""

import argparse
import importlib
import json
from pathlib import Path

import pandas as pd

from wsaed import code, parameters, render, report, runs, verdicts
from wsaed.files import one_line, write_whole
from wsaed.corpora.sources import SPLITS
from wsaed.features import FRONT_ENDS

READING = (
    "A verdict says how a comparison comes out with the networks, budgets and corpus below. "
    "*Contradicted* means that it comes out the other way here, not that the paper measured "
    "something else."
)


def readme(results_folder: Path) -> str:
    """The report of a results folder: every artefact, its figure, the claims, what made it."""
    parts = [f"# Results: {results_folder.name}\n", f"{READING}\n"]
    papers = [paper for paper in report.TITLES if (results_folder / paper).exists()]
    every = {paper: runs.read_records(results_folder / paper / "records.json") for paper in papers}
    frames = {paper: report.frame(records) for paper, records in every.items()}
    found = report.judged(frames)
    for paper, records in every.items():
        df = frames[paper]
        parts.append(f"## {report.TITLES[paper]}\n")
        if records:
            taken = _taken(results_folder / paper / "cost.json", records)
            parts.append(f"{_origin(records)} {taken}\n")
            parts += _sizes(paper, results_folder.name.split("-")[0])
        parts += _artefacts(results_folder / paper, df, set(runs.stale(records)))
        if records:
            missing = report.not_run(paper, df, results_folder.name, "beside")
            parts += _judgement(paper, df, found[paper], missing)
    return "\n".join(parts)


def _artefacts(home: Path, df, old: set[str]) -> list[str]:
    """A paper's tables and figures, or what each still waits for; ``old``: the stale systems."""
    paper, profile, parts = home.name, home.parent.name.split("-")[0], []
    module = importlib.import_module(f"wsaed.papers.{paper}")
    for artefact, systems in module.artefacts(profile).items():
        if artefact == "beside":
            continue  # stands in the claims
        parts.append(f"### {artefact.replace('_', ' ').capitalize()}\n")
        if not (home / f"{artefact}.ipynb").exists():
            missing = ", ".join(report.not_run(paper, df, profile, artefact))
            parts.append("Not made yet." + f" Not run: {missing}." * bool(missing) + "\n")
            continue
        parts.append(f"[executed notebook]({paper}/{artefact}.ipynb)\n")
        if old & set(systems):
            parts.append("**Stale: older code made this; make it again.**\n")
        for path in sorted(home.glob(f"{artefact}*.png")):
            parts.append(f"![{path.stem}]({paper}/{path.name})\n")
        parts += [path.read_text(encoding="utf-8") for path in sorted(home.glob(f"{artefact}*.md"))]
    return parts


def _judgement(paper: str, df, found: list[verdicts.Claim], missing: list[str]) -> list[str]:
    """A paper's preconditions, its claims, and what stands beside them or has not been run."""
    table = report.claims_table(found)
    return [
        "### Preconditions\n",
        "A row that asks for something is measured on baselines, teachers and oracles; the others "
        "are told and decide nothing.\n",
        report.markdown(report.preconditions(paper, df)) + "\n",
        "### Claims\n",
        f"{report.legend(paper)}\n\n{report.reading(found)}\n",
        report.markdown(table.assign(verdict="**" + table["verdict"] + "**")) + "\n",
        *_longer(report.longer_table(paper, df)),
        "<details><summary>Beside the claims, deciding nothing</summary>\n",
        report.markdown(report.beside_table(found)) + "\n",
        *([f"Not run: {', '.join(missing)}.\n"] if missing else []),
        "</details>\n",
    ]


def _longer(table) -> list[str]:
    said = "Trained three times as long, in every stage, and as it is in the same replicates:\n"
    return [said, report.markdown(table) + "\n"] if len(table) else []


def _origin(records: dict) -> str:
    specs = {system: record["spec"] for (system, _), record in records.items()}
    corpus, many = next(iter(specs.values()))["corpus"], len({r for _, r in records})
    made, bank = corpus["name"] == "soundscapes", corpus.get("bank")
    source = "embedded" if made else "recordings"
    if bank:
        source = f"the folder of recordings `{bank}`"
    told = [split for split in SPLITS if split not in ("validation", "references")]
    splits = [split for split in told if split in corpus]
    named = {"train": "training"}
    *sizes, last = (f"{corpus[split] or 'all'} {named.get(split, split)}" for split in splits)
    noisy = corpus.get("shape") == "ontology"
    every = (run for spec in specs.values() for run in report.runs_of(spec).values())
    pinned = any("replicate" in run for run in every)
    return (
        f"Corpus: {corpus['name']} ({source}), {', '.join(sizes)} and {last} clips, "
        f"{many} replicate{'s, each' if many > 1 else ''} with {report.draws(made, bank, noisy)}."
        f"{f' {report.ONE_TEACHER}' if pinned else ''} "
        "Absolute values compare with the paper's only on the paper's corpus."
    )


def _sizes(paper: str, profile: str) -> list[str]:
    """The parameters in which a profile is not the paper's, as a table; nothing if there are none.

    0 clips stand for all that there are.
    """

    def shown(key: str, value) -> str:
        if key.endswith("front_end"):
            front_end = FRONT_ENDS[value]
            return f"{value}: {front_end.frames_per_second:.3g} frames/s, {front_end.mels} mels"
        return "all" if key.endswith("_clips") and not value else str(value)

    here, full = (runs.parameters(name, paper) for name in (profile, "paper"))
    meant = parameters.meanings(profile, paper)
    rows = [
        (key, meant[key], shown(key, value), shown(key, full[key]))
        for key, value in here.items()
        if key not in ("profile", "replicates") and value != full[key]
    ]
    table = pd.DataFrame(rows, columns=["setting", "what it is", "here", "`PROFILE=paper`"])
    said = "Settings that are not the paper's, or, where it prints none, not the likeliest:\n"
    return [said, report.markdown(table) + "\n"] if rows else []


def _taken(path: Path, records: dict) -> str:
    """What training a folder's systems took together; a run that has two names counts once."""
    if not path.exists():
        return ""
    costs, taken = json.loads(path.read_text()), {}
    for (system, r), record in records.items():
        if cost := costs.get(f"{system}/{r}"):
            taken[json.dumps(record["spec"], sort_keys=True), r] = cost["seconds"]
    return (
        f"Training these systems took {sum(taken.values()) / 3600:.1f} hours of one core or "
        "device. Teachers that are no row of any table are not counted."
    )


def _sources(path: Path) -> list[str]:
    cells = render.read(path).cells
    return [c.source for c in cells if "injected-parameters" not in c.metadata.get("tags", [])]


def check(results_root: Path) -> list[str]:
    """One line for every committed system that other code than today's has made.

    Replicates of one system that hold different scores can't be of the same code either. And one
    line for every executed notebook whose text or code is no longer that of its source, and for
    every report that today's code would write otherwise.
    """
    lines = []
    for path in sorted(results_root.glob("*/*/records.json")):
        where, scores = path.parent.relative_to(code.ROOT), {}
        records = runs.read_records(path)
        for (system, _), record in records.items():
            scores.setdefault(system, set()).add(frozenset(record["scores"]))
        lines += [f"{where}: {system} was made by older code" for system in runs.stale(records)]
        lines += [
            f"{where}: {system}'s replicates hold different scores"
            for system, kinds in scores.items()
            if len(kinds) > 1
        ]
        lines += [
            f"{where}: {copy.name} was executed from another text than today's"
            for copy in sorted(path.parent.glob("*.ipynb"))
            if _sources(copy) != _sources(code.ROOT / "notebooks" / path.parent.name / copy.name)
        ]
    reports = sorted({path.parents[1] for path in results_root.glob("*/*/records.json")})
    lines += [
        f"{home.relative_to(code.ROOT)}: README.md is not what today's code makes of the records"
        for home in reports
        if (home / "README.md").exists() and (home / "README.md").read_text() != readme(home)
    ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m wsaed.readme", description=__doc__)
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--results", type=Path, help="default: results/<profile>")
    parser.add_argument("--check", action="store_true", help="list stale committed results")
    options = parser.parse_args()
    if options.check:
        lines = check(code.ROOT / "results")
        print("\n".join(lines) or "every committed result was made by the committed code")
        raise SystemExit(1 if lines else 0)
    target = (options.results or code.ROOT / "results" / options.profile).absolute()
    write_whole(target / "README.md", readme(target))
    print(f"report: {target.name}/README.md")


if __name__ == "__main__":
    one_line(main)
