"""Two students of target sound detection that teach each other: f_student and w_student.

f_student learns from frame labels, w_student from clip labels (section 4 of the paper). Equation 1
is `wsaed.tsd.nets.DetectionNet`, equations 2 to 9 stand here in the paper's order, then
algorithm 1: one run is one student, once trained, whose spec names what it starts from and who
guides it. Notebook: mixed_tsd/method.ipynb.
"""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from wsaed import corpora, nets, training
from wsaed.corpora import Corpus
from wsaed.corpora.pairs import Pairs, halves, reference
from wsaed.features import FRONT_ENDS
from wsaed.nets import linear_softmax
from wsaed.training import on_device
from wsaed.tsd import scores
from wsaed.tsd.conditional import EMBEDDINGS
from wsaed.tsd.labels import frame_errors, frame_labels, pseudo_errors, spoilt
from wsaed.tsd.nets import DetectionNet, Discriminator

LABELS = ("strong", "weak", "pseudo")
TRAINING = ("base_a", "base_b", "novel")
REFERENCES, ERRORS, DOMAIN = range(3, 6)  # random streams of a replicate
PROBED = 500  # clips of each domain that `domain_accuracy` looks at, at most
PROBE = {"epochs": 20, "batch_size": 32, "learning_rate": 1e-2}


def frame_loss(p_hat: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """Equation 2, L_s: -p log p_hat - (1 - p) log(1 - p_hat), the mean over frames and pairs.

    p_hat, p: (pairs, steps). The print sums over frames, the public code takes the mean.
    """
    return F.binary_cross_entropy(p_hat, p)


def clip_loss(p_hat: torch.Tensor, P: torch.Tensor) -> torch.Tensor:
    """Equation 3, L_w: the cross-entropy of P_hat, LinSoft's pool of p_hat, the mean over pairs.

    p_hat: (pairs, steps); P: (pairs,), whether the clip holds the target.
    """
    return F.binary_cross_entropy(linear_softmax(p_hat), P)


def distillation(F_s: torch.Tensor, F_w: torch.Tensor) -> torch.Tensor:
    """Equation 5 as meant, L_kd: the mean squared difference of the two students' features.

    F_s, F_w: GRU outputs (pairs, steps, width) of f_student, which is frozen, and of w_student;
    equation 4 adds it to L_w. The print transforms each by a matrix W and doesn't say whether
    it is trained; were it, W = 0 would bring the loss to 0 whatever the students do. The
    public code has none.
    """
    return F.mse_loss(F_w, F_s)


def pseudo_loss(p_s: torch.Tensor, p_w: torch.Tensor, P: torch.Tensor) -> torch.Tensor:
    """Equations 6 and 7, L_re_s: equation 2 with w_student's outputs for labels.

    p_s, p_w: (pairs, steps); P: (pairs,): a clip without the target has none of its frames, which
    the public code uses and the print doesn't.
    """
    return frame_loss(p_s, p_w * P[:, None])


def domain_loss(D_z: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """Equation 8: L_d = ||D(z) - d||^2, the mean over clips.

    D_z: the discriminator's output (clips, 2); d: the same shape, (1, 0) for a source clip and
    (0, 1) for a target clip.
    """
    return (D_z - d).square().sum(1).mean()


def reverse(z: torch.Tensor, lambda_d: float) -> torch.Tensor:
    """z itself, whose gradient is turned round and scaled."""
    z = z.view_as(z)
    if z.requires_grad:
        z.register_hook(lambda grad: -lambda_d * grad)
    return z


class Student(nn.Module):
    """Equation 9, L_tsd - lambda_d L_d in one step: a net, a discriminator unless lambda_d is 0.

    What the discriminator hears of z comes back with its gradient turned round, so it descends on
    L_d, and what lies before it on -lambda_d L_d. Below 0 lambda_d has the sign of the authors'
    released code: what lies before the discriminator helps it.
    """

    def __init__(self, net: DetectionNet, lambda_d: float):
        super().__init__()
        self.net, self.lambda_d = net, lambda_d
        self.discriminator = Discriminator(net.channels) if lambda_d else None

    def forward(self, x: torch.Tensor, e: torch.Tensor, clip: torch.Tensor):
        """(p (pairs, steps), G (pairs, steps, 2 units), D(z) (clips, 2) or None).

        x: log-mel (clips, frames, mels); e, clip: as `DetectionNet.ask` takes them.
        """
        z = self.net.features(x)
        domain = None
        if self.discriminator is not None:
            domain = self.discriminator(reverse(z, self.lambda_d))
        return *self.net.ask(z, e, clip), domain


# Algorithm 1


def student(base: dict, data: str, labels: str, start=None, guide=None, **more) -> dict:
    """The spec of one student: ``base`` trained on the ``labels`` of the split ``data``.

    base: method, net, corpus, front_end, budget, draw, and the references' embeddings' spec as its
    only teacher. start: the spec of the student whose weights this one begins with; guide: of the
    one whose features (labels "weak") or outputs (labels "pseudo") it learns from. more: ``kd``,
    the weight of equation 5; ``ad``, lambda_d of equation 9, below 0 with the released code's sign;
    ``errors``, as `spoilt` takes them.
    """
    teachers, roles = list(base["teachers"]), {}
    for role, spec in (("start", start), ("guide", guide)):
        roles[role] = None if spec is None else len(teachers)
        teachers += [] if spec is None else [spec]
    settings = {"data": data, "labels": labels, "kd": 0, "ad": 0, "errors": None}
    return {**base, **settings, **roles, **more, "teachers": teachers}


def algorithm_1(base: dict, source: str, kd: float, ad: float, iterations: int, **retrain) -> dict:
    """Algorithm 1: f_source, w_source (steps 1, 2), w_1, f_1 (3, 4), w_2, f_2, ... -> specs.

    base: as `student` takes it; source: "base_a" or "base_b"; retrain: what changes in the budget
    where a student is trained again.
    Each student starts from its own last weights and is guided by the other's newest: w by f's
    features, f by w's pseudo labels. Step 3 has no guide. Only steps 1 and 2 see both domains, so
    the domain loss is theirs alone, as in the public code.
    """
    again = base | {"budget": base["budget"] | retrain}
    distilled = {"kd": kd} if kd else {}
    f = student(base, source, "strong", ad=ad)
    other = base | {"draw": base.get("draw", 0) + 1}  # w must not start where f did
    w = student(other, source, "weak", guide=f if kd else None, ad=ad, **distilled)
    found = {"f_source": f, "w_source": w}
    for k in range(1, iterations + 1):
        guided = {"guide": f, **distilled} if kd and k > 1 else {}
        w = found[f"w_{k}"] = student(again, "novel", "weak", start=w, **guided)
        f = found[f"f_{k}"] = student(again, "novel", "pseudo", start=f, guide=w)
    return found


def stops_at(f1: list[float]) -> int:
    """Line 5 of algorithm 1: the iteration, from 1, after which there is no improvement.

    f1: f_student's event F1 on validation, an iteration each; the first one that does not beat
    the one before ends it, and that one before is kept. All iterations are trained anyway.
    """
    better = [after > before for before, after in pairwise(f1)]
    return (better.index(False) if False in better else len(better)) + 1


def check(spec: dict) -> None:
    """ValueError, one line, for a spec whose parts contradict each other."""
    labels, kd, (start, guide) = spec["labels"], spec["kd"], map(spec.get, ("start", "guide"))
    taught = None if guide is None else spec["teachers"][guide]["labels"]
    guided = {"strong": (None,), "weak": ("strong", "pseudo") if kd else (None,)}
    wrong = None
    if labels not in LABELS:
        wrong = f"labels must be one of {LABELS}, got {labels!r}"
    elif spec["data"] not in TRAINING:
        wrong = f"data must be one of {TRAINING}, got {spec['data']!r}"
    elif (kd and labels != "weak") or taught not in guided.get(labels, ("weak",)):
        wrong = "kd with weak labels needs an f_student as guide, pseudo labels a w_student"
    elif spec["ad"] and spec["data"] == "novel":
        wrong = "ad sets a base against the novel clips: data must be a base"
    elif spec["errors"] and labels != "strong":
        wrong = "errors are for strong labels"
    elif start is not None and spec["teachers"][start]["net"] != spec["net"]:
        wrong = "the net differs from the one that it starts from"
    if wrong:
        raise ValueError(f"tsd: {wrong}")


# What a student learns from


class Batch(NamedTuple):
    """Clips with all their pairs.

    x: (clips, frames, mels), ``source`` clips of the data and behind them, for the domain loss,
    as many of the target; e: (pairs, 128) of each pair's reference; clip: (pairs,) its row of x;
    present: (pairs,); frame_labels: (pairs, steps), or None where labels are not strong.
    """

    x: torch.Tensor
    source: int
    e: torch.Tensor
    clip: torch.Tensor
    present: torch.Tensor
    frame_labels: torch.Tensor | None


def pairs_of(pairs: Pairs, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """All pairs of the clips ``rows``, as numbers, and for each its clip's place in ``rows``."""
    first, end = (np.searchsorted(pairs.clip, rows, side) for side in ("left", "right"))
    found = [np.arange(*span) for span in zip(first, end, strict=True)]
    clip = np.repeat(np.arange(len(rows)), end - first)
    return on_device(np.concatenate(found)), on_device(clip)


class Data:
    """What a student learns from: clips, pairs, embeddings of references, frame labels."""

    def __init__(self, corpus: Corpus, spec: dict, replicate: int, folder: Path):
        front_end = FRONT_ENDS[spec["front_end"]]
        self.split, self.replicate, self.ad = corpus[spec["data"]], replicate, spec["ad"]
        self.features = training.resident(self.split.features(front_end))
        self.target = training.resident(corpus["novel"].features(front_end)) if self.ad else None
        self.embeddings = on_device(np.load(folder / EMBEDDINGS))
        self.trained, self.tested = halves(corpus["references"].clip_labels)
        self.present = on_device(self.split.pairs.present.astype(np.float32))
        self.frame_labels = None

    def set_frame_labels(self, labels, steps: int, rate: float, errors: dict | None):
        """Make the frame labels at the net's rate, wrong where ``errors`` says: their errors."""
        true = frame_labels(self.split, labels, steps, rate)
        given = true
        if errors:
            given = spoilt(true, **errors, rng=np.random.default_rng([self.replicate, ERRORS]))
        self.frame_labels = on_device(given)
        found = frame_errors(given, true)
        return dict(zip(("label_error", "label_error_balanced"), found, strict=True))

    def references(self, pairs: Pairs, by_class, epoch: int = 0) -> torch.Tensor:
        """(pairs, 128) embeddings of references drawn for the pairs, anew in every epoch."""
        rows = reference(pairs, by_class, [self.replicate, epoch, REFERENCES])
        return self.embeddings[on_device(rows)]

    def batches(self, budget: dict, epoch: int) -> Iterator[Batch]:
        """The epoch's batches: every clip once, with all its pairs."""
        pairs = self.split.pairs
        rows = training.shuffled(len(self.split), budget["batch_size"], self.replicate, epoch)
        e = self.references(pairs, self.trained, epoch)
        clips = training.rows_of(self.features, rows)
        others = self.others(rows, epoch) if self.ad else ((None, None) for _ in rows)
        for row, (x, _), (target, _) in zip(rows, clips, others, strict=True):
            numbers, clip = pairs_of(pairs, row)
            given = None if self.frame_labels is None else self.frame_labels[numbers].float()
            both = x if target is None else torch.cat([x, target])
            yield Batch(both, len(x), e[numbers], clip, self.present[numbers], given)

    def others(self, rows: list[np.ndarray], epoch: int):
        """Batches of as many target clips: shuffled anew each epoch, going round if need be."""
        rng = np.random.default_rng([self.replicate, epoch, DOMAIN])
        wanted = np.resize(rng.permutation(len(self.target)), sum(map(len, rows)))
        return training.rows_of(self.target, np.split(wanted, np.cumsum([*map(len, rows)])[:-1]))


# Training


def objective(spec: dict, guide=None):
    """``losses(net, batch)`` of `training.fit`: a dict, of which "loss" is minimised.

    Equation 2 (labels "strong"), 3 ("weak"; 4 and 5 with ``kd``) or 7 ("pseudo"), and 9 with
    ``ad``. net: a `Student`. The guide is frozen and in eval mode, so neither its dropout nor a
    batch disturbs what it says.
    """
    if guide is not None:
        guide.requires_grad_(False).eval()

    def losses(net, batch):
        with training.precision():
            p, G, D_z = net(batch.x, batch.e, batch.clip)
        if guide is not None:
            with torch.no_grad(), training.precision():
                said, G_guide = guide(batch.x[: batch.source], batch.e, batch.clip)
        found = {}
        if spec["labels"] == "strong":
            found["strong"] = frame_loss(p, batch.frame_labels)
        elif spec["labels"] == "weak":
            found["weak"] = clip_loss(p, batch.present)
        else:
            found["pseudo"] = pseudo_loss(p, said, batch.present)
        if spec["kd"]:
            found["kd"] = spec["kd"] * distillation(G_guide.float(), G.float())
        if D_z is not None:
            is_target = torch.arange(len(D_z), device=D_z.device) >= batch.source
            found["domain"] = domain_loss(D_z, F.one_hot(is_target.long(), 2))
        return found | {"loss": sum(found.values())}

    return losses


def train(spec: dict, replicate: int, folder: Path, teachers: list[Path], tell) -> dict:
    """Train one student into ``folder`` and return its scores.

    Those of `scores.score`, curves and best epoch of `training.run`, by `scores.validation_f1`;
    after strong labels label_error and label_error_balanced, of the labels learned from, and of a
    base `domain_accuracy`; after weak labels of the novel clips those of `pseudo_errors`. Raises
    ValueError, one line, as `check`.
    """
    check(spec)
    corpus, front_end = corpora.load(spec["corpus"], replicate), FRONT_ENDS[spec["front_end"]]
    data, labels = Data(corpus, spec, replicate, teachers[0]), corpus.labels

    def finished(role: str):
        if spec[role] is not None:
            own = spec["teachers"][spec[role]]
            return nets.trained(own, len(labels), teachers[spec[role]]).to(training.device())

    net = nets.initialised(spec, len(labels), replicate, data.features)
    learner, guide = Student(net, spec["ad"]), finished("guide")
    if (last := finished("start")) is not None:
        net.load_state_dict(last.state_dict())
    steps = round(net.frames_per_second(front_end) * front_end.seconds)
    rate, found = steps / front_end.seconds, {}
    if spec["labels"] == "strong":
        found = data.set_frame_labels(labels, steps, rate, spec["errors"])
    asked = {}
    for name in ("validation", "test"):
        pairs, features = corpus[name].pairs, training.resident(corpus[name].features(front_end))
        asked[name] = features, pairs, data.references(pairs, data.tested), front_end.frames

    def validate() -> float:
        return scores.validation_f1(corpus, predict(net, *asked["validation"]), front_end.seconds)

    how = objective(spec, guide), partial(data.batches, spec["budget"]), spec, replicate, folder
    found |= training.run(learner, *how, tell, validate=validate, trunk=net.trunk)
    nets.save(net, folder)
    outputs = {name: predict(net, *questions) for name, questions in asked.items()}
    found |= scores.score(corpus, outputs, front_end.seconds, replicate)
    split, pairs = data.split, data.split.pairs
    if spec["labels"] == "strong" and spec["data"] != "novel":
        both = data.features, training.resident(corpus["novel"].features(front_end))
        found["domain_accuracy"] = domain_accuracy(net, both, replicate)
    if spec["labels"] == "weak" and spec["data"] == "novel" and split.hidden is not None:
        said = predict(net, data.features, pairs, data.references(pairs, data.trained))
        true = frame_labels(split, labels, steps, rate)
        found |= pseudo_errors(said * pairs.present[:, None], pairs.present, true)
    return found


def domain_accuracy(net: DetectionNet, both: tuple, replicate: int) -> float:
    """How well a new discriminator tells source from target by a finished, frozen trunk.

    It learns from every second clip of ``both``, the two domains' features, by `domain_loss`; the
    share of the others that it puts right. 0.5 is a coin's.
    """
    count, found = min(PROBED, *map(len, both)), []
    for x in both:
        x = torch.as_tensor(x[:count]).to(training.device())
        found.append(training.predict(net, x, lambda x, rows: (net.features(x),))[0])
    z, d = np.concatenate(found), on_device(np.eye(2, dtype=np.float32).repeat(count, 0))
    middle, scale = (of(z, (0, 2, 3), keepdims=True) for of in (np.mean, np.std))
    z, learned = on_device((z - middle) / (scale + 1e-6)), np.arange(0, 2 * count, 2)
    torch.manual_seed(replicate)
    judge = Discriminator(net.channels)

    def batches(epoch):
        order = training.shuffled(len(learned), PROBE["batch_size"], replicate, epoch)
        return [learned[rows] for rows in order]

    def losses(judge, rows):
        return {"loss": domain_loss(judge(z[rows]), d[rows])}

    training.fit(judge, losses, batches, PROBE, seed=replicate, schedule=training.one_cycle)
    said = training.predict(judge, z[1::2], lambda z, rows: (judge(z),))[0]
    return float((said.argmax(1) == d[1::2].argmax(1).cpu().numpy()).mean())


def predict(net, features, pairs: Pairs, e: torch.Tensor, frames=None) -> np.ndarray:
    """Probabilities of a net in eval mode, (pairs, steps) float32.

    e: (pairs, 128). With ``frames`` they are stretched to so many, by linear interpolation, as
    the public code does before it cuts events.
    """

    def answer(x, rows):
        numbers, clip = pairs_of(pairs, rows)
        p = net(x, e[numbers], clip)[0]
        return (p if frames is None else F.interpolate(p[:, None], frames, mode="linear")[:, 0],)

    return training.predict(net, features, answer)[0]
