"""Scores of a net that tags and detects, under every post-processing, as records keep them.

Notebooks: joint_at_aed/table_1.ipynb and table_2.ipynb.
"""

import re

import numpy as np

from wsaed import postprocess, scoring, sed_scores, training
from wsaed.corpora import Corpus
from wsaed.tagging import RESAMPLES, f1_scores, rounded

BASELINE_WINDOW = 0.46  # s: the official baseline's median filter, five frames for every class
SEARCHED = (0.0, 0.2, 0.4, 0.8, 1.6, 3.2)  # s: windows that validation may choose from, a class
RESAMPLED = ("baseline", "average", "median", "esp", "none")  # with clip resamples, for claims


def filters(corpus: Corpus, rate: float) -> dict[str, dict]:
    """Post-processing name -> windows and passes, as `postprocess.detect` takes them.

    The rules of `postprocess.RULES`, their windows from all strong training clips, filter twice.
    "baseline" is the official baseline's: one window for all, one pass, and no gate. "whole_clip"
    ignores the frames, so that a tagged class sounds all the time.
    """
    lengths = postprocess.durations(corpus["strong"].events, corpus.labels)
    found = {r: {"windows": postprocess.windows(lengths, r, rate)} for r in postprocess.RULES}
    one = np.ones(len(corpus.labels), int)
    found["baseline"] = {"windows": odd(BASELINE_WINDOW * rate) * one, "passes": 1}
    return found | {"whole_clip": {"windows": one}}


def odd(frames: float) -> int:
    """The nearest odd number of frames: a window that shifts nothing."""
    return max(1, 2 * round((frames - 1) / 2) + 1)


def searched(corpus: Corpus, outputs: dict, rate: float) -> dict:
    """Of `SEARCHED` the window a class that is best on validation, at its best threshold."""
    (frames, clips), labels, valid = outputs["validation"], corpus.labels, corpus["validation"]
    windows, found = [odd(seconds * rate) for seconds in SEARCHED], []
    for window in windows:
        how = {"windows": np.full(len(labels), window)}

        def said(threshold, how=how) -> list:
            return postprocess.detect(frames, clips, labels, rate, threshold=threshold, **how)

        found.append(postprocess.tuned(valid.reference, said, labels)[2])
    return {"windows": np.array(windows)[np.argmax(found, axis=0)]}


def outputs_of(net, corpus: Corpus, front_end) -> dict:
    """Split -> (frame, clip) probabilities, (clips, steps, classes) and (clips, classes).

    Of validation and test.
    """
    return {
        name: training.predict(net, training.resident(corpus[name].features(front_end)))
        for name in ("validation", "test")
    }


def score(corpus: Corpus, outputs: dict, seconds: float, seed: int, rules=None) -> dict:
    """Every score of ``outputs`` on the test split, thresholds tuned on validation.

    outputs: as `outputs_of` gives them, of clips of ``seconds``; rules: names of `filters`, by
    default all; besides, "searched", of windows as `searched` finds them. Keys:
    <metric>_<post-processing> (macro F1), the same with _class and, for
    `RESAMPLED`, with _resampled; metrics event_f1 (200 ms; 200 ms or 20 %), event_f1_tuned (at
    class thresholds, and gates, from validation), both with _ungated, too, and on the validation
    clips with _validation; segment_f1 (1 s), tagging_f1 (a clip has a class if one of its events
    survives); tagging_f1_raw, of the clip branch alone, its worst class with _lowest; psds_1,
    psds_2 and event_f1_boxes by `sed_scores`, None where it lacks a library, of frame times clip
    probabilities, without a gate or a filter; seconds_class, mean event duration in the strong
    clips.
    """
    frames, clips = outputs["test"]
    rate = frames.shape[1] / seconds
    scores, weights = {}, scoring.bootstrap_weights(corpus["test"].groups, RESAMPLES, seed)
    found = filters(corpus, rate)
    found = {name: found[name] for name in rules or found}
    for name, settings in (found | {"searched": searched(corpus, outputs, rate)}).items():
        for metric, counts in of_filter(corpus, outputs, rate, name, settings).items():
            resampled = name in RESAMPLED and not re.search("_validation|_ungated", metric)
            scores |= f1_scores(f"{metric}_{name}", counts, weights if resampled else None)
    raw = scoring.tagging_counts(corpus["test"].clip_labels, clips >= 0.5)
    lengths = postprocess.durations(corpus["strong"].events, corpus.labels)
    scores |= f1_scores("tagging_f1_raw", raw, weights)
    scores["tagging_f1_raw_lowest"] = float(np.nanmin(scoring.class_f1(raw)))
    truth, labels = corpus["test"].reference, corpus.labels
    sides = {name: (corpus[name].clips, p * c[:, None]) for name, (p, c) in outputs.items()}
    psds = sed_scores.psds(truth, sides["test"][1], labels, seconds)
    scores |= {f"psds_{scenario}": value for scenario, value in psds.items()}
    boxes = sed_scores.bounding_boxes(corpus["validation"].reference, sides, labels, seconds)
    scores["event_f1_boxes"] = boxes and scoring.event_f1(truth, boxes, labels)[1]
    scores["seconds_class"] = rounded([L.mean() if len(L) else np.nan for L in lengths])
    return scores


def of_filter(corpus: Corpus, outputs: dict, rate: float, name: str, settings: dict) -> dict:
    """Metric -> counts (clips, classes, 3) of one post-processing, as `scoring.class_f1` takes."""
    labels, test, valid = corpus.labels, corpus["test"], corpus["validation"]

    def events(split: str, threshold, gate) -> dict:
        frames, clips = outputs[split]
        frames = np.ones_like(frames) if name == "whole_clip" else frames
        at = {"threshold": threshold, "gate": gate}
        found = postprocess.detect(frames, clips, labels, rate, **settings, **at)
        return dict(zip(corpus[split].clips, found, strict=True))

    def tuned(gates) -> tuple:
        said = lambda threshold: events("validation", threshold, 0.0).values()  # noqa: E731
        return postprocess.tuned(valid.reference, said, labels, gates)[:2]

    points = {"event_f1": (0.5, 0.0), "event_f1_tuned": (tuned(None)[0], 0.0)}
    if name != "baseline":
        ungated = {f"{metric}_ungated": at for metric, at in points.items()}
        gated = {"event_f1": (0.5, 0.5), "event_f1_tuned": tuned(outputs["validation"][1])}
        points = gated | ungated
    found = {}
    for metric, at in points.items():
        for split, more in (("test", ""), ("validation", "_validation")):
            counted = scoring.event_counts(corpus[split].reference, events(split, *at), labels)
            found[metric + more] = counted
    plain = events("test", *points["event_f1"])
    said = [[label in {e.label for e in es} for label in labels] for es in plain.values()]
    return found | {
        "segment_f1": scoring.segment_counts(test.reference, plain, labels),
        "tagging_f1": scoring.tagging_counts(test.clip_labels, said),
    }


def validation_f1(corpus: Corpus, frames: np.ndarray, clips: np.ndarray, seconds: float) -> float:
    """Macro event F1 on validation, median windows, 0.5: what chooses an epoch, or one of several.

    frames, clips: probabilities of the validation clips, of ``seconds`` each, as in `outputs_of`.
    """
    rate = frames.shape[1] / seconds
    settings = filters(corpus, rate)["median"]
    found = postprocess.detect(frames, clips, corpus.labels, rate, **settings)
    reference = corpus["validation"].reference
    return scoring.event_f1(reference, dict(zip(reference, found, strict=True)), corpus.labels)[1]
