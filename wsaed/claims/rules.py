"""From paired differences to verdicts: the rules S, E and NI, decided before any run.

A part is one tested link of a claim: it holds, is contradicted or undecided. A claim is reproduced
when all its parts hold, else opposite, open or not testable here; below MINIMUM replicates it reads
"estimate only", and "not run" where a system is missing.
Notebook: claims.ipynb.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import stats

MINIMUM = 5  # replicates below which no verdict is given
LEVEL = 0.05
COUNTS = np.arange(2, 1001)  # the replicates that one may think of
# What a claim reads whose links, taken together, hold, are contradicted or undecided
VERDICTS = {"holds": "reproduced", "contradicted": "opposite", "undecided": "open"}
UNTESTABLE, CORRECTED = "not testable here", "among all the claims"


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

    def size(self) -> str:
        """ "-0.021 [-0.030, -0.012]": the estimate, with its interval where it has one."""
        interval = f" [{self.low:+.3f}, {self.high:+.3f}]" if np.isfinite(self.low) else ""
        return f"{self.estimate:+.3f}{interval}"


@dataclass(frozen=True)
class Claim:
    """A paper's claim, what decides it, and the verdict on its parts."""

    name: str
    text: str
    parts: list[Part]
    beside: list[Part] = field(default_factory=list)  # other metrics and controls: never decide
    tuned: list[Part] = field(default_factory=list)  # the parts, thresholds tuned on validation
    verdict: str = "open"
    note: str = ""
    only_real: str = ""  # why only the paper's own corpus can decide it, where that is so
    artefact: str = ""  # the table or figure of ours that shows what decides it


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


def tested(rule: str, name: str, d, resampled=None, delta: float = 0.0) -> Part:
    """A rule on paired differences (replicates,): does the interval lie in its region, or outside?

    S, better, above 0: the `two_level_interval`, and a two-sided paired t test over replicates.
    E, no change, within +-delta, and NI, no worse, above -delta: the 90 % t interval; p is the
    larger of the one-sided tests against the region's ends.
    """
    d = np.asarray(d, float)
    n, mean = len(d), float(d.mean())
    if n < 2:
        return Part(name, rule, mean, np.nan, np.nan, np.nan, "undecided", n)
    bottom, top = {"S": (0, np.inf), "E": (-delta, delta), "NI": (-delta, np.inf)}[rule]
    if rule == "S":
        low, high = two_level_interval(d, resampled)
        p = float(stats.ttest_1samp(d, 0).pvalue) if np.ptp(d) else float(mean == 0)
        needed = replicates_needed(p, n)
    else:
        half = float(stats.t.ppf(0.95, n - 1) * stats.sem(d))
        low, high = mean - half, mean + half
        p = float(stats.ttest_1samp(d, bottom, alternative="greater").pvalue)
        if rule == "E":
            p = max(p, float(stats.ttest_1samp(d, top, alternative="less").pvalue))
        halves = stats.t.ppf(0.95, COUNTS - 1) * np.std(d, ddof=1) / np.sqrt(COUNTS)
        within = (mean - halves > bottom) & (mean + halves < top)
        needed = _first(within | (mean + halves < bottom) | (mean - halves > top))
    inside, outside = bottom < low and high < top, high < bottom or low > top
    outcome = "holds" if inside else "contradicted" if outside else "undecided"
    if rule == "S" and not p < LEVEL:
        outcome = "undecided"
    return Part(name, rule, mean, low, high, p, outcome, n, needed)


def replicates_needed(p: float, n: int, level: float = LEVEL) -> int | None:
    """The replicates at which a mean and spread that gave ``p`` over ``n`` reach p < ``level``."""
    t = stats.t.isf(p / 2, n - 1) * np.sqrt(COUNTS / n)
    return _first(t > stats.t.ppf(1 - level / 2, COUNTS - 1))


def _first(reached: np.ndarray) -> int | None:
    """The first of COUNTS that is reached, None where none is."""
    return int(COUNTS[reached][0]) if reached.any() else None


def from_draws(name: str, rule: str, estimate: float, draws: np.ndarray, replicates: int) -> Part:
    """A part whose statistic has only a bootstrap: holds where its 95 % lie above zero."""
    low, high = np.percentile(draws, [2.5, 97.5])
    p = 2 * min((draws <= 0).mean(), (draws >= 0).mean())
    p = 1.0 if np.isnan(draws).any() else float(min(1.0, max(p, 2 / len(draws))))
    outcome = "holds" if low > 0 else "contradicted" if high < 0 else "undecided"
    return Part(name, rule, float(estimate), float(low), float(high), p, outcome, replicates)


def decide(claims: list[Claim], failed: dict[str, str] | None = None) -> list[Claim]:
    """Verdicts for all claims together: Benjamini-Hochberg over them, Holm inside a chain.

    ``failed`` maps a claim's name to the precondition that failed; such claims read "not testable
    here" and take no part in the correction. A verdict whose claim has parts at tuned thresholds
    gets the note "at 0.5 only" where those parts alone do not give the same one, and any that is
    not untestable says what they give, which takes no part in the correction.
    """
    failed = failed or {}
    counted = {c.name: claim_p(c)[0] for c in claims if c.name not in failed and _countable(c)}
    values = stats.false_discovery_control([*counted.values()]) if counted else []
    adjusted = dict(zip(counted, values, strict=True))
    return [_decided(c, failed.get(c.name, ""), adjusted.get(c.name)) for c in claims]


def claim_p(claim: Claim) -> tuple[float, Part | None]:
    """(p value of a claim, the link that contradicts it or None).

    To hold, all links must: the largest p counts. To be contradicted, one link must be once its
    siblings are corrected for: its p after Holm counts.
    """
    order = sorted(claim.parts, key=_against)
    steps = [_against(part) * (len(order) - k) for k, part in enumerate(order)]
    for part, p in zip(order, np.maximum.accumulate(steps), strict=True):
        if part.outcome == "contradicted" and p < LEVEL:
            return float(p), part
    return max(part.p for part in claim.parts), None


def decisive(claim: Claim) -> Part:
    """The link that decides a claim: one that contradicts it, else the one with the largest p.

    One replicate has no p: there it is the link that lies worst for the claim.
    """
    if any(np.isnan(part.p) for part in claim.parts):
        return min(claim.parts, key=lambda p: -abs(p.estimate) if p.rule == "E" else p.estimate)
    return claim_p(claim)[1] or max(claim.parts, key=lambda part: part.p)


def _against(part: Part) -> float:
    """The p value of what a link's outcome says; those of rules E and NI speak for the claim."""
    one_sided = part.rule in ("E", "NI") and part.outcome == "contradicted"
    return 1 - part.p if one_sided else part.p


def _countable(claim: Claim) -> bool:
    enough = all(part.replicates >= MINIMUM for part in claim.parts)
    return bool(claim.parts) and enough and all(np.isfinite(p.p) for p in claim.parts)


def _together(claim: Claim) -> tuple[str, str]:
    """(outcome of a claim's links before the correction over all claims, what to note of it)."""
    if against := claim_p(claim)[1]:
        return "contradicted", f"{against.name}: {against.size()}"
    held = all(part.outcome == "holds" for part in claim.parts)
    return ("holds", "") if held else ("undecided", _why_undecided(claim))


def _decided(claim: Claim, reason: str, p: float | None) -> Claim:
    """A claim with its verdict; p: adjusted, None where it takes no part in the correction."""
    if not claim.parts:
        return replace(claim, verdict="not run")
    if not _countable(claim):
        few = min(part.replicates for part in claim.parts) < MINIMUM
        note = f"fewer than {MINIMUM} replicates" if few else "a score is missing"
        return replace(claim, verdict="estimate only", note="; ".join(filter(None, (note, reason))))
    outcome, note = _together(claim)
    if p is not None and outcome != "undecided" and p >= LEVEL:
        outcome, note = "undecided", f"p = {p:.3f} {CORRECTED}"
    verdict, beside = UNTESTABLE if reason else VERDICTS[outcome], ""
    tuned = VERDICTS[_together(replace(claim, parts=claim.tuned or claim.parts))[0]]
    if claim.tuned and tuned != verdict and not reason:
        judged = "at 0.5 only, " if verdict != VERDICTS["undecided"] else ""
        beside = f"{judged}{tuned} at tuned thresholds"
    real = f"only the real corpus decides: {claim.only_real}" if claim.only_real else ""
    said = filter(None, (reason or note, beside, real))
    return replace(claim, verdict=verdict, note="; ".join(said))


def _why_undecided(claim: Claim) -> str:
    """How many replicates the links that leave a claim open would need, and to say what.

    One link that turns out against a claim, after Holm's correction, is enough to contradict it.
    An open link leans against it where its mean lies beyond its margin; there the p value of rules
    E and NI is above one half.
    """
    left = [part for part in claim.parts if part.outcome != "holds"]
    counted = [part for part in left if part.rule in ("S", "E", "NI")]
    more = [part for part in counted if part.needed is None or part.needed > part.replicates]
    turned = [part for part in left if part.outcome == "contradicted"]
    if not turned:
        turned = [p for p in more if p.needed and (p.estimate < 0 if p.rule == "S" else p.p > 0.5)]
    if turned:
        part = min(turned, key=_against)
        # one-sided by rules E and NI: half of a two-sided p, at half its level
        p, sides = (1 - part.p, 2) if part.rule in ("E", "NI") else (part.p, 1)
        many = 1 + sum(_against(other) >= p for other in claim.parts if other is not part)
        needed = replicates_needed(sides * p, part.replicates, sides * LEVEL / many)
        if needed and part in counted:
            return f"the observed spread would need {needed} replicates, to show the opposite"
    if more:
        known = all(part.needed for part in more)
        needed = max(part.needed for part in more) if known else "more than 1000"
        return f"the observed spread would need {needed} replicates"
    if len(counted) < len(left):
        return "how many replicates it would need is unknown"
    return "the choice of test clips leaves the sign open"
