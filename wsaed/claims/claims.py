"""The claims of the four papers, judged from frames of results: claims.yaml, read and computed.

A link of a claim is (rule, name, terms): a contrast, or by the rule "by" one of `statistics`, whose
name stands where a term has its weight.
Notebook: claims.ipynb.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain

import numpy as np
import pandas as pd

from wsaed.claims import statistics
from wsaed.claims.rules import Claim, Part, decide, tested
from wsaed.claims.statistics import measured, terms
from wsaed.files import table

PAPERS = table("claims/claims.yaml")


def judged(frames: dict[str, pd.DataFrame]) -> dict[str, list[Claim]]:
    """Every paper's claims with their verdicts, corrected together, from its frame of results."""
    found = {paper: claims(paper, df) for paper, df in frames.items()}
    failed = {}
    for paper, df in frames.items():
        failed |= preconditions(paper, df)[1]
    decided = iter(decide(list(chain(*found.values())), failed))
    return {paper: [next(decided) for _ in mine] for paper, mine in found.items()}


def claims(paper: str, df: pd.DataFrame) -> list[Claim]:
    """A paper's claims from its frame of results, not yet judged.

    A claim that compares a system which ``df`` lacks has no parts, and its note says so.
    """
    return [_claim(df, PAPERS[paper], *claim) for claim in PAPERS[paper]["claims"].items()]


def preconditions(paper: str, df: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """(what baselines and oracles must show, and do; the claims that fall without, and why).

    What ``df`` has no scores for is not asked. A row that needs nothing is told. attrs "gains" of
    ``df``: what half as many steps again add to a system, nan where its steps are others now.
    """
    spec, rows, reasons = PAPERS[paper], [], {}
    for row in spec["preconditions"]:
        links = [("S", k, terms(row[k], spec["column"])) for k in ("of", "over") if k in row]
        links += [("by", "of", [(*row["by"].split(), spec["delta"])])] if "by" in row else []
        found = {part.name: part for part in _known(df, links, 0.0)}
        if len(found) < len(links):
            continue
        part, needed, met = found["of"], "", False
        value = part.estimate
        if "over" in found:
            value = value / found["over"].estimate if found["over"].estimate > 0 else 1.0
        if "within" in row:
            low, high = row["within"]
            needed = f"{low} or more" if np.isinf(high) else f"{low} to {high}"
            met = low <= value <= high
        elif "above_0" in row:
            needed = "> 0" if part.replicates < 2 else "> 0 with its interval"
            met = np.nanmin([value, part.low]) > 0
        rows.append((row["what"], value, needed, needed and ("yes" if met else "no")))
        if needed and not met:
            for name in row.get("only", spec["claims"]):
                if name not in row.get("but", ()):
                    said = row["reason"].format(value)
                    reasons.setdefault(name, []).append(f"{said} ({_asked(row)} asked)")
    gains, every = df.attrs.get("gains", {}), compared(paper)
    short = {s: gains[s] for s in every if s in gains and not gains[s] < spec["delta"]}
    short = {s: f"{s} ({gain:+.3f})" for s, gain in short.items()}
    what = f"compared systems that half as many steps again lift by {spec['delta']} or more"
    said = "no" if short else "" if unmeasured(paper, df) else "yes"
    rows.append((what, len(short), "0", said) if gains else (what, "not measured", "", ""))
    floor = spec.get("floor", {"of": [], "columns": []})
    low = floored(df, floor["of"], floor["columns"], every)
    if floor["of"] and {*floor["of"]} <= {*df.index.unique("system")}:
        what = f"compared systems that don't beat {' and '.join(floor['of'])} at 0.5 or tuned"
        rows.append((what, len(low), "0", "no" if low else "yes"))
    for name in spec["claims"]:
        mine = compared(paper, name)
        if late := [short[s] for s in mine if s in short]:
            reasons.setdefault(name, []).append(f"not trained out: {', '.join(late)}")
        if lost := ", ".join(s for s in mine if s in low):
            reasons.setdefault(name, []).append(f"a compared system lies on the floor: {lost}")
    asked = pd.DataFrame(rows, columns=["precondition", "measured", "needed", "met"])
    return asked, {name: "; ".join(why) for name, why in reasons.items()}


def _asked(row: dict) -> str:
    """What a precondition wants, in the form that its reason gives what was measured."""
    form = re.search("{:[^}]*}", row["reason"])[0]
    low, high = row.get("within", (0, np.inf))
    more = "over" if "above_0" in row else "at least" if np.isinf(high) else ""
    return f"{more} {form.format(low)}" if more else f"{form.format(low)} to {form.format(high)}"


def unmeasured(paper: str, df) -> list[str]:
    """The trained systems a paper's claims compare whose gain from more steps nobody knows."""
    trained = df.index[df["steps"].notna()].unique("system") if "steps" in df else ()
    return [s for s in compared(paper) if s in trained and s not in df.attrs.get("gains", {})]


def floored(df, controls: list[str], columns: list[str], systems: list[str]) -> list[str]:
    """Those ``systems`` that beat one of the controls by none of the columns."""

    def loses(system: str, control: str) -> bool:
        links = [("S", c, [(1, system, c), (-1, control, c)]) for c in columns]
        gaps = [part.estimate for part in _known(df, links, 0.0)]
        return bool(gaps) and max(gaps) <= 0

    others = (system for system in systems if system not in controls)
    return [system for system in others if any(loses(system, control) for control in controls)]


def compared(paper: str, *only: str) -> list[str]:
    """The systems that decide a paper's claims, or those of the claims named."""
    found = {}
    for row in map(PAPERS[paper]["claims"].get, only or PAPERS[paper]["claims"]):
        for rule, _, of in _links(row, ""):
            words = of[0][1:] if rule == "by" else [system for _, system, _ in of]
            found |= dict.fromkeys(chain(filter(None, words), row.get("with", ())))
    return [*found]


def scores_on_floor(paper: str, df, claim: Claim) -> list[str]:
    """Scores beside a claim's, in words, by which a system that it compares lies on the floor."""
    spec, mine = PAPERS[paper], compared(paper, claim.name)
    floor = spec.get("floor", {"of": []})["of"]
    scores = chain.from_iterable(columns.items() for columns in spec["beside"].values())
    return [words for column, words in scores if floored(df, floor, [column], mine)]


def _claim(df, spec: dict, name: str, row: dict) -> Claim:
    """A claim with its parts, those beside it and those at tuned thresholds."""
    column, delta, more = row.get("column", spec["column"]), spec["delta"], row.get("more", [])
    links, only_real = [*_links(row, column)], row.get("only_real", "")
    at = row.get("at") or re.sub(r"(table|figure) (\d).*", r"\1_\2", row["place"])
    claim = Claim(name, row["text"], [], only_real=only_real, artefact=at)
    old, new = spec.get("tuned", ("", ""))
    try:
        parts = [_part(df, delta, *link) for link in links]
        tuned = [
            next((_part(df, delta, *again) for again in _moved([link], old, new, new)), part)
            for link, part in zip(links, parts, strict=True)
        ]
    except KeyError as missing:
        return replace(claim, note=f"these results have no {missing.args[0]}")
    moves = [(old, *new) for old, columns in spec["beside"].items() for new in columns.items()]
    others = [link for move in moves for link in _moved(links, *move)]
    others = [(rule if rule == "by" else "S", *link) for rule, *link in others]
    others += _links(more if isinstance(more, dict) else {"S": more}, column)
    beside, tuned = list(_known(df, others, delta)), [] if tuned == parts else tuned
    return replace(claim, parts=parts, beside=beside, tuned=tuned)


def _links(row: dict, column: str) -> Iterator[tuple]:
    for rule in ("S", "E", "NI", "by"):
        for one in row.get(rule, []):
            ((name, text),) = one.items() if isinstance(one, dict) else [(one, one)]
            of = [(*text.split(), column)] if rule == "by" else terms(text, column)
            yield rule, name, of


def _moved(links, old: str, new: str, words: str) -> Iterator[tuple]:
    """Those links whose columns begin with ``old``, of those that begin with ``new``, in words."""
    for rule, name, before in links:
        after = [(*t, new + c.removeprefix(old) if c.startswith(old) else c) for *t, c in before]
        if after != before:
            yield rule, f"{name}, {words}", after


def _part(df, delta: float, rule: str, name: str, of: list[tuple]) -> Part:
    if rule != "by":
        return tested(rule, name, *measured(df, of), delta)
    ((statistic, *arguments, column),) = of
    return replace(getattr(statistics, statistic)(df, column, *arguments), name=name)


def _known(df, links, delta: float) -> Iterator[Part]:
    """The parts of those links whose scores ``df`` has."""
    for link in links:
        with suppress(KeyError):
            part = _part(df, delta, *link)
            if np.isfinite(part.estimate):
                yield part
