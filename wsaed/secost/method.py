"""SeCoST: a cascade of students, each trained on labels mixed with a teacher's output.

In the paper's order: equations 1 to 7, algorithm 1 as specs, the training of one stage, and what
the slides show, localization. Letters are the paper's: p is a student's output, y the labels,
y_hat a teacher's output, y_bar the target; all are (clips, classes) in [0, 1].
Notebook: secost/method.ipynb derives the equations.
"""

from collections import namedtuple
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from wsaed import corpora, scoring, tagging, training
from wsaed.features import FRONT_ENDS


def binary_cross_entropy(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Equation 1: -y log p - (1 - y) log(1 - p), the mean over classes and clips.

    y may be soft. The logarithm is cut at -100 (as torch does), so p = 0 or 1 gives a finite loss.
    """
    return F.binary_cross_entropy(p, y)


def mixed_target(y: torch.Tensor, teachers: list[torch.Tensor], alpha: list[float]) -> torch.Tensor:
    """Equations 2 and 6: y_bar, the sum of alpha_k y_hat_k, where y_hat_0 are the labels y.

    alpha: the labels' weight first, then one a teacher, none negative, summing to 1. Raises
    ValueError for weights that are no convex mix.
    """
    convex = all(a >= 0 for a in alpha) and abs(sum(alpha) - 1) <= 1e-6  # false for nan too
    if len(alpha) != len(teachers) + 1 or not convex:
        raise ValueError(
            f"alpha must hold {len(teachers) + 1} weights, none negative, that sum to 1 "
            f"(the labels' first): got {list(alpha)}"
        )
    return sum(a * y_hat for a, y_hat in zip(alpha, [y, *teachers], strict=True))


# Equations 3 to 5 and 7 write the loss on y_bar in another way; training needs none of them.


def class_losses(p: torch.Tensor, y: torch.Tensor, teachers, alpha) -> torch.Tensor:
    """Equations 3 and 7: l(p_i, alpha_0 y_i) + sum_k alpha_k y_hat_k,i log((1 - p_i) / p_i).

    Gives (clips, classes); the mean is equation 4. The middle line of equation 3 lacks a
    logarithm in print.
    """
    taught = mixed_target(torch.zeros_like(y), teachers, alpha)
    own = F.binary_cross_entropy(p, alpha[0] * y, reduction="none")
    return own + taught * torch.log((1 - p) / p)


def loss_by_mistakes(p: torch.Tensor, y: torch.Tensor, y_hat: torch.Tensor, alpha: float):
    """Equation 5 as meant: L(p, y), and what the teacher's differences from the labels add.

    The print has y - y_hat, with which the loss falls without bound away from the teacher.
    """
    added = (y_hat - y) * torch.log((1 - p) / p)
    return binary_cross_entropy(p, y) + (1 - alpha) * added.mean()


def loss_terms(p: torch.Tensor, given: torch.Tensor, share: float) -> dict[str, torch.Tensor]:
    """The loss of a stage, and the terms whose sum it is, since equation 1 is linear in its y.

    given: (clips, 2, classes), the target y_bar and the labels y; share: the labels' alpha.
    "labels" is alpha L(p, y), "teacher" the rest (equation 4 splits otherwise); a base,
    whose share is 1, has no terms.
    """
    y_bar, y = given.unbind(1)
    loss, labels = binary_cross_entropy(p, y_bar), share * binary_cross_entropy(p, y)
    return {"loss": loss} | ({"labels": labels, "teacher": loss - labels} if share < 1 else {})


def smoothed_labels(y: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Label smoothing, a control: (1 - epsilon) y + epsilon / 2, without any teacher."""
    return (1 - epsilon) * y + epsilon / 2


def stage(base: dict, teachers: list[dict], alpha: list[float], draw: int) -> dict:
    """The spec of one stage: ``base`` retrained from scratch on the mix of equation 2 or 6.

    alpha: as `mixed_target` takes it. ``draw`` numbers the initialisation, so that a student
    never starts from its teacher's.
    """
    return {**base, "teachers": teachers, "alpha": alpha, "draw": draw}


def cascade(base: dict, alphas: list[float]) -> list[dict]:
    """Algorithm 1 as specs: [base, stage 1, ..., stage S] for the labels' weights alpha_s.

    A stage's spec holds its teacher's, so `wsaed.runs` trains them in order.
    """
    specs = [base]
    for s, alpha in enumerate(alphas, start=1):
        specs.append(stage(base, [specs[-1]], [alpha, 1 - alpha], draw=s))
    return specs


def target(spec: dict, y: np.ndarray, teachers: list[Path]) -> np.ndarray:
    """Algorithm 1, line 3: the target y_bar (clips, classes) float32 of a spec's training clips.

    The teachers' outputs on them were stored, once, when they had been trained. y is always the
    annotated labels, never an earlier stage's target.
    """
    labels = torch.from_numpy(np.asarray(y, np.float32))
    if spec.get("smoothing"):
        return smoothed_labels(labels, spec["smoothing"]).numpy()
    outputs = [torch.from_numpy(np.load(t / "train.npy").astype(np.float32)) for t in teachers]
    return mixed_target(labels, outputs, spec.get("alpha", [1.0])).numpy()


def train(spec: dict, replicate: int, folder: Path, teachers: list[Path], tell) -> dict:
    """Algorithm 1, line 4: train one stage into ``folder`` (weights, outputs on every split).

    What is kept is the epoch whose mAP on the validation clips' annotated labels is best. Gives
    its scores. ``teachers`` are the folders of the finished runs that it learns from.
    """
    corpus = corpora.load(spec["corpus"], replicate)
    y = np.asarray(corpus["train"].clip_labels, np.float32)
    y_bar = target(spec, y, teachers)
    loss = partial(loss_terms, share=spec["alpha"][0] if teachers else 1.0)
    where, given = (spec, replicate, folder, tell), np.stack([y_bar, y], 1)
    net, features, scores = tagging.learn(corpus, loss, given, *where)
    outputs = {name: training.predict(net, features[name])[1] for name in corpus.splits}
    for name, p in outputs.items():  # half precision ties scores, which only a target may do
        np.save(folder / f"{name}.npy", p.astype(np.float16) if name == "train" else p)
    scores |= _scores(corpus, outputs, replicate)
    scores |= tagging.training_quality(corpus, outputs["train"], y_bar)
    if hasattr(net, "segment_times") and corpus["test"].events is not None:
        scores |= localization(net, corpus, features["test"], FRONT_ENDS[spec["front_end"]])
    return scores


def ensemble(spec: dict, replicate: int, folder: Path, teachers: list[Path], tell) -> dict:
    """A control: average the clip probabilities of the runs in ``teachers``; nothing is trained."""
    corpus, outputs = corpora.load(spec["corpus"], replicate), {}
    for name in corpus.splits:
        said = [np.load(t / f"{name}.npy").astype(np.float32) for t in teachers]
        outputs[name] = np.mean(said, 0)
        np.save(folder / f"{name}.npy", outputs[name])
    return _scores(corpus, outputs, replicate)


def _scores(corpus, outputs: dict[str, np.ndarray], replicate: int) -> dict:
    """The test clips' scores, and the mAP by which alpha and the number of stages may be chosen."""
    noisy = tagging.map_of(corpus["validation"].clip_labels, outputs["validation"])
    scores = tagging.tagging_scores(corpus["test"], outputs["test"], replicate)
    return scores | {"validation_map_noisy": noisy}


# One label of one test clip: scores a frame (frames,), and whether it sounds there
FrameScores = namedtuple("FrameScores", "clip label model energy active")


def frame_scores(net, corpus, features, front_end, clips):
    """Give a `FrameScores` for every label that sounds in the test clips with these numbers.

    A segment's score stands at its centre and is interpolated to the frames between. Clips that
    nobody annotated strongly (events None) take no part.
    """
    times = (np.arange(front_end.frames) + 0.5) / front_end.frames_per_second
    net.eval()
    for i in clips:
        x = torch.as_tensor(features[i : i + 1]).float().to(net.mean.device)
        with torch.inference_mode():
            p = net(x)[0][0].float().cpu().numpy()
        energy = np.log(np.exp(x[0].cpu().numpy()).sum(1))
        centres = net.segment_times(len(p), front_end)
        events = corpus["test"].events[i] or []
        for label in dict.fromkeys(event.label for event in events):
            spans = [(times >= e.onset) & (times < e.offset) for e in events if e.label == label]
            model = np.interp(times, centres, p[:, corpus.labels.index(label)])
            yield FrameScores(i, label, model, energy, np.any(spans, axis=0))


def localization(net, corpus, features, front_end) -> dict:
    """The slides: frame AUC of segment scores inside positive clips, and of plain frame energy."""
    found = list(frame_scores(net, corpus, features, front_end, range(len(features))))
    active, scores = [one.active for one in found], {}
    for name in ("model", "energy"):
        auc, count = scoring.localization_auc([getattr(one, name) for one in found], active)
        scores |= {f"frame_auc_{name}": auc, "frame_auc_count": count}
    return scores
