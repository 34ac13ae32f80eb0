"""Scores of a net that tags and detects, under every post-processing, as records keep them.

Notebooks: joint_at_aed/table_1.ipynb and table_2.ipynb.
"""

import numpy as np
import torch

from wsaed import postprocess, scoring, training
from wsaed.corpora import Corpus, Split
from wsaed.methods.tagging import RESAMPLES, rounded

BASELINE_WINDOW = 0.46  # s: the official baseline's median filter, five frames for every class


def predict(net, features, batch_size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """(clips, steps, classes) and (clips, classes) float32 probabilities of a net in eval mode."""
    batches = np.array_split(np.arange(len(features)), max(1, len(features) // batch_size))
    net.eval()
    out = []
    with torch.inference_mode(), training.precision():
        for x, _ in training.rows_of(features, batches):
            out.append([p.float().cpu().numpy() for p in net(x)])
    return tuple(np.concatenate(p) for p in zip(*out, strict=True))


def filters(corpus: Corpus, rate: float) -> dict[str, dict]:
    """Post-processing name -> windows and passes, as `postprocess.detect` takes them.

    The rules of `postprocess.RULES`, their windows from all strong training clips, filter twice.
    "baseline" is the official baseline's: one window for all, one pass, and no gate. "whole_clip"
    ignores the frames, so that a tagged class sounds all the time.
    """
    lengths = postprocess.durations(corpus["strong"].events, corpus.labels)
    found = {r: {"windows": postprocess.windows(lengths, r, rate)} for r in postprocess.RULES}
    frames = max(1, 2 * round((BASELINE_WINDOW * rate - 1) / 2) + 1)
    one = np.ones(len(corpus.labels), int)
    return found | {
        "baseline": {"windows": frames * one, "passes": 1},
        "whole_clip": {"windows": one},
    }


RESAMPLED = ("baseline", "average", "esp", "none")  # with clip resamples: what claims compare


def score(net, corpus: Corpus, front_end, seed: int) -> dict:
    """Every score of a trained net on the test split, thresholds tuned on validation.

    Keys: <metric>_<post-processing> (macro F1), the same with _class and, for `RESAMPLED`, with
    _resampled; metrics event_f1 (200 ms; 200 ms or 20 %), event_f1_tuned (at class thresholds
    from validation), segment_f1 (1 s), tagging_f1 (a clip has a class if one of its events
    survives); tagging_f1_raw, of the clip branch alone; psds_none, without gate, filter or
    threshold, None where sed_scores_eval is not installed.
    """
    outputs = {
        name: predict(net, training.resident(corpus[name].features(front_end)))
        for name in ("validation", "test")
    }
    rate = outputs["test"][0].shape[1] / front_end.seconds
    scores, weights = {}, scoring.bootstrap_weights(corpus["test"].groups, RESAMPLES, seed)
    for name, settings in filters(corpus, rate).items():
        for metric, counts in of_filter(corpus, outputs, rate, name, settings).items():
            scores |= _f1(f"{metric}_{name}", counts, weights if name in RESAMPLED else None)
    true, said = corpus["test"].clip_labels > 0, outputs["test"][1] >= 0.5
    raw = _f1("tagging_f1_raw", np.stack([true & said, true, said], axis=-1), weights)
    score = scoring.psds(
        _reference(corpus["test"]), outputs["test"][0], corpus.labels, front_end.seconds
    )
    return scores | raw | {"psds_none": score}


def of_filter(corpus: Corpus, outputs: dict, rate: float, name: str, settings: dict) -> dict:
    """Metric -> counts (clips, classes, 3) of one post-processing, as `scoring.class_f1` takes."""

    def events(split: str, threshold) -> dict:
        frames, clips = outputs[split]
        frames = np.ones_like(frames) if name == "whole_clip" else frames
        gate = None if name == "baseline" else clips
        found = postprocess.detect(
            frames, gate, corpus.labels, rate, **settings, threshold=threshold
        )
        return dict(zip(corpus[split].clips, found, strict=True))

    reference = _reference(corpus["validation"])
    tuned = postprocess.tuned_thresholds(
        reference, lambda t: events("validation", t).values(), corpus.labels
    )
    reference, plain = _reference(corpus["test"]), events("test", 0.5)
    said = [[label in {e.label for e in es} for label in corpus.labels] for es in plain.values()]
    true, said = corpus["test"].clip_labels > 0, np.array(said)
    return {
        "event_f1": scoring.event_counts(reference, plain, corpus.labels),
        "event_f1_tuned": scoring.event_counts(reference, events("test", tuned), corpus.labels),
        "segment_f1": scoring.segment_counts(reference, plain, corpus.labels),
        "tagging_f1": np.stack([true & said, true, said], axis=-1),
    }


def _reference(split: Split) -> dict:
    return dict(zip(split.clips, split.events, strict=True))


def _f1(name: str, counts: np.ndarray, weights: np.ndarray | None) -> dict:
    by_class = scoring.class_f1(counts)
    found = {name: scoring.macro(by_class)[0], f"{name}_class": rounded(by_class)}
    if weights is not None:
        resampled = scoring.macro(scoring.class_f1(counts, weights))[0]
        found[f"{name}_resampled"] = rounded(resampled, 4)
    return found
