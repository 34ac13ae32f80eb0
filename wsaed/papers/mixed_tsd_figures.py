"""What target sound detection's notebooks share: rows beside the paper's, gaps, spoilt labels.

Notebooks: mixed_tsd/figure_1.ipynb, table_1.ipynb, table_2.ipynb, table_3.ipynb.
"""

import numpy as np
import pandas as pd
import seaborn as sns

from wsaed import corpora, nets, postprocess, report, runs, training
from wsaed.corpora import Split
from wsaed.features import FRONT_ENDS
from wsaed.methods import target_scores, two_student
from wsaed.methods.label_errors import spoilt
from wsaed.papers.comparisons import contrast, gains, values
from wsaed.papers.mixed_tsd import ERRORS, NAMES, PSEUDO_ERROR, STABLE, TABLE_1
from wsaed.papers.mixed_tsd_claims import MARGIN

SCORES = {  # column of a record -> head of a table
    "event_f1": "event F1",
    "event_f1_tuned": "event F1, tuned",
    "event_f1_paper": "event F1, paper's convention",
    "segment_f1": "segment F1",
}
PRINTED = {"segment_f1": 0, "event_f1_paper": 1}  # score -> place among the paper's two numbers
LABEL_ERRORS = {"": "share of wrong frames", "_balanced": "balanced error"}
RIVALS = {"silent_error": "all silent", "clip_label_error": "true clip labels on all frames"}
SOURCES = {"a_source": "source A alone", "b_source": "source B alone"}
NAMES = NAMES | SOURCES
LONGEST = 4.0  # s, of the event in figure 1 (a)
POSITIONS = np.linspace(-0.5, 1.5, 81)  # within an event: 0 its onset, 1 its offset
# the half event before the onset, the event, the half event after the offset
PARTS = POSITIONS < 0, (POSITIONS >= 0) & (POSITIONS <= 1), POSITIONS > 1
KINDS = {"flip": "independent flips", "erode": "eroded", "dilate": "dilated", "drop": "dropped"}


def table(df, specs: dict, names: dict[str, str], printed: dict[str, tuple]) -> pd.DataFrame:
    """A row a system of ``names``: all of `SCORES`, what it cost, the paper's before its like.

    printed: system -> (segment F1, event F1); specs: every system's, for its epochs.
    """
    rows = []
    for system, name in names.items():
        row = {"system": name}
        stated = [f"{v:.3f}" for v in printed.get(system, ())] or ["", ""]
        for metric in ("event_f1_paper", "event_f1", "event_f1_tuned", "segment_f1"):
            if metric in PRINTED:
                row[f"paper {SCORES[metric].partition(',')[0]}"] = stated[PRINTED[metric]]
            row[SCORES[metric]] = report.score(df, system, metric)
        cost = {"replicates": len(df.loc[system]), "epochs": report.epochs(specs[system])}
        rows.append(row | cost)
    return pd.DataFrame(rows)


def above_silence(df) -> str:
    """What a table must say of the paper's event F1: what compares with it, what silence has."""
    silent = values(df, "all_silent", "event_f1_paper").mean()
    return (
        "The paper's event F1 compares with the column beside it alone: there silence on an absent "
        f"target counts as an event found, and a system that never answers has {silent:.3f}."
    )


def printed_gains(printed: dict[str, tuple], metric: str, against: str) -> dict[str, float]:
    """The paper's own differences in points, in a score of `PRINTED`."""
    column = PRINTED[metric]
    return {s: 100 * (row[column] - printed[against][column]) for s, row in printed.items()}


def panels(axes, df, names: dict[str, str], printed: dict[str, tuple], against="") -> None:
    """A panel for each of `SCORES`, a row a system from the top: dots, and the paper's diamonds.

    against: a system whose score in the same replicate is taken off; then in points.
    """
    y, style = np.arange(len(names)), dict(fmt="o", horizontal=True)
    for ax, (metric, title) in zip(axes, SCORES.items(), strict=True):
        known = {}
        if against:
            columns = gains(df, names, metric, against)
            known = printed_gains(printed, metric, against) if metric in PRINTED else {}
            ax.axvline(0, color="0.3", lw=1)
        else:
            columns = [values(df, system, metric) for system in names]
            if metric in PRINTED:
                known = {system: row[PRINTED[metric]] for system, row in printed.items()}
        report.dots(ax, y, columns, "measured", **style)
        rows = [list(names).index(system) for system in known]
        ax.plot(known.values(), rows, "D", color="0.25", mfc="none", ms=8, label="paper")
        ax.set_xlabel(title)
    axes[0].set_yticks(y, names.values())
    axes[0].set_ylim(len(names) - 0.5, -0.5)


def below_silence(df, system: str) -> bool:
    """Whether a system that never answers beats it by the paper's convention, on means."""
    mine, silent = (values(df, s, "event_f1_paper").mean() for s in (system, "all_silent"))
    return bool(mine < silent)


def closed(ms: float, ws: float, ss: float) -> str:
    """Share of the gap between weak and strong supervision that mixed supervision closes."""
    return f"{(ms - ws) / (ss - ws):.0%}" if ss > ws else "no gap"


def gap_table(df) -> pd.DataFrame:
    """A row a score: strong less weak supervision, the share that each source closes; the paper's.

    Shares are taken on means over replicates; points are F1 times 100. A gap of several replicates
    that rule S leaves undecided is marked, and nobody's share of it is given.
    """
    rows, systems = [], ("ss", "ws", "a_f_3", "b_f_3")
    for metric, title in SCORES.items():
        row = [title, *_gap(*(values(df, s, metric).mean() for s in systems))]
        found = contrast(df, "ss", "ws", metric)
        if found.replicates > 1 and found.outcome == "undecided":
            row[1:] = [f"{row[1]}, uncertain", "", ""]
        stated = [TABLE_1[s][PRINTED[metric]] for s in systems] if metric in PRINTED else None
        if metric == "event_f1_paper" and "all_silent" in df.index:
            row[2:] = [
                share + " (below silence)" * (share != "" and below_silence(df, system))
                for share, system in zip(row[2:], systems[2:], strict=True)
            ]
        rows.append(row + (_gap(*stated) if stated else [""] * 3))
    heads = ["gap in points", "closed from A", "closed from B"]
    return pd.DataFrame(rows, columns=["score", *heads, *(f"paper: {head}" for head in heads)])


def _gap(ss: float, ws: float, a: float, b: float) -> list[str]:
    return [f"{100 * (ss - ws):.1f}", closed(a, ws, ss), closed(b, ws, ss)]


def label_errors(df, names: dict[str, str]) -> pd.DataFrame:
    """A row a w_student: its pseudo labels' error on the target's training clips; then `RIVALS`.

    The rivals know nothing of time: silence, and the true clip labels on all frames. Every row
    counts the same pairs of clip and target.
    """
    rows = [
        [name, *(report.score(df, system, f"pseudo_error{kind}") for kind in LABEL_ERRORS)]
        for system, name in names.items()
    ]
    for rival, name in RIVALS.items():
        shared = [report.score(df, next(iter(names)), f"{rival}{kind}") for kind in LABEL_ERRORS]
        rows.append([name, *shared])
    return pd.DataFrame(rows, columns=["labels", *LABEL_ERRORS.values()])


def label_error_panels(axes, df, names: dict[str, str]) -> None:
    """Two panels, plain and balanced error: a row a w_student, `RIVALS` and 0.35 as lines."""
    y, colors = np.arange(len(names)), sns.color_palette()
    for ax, (kind, title) in zip(axes, LABEL_ERRORS.items(), strict=True):
        columns = [values(df, system, f"pseudo_error{kind}") for system in names]
        report.dots(ax, y, columns, "w_student", fmt="o", horizontal=True)
        for (rival, name), color in zip(RIVALS.items(), colors[1:], strict=False):
            level = values(df, next(iter(names)), f"{rival}{kind}").mean()
            ax.axvline(level, color=color, ls="--", lw=1.8, label=name)
        ax.axvline(STABLE, color="0.3", lw=1, label=f"{STABLE:g}, the paper's bound")
        ax.set_xlabel(title)
    axes[0].axvline(PSEUDO_ERROR, color="0.3", ls=":", lw=1.8, label="paper's pseudo labels")
    axes[0].set_yticks(y, names.values())
    axes[0].set_ylim(len(names) - 0.5, -0.5)


def iterations(axes, df, printed: dict[str, tuple]) -> None:
    """Table 3 as lines: both students over the iterations, a panel for each of `SCORES`.

    printed: rows of table 3, whose systems are named <source>_<student>_<iteration>.
    """
    colors = dict(zip("wf", sns.color_palette(), strict=False))
    for ax, metric in zip(axes, SCORES, strict=True):
        for student, color in colors.items():
            systems = [s for s in printed if s.split("_")[1] == student]
            x = np.array([int(s.split("_")[2]) for s in systems])
            shift = 0.03 if student == "f" else -0.03
            columns = [values(df, s, metric) for s in systems]
            report.dots(ax, x + shift, columns, f"{student}_student", color)
            if metric in PRINTED:
                stated = [printed[s][PRINTED[metric]] for s in systems]
                style = dict(color=color, mfc="white", ms=8, ls=":", zorder=4)
                ax.plot(x, stated, "D", **style, label=f"{student}_student, paper")
        ax.set(xlabel="iteration", xticks=x, title=SCORES[metric])
    axes[0].set_ylabel("F1")


def error_curves(df) -> dict[str, list[str]]:
    """{kind of error: its systems by realised rate}, from clean labels on; kinds that were run."""
    realised = df["label_error"].groupby("system").mean()
    found = {
        kind: [s for s, error in ERRORS.items() if error["kind"] == kind and s in realised]
        for kind in KINDS
    }
    return {kind: ["ss", *sorted(s, key=realised.get)] for kind, s in found.items() if s}


def error_table(df) -> pd.DataFrame:
    """A row a system trained on spoilt frame labels, the clean one first: rates, then `SCORES`."""
    rows = []
    for system in ("ss", *(s for systems in error_curves(df).values() for s in systems[1:])):
        error = ERRORS.get(system, {"kind": "", "rate": 0.0})
        realised = [values(df, system, f"label_error{kind}").mean() for kind in LABEL_ERRORS]
        scores = [report.score(df, system, metric) for metric in SCORES]
        rows.append([KINDS.get(error["kind"], "none"), error["rate"], *realised, *scores])
    heads = ["errors", "rate asked for", *LABEL_ERRORS.values(), *SCORES.values()]
    return pd.DataFrame(rows, columns=heads)


def error_panel(ax, df, metric: str) -> None:
    """Figure 1 (c): a score against the share of wrong frames, a line a kind of error.

    In the grey band a score is that of clean labels, by the claims' margin. Upright: dashed 0.35,
    dotted the error of each replicate's pseudo labels, dash-dotted that of silent labels.
    """
    clean = values(df, "ss", metric).mean()
    band = f"within {MARGIN:g} of clean labels"
    ax.axhspan(clean - MARGIN, clean + MARGIN, color="0.93", zorder=0, label=band)
    for (kind, systems), color in zip(error_curves(df).items(), sns.color_palette(), strict=False):
        x = [values(df, s, "label_error").mean() for s in systems]
        report.dots(ax, x, [values(df, s, metric) for s in systems], KINDS[kind], color)
    ax.axvline(STABLE, color="0.3", ls="--", lw=1, label=f"{STABLE:g}, the paper's bound")
    for k, error in enumerate(values(df, "b_w_1", "pseudo_error")):
        ax.axvline(error, color="0.3", ls=":", lw=1.5, label=None if k else "our pseudo labels")
    silent = values(df, "b_w_1", "silent_error").mean()
    ax.axvline(silent, color="0.3", ls="-.", lw=1, label="labels all silent")
    ax.set(xlabel="share of wrong frames", ylabel=SCORES[metric])


def stable_until(df, systems: list[str], metric: str) -> tuple[float, float]:
    """(highest realised rate below 0.35 with no loss over the margin up to it, largest loss there).

    systems: a line of `error_curves`; a loss is clean labels' mean score less a system's.
    """
    clean, stable, largest, lost = values(df, "ss", metric).mean(), 0.0, 0.0, False
    for system in systems:
        rate = values(df, system, "label_error").mean()
        if rate < STABLE:
            loss = clean - values(df, system, metric).mean()
            lost, largest = lost or loss > MARGIN, max(largest, loss)
            stable = stable if lost else rate
    return float(stable), float(largest)


def silence_by_hand(test: Split, labels) -> float:
    """Macro event F1 of silence under the paper's convention, counted without any scorer.

    A class's hits are the pairs whose clip lacks it. The reference holds its events and as many
    dummies as there are such pairs, silence one dummy a pair.
    """
    found = []
    for c, label in enumerate(labels):
        asked = test.pairs.label == c
        absent = (asked & ~test.pairs.present).sum()
        events = sum(e.label == label for k in test.pairs.clip[asked] for e in test.events[k])
        if events + absent:
            found.append(2 * absent / (events + absent + asked.sum()))
    return float(np.mean(found))


def chosen_pair(test: Split, labels, scores) -> int:
    """Figure 1 (a)'s pair: of the class with the best score, the one with the longest event < 4 s.

    scores: (classes,) F1, None or nan where there is none. Where no event is as short, the pair
    with the shortest. A number of a pair of ``test``.
    """
    best = int(np.nanargmax(np.array(scores, float)))

    def rank(pair: int) -> tuple[bool, float]:
        events = test.events[test.pairs.clip[pair]]
        longest = max(e.offset - e.onset for e in events if e.label == labels[best])
        return longest < LONGEST, longest if longest < LONGEST else -longest

    pairs = np.flatnonzero(test.pairs.present & (test.pairs.label == best))
    return int(max(pairs, key=rank))


def frame_scores(spec: dict, replicate: int) -> np.ndarray:
    """A finished student's probabilities for all test pairs, asked as when it was scored.

    (pairs, frames) at the front end's rate. The student is trained where it is missing.
    """
    runs.train([(spec, replicate)])
    corpus, front_end = corpora.load(spec["corpus"], replicate), FRONT_ENDS[spec["front_end"]]
    conditional = runs.folder(*runs.pinned(spec["teachers"][0], replicate))
    pairs, data = corpus["test"].pairs, two_student.Data(corpus, spec, replicate, conditional)
    e = data.references(pairs, data.tested)
    net = nets.trained(spec, len(corpus.labels), runs.folder(spec, replicate))
    features = training.resident(corpus["test"].features(front_end))
    return two_student.predict(net.to(training.device()), features, pairs, e, front_end.frames)


def event_profile(p: np.ndarray, test: Split, labels, seconds: float) -> np.ndarray:
    """Mean probability over all true events, by `POSITIONS` within them: (positions,).

    p: as `frame_scores` gives it. What lies outside a clip does not count.
    """
    times = (np.arange(p.shape[1]) + 0.5) * seconds / p.shape[1]
    events = target_scores.truth(test, labels)
    found = [
        np.interp(e.onset + POSITIONS * (e.offset - e.onset), times, row, np.nan, np.nan)
        for row, asked in zip(p, events, strict=True)
        for e in asked
    ]
    return np.nanmean(found, axis=0)


def spoilt_labels(spec: dict, replicate: int) -> tuple[int, dict[str, np.ndarray]]:
    """(a training pair, {"none" or kind of error: its frame labels, (steps,) bool}).

    Each kind at its lowest rate of `ERRORS`, spread over the pairs of the first hundred clips. Of
    the pairs that most kinds touch it is the first with the most events. spec: that of "ss".
    """
    corpus, front_end = corpora.load(spec["corpus"], replicate), FRONT_ENDS[spec["front_end"]]
    rate = nets.build(spec, len(corpus.labels)).frames_per_second(front_end)
    split, steps = corpus[spec["data"]], round(rate * front_end.seconds)
    true = two_student.frame_labels(split, corpus.labels, steps, rate)[split.pairs.clip < 100]
    found = {"none": true}
    for error in ERRORS.values():
        if error["kind"] not in found:
            rng = np.random.default_rng([replicate, two_student.ERRORS])
            found[error["kind"]] = spoilt(true, **error, rng=rng)
    touched = sum((given != true).any(1).astype(int) for given in found.values())
    events = np.bincount(postprocess.runs(true)[:, 0], minlength=len(true))
    pair = max(range(len(true)), key=lambda k: (touched[k], events[k]))
    return pair, {kind: given[pair] for kind, given in found.items()}


def label_rows(ax, found: dict[str, np.ndarray], seconds: float) -> None:
    """Figure 1 (b): a row a kind of error; grey where a label is on, coloured where it is wrong."""
    for row, given in enumerate(found.values()):
        wrong, edges = given != found["none"], np.linspace(0, seconds, len(given) + 1)
        for shown, color in ((given & ~wrong, "0.6"), (wrong & given, "C3"), (wrong & ~given, "w")):
            for _, first, end in postprocess.runs(shown[None]):
                span = edges[first], edges[end] - edges[first]
                edge = "C3" if color == "w" else "none"
                ax.broken_barh([span], (row - 0.35, 0.7), facecolor=color, edgecolor=edge)
    ax.set_yticks(range(len(found)), [KINDS.get(kind, "true") for kind in found])
    ax.set(ylim=(len(found) - 0.4, -0.6), xlim=(0, seconds), xlabel="time in s")
    ax.grid(False)
