"""What the shallow student's notebooks share: rows, changes, costs, picked runs, t statistics.

Notebooks: shallow_student/table_1.ipynb to table_4.ipynb.
"""

import itertools
from functools import partial

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from scipy import stats

from wsaed import nets, report, verdicts
from wsaed.features import FRONT_ENDS, FrontEnd, log_mel
from wsaed.nets.layers import parameter_count
from wsaed.papers import costs
from wsaed.papers import shallow_student as paper
from wsaed.papers.comparisons import difference, gains, values
from wsaed.papers.joint_at_aed import TABLE_1
from wsaed.papers.shallow_student_claims import METRIC, RULE, TUNED, VALIDATION, paired

THRESHOLDS = {METRIC: "at 0.5", TUNED: "tuned"}
SETTINGS = ("curriculum", "pseudolabels", "mask", "SpecAugment")
SCORES = {
    f"{VALIDATION}_{RULE}": "validation event F1",
    f"{METRIC}_{RULE}": "event F1 at 0.5",
    f"{TUNED}_{RULE}": "event F1, tuned",
    f"segment_f1_{RULE}": "segment F1",
    "tagging_f1_raw": "tagging F1, clip branch",
}
QUOTED = {"ef_sw_em_cs": paper.BEST_STUDENT, "sw_nm_ns": 0.347}  # the abstract's, on test
# The official baseline's event F1 on the challenge's evaluation set, and on its public clips
WHOLE, PUBLIC = TABLE_1["mt", "baseline"][0], 0.290
OVER_MASK = "_mask_sum"  # ends the name of a row whose loss is divided by the mask's sum
HALF = 0.0005  # half of the last digit that tables 1 to 3 print
T_TICKS = (-100, -40, -20, -10, -5, 0, 5, 10, 20, 40, 100)
SHIFT = 0.15  # of a row, by which two marks of the same row stand apart
DEGREES = 2 * paper.RUNS - 2  # of freedom in the paper's unpaired test


def title(system: str) -> str:
    """A system's name in tables and figures: the paper's, and what is other than there."""
    more = ", over the mask's sum" if system.endswith(OVER_MASK) else ""
    return paper.NAMES[system.removesuffix(OVER_MASK)] + more


def table(df, systems: list[str]) -> pd.DataFrame:
    """Tables 1 to 3: a row a system with its settings, the paper's scores and ours, its steps.

    A printed cell holds mean ± standard deviation of ten runs; ours `wsaed.report.score`. A
    teacher has no steps of its own here.
    """
    rows = []
    for system in systems:
        settings = paper.CONFIGURATIONS.get(system.removesuffix(OVER_MASK), ["-"] * 4)
        printed = [_plus_minus(*score) for score in paper.PUBLISHED.get(system, ())] or [""] * 2
        ours = [report.score(df, system, column) for column in SCORES]
        rows.append([title(system), *settings, *printed, *ours, kept_epoch(df, system)])
        steps = df.loc[system].get("steps", pd.Series([np.nan])).iloc[0]
        rows[-1] += ["" if np.isnan(steps) else f"{steps:.0f}", len(df.loc[system])]
    heads = ["system", *SETTINGS, "paper validation", "paper test", *SCORES.values()]
    found = pd.DataFrame(rows, columns=[*heads, "best epoch", "steps", "replicates"])
    return found.loc[:, (found != "").any()]


def _plus_minus(mean: float, sd: float | None) -> str:
    return f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"


def kept_epoch(df, system: str) -> str:
    """ "17 of 26": the epoch that was best on validation, a mean over replicates; "" without."""
    if "best_epoch" not in df or df.loc[system, "best_epoch"].isna().any():
        return ""
    best, scores = df.loc[system, "best_epoch"], df.loc[system, "validation"]
    return f"{best.mean():.0f} of {scores.map(len).mean():.0f}"


def changes(df, systems: list[str], against: str, metric: str = METRIC) -> list[np.ndarray]:
    """Each system's F1 less that of ``against``, replicate by replicate, in points."""
    return gains(df, [(system, RULE) for system in systems], metric, (against, RULE))


def printed_change(a: str, b: str, split: int) -> tuple[float, float]:
    """The paper's a - b in points and half of its 95 % interval; split 0: validation, 1: test.

    The interval is that of two independent means of ten runs, 0 where a run stands alone.
    """
    (mean_a, sd_a), (mean_b, sd_b) = (paper.PUBLISHED[name][split] for name in (a, b))
    error = 0.0 if None in (sd_a, sd_b) else np.hypot(sd_a, sd_b) / np.sqrt(paper.RUNS)
    return 100 * (mean_a - mean_b), float(100 * stats.t.ppf(0.975, DEGREES) * error)


def picture(axes, df, systems: list[str], against: str) -> None:
    """A row a system: event F1 on axes[0]; in points less ``against``, test and validation.

    Hollow diamonds: the paper's difference with its 95 % interval, where it has both rows.
    """
    y, colors, style = np.arange(len(systems)), sns.color_palette(), dict(fmt="o", horizontal=True)
    for k, (metric, label) in enumerate(THRESHOLDS.items()):
        columns = [values(df, system, f"{metric}_{RULE}") for system in systems]
        report.dots(axes[0], y + (-SHIFT, SHIFT)[k], columns, label, colors[k], **style)
    for ax, metric, split in ((axes[1], METRIC, 1), (axes[2], VALIDATION, 0)):
        report.dots(ax, y - SHIFT, changes(df, systems, against, metric), "measured", **style)
        known = [k for k, s in enumerate(systems) if s in paper.PUBLISHED and s != against]
        printed = [printed_change(systems[k], against, split) for k in known]
        diamonds(ax, [d for d, _ in printed], np.add(known, SHIFT), [h for _, h in printed])
        ax.axvline(0, color="0.3", lw=1)
        ax.set_xlabel(f"{('validation', 'test')[split]}, less {title(against)}, points")
    axes[0].set_yticks(y, map(title, systems))
    axes[0].set(xlabel="event F1 on test", ylim=(len(systems) - 0.5, -0.5))
    for ax in axes[:2]:
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)


def diamonds(ax, x, y, halves, label="paper (DESED)") -> None:
    """What the paper prints, hollow, with bars of ``halves`` to both sides."""
    ax.errorbar(x, y, xerr=halves, fmt="D", color="0.25", mfc="none", ms=8, lw=1, label=label)


def epoch_ends(run, batch_size: int) -> np.ndarray:
    """The steps at which the epochs of a run end; its last one may be cut."""
    return np.minimum(np.cumsum(np.ceil(np.array(run.pool) / batch_size)), run.steps).astype(int)


def learning(ax, df, systems: list[str], batch_size: int) -> None:
    """Event F1 on validation over steps: a faint line a replicate, a dot at its kept epoch, and
    the mean over replicates, whose epochs are equally long."""
    for system, color in zip(systems, sns.color_palette(), strict=False):
        for run in df.loc[system].itertuples():
            x = epoch_ends(run, batch_size)
            best = int(run.best_epoch) - 1
            ax.plot(x, run.validation, color=color, alpha=0.3, lw=1)
            ax.plot(x[best], run.validation[best], "o", color=color, alpha=0.6, ms=6)
        mean = np.mean(df.loc[system, "validation"].to_list(), axis=0)
        ax.plot(x, mean, color=color, lw=2, label=title(system))
    ax.set(xlabel="steps", ylabel="event F1 on validation")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(systems))


def rankings(df, systems: list[str], generation: int, batch_size: int) -> pd.DataFrame:
    """A row a ranking of a curriculum: at which step, of how many, and how good the student was.

    generation: epochs of one. Event F1 on validation is a mean over replicates.
    """
    rows = []
    for system in systems:
        run = df.loc[system].iloc[0]
        ends = epoch_ends(run, batch_size)
        for k in range(1, len(run.difficulty) + 1):
            score = np.mean([curve[k * generation - 1] for curve in df.loc[system, "validation"]])
            rows.append([title(system), k, ends[k * generation - 1], int(run.steps), score])
    heads = ["system", "ranking", "step", "of steps", "event F1 on validation by then"]
    return pd.DataFrame(rows, columns=heads)


# Parameters, multiply-adds, time


def machines(p: dict, classes: int) -> dict[str, tuple[torch.nn.Module, FrontEnd]]:
    """The student's net and one of its teacher's, in eval mode, each with its front end.

    p: a profile's parameters. A teacher is guided learning's student, which alone answers.
    """
    guide, found = paper.teacher(p), {}
    specs = {
        "student": paper.student(p, "ef_sw_em_cs", guide),
        "teacher, one": guide["teachers"][0],
    }
    for name, spec in specs.items():
        net = nets.build(spec, classes).eval()
        found[name] = getattr(net, "student", net), FRONT_ENDS[spec["front_end"]]
    return found


def costs_table(sizes: dict[str, dict], classes: int) -> pd.DataFrame:
    """A row a (size, machine): parameters and a clip's multiply-adds, front ends not counted.

    sizes: name -> a profile's parameters. The last columns hold how often the student's fit in.
    A teacher hears its own front end, which at the paper's size has more frames than this paper
    writes; one row has the student's.
    """
    rows = []
    for size, p in sizes.items():
        both, counts = machines(p, classes), {}
        heard = {name: (net, f.frames, f.mels) for name, (net, f) in both.items()}
        (_, frames, _), (net, _, mels) = heard["student"], heard["teacher, one"]
        heard["teacher, one, the student's frames"] = net, frames, mels
        for name, (net, frames, mels) in heard.items():
            x = torch.zeros(1, frames, mels)
            counts[name] = np.array([parameter_count(net), costs.multiply_adds(net, x)])
        counts[f"teacher, all {p['members']}"] = p["members"] * counts["teacher, one"]
        for name, count in counts.items():
            times = (count / counts["student"]).round(2)
            rows.append([size, name, int(count[0]), count[1] / 1e6, *times])
    heads = ["size", "machine", "parameters", "million multiply-adds"]
    return pd.DataFrame(rows, columns=[*heads, "times the parameters", "times the multiply-adds"])


def latency_table(sizes: dict[str, dict], classes: int) -> pd.DataFrame:
    """A row a (size, machine): milliseconds of a clip with one thread, for log-mel and for nets.

    The whole teacher's nets take turns: one's time, times their number.
    """
    rows = []
    for size, p in sizes.items():
        taken = {}
        for name, (net, front_end) in machines(p, classes).items():
            clip = np.random.default_rng(0).standard_normal(front_end.frames * front_end.hop)
            x = torch.as_tensor(log_mel(clip, front_end)).float()[None]
            calls = partial(log_mel, clip, front_end), partial(net, x)
            taken[name] = [1000 * costs.latency(call) for call in calls]
        heard, one = taken["teacher, one"]
        taken[f"teacher, all {p['members']}"] = [heard, p["members"] * one]
        rows += [[size, name, *np.round(times, 1)] for name, times in taken.items()]
    return pd.DataFrame(rows, columns=["size", "machine", "log-mel, ms", "nets, ms"])


# The best of several runs


def best_of(n: int) -> float:
    """Mean of the largest of n standard normals: what picking the best of n runs adds, in sd."""
    return float(stats.norm.expect(lambda x: n * x * stats.norm.cdf(x) ** (n - 1)))


def picked(df) -> pd.DataFrame:
    """A row a quoted run: the paper's mean and best, ours, and the best expected of normal runs.

    nan where one replicate has no standard deviation.
    """
    rows = []
    for system, best in QUOTED.items():
        (mean, sd), ours = paper.PUBLISHED[system][1], values(df, system, f"{METRIC}_{RULE}")
        spread = ours.std(ddof=1) if len(ours) > 1 else np.nan
        expected = mean + best_of(paper.RUNS) * sd, ours.mean() + best_of(len(ours)) * spread
        rows.append([title(system), mean, sd, expected[0], best])
        rows[-1] += [ours.mean(), spread, expected[1], ours.max()]
    heads = ["mean", "sd", "best, expected", "best"]
    columns = [f"{whose} {head}" for whose in ("paper", "our") for head in heads]
    return pd.DataFrame(rows, columns=["system", *columns]).dropna(axis=1, how="all")


# What tuned thresholds leave


def remaining(df, pairs: list[tuple[str, str]]) -> pd.DataFrame:
    """A row a pair: its difference in event F1 at 0.5, at tuned thresholds, and the two's.

    The share that is left at tuned thresholds stands only where the interval at 0.5 lies above 0.
    """
    rows = []
    for a, b in pairs:
        printed = ""
        if a in paper.PUBLISHED and b in paper.PUBLISHED:
            printed = f"{printed_change(a, b, 1)[0] / 100:.3f}"
        plain, tuned = (difference(df, (a, RULE), (b, RULE), metric) for metric in THRESHOLDS)
        lost = [x - y for x, y in zip(plain, tuned, strict=True)]
        clear = len(plain[0]) > 1 and verdicts.two_level_interval(*plain)[0] > 0
        share = f"{tuned[0].mean() / plain[0].mean():.2f}" if clear else ""
        shown = [report.mean_interval(*d) for d in (plain, tuned, lost)]
        rows.append([f"{title(a)} - {title(b)}", printed, *shown, share])
    heads = ["difference", "paper", *THRESHOLDS.values(), "what tuning takes away", "share left"]
    found = pd.DataFrame(rows, columns=heads)
    return found.loc[:, (found != "").any()]


# Table 4


def recomputed(a: str, b: str) -> tuple[float, float, float]:
    """(t, lowest, highest) of two validation rows: from the print, and as far as rounding lets."""
    (mean_a, sd_a), (mean_b, sd_b) = (paper.PUBLISHED[name][0] for name in (a, b))

    def t(shift_a=0.0, wider_a=0.0, shift_b=0.0, wider_b=0.0):
        sides = (mean_a + shift_a, sd_a + wider_a), (mean_b + shift_b, sd_b + wider_b)
        every = [number for mean, sd in sides for number in (mean, sd, paper.RUNS)]
        return float(stats.ttest_ind_from_stats(*every).statistic)

    every = [t(*errors) for errors in itertools.product((-HALF, HALF), repeat=4)]
    return t(), min(every), max(every)


def t_tests(df, a: str, b: str, metric: str = VALIDATION) -> list[tuple[float, float]]:
    """(t, p) by the paper's unpaired test, and by the paired one; nan where they have no spread,
    as a lone replicate hasn't."""
    x, y = paired(df, a, b, metric)
    unpaired = stats.ttest_ind(x, y) if np.ptp(x) + np.ptp(y) > 0 else (np.nan, np.nan)
    both = stats.ttest_rel(x, y) if np.ptp(x - y) > 1e-9 else (np.nan, np.nan)
    return [tuple(map(float, unpaired)), tuple(map(float, both))]


def marks(p: float) -> str:
    """ "Y Y N": significant at each of table 4's levels; "" where there is no p."""
    return " ".join("Y" if p < level else "N" for level in paper.LEVELS) if p == p else ""


def t_table(df) -> pd.DataFrame:
    """Table 4: a row a comparison; printed, from the printed means, and ours on validation.

    Marks are for `wsaed.papers.shallow_student.LEVELS`. Columns that no row fills are left out.
    """
    rows = []
    for comparison, (a, b, printed) in paper.TABLE_4.items():
        t, low, high = recomputed(a, b)
        fits = "yes" if low - HALF <= printed <= high + HALF else "no"
        p = 2 * stats.t.sf(abs(printed), DEGREES)
        row = [comparison, printed, marks(p), t, low, high, fits]
        (unpaired, p), (both, paired_p) = t_tests(df, a, b)
        change = changes(df, [a], b, VALIDATION)[0]
        row += [change.mean(), unpaired, marks(p), both, marks(paired_p)]
        rows.append([*row, t_tests(df, a, b, METRIC)[1][0], len(change)])
    heads = ["comparison", "printed t", "printed marks", "t from the means", "lowest", "highest"]
    heads += ["fits", "our change, points", "our t", "our marks", "paired t", "paired marks"]
    found = pd.DataFrame(rows, columns=[*heads, "paired t on test", "replicates"])
    return found.round(3).replace("", np.nan).dropna(axis=1, how="all").fillna("")


def t_picture(axes, df, found: pd.DataFrame) -> None:
    """Table 4: t statistics on axes[0], differences on validation in points on axes[1].

    found: `t_table`'s. Grey bars: every t that the printed means and deviations allow; dotted:
    the critical values with 18 degrees of freedom.
    """
    y, pairs = np.arange(len(found)), [row[:2] for row in paper.TABLE_4.values()]
    axes[0].hlines(y, found["lowest"], found["highest"], color="0.7", lw=7, label="from the means")
    diamonds(axes[0], found["printed t"], y, 0, "printed")
    for column, shift, color in (("our t", -SHIFT, "C0"), ("paired t", SHIFT, "C1")):
        if column in found:
            ours = pd.to_numeric(found[column], errors="coerce")
            axes[0].plot(ours, y + shift, "o", color=color, ms=6, label=column)
    for level in paper.LEVELS:
        critical = stats.t.ppf(1 - level / 2, DEGREES)
        for t in (-critical, critical):
            axes[0].axvline(t, color="0.5", ls=":", lw=1)
    ours = [changes(df, [a], b, VALIDATION)[0] for a, b in pairs]
    report.dots(axes[1], y - SHIFT, ours, "measured", fmt="o", horizontal=True)
    printed = [printed_change(a, b, 0) for a, b in pairs]
    diamonds(axes[1], [d for d, _ in printed], y + SHIFT, [half for _, half in printed])
    axes[0].set_xscale("symlog", linthresh=5)
    axes[0].set_xticks(T_TICKS, map(str, T_TICKS), minor=False)
    axes[0].minorticks_off()
    axes[0].margins(x=0.1)
    axes[0].set_yticks(y, found["comparison"])
    axes[0].set(xlabel="t of validation event F1", ylim=(len(found) - 0.5, -0.5))
    axes[1].set_xlabel("difference on validation, points")
    for ax in axes:
        ax.axvline(0, color="0.3", lw=1)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4)
