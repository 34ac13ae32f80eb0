"""What the notebooks show and save: results as a frame, tables, figures, claims in words."""

import importlib
import itertools
import json
import os
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns

from wsaed import code, runs, verdicts
from wsaed.corpora.sources import SPLITS
from wsaed.methods import conditional, detection
from wsaed.papers import comparisons

NARROW = ("E", "NI")  # the rules whose intervals are of 90 %
TITLES = {
    "secost": "SeCoST: sequential co-supervision of weakly labelled students",
    "joint_at_aed": (
        "Joint tagging and detection: guided learning, feature distillation, focal loss"
    ),
    "shallow_student": "Shallow student: three recurrent layers taught by an ensemble",
    "mixed_tsd": "Target sound detection: two students across domains",
}


def folder(profile: str, paper: str) -> Path:
    """Where a notebook's results go: RESULTS/<paper> when it is rendered, else .build/."""
    home = Path(os.environ.get("RESULTS") or code.ROOT / ".build" / profile) / paper
    home.mkdir(parents=True, exist_ok=True)
    return home


def results(paper: str, artefact: str, profile: str, p: dict, replicates: int) -> pd.DataFrame:
    """One row a (system, replicate) of an artefact, one column a score; trains what is missing."""
    module = importlib.import_module(f"wsaed.papers.{paper}")
    names = module.artefacts(profile)[artefact]
    kept = folder(profile, paper) / "records.json" if profile.startswith("evidence") else None
    return frame(runs.collect(paper, names, p, replicates, kept))


def recorded(home: Path, paper: str) -> pd.DataFrame:
    """The records in a folder of results as `results` gives them; empty where there are none."""
    return frame(runs.read_records(home / paper / "records.json"))


def committed(paper: str, results_name: str = "evidence") -> pd.DataFrame:
    """The `recorded` results of a folder of results/; attrs["home"] is the folder."""
    home = code.ROOT / "results" / results_name
    df = recorded(home, paper)
    df.attrs["home"] = home
    return df


def frame(records: dict) -> pd.DataFrame:
    """{(system, replicate): record} as a frame of scores; attrs["bank"] names a bank, if any."""
    scores = {key: record["scores"] for key, record in records.items()}
    df = pd.DataFrame.from_dict(scores, orient="index")
    keys = [*zip(*scores, strict=True)] or [(), ()]
    df.index = pd.MultiIndex.from_arrays(keys, names=["system", "replicate"])
    df = df.sort_index()
    specs = [record.get("spec", {}) for record in records.values()]
    banks = (spec.get("corpus", {}).get("bank") for spec in specs)
    df.attrs["bank"] = next(filter(None, banks), None)
    df.attrs["corpus"] = next((spec["corpus"] for spec in specs if "corpus" in spec), {})
    return df


def mean_interval(values: np.ndarray, resampled: np.ndarray | None = None) -> str:
    """ "0.412 [0.398, 0.425]": the mean and its two-level interval; one replicate has none."""
    values = np.asarray(values, float)
    if len(values) < 2:
        return f"{values.mean():.3f}"
    low, high = verdicts.two_level_interval(values, resampled)
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def score(df: pd.DataFrame, system: str, metric: str) -> str:
    """`mean_interval` of a system's metric; "" where these results do not have it."""
    column = df.loc[system].get(metric)
    if column is None or column.isna().any():
        return ""
    clips = df.loc[system].get(f"{metric}_resampled")
    known = clips is not None and clips.notna().all()
    return mean_interval(column, np.stack(clips).astype(float) if known else None)


def runs_of(spec: dict) -> dict[str, dict]:
    """Every run that a spec stands for, its teachers' included, each once."""
    found = {json.dumps(spec, sort_keys=True): spec}
    for teacher in spec.get("teachers", []):
        found |= runs_of(teacher)
    return found


def epochs(spec: dict) -> int:
    """Passes over the training clips that a system costs, its teachers' included."""
    return sum(run.get("budget", {}).get("epochs", 0) for run in runs_of(spec).values())


def clip_passes(spec: dict) -> int:
    """Clips that a run's training reads, its teachers' not; 0 where it takes a corpus whole."""
    budget, corpus = spec["budget"], spec["corpus"]
    if "steps" in budget:
        return budget["steps"] * budget["batch_size"]
    if "train" in corpus:
        return budget["epochs"] * corpus["train"]
    if spec.get("method") == "conditional":
        return budget["epochs"] * sum(corpus[split] for split in conditional.TRAINING)
    if "data" in spec:  # the domain loss hears as many clips of the target
        return budget["epochs"] * corpus[spec["data"]] * (2 if spec["ad"] else 1)
    counts = {split: corpus[split] for split in detection.SHARES}
    if not all(counts.values()):
        return 0
    return budget["epochs"] * sum(map(len, detection.mixed(counts, budget["batch_size"], 0, 0)))


def costs(paper: str, artefact: str) -> pd.DataFrame:
    """What an artefact trains in each profile; runs and clip passes count every replicate.

    Runs that another artefact has trained already cost nothing again. A profile that takes a
    whole corpus has no number of passes here.
    """
    module, rows = importlib.import_module(f"wsaed.papers.{paper}"), []
    for path in sorted((code.ROOT / "params").glob(f"*/{paper}.yaml")):
        profile = path.parent.name
        p, wanted = runs.parameters(profile, paper), module.artefacts(profile)[artefact]
        specs = {name: spec for name, spec in module.systems(p).items() if name in wanted}
        every = {
            (key, run.get("replicate", r)): clip_passes(run)
            for name, spec in specs.items()
            for key, run in runs_of(spec).items()
            for r in range(module.replicates(name, p, p["replicates"]))
            if "budget" in run
        }
        known = all(every.values())  # a run that takes a corpus whole counts 0
        thousands = round(sum(every.values()) / 1000, 1) if known and every else ""
        rows.append((profile, len(specs), p["replicates"], len(every), thousands))
    heads = ["profile", "systems", "replicates", "runs", "thousand clip passes"]
    return pd.DataFrame(rows, columns=heads).sort_values("runs", ignore_index=True)


def save_table(df, name: str, *, paper: str, profile: str, caption: str, about: str = ""):
    """Write a table as .csv and .md beside the other results, and give it back for display.

    about: what its columns are, before the ``caption`` that it shares with others.
    """
    home, below = folder(profile, paper), f"{about} {caption}".strip()
    df.to_csv(home / f"{name}.csv", index=False, float_format="%.6g")
    (home / f"{name}.md").write_text(f"{markdown(df)}\n\n{below}\n", encoding="utf-8")
    return df


def markdown(df: pd.DataFrame) -> str:
    """A frame as a Markdown table, numbers to three digits."""

    def cell(v):
        return "" if v is None or v != v else f"{v:.3f}" if isinstance(v, float) else str(v)

    rows = [list(df.columns), ["---"] * len(df.columns), *df.to_numpy(object).tolist()]
    return "\n".join("| " + " | ".join(cell(v).replace("|", "\\|") for v in r) + " |" for r in rows)


def style() -> None:
    """The house style of every figure and table; call it once at a notebook's start."""
    pd.set_option("display.max_colwidth", None)
    sns.set_theme("notebook", "whitegrid", "colorblind")
    mpl.rcParams.update(
        {
            "figure.dpi": 110,
            "savefig.bbox": "tight",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": "medium",
            "svg.hashsalt": "wsaed",
            "legend.frameon": False,
        }
    )


def save_figure(fig, name: str, *, paper: str, profile: str) -> None:
    """Write a figure as .png and .svg, without any date."""
    home = folder(profile, paper)
    fig.savefig(home / f"{name}.png", dpi=160, metadata={"Software": None})
    fig.savefig(home / f"{name}.svg", metadata={"Date": None, "Creator": None})


def dots(
    ax, positions, columns: list[np.ndarray], label=None, color=None, fmt="o-", horizontal=False
) -> None:
    """Each system's replicates as dots, its mean and 95 % interval over replicates as a bar."""
    color = color or sns.color_palette()[0]
    means = np.array([np.mean(c) for c in columns])
    spans = [verdicts.two_level_interval(np.asarray(c, float), None) for c in columns]
    errors = {"xerr" if horizontal else "yerr": np.abs(np.array(spans).T - means)}
    turn = -1 if horizontal else 1
    for x, column in zip(positions, columns, strict=True):
        pair = (np.full(len(column), x), column)[::turn]
        ax.plot(*pair, "o", color=color, alpha=0.3, ms=4, zorder=2)
    style = dict(fmt=fmt, color=color, label=label, ms=6, capsize=3, zorder=3)
    ax.errorbar(*(positions, means)[::turn], **errors, **style)


def claims(paper: str, df: pd.DataFrame, only=None, profile=None) -> list[verdicts.Claim]:
    """A paper's claims with their verdicts from a frame of results.

    only: the names to give back. ``profile``, if given, takes all systems' results from the
    profile's records where they hold those of ``df``. The other papers' come from the same
    folder, since the correction goes over all claims.
    """
    home = folder(profile, paper).parent if profile else df.attrs.get("home")
    frames = {name: recorded(home, name) for name in TITLES} if home else {}
    kept = frames.get(paper, df)
    if len(kept) and df.index.isin(kept.index).all():
        mine = df.select_dtypes("float")
        df = kept if kept.reindex(index=df.index, columns=mine.columns).equals(mine) else df
    found = judged(frames | {paper: df})[paper]
    return [claim for claim in found if only is None or claim.name in only]


def judged(frames: dict[str, pd.DataFrame]) -> dict[str, list[verdicts.Claim]]:
    """Every paper's claims with their verdicts, corrected together, from its frame of results."""
    found, failed = {}, {}
    for paper, df in frames.items():
        module = importlib.import_module(f"wsaed.papers.{paper}_claims")
        found[paper] = module.claims(df)
        failed |= module.preconditions(df)[1]
    decided = iter(verdicts.decide(list(itertools.chain(*found.values())), failed))
    return {paper: [next(decided) for _ in claims] for paper, claims in found.items()}


def not_run(paper: str, df: pd.DataFrame, results_name: str, artefact: str = "") -> list[str]:
    """The systems of a profile's artefacts, or of one, that a frame of `recorded` results lacks."""
    module = importlib.import_module(f"wsaed.papers.{paper}")
    wanted = module.artefacts(results_name)
    names = wanted.get(artefact, []) if artefact else itertools.chain(*wanted.values())
    return sorted(set(names) - set(df.index.get_level_values("system")))


def reading(found: list[verdicts.Claim]) -> str:
    """How to read `claims_table`: what an outcome is, and which interval the brackets hold."""
    narrow = [c.name for c in found if any(part.rule in NARROW for part in c.parts)]
    text = "A link's outcome is before any correction, a verdict after all of them. In brackets: "
    text += "the 95 % bootstrap interval"
    if narrow:
        text += "; where a link says no change or no worse, the 90 % interval of its rule "
        text += f"({', '.join(narrow)})"
    if any(part.rule == "sign" for c in found for part in c.parts):
        text += "; where classes are counted, the exact one of the sign test"
    return f"{text}."


def beside_table(found: list[verdicts.Claim]) -> pd.DataFrame:
    """What stands beside the claims and decides nothing: tuned thresholds, metrics, controls.

    An interval is of 90 % by the rules of no change and of no loss, else of 95 %.
    """
    rows = [
        (c.name, p.name, p.estimate, p.low, p.high, _level(p), p.replicates)
        for c in found
        for p in c.tuned + c.beside
        if p not in c.parts
    ]
    heads = ["id", "beside it", "estimate", "low", "high", "interval, %", "replicates"]
    return pd.DataFrame(rows, columns=heads).round(4)


def _level(part: verdicts.Part):
    """Of a part's interval, in percent; "" where it has none."""
    return "" if np.isnan(part.low) else 90 if part.rule in NARROW else 95


def longer_table(paper: str, df: pd.DataFrame) -> pd.DataFrame:
    """A row a system that was trained three times as long, too: its scores as it is, and then.

    Both are of the replicates of the longer one; empty where there is none.
    """
    module, rows = importlib.import_module(f"wsaed.papers.{paper}_claims"), []
    for longer in (s for s in df.index.unique("system") if s.startswith("longer_")):
        system = longer.removeprefix("longer_")
        both, row = comparisons.shared(df, [system, longer]), {"system": system}
        for column, head in module.SHOWN.items():
            row[head] = score(both, system, column)
            row[f"{head}, longer"] = score(both, longer, column)
        rows.append(row | {"replicates": len(both.loc[longer])})
    return pd.DataFrame(rows)


def setting(profile: str, p: dict, replicates: int) -> str:
    """The sentence under every table: corpus, sizes, replicates, and what may be compared."""
    splits = [s for s in SPLITS if f"{s}_clips" in p and s != "references"]  # counted a class
    sizes = [f"{p[f'{s}_clips'] or 'all'} {s}" for s in splits]
    bank = os.environ.get("BANK")
    own = draws(p["corpus"] == "soundscapes", bank, "train_clips" in p)
    once = f" {ONE_TEACHER}" if "members" in p and not bank else ""
    return (
        f"Profile {profile}: {p['corpus']} with {', '.join(sizes)} clips; "
        f"replicates: {replicates}, {'each ' * (replicates > 1)}with {own}.{once} "
        "Absolute values compare with the paper's only on the paper's corpus."
    )


ONE_TEACHER = "The teacher's networks are trained once, for all replicates."


def draws(made: bool, bank, noisy: bool) -> str:
    """What a replicate has of its own, as a report says it.

    made: whether the corpus is drawn; bank: of recordings, whose folds take turns; noisy: whether
    its labels have faults.
    """
    corpus = "scenes from another test fold (training folds overlap)" if bank else "corpus"
    own = [corpus] * made + ["label noise"] * (made and noisy)
    return f"its own {', '.join([*own, 'initialisation'])} and order"


def verdict_line(found: list[verdicts.Claim]) -> str:
    """One sentence a claim: what it says and the verdict, with its reason."""
    return "\n".join(
        f"{c.name}, {c.text}: {answer(c)}" + (f" ({c.note})" if c.note else "") + "." for c in found
    )


def answer(claim: verdicts.Claim) -> str:
    """A claim's verdict; where the paper only asks, yes, no or open with it."""
    said = {"holds": "yes", "contradicted": "no", "undecided": "open"}.get(claim.verdict)
    return f"{said} ({claim.verdict})" if said and claim.text.endswith("?") else claim.verdict


def preconditions(paper: str, df: pd.DataFrame) -> pd.DataFrame:
    """What a paper's baseline must show before its claims are judged, and whether it does."""
    return importlib.import_module(f"wsaed.papers.{paper}_claims").preconditions(df)[0]


def conclusion(paper: str) -> str:
    """What the committed evidence says of a paper: a line a precondition, a line a claim.

    Behind a claim stand its remarks; those that most claims share stand once, before them.
    """
    evidence = committed(paper)
    if evidence.empty:
        return "No evidence records are committed yet, so there is nothing to conclude."
    asked = [
        f"{row.precondition}: {row.measured:.2f}"
        + (f", needed {row.needed}: {'met' if row.met else 'not met'}" if row.needed else "")
        for row in preconditions(paper, evidence).itertuples()
    ]
    judged = claims(paper, evidence)
    every = dict.fromkeys(remark for c in judged for remark in c.remarks)
    without = {remark: [c.name for c in judged if remark not in c.remarks] for remark in every}
    shared = {
        r: f" but {', '.join(but)}" * bool(but)
        for r, but in without.items()
        if 4 * len(but) < len(judged)
    }
    said = [
        f"{c.name:4} {answer(c):18} {c.text}"
        + "".join(f" ({remark})" for remark in c.remarks if remark not in shared)
        for c in judged
    ]
    most = (f"of all claims{but}: {remark}" for remark, but in shared.items())
    return "\n".join([*asked, *most, *said])


def legend(paper: str) -> str:
    """How to read the systems' names in a paper's claims."""
    return importlib.import_module(f"wsaed.papers.{paper}_claims").SYSTEMS


def claims_table(found: list[verdicts.Claim]) -> pd.DataFrame:
    """One row a claim: verdict, every tested link with its interval and outcome, remarks."""
    rows = []
    for c in found:
        links = "; ".join(f"{p.name}: {_shown(p)}" for p in c.parts)
        n = min((p.replicates for p in c.parts), default=0)
        rows.append((c.name, c.place, c.text, answer(c), links, n, c.note))
    heads = ["id", "place", "claim", "verdict", "what was measured", "replicates", "note"]
    return pd.DataFrame(rows, columns=heads)


def _shown(part: verdicts.Part) -> str:
    """An estimate, its interval where it has one, and the outcome where replicates allow one."""
    text = f"{part.estimate:+.4f}"
    if np.isfinite(part.low):
        text += f" [{part.low:+.4f}, {part.high:+.4f}]"
    return f"{text} {part.outcome}" if part.replicates >= verdicts.MINIMUM else text
