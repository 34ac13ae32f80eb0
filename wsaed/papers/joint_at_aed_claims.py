"""Claims C1 to C9 of the joint paper, each as the comparison that decides it.

The primary score is macro event F1 at threshold 0.5, as the paper's; what it says at class
thresholds tuned on validation, segment F1 and tagging F1 stand beside it and decide nothing, but
for C8, which is about all three scores, and C9, about tagging. A side of a contrast is (system,
post-processing).
Notebook: claims.ipynb.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from wsaed.corpora.desed_statistics import CLEAN, PROBABILITIES
from wsaed.papers import comparisons
from wsaed.papers.comparisons import (
    contrast,
    flips,
    labelled,
    links,
    no_worse,
    spearman,
    values,
    where_run,
)
from wsaed.papers.joint_at_aed import DIFFICULTY
from wsaed.verdicts import DELTA, Claim, Part, from_draws

METRIC, TUNED = "event_f1", "event_f1_tuned"
BESIDE = ("segment_f1", "tagging_f1")
SHOWN = {f"{METRIC}_average": "event F1 at 0.5", f"{TUNED}_average": "event F1, tuned"}
MARGIN, UNITS = DELTA["f1"], "F1 or correlation"  # of the estimates, for a figure
F1_RANGE = (0.2, 0.5)  # of guided learning: off this range nothing can show
SYSTEMS = (  # how to read the names in a claim's parts
    "`mt` is the mean-teacher baseline, `gl` guided learning (GL), `pts` the backbone of two "
    "branches, tagging beside detection (PTS); `dfd_mse`, `dfd_d` and `tfd` add a feature "
    "distillation to it: of all frames by squared error (DFD-MSE), of all by their distances "
    "(DFD-D), of the target events' frames alone (TFD); `tfd_dfd_d_wu` has TFD and DFD-D, the "
    "latter on weak and unlabelled clips; `tfd_afl` is TFD with the adaptive focal loss. "
    "In brackets stands the post-processing: windows by the mean duration (`average`) or by short "
    "events (`esp`), none, the mean teacher's own (`baseline`); of tagging, the clip branch alone "
    "(`raw`). `longer_` means three times the epochs, `easier_` and `harder_` louder and fainter "
    "events. All distillations here compare features brought to unit length, since plain ones "
    "collapse (the method notebook shows it)."
)


def claims(df: pd.DataFrame, only: list[str] | None = None) -> list[Claim]:
    """C1 to C9, or those in ``only``, from a frame of `wsaed.report.results`; not yet judged.

    A claim that compares a system which ``df`` lacks has no parts, and its note says so.
    """
    sides = _side("longer_gl"), _side("gl")
    text = "three times as much adds {:.2f} to GL"
    remarks = comparisons.unfinished(df, *sides, METRIC, MARGIN, text)
    return comparisons.claims(CLAIMS, df, only, remarks)


def _event_f1(*pairs: tuple, rule=contrast, beside=BESIDE, longer=(), **more):
    """The test of a claim on event F1: one rule on each pair of sides."""
    every = [(rule, *map(_side, pair)) for pair in pairs]
    more |= {"longer": tuple(map(_side, longer))}
    return links(*every, metric=METRIC, beside=beside, tuned=TUNED, **more)


def _side(one) -> tuple[str, str]:
    """A side with its post-processing: the average windows unless it says another."""
    return (one, "average") if isinstance(one, str) else one


def _own_processing(df) -> list[Part]:
    """Beside C1: each system with the post-processing that its authors gave it."""
    return [contrast(df, ("gl", "average"), ("mt", "baseline"), METRIC)]


def _full_system(df) -> tuple[list[Part], list[Part], list[Part], list[str]]:
    """C8: all three scores; beside them, longer training and the two difficulties, where run."""
    sides = ("tfd_afl", "esp"), ("gl", "average")
    parts = [labelled(contrast, df, *sides, metric) for metric in (METRIC, *BESIDE)]
    later, turned = comparisons.trained_longer(df, sides, METRIC, TUNED)
    pairs = ([(f"{level}_{s}", processing) for s, processing in sides] for level in DIFFICULTY)
    levels = where_run(df, pairs, METRIC)
    tuned = [labelled(contrast, df, *sides, TUNED), *parts[1:]]
    return parts, later + levels, tuned, flips([parts[0], *levels]) + turned


def durations() -> np.ndarray:
    """Mean seconds (classes,) of DESED's ten classes in its strongly labelled training clips.

    They are taken of the quantiles that the project keeps, and lie up to a tenth above the means
    of the events themselves.
    """
    return np.array([np.trapezoid(q, PROBABILITIES) for q in CLEAN["seconds"].values()])


def _gain_where_short(df) -> tuple[list[Part], list[Part], list[Part], list[str]]:
    """C7: minus Spearman of a class's duration and its gain, so that the paper's sign is plus.

    A class that neither filter finds at 0.5 has a gain of zero all the same; a remark counts them.
    """
    part, tuned = (_shortness(df, metric) for metric in (METRIC, TUNED))
    found = np.concatenate(_by_class(df, METRIC)).any(0)
    remarks = [f"{(~found).sum()} of {len(found)} classes are never found"] * (not found.all())
    return [part], [], [replace(tuned, name=f"{tuned.name}, {TUNED}")], remarks


def _by_class(df, metric: str) -> list[np.ndarray]:
    """The full system's scores by class, (replicates, classes) each: under ESP, under average."""
    return [values(df, "tfd_afl", f"{metric}_{f}_class") for f in ("esp", "average")]


def _shortness(df, metric: str) -> Part:
    """Gains are means over replicates; the bootstrap draws replicates and classes.

    A bank's classes last as long as in its own strong clips.
    """
    after, before = _by_class(df, metric)
    gain, rng = after - before, np.random.default_rng(0)
    seconds = durations()
    if df.attrs.get("bank"):
        seconds = values(df, "tfd_afl", "seconds_class").mean(0)
    if not (np.isfinite(gain).all() and np.isfinite(seconds).all()):
        raise KeyError("score or duration of some class")
    replicates, classes = (rng.integers(n, size=(5000, n)) for n in gain.shape)
    drawn = np.take_along_axis(gain[replicates].mean(1), classes, axis=1)
    estimate = -spearman(seconds[None], gain.mean(0)[None])[0]
    draws = -spearman(seconds[classes], drawn)
    return from_draws("minus Spearman of duration and gain", "Spearman", estimate, draws, len(gain))


def preconditions(df: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """What baselines and oracles must show before the paper is judged, and the claims that fall.

    Guided learning must lie mid-scale. Strong labels of the recorded clips must beat those of the
    clean ones, and true tags of the unlabelled clips must help, else distillation has no gap to
    close; these four nets are the official baseline's, with its post-processing and tuned
    thresholds. A gap that a corpus has no oracle for is left out. C6 and C7, on post-processing,
    need the first alone. What longer training adds to guided learning is told, and decides nothing.
    """
    table = pd.DataFrame(columns=["precondition", "measured", "needed", "met"])
    scale, gaps, (low, high) = [], [], F1_RANGE
    if "gl" in df.index:
        score = float(values(df, "gl", f"{METRIC}_average").mean())
        met = low <= score <= high
        table.loc[0] = "event F1 of guided learning", score, f"{low} to {high}", met
        if not met:
            scale = [f"guided learning's event F1 of {score:.2f} is off the scale's middle"]
    for title, reason, a, b in GAPS:
        if not {a, b} <= set(df.index.get_level_values("system")):
            continue
        gap = contrast(df, (a, "baseline"), (b, "baseline"), TUNED)
        bound, needed = gap.estimate, "> 0"
        if gap.replicates > 1:
            bound, needed = gap.low, f"> 0, all of [{gap.low:.3f}, {gap.high:.3f}]"
        table.loc[len(table)] = title, gap.estimate, needed, bound > 0
        if not bound > 0:
            gaps.append(f"{reason} ({gap.estimate:+.2f} event F1)")
    longer = where_run(df, [(_side("longer_gl"), _side("gl"))], METRIC)
    title = "event F1 that longer training adds to guided learning"
    table = comparisons.told(table, [(title, part.estimate) for part in longer])
    reasons = {name: scale + gaps * (name not in ("C6", "C7")) for name in CLAIMS}
    return table, {name: "; ".join(found) for name, found in reasons.items() if found}


GAPS = (  # (what is measured, why a claim falls, the richer system, the poorer one)
    (
        "event F1 (mean teacher, tuned) with strong labels of recorded clips, above clean ones",
        "strong labels of recorded clips do no better than those of clean ones",
        "recorded_strong",
        "synthetic_only",
    ),
    (
        "event F1 (mean teacher, tuned) that true tags of the unlabelled clips add",
        "true tags of the unlabelled clips do not help",
        "all_tagged",
        "labelled",
    ),
)
CLAIMS = {  # name: (place, claim, test), a test gives what `links` says
    "C1": (
        "table 1",
        "GL beats the mean teacher",
        _event_f1(("gl", "mt"), more=_own_processing),
    ),
    "C2": (
        "table 1",
        "PTS beats GL",
        _event_f1(("pts", "gl"), longer=("pts", "gl")),
    ),
    "C3": (
        "table 1",
        "TFD beats DFD-D, which beats DFD-MSE, which beats no distillation",
        _event_f1(
            ("tfd", "dfd_d"),
            ("dfd_d", "dfd_mse"),
            ("dfd_mse", "pts"),
            longer=("tfd", "pts"),
        ),
    ),
    "C4a": (
        "text",
        "DFD-D on weak and unlabelled clips adds nothing to TFD",
        _event_f1(("tfd", "tfd_dfd_d_wu"), rule=no_worse, beside=()),
    ),
    "C4b": (
        "text",
        "DFD-D on weak and unlabelled clips lowers TFD",
        _event_f1(("tfd", "tfd_dfd_d_wu")),
    ),
    "C5": (
        "table 1",
        "adaptive focal loss adds to TFD",
        _event_f1(("tfd_afl", "tfd"), longer=("tfd_afl", "tfd")),
    ),
    "C6": (
        "tables 1 and 2",
        "ESP beats average windows, and no filter",
        _event_f1(
            (("tfd_afl", "esp"), ("tfd_afl", "average")),
            (("tfd_afl", "esp"), ("tfd_afl", "none")),
        ),
    ),
    "C7": ("text", "the gain of ESP is larger for shorter events", _gain_where_short),
    "C8": ("text", "the full system beats GL in all three scores", _full_system),
    "C9": (
        "table 1",
        "DFD-MSE lowers tagging",
        links(
            (contrast, ("pts", "average"), ("dfd_mse", "average")),
            metric="tagging_f1",
            more=lambda df: [
                labelled(contrast, df, ("pts", "raw"), ("dfd_mse", "raw"), "tagging_f1")
            ],
        ),
    ),
}
