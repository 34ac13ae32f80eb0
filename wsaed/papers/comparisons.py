"""What the papers' claims are made of: paired differences, parts by rule, the tests of a claim.

A side of a contrast is a system's name, or (system, post-processing) where its records hold a
score for each post-processing, as <metric>_<post-processing>.
Notebook: claims.ipynb.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from scipy import stats

from wsaed.verdicts import DELTA, MINIMUM, Claim, Part, better, equivalent, not_worse

Side = str | tuple[str, str]
# The remark on a headline that wins on one corpus and loses on another
FLIPS = "depends on difficulty"
AFTER = "after longer training"  # begins the remark on a pair that turns round with it
TUNED_ALONE = "at tuned thresholds"  # ends it where it does so there and not at 0.5


def values(df: pd.DataFrame, system: str, metric: str) -> np.ndarray:
    """A system's score in every replicate; KeyError names a system that was not trained."""
    return np.stack(df.loc[system, metric].sort_index().map(np.asarray).to_list()).astype(float)


def measured(side: Side, metric: str) -> tuple[str, str]:
    """(system, column) of a side's score."""
    return (side, metric) if isinstance(side, str) else (side[0], f"{metric}_{side[1]}")


def shared(df, systems: Iterable[str]) -> pd.DataFrame:
    """The rows of the replicates that all of ``systems`` have: only those may be compared.

    KeyError names a system that was not trained.
    """
    everywhere = set.intersection(*(set(df.loc[system].index) for system in systems))
    return df[df.index.get_level_values("replicate").isin(everywhere)]


def difference(df: pd.DataFrame, a: Side, b: Side, metric: str):
    """Paired differences a - b over the replicates of both: (n,), and (n, resamples of clips)."""
    sides = measured(a, metric), measured(b, metric)
    df = shared(df, [system for system, _ in sides])
    a, b = (values(df, *side) for side in sides)
    clips_a, clips_b = (values(df, system, f"{column}_resampled") for system, column in sides)
    return a - b, clips_a - clips_b


def contrast(df, a: Side, b: Side, metric: str) -> Part:
    """Rule S on a - b."""
    return better(_name(a, b), *difference(df, a, b, metric))


def unchanged(df, a: Side, b: Side, metric: str, delta: float = DELTA["f1"]) -> Part:
    """Rule E on a - b, by the margin of F1 unless told."""
    return equivalent(_name(a, b), difference(df, a, b, metric)[0], delta)


def no_worse(df, a: Side, b: Side, metric: str) -> Part:
    """Rule NI on a - b, by the margin of F1."""
    return not_worse(_name(a, b), difference(df, a, b, metric)[0], DELTA["f1"])


def _name(*sides: Side) -> str:
    return " - ".join(s if isinstance(s, str) else f"{s[0]} ({s[1]})" for s in sides)


def labelled(rule: Callable, df, a: Side, b: Side, metric: str) -> Part:
    """A rule's part whose name says the metric, to stand beside others."""
    part = rule(df, a, b, metric)
    return replace(part, name=f"{part.name}, {metric}")


def where_run(df, pairs: Iterable[tuple[Side, Side]], metric: str, rule=contrast) -> list[Part]:
    """A rule's parts for those pairs of sides whose systems ``df`` has."""
    known = set(df.index.get_level_values("system"))
    run = [pair for pair in pairs if known.issuperset(measured(side, metric)[0] for side in pair)]
    return [rule(df, *pair, metric) for pair in run]


def unfinished(df, longer: Side, side: Side, metric: str, margin: float, text: str) -> list[str]:
    """The remark on a baseline that longer training lifts by more than the margin, by rule S.

    text: how much training adds what, with a place for the number.
    """
    parts = where_run(df, [(longer, side)], metric)
    known = [p for p in parts if p.outcome == "holds" and p.replicates >= MINIMUM]
    said = f"training was unfinished: {text}"
    return [said.format(part.estimate) for part in known if part.estimate > margin]


def means(df, scores: dict[str, tuple[str, str]]) -> list[tuple[str, float]]:
    """(title, mean over replicates) of those of ``scores``, title -> (system, column), known."""
    return [
        (title, values(df, system, column).mean())
        for title, (system, column) in scores.items()
        if column in df and system in df.index and df.loc[system, column].notna().all()
    ]


def told(table: pd.DataFrame, more: list[tuple[str, float]]) -> pd.DataFrame:
    """A table of preconditions with further rows (title, value) that ask for nothing."""
    rows = [(title, float(value), "", "") for title, value in more]
    more = pd.DataFrame(rows, columns=table.columns)
    return pd.concat([table.astype({"met": object}), more], ignore_index=True) if rows else table


def gains(df, sides: Iterable[Side], metric: str, against: Side) -> list[np.ndarray]:
    """Each side's score less that of ``against``, replicate by replicate, in points."""
    base = df.loc[measured(against, metric)]
    scores = [df.loc[measured(side, metric)] for side in sides]
    return [100 * (score - base).dropna().to_numpy(float) for score in scores]


def flips(parts: list[Part]) -> list[str]:
    """The remark `FLIPS` where one pair wins on one corpus and loses on another."""
    decided = {part.outcome for part in parts if part.replicates >= MINIMUM}
    return [FLIPS] if {"holds", "contradicted"} <= decided else []


def trained_longer(df, pair: tuple[Side, Side], metric: str, tuned: str = ""):
    """(parts, remarks) of a pair of sides trained three times as long, where that was run.

    Such systems' names begin with longer_. A remark names the pair, which need not be a link of
    a claim, and its outcome, where that is not the one of the pair as it is; another one where
    ``tuned``, the metric at tuned thresholds, gives another outcome still.
    """
    again = tuple(
        f"longer_{side}" if isinstance(side, str) else (f"longer_{side[0]}", side[1])
        for side in pair
    )
    after = where_run(df, [again], metric)
    if not after:
        return [], []
    same = shared(df, [measured(side, metric)[0] for side in again])
    before = where_run(same, [pair], metric)  # of the same replicates: as much can show
    at_tuned = where_run(df, [again], tuned, partial(labelled, contrast)) if tuned else []
    parts = after + at_tuned
    if not before or after[0].replicates < MINIMUM:
        return parts, []
    said, outcome = f"{AFTER} {before[0].name}", after[0].outcome
    turned = outcome != before[0].outcome
    remarks = [f"{said}: {outcome}, {before[0].outcome} before"] * turned
    others = [part.outcome for part in at_tuned if part.outcome != outcome]
    return parts, remarks + [f"{said}: {other} {TUNED_ALONE}" for other in others]


def links(
    *links: tuple,
    metric: str,
    beside=(),
    tuned: str = "",
    more=lambda df: [],
    headline=(),
    longer=None,
    remarks=lambda df: [],
) -> Callable:
    """The test of a claim that is one contrast or several: (rule, a, b) each.

    beside: other metrics of the same contrasts, where ``df`` has them; ``more(df)``: further parts
    beside them; ``tuned``: the metric at tuned thresholds, put to the claim's own rules.
    ``headline``: the pairs of sides that are the paper's headline as it is, easier and harder,
    beside them, too, with a remark where it flips; ``longer``: a pair of sides that stands there
    as `trained_longer` has it; ``remarks(df)``: further ones.
    A test gives a claim's (parts, parts beside, parts at tuned thresholds, remarks) from a frame.
    """

    def test(df):
        parts = [rule(df, a, b, metric) for rule, a, b in links]
        others = [
            labelled(contrast, df, a, b, m)
            for m in beside
            for _, a, b in links
            if all(measured(side, m)[1] in df for side in (a, b))
        ]
        again = [labelled(rule, df, a, b, tuned) for rule, a, b in links if tuned]
        levels = where_run(df, headline, metric)
        later, turned = trained_longer(df, longer, metric, tuned) if longer else ([], [])
        beside_them = others + more(df) + later + levels
        return parts, beside_them, again, flips(levels) + turned + remarks(df)

    return test


def claims(
    tests: dict[str, tuple],
    df: pd.DataFrame,
    only: list[str] | None,
    remarks: Iterable[str] = (),
    but: Iterable[str] = (),
) -> list[Claim]:
    """The claims of ``tests``, name -> (place, text, test), or those in ``only``; not yet judged.

    A claim that compares a system which ``df`` lacks has no parts, and its note says so.
    ``remarks``: on every claim but those named in ``but``, after its own.
    """
    found = []
    for name, (place, text, test) in tests.items():
        if only is not None and name not in only:
            continue
        try:
            claim = Claim(name, place, text, *test(df))
            more = [] if name in but else remarks
            found.append(replace(claim, remarks=[*claim.remarks, *more]))
        except KeyError as missing:
            note = f"these results have no {missing.args[0]}"
            found.append(Claim(name, place, text, [], note=note))
    return found


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's correlation along the rows of two (draws, classes) arrays; 0 without spread."""
    ranks = (stats.rankdata(v, axis=1) for v in (x, y))
    a, b = (r - r.mean(1, keepdims=True) for r in ranks)
    spread = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return np.divide((a * b).sum(1), spread, out=np.zeros(len(a)), where=spread > 0)
