"""The claims as pictures: a paper's with their intervals, and those of all papers at a glance.

Notebook: claims.ipynb.
"""

import importlib

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from wsaed.papers.comparisons import AFTER, FLIPS, TUNED_ALONE
from wsaed.verdicts import DECIDED, UNTESTABLE, Claim

TURNS = "* longer training or another difficulty says otherwise"
SIGNS = dict(zip((*DECIDED, UNTESTABLE), "✓✗?–", strict=True))


def of_paper(paper: str, found: dict[str, list[Claim]]):
    """All claims of a paper at a glance: a row a claim, a tile a set of results, the intervals.

    found: name of a set of results -> its judged claims, the same ones in each. A row is as high
    as its links need. The axis is linear within the paper's margin and logarithmic beyond, since
    the units differ.
    """
    module = importlib.import_module(f"wsaed.papers.{paper}_claims")
    names = list(found)
    first = found[names[0]]
    links = [max(len(c.parts) for c in row) for row in zip(*found.values(), strict=True)]
    heights = np.maximum(1.0, 0.2 * len(names) * np.array(links))
    rows = np.cumsum(heights) - heights / 2
    fig, axes = plt.subplots(
        *(1, 2),
        figsize=(13, 1.2 + 0.5 * heights.sum()),
        sharey=True,
        width_ratios=[len(names), 8],
        layout="constrained",
    )
    beside = axes[1].get_yaxis_transform()
    for column, judged in enumerate(found.values()):
        for row, height, c in zip(rows, heights, judged, strict=True):
            sign, tile = _look(c.verdict)
            sign += "*" * (column == 0 and turns(c))
            axes[0].scatter(column, row, 420, color=tile, marker="s")
            axes[0].text(column, row, sign, ha="center", va="center", color="white", weight="bold")
            shift = (height - 0.4) * (np.linspace(0, 1, len(c.parts) * len(names) + 2)[1:-1] - 0.5)
            places = row + shift.reshape(-1, len(names))  # (links, sets)
            for part, y in zip(c.parts, places[:, column], strict=True):
                color = _look(part.outcome)[1] if c.verdict in DECIDED else tile
                axes[1].plot([part.low, part.high], [y, y], color=color, lw=2)
                marker = "s" if part.rule == "E" else "o"
                fill = color if column == 0 else "white"
                axes[1].plot(part.estimate, y, marker, color=color, mfc=fill, ms=6)
            if column == 0 and len(c.parts) > 2:
                style = dict(transform=beside, va="center", size=8, color="0.3")
                for part, y in zip(c.parts, places.mean(1), strict=True):
                    axes[1].text(1.01, y, part.name, **style)
    axes[0].set_yticks(rows, [f"{c.name}  {c.text}" for c in first])
    axes[0].set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes[0].set(xlim=(-0.6, len(names) - 0.4), ylim=(heights.sum() + 0.1, -0.1))
    axes[1].axvline(0, color="0.3", lw=1)
    axes[1].axvspan(-module.MARGIN, module.MARGIN, color="0.93", zorder=0)
    axes[1].set_xscale("symlog", linthresh=module.MARGIN)
    axes[1].set_xlabel(f"estimate with its interval ({module.UNITS})")
    return fig


def overview(judged: dict[str, dict[str, list[Claim]]], sets: list[str], titles: dict[str, str]):
    """Every claim of every paper in one picture: a row a paper, a tile a claim.

    judged: paper -> set of results -> its judged claims; sets: their names, the one that decides
    first. Its verdicts are the large tiles, the small ones below are the other's. A set without
    records leaves a gap.
    """
    most = max(len(claims) for found in judged.values() for claims in found.values())
    fig, ax = plt.subplots(figsize=(4 + 0.6 * most, 1 + 1.1 * len(judged)), layout="constrained")
    for row, found in enumerate(judged.values()):
        for place, name in enumerate(sets):
            y, area, size = (
                (row - 0.08, 600, 14) if place == 0 else (row + 0.06 + 0.2 * place, 130, 8)
            )
            for column, c in enumerate(found.get(name, [])):
                sign, color = _look(c.verdict)
                ax.scatter(column, y, area, color=color, marker="s")
                style = dict(ha="center", va="center", color="white", weight="bold")
                ax.text(column, y, sign + "*" * (place == 0 and turns(c)), size=size, **style)
                if place == 0:
                    ax.text(column, row - 0.42, c.name, ha="center", size=9)
    ax.set_yticks(range(len(judged)), [titles[paper].split(":")[0] for paper in judged])
    for verdict, sign in SIGNS.items():
        ax.scatter([], [], 150, color=_look(verdict)[1], marker="s", label=f"{sign} {verdict}")
    ax.scatter([], [], 150, color="0.82", marker="s", label="· no verdict yet")
    ax.plot([], [], ls="", label=TURNS)
    fig.legend(loc="outside lower center", ncols=len(SIGNS) + 2)
    ax.set(xlim=(-0.6, most - 0.4), ylim=(len(judged) - 0.4, -0.65), xticks=[])
    ax.grid(False)
    sns.despine(ax=ax, left=True, bottom=True)
    return fig


def turns(claim: Claim) -> bool:
    """Whether a run beside a verdict, trained longer or on other clips, says otherwise at 0.5."""
    told = [r for r in claim.remarks if r.startswith((AFTER, FLIPS))]
    return claim.verdict in DECIDED and any(not r.endswith(TUNED_ALONE) for r in told)


def _look(verdict: str) -> tuple:
    """(sign, colour) of a verdict's tile; a dot in grey where there is none yet."""
    colors = dict(zip(SIGNS, [sns.color_palette()[i] for i in (2, 3, 7, 9)], strict=True))
    return SIGNS.get(verdict, "·"), colors.get(verdict, "0.82")
