"""What SeCoST's figure notebooks share: two curves over one axis, and scores over time.

Notebooks: secost/figure_2.ipynb, figure_3.ipynb, localization.ipynb.
"""

from typing import NamedTuple

import numpy as np

from wsaed import corpora, nets, report, runs, scoring
from wsaed.features import FRONT_ENDS
from wsaed.methods import secost as method
from wsaed.papers.comparisons import shared
from wsaed.papers.secost import TABLE_2
from wsaed.papers.secost_claims import values


def gains(df, systems: list[str], against: str = "base") -> list[np.ndarray]:
    """Relative change of mAP over ``against`` in percent, replicate by replicate, a system each."""
    pairs = [shared(df, [system, against]) for system in systems]
    return [
        100 * (values(both, system) / values(both, against) - 1)
        for both, system in zip(pairs, systems, strict=True)
    ]


def panel(axes, df, systems: list[str], x, published, label="measured", color=None) -> None:
    """A figure's curve twice: mAP on axes[0], its gain over the base in percent on axes[1].

    published: the paper's mAP at each x, None where the text states none; drawn hollow, as a gain
    over the paper's own base on axes[1], since corpora differ in what an mAP is worth.
    """
    columns = [values(df, s) for s in systems]
    few = [k for k, column in enumerate(columns) if len(column) < max(map(len, columns))]
    joined = [k for k in range(len(columns)) if k not in few]
    report.dots(axes[0], [x[k] for k in joined], [columns[k] for k in joined], label, color)
    for k in few:  # of other replicates than its neighbours: nothing to join
        axes[0].plot(x[k], columns[k].mean(), "o", color=color or "C0", mfc="white", ms=8)
    report.dots(axes[1], x, gains(df, systems), label, color)
    known = [
        (a, 100 * (b / TABLE_2["base"][0] - 1)) for a, b in zip(x, published, strict=True) if b
    ]
    style = dict(color="0.25", mfc="white", ms=8, ls=":", zorder=4)
    axes[1].plot(*zip(*known, strict=True), "D", **style, label="paper (AudioSet)")
    axes[1].axhline(0, color="0.3", lw=1)
    axes[0].set_ylabel("mAP, noisy labels")
    axes[1].set_ylabel("gain over the base in %")


class Localized(NamedTuple):
    """One label of one clip: scores a frame, whether it sounds, and how well the two agree."""

    clip: int
    label: str
    model: np.ndarray
    energy: np.ndarray
    active: np.ndarray
    auc: float
    energy_auc: float


def localized(spec: dict, replicate: int, clips: int):
    """(corpus, frame times in s, a list of `Localized`) for the first test clips of a system.

    The weights are the finished run's; it is trained where they are missing. Labels that sound
    during less than 5 % or more than 95 % of their clip are left out, as in claim A11.
    """
    runs.train([(spec, replicate)])
    corpus, front_end = corpora.load(spec["corpus"], replicate), FRONT_ENDS[spec["front_end"]]
    net = nets.trained(spec, len(corpus.labels), runs.folder(spec, replicate))
    features, clips = corpus["test"].features(front_end), range(min(clips, len(corpus["test"])))
    times = (np.arange(front_end.frames) + 0.5) / front_end.frames_per_second
    found = []
    for one in method.frame_scores(net, corpus, features, front_end, clips):
        aucs = [scoring.localization_auc([v], [one.active])[0] for v in (one.model, one.energy)]
        found.append(Localized(*one, *aucs))
    return corpus, times, [one for one in found if np.isfinite(one.auc)]
