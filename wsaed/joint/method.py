"""The joint paper's training and its two rivals': a teacher that tags, a student that detects.

Equations 1 to 6 of section II, then the objectives of joint training, of guided learning, [21],
and of the official baseline of DCASE 2019 task 4, the mean teacher; then the training of all
three, for the same number of steps. Equation 7 is `wsaed.postprocess.esp_duration`.
Notebook: joint_at_aed/method.ipynb.
"""

import math
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.nn.functional import binary_cross_entropy

from wsaed import corpora, nets, scoring, training
from wsaed.features import FRONT_ENDS
from wsaed.joint import scores
from wsaed.joint.data import STRONG, UNLABELLED, WEAK, Batch, Data, coarser, mixup, of_kind
from wsaed.tagging import rounded

START = 30  # s, out of 100 epochs: alpha and the focal loss begin together
GUIDED_START = 5  # guided learning's own s
DECAY = 0.996  # lambda; 1 keeps the student from ever teaching the teacher
HORIZON = 1 / 21  # of the training: the mean teacher's 0.999 a step, in its 21,000 steps
CONSISTENCY = 2.0  # the mean teacher's largest weight, reached half-way


def target_event_distillation(D: torch.Tensor, M: torch.Tensor) -> torch.Tensor:
    """Equation 1: L_TFD = 1/T sum_j D_j M_j, the mean over clips.

    D: (clips, frames) from `frame_distance`; M: the same shape, 1 where any target event sounds.
    With M all ones this is the undirected distillation DFD-D.
    """
    return (D * M).mean()


def frame_distance(F_t: torch.Tensor, F_s: torch.Tensor) -> torch.Tensor:
    """Equation 2: D_j, the Euclidean distance of two feature vectors a frame.

    F_t, F_s: (clips, frames, width), transformed already -> (clips, frames). A small constant
    under the root keeps the gradient finite where both agree.
    """
    return ((F_t - F_s).square().sum(2) + 1e-12).sqrt()


def distillation(kind: str, batch: Batch, F_t, F_s, unit: bool = False) -> torch.Tensor:
    """L_TFD and its rivals in table I, on transformed features; F_t is stretched to F_s's frames.

    F_t, F_s: F_t W_t and F_s W_s, (clips, steps, width). "tfd": equation 1, frames of strong clips
    in which a target sounds, over the strong clips; "dfd_d": the same distance on all frames of
    all clips; "dfd_d_wu": on those of weak and unlabelled clips; "dfd_mse": the mean squared error
    of all.
    unit: our variant, of rows brought to unit length, so that features cannot come near by fading;
    its square is summed over features, since at unit length their mean shrinks with their number.
    """
    F_t = F.interpolate(F_t.float().transpose(1, 2), F_s.shape[1]).transpose(1, 2)
    F_t, F_s = (F.normalize(f, dim=2) if unit else f for f in (F_t, F_s.float()))
    if kind == "dfd_mse":
        return F.mse_loss(F_s, F_t) * (F_s.shape[2] if unit else 1)
    D = frame_distance(F_t, F_s)
    M = batch.frame_labels.amax(2) if kind == "tfd" else torch.ones_like(D)
    chosen = {
        "tfd": batch.kind == STRONG,
        "dfd_d": torch.ones_like(batch.kind, dtype=torch.bool),
        "dfd_d_wu": (batch.kind == WEAK) | (batch.kind == UNLABELLED),
    }[kind]
    return of_kind(target_event_distillation, D, M, chosen)


def tagging_losses(batch: Batch, c_t, c_s, start, decay=DECAY, loss=binary_cross_entropy) -> dict:
    """The clip-level terms of equation 3: L_weak of both nets, L_con^{t->s}, alpha L_con^{s->t}.

    c_t, c_s: (clips, classes). A strong clip counts by its tags, too. Consistency on the
    unlabelled clips is with the other's tags, cut at 0.5 and without a gradient.
    """
    labelled, unlabelled = (batch.kind == WEAK) | (batch.kind == STRONG), batch.kind == UNLABELLED
    hard_t, hard_s = ((c.detach() > 0.5).float() for c in (c_t, c_s))
    alpha = s_to_t_weight(batch.e, start, decay)
    return {
        "weak_t": of_kind(loss, c_t, batch.clip_labels, labelled),
        "weak_s": of_kind(loss, c_s, batch.clip_labels, labelled),
        "t_to_s": of_kind(binary_cross_entropy, c_s, hard_t, unlabelled),
        "s_to_t": alpha * of_kind(binary_cross_entropy, c_t, hard_s, unlabelled),
    }


def s_to_t_weight(e: float, start: float, decay: float = DECAY) -> float:
    """Equation 3's alpha = 1 - lambda^(e - s): the student's say over the teacher.

    e: epoch out of 100; 0 up to epoch ``start``.
    """
    return 1 - decay ** (e - start) if e > start else 0.0


def focal(p: torch.Tensor, y: torch.Tensor, gamma: float = 2.0) -> torch.Tensor:
    """Equation 4 as meant: -(1 - p_t)^gamma log p_t, the mean over all cells.

    p, y of one shape, y hard (0 or 1); p_t is p where y = 1 and 1 - p where y = 0. Gamma 0 is
    binary cross-entropy. The print has 1 - p^gamma and no negatives, which p = 1 everywhere
    minimises; the notebook shows it. The logarithm is cut at -100.
    """
    p_t = torch.where(y > 0.5, p, 1 - p)
    return ((1 - p_t) ** gamma * binary_cross_entropy(p, y, reduction="none")).mean()


def ramp_up(x: float) -> float:
    """Beta of equations 5 and 6, the mean teacher's: e^(-5 (1 - x)^2), x cut to [0, 1]."""
    return math.exp(-5 * (1 - min(max(x, 0.0), 1.0)) ** 2)


# Objectives: terms by name from a spec, a batch and what `wsaed.joint.nets.Pair` gives in training
# mode; "loss", their sum by weight, is minimised


def joint_losses(spec: dict, batch: Batch, teacher: tuple, student: tuple) -> dict:
    """Equation 5, and 6 once the epoch has passed s.

    spec: ``distill``, names as in `distillation`, with ``unit`` on rows of unit length under W as
    drawn; ``focal``: gamma, or None for equation 5 to the end.
    """
    (p_t, c_t, F_t), (p_s, c_s, F_s) = teacher, student
    second = spec.get("focal") is not None and batch.e > START
    loss = partial(focal, gamma=spec["focal"]) if second else binary_cross_entropy
    found = tagging_losses(batch, c_t, c_s, START, loss=loss)
    for name, p in (("strong_t", p_t), ("strong_s", p_s)):
        y = coarser(batch.frame_labels, p.shape[1])
        found[name] = of_kind(loss, p, y, batch.kind == STRONG)
    for kind in spec.get("distill", []):
        L = distillation(kind, batch, F_t, F_s, spec.get("unit", False))
        found[kind] = ramp_up(batch.e / 50) * L
    return found | {"loss": sum(found.values())}


def guided_learning_losses(spec: dict, batch: Batch, teacher: tuple, student: tuple) -> dict:
    """Equation 3 without its frame losses. spec: ``decay``, lambda."""
    (_, c_t, _), (_, c_s, _) = teacher, student
    found = tagging_losses(batch, c_t, c_s, GUIDED_START, spec.get("decay", DECAY))
    return found | {"loss": sum(found.values())}


def mean_teacher_losses(spec: dict, batch: Batch, teacher: tuple, student: tuple) -> dict:
    """The student's supervised losses, and consistency with the teacher on all clips.

    With spec["consistency"] 0 the unlabelled clips are not used: the labelled-only student.
    """
    (p_t, c_t, _), (p_s, c_s, _) = teacher, student
    found = {
        "weak": of_kind(binary_cross_entropy, c_s, batch.clip_labels, batch.kind == WEAK),
        "strong": of_kind(binary_cross_entropy, p_s, batch.frame_labels, batch.kind == STRONG),
        "consistency": F.mse_loss(c_s, c_t) + F.mse_loss(p_s, p_t),
    }
    beta = spec.get("consistency", CONSISTENCY) * ramp_up(batch.e / 50)
    return found | {"loss": found["weak"] + found["strong"] + beta * found["consistency"]}


def share_kept(k: int, steps: int) -> float:
    """What the mean teacher keeps of itself at step k, counted from 1, of a training's ``steps``.

    The plain mean of all students so far, then a running one.
    """
    return min(k / (k + 1), 1 - 1 / max(1, HORIZON * steps))


def train(objective, spec: dict, replicate: int, folder: Path, teachers: list[Path], tell) -> dict:
    """Train a pair into ``folder`` by an objective of the above; the scores are the student's.

    spec: what the objective takes, and ``mixup``, of `wsaed.joint.data.mixup`, where it is to mix.
    Kept and scored are the weights of the best epoch by `scores.validation_f1`. Besides, the
    record has "start_tagging_f1" and "start_tags": what the teacher says of the validation clips
    at epoch START of 100, its tags as a share of the true ones; and "distillation_share", of all
    terms' gradient norms on the student's trunk.
    """
    corpus, front_end = corpora.load(spec["corpus"], replicate), FRONT_ENDS[spec["front_end"]]
    data = Data(corpus, spec)
    pair = nets.initialised(spec, len(corpus.labels), replicate, data.features)
    steps = front_end.frames // pair.student.frames_per_step
    data.set_rate(steps, pair.frames_per_second(front_end))
    for half in pair.children():
        if hasattr(half, "set_class_counts"):
            half.set_class_counts(data.lone_class_counts())
    if pair.W_t is not None and (spec.get("unit") or not spec.get("distill")):
        pair.W_t.requires_grad_(False), pair.W_s.requires_grad_(False)
    valid = training.resident(corpus["validation"].features(front_end))
    start = torch.nn.Module()  # its buffer, so that a checkpoint holds it
    start.register_buffer("said", torch.zeros(2, dtype=torch.float64))

    def losses(net, batch: Batch) -> dict:
        batch = mixup(batch, spec["mixup"]) if "mixup" in spec else batch
        with training.precision():
            teacher, student = net(batch.x)
        return objective(spec, batch, teacher, student)

    def after(batch: Batch) -> None:
        if hasattr(pair, "average"):
            pair.average(share_kept(batch.step + 1, batch.steps))
        if batch.step == batch.steps * START // 100:
            tags = training.predict(pair.teacher, valid)[1] >= 0.5
            f1 = scoring.tagging_f1(corpus["validation"].clip_labels, tags).mean()
            share = tags.sum() / corpus["validation"].clip_labels.sum()
            start.said.copy_(torch.tensor([f1, share]))
            pair.train()

    def validate() -> float:
        return scores.validation_f1(corpus, *training.predict(pair, valid), front_end.seconds)

    batches, options = partial(data.batches, spec["budget"], replicate), {"after": after}
    options |= {"beside": start, "validate": validate, "trunk": pair.student.trunk}
    found = training.run(pair, losses, batches, spec, replicate, folder, tell, **options)
    nets.save(pair, folder)
    found |= dict(zip(("start_tagging_f1", "start_tags"), rounded(start.said), strict=True))
    slopes = {k[:-1]: sum(v) for k, v in found["curves"].items() if k.endswith("'")}
    if of := spec.get("distill"):
        found["distillation_share"] = sum(slopes[k] for k in of) / sum(slopes.values())
    outputs = scores.outputs_of(pair, corpus, front_end)
    return found | scores.score(corpus, outputs, front_end.seconds, replicate)


joint = partial(train, joint_losses)
guided_learning = partial(train, guided_learning_losses)
mean_teacher = partial(train, mean_teacher_losses)
