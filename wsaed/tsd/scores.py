"""Scores of target sound detection: each pair of a clip and a target is a recording of its own.

Two conventions for the pairs whose clip lacks the target. Here they are recordings without events,
so that only a false alarm counts. The paper's public code gives them one event from 0 to 0 s, and
says the same of every silent output: then silence earns hits. Notebook: mixed_tsd/table_1.ipynb.
"""

from pathlib import Path

import numpy as np

from wsaed import corpora, postprocess, scoring
from wsaed.corpora import Corpus, Event, Split
from wsaed.corpora.pairs import Pairs
from wsaed.features import FRONT_ENDS
from wsaed.tagging import RESAMPLES, f1_scores

RESOLUTION = 0.2  # s, of the segment score, as in the public code
CONTROLS = ("all_silent", "clip_label")
Found = list[list[Event]]  # the events of each pair


def detect(p: np.ndarray, pairs: Pairs, labels, seconds: float, threshold=0.5) -> Found:
    """Runs of frames from ``threshold`` (one, or one a class) on; no filter, nothing is merged.

    p: (pairs, frames) probabilities over ``seconds``.
    """
    active = p >= np.broadcast_to(threshold, len(labels))[pairs.label][:, None]
    events, rate = [[] for _ in p], p.shape[1] / seconds
    for i, first, last in postprocess.runs(active):
        events[i].append(Event(labels[pairs.label[i]], first / rate, last / rate))
    return events


def truth(split: Split, labels) -> Found:
    """The target's events in the clip, for each pair of a split."""
    asked = zip(split.pairs.clip, split.pairs.label, strict=True)
    return [[e for e in split.events[clip] if e.label == labels[k]] for clip, k in asked]


def counts(split: Split, labels, found: Found) -> dict[str, np.ndarray]:
    """Metric -> counts (pairs, classes, 3) as `scoring.class_f1` takes them.

    event_f1 (200 ms; 200 ms or 20 %), event_f1_paper (the same by the public code's convention:
    where there is no event, one of the target from 0 to 0 s), segment_f1 (0.2 s).
    """
    dummies = [[Event(labels[k], 0.0, 0.0)] for k in split.pairs.label]
    plain = [dict(enumerate(events)) for events in (truth(split, labels), found)]
    paper = [{i: events or dummies[i] for i, events in side.items()} for side in plain]
    return {
        "event_f1": scoring.event_counts(*plain, labels),
        "event_f1_paper": scoring.event_counts(*paper, labels),
        "segment_f1": scoring.segment_counts(*plain, labels, RESOLUTION),
    }


def score(corpus: Corpus, outputs: dict, seconds: float, seed: int) -> dict:
    """Every score of ``outputs`` on the test pairs, thresholds tuned on the validation pairs.

    outputs: "validation" and "test" -> probabilities (pairs, frames) over ``seconds``. Keys, each
    a macro F1 and the same with _class and with _resampled (over source-grouped clips): those of
    `counts`, and event_f1_tuned (at class thresholds from validation). event_f1_validation, of
    `validation_f1`. event_f1_tuned_validation, at the tuned thresholds, is the mean over all
    classes of the corpus, of which those without events there have 0: compare it with no other.
    """
    labels, test, validation = corpus.labels, corpus["test"], corpus["validation"]
    true = dict(enumerate(truth(validation, labels)))

    def validated(threshold) -> Found:
        return detect(outputs["validation"], validation.pairs, labels, seconds, threshold)

    tuned, _, best = postprocess.tuned(true, validated, labels)
    at = [detect(outputs["test"], test.pairs, labels, seconds, t) for t in (0.5, tuned)]
    found = counts(test, labels, at[0])
    found["event_f1_tuned"] = counts(test, labels, at[1])["event_f1"]
    weights = scoring.bootstrap_weights(test.groups[test.pairs.clip], RESAMPLES, seed)
    scores = {}
    for name, amounts in found.items():
        scores |= f1_scores(name, amounts, weights)
    scores["event_f1_tuned_validation"] = float(np.mean(best))
    return scores | {"event_f1_validation": validation_f1(corpus, outputs["validation"], seconds)}


def validation_f1(corpus: Corpus, p: np.ndarray, seconds: float) -> float:
    """Macro event F1 of probabilities (pairs, frames) of the validation pairs, cut at 0.5."""
    split, labels = corpus["validation"], corpus.labels
    found = detect(p, split.pairs, labels, seconds)
    sides = (dict(enumerate(side)) for side in (truth(split, labels), found))
    return scoring.macro(scoring.class_f1(scoring.event_counts(*sides, labels)))[0]


def control(spec: dict, replicate: int, folder: Path, teachers: list[Path], tell) -> dict:
    """`controlled` as a run: spec["control"] on the spec's corpus."""
    corpus = corpora.load(spec["corpus"], replicate)
    return controlled(corpus, spec["control"], FRONT_ENDS[spec["front_end"]].seconds, replicate)


def controlled(corpus: Corpus, name: str, seconds: float, seed: int = 0) -> dict:
    """`score` of a system that costs nothing: one frame as long as the clip.

    name: "all_silent", or "clip_label": the true clip labels on all frames. Raises ValueError
    for another one.
    """
    if name not in CONTROLS:
        raise ValueError(f"control must be one of {CONTROLS}, got {name!r}")
    on = float(name == "clip_label")
    splits = {split: corpus[split].pairs for split in ("validation", "test")}
    outputs = {split: on * pairs.present[:, None] for split, pairs in splits.items()}
    return score(corpus, outputs, seconds, seed)
