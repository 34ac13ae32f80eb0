"""From paired differences to verdicts: the rules S, CH, E and NI, decided before any run.

A part is one tested link of a claim; a claim holds when all its parts do. Verdicts: holds,
contradicted, undecided, not testable here; below MINIMUM replicates "estimate only", and
"not run" where a system is missing.
Notebook: claims.ipynb.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import stats

MINIMUM = 5  # replicates below which no verdict is given
DELTA = {"map": 0.01, "f1": 0.02, "auc": 0.02, "error": 0.03}  # equivalence margins by metric
LEVEL = 0.05
DECIDED, UNTESTABLE = ("holds", "contradicted", "undecided"), "not testable here"
AT_HALF = "at 0.5 only"  # the note of a verdict that tuned thresholds do not bear out


@dataclass(frozen=True)
class Part:
    """One tested link: its estimate, its interval, p value and what the rule says of it.

    The interval is of 90 % by rules E and NI, else of 95 %.
    """

    name: str
    rule: str
    estimate: float
    low: float
    high: float
    p: float
    outcome: str
    replicates: int
    needed: int | None = None  # replicates that the observed spread would need; None: unknown


@dataclass(frozen=True)
class Claim:
    """A paper's claim: where it stands, what decides it, and the verdict on its parts."""

    name: str
    place: str
    text: str
    parts: list[Part]
    beside: list[Part] = field(default_factory=list)  # other metrics and controls: never decide
    tuned: list[Part] = field(default_factory=list)  # the parts, thresholds tuned on validation
    remarks: list[str] = field(default_factory=list)  # what a verdict should be read with
    verdict: str = "undecided"
    note: str = ""


def two_level_interval(d: np.ndarray, resampled: np.ndarray | None):
    """Bootstrap interval of the mean, of 95 %: over replicates, then over source-grouped clips.

    d: (replicates,) paired differences; resampled: (replicates, resamples) the same differences
    on resampled clips (each centred on its own replicate), or None for one level only.
    """
    rng = np.random.default_rng(0)
    rows = rng.integers(len(d), size=(10_000, len(d)))
    draws = d[rows]
    if resampled is not None:
        # the spread of the resamples around their own mean is what the choice of clips adds
        spread = resampled - resampled.mean(1, keepdims=True)
        draws = draws + spread[rows, rng.integers(resampled.shape[1], size=rows.shape)]
    low, high = np.percentile(draws.mean(1), [2.5, 97.5])
    return float(low), float(high)


def replicates_needed(p: float, n: int, level: float = LEVEL) -> int | None:
    """The replicates at which a mean and spread that gave ``p`` over ``n`` reach p < ``level``."""
    counts, t = np.arange(2, 1001), stats.t.isf(p / 2, n - 1)
    reached = t * np.sqrt(counts / n) > stats.t.ppf(1 - level / 2, counts - 1)
    return int(counts[reached][0]) if reached.any() else None


def better(name: str, d, resampled=None) -> Part:
    """Rule S: paired t over replicates, two-sided, and the two-level interval off zero."""
    d = np.asarray(d, float)
    if len(d) < 2:
        return Part(name, "S", float(d.mean()), np.nan, np.nan, np.nan, "undecided", len(d))
    resampled = None if resampled is None else np.asarray(resampled, float)
    low, high = two_level_interval(d, resampled)
    p = float(stats.ttest_1samp(d, 0).pvalue) if np.ptp(d) else float(np.mean(d) == 0)
    outcome = "undecided"
    if p < LEVEL and low > 0:
        outcome = "holds"
    elif p < LEVEL and high < 0:
        outcome = "contradicted"
    needed = replicates_needed(p, len(d))
    return Part(name, "S", float(d.mean()), low, high, p, outcome, len(d), needed)


def equivalent(name: str, d, delta: float) -> Part:
    """Rule E: two one-sided tests; the 90 % interval lies within +-delta, or wholly outside."""
    return _within(name, "E", d, delta, delta)


def not_worse(name: str, d, delta: float) -> Part:
    """Rule NI: the one-sided 95 % bound lies above -delta; contradicted where wholly below."""
    return _within(name, "NI", d, delta, np.inf)


def _within(name: str, rule: str, d, delta: float, top: float) -> Part:
    """Rules E and NI: the 90 % interval within -delta and ``top``, or wholly outside."""
    d = np.asarray(d, float)
    if len(d) < 2:
        return Part(name, rule, float(d.mean()), np.nan, np.nan, np.nan, "undecided", len(d))
    half = stats.t.ppf(0.95, len(d) - 1) * stats.sem(d)
    low, high = float(d.mean() - half), float(d.mean() + half)
    p = float(stats.ttest_1samp(d, -delta, alternative="greater").pvalue)
    if np.isfinite(top):
        p = max(p, float(stats.ttest_1samp(d, top, alternative="less").pvalue))
    outcome = "undecided"
    if -delta < low and high < top:
        outcome = "holds"
    elif high < -delta or low > top:
        outcome = "contradicted"
    needed = _needed_within(d, delta, top)
    return Part(name, rule, float(d.mean()), low, high, p, outcome, len(d), needed)


def _needed_within(d: np.ndarray, delta: float, top: float) -> int | None:
    """The replicates at which this mean and spread lie within -delta and ``top``, or outside."""
    counts = np.arange(2, 1001)
    half = stats.t.ppf(0.95, counts - 1) * np.std(d, ddof=1) / np.sqrt(counts)
    reached = (np.mean(d) - half > -delta) & (np.mean(d) + half < top)
    reached |= (np.mean(d) + half < -delta) | (np.mean(d) - half > top)
    return int(counts[reached][0]) if reached.any() else None


def from_draws(name: str, rule: str, estimate: float, draws: np.ndarray, replicates: int) -> Part:
    """A part whose statistic has only a bootstrap: holds where its 95 % lie above zero."""
    low, high = np.percentile(draws, [2.5, 97.5])
    p = 2 * min((draws <= 0).mean(), (draws >= 0).mean())
    p = 1.0 if np.isnan(draws).any() else float(min(1.0, max(p, 2 / len(draws))))
    outcome = "holds" if low > 0 else "contradicted" if high < 0 else "undecided"
    return Part(name, rule, float(estimate), float(low), float(high), p, outcome, replicates)


def decide(claims: list[Claim], testable: dict[str, str] | None = None) -> list[Claim]:
    """Verdicts for all claims together: Benjamini-Hochberg over them, Holm inside a chain.

    ``testable`` maps a claim's name to the precondition that failed; such claims read "not
    testable here" and take no part in the correction. A verdict whose claim has parts at tuned
    thresholds gets the note `AT_HALF` where those parts alone do not give the same one, an open
    or untestable one what they give; a claim's remarks follow.
    """
    testable = testable or {}
    counted = [c for c in claims if c.name not in testable and _countable(c)]
    adjusted = {}
    if counted:
        values = stats.false_discovery_control([claim_p(c)[0] for c in counted])
        adjusted = {c.name: v for c, v in zip(counted, values, strict=True)}
    return [_noted(_decided(c, testable, adjusted)) for c in claims]


def claim_p(claim: Claim) -> tuple[float, str]:
    """(p value of a claim, the name of the link that contradicts it or "").

    To hold, all links must: the largest p counts. To be contradicted, one link must be once its
    siblings are corrected for: its p after Holm counts.
    """
    order = sorted(claim.parts, key=_against)
    steps = [_against(part) * (len(order) - k) for k, part in enumerate(order)]
    for part, p in zip(order, np.maximum.accumulate(steps), strict=True):
        if part.outcome == "contradicted" and p < LEVEL:
            return float(p), part.name
    return max(part.p for part in claim.parts), ""


def _against(part: Part) -> float:
    """The p value of what a link's outcome says; those of rules E and NI speak for the claim."""
    one_sided = part.rule in ("E", "NI") and part.outcome == "contradicted"
    return 1 - part.p if one_sided else part.p


def _countable(claim: Claim) -> bool:
    enough = all(part.replicates >= MINIMUM for part in claim.parts)
    return bool(claim.parts) and enough and all(np.isfinite(p.p) for p in claim.parts)


def _decided(claim: Claim, testable: dict, adjusted: dict) -> Claim:
    reason = testable.get(claim.name, "")
    if not claim.parts:
        return replace(claim, verdict="not run")
    if not _countable(claim):
        few = min(part.replicates for part in claim.parts) < MINIMUM
        note = f"fewer than {MINIMUM} replicates" if few else "a score is missing"
        return replace(claim, verdict="estimate only", note="; ".join(filter(None, (note, reason))))
    if reason:
        return replace(claim, verdict=UNTESTABLE, note=reason)
    against, p = claim_p(claim)[1], adjusted[claim.name]
    if not against and any(part.outcome != "holds" for part in claim.parts):
        return replace(claim, verdict="undecided", note=_why_undecided(claim))
    if p >= LEVEL:
        return replace(claim, verdict="undecided", note=f"p = {p:.3f} among all the claims")
    return replace(claim, verdict="contradicted" if against else "holds", note=against)


def _noted(claim: Claim) -> Claim:
    """A judged claim, its note saying what the verdict should be read with."""
    if claim.verdict not in (*DECIDED, UNTESTABLE):
        return claim
    more = (_at_tuned(claim), *claim.remarks)
    return replace(claim, note="; ".join(filter(None, (claim.note, *more))))


def _at_tuned(claim: Claim) -> str:
    """What to note where tuned thresholds alone do not give the verdict; "" where they do."""
    if not claim.tuned:
        return ""
    against = claim_p(replace(claim, parts=claim.tuned))[1]
    holds = all(part.outcome == "holds" for part in claim.tuned)
    said = "contradicted" if against else "holds" if holds else "undecided"
    if said == claim.verdict:
        return ""
    judged = claim.verdict in ("holds", "contradicted")
    return AT_HALF if judged else f"{said} at tuned thresholds"


def _why_undecided(claim: Claim) -> str:
    """How many replicates the links that leave a claim open would need, and to say what.

    One link that turns out against a claim, after Holm's correction, is enough to contradict it.
    """
    against = [part for part in claim.parts if part.outcome == "contradicted"]
    if against:
        part = min(against, key=_against)
        needed = _needed_against(part, claim) or "more than 1000"
        said = f"{part.name} speaks against it, but not after Holm's correction"
        return f"{said} ({needed} replicates would do)"
    left = [part for part in claim.parts if part.outcome != "holds"]
    counted = [part for part in left if part.rule in ("S", "E", "NI")]
    more = [part for part in counted if part.needed is None or part.needed > part.replicates]
    turned = [part for part in more if part.needed and _leans_against(part)]
    if turned and (needed := _needed_against(min(turned, key=_against), claim)):
        return f"the observed spread would need {needed} replicates, to contradict it"
    if any(part.needed is None for part in more):
        return "the observed mean and spread would need more than 1000 replicates"
    if more:
        return f"the observed spread would need {max(part.needed for part in more)} replicates"
    if len(counted) < len(left):
        return "how many replicates it would need is unknown"
    return "the choice of test clips leaves the sign open"


def _leans_against(part: Part) -> bool:
    """Whether an open link's mean speaks against the claim: beyond its margin, by rules E and NI.

    There the p value, of a mean that would lie on the margin, is one half.
    """
    return part.estimate < 0 if part.rule == "S" else part.p > 0.5


def _needed_against(part: Part, claim: Claim) -> int | None:
    """The replicates at which a link would contradict its claim; Holm's correction for rule S."""
    if part.rule != "S":
        return part.needed
    siblings = sum(_against(other) >= _against(part) for other in claim.parts)
    return replicates_needed(part.p, part.replicates, LEVEL / siblings)
