"""What the joint paper's notebooks share: rows beside GL's, classes beside the paper's, ceilings.

Notebooks: joint_at_aed/table_1.ipynb, table_2.ipynb, figure_2.ipynb.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from scipy.ndimage import gaussian_filter1d

from wsaed import postprocess, report, scoring
from wsaed.corpora import Corpus, Split, desed
from wsaed.papers import comparisons
from wsaed.papers.comparisons import Side, difference, values
from wsaed.papers.joint_at_aed import OVERALL, TABLE_1, TABLE_2
from wsaed.papers.joint_at_aed_claims import durations

SECONDS = 10.0  # of a clip
RULES = {"none": "none", "average": "average", "median": "median", "esp": "ESP"}
RULES["esp_knee"] = "ESP (knee)"
TASKS = ("event_f1", "tagging_f1")
ERRORS, BURST = 0.05, 0.2  # share of an erring net's frames, seconds that an error lasts


def silent(test: Split, labels) -> tuple[float, float, float]:
    """(event, segment, tagging) macro F1 of a system that never reports an event."""
    reference = test.reference
    nothing = {clip: [] for clip in test.clips}
    tags = scoring.tagging_f1(test.clip_labels, np.zeros_like(test.clip_labels))
    scores = (f(reference, nothing, labels)[1] for f in (scoring.event_f1, scoring.segment_f1))
    return (*scores, scoring.macro(tags)[0])


def gains(df, rows: list[Side], metric: str, against: Side = ("gl", "average")) -> list:
    """`comparisons.gains`, over guided learning unless told."""
    return comparisons.gains(df, rows, metric, against)


def printed_gains(column: int) -> dict[Side, float]:
    """The paper's differences to GL in points, a row of table I, in one of its three columns."""
    base = TABLE_1["gl", "average"][column]
    return {row: 100 * (scores[column] - base) for row, scores in TABLE_1.items()}


def class_scores(df, metric: str, rule: str) -> np.ndarray:
    """(replicates, classes) F1 of the full system; nan where a class could not be scored."""
    return values(df, "tfd_afl", f"{metric}_{rule}_class")


def class_seconds(corpus: Corpus) -> np.ndarray:
    """(classes,) mean event duration, DESED's for its own classes, as in claim C7.

    For other classes that of the strong clips' events; nan where there are none.
    """
    own = postprocess.durations(corpus["strong"].events, corpus.labels)
    known = dict(zip(desed.LABELS, durations(), strict=True))
    return np.array(
        [
            known.get(label, L.mean() if len(L) else np.nan)
            for label, L in zip(corpus.labels, own, strict=True)
        ]
    )


def printed_change(label: str, task: int) -> float:
    """Table II: F1 under ESP less F1 under average windows; nan for a class that it lacks."""
    row = TABLE_2.get(label) or (OVERALL if label == "Overall" else [np.nan] * 4)
    return round(row[2 + task] - row[task], 3)


def by_class(df, labels, seconds: np.ndarray, task: int) -> pd.DataFrame:
    """Table II for one of `TASKS`: a row a class, and the overall one below; F1 everywhere."""
    scores = {rule: class_scores(df, TASKS[task], rule) for rule in RULES}
    change, rows = scores["esp"] - scores["average"], []
    for c, label in enumerate(labels):
        printed = [*TABLE_2.get(label, [np.nan] * 4)[task::2], printed_change(label, task)]
        ours = [_mean(scores[rule][:, c]) for rule in RULES]
        rows.append([label, seconds[c], *printed, *ours, _interval(change[:, c])])
    ours = [report.score(df, "tfd_afl", f"{TASKS[task]}_{rule}") for rule in RULES]
    whole = difference(df, ("tfd_afl", "esp"), ("tfd_afl", "average"), TASKS[task])
    printed = [*OVERALL[task::2], printed_change("Overall", task)]
    rows.append(["Overall", np.nan, *printed, *ours, report.mean_interval(*whole)])
    heads = ["class", "mean s", "paper average", "paper ESP", "paper change"]
    return pd.DataFrame(rows, columns=[*heads, *RULES.values(), "change, ESP - average"])


def shortest_first(df, seconds: np.ndarray) -> list[int]:
    """The classes that have a duration, and a score in every replicate, in their order."""
    scored = [np.isfinite(class_scores(df, task, "average")).all(0) for task in TASKS]
    known = np.isfinite(seconds) & scored[0] & scored[1]
    return [int(c) for c in np.argsort(seconds, kind="stable") if known[c]]


def changes(df, classes: list[int], task: int) -> list[np.ndarray]:
    """F1 under ESP less F1 under average windows in points, (replicates,) a class, then overall."""
    after, before = (class_scores(df, TASKS[task], rule) for rule in ("esp", "average"))
    whole = gains(df, [("tfd_afl", "esp")], TASKS[task], ("tfd_afl", "average"))
    return [*(100 * (after - before)[:, classes].T), *whole]


def _mean(scores: np.ndarray) -> str:
    known = scores[np.isfinite(scores)]
    return f"{known.mean():.3f}" if len(known) else ""


def _interval(scores: np.ndarray) -> str:
    known = scores[np.isfinite(scores)]
    return report.mean_interval(known) if len(known) else ""


def _spans(sizes: np.ndarray) -> list[str]:
    """Each column of (draws, classes) sizes in frames: "9", or "3 to 9" where draws differ."""
    ends = zip(sizes.min(0), sizes.max(0), strict=True)
    return [f"{a} to {b}" if b > a else f"{a}" for a, b in ends]


def durations_table(draws: list[list[np.ndarray]], labels, rate: float) -> pd.DataFrame:
    """A row a class: events, seconds by each rule, windows in frames ("3 to 9" where draws differ).

    draws: `wsaed.postprocess.durations` of the strong clips, one a replicate.
    """
    by_class = list(zip(*draws, strict=True))
    head = "events, all replicates" if len(draws) > 1 else "events"
    columns = {"class": list(labels), head: [sum(map(len, L)) for L in by_class]}
    rules = {rule: name for rule, name in RULES.items() if rule != "none"}
    for rule, name in rules.items():
        columns[f"{name}, s"] = [
            _mean(np.array([postprocess.RULES[rule](x) for x in L if len(x)])) for L in by_class
        ]
    for rule, name in rules.items():
        frames = np.array([postprocess.windows(L, rule, rate) for L in draws])
        columns[f"{name}, frames"] = _spans(frames)
    return pd.DataFrame(columns)


def shares(draws: list[list[np.ndarray]]) -> list[float]:
    """ESP's duration over the average one, a class of a draw each."""
    return [postprocess.esp_duration(x) / x.mean() for L in draws for x in L if len(x)]


def distributions(axes, draws: list[list[np.ndarray]], labels) -> None:
    """Figure 2: share of a class's events that are no longer than x, a panel a class.

    Dark is the first draw, pale the others; upright lines are three rules' durations in the first.
    """
    lines = {"average": ("C2", "-"), "esp": ("k", "-"), "esp_knee": ("C1", "--")}
    for ax, label, L in zip(axes.flat, labels, zip(*draws, strict=True), strict=False):
        for x in filter(len, L[1:]):
            sns.ecdfplot(x=x, ax=ax, color="0.8", lw=1)
        if len(L[0]):
            sns.ecdfplot(x=L[0], ax=ax, color="C0", lw=2)
            for rule, (color, style) in lines.items():
                seconds = postprocess.RULES[rule](L[0])
                ax.axvline(seconds, color=color, ls=style, lw=1.8, label=RULES[rule])
        ax.set(title=f"{label} ({len(L[0])})", xscale="log", xlim=(0.1, 12), ylim=(0, 1.02))
        ax.set(xticks=[0.1, 1, 10], xticklabels=["0.1", "1", "10"], xlabel="", ylabel="")
    for k in range(len(labels), axes.size):
        axes.flat[k].remove()
        if k >= 5:
            axes.flat[k - 5].tick_params(labelbottom=True)


def ceilings(events, labels, windows: dict[str, np.ndarray], rate: float, errors=0.0, seed=0):
    """{name: (classes,) event F1} of a net that knows the reference, behind a filter's windows.

    The events (a list a clip) become frames at ``rate`` a second, as a net's targets do, pass the
    filter twice, and are scored against themselves. ``errors``: share of the frames that are
    wrong, in bursts of about `BURST` seconds; the tags stay right. nan for a class without events.
    """
    reference = dict(enumerate(events))
    frames = postprocess.active_frames(events, labels, round(SECONDS * rate), rate)
    gate = frames.any(1)
    if errors:
        noise = np.random.default_rng(seed).standard_normal(frames.shape, np.float32)
        noise = gaussian_filter1d(noise, BURST * rate / 2, axis=1)
        frames ^= noise > np.quantile(noise, 1 - errors)
    found = {}
    for name, widths in windows.items():
        estimated = postprocess.detect(frames, gate, labels, rate, widths)
        estimated = dict(zip(reference, estimated, strict=True))
        found[name] = scoring.event_f1(reference, estimated, labels)[0]
    return found


def all_ceilings(draws: list, tests: list, labels, rate: float, erring=True) -> pd.DataFrame:
    """A row a (kind, rule, replicate), a column a class: event F1 of `ceilings`, or windows.

    kind "exact" is a net without errors, "erring" one with `ERRORS` (unless ``erring=False``).
    Its rule "best" is the best of all rules' windows and of eight up to 4 s, found on the very
    events that it is scored on: a bound. kind "window" has its frames. draws as in
    `durations_table`; tests: the events that are filtered and scored, a list a clip a replicate.
    """
    sizes = 2 * (np.geomspace(0.04, 4, 8) * rate / 2).astype(int) + 1
    rows = {}
    for r, (L, events) in enumerate(zip(draws, tests, strict=True)):
        windows = {rule: postprocess.windows(L, rule, rate) for rule in RULES}
        rows |= {("exact", k, r): v for k, v in ceilings(events, labels, windows, rate).items()}
        if erring:
            tried = windows | {str(size): np.full(len(labels), size) for size in sizes}
            found = ceilings(events, labels, tried, rate, ERRORS, r)
            rows |= {("erring", rule, r): found[rule] for rule in RULES}
            best = np.nan_to_num(np.array([*found.values()])).argmax(0), np.arange(len(labels))
            rows["erring", "best", r] = np.array([*found.values()])[best]
            rows["window", "best", r] = np.array([*tried.values()])[best]
    df = pd.DataFrame.from_dict(rows, orient="index", columns=list(labels))
    df.index = pd.MultiIndex.from_tuples(rows, names=["kind", "rule", "replicate"])
    return df.sort_index()


def ceilings_table(found: pd.DataFrame) -> pd.DataFrame:
    """A row a class and one for all; a column a rule, exact and erring; means over replicates."""
    columns = {"class": [*found.columns, "Macro"]}
    for kind in ("exact", "erring"):
        for rule in [*RULES, "best"] if kind in found.index else ():
            if (kind, rule) not in found.index:
                continue
            scores = found.loc[kind, rule]
            name = f"{kind}, {RULES.get(rule, 'best window')}"
            whole = report.mean_interval(scores.mean(axis=1))
            columns[name] = [*(_mean(scores[label].to_numpy()) for label in scores), whole]
    if "window" in found.index:
        sizes = found.loc["window", "best"].to_numpy(int)
        columns["best window, frames"] = [*_spans(sizes), ""]
    return pd.DataFrame(columns)


def ceilings_picture(axes, found: pd.DataFrame, seconds: np.ndarray) -> None:
    """Each class's ceiling by rule, shortest class on top: exact on axes[0], erring on axes[1]."""
    scored = found.loc["exact"].notna().all().to_numpy()
    order = [c for c in np.argsort(seconds) if scored[c]]
    y = np.arange(len(order))
    for ax, kind in zip(axes, ("exact", "erring"), strict=True):
        for k, rule in enumerate(RULES):
            columns = [found.loc[kind, rule].iloc[:, c] for c in order]
            shift = 0.16 * (k - 2)
            color = sns.color_palette()[k]
            report.dots(ax, y + shift, columns, RULES[rule], color, fmt="o", horizontal=True)
        ax.set(xlabel="event F1", ylim=(len(order) - 0.5, -0.5), title=kind)
    best = found.loc["erring", "best"].mean().iloc[order]
    axes[1].plot(best, y, "D", color="0.25", mfc="none", ms=9, label="best window")
    axes[0].set_yticks(y, [f"{found.columns[c]}, {seconds[c]:.1f} s" for c in order])


def lists() -> dict[str, desed.Annotations] | None:
    """DESED's official annotations under DESED, or under REAL/desed2019; None without them."""
    real = os.environ.get("REAL")
    for place in (os.environ.get("DESED"), real and f"{real}/desed2019"):
        if place and Path(place).is_dir():
            found = desed.annotations(place)
            if {"strong", "validation"} <= found.keys():
                return found
    return None
