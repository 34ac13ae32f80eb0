"""Two students of target sound detection: f learns from frame labels, w from clip labels.

Section 4.2 and algorithm 1 of the paper. One run is one student, once trained: its spec names what
it starts from and who guides it, and `algorithm_1` gives the specs of the whole chain.
Notebook: mixed_tsd/method.ipynb.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from wsaed import corpora, losses, nets, postprocess, training
from wsaed.corpora import Corpus, Split
from wsaed.corpora.pairs import Pairs, halves, reference
from wsaed.features import FRONT_ENDS
from wsaed.methods import target_scores
from wsaed.methods.conditional import EMBEDDINGS, TRAINING
from wsaed.methods.label_errors import spoilt
from wsaed.nets import pooling
from wsaed.nets.tsdnet import Student

LABELS = ("strong", "weak", "pseudo")
REFERENCES, ERRORS, DOMAIN = range(3, 6)  # random streams of a replicate


def student(base: dict, data: str, labels: str, start=None, guide=None, **more) -> dict:
    """The spec of one student: ``base`` trained on the ``labels`` of the split ``data``.

    base: method, net, corpus, front_end, budget, draw, and the conditional network's spec as its
    only teacher. start: the spec of the student whose weights this one begins with; guide: of the
    one whose features (labels "weak") or outputs (labels "pseudo") it learns from. more: ``kd``,
    the weight of equation 5; ``ad``, lambda_d of equation 9; ``errors``, as `spoilt` takes them.
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
    where a student is trained again, besides the learning rate, which is a tenth (section 5.2).
    Each student starts from its own last weights and is guided by the other's newest: w by f's
    features, f by w's pseudo labels. Step 3 has no guide. Only steps 1 and 2 see both domains, so
    the domain loss is theirs alone, as in the public code.
    """
    rate = base["budget"]["learning_rate"] / 10
    again = base | {"budget": base["budget"] | {"learning_rate": rate} | retrain}
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
        raise ValueError(f"two_student: {wrong}")


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


def frame_labels(split: Split, labels, steps: int, rate: float) -> np.ndarray:
    """(pairs, steps) bool: whether the pair's target sounds, by the split's (hidden) events."""
    events = getattr(split, "hidden_events", None) if split.events is None else split.events
    if events is None:
        raise ValueError(f"{split.name} has no onsets and offsets: use labels 'weak'")
    asked = zip(split.pairs.clip, split.pairs.label, strict=True)
    # a pair's own class alone: all classes of all clips would not fit into memory
    mine = [[e._replace(label="") for e in events[i] if e.label == labels[c]] for i, c in asked]
    return postprocess.active_frames(mine, ("",), steps, rate)[:, :, 0] > 0


def pairs_of(pairs: Pairs, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of the clips ``rows``, as numbers, and for each its clip's place in ``rows``."""
    first, end = (np.searchsorted(pairs.clip, rows, side) for side in ("left", "right"))
    found = [np.arange(*span) for span in zip(first, end, strict=True)]
    return np.concatenate(found), np.repeat(np.arange(len(rows)), end - first)


class Data:
    """What a student learns from: clips, pairs, embeddings of references, frame labels."""

    def __init__(self, corpus: Corpus, spec: dict, replicate: int, folder: Path):
        front_end = FRONT_ENDS[spec["front_end"]]
        self.split, self.replicate, self.ad = corpus[spec["data"]], replicate, spec["ad"]
        self.features = training.resident(self.split.features(front_end))
        self.target = training.resident(corpus["novel"].features(front_end)) if self.ad else None
        self.embeddings = torch.from_numpy(np.load(folder / EMBEDDINGS)).to(training.device())
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
        found = target_scores.frame_errors(given, true)
        return dict(zip(("label_error", "label_error_balanced"), found, strict=True))

    def references(self, pairs: Pairs, by_class, epoch: int = 0) -> torch.Tensor:
        """(pairs, 128) embeddings of references drawn for the pairs, anew in every epoch."""
        rows = reference(pairs, by_class, [self.replicate, epoch, REFERENCES])
        return self.embeddings[torch.from_numpy(rows).to(self.embeddings.device)]

    def batches(self, budget: dict, epoch: int) -> Iterator[Batch]:
        """The epoch's batches: every clip once, with all its pairs."""
        count, pairs = len(self.split), self.split.pairs
        rows = training.shuffled(count, budget["batch_size"], self.replicate, epoch)
        e = self.references(pairs, self.trained, epoch)
        clips = training.rows_of(self.features, rows)
        others = self.others(rows, epoch) if self.ad else ((None, None) for _ in rows)
        for row, (x, _), (target, _) in zip(rows, clips, others, strict=True):
            numbers, clip = (on_device(v) for v in pairs_of(pairs, row))
            given = None if self.frame_labels is None else self.frame_labels[numbers].float()
            both = x if target is None else torch.cat([x, target])
            yield Batch(both, len(x), e[numbers], clip, self.present[numbers], given)

    def others(self, rows: list[np.ndarray], epoch: int):
        """Batches of as many target clips: shuffled anew each epoch, going round if need be."""
        rng = np.random.default_rng([self.replicate, epoch, DOMAIN])
        wanted = np.resize(rng.permutation(len(self.target)), sum(map(len, rows)))
        return training.rows_of(self.target, np.split(wanted, np.cumsum([*map(len, rows)])[:-1]))


def on_device(values: np.ndarray) -> torch.Tensor:
    """An array as a tensor on the device of training."""
    return torch.from_numpy(values).to(training.device())


def objective(spec: dict, guide=None):
    """``losses_of(batch, p, G, D_z)``: a dict, of which "loss" is minimised.

    Equation 2 (labels "strong"), 3 ("weak"; 4 and 5 with ``kd``) or 7 ("pseudo"), and 9 with
    ``ad``. p, G, D_z: as `wsaed.nets.tsdnet.Student` gives them. The guide is frozen and in eval
    mode, so neither its dropout nor a batch disturbs what it says.
    """
    if guide is not None:
        guide.requires_grad_(False).eval()

    def losses_of(batch, p, G, D_z):
        if guide is not None:
            with torch.no_grad(), training.precision():
                z = guide.features(batch.x[: batch.source])
                said, G_guide = guide.ask(z, batch.e, batch.clip)
        found = {}
        if spec["labels"] == "strong":
            found["strong"] = losses.binary_cross_entropy(p, batch.frame_labels)
        elif spec["labels"] == "weak":
            found["weak"] = losses.binary_cross_entropy(pooling.linear_softmax(p), batch.present)
        else:  # a clip without the target has none of its frames
            found["pseudo"] = losses.binary_cross_entropy(p, said * batch.present[:, None])
        if spec["kd"]:
            distance = losses.frame_feature_distillation(G_guide.float(), G.float())
            found["kd"] = spec["kd"] * distance
        if D_z is not None:
            is_target = torch.arange(len(D_z), device=D_z.device) >= batch.source
            found["domain"] = losses.domain_loss(D_z, F.one_hot(is_target.long(), 2))
        return found | {"loss": sum(found.values())}

    return losses_of


def predict(net, features, pairs: Pairs, e: torch.Tensor, frames=None, batch_size: int = 64):
    """Probabilities of a net in eval mode, (pairs, steps) float32.

    e: (pairs, 128). With ``frames`` they are stretched to so many, by linear interpolation, as
    the public code does before it cuts events.
    """
    batches = np.array_split(np.arange(len(features)), max(1, len(features) // batch_size))
    net.eval()
    found = []
    with torch.inference_mode(), training.precision():
        for rows, (x, _) in zip(batches, training.rows_of(features, batches), strict=True):
            numbers, clip = (on_device(v) for v in pairs_of(pairs, rows))
            p = net.ask(net.features(x), e[numbers], clip)[0]
            if frames is not None:
                p = F.interpolate(p[:, None], frames, mode="linear")[:, 0]
            found.append(p.cpu())
    return torch.cat(found).numpy()


def train(spec: dict, replicate: int, folder: Path, teachers: list[Path], tell) -> dict:
    """Train one student into ``folder`` and return its scores.

    Those of `target_scores.score`; "loss" an epoch; after strong labels label_error and
    label_error_balanced, of the labels learned from; after weak labels of the novel clips those
    of `target_scores.pseudo_errors`. Raises ValueError, one line, as `check`.
    """
    check(spec)
    corpus, front_end = corpora.load(spec["corpus"], replicate), FRONT_ENDS[spec["front_end"]]
    data, labels = Data(corpus, spec, replicate, teachers[0]), corpus.labels

    def finished(role: str):
        if spec[role] is not None:
            own = spec["teachers"][spec[role]]
            return nets.trained(own, len(labels), teachers[spec[role]]).to(training.device())

    plain = nets.initialised(spec, len(labels), replicate, data.features)
    learner = Student(plain, spec["ad"])
    if (last := finished("start")) is not None:
        plain.load_state_dict(last.state_dict())
    steps = round(plain.frames_per_second(front_end) * front_end.seconds)
    rate, scores = steps / front_end.seconds, {}
    if spec["labels"] == "strong":
        scores |= data.set_frame_labels(labels, steps, rate, spec["errors"])
    rows = fit(spec, replicate, learner, data, objective(spec, finished("guide")), folder, tell)
    nets.save(plain, folder)
    outputs = {}
    for name in ("validation", "test"):
        features = training.resident(corpus[name].features(front_end))
        e = data.references(corpus[name].pairs, data.tested)
        outputs[name] = predict(plain, features, corpus[name].pairs, e, front_end.frames)
    scores |= {"loss": [round(row["loss"], 5) for row in rows]}
    scores |= target_scores.score(corpus, outputs, front_end.seconds, replicate)
    if spec["labels"] == "weak" and spec["data"] == "novel":
        scores |= pseudo_scores(plain, data, labels, steps, rate)
    return scores


def pseudo_scores(net, data: Data, labels, steps: int, rate: float) -> dict[str, float]:
    """`target_scores.pseudo_errors` on the training pairs; {} where nobody knows the truth."""
    split = data.split
    if getattr(split, "hidden_events", None) is None:
        return {}
    e = data.references(split.pairs, data.trained)
    said = predict(net, data.features, split.pairs, e) * split.pairs.present[:, None]
    true = frame_labels(split, labels, steps, rate)
    return target_scores.pseudo_errors(said, split.pairs.present, true)


def fit(spec, replicate: int, learner: Student, data: Data, losses_of, folder, tell) -> list[dict]:
    """Adam on a student's loss, at a constant rate or, with the budget's schedule, one cycle."""
    net, budget = training.distribute(learner), spec["budget"]
    adam = torch.optim.Adam(net.parameters(), budget["learning_rate"], fused=True)

    def step(batch, epoch):
        with training.precision():
            outputs = net(batch.x, batch.e, batch.clip)
        found = losses_of(batch, *outputs)
        adam.zero_grad(set_to_none=True)
        found["loss"].backward()
        adam.step()
        return found

    return training.fit(
        {"net": net},
        {"adam": adam},
        step,
        lambda epoch: data.batches(budget, epoch),
        epochs=budget["epochs"],
        seed=replicate,
        schedule=training.one_cycle if budget.get("schedule") == "one_cycle" else None,
        checkpoint=folder / "checkpoint.pt",
        tell=tell,
    )
