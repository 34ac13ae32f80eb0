"""What is read off a frame of results: contrasts, and the statistics of claims and conditions.

A frame has a row a (system, replicate) and a column a score; `<score>_resampled` holds the same
score on resampled clips, a list a cell. A claim's statistic takes (frame, column, system).
Notebooks: claims.ipynb, secost/figure_4.ipynb.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from wsaed.claims.rules import LEVEL, Part, from_draws, tested
from wsaed.files import table

SHARE, CLOSED = 0.85, 0.5  # of the classes that improve; of the gap between weak and strong


def terms(contrast: str, column: str) -> list[tuple[float, str, str]]:
    """`2*fixed_1 - base@map_clean - 0.5` as (weight, system, column), a number without the two.

    column: of the terms that name no other.
    """
    words, found = ["+", *contrast.split()], []
    for sign, word in zip(words[::2], words[1::2], strict=True):
        weight, _, score = word.rpartition("*")
        system, _, own = score.partition("@")
        number = system.replace(".", "").isdigit()
        size = float(system if number else weight or 1) * {"+": 1, "-": -1}[sign]
        found.append((size, "", "") if number else (size, system, own or column))
    return found


def measured(df: pd.DataFrame, contrast: list[tuple[float, str, str]]):
    """A contrast's (replicates,), and (replicates, resamples of clips) or None without them.

    Of the replicates that all its systems have; raises KeyError as `scores` does. Replicates of a
    corpus that is not made share their test clips, so what the choice of clips adds does not
    average out over them: it is as large as one replicate's, and drawn that much wider.
    """

    def total(suffix: str) -> np.ndarray:
        found = iter(scores(df, *((system, c + suffix) for _, system, c in contrast if system)))
        return sum(weight * (next(found) if system else 1) for weight, system, _ in contrast)

    d = total("")
    try:
        resampled = total("_resampled")
    except KeyError:
        return d, None
    if df.attrs.get("corpus", {}).get("name", "soundscapes") != "soundscapes":
        centre = resampled.mean(1, keepdims=True)
        resampled = centre + len(d) ** 0.5 * (resampled - centre)
    return d, resampled


def scores(df: pd.DataFrame, *sides: tuple[str, str]) -> list[np.ndarray]:
    """(replicates, ...) of each (system, column), in the replicates that all of them have.

    KeyError names a system, or a column, that these results lack.
    """
    both = pd.concat([df.loc[side] for side in sides], axis=1, join="inner").sort_index()
    if both.empty:
        raise KeyError("replicate that all systems have")
    for name, column in both.items():
        if column.dtype == object and (column.isna().any() or column.map(np.shape).nunique() > 1):
            raise KeyError(f"{name} of every replicate")
    return [np.array(column.to_list(), float) for _, column in both.items()]


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's correlation along the rows of two (draws, classes) arrays; 0 without spread."""
    ranks = (stats.rankdata(v, axis=1) for v in (x, y))
    a, b = (r - r.mean(1, keepdims=True) for r in ranks)
    spread = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return np.divide((a * b).sum(1), spread, out=np.zeros(len(a)), where=spread > 0)


def _draws(count: int, draws: int) -> np.ndarray:
    return np.random.default_rng(0).integers(count, size=(draws, count))


# SeCoST: classes


def class_gains(df, *systems: str, column: str = "ap_noisy") -> list[np.ndarray]:
    """[base AP, each system's gain in AP]: (replicates, classes), in the replicates of all.

    Only classes that all replicates could score count, those with a positive in every test set.
    """
    base, *others = scores(df, *((system, column) for system in ("base", *systems)))
    scored = np.isfinite(base).all(0)
    return [base[:, scored], *((other - base)[:, scored] for other in others)]


def share_improved(df, column: str, system: str) -> Part:
    """S8: share of classes with a positive mean gain, less the paper's 85 %.

    The paper states a share (over 85 %), no interval: where it is reached, it holds for certain.
    """
    base, gain = class_gains(df, system, column=column)
    improved = gain.mean(0) > 0
    draws = improved[_draws(len(improved), 5000)].mean(1) - SHARE
    part = from_draws("", "share", improved.mean() - SHARE, draws, len(base))
    return replace(part, outcome="holds", p=0.0) if part.estimate >= 0 else part


def share_shown(df, delta: float, system: str) -> Part:
    """S8: the share of classes whose mean gain would be positive, had each class gained ``delta``.

    The spread of a class's mean over these replicates is that of a retraining's, ``system``.
    """
    gain = class_gains(df, system)[1]
    spread = stats.sem(gain, axis=0) if len(gain) > 1 else np.full(gain.shape[1], np.nan)
    share = float(stats.norm.cdf(delta / np.maximum(spread, 1e-9)).mean())
    return Part("", "share", share, np.nan, np.nan, np.nan, "undecided", len(gain))


def gain_where_low(df, column: str, system: str, relative: str = "") -> Part:
    """S9: Spearman of base AP and gain of a retraining, `base_again`, less that of a system.

    The base AP of a class comes from the other replicates than its gain, else the regression of
    a lucky base to its mean makes the claim true of any retraining. The gain "relative" to that AP
    is figure 4's: division magnifies the change of poor classes, so gains fall with the AP and
    losses rise.
    """
    base, gain, placebo = class_gains(df, system, "base_again", column=column)
    others = _of_others(base)
    over = np.maximum(others, 1e-9) if relative else 1
    rows = np.vstack([np.arange(base.shape[1]), _draws(base.shape[1], 1000)])

    def correlation(y: np.ndarray) -> np.ndarray:
        return np.mean([spearman(a[rows], b[rows]) for a, b in zip(others, y, strict=True)], 0)

    draws = correlation(placebo / over) - correlation(gain / over)
    return from_draws("", "Spearman", draws[0], draws[1:], len(base))


def _of_others(x: np.ndarray) -> np.ndarray:
    """(replicates, classes): the mean over the other replicates; a lone one keeps its own."""
    return x if len(x) < 2 else (x.sum(0) - x) / (len(x) - 1)


def gain_by_bin(df, system: str, edges) -> tuple[np.ndarray, np.ndarray]:
    """Figure 4: (relative gain of a bin's mean AP, its number of classes), (replicates, bins).

    The base AP of the other replicates, as in claim S9, sorts classes into ``edges`` and is what
    a gain is relative to; nan where a bin is empty.
    """
    base, gain = class_gains(df, system)
    base = _of_others(base)
    inside = np.digitize(base, edges[1:-1])[:, None] == np.arange(len(edges) - 1)[:, None]
    total, before = (inside * gain[:, None]).sum(2), (inside * base[:, None]).sum(2)
    relative = np.divide(total, before, out=np.full_like(total, np.nan), where=before > 0)
    return relative, inside.sum(2)


def class_counts(df, system: str, column: str = "ap_noisy") -> dict[str, int]:
    """S14: classes by the relative change of their mean AP over replicates."""
    base, gain = (x.mean(0) for x in class_gains(df, system, column=column))
    relative = np.divide(gain, base, where=base > 0, out=np.zeros_like(base))
    counts = len(relative), sum(relative > 0), sum(relative > 0.2), sum(relative < -0.1)
    names = "classes", "improve", "gain over 20 %", "lose over 10 %"
    return dict(zip(names, map(int, counts), strict=True))


def count_moved(df, delta: float, system: str) -> Part:
    """S14: how many classes gain over 20 % or lose over 10 %."""
    count = class_counts(df, system)
    found = float(count["gain over 20 %"] + count["lose over 10 %"])
    return Part("", "count", found, np.nan, np.nan, np.nan, "undecided", len(df.loc["base"]))


def sign_of_changes(df, column: str, system: str) -> Part:
    """S14: share of gainers among the classes that gain over 20 % or lose over 10 %, less half."""
    count, replicates = class_counts(df, system, column), len(df.loc["base"])
    up, moved = count["gain over 20 %"], count["gain over 20 %"] + count["lose over 10 %"]
    if not moved:
        return Part("", "sign", 0.0, -0.5, 0.5, 1.0, "undecided", replicates)
    test = stats.binomtest(up, moved)
    low, high = test.proportion_ci()
    numbers = (float(v) for v in (up / moved - 0.5, low - 0.5, high - 0.5, test.pvalue))
    outcome = "holds" if 2 * up > moved else "contradicted"
    return Part("", "sign", *numbers, outcome if test.pvalue < LEVEL else "undecided", replicates)


# The joint paper: durations. Target sound detection: weak, mixed and strong supervision


def durations() -> np.ndarray:
    """Mean seconds (classes,) of DESED's ten classes in its strongly labelled training clips.

    Of the quantiles that the project keeps, up to a tenth above the means of the events.
    """
    known = table("corpora/desed.yaml")
    return np.trapezoid([*known["clean"]["seconds"].values()], known["probabilities"])


def gain_where_short(df, column: str, system: str) -> Part:
    """J7: minus Spearman of a class's duration and ESP's gain, so that the paper's sign is plus.

    Gains are means over replicates; the bootstrap draws replicates and classes. A bank's classes
    last as long as in its own strong clips.
    """
    esp = column.replace("_average", "_esp")
    before, after = scores(df, (system, f"{column}_class"), (system, f"{esp}_class"))
    gain, rng, bank = after - before, np.random.default_rng(0), df.attrs.get("bank")
    seconds = scores(df, (system, "seconds_class"))[0].mean(0) if bank else durations()
    if not (np.isfinite(gain).all() and np.isfinite(seconds).all()):
        raise KeyError("score or duration of some class")
    replicates, classes = (rng.integers(n, size=(5000, n)) for n in gain.shape)
    drawn = np.take_along_axis(gain[replicates].mean(1), classes, axis=1)
    estimate = -spearman(seconds[None], gain.mean(0)[None])[0]
    return from_draws("", "Spearman", estimate, -spearman(seconds[classes], drawn), len(gain))


def gap_closed(df, column: str, system: str) -> Part:
    """T2: (MS - WS) / (SS - WS) less one half; the bootstrap draws replicates, one has none.

    Where strong labels do not beat weak ones in a draw there is no gap, and its share is 0; where
    they do not on average, there is no share. Where they do not by rule S, it is open, whatever
    its draws.
    """
    ms, ws, ss = scores(df, (system, column), ("ws", column), ("ss", column))
    gap, rows = (ss - ws).mean(), _draws(len(ms), 5000)
    drawn, gaps = (ms - ws)[rows].mean(1), (ss - ws)[rows].mean(1)
    draws = np.divide(drawn, gaps, out=np.zeros_like(drawn), where=gaps > 0) - CLOSED
    draws = draws if len(ms) > 1 and gap > 0 else np.array([np.nan])
    estimate = (ms - ws).mean() / gap - CLOSED if gap > 0 else np.nan
    part = from_draws("", "share", estimate, draws, len(ms))
    known = tested("S", "", *measured(df, terms("ss - ws", column))).outcome == "holds"
    return part if known else replace(part, outcome="undecided")
