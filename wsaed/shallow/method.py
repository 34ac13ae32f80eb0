"""The shallow student's training: a teacher's soft labels, let in by difficulty, under a mask.

Sections 3 and 4 of the paper, whose equation 1 is the net's (`wsaed.shallow.net`). Targets and
outputs are y_w, s_w (clips, classes) of the clips and Y_s, s_s (clips, frames, classes) of the
frames; a teacher's are t_w and t_s. Notebook: shallow_student/method.ipynb.
"""

from collections import namedtuple
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import nn

from wsaed import corpora, costs, nets, postprocess, training
from wsaed.corpora import Corpus
from wsaed.features import FRONT_ENDS
from wsaed.joint import scores
from wsaed.joint.data import STRONG, UNLABELLED, WEAK, Batch, Data, of_kind
from wsaed.shallow.augment import augmented
from wsaed.tagging import map_of, rounded

MARGIN = 0.24  # s, of the segment mask: 12 frames at the paper's 50 a second


class Choices(dict):
    """What a setting may be, by its name in the spec; ValueError in one line for another name."""

    def __missing__(self, name):
        raise ValueError(f"a student's setting must be one of {', '.join(self)}: got {name!r}")


# Equations 2 to 7


def difficulty(t: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """Equation 2: mu, the largest |t_c - s_c| of a clip; (clips, classes) -> (clips,)."""
    return (t - s).abs().amax(1)


def objective(
    batch: Batch,
    s_s: torch.Tensor,
    s_w: torch.Tensor,
    margin: int,
    *,
    pseudolabels: str = "strong+weak",
    mask: str = "event",
    denominator: str = "cells",
    lambdas=(1.0, 1.0),
) -> dict[str, torch.Tensor]:
    """Equation 3: J = J_w + J_s + J_u, term by term as they are summed to "loss".

    margin: the segment mask's, in frames. "weak_w" is J_w; "strong_w" and "strong_s" are equation
    5's two parts times lambda_1 and lambda_2; "unlabelled_w" and "unlabelled_s" the same with the
    teacher's labels. Each is the mean over the batch's clips of its kind.
    """
    y_w, Y_s = batch.clip_labels, batch.frame_labels
    M = MASKS[mask](y_w, Y_s, margin)
    found = {"weak_w": of_kind(cross_entropy, s_w, y_w, batch.kind == WEAK)}
    for name, kind in (("strong", STRONG), ("unlabelled", UNLABELLED)):
        chosen = batch.kind == kind
        masked = partial(masked_cross_entropy, M=M[chosen], denominator=denominator)
        found[f"{name}_w"] = lambdas[0] * of_kind(cross_entropy, s_w, y_w, chosen)
        if kind in FRAMES_OF[pseudolabels]:
            found[f"{name}_s"] = lambdas[1] * of_kind(masked, s_s, Y_s, chosen)
    return found | {"loss": sum(found.values())}


FRAMES_OF = Choices({"strong+weak": (STRONG, UNLABELLED), "weak": (STRONG,), "none": (STRONG,)})


def cross_entropy(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Equation 4 with its minus: -y log p - (1 - y) log(1 - p), the mean over classes and clips.

    p, y: (clips, classes); y may be soft. The logarithm is cut at -100, as torch does.
    """
    return F.binary_cross_entropy(p, y)


def masked_cross_entropy(p, y, M, denominator: str = "cells") -> torch.Tensor:
    """Equation 5's frame term: binary cross-entropy where M is 1, 0 elsewhere.

    p, y, M: (clips, frames, classes); y may be soft. The sum is divided by the number of all
    cells, or with ``denominator`` "mask" by that of M's ones (1 where it has none). The print
    masks p inside the logarithm: the same where y is 0 outside M.
    """
    return DENOMINATORS[denominator](M * F.binary_cross_entropy(p, y, reduction="none"), M)


DENOMINATORS = Choices(
    cells=lambda found, M: found.mean(), mask=lambda found, M: found.sum() / M.sum().clamp_min(1)
)


def event_mask(y_w: torch.Tensor, frames: int) -> torch.Tensor:
    """Equation 6: M is 1 at all frames of the classes that a clip holds, by a tag of 0.5 or more.

    The equation's index i runs over the classes.
    """
    return (y_w >= 0.5).float()[:, None].expand(-1, frames, -1)


def segment_mask(Y_s: torch.Tensor, margin: int) -> torch.Tensor:
    """Equation 7 as meant: every event (from 0.5 on), and ``margin`` frames before and after.

    The equation's index i runs over the frames. The print looks at three frames alone, i and
    i +- margin, which leaves holes beside an event shorter than the margin; the notebook shows
    them.
    """
    active = (Y_s >= 0.5).float().transpose(1, 2)
    return F.max_pool1d(active, 2 * margin + 1, 1, margin).transpose(1, 2)


MASKS = Choices(  # (y_w, Y_s, margin) -> M; a teacher's segments count within its tags
    none=lambda y_w, Y_s, margin: torch.ones_like(Y_s),
    event=lambda y_w, Y_s, margin: event_mask(y_w, Y_s.shape[1]),
    segment=lambda y_w, Y_s, margin: event_mask(y_w, Y_s.shape[1]) * segment_mask(Y_s, margin),
)


# The curriculum, section 5.1

SHARES = Choices(  # of the unlabelled clips, in generations 1, 2, ...; the last one stays
    easier=(0.0, 0.2, 0.4, 1.0), harder=(0.0, 0.2, 0.4, 1.0), all=(0.0, 1.0), none=(0.0,)
)


def share(curriculum: str, generation: int) -> float:
    """What part of the unlabelled clips trains in a generation, from 1 on."""
    shares = SHARES[curriculum]
    return shares[min(generation, len(shares)) - 1]


def active_pool(curriculum: str, generation: int, order, labelled, unlabelled) -> np.ndarray:
    """The rows that train in a generation, ascending: all labelled ones, and a share of the rest.

    labelled, unlabelled: arrays of rows; order: of places in ``unlabelled``, easiest first.
    "harder" takes from its end, any other from its front.
    """
    count = round(share(curriculum, generation) * len(unlabelled))
    chosen = order[len(order) - count :] if curriculum == "harder" else order[:count]
    return np.sort(np.concatenate([labelled, unlabelled[chosen]]))


# One epoch: its generation (from 1), how many clips are active, how many steps it takes
Epoch = namedtuple("Epoch", "generation clips steps")


def plan(curriculum: str, labelled: int, unlabelled: int, budget: dict) -> list[Epoch]:
    """The epochs of a run: passes over the active clips, the last one cut at budget["steps"].

    labelled, unlabelled: how many clips. An epoch's steps grow with its clips, so every
    curriculum gets as many epochs as fit into the same number of steps.
    """
    epochs, left = [], budget["steps"]
    while left > 0:
        generation = len(epochs) // budget["generation"] + 1
        clips = labelled + round(share(curriculum, generation) * unlabelled)
        steps = min(left, len(training.shuffled(clips, budget["batch_size"], 0, 0)))
        epochs.append(Epoch(generation, clips, steps))
        left -= steps
    return epochs


# Training


def teach(data: Data, teachers: list[Path], steps: int, rate: float) -> None:
    """Give ``data`` frame labels (clips, steps, classes), and its unlabelled clips the teacher's.

    The teacher's frames come to the student's rate by their nearest one. Raises ValueError where
    the teacher labelled another number of clips.
    """
    data.set_rate(steps, rate)
    data.frame_labels = data.frame_labels.half()
    if not teachers:
        return
    t_s, t_w = (np.load(teachers[0] / f"unlabelled_{part}.npy") for part in ("frames", "clips"))
    free = data.kind == UNLABELLED
    if len(t_w) != free.sum():
        raise ValueError(
            f"{teachers[0]}: pseudolabels of {len(t_w)} clips for {int(free.sum())} unlabelled "
            "ones: make the teacher's run anew"
        )
    nearest = ((np.arange(steps) + 0.5) * t_s.shape[1] / steps).astype(int)
    data.frame_labels[free] = training.on_device(t_s[:, nearest])
    data.clip_labels[free] = training.on_device(t_w).float()


def median_lengths(corpus: Corpus, rate: float) -> torch.Tensor:
    """l (classes,): the median event length in the strong clips, in frames; 0 without events."""
    durations = postprocess.durations(corpus["strong"].events, corpus.labels)
    frames = [rate * np.median(L) if len(L) else 0.0 for L in durations]
    return torch.tensor(frames, dtype=torch.float32, device=training.device())


class Memory(nn.Module):
    """What a run keeps of its rankings, as buffers, so that a checkpoint holds it.

    The order of the unlabelled clips, easiest first; a row a ranking: deciles of the difficulty,
    and what `ranking_quality` gives.
    """

    def __init__(self, rankings: int, unlabelled: int):
        super().__init__()
        self.register_buffer("order", torch.arange(unlabelled))
        self.register_buffer("deciles", torch.zeros(rankings, 11))
        self.register_buffer("quality", torch.zeros(rankings, 2))

    def rank(self, number: int, t_w: torch.Tensor, s_w: torch.Tensor, y_w=None) -> None:
        """Order the unlabelled clips by equation 2; ties by their number. y_w: true tags."""
        mu = difficulty(t_w, s_w)
        self.order.copy_(torch.argsort(mu, stable=True))
        self.deciles[number] = torch.quantile(mu, torch.linspace(0, 1, 11, device=mu.device))
        if y_w is not None:
            told = ranking_quality(*(v.cpu().numpy() for v in (t_w, s_w)), y_w)
            self.quality[number] = torch.tensor(told)

    def scores(self, known: bool) -> dict:
        """Of the record: "difficulty" a ranking and, where the truth is ``known``,
        "ranking_1_lift", "ranking_1_error" and the same of the second."""
        found = {"difficulty": [rounded(row) for row in self.deciles.cpu()]}
        for number, row in enumerate(self.quality.tolist() if known else [], 1):
            names = f"ranking_{number}_lift", f"ranking_{number}_error"
            found |= dict(zip(names, row, strict=True))
        return found


def ranking_quality(t_w: np.ndarray, s_w: np.ndarray, y_w: np.ndarray) -> tuple[float, float]:
    """(lift, error) of a ranking by equation 2, where the true tags y_w (clips, classes) are known.

    lift: mean average precision of the student's tags over the prevalence, chance's own; error:
    Spearman's correlation of the difficulty with the teacher's error, the largest |t_c - y_c|.
    """
    mu, error = (np.abs(t_w - other).max(1) for other in (s_w, y_w))
    prevalence = y_w.mean(0)
    lift = map_of(y_w, s_w) / prevalence[prevalence > 0].mean()
    return float(lift), float(spearmanr(mu, error).statistic)


def train(spec: dict, replicate: int, folder: Path, teachers: list[Path], tell) -> dict:
    """Train the student into ``folder``; kept and scored are the weights of its best epoch.

    Scores besides `wsaed.joint.scores.score`'s: those of `wsaed.training.run`, where "validation"
    is event F1; of `Memory`; "pool", the active clips an epoch; and what a clip costs.
    Raises ValueError for settings that contradict each other.
    """
    curriculum, budget = spec["curriculum"], spec["budget"]
    without = curriculum == "none", spec["pseudolabels"] == "none", not spec["teachers"]
    if len(set(without)) > 1:
        raise ValueError(
            "curriculum none, pseudolabels none and no teachers go together: got "
            f"{curriculum}, {spec['pseudolabels']} and {len(spec['teachers'])}"
        )
    corpus, front_end = corpora.load(spec["corpus"], replicate), FRONT_ENDS[spec["front_end"]]
    data = Data(corpus, spec)
    plain = nets.initialised(spec, len(corpus.labels), replicate, data.features)
    cost = costs.of_clip(plain, front_end)
    rate = plain.frames_per_second(front_end)
    teach(data, teachers, round(rate * front_end.seconds), rate)
    kind = data.kind.cpu().numpy()
    labelled, unlabelled = np.flatnonzero(kind != UNLABELLED), np.flatnonzero(kind == UNLABELLED)
    epochs = plan(curriculum, len(labelled), len(unlabelled), budget)
    # before the second and the third generation, where the run gets that far
    rankings = min(2, epochs[-1].generation - 1) if teachers else 0
    memory = Memory(rankings, len(unlabelled)).to(training.device())
    names = ("validation", "unlabelled")
    heard = {name: training.resident(corpus[name].features(front_end)) for name in names}
    truth = corpus["unlabelled"].clean_labels  # for diagnosis alone
    l, margin = median_lengths(corpus, rate), round(MARGIN * rate)  # noqa: E741
    settings = {key: spec[key] for key in ("pseudolabels", "mask", "denominator", "lambdas")}

    def validate() -> float:
        outputs = training.predict(plain, heard["validation"])
        return scores.validation_f1(corpus, *outputs, front_end.seconds)

    def batches(epoch: int) -> Iterator[Batch]:
        number, begun = divmod(epoch, budget["generation"])
        if not begun and 0 < number <= rankings:
            s_w = torch.from_numpy(training.predict(plain, heard["unlabelled"])[1])
            t_w = data.clip_labels[unlabelled]
            memory.rank(number - 1, t_w, s_w.to(training.device()), truth)
            plain.train()
        order = memory.order.cpu().numpy()
        rows = active_pool(curriculum, epochs[epoch].generation, order, labelled, unlabelled)
        pieces = training.shuffled(len(rows), budget["batch_size"], replicate, epoch)
        chosen = [rows[piece] for piece in pieces[: epochs[epoch].steps]]
        before = sum(e.steps for e in epochs[:epoch])
        return data.of(chosen, before, budget["steps"])

    def losses(net: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        x = augmented(spec["augment"], batch.x, batch.clip_labels, l, rate, plain.mean)
        with training.precision():
            outputs = net(x)
        return objective(batch, *outputs, margin, **settings)

    counted = spec | {"budget": budget | {"epochs": len(epochs)}}
    schedule = training.one_cycle if budget.get("schedule") == "one_cycle" else None
    options = dict(schedule=schedule, betas=(0.9, 0.99), beside=memory, validate=validate)
    how = (plain, losses, batches, counted, replicate, folder, tell)
    found = training.run(*how, trunk=plain.lstm, **options) | memory.scores(truth is not None)
    found["pool"] = [e.clips for e in epochs]
    nets.save(plain, folder)
    outputs, rules = scores.outputs_of(plain, corpus, front_end), ("average", "median", "none")
    return found | cost | scores.score(corpus, outputs, front_end.seconds, replicate, rules)
