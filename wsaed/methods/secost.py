"""SeCoST, algorithm 1: a cascade of students, each trained on labels mixed with a teacher's output.

One stage is one run: its spec names its teachers' specs, so a cascade is built by nesting and
trained in dependency order by `wsaed.runs`. Notebook: secost/method.ipynb.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from wsaed import corpora, losses, nets, scoring, training
from wsaed.features import FRONT_ENDS
from wsaed.methods import tagging


def stage(base: dict, teachers: list[dict], alpha: list[float], draw: int) -> dict:
    """The spec of one stage: ``base`` retrained from scratch on the mix of equation 2 or 6.

    alpha: the labels' weight first, then one for each teacher. ``draw`` numbers the
    initialisation, so that a student never starts from its teacher's.
    """
    return {**base, "teachers": teachers, "alpha": alpha, "draw": draw}


def cascade(base: dict, alphas: list[float]) -> list[dict]:
    """Algorithm 1 as specs: [base, stage 1, ..., stage S] for the labels' weights alpha_s."""
    specs = [base]
    for s, alpha in enumerate(alphas, start=1):
        specs.append(stage(base, [specs[-1]], [alpha, 1 - alpha], draw=s))
    return specs


def target(spec: dict, y: np.ndarray, teachers: list[Path]) -> np.ndarray:
    """The training target y_bar (clips, classes) float32 of a spec (equations 2 and 6).

    Line 3 of algorithm 1: the teachers' outputs on the training clips were stored, once, when
    they had been trained. y is always the annotated labels, never an earlier stage's target.
    """
    labels = torch.from_numpy(np.asarray(y, np.float32))
    if spec.get("smoothing"):
        return losses.smoothed_labels(labels, spec["smoothing"]).numpy()
    outputs = [torch.from_numpy(np.load(t / "train.npy").astype(np.float32)) for t in teachers]
    return losses.mixed_target(labels, outputs, spec.get("alpha", [1.0])).numpy()


def train(spec: dict, replicate: int, folder: Path, teachers: list[Path], tell) -> dict:
    """Train one stage into ``folder`` (weights, outputs on every split) and return its scores."""
    corpus = corpora.load(spec["corpus"], replicate)
    front_end, budget = FRONT_ENDS[spec["front_end"]], spec["budget"]
    features = {name: training.resident(s.features(front_end)) for name, s in corpus.splits.items()}
    y_bar = target(spec, corpus["train"].clip_labels, teachers)
    on_device = torch.from_numpy(y_bar).to(training.device())
    plain = nets.initialised(spec, len(corpus.labels), replicate, features["train"])
    net = training.distribute(plain)
    adam = torch.optim.Adam(net.parameters(), budget["learning_rate"], fused=True)

    def step(batch, epoch):
        x, rows = batch
        with training.precision():
            p = net(x)[1].float()
        loss = losses.binary_cross_entropy(p, on_device[rows])
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        return {"loss": loss}

    def batches(epoch):
        rows = training.shuffled(len(y_bar), budget["batch_size"], replicate, epoch)
        return training.rows_of(features["train"], rows)

    rows = training.fit(
        {"net": net},
        {"adam": adam},
        step,
        batches,
        epochs=budget["epochs"],
        seed=replicate,
        schedule=training.one_cycle,
        checkpoint=folder / "checkpoint.pt",
        tell=tell,
    )
    outputs = {name: tagging.predict(plain, features[name]) for name in corpus.splits}
    for name, p in outputs.items():  # half precision ties scores, which only a target may do
        np.save(folder / f"{name}.npy", p.astype(np.float16) if name == "train" else p)
    nets.save(plain, folder)
    scores = {"loss": [round(row["loss"], 5) for row in rows]}
    scores |= tagging.tagging_scores(corpus["test"], outputs["test"], replicate)
    scores["validation_map_noisy"] = tagging.map_of(
        corpus["validation"].clip_labels, outputs["validation"]
    )
    scores |= tagging.training_quality(corpus, outputs["train"], y_bar)
    if spec.get("localize") and corpus["test"].events is not None:
        scores |= localization(plain, corpus, features["test"], front_end)
    return scores


def localization(net, corpus, features, front_end) -> dict:
    """Claim A11: frame AUC of segment scores inside positive clips, and of plain frame energy.

    Clips that nobody annotated strongly (events None) take no part.
    """
    found = list(frame_scores(net, corpus, features, front_end, range(len(features))))
    active, scores = [one.active for one in found], {}
    for name in ("model", "energy"):
        auc, count = scoring.localization_auc([getattr(one, name) for one in found], active)
        scores |= {f"frame_auc_{name}": auc, "frame_auc_count": count}
    return scores


class FrameScores(NamedTuple):
    """One label of one test clip: scores a frame (frames,), and whether it sounds there."""

    clip: int
    label: str
    model: np.ndarray
    energy: np.ndarray
    active: np.ndarray


def frame_scores(net, corpus, features, front_end, clips):
    """Give a `FrameScores` for every label that sounds in the test clips with these numbers.

    A segment's score stands at its centre and is interpolated to the frames between.
    """
    times = (np.arange(front_end.frames) + 0.5) / front_end.frames_per_second
    net.eval()
    for i in clips:
        x = torch.as_tensor(features[i : i + 1]).float().to(training.device())
        with torch.inference_mode():
            p = net(x)[0][0].float().cpu().numpy()
        energy = np.log(np.exp(x[0].cpu().numpy()).sum(1))
        centres = net.segment_times(len(p), front_end)
        for label, spans in activity(corpus["test"].events[i] or []).items():
            active = np.any([(times >= on) & (times < off) for on, off in spans], axis=0)
            model = np.interp(times, centres, p[:, corpus.labels.index(label)])
            yield FrameScores(i, label, model, energy, active)


def activity(events) -> dict[str, list[tuple[float, float]]]:
    """Label -> its spans in seconds, for the labels that a clip's events carry."""
    spans = {}
    for event in events:
        spans.setdefault(event.label, []).append((event.onset, event.offset))
    return spans
