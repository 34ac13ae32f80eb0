"""Nets that tag clips: their training and their scores, which two papers' systems share.

Notebook: secost/method.ipynb.
"""

from pathlib import Path

import numpy as np

from wsaed import nets, scoring, training
from wsaed.corpora import Corpus, Split
from wsaed.features import FRONT_ENDS

RESAMPLES = 50  # clip bootstraps stored with every run; the same ones for all of a replicate


def learn(corpus: Corpus, loss, target, spec: dict, replicate: int, folder: Path, tell) -> tuple:
    """A net of the spec, trained by `training.tagger` and kept in ``folder``: its best epoch.

    loss, target: of the training clips, as `training.tagger` takes them; the best mAP on the
    validation clips' annotated labels decides. Gives (the net, split -> features, its scores).
    """
    front_end = FRONT_ENDS[spec["front_end"]]
    parts = {name: split for name, split in corpus.splits.items() if len(split)}
    features = {name: training.resident(part.features(front_end)) for name, part in parts.items()}
    net = nets.initialised(spec, len(corpus.labels), replicate, features["train"])

    def validate() -> float:
        said = training.predict(net, features["validation"])[1]
        return map_of(corpus["validation"].clip_labels, said)

    learned = net, loss, features["train"], training.on_device(target), spec, replicate
    found = training.tagger(*learned, folder, tell, validate=validate, trunk=net)
    nets.save(net, folder)
    return net, features, found


def tagging_scores(split: Split, probabilities: np.ndarray, seed: int) -> dict:
    """AP and AUC of a split: per class, macro, and macro over clip resamples.

    Against the labels as annotated (``_noisy``: what the paper could measure) and against the
    true ones (``_clean``) where the corpus knows them. Classes without positives are skipped and
    counted. Keys: map_*, mauc_*, dprime_*, ap_* and auc_* (per class), map_*_resampled.
    """
    weights = scoring.bootstrap_weights(split.groups, RESAMPLES, seed)
    scores = {}
    for kind, labels in (("noisy", split.clip_labels), ("clean", split.clean_labels)):
        if labels is None:
            continue
        # AP last: the classes that it skips are those without positives
        for name, metric in (("auc", scoring.roc_auc), ("ap", scoring.average_precision)):
            mean, by_class = f"m{name}_{kind}", metric(labels, probabilities)
            scores[mean], scores[f"skipped_{kind}"] = scoring.macro(by_class)
            scores[f"{name}_{kind}"] = rounded(by_class)
            resampled = metric(labels, probabilities, weights)
            scores[f"{mean}_resampled"] = rounded(np.nanmean(resampled, 1))
        scores[f"dprime_{kind}"] = float(scoring.d_prime(scores[f"mauc_{kind}"]))
    return scores


def rounded(values, digits: int = 5) -> list[float | None]:
    """Values for JSON: rounded, None where a class could not be scored."""
    return [None if np.isnan(v) else round(float(v), digits) for v in np.asarray(values)]


def f1_scores(name: str, counts: np.ndarray, weights: np.ndarray | None) -> dict:
    """Macro F1 as ``name``, the same with _class and, where there are weights, _resampled.

    counts: as `scoring.class_f1` takes them; weights: of clip resamples.
    """
    by_class = scoring.class_f1(counts)
    found = {name: scoring.macro(by_class)[0], f"{name}_class": rounded(by_class)}
    if weights is not None:
        resampled = scoring.macro(scoring.class_f1(counts, weights))[0]
        found[f"{name}_resampled"] = rounded(resampled, 4)
    return found


def missing_positive_auc(split: Split, outputs: np.ndarray) -> float:
    """AUC, macro over classes, for finding the positives that the annotation misses.

    Among the clips that carry no label for a class, how well ``outputs`` (clips, classes) rank
    those where it sounds all the same: 0.5 knows nothing, 1 finds them all.
    """
    aucs = []
    for c in range(outputs.shape[1]):
        unlabelled = split.clip_labels[:, c] < 0.5
        truth = split.clean_labels[unlabelled, c : c + 1]
        aucs.append(scoring.roc_auc(truth, outputs[unlabelled, c : c + 1])[0])
    return scoring.macro(aucs)[0]


def training_quality(corpus: Corpus, outputs: np.ndarray, target: np.ndarray) -> dict:
    """How far a net memorised its labels, and what its target and outputs know of the truth.

    "train_positives": the annotated clips of the label that has fewest.
    """
    split = corpus["train"]
    scores = {"train_map_noisy": map_of(split.clip_labels, outputs)}
    scores["train_positives"] = int(np.min(split.clip_labels.sum(0)))
    if split.clean_labels is not None:
        for name, given in (("train", outputs), ("target", target)):
            scores[f"{name}_map_clean"] = map_of(split.clean_labels, given)
            scores[f"{name}_missing_auc"] = missing_positive_auc(split, given)
    return scores


def map_of(labels: np.ndarray, outputs: np.ndarray) -> float:
    """Mean average precision over the classes that have a positive."""
    return scoring.macro(scoring.average_precision(labels, outputs))[0]
