"""Claims B1 to B7 of the shallow student's paper, each as the comparison that decides it.

The primary score is macro event F1 on test at threshold 0.5, the paper's, after its median
filter; what it says at class thresholds tuned on validation stands beside it, and so do segment
F1 and what was measured on validation, where the paper made its tests. They decide nothing.
Notebook: claims.ipynb.
"""

from functools import partial

import numpy as np
import pandas as pd

from wsaed.papers import comparisons
from wsaed.papers.comparisons import (
    contrast,
    labelled,
    links,
    measured,
    no_worse,
    unchanged,
    values,
    where_run,
)
from wsaed.papers.joint_at_aed import DIFFICULTY
from wsaed.papers.shallow_student import HEADLINE, MASK_SUM
from wsaed.verdicts import DELTA, Claim, Part, better

METRIC, TUNED, RULE = "event_f1", "event_f1_tuned", "median"
VALIDATION = "event_f1_validation"  # of the best epoch, which these very clips chose
MARGIN, UNITS = DELTA["f1"], "F1"  # of the estimates, for a figure
F1_RANGE = (0.2, 0.5)  # of a baseline or a teacher: off this range nothing can show
RISING = "validation was still rising"  # the remark on students that more steps would help
GAIN = 0.10  # event F1 by which the teacher must beat a student of the labels alone
SHARE = 4  # unlabelled clips a labelled one, at least
SYSTEMS = (  # how to read the names in a claim's parts
    "A name lists a student's settings: easier clips first `ef` or harder first `hf`, "
    "pseudolabels strong and weak `sw` or weak `w`, mask by events `em`, by segments `sm` or "
    "none `nm`, SpecAugment custom `cs`, standard `ss` or none `ns`; what is left out is off. "
    "`ensemble` is the teacher, `single` its best member; the student has 1.6 times the "
    "parameters of the whole teacher at the sizes of laptop and evidence, a quarter of them at the "
    "paper's. `_again` means a second teacher, "
    "`_mask_sum` each frame loss divided by its mask's sum, `easier_` and `harder_` louder and "
    "fainter events; in brackets stands the post-processing."
)


def claims(df: pd.DataFrame, only: list[str] | None = None) -> list[Claim]:
    """B1 to B7, or those in ``only``, from a frame of `wsaed.report.results`; not yet judged.

    A claim that compares a system which ``df`` lacks has no parts, and its note says so.
    """
    return comparisons.claims(CLAIMS, df, only)


def _side(name: str) -> tuple[str, str]:
    return name, RULE


def _event_f1(*pairs: tuple[str, str], rule=contrast, more=lambda df: [], headline=()):
    """The test of a claim on event F1: one rule on each pair of systems."""
    every = [(rule, *map(_side, pair)) for pair in pairs]

    def further(df):
        return [*_on_validation(df, pairs), *more(df)]

    others = {"beside": ("segment_f1",), "tuned": TUNED, "more": further, "headline": headline}
    return links(*every, metric=METRIC, remarks=partial(_still_rising, pairs=pairs), **others)


def paired(df, a: str, b: str, metric: str) -> np.ndarray:
    """(2, replicates) scores of two systems under `RULE`, of the replicates that both have."""
    scores = [df.loc[measured(_side(name), metric)] for name in (a, b)]
    return pd.concat(scores, axis=1).dropna().to_numpy(float).T


def _still_rising(df, pairs) -> list[str]:
    """The remark `RISING` where a system of the pairs gained more than the margin at the end.

    What counts is the mean of validation event F1 over the last quarter of its epochs, less that
    over the quarter before, as a mean over replicates.
    """
    if "validation" not in df:
        return []
    curves = [df.loc[name, "validation"].dropna() for name in {s for pair in pairs for s in pair}]
    gained = [np.mean([_gained(np.array(curve)) for curve in rows]) for rows in curves if len(rows)]
    return [RISING] if max(gained, default=0) > MARGIN else []


def _gained(curve: np.ndarray) -> float:
    quarter = len(curve) // 4
    if not quarter:
        return 0.0
    return curve[-quarter:].mean() - curve[-2 * quarter : -quarter].mean()


def _on_validation(df, pairs) -> list[Part]:
    """Beside each link: the same on validation, whose clips no bootstrap draws again."""
    if f"{VALIDATION}_{RULE}" not in df:
        return []
    names = [f"{a} ({RULE}) - {b} ({RULE}), {VALIDATION}" for a, b in pairs]
    differences = [np.subtract(*paired(df, *pair, VALIDATION)) for pair in pairs]
    return [better(name, d) for name, d in zip(names, differences, strict=True)]


def _second_teacher(df) -> list[Part]:
    """Beside B1: the headline pair under a second teacher."""
    return where_run(df, [[_side(f"{name}_again") for name in HEADLINE]], METRIC)


AT_DIFFICULTIES = [
    [_side(f"{level}{name}") for name in HEADLINE]
    for level in ("", *(f"{level}_" for level in DIFFICULTY))
]


def _best_single(df) -> list[Part]:
    """Beside B3: against the teacher's best member alone."""
    return where_run(df, [(_side("ef_sw_em_cs"), _side("single"))], METRIC)


def _divided_by_the_mask(df) -> list[Part]:
    """Beside B5: the first link with each frame loss divided by its mask's sum."""
    pair = [_side(f"{name}_mask_sum") for name in MASK_SUM]
    return where_run(df, [pair], METRIC, partial(labelled, contrast))


def preconditions(df: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """What teacher and baselines must show before the paper is judged, and the claims that fall.

    The teacher must lie mid-scale and beat a student that has the labels alone; unlabelled clips,
    recorded like the test's, must be four times the labelled. All claims hang on them. What
    students score is told below, and decides nothing.
    """
    table = pd.DataFrame(columns=["precondition", "measured", "needed", "met"])
    known, (low, high), reasons = set(df.index.get_level_values("system")), F1_RANGE, []
    if "ensemble" in known:
        score = float(values(df, "ensemble", f"{METRIC}_{RULE}").mean())
        table.loc[0] = "event F1 of the teacher", score, f"{low} to {high}", low <= score <= high
        if not low <= score <= high:
            reasons.append(f"the teacher's event F1 of {score:.2f} is off the scale's middle")
    if {"ensemble", "labelled"} <= known:
        gap = contrast(df, _side("ensemble"), _side("labelled"), METRIC).estimate
        title = "event F1 of the teacher, above a student of the labels alone"
        table.loc[len(table)] = title, gap, f">= {GAIN}", gap >= GAIN
        if not gap >= GAIN:
            reasons.append(f"the teacher hardly beats the labels alone ({gap:+.2f} event F1)")
    corpus = df.attrs.get("corpus", {})
    counts = [corpus.get(split) for split in ("unlabelled", "strong", "weak")]
    if all(counts):
        share = counts[0] / sum(counts[1:])
        title = "unlabelled clips per labelled one"
        table.loc[len(table)] = title, share, f">= {SHARE}", share >= SHARE
        if share < SHARE:
            reasons.append(f"{share:.1f} unlabelled clips per labelled one")
    told = {"sw_nm_ns": "plain distillation", "labelled": "a student of the labels alone"}
    scores = {f"event F1 of {name}": (s, f"{METRIC}_{RULE}") for s, name in told.items()}
    table = comparisons.told(table, comparisons.means(df, scores))
    return table, dict.fromkeys(CLAIMS, "; ".join(reasons)) if reasons else {}


CLAIMS = {  # name: (place, claim, test), a test gives what `links` says
    "B1": (
        "table 1",
        "easier first beats all at once, which beats plain distillation",
        _event_f1(
            ("ef_sw_em_cs", "sw_em_cs"),
            ("sw_em_cs", "sw_nm_ns"),
            more=_second_teacher,
            headline=AT_DIFFICULTIES,
        ),
    ),
    "B2": ("table 1", "easier first beats harder first", _event_f1(("ef_sw_em_cs", "hf_sw_em_cs"))),
    "B3": (
        "text",
        "the student reaches the ensemble that taught it",
        _event_f1(("ef_sw_em_cs", "ensemble"), rule=no_worse, more=_best_single),
    ),
    "B4": (
        "table 2",
        "custom SpecAugment beats the standard one, which beats none",
        _event_f1(("ef_sw_em_cs", "ef_sw_em_ss"), ("ef_sw_em_ss", "ef_sw_em_ns")),
    ),
    "B5": (
        "table 2",
        "the event mask beats the segment mask, which beats none",
        _event_f1(
            ("ef_sw_em_cs", "ef_sw_sm_cs"),
            ("ef_sw_sm_cs", "ef_sw_nm_cs"),
            more=_divided_by_the_mask,
        ),
    ),
    "B6": (
        "table 3",
        "strong and weak pseudolabels beat weak ones, which beat none",
        _event_f1(("ef_sw_em_cs", "ef_w_em_cs"), ("ef_w_em_cs", "em_cs")),
    ),
    "B7": (
        "table 4",
        "harder first changes nothing over all at once",
        _event_f1(("hf_sw_em_cs", "sw_em_cs"), rule=unchanged),
    ),
}
