"""Claims A1 to A15 of SeCoST, each as the comparison that decides it.

The primary score is mAP against labels as noisy as the training set's, as the paper's evaluation
was; beside a claim that is made of contrasts stand the same against the true labels, and mAUC,
and decide nothing. A11's intervals draw replicates alone: records keep no resampled clips of it.
Notebook: claims.ipynb.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from scipy import stats

from wsaed.papers import comparisons
from wsaed.papers.comparisons import contrast, difference, links, shared, spearman
from wsaed.papers.secost import DIFFICULTY, NOISE_LEVELS
from wsaed.verdicts import DELTA, LEVEL, Claim, Part, better, from_draws

METRIC = "map_noisy"
BESIDE = ("map_clean", "mauc_noisy")
SHOWN = {"map_noisy": "mAP, noisy labels", "map_clean": "mAP, true labels"}
MARGIN, UNITS = DELTA["map"], "mAP, AUC, share or correlation"  # of the estimates, for a figure
# What must hold on the baseline alone before a teacher can be expected to help.
MISSING_AUC, MAP_RANGE = 0.70, (0.3, 0.6)
SYSTEMS = (  # how to read the names in a claim's parts
    "`base` is WELS-Net, `base_again` the same from another initialisation; `fixed_k` and "
    "`variable_k` are stage k of a cascade with fixed and with variable alpha, `alone_k` of one "
    "that never sees labels again; `alpha_x` is one stage with x the share of the labels; "
    "`two_teachers` is one stage with two bases as teachers, `ensemble` the two averaged; "
    "`attention_large` stands in for the best of the paper's [7] (Kong et al., 2019), attention "
    "over a pre-trained embedding, and lacks the pre-training: it says nothing of the published "
    "score; "
    "`talnet_attention` is TALNet with attention; `base_long` "
    "has the epochs of a whole cascade; `noise_x_0` and `noise_x_1` are the base and one stage "
    "under x times the label noise; `easier_k` and `harder_k` are `variable_k`, for k = 0 its "
    "base, on louder and on fainter events; `longer_` means three times the epochs in every stage."
)


def values(df: pd.DataFrame, system: str, metric: str = METRIC) -> np.ndarray:
    """A system's score in every replicate, as `comparisons.values`; mAP unless told."""
    return comparisons.values(df, system, metric)


def unchanged(df, a: str, b: str, metric: str) -> Part:
    """Rule E on a - b within the margin of mAP."""
    return comparisons.unchanged(df, a, b, metric, MARGIN)


def claims(df: pd.DataFrame, only: list[str] | None = None) -> list[Claim]:
    """A1 to A15, or those in ``only``, from a frame of `wsaed.report.results`; not yet judged.

    A claim that compares a system which ``df`` lacks has no parts, and its note says so.
    """

    def unfinished(system: str, times: str) -> list[str]:
        text = f"{times} times as much adds {{:.3f}} to the base"
        return comparisons.unfinished(df, system, "base", METRIC, MARGIN, text)

    remarks = unfinished("longer_base", "three") or unfinished("base_long", "five")
    # A11 is on `base_10ms`, which nobody trained longer
    return comparisons.claims(CLAIMS, df, only, remarks, but=["A11"])


_links = partial(links, metric=METRIC, beside=BESIDE)


def _pair(a: str, b: str, **more):
    """The test of a claim that is one contrast: other metrics, controls, longer training beside."""
    return _links((contrast, a, b), longer=(a, b), **more)


HEADLINE = [("variable_4", "base"), *((f"{level}_4", f"{level}_0") for level in DIFFICULTY)]


def _equal_compute(df) -> list[Part]:
    """Beside A1: the base of the cascade's total compute."""
    return [contrast(df, "variable_4", "base_long", METRIC)]


def _second_gain(df) -> Part:
    steps = ("fixed_1", "base"), ("fixed_2", "fixed_1")
    df = shared(df, ["base", "fixed_1", "fixed_2"])
    first, second = (difference(df, *step, METRIC) for step in steps)
    return better("first gain - second gain", first[0] - second[0], first[1] - second[1])


def _no_more(df) -> list[Part]:
    return [unchanged(df, f"fixed_{s}", f"fixed_{s - 1}", METRIC) for s in (3, 4)]


def class_gains(df, system: str):
    """(base AP, gain in AP): two (replicates, classes) arrays.

    Only classes that all replicates could score count, those with a positive in every test set.
    """
    df = shared(df, ["base", system])
    before, after = (values(df, name, "ap_noisy") for name in ("base", system))
    scored = np.isfinite(before).all(0)
    return before[:, scored], (after - before)[:, scored]


def _class_draws(count: int, draws: int) -> np.ndarray:
    return np.random.default_rng(0).integers(count, size=(draws, count))


PLACEBO = ["base", "variable_4", "base_again"]  # a cascade's gain, and a mere retraining's


def _share_improved(df) -> tuple[list[Part], list[Part]]:
    """A8: share of classes with a positive mean gain, against a second base's share."""
    df = shared(df, PLACEBO)
    gain, placebo = (class_gains(df, s)[1].mean(0) > 0 for s in PLACEBO[1:])
    rows, count = _class_draws(len(gain), 5000), len(df.loc["base"])
    excess = gain[rows].mean(1) - placebo[rows].mean(1)
    name = f"share of classes that improve - {SHARE}"
    reached = from_draws(name, "share", gain.mean() - SHARE, gain[rows].mean(1) - SHARE, count)
    if reached.estimate > 0:  # the paper states a share, and the share is there, for certain
        reached = replace(reached, outcome="holds", p=0.0)
    estimate = gain.mean() - placebo.mean()
    return [reached, from_draws("share - placebo's share", "share", estimate, excess, count)], []


def _gain_where_low(df) -> tuple[list[Part], list[Part]]:
    """A9: Spearman of base AP and gain, below the placebo's.

    The base AP of a class comes from the other replicates than its gain, else the regression of
    a lucky base to its mean makes the claim true of any retraining. Beside it stands the gain
    relative to that AP, as figure 4 has it: division magnifies the change of poor classes, so
    gains fall with the AP and losses rise.
    """
    df = shared(df, PLACEBO)
    base, gain = class_gains(df, "variable_4")
    placebo = class_gains(df, "base_again")[1]
    others = _of_others(base)
    rows = np.vstack([np.arange(base.shape[1]), _class_draws(base.shape[1], 1000)])

    def part(name: str, over) -> Part:
        draws = _spearman(others, placebo / over, rows) - _spearman(others, gain / over, rows)
        return from_draws(name, "Spearman", draws[0], draws[1:], len(base))

    name = "placebo's Spearman - the cascade's"
    return [part(name, 1)], [part(f"{name}, relative gain", np.maximum(others, 1e-9))]


def _of_others(x: np.ndarray) -> np.ndarray:
    """(replicates, classes): the mean over the other replicates; a lone one keeps its own."""
    return x if len(x) < 2 else (x.sum(0) - x) / (len(x) - 1)


def _spearman(x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Spearman's correlation over classes, mean over replicates, for each draw of classes."""
    pairs = zip(x, y, strict=True)
    return np.mean([spearman(a[rows], b[rows]) for a, b in pairs], 0)


def gain_by_bin(df, system: str, edges) -> tuple[np.ndarray, np.ndarray]:
    """Figure 4: (relative gain of a bin's mean AP, its number of classes), (replicates, bins).

    The base AP of the other replicates, as in claim A9, sorts classes into ``edges`` and is what
    a gain is relative to; nan where a bin is empty.
    """
    base, gain = class_gains(df, system)
    base = _of_others(base)
    which = np.digitize(base, edges[1:-1])
    inside = which[:, None, :] == np.arange(len(edges) - 1)[:, None]
    total, before = (inside * gain[:, None]).sum(2), (inside * base[:, None]).sum(2)
    relative = np.divide(total, before, out=np.full_like(total, np.nan), where=before > 0)
    return relative, inside.sum(2)


def class_counts(df, system: str) -> dict[str, int]:
    """A14: classes by the relative change of their mean AP over replicates."""
    base, gain = (x.mean(0) for x in class_gains(df, system))
    relative = np.divide(gain, base, where=base > 0, out=np.zeros_like(base))
    return {
        "classes": len(relative),
        "improve": int((relative > 0).sum()),
        "gain over 20 %": int((relative > 0.2).sum()),
        "lose over 10 %": int((relative < -0.1).sum()),
    }


def _sign_test(df, system: str = "variable_4") -> Part:
    """A14: among the classes that gain over 20 % or lose over 10 %, are gainers the most?"""
    count = class_counts(df, system)
    up, moved = count["gain over 20 %"], count["gain over 20 %"] + count["lose over 10 %"]
    name = f"share of gainers among the classes that move - 0.5, {system}"
    if not moved:
        return Part(name, "sign", 0.0, -0.5, 0.5, 1.0, "undecided", len(df.loc["base"]))
    test = stats.binomtest(up, moved)
    interval = test.proportion_ci()
    known = test.pvalue < LEVEL
    outcome = "undecided" if not known else "holds" if 2 * up > moved else "contradicted"
    found = (up / moved - 0.5, interval.low - 0.5, interval.high - 0.5, test.pvalue)
    return Part(name, "sign", *map(float, found), outcome, len(df.loc["base"]))


def _localization(df) -> tuple[list[Part], list[Part], list[Part], list[str]]:
    """A11: against chance and against plain energy; a remark where only the latter speaks up."""
    model, energy = (values(df, "base_10ms", f"frame_auc_{k}") for k in ("model", "energy"))
    parts = [better("frame AUC - 0.5", model - 0.5), better("frame AUC - energy's", model - energy)]
    alone = [part.outcome for part in parts] == ["holds", "contradicted"]
    said = "it does localise, above chance; the slides have no such rival as energy"
    return parts, [], [], [said] * alone


def _noise_slope(df) -> Part:
    """A15: slope of the one-stage gain over the noise level, one a replicate."""
    df = shared(df, [f"noise_{k:g}_{stage}" for k in NOISE_LEVELS for stage in (0, 1)])
    gains = [difference(df, f"noise_{k:g}_1", f"noise_{k:g}_0", METRIC) for k in NOISE_LEVELS]
    centred = np.array(NOISE_LEVELS) - np.mean(NOISE_LEVELS)
    weights = centred / (centred**2).sum()
    slope = sum(w * g[0] for w, g in zip(weights, gains, strict=True))
    resampled = sum(w * g[1] for w, g in zip(weights, gains, strict=True))
    return better("slope of the gain over the noise level", slope, resampled)


def preconditions(df: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """What the baseline must show before the cascade is judged, and the claims that fall without.

    The base must lie mid-scale (on the true labels where they are known: the annotated ones cap
    any mAP), and must know of missing labels what a teacher could pass on.
    Where nobody knows the true labels, as on AudioSet, the second can't be measured. What the
    nets have learnt and are taught is told below, and decides nothing.
    """
    table = pd.DataFrame(columns=["precondition", "measured", "needed", "met"])
    if "base" not in df.index:
        return table, {}
    failed, (low, high) = [], MAP_RANGE
    true = "map_clean" in df and df.loc["base", "map_clean"].notna().all()
    score = float(values(df, "base", "map_clean" if true else METRIC).mean())
    if not low <= score <= high:
        failed.append(f"the base's mAP of {score:.2f} is off the scale's middle")
    table.loc[0] = (
        "mAP of the base, true labels" if true else "mAP of the base",
        score,
        f"{low} to {high}",
        not failed,
    )
    if "train_missing_auc" in df and df.loc["base", "train_missing_auc"].notna().all():
        auc = float(values(df, "base", "train_missing_auc").mean())
        table.loc[1] = MISSING, auc, f">= {MISSING_AUC}", auc >= MISSING_AUC
        if auc < MISSING_AUC:
            failed.append(f"the base finds missing positives with an AUC of {auc:.2f} only")
    table = comparisons.told(table, _of_training(df))
    reason = "; ".join(failed)
    return table, {name: reason for name in CLAIMS if name not in ("A11", "A12")} if failed else {}


def _of_training(df) -> list[tuple[str, float]]:
    """What the base has learnt, what each stage is taught, what more training gives the base."""
    scores = {
        "mAP of the base on its training clips, annotated labels": ("base", "train_map_noisy"),
        "mAP of the base on its training clips, true labels": ("base", "train_map_clean"),
        "the same on annotated labels, the base trained three times as long": (
            "longer_base",
            "train_map_noisy",
        ),
        "AUC for finding missing positives, the base trained three times as long": (
            "longer_base",
            "train_missing_auc",
        ),
    }
    taught = {"base": "the labels", "fixed_1": "stage 1", "variable_4": "stage 4, variable alpha"}
    for system, what in (taught | {"alone_3": "stage 3, no labels"}).items():
        scores[f"mAP of what is taught, true labels: {what}"] = system, "target_map_clean"
    adds = {
        "mAP that three times the epochs add to the base": "longer_base",
        "mAP that the compute of a whole cascade in one run adds to the base": "base_long",
    }
    more = [
        (title, part.estimate)
        for title, system in adds.items()
        for part in comparisons.where_run(df, [(system, "base")], METRIC)
    ]
    return comparisons.means(df, scores) + more


SHARE = 0.85
MISSING = "AUC of the base for finding missing positives"
CLAIMS = {  # name: (place, claim, test), a test gives what `links` says
    "A1": (
        "table 2",
        "the cascade with variable alpha beats the base",
        _pair("variable_4", "base", more=_equal_compute, headline=HEADLINE),
    ),
    "A2": ("table 2", "two stages at alpha 0.3 beat the base", _pair("fixed_2", "base")),
    "A3": ("table 2", "variable alpha beats fixed alpha", _pair("variable_4", "fixed_2")),
    "A4": (
        "figure 2, left",
        "alpha 0.3 beats alpha 0 and alpha 1",
        _links(
            (contrast, "alpha_0.3", "alpha_0"),
            (contrast, "alpha_0.3", "base_again"),
            longer=("alpha_0.3", "base_again"),
        ),
    ),
    "A5": (
        "figure 2, left",
        "the teacher's output alone beats the labels alone",
        _pair("alpha_0", "base_again"),
    ),
    "A6": (
        "figure 2, right",
        "stage 2 gains less than stage 1, stages 3 and 4 nothing",
        lambda df: ([_second_gain(df), *_no_more(df)], []),
    ),
    "A7": (
        "figure 3, right",
        "without labels: a gain at stage 1, none after",
        _links(
            (contrast, "alone_1", "base"),
            (unchanged, "alone_2", "alone_1"),
            (unchanged, "alone_3", "alone_2"),
        ),
    ),
    "A8": ("text", "more than 85 % of the classes improve, more than by chance", _share_improved),
    "A9": (
        "figure 4",
        "the gain is larger where the base is poor, more than by chance",
        _gain_where_low,
    ),
    "A10": (
        "equation 6",
        "do two teachers a stage beat one, and beat averaging the two?",
        _links((contrast, "two_teachers", "fixed_1"), (contrast, "two_teachers", "ensemble")),
    ),
    "A11": (
        "slides",
        "the weakly trained base localises, better than plain energy",
        _localization,
    ),
    "A12": (
        "table 2",
        "the cascade beats [7] and TALNet",
        _links(
            (contrast, "variable_4", "attention_large"),
            (contrast, "variable_4", "talnet_attention"),
        ),
    ),
    "A13": (
        "figure 3, left",
        "at stage 3, a larger share for the teacher beats the fixed one",
        _pair("variable_3", "fixed_3"),
    ),
    "A14": (
        "text",
        "more classes gain over 20 % than lose over 10 %",
        lambda df: ([_sign_test(df)], [_sign_test(df, "base_again")]),
    ),
    "A15": (
        "motivation",
        "the gain grows with label noise",
        lambda df: ([_noise_slope(df)], []),
    ),
}
