"""What the systems that tag and detect learn from: batches of three kinds of clips, their labels.

Notebook: joint_at_aed/method.ipynb.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from wsaed import postprocess, training
from wsaed.corpora import Corpus, Shards
from wsaed.features import FRONT_ENDS

SHARES = {"weak": 0.25, "strong": 0.25, "unlabelled": 0.5}  # of a batch
WEAK, STRONG, UNLABELLED, UNUSED = range(4)
# What those who know the truth may do with it, for preconditions: the kind that a split becomes
ORACLES = {
    "synthetic only": {"weak": UNUSED},  # no oracle: what the clean domain gives alone
    "recorded strong": {"weak": STRONG, "strong": UNUSED},
    "all tagged": {"unlabelled": WEAK},
}


class Batch(NamedTuple):
    """One batch: what goes in, what is known of it, how far training has come.

    x: (clips, frames, mels); clip_labels: (clips, classes); frame_labels: (clips, steps, classes)
    at the student's rate; kind: (clips,), one of WEAK, STRONG, UNLABELLED, UNUSED. Labels that
    the kind does not have are 0 and mean nothing. step of steps: how far training has come.
    """

    x: torch.Tensor
    clip_labels: torch.Tensor
    frame_labels: torch.Tensor
    kind: torch.Tensor
    step: int
    steps: int

    @property
    def e(self) -> float:
        """The epoch on guided learning's scale, out of 100; the joint paper gives no number."""
        return 100 * self.step / self.steps


def mixed(counts: dict[str, int], batch_size: int, steps: int, seed: int, epoch: int):
    """An epoch's ``steps`` batches of row numbers, of each kind its share, one after another.

    Each kind goes round and round through all epochs, shuffled anew each time. Under torchrun
    each process takes its slice of every kind.
    """
    take = {kind: max(1, round(batch_size * SHARES[kind])) for kind in counts}
    rank, world = training.rank_and_world()
    columns, start = [], 0
    for number, (kind, count) in enumerate(counts.items()):
        # an endless row of permutations, of which every epoch takes its own piece
        first, wanted = epoch * steps * take[kind], steps * take[kind]
        passes = range(first // count, (first + wanted - 1) // count + 1)
        rows = [np.random.default_rng([seed, number, k]).permutation(count) for k in passes]
        rows = np.concatenate(rows)[first - passes[0] * count :][:wanted]
        columns.append(start + np.array_split(rows.reshape(steps, -1), world, axis=1)[rank])
        start += count
    return list(np.concatenate(columns, axis=1))


class Data:
    """A corpus ready for training: all training clips' features in one row, and their labels.

    features: (clips, frames, mels); kind: (clips,); clip_labels: (clips, classes); frame_labels
    as `set_rate` makes them; counts: clips a split; labels: the classes' names. spec: "front_end"
    and, if any, "oracle". Raises ValueError in one line where a split is missing or empty.
    """

    def __init__(self, corpus: Corpus, spec: dict):
        front_end, oracle = FRONT_ENDS[spec["front_end"]], ORACLES.get(spec.get("oracle"), {})
        missing = [name for name in SHARES if not len(corpus.splits.get(name, ()))]
        if missing:
            raise ValueError(f"{corpus.name} has no {missing[0]} clips: a batch needs {[*SHARES]}")
        splits = {name: corpus[name] for name in SHARES}
        self.counts = {name: len(split) for name, split in splits.items()}
        paths = [split.features(front_end).paths for split in splits.values()]
        self.features = training.resident(Shards(sum(paths, ())))
        self.labels, self.events = corpus.labels, []
        kinds, labels = [], []
        for usual, (name, split) in enumerate(splits.items()):
            kind = oracle.get(name, usual)
            events, tags = split.events, split.clip_labels
            if kind != usual:
                events, tags = split.hidden, split.clean_labels
            self.events += events if kind == STRONG else [[]] * len(split)
            labels.append(np.zeros((len(split), len(corpus.labels))) if tags is None else tags)
            kinds.append(np.full(len(split), kind))
        self.kind = training.on_device(np.concatenate(kinds))
        self.clip_labels = training.on_device(np.concatenate(labels).astype(np.float32))

    def lone_class_counts(self) -> np.ndarray:
        """(classes,) labelled clips in which a class sounds and nothing else does."""
        labelled = self.clip_labels[(self.kind == WEAK) | (self.kind == STRONG)]
        return labelled[labelled.sum(1) == 1].sum(0).cpu().numpy()

    def set_rate(self, steps: int, frames_per_second: float) -> None:
        """Make the frame labels (clips, steps, classes) at a net's rate."""
        active = postprocess.active_frames(self.events, self.labels, steps, frames_per_second)
        self.frame_labels = training.on_device(active)

    def batches(self, budget: dict, replicate: int, epoch: int) -> Iterator[Batch]:
        """The epoch's batches; budget: "batch_size", and "steps" in "epochs" of one length."""
        each = max(1, budget["steps"] // budget["epochs"])
        rows = mixed(self.counts, budget["batch_size"], each, replicate, epoch)
        return self.of(rows, epoch * len(rows), len(rows) * budget["epochs"])

    def of(self, rows: list[np.ndarray], first: int, steps: int) -> Iterator[Batch]:
        """Batches of the clips ``rows``, of which the first is step ``first`` of ``steps``."""
        for step, (x, row) in enumerate(training.rows_of(self.features, rows), first):
            labels = self.clip_labels[row], self.frame_labels[row].float()
            yield Batch(x, *labels, self.kind[row], step, steps)


def mixup(batch: Batch, a: float) -> Batch:
    """Every clip and its labels mixed with another clip of its kind, by a share from Beta(a, a).

    Zhang et al., 2018; not one of the four papers': of the recipe that came after them.
    """
    place, other = batch.kind.argsort(stable=True), torch.empty_like(batch.kind)
    other[place] = (batch.kind + torch.rand(len(batch.kind), device=batch.kind.device)).argsort()
    share = torch.distributions.Beta(a, a).sample().item()
    both = (share * one + (1 - share) * one[other] for one in batch[:3])
    return Batch(*both, *batch[3:])


def of_kind(loss: Callable, p: torch.Tensor, y: torch.Tensor, chosen: torch.Tensor):
    """``loss(p, y)`` over the chosen clips of a batch; 0 where it has none of them."""
    return loss(p[chosen], y[chosen]) if chosen.any() else p.sum() * 0


def coarser(frame_labels: torch.Tensor, steps: int) -> torch.Tensor:
    """Frame labels (clips, frames, classes) at a slower net's rate: the maximum in its window."""
    return F.adaptive_max_pool1d(frame_labels.transpose(1, 2), steps).transpose(1, 2)
