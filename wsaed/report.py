"""What the notebooks show and save: results as a frame, tables, claims in words.

A row of a table is a system, or "system@rule": of a column that its records hold for each
post-processing rule, as <column>_<rule>, that rule's.
"""

import os
import re
from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import display
from matplotlib import font_manager
from scipy import stats

from wsaed import corpora, parameters, runs
from wsaed.claims import claims as judging
from wsaed.claims import rules, statistics
from wsaed.committed import RECORDS, read_costs, read_records
from wsaed.corpora.bank import rotates
from wsaed.corpora.sounds import CLASSES
from wsaed.files import ROOT, check_variables, folder_of, shown, whole, write_whole
from wsaed.papers import PAPERS, artefacts

WIDTH = 8  # columns that a page has room for; which ends with these
ENDS = EXPECTED, GAIN, MINUTES = "as expected", "gain from more training", "core-minutes a run"
SCREEN, LINE = 6, 110  # columns beside a table's first one, and letters, that a screen has room for


def start(paper: str, artefact: str, profile: str, **chosen) -> dict:
    """A notebook's settings: all of its profile's, but for those of ``chosen`` that are not None.

    Besides them "paper", "artefact", and two folders: "home", whose committed records are read,
    and "saved", which takes tables and figures. Sets the house style of tables and figures.
    """
    check_variables()
    style()
    name = folder_of(profile)
    home = Path(os.environ.get("RESULTS") or ROOT / "results" / name) / paper
    saved = home if "RESULTS" in os.environ else ROOT / ".build" / name / paper
    p = parameters.chosen(paper, profile, **chosen)
    return p | {"paper": paper, "artefact": artefact, "home": home, "saved": saved}


def systems(p: dict) -> list[str]:
    """The systems that an artefact compares, with a notebook's settings."""
    return artefacts(PAPERS[p["paper"]], folder_of(p["profile"]))[p["artefact"]]


def results(p: dict) -> pd.DataFrame:
    """One row a (system, replicate) of an artefact, one column a score; trains what is missing.

    With COMMITTED set (`wsaed.render --committed`) it takes the replicates that the records have.
    """
    names = systems(p)
    if os.environ.get("COMMITTED"):
        known = read_records(p["home"] / RECORDS)
        found = {k: known[k] for k in known if k[0] in names and k[1] < p["replicates"]}
        if lost := sorted({*names} - {system for system, _ in found}):
            raise ValueError(f"{shown(p['home'])} has no record of {lost[0]}: make evidence")
    else:
        found = runs.records(p["paper"], names, p, p["home"])
    df, home = frame(found, p["home"]), p["home"].parent
    if p["profile"] == "laptop":  # one replicate of the evidence
        home = home.with_name(home.name.replace("laptop", "evidence", 1))
        df.attrs["evidence"] = str(home / p["paper"])
    return df


def recorded(home: Path, paper: str) -> pd.DataFrame:
    """The records in a folder of results as `results` gives them; empty where there are none."""
    return frame(read_records(home / paper / RECORDS), home / paper)


def frame(records: dict, home: Path | None = None) -> pd.DataFrame:
    """{(system, replicate): record} as a frame of scores.

    attrs: "bank", a name, "corpus"; from ``home``, the records' folder, where it has them, "gains",
    what half as many steps again add to a trained system on validation (nan: measured of other
    steps), and "minutes" that a run of a system takes a core.
    """
    df = pd.DataFrame.from_dict({k: r["scores"] for k, r in records.items()}, orient="index")
    df.index = pd.MultiIndex.from_tuples([*records], names=["system", "replicate"])
    df = df.sort_index()
    heard = (r["spec"]["corpus"] for r in records.values() if "corpus" in r.get("spec", {}))
    df.attrs["corpus"] = next(heard, {})
    df.attrs["bank"] = df.attrs["corpus"].get("bank")
    if home and (home / "plateau.csv").exists():
        known = pd.read_csv(home / "plateau.csv")
        steps = {k[0]: v["scores"].get("steps") for k, v in records.items()}
        known.loc[known["steps"] != known["system"].map(steps), "change"] = np.nan
        df.attrs["gains"] = known.groupby("system")["change"].mean().to_dict()
    if home and (taken := read_costs(home)):
        minutes = pd.Series(taken).str["seconds"] / 60
        df.attrs["minutes"] = minutes.groupby(lambda key: key.rpartition("/")[0]).mean().to_dict()
    return df


# Scores of a row


def side(df: pd.DataFrame, row: str, column: str) -> tuple[str, str]:
    """(system, column of the records) of a row's column."""
    system, _, rule = row.partition("@")
    score, of = re.fullmatch("(.*?)(_class|_resampled)?", column).groups("")
    name = f"{score}_{rule}{of}"  # the rule stands before what a score is of
    return system, name if rule and name in df else column


def values(df: pd.DataFrame, row: str, column: str) -> np.ndarray:
    """A row's score in every replicate, (replicates, ...) float; KeyError of what is missing."""
    return statistics.scores(df, side(df, row, column))[0]


def paired(df: pd.DataFrame, a: str, b: str, column: str) -> list[np.ndarray]:
    """Two rows' scores in the replicates of both, (replicates, ...) float each."""
    return statistics.scores(df, *(side(df, row, column) for row in (a, b)))


def difference(df: pd.DataFrame, a: str, b: str, column: str):
    """a - b in the replicates of both: (n,), and (n, resamples of clips) or None without them."""
    return statistics.measured(df, [(1, *side(df, a, column)), (-1, *side(df, b, column))])


def mean_interval(scores: np.ndarray, resampled: np.ndarray | None = None) -> str:
    """ "0.412 [0.398, 0.425]": the mean and its two-level interval; one replicate has none."""
    scores = np.asarray(scores, float)
    if len(scores) < 2:
        return f"{scores.mean():.3f}"
    low, high = rules.two_level_interval(scores, resampled)
    return f"{scores.mean():.3f} [{low:.3f}, {high:.3f}]"


def score(df: pd.DataFrame, row: str, column: str) -> str:
    """`mean_interval` of a row's column; "" where these results do not have it."""
    try:
        found = statistics.measured(df, [(1, *side(df, row, column))])
    except KeyError:
        return ""
    return "" if np.isnan(found[0]).any() else mean_interval(*found)


def best_epoch(df: pd.DataFrame, system: str) -> str:
    """ "17 of 26": the epoch that validation liked best, the mean; "" of what is not trained."""
    known = df.loc[[system]] if system in df.index else df[:0]
    many = [len(curve["validation"]) for curve in known.get("curves", []) if curve == curve]
    return f"{known['best_epoch'].mean():.0f} of {np.mean(many):.0f}" if many else ""


# Tables and figures


def table(df, rows: dict[str, str], columns: dict[str, str], printed: dict | None = None):
    """A row a row of ``rows`` (row -> name): each of ``columns`` (column -> head), its replicates.

    printed: column -> {row: the paper's value, or [mean, standard deviation]}, which stands before
    ours. A replicate of the evidence stands beside the evidence itself, whose replicates are
    counted, and "as expected" says whether it lies within their spread, where two or more have one.
    Columns that no row fills are left out.
    """
    known, found = evidence(df), []
    ours, counted = ("", df) if known is None else ("this run: ", known)
    for row, name in rows.items():
        cells, system, near = {"system": name}, row.partition("@")[0], {}
        for column, head in columns.items():
            if column in (printed or {}):
                numbers = np.atleast_1d(printed[column].get(row, []))
                cells[f"paper: {head}"] = " ± ".join(f"{v:.3f}" for v in numbers)
            if known is not None:
                cells[f"evidence: {head}"] = score(known, row, column)
                near[head] = within(known, df, row, column)
            cells[f"{ours}{head}"] = score(df, row, column)
        if system in df.index and {*near.values()} - {None}:
            outside = ", ".join(head for head, inside in near.items() if inside is False)
            cells[EXPECTED] = f"not {outside}" if outside else "yes"
        gain, minutes = (counted.attrs.get(a, {}).get(system) for a in ("gains", "minutes"))
        cells[GAIN] = "" if gain is None or np.isnan(gain) else f"{gain:+.3f}"
        cells[MINUTES] = "" if minutes is None else f"{minutes:.1f}"
        cells["replicates"] = len(counted.loc[system]) if system in counted.index else 0
        found.append(cells)
    made = pd.DataFrame(found).fillna("")
    return made.loc[:, (made != "").any()]


def evidence(df: pd.DataFrame) -> pd.DataFrame | None:
    """The committed evidence of which ``df`` is a replicate, where there is one."""
    home = Path(df.attrs.get("evidence", ""))
    known = recorded(home.parent, home.name)
    return None if known.empty else known


def within(known, df, row: str, column: str) -> bool | None:
    """Whether a row's mean lies where 95 % of further replicates would; None: unknown.

    A replicate that both have is not held against itself.
    """
    try:
        others = known[~known.index.isin(df.index)]
        before, now = values(others, row, column), values(df, row, column).mean()
    except KeyError:
        return None
    if len(before) < 2 or not np.isfinite([now, *before]).all():
        return None
    half = stats.t.ppf(0.975, len(before) - 1) * before.std(ddof=1)
    return bool(abs(now - before.mean()) <= half * np.sqrt(1 + 1 / len(before)) + 1e-9)


def caption(p: dict) -> str:
    """The sentence under every table: corpus, sizes, replicates, and what may be compared.

    "" under a table for which nothing is trained.
    """
    if not systems(p):
        return ""
    splits = [key.removesuffix("_clips") for key in p if key.endswith("_clips")]
    sizes = [f"{p[f'{s}_clips'] or 'all'} {s}" for s in splits if s != "references"]
    bank, many, embedded = os.environ.get("BANK"), p["replicates"], p["corpus"] == "soundscapes"
    own, left_out = "corpus, label noise, " if "train" in splits else "corpus, ", ""
    if bank:
        own = "scenes from the same test recordings, "
        if rotates(Path(bank).name):
            own = "scenes from another test fold (training folds overlap), "
    if bank or not embedded:
        specs = PAPERS[p["paper"]].systems(p).values()
        left_out = corpora.left_out(next(spec["corpus"] for spec in specs if "corpus" in spec))
    said = (
        f"Profile {p['profile']}: {p['corpus']} with {', '.join(sizes)} clips; replicates: {many}, "
        f"{'each ' * (many > 1)}with its own {own * embedded}initialisation and order.",
        "The teacher's networks are trained once, for all replicates."
        * ("members" in p and not bank),
        "Absolute values compare with the paper's only on the paper's corpus.",
        left_out,
    )
    return fill(" ".join(filter(None, said)), LINE)


def save_table(df, p: dict, part: str = "", about: str = "", setting: bool = True) -> None:
    """Write <artefact><_part>.csv and, of its first columns, .md; display it.

    about: what its columns are, before the `caption`, which a table of other data goes without.
    A table wider than a screen is displayed in parts, each beginning with its first column.
    """
    path = p["saved"] / "_".join(filter(None, (p["artefact"], part)))
    below = f"{about} {caption(p)}".strip() if setting else about
    always = [*ENDS, *["replicates"] * ("replicates" in df and df["replicates"].nunique() > 1)]
    scores = [re.sub("^(paper|evidence|this run): ", "", c) for c in df]
    # a score's last columns are not cut off from its first ones
    few = [c for k, c in enumerate(df) if c in always or scores[k] in scores[:WIDTH]]
    write_whole(path.with_suffix(".csv"), df.to_csv(index=False, float_format="%.6g"))
    write_whole(path.with_suffix(".md"), f"{markdown(df[few])}\n\n{below}\n")
    seen = df.astype(object).where(df.notna(), "")
    others = range(1, len(seen.columns))
    for part in np.array_split(others, -(-len(others) // SCREEN)):
        display(seen.iloc[:, [0, *part]])


def save_figure(fig, p: dict, part: str = "") -> None:
    """Write <artefact><_part>.png, without Matplotlib's version."""
    p["saved"].mkdir(parents=True, exist_ok=True)
    path = p["saved"] / "_".join(filter(None, (p["artefact"], part)))
    fig.savefig(path.with_suffix(".png"), dpi=160, metadata={"Software": None})


def kept(p: dict, specs: list[dict], make) -> dict[str, np.ndarray]:
    """``make()``: {name: array}, what a picture takes from nets of replicate 0, once trained.

    No record holds weights, so the arrays lie beside the records, in <artefact>.npz with the names
    of their runs. They serve where these runs are not in the cache, and are made anew where they
    are, or where other runs made them.
    """
    keys, name = [runs.key(spec, 0) for spec in specs], f"{p['artefact']}.npz"
    if (p["home"] / name).exists() and not all(runs.load(spec, 0) for spec in specs):
        with np.load(p["home"] / name) as found:
            if found["runs"].tolist() == keys:
                return dict(found)
    runs.train([(spec, 0) for spec in specs])
    made = make() | {"runs": np.array(keys)}
    with whole(p["saved"] / name) as partial:
        np.savez_compressed(partial, **made)
    return made


def markdown(df: pd.DataFrame) -> str:
    """A frame as a Markdown table, numbers to three digits."""

    def cell(v) -> str:
        text = f"{v:.3f}" if isinstance(v, float) else escaped(str(v))
        return "" if v is None or v != v else text

    df = df.map(cell).rename(columns=escaped)
    rows = [list(df.columns), ["---"] * len(df.columns), *df.to_numpy(object).tolist()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


# Names as they are


def escaped(text: str) -> str:
    """A text that Markdown shows as it is; within a word "_" means nothing."""
    return re.sub(r"[\\`*$|<&~]|\b_|_\b|(?<=_)_", r"\\\g<0>", text)


def named(label: str) -> str:
    """A class as tables show it: an embedded one in words (dog_bark: Dog bark), others as is."""
    known = {*CLASSES, *(x for sound in CLASSES.values() for x in sound["subtypes"])}
    mine = label in known and not os.environ.get("BANK")
    return label.replace("_", " ").capitalize() if mine else label


def drawn(label: str) -> str:
    """`named` for a figure: a dollar begins no formula, what no font here has is spelt out."""
    spelt = (c.encode("unicode_escape").decode() if c in UNDRAWN else c for c in named(label))
    return "".join(spelt).replace("$", r"\$")


UNDRAWN: set[str] = set()  # characters of the BANK's classes that no font here has


def _fonts() -> list[str]:
    """The figures' fonts: the usual ones, and those that have what else the BANK's classes need.

    One line says where there are none: Matplotlib would warn at every figure, and draw boxes.
    """
    usual = font_manager.findfont(font_manager.FontProperties())
    fonts, bank = {"sans-serif": usual}, os.environ.get("BANK")
    listed = [f for f in font_manager.fontManager.ttflist if "Last Resort" not in f.name]  # boxes
    for char in {c for path in Path(bank).glob("[!.]*/") for c in path.name} if bank else ():
        every = [*fonts.items(), *((f.name, f.fname) for f in listed)]
        has = ((name, path) for name, path in every if _has(font_manager.get_font(path), char))
        fonts |= [found] if (found := next(has, None)) else []
        UNDRAWN.update(() if found else char)
    if UNDRAWN:
        told = f"no font here has {''.join(sorted(UNDRAWN))}: figures spell it out"
        print(f"{told}; Noto Sans CJK or Symbola may help")
    return list(fonts)


def _has(font, char: str) -> bool:
    return font.scalable and font.get_char_index(ord(char)) > 0


def style() -> None:
    """The house style of every figure and table."""
    pd.set_option("display.max_colwidth", None, "display.max_rows", None)
    pd.set_option("display.html.use_mathjax", False, "display.float_format", "{:.3f}".format)
    settings = {"figure.dpi": 110, "savefig.bbox": "tight"}
    settings |= {"axes.spines.top": False, "axes.spines.right": False}
    settings |= {"axes.titlesize": "medium", "legend.frameon": False}
    sns.set_theme("notebook", "whitegrid", "colorblind", rc=settings)
    plt.rcParams["font.family"] = _fonts()


# Claims in words


def claims(p: dict, df: pd.DataFrame) -> list[rules.Claim]:
    """The claims that an artefact decides, judged from its frame.

    The correction goes over all claims, so the other papers' records, and this paper's other
    systems, come from the same folder of results where they are of the same runs.
    """
    frames = {name: recorded(p["home"].parent, name) for name in PAPERS}
    kept, mine = frames[p["paper"]], df.select_dtypes("float")
    same = len(kept) and df.index.isin(kept.index).all()
    if not (same and kept.reindex(index=df.index, columns=mine.columns).equals(mine)):
        frames[p["paper"]] = df
    return [c for c in judging.judged(frames)[p["paper"]] if c.artefact == p["artefact"]]


def claims_table(found: list[rules.Claim]) -> pd.DataFrame:
    """A row a comparison: a claim's links with their outcomes, then what stands beside them.

    Tuned thresholds, other metrics and controls decide nothing. An interval is of 90 % by the rules
    E, no change, and NI, no worse, else of 95 %.
    """
    rows = []
    for c in found:
        deciding = [(part, part.outcome) for part in c.parts]
        others = [(part, "beside") for part in c.tuned + c.beside if part not in c.parts]
        for part, said in deciding + others:
            rows.append((c.name, part.name, part.rule, part.size(), said, part.replicates))
    heads = ["id", "comparison", "rule", "estimate", "outcome", "replicates"]
    return pd.DataFrame(rows, columns=heads)


def answer(claim: rules.Claim) -> str:
    """A claim's verdict; where the paper only asks, yes or no with it."""
    said = {"reproduced": "yes", "opposite": "no"}.get(claim.verdict)
    return f"{said} ({claim.verdict})" if said and claim.text.endswith("?") else claim.verdict


def verdict_line(found: list[rules.Claim]) -> str:
    """One sentence a claim: what it says and the verdict, with its reason."""
    lines = (f"{c.name}, {c.text}: {answer(c)}" + f" ({c.note})" * bool(c.note) for c in found)
    return "\n".join(fill(f"{line}.", LINE, subsequent_indent="    ") for line in lines)


def conclusion(paper: str, *beginnings: str) -> str:
    """What the committed evidence says of a paper: a line a precondition, a line a claim.

    beginnings: of the lines that are wanted, by default all.
    """
    frames = {name: recorded(ROOT / "results" / "evidence", name) for name in PAPERS}
    if frames[paper].empty:
        return "No evidence records are committed yet, so there is nothing to conclude."
    lines = []
    for row in judging.preconditions(paper, frames[paper])[0].itertuples():
        met = "met" if row.met == "yes" else "not met"
        needed = f", needed {row.needed}: {met}" if row.needed else ""
        measured = row.measured if isinstance(row.measured, str) else f"{row.measured:.3g}"
        lines.append(f"{row.precondition}: {measured}{needed}")
    lines += [f"{c.name:4} {answer(c):18} {c.text}" for c in judging.judged(frames)[paper]]
    told = (line for line in lines if line.startswith(beginnings or ""))
    return "\n".join(fill(line, LINE, subsequent_indent=" " * 24) for line in told)
