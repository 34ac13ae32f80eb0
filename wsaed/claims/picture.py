"""The claims as pictures: a paper's with their intervals, and those of all papers at a glance.

Notebook: claims.ipynb.
"""

import matplotlib.pyplot as plt
import numpy as np

from wsaed.claims.claims import PAPERS
from wsaed.claims.rules import UNTESTABLE, VERDICTS, Claim

SIGNS = dict(zip((*VERDICTS.values(), UNTESTABLE), "✓✗?–", strict=True))
COLORS = dict(zip(SIGNS, ("C2", "C3", "C7", "C9"), strict=True))
GREY = "0.82"  # where there is no verdict yet


def of_paper(paper: str, found: dict[str, list[Claim]]):
    """All claims of a paper at a glance: a row a claim, a tile a set of results, the intervals.

    found: name of a set of results -> its judged claims, the same ones in each. A row is as high
    as its links need. The axis is linear within the paper's margin and logarithmic beyond, since
    the units differ.
    """
    delta, units, names = PAPERS[paper]["delta"], PAPERS[paper]["units"], list(found)
    links = [max(len(c.parts) for c in row) for row in zip(*found.values(), strict=True)]
    heights = np.maximum(1.0, 0.2 * len(names) * np.array(links))
    rows = np.cumsum(heights) - heights / 2
    shape = dict(figsize=(13, 1.2 + 0.5 * heights.sum()), width_ratios=[len(names), 8])
    fig, (tiles, axis) = plt.subplots(1, 2, sharey=True, layout="constrained", **shape)
    small = dict(transform=axis.get_yaxis_transform(), va="center", size=8, color="0.3")
    for column, judged in enumerate(found.values()):
        for row, height, c in zip(rows, heights, judged, strict=True):
            _tile(tiles, column, row, 420, c.verdict)
            shift = (height - 0.4) * (np.linspace(0, 1, len(c.parts) * len(names) + 2)[1:-1] - 0.5)
            places = row + shift.reshape(-1, len(names))  # (links, sets)
            for part, y in zip(c.parts, places, strict=True):
                said = VERDICTS[part.outcome] if c.verdict in VERDICTS.values() else c.verdict
                color, fill = COLORS.get(said, GREY), None if column == 0 else "white"
                sign = "s" if part.rule == "E" else "o"
                axis.plot([part.low, part.high], [y[column]] * 2, color=color, lw=2)
                axis.plot(part.estimate, y[column], sign, color=color, mfc=fill, ms=6)
                if column == 0 and len(c.parts) > 2:
                    axis.text(1.01, y.mean(), part.name, **small)
    tiles.set_yticks(rows, [f"{c.name}  {c.text}" for c in found[names[0]]])
    tiles.set_xticks(range(len(names)), names, rotation=30, ha="right")
    tiles.set(xlim=(-0.6, len(names) - 0.4), ylim=(heights.sum() + 0.1, -0.1))
    axis.axvline(0, color="0.3", lw=1)
    axis.axvspan(-delta, delta, color="0.93", zorder=0)
    axis.set_xscale("symlog", linthresh=delta)
    axis.set_xlabel(f"estimate with its interval ({units})")
    return fig


def overview(judged: dict[str, dict[str, list[Claim]]], sets: list[str], titles: dict[str, str]):
    """Every claim of every paper in one picture: a row a paper, a tile a claim.

    judged: paper -> set of results -> its judged claims; sets: their names, the one that decides
    first. Its verdicts are the large tiles, the small ones below are the others'. A set without
    records leaves a gap.
    """
    most = max(len(claims) for found in judged.values() for claims in found.values())
    fig, ax = plt.subplots(figsize=(4 + 0.6 * most, 1 + 1.1 * len(judged)), layout="constrained")
    for row, found in enumerate(judged.values()):
        for place, name in enumerate(sets):
            y, area, size = (-0.08, 600, 14) if place == 0 else (0.06 + 0.2 * place, 130, 8)
            for column, c in enumerate(found.get(name, [])):
                _tile(ax, column, row + y, area, c.verdict, size)
                if place == 0:
                    ax.text(column, row - 0.42, c.name, ha="center", size=9)
    ax.set_yticks(range(len(judged)), [titles[paper].split(":")[0] for paper in judged])
    for verdict, sign in (SIGNS | {"no verdict yet": "·"}).items():
        ax.plot([], [], "s", ms=12, color=COLORS.get(verdict, GREY), label=f"{sign} {verdict}")
    fig.legend(loc="outside lower center", ncols=len(SIGNS) + 1)
    ax.set(xlim=(-0.6, most - 0.4), ylim=(len(judged) - 0.4, -0.65), xticks=[], frame_on=False)
    ax.grid(False)
    return fig


def _tile(ax, x: float, y: float, area: float, verdict: str, size: float | None = None) -> None:
    ax.scatter(x, y, area, color=COLORS.get(verdict, GREY), marker="s")
    style = dict(ha="center", va="center", color="white", weight="bold", size=size)
    ax.text(x, y, SIGNS.get(verdict, "·"), **style)
