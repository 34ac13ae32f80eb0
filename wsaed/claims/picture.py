"""The claims as a picture: what those with a verdict came to.

Notebook: claims.ipynb.
"""

from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

from wsaed.claims.rules import VERDICTS, Claim, decisive

STYLES = dict(zip(VERDICTS.values(), (("C2", "o"), ("C3", "X"), ("C7", "D")), strict=True))
TICKS = (-0.5, -0.1, -0.02, 0, 0.02, 0.1, 0.5)


def decided(found: dict[str, list[Claim]]) -> dict[str, list[Claim]]:
    """Those of the claims that have a verdict, without the titles that have none."""
    kept = {title: [c for c in mine if c.verdict in STYLES] for title, mine in found.items()}
    return {title: mine for title, mine in kept.items() if mine}


def effects(found: dict[str, list[Claim]]):
    """What the claims with a verdict came to: a panel a paper (title -> its claims), a row a claim.

    Drawn is the comparison that decides, with its interval, whose numbers stand at the right. The
    axis is linear up to the margins of the rules, then logarithmic: shares and correlations are
    ten times as large as differences of a score.
    """
    drawn = decided(found) or {"no claim has a verdict yet": []}
    heights = [len(mine) + 1 for mine in drawn.values()]
    shape = dict(figsize=(10, 1 + 0.56 * sum(heights)), height_ratios=heights)
    fig, axes = plt.subplots(len(heights), 1, squeeze=False, layout="constrained", **shape)
    for ax, (title, mine) in zip(axes[:, 0], drawn.items(), strict=True):
        parts, rows = [decisive(c) for c in mine], range(len(mine))
        for y, c, part in zip(rows, mine, parts, strict=True):
            color, marker = STYLES[c.verdict]
            halves = np.abs([[part.low - part.estimate], [part.high - part.estimate]])
            ax.errorbar(part.estimate, y, xerr=halves, color=color, fmt=marker, ms=8, capsize=3)
        ax.axvline(0, color="0.3", lw=1)
        ax.set_xscale("symlog", linthresh=0.02)
        ax.set_xlim(-1, 1)
        ax.set_xticks(TICKS, [f"{x:+g}" if x else "0" for x in TICKS])
        ax.set_title(title, loc="left", weight="bold")
        ax.set_yticks(rows, [fill(f"{c.name}  {c.text}", 48) for c in mine])
        ax.set_ylim(max(len(mine), 1) - 0.5, -0.5)
        numbers = ax.secondary_yaxis("right")
        numbers.set_yticks(rows, [part.size() for part in parts])
        numbers.tick_params(length=0)
    signs = [Line2D([], [], color=c, marker=m, ls="", ms=8) for c, m in STYLES.values()]
    fig.legend(signs, STYLES, loc="outside upper right", ncols=len(STYLES))
    ax.set_xlabel("← against the claim    effect    for it →\n(where it says no change: near 0)")
    return fig
