"""The pages of all results, and what holds committed results to today's code.

``python -m wsaed.pages`` writes results/README.md, one screen for all, the picture on it, and for
each paper in a folder of results <folder>/<paper>.md: its tables, pictures and claims.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from wsaed import render, report, runs
from wsaed.claims import claims, picture, rules
from wsaed.committed import RECORDS, read_costs, read_records
from wsaed.files import ROOT, one_line, shown, write_whole
from wsaed.papers import PAPERS, artefacts

MARKS = {
    "†": "at the threshold of 0.5 only; what tuned ones give stands behind it",
    "§": "not through the correction over all claims",
    "‡": "only the paper's own corpus can settle it",
}
NO_BREAK = "\u00a0"  # a space that does not break an interval in two


def judged(results: Path) -> dict[str, dict]:
    """Folder of results -> paper -> (its frame, its judged claims)."""
    every = {}
    for home in sorted({path.parents[1] for path in results.glob(f"*/*/{RECORDS}")}):
        frames = {paper: report.recorded(home, paper) for paper in PAPERS}
        frames = {paper: df for paper, df in frames.items() if len(df)}
        found = claims.judged(frames)
        every[home.name] = {paper: (df, found[paper]) for paper, df in frames.items()}
    return every


def pages(results: Path, every: dict[str, dict]) -> dict[Path, str]:
    """{file: its text} of every page that `judged` results have."""
    texts = {results / "README.md": index(results, every)}
    for name, found in every.items():
        evidence = every.get(name.replace("laptop", "evidence", 1), found)
        for paper, (_, mine) in found.items():
            home = results / name / paper
            texts[home.with_suffix(".md")] = page(home, mine, *evidence.get(paper, found[paper]))
    return texts


def index(results: Path, every: dict[str, dict]) -> str:
    """One screen: the verdicts of the evidence, and where everything else stands."""
    rows, others, evidence = [], [], every.get("evidence", {})
    for paper, (df, found) in evidence.items():
        link, why = f"evidence/{paper}.md", claims.preconditions(paper, df)[1]
        rows.append((f"[{_title(paper)}]({link})", f"in {claims.PAPERS[paper]['units']}", ""))
        for c in found:
            at, (effect, verdict) = f"{link}#{c.artefact.replace('_', '-')}", outcome(c)
            if c.verdict == rules.UNTESTABLE:
                effect, verdict = "", f"{c.verdict}: {why[c.name]}"
            rows.append((f"[{c.name}]({at}) {c.text}", effect, verdict))
    for name, found in every.items():
        said = {p: told(results / name / p, *of) for p, of in found.items()}
        cells = (f"[{said[p]}]({name}/{p}.md)" if p in said else "" for p in PAPERS)
        others += [(name, *cells)] * (not name.startswith("smoke"))
    untold = (
        _title(p).partition(":")[0] for p, (df, _) in evidence.items() if claims.unmeasured(p, df)
    )
    what = "half as many training steps again would lift some systems has not been measured"
    steps = f"\nWhether {what} ({named})." if (named := ", ".join(untold)) else ""
    verdicts = report.markdown(pd.DataFrame(rows, columns=["claim", "effect", "verdict, or why"]))
    heads = ["results", *(_title(paper).partition(":")[0] for paper in PAPERS)]
    table = report.markdown(pd.DataFrame(others, columns=heads))
    text = Path(__file__).with_name("results.md").read_text(encoding="utf-8")
    shown = "![effects of the claims with a verdict](evidence/claims.png)\n\n"
    shown *= bool(picture.decided({paper: found for paper, (_, found) in evidence.items()}))
    return text.format(picture=shown, steps=steps, verdicts=verdicts, pages=table)


def told(home: Path, df: pd.DataFrame, found: list[rules.Claim]) -> str:
    """How a paper's claims came out; of too few replicates, how many rows of tables as expected."""
    if len(df.index.unique("replicate")) >= rules.MINIMUM:
        counted = Counter(c.verdict for c in found).most_common()
        return ", ".join(f"{n} {verdict}" for verdict, n in counted)
    tables = map(pd.read_csv, sorted(home.glob("*.csv")))
    said = [word for df in tables if "as expected" in df for word in df["as expected"].dropna()]
    return f"{said.count('yes')} of {len(said)} rows as expected" if said else "tables"


def page(home: Path, mine: list[rules.Claim], df, known: list[rules.Claim]) -> str:
    """A paper's tables and figures, below each the claims that it decides.

    df, known: what decides them, these results or the evidence of which they are a replicate.
    """
    paper, profile = home.name, home.parent.name.partition("-")[0]
    records, why = read_records(home / RECORDS), reasons(paper, df)
    title = f"# {_title(paper).partition(':')[0]}: {report.escaped(home.parent.name)}\n"
    origin, many = _origin(home, records), len({r for _, r in records})
    if profile == "evidence" and (left := claims.unmeasured(paper, df)):
        which = f"{len(left)} of its systems" if "gains" in df.attrs else "its systems"
        origin += f" Whether half as many steps again would lift {which} has not been measured."
    parts = [title, PAPERS[paper].PUBLISHED["about"] + "\n", origin + "\n"]
    if old := runs.stale(records):
        parts.append(f"**Stale: older code made {len(old)} systems; make them again.**\n")
    if why:
        parts.append("What keeps claims from being tested here:\n")
        parts += [f"- {reason}: {', '.join(names)}" for reason, names in why.items()] + [""]
    made = artefacts(PAPERS[paper], home.parent.name)
    for artefact in sorted(made, key=lambda name: (name[0] != "t", name)):  # tables first
        parts.append(f"## {artefact.replace('_', ' ').capitalize()}\n")
        if not (home / f"{artefact}.ipynb").exists():
            missing = ", ".join(sorted({*made[artefact]} - {system for system, _ in records}))
            parts.append("Not made yet." + f" Not run: {missing}." * bool(missing) + "\n")
            continue
        names = sorted(home.glob(f"{artefact}*"))
        links = [f"[executed notebook]({paper}/{artefact}.ipynb)"]
        links += [f"[{f.name}]({paper}/{f.name})" for f in names if f.suffix == ".csv"]
        parts.append(", ".join(links) + "\n")
        names = [f for f in names if re.fullmatch(f"{artefact}[a-z]?", f.stem)]
        parts += [f"![{f.stem}]({paper}/{f.name})\n" for f in names if f.suffix == ".png"]
        for text in (f.read_text(encoding="utf-8") for f in names if f.suffix == ".md"):
            own, _, settings = text.partition("Profile ")  # which stand above
            parts.append(own.strip() + "\n")
            few = re.search(r"replicates:\s+(\d+)", settings)
            if few and int(few[1]) < many:
                parts.append(f"Made with {few[1]} of {many} replicates.\n")
        pairs = [pair for pair in zip(known, mine, strict=True) if pair[0].artefact == artefact]
        rows = [(f"{c.name} {c.text}", outcome(now, c)[0], *named(c)) for c, now in pairs]
        table = pd.DataFrame(rows, columns=["claim", "this run", "effect", "verdict"])
        table = table.drop(columns="this run") if known is mine else table
        parts += [report.markdown(table) + "\n"] * bool(rows)
        telling = (c for c, _ in pairs if besides(c))
        others = (besides(c, claims.scores_on_floor(paper, df, c)) for c in telling)
        if said := list(filter(None, others)):
            parts.append("Other scores say otherwise: " + "; ".join(said) + ".\n")
    marks = [f"{mark} {what}" for mark, what in MARKS.items() if any(mark in x for x in parts)]
    return "\n".join(parts + [f"In the claims: {'; '.join(marks)}.\n"] * bool(marks))


def reasons(paper: str, df: pd.DataFrame) -> dict[str, list[str]]:
    """{why claims can't be tested: their names}."""
    found = {}
    for name, every in claims.preconditions(paper, df)[1].items():
        for reason in every.split("; "):
            found.setdefault(reason, []).append(name)
    return found


def outcome(claim: rules.Claim, like: rules.Claim | None = None) -> tuple[str, str]:
    """(the effect that decides a claim, or decides ``like``; the claim's answer, with its marks).

    Where a verdict is of the threshold of 0.5 alone, what tuned ones give stands behind it.
    """
    marks = "†" * ("at 0.5 only" in claim.note) + "§" * (rules.CORRECTED in claim.note)
    marks += "‡" * bool(claim.only_real and claim.verdict in rules.VERDICTS.values())
    decides = rules.decisive(like or claim).name if (like or claim).parts else ""
    links = zip(claim.parts, claim.tuned or claim.parts, strict=True)
    sizes = [
        p.size() + f"; tuned {tuned.size()}" * ("†" in marks)
        for p, tuned in links
        if p.name == decides and np.isfinite(p.estimate)
    ]
    return "".join(sizes).replace(" ", NO_BREAK), f"{report.answer(claim)} {marks}".strip()


def named(claim: rules.Claim) -> tuple[str, str]:
    """An `outcome` that says which of several comparisons decides, by its systems and columns."""
    effect, said = outcome(claim)
    several = len(claim.parts) > 1 and effect
    return f"{effect} ({rules.decisive(claim).name})" if several else effect, said


def besides(claim: rules.Claim, lost: Collection[str] = ()) -> str:
    """ "S1, mAUC: +0.006 [...]": the same comparison by other scores that decide it otherwise.

    ``lost``: scores that are left out.
    """
    decides = rules.decisive(claim) if claim.parts else None
    # what stands beside is all by rule S
    if decides is None or decides.rule in ("E", "NI") or claim.verdict == rules.UNTESTABLE:
        return ""
    others = [p for p in claim.beside if p.name.startswith(f"{decides.name}, ")]
    others = [p for p in others if p.outcome not in (decides.outcome, "undecided")]
    sizes = {p.name.removeprefix(decides.name)[2:]: p.size() for p in others}
    told = [
        f"{name} {size}".replace(" ", NO_BREAK) for name, size in sizes.items() if name not in lost
    ]
    return f"{claim.name}: {', '.join(told)}" if told else ""


def _title(paper: str) -> str:
    return PAPERS[paper].PUBLISHED["title"]


def _origin(home: Path, records: dict) -> str:
    """What a paper's records were trained on, and what that took; a run of two names once."""
    corpus = next(iter(records.values()))["spec"]["corpus"]
    bank, many = report.escaped(corpus.get("bank") or ""), len({r for _, r in records})
    of = {split: n or "all" for split, n in corpus.items() if type(n) is int}
    heard = f", {of.pop('references')} references a class" if "references" in of else ""
    sizes = ", ".join(f"{n} {split}" for split, n in of.items())
    nets = (record["spec"].get("net", {}).get("width") for record in records.values())
    width = "".join(
        f", nets of {w:g} of the paper's width"
        for w, _ in Counter(filter(None, nets)).most_common(1)
    )
    costs = read_costs(home)
    taken = {
        json.dumps([record["spec"], r], sort_keys=True): costs.get(f"{system}/{r}", {})
        for (system, r), record in records.items()
    }
    hours = sum(cost.get("seconds", 0) for cost in taken.values()) / 3600
    settings = f"../../params/{home.parent.name.partition('-')[0]}/{home.name}.yaml"
    return (
        f"{_title(home.name)}. [All results](../README.md). Corpus: {corpus['name']}"
        f"{f' of the recordings {bank}' if bank else ''}, {sizes} clips{heard}{width}; "
        f"replicates: {many}; [settings]({settings}). Absolute values compare with the paper's "
        f"only on the paper's corpus. These runs took {hours:.1f} hours of one core or device, "
        "without teachers that no table shows; a row's core-minutes are those of its own run."
    )


def gaps(results: Path) -> list[str]:
    """A line for each file of results that is gone, and that the pages are made of or show."""
    lines = []
    for page in [results / "README.md", *sorted(results.glob("*/*.md"))]:
        links = re.findall(
            r"\]\((?!\.\.)([^)#\s:]+)", page.read_text("utf-8") if page.exists() else ""
        )
        files = [page.with_suffix("") / RECORDS] * (page.parent != results)
        for file in dict.fromkeys((*files, *(page.parent / link for link in links))):
            if not file.exists():
                what = f"{shown(file)} is gone, which {shown(page)} needs"
                lines.append(f"{what}: take it from git, or make tables")
    return lines


def check(results: Path) -> list[str]:
    """A line for everything in committed results that today's code would not make.

    Files that are gone, records of other code, executed notebooks whose source reads otherwise or
    that tell another verdict, pages that would be written otherwise.
    """
    lines, every = gaps(results), judged(results)
    for path in sorted(results.glob(f"*/*/{RECORDS}")):
        where, records = shown(path.parent), read_records(path)
        lines += [f"{where}: {system} was made by older code" for system in runs.stale(records)]
        for arrays in sorted(path.parent.glob("*.npz")):
            made = {runs.key(row["spec"], 0) for row in records.values()}
            if not made.issuperset(np.load(arrays)["runs"]):
                lines.append(f"{where}: {arrays.name} is of other runs: make tables")
        for copy in sorted(path.parent.glob("*.ipynb")):
            source = ROOT / "notebooks" / path.parent.name / copy.name
            executed = render.read(copy)
            if not source.exists() or _sources(executed) != _sources(render.read(source)):
                lines.append(f"{where}: {copy.name} was executed from another text than today's")
            _, mine = every[path.parents[1].name][path.parent.name]
            told = _printed(executed)
            for claim in (c for c in mine if c.artefact == copy.stem):
                if report.verdict_line([claim]) not in told:
                    lines.append(
                        f"{where}: {copy.name} tells {claim.name} otherwise than the records"
                    )
    for file, text in pages(results, every).items():
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            lines.append(f"{shown(file)} is not what today's code makes of the records")
    return lines


def _sources(notebook) -> list[str]:
    given = "injected-parameters"
    return [cell.source for cell in notebook.cells if not render.tagged(cell, given)]


def _printed(notebook) -> str:
    outputs = (out for cell in notebook.cells for out in cell.get("outputs", []))
    return "".join(out.get("text", "") for out in outputs)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m wsaed.pages", description=__doc__)
    parser.add_argument("--check", action="store_true", help="list stale committed results")
    results = ROOT / "results"
    if parser.parse_args(arguments).check:
        lines = check(results)
        print("\n".join(lines) or "every committed result was made by the committed code")
        raise SystemExit(1 if lines else 0)
    for line in gaps(results):
        print(line, file=sys.stderr)
    every = judged(results)
    for path, text in pages(results, every).items():
        write_whole(path, text)
    if evidence := every.get("evidence"):
        report.style()
        fig = picture.effects({_title(paper): found for paper, (_, found) in evidence.items()})
        fig.savefig(results / "evidence" / "claims.png", dpi=110, metadata={"Software": None})
    print(f"report: {shown(results / 'README.md')}")


if __name__ == "__main__":
    one_line(main)
