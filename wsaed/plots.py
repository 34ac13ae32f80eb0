"""What the papers' figures share: replicates as dots, the paper's values as diamonds, panels.

And a network, drawn from the live one, and what goes between several. Notebooks: every method's.
"""

from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.ticker import MaxNLocator
from torch import nn

from wsaed import nets, report
from wsaed.claims import rules


def dots(ax, positions, columns, label=None, color=None, fmt="o-", horizontal=False) -> None:
    """Each system's replicates as faint dots, its mean and 95 % interval over them as a bar.

    columns: an array (replicates,) for each of ``positions``.
    """
    color = color or sns.color_palette()[0]
    means = np.array([np.mean(c) for c in columns])
    spans = [rules.two_level_interval(np.asarray(c, float), None) for c in columns]
    errors = {"xerr" if horizontal else "yerr": np.abs(np.array(spans).T - means)}
    turn = -1 if horizontal else 1
    for x, column in zip(positions, columns, strict=True):
        pair = (np.full(len(column), x), column)[::turn]
        ax.plot(*pair, "o", color=color, alpha=0.3, ms=4, zorder=2)
    style = dict(fmt=fmt, color=color, label=label, ms=6, capsize=3, zorder=3)
    ax.errorbar(*(positions, means)[::turn], **errors, **style)


def diamonds(ax, x, y, halves=None, label="paper", **style) -> None:
    """The paper's values, hollow; ``halves``: half lengths of bars to both sides."""
    style = dict(fmt="D", color="0.25", mfc="none", ms=8, lw=1, label=label) | style
    ax.errorbar(list(x), list(y), xerr=halves, **style)


def changes(df, rows, column: str, against: str, relative: bool = False) -> list[np.ndarray]:
    """Each row's score less that of ``against`` in the same replicate: points, or relative in %."""
    pairs = (report.paired(df, row, against, column) for row in rows)
    return [100 * (score - base) / (base if relative else 1) for score, base in pairs]


def panels(
    axes, df, rows, columns, printed=None, against=None, relative=False, shift=0.0, change=None
):
    """A panel for each of ``columns`` (column -> title), ``rows`` (row -> name) from the top.

    printed: column -> {row: the paper's value}; against: the row whose score in the same replicate
    is taken off, from the paper's values too: in points, F1 times 100, or in percent if relative.
    change: what gives the paper's (points, half of their interval) of (row, against, column).
    """
    y = np.arange(len(rows))
    for ax, (column, title) in zip(axes, columns.items(), strict=True):
        known = {r: (v,) for r, v in (printed or {}).get(column, {}).items() if r in rows}
        if change:
            known = {r: change(r, against, column) for r in known if r != against}
        elif against:
            (base,) = known.get(against, (None,))
            one = base if relative else 1
            known = {r: (100 * (v - base) / one,) for r, (v,) in known.items()}
        if against:
            found = changes(df, rows, column, against, relative)
            ax.axvline(0, color="0.3", lw=1)
        else:
            found = [report.values(df, row, column) for row in rows]
        dots(ax, y - shift, found, "measured", fmt="o", horizontal=True)
        if known:
            x, *halves = zip(*known.values(), strict=True)
            diamonds(ax, x, [list(rows).index(r) + shift for r in known], *halves)
        ax.set_xlabel(fill(title, 20))
    names = [fill(name, 34) for name in rows.values()]
    axes[0].set_yticks(y, names)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    lines = len(rows) * max(name.count("\n") + 1 for name in names)  # each has room for the longest
    figure = axes[0].figure
    figure.set_figheight(max(figure.get_figheight(), 2 + 0.19 * lines))


def curves(axes, df, rows: dict[str, str], score: str = "event F1") -> None:
    """How systems (``rows``: system -> name) learned: validation an epoch, slopes on a trunk.

    The first of ``axes``: each system's validation score, replicates faint, their mean over them,
    and a dot where each was best, whose weights are scored. Every further one, in the order of
    ``rows``: the norm of the gradient of each of a system's loss terms, the mean over replicates.
    What is left of ``axes`` is removed.
    """
    rows = {row: fill(name, 34) for row, name in rows.items()}
    for k, (row, name) in enumerate(rows.items()):
        found = np.array([c["validation"] for c in df.loc[row, "curves"]])
        epochs = np.arange(1, found.shape[1] + 1)
        axes[0].plot(epochs, found.T, color=f"C{k}", alpha=0.15, lw=0.8)
        axes[0].plot(epochs, found.mean(0), color=f"C{k}", label=name)
        axes[0].plot(df.loc[row, "best_epoch"], found.max(1), "o", color=f"C{k}", ms=4)
    axes[0].set(ylabel=f"{score} on validation")
    above = dict(loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=9)
    axes[0].legend(**above)
    for ax, (row, name) in zip(axes[1:], rows.items(), strict=False):
        every = list(df.loc[row, "curves"])
        ax.set_prop_cycle(color=sns.color_palette("Dark2"))  # of terms, where systems have others
        for term in (term for term in every[0] if term.endswith("'")):
            slopes = np.mean([c[term] for c in every], axis=0)
            if slopes.any():  # a teacher's own terms do not move a student's trunk
                seen = np.where(slopes > 0, slopes, np.nan)  # no clip of that kind in the batch
                ax.plot(np.arange(1, len(slopes) + 1), seen, label=term.removesuffix("'"))
        ax.set(ylabel="norm of the gradient", yscale="log")
        ax.legend(title=name, ncols=2, **above)
    for ax in axes[: 1 + len(rows)]:
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in axes[1 + len(rows) :]:
        ax.remove()


def architecture(ax, net: nn.Module, x, trunk: dict | None = None, *branches: dict) -> None:
    """A network from the live one: a box a block, with what comes out of it and its parameters.

    x: log-mel (clips, frames, mels), or a tuple of all that the net takes, sent through it once.
    trunk: name -> a module or several in a row, by default the net's children; each of
    ``branches`` begins where it ends. What comes out is channels × steps × mel bins, as far as
    there are such; the more steps, the darker. What the net does not call has no size: white.
    """
    x, trained = x if isinstance(x, tuple) else (x,), net.training
    sizes, hooks, boxes = {"log-mel": (1, *x[0].shape[1:])}, [], []
    trunk = {"log-mel": ()} | (trunk or dict(net.named_children()))

    def see(name, y):
        y = y[0] if isinstance(y, tuple) else y
        sizes[name] = [y.shape[k] for k in ((1,), (2, 1), (1, 2, 3))[y.ndim - 2]]

    for row, chain in enumerate([trunk, *branches]):
        y = (len(branches) + 1) / 2 - row if row else 0
        for k, (name, part) in enumerate(chain.items(), len(trunk) if row else 0):
            several = isinstance(part, nn.Sequential | tuple | list)
            parts = nn.ModuleList(part if several else [part])
            boxes.append((name, k, y, 0 if k == len(trunk) else y, nets.parameter_count(parts)))
            for last in parts[-1:]:
                hooks.append(last.register_forward_hook(lambda *a, name=name: see(name, a[-1])))
    with torch.inference_mode():
        net.eval()(*x)
    net.train(trained)
    for hook in hooks:
        hook.remove()
    for name, k, y, came, count in boxes:
        size = sizes.get(name, (0,))
        steps = np.log([*size, 1][1]) / np.log(x[0].shape[1])
        said = name, "×".join(map(str, size)) if any(size) else "", f"{count:,}" if count else ""
        color = plt.cm.Blues(0.1 + 0.4 * steps) if any(size) else "w"
        box = dict(boxstyle="square,pad=0.3", fc=color, ec="0.6")
        ax.text(k, y, "\n".join(filter(None, said)), ha="center", va="center", fontsize=9, bbox=box)
        if k:
            line = dict(arrowstyle="-", color="0.4", lw=1, shrinkA=0, shrinkB=0)
            ax.annotate("", (k, y), (k - 1, came), arrowprops=line, zorder=1)  # boxes hide its ends
    ax.set(xlim=(-0.5, max(k for _, k, *_ in boxes) + 0.5), ylim=(-1, 1))
    ax.axis("off")


def flow(ax, boxes: dict[str, tuple], arrows: list[tuple[str, str, str]]) -> None:
    """What goes from where to where: ``boxes`` (name -> place), ``arrows`` (from, to, what)."""
    style = dict(ha="center", va="center", fontsize=10)
    box = dict(boxstyle="square,pad=0.6", fc=plt.cm.Blues(0.15), ec="0.6")
    drawn = {k: ax.text(*at, k, bbox=box, **style).get_bbox_patch() for k, at in boxes.items()}
    for start, end, what in arrows:
        bend = 0.25 * any((end, start) == (a, b) for a, b, _ in arrows)  # there and back
        line = dict(arrowstyle="-|>", color="0.3", connectionstyle=f"arc3,rad={bend}")
        line |= dict(patchA=drawn[start], patchB=drawn[end])
        a, b = np.array(boxes[start], float), np.array(boxes[end], float)
        ax.annotate("", b, a, arrowprops=line)
        control = (a + b) / 2 + bend * np.array([b[1] - a[1], a[0] - b[0]])
        at = 0.36 * a + 0.48 * control + 0.16 * b  # the curve, nearer to where it starts
        ax.text(*at, what, bbox=dict(fc="w", ec="none", pad=1), **style)
    x, y = np.transpose([*boxes.values()])
    ax.set(xlim=(x.min() - 0.5, x.max() + 0.5), ylim=(y.min() - 0.3, y.max() + 0.3), aspect="equal")
    ax.axis("off")
