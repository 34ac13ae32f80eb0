"""Scores of tagging and of detection, each for all classes and, if wanted, many resamples at once.

The event and segment scores are sed_eval's; what stands here besides gives the same numbers
without its loops, and as counts a clip, which a bootstrap over clips can weight.
Notebook: start_here.ipynb shows what each score sees and what it does not.

Events come as a dict: file -> list of (label, onset, offset, ...), in seconds; a
`Event` is such a tuple. A file without events keeps its empty list: its false
alarms count. Files that only the estimate names are left out, as in the DCASE evaluations.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.special import ndtri

Events = Mapping[str, Sequence[tuple]]


class Event(NamedTuple):
    """One sound event of a clip: a label and its onset and offset in seconds."""

    label: str
    onset: float
    offset: float
    source: str = ""  # identity of what sounds, e.g. "Dog/test/17"; "" where unknown
    snr: float = float("nan")  # dB above the background; nan where unknown


def average_precision(labels, probabilities, weights=None) -> np.ndarray:
    """Area under the precision-recall steps, a class; ties count as one threshold.

    labels (clips, classes) 0 or 1, probabilities (clips, classes); weights, if given, (clips,)
    or (resamples, clips): how often each clip counts. Gives (classes,) or (resamples, classes),
    nan where a class has no positive. The mean over classes is SeCoST's mAP (its section 4);
    the numbers are scikit-learn's. ValueError for shapes that do not fit. Notebook: start_here.
    """

    def one(weight, positive, start, end):
        hit = weight[positive]
        found = np.cumsum(hit, axis=0)
        at_threshold = found[np.searchsorted(positive, end, side="right") - 1]
        chosen = np.cumsum(weight, axis=0)[end]
        precision = np.divide(at_threshold, chosen, out=np.zeros_like(hit), where=chosen > 0)
        return (hit * precision).sum(axis=0) / found[-1]

    return _by_class(one, labels, probabilities, weights)


def roc_auc(labels, probabilities, weights=None) -> np.ndarray:
    """Chance that a positive clip scores above a negative one, a tie counting half, a class.

    Shapes and errors as in `average_precision`; nan where a class lacks positives or negatives.
    """

    def one(weight, positive, start, end):
        hit = weight[positive]
        negative = weight.copy()
        negative[positive] = 0
        passed = np.concatenate([np.zeros_like(weight[:1]), np.cumsum(negative, axis=0)])
        below = passed[-1] - (passed[start] + passed[end + 1]) / 2
        return (hit * below).sum(axis=0) / (hit.sum(axis=0) * passed[-1])

    return _by_class(one, labels, probabilities, weights)


def _by_class(one: Callable, labels, probabilities, weights) -> np.ndarray:
    """Sort once a class, then hand ``one`` the weights in falling order of probability.

    ``one(weight (clips, resamples), positive, start, end) -> (resamples,)``: the positives'
    ranks, and the first and last rank of the clips tied with each.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    if labels.ndim != 2 or labels.shape != probabilities.shape:
        shapes = f"labels {labels.shape} and probabilities {probabilities.shape}"
        raise ValueError(f"{shapes} must both be (clips, classes)")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 or 1; pass the annotation, not a soft target")
    if not np.isfinite(probabilities).all():
        bad = int(np.argwhere(~np.isfinite(probabilities))[0, 0])
        raise ValueError(f"probabilities hold a nan or infinity, first in clip {bad}")
    clips, classes = labels.shape
    weight = np.ones(clips) if weights is None else np.asarray(weights, float)
    if weight.ndim > 2 or weight.shape[-1:] != (clips,):
        raise ValueError(f"weights {weight.shape} must be ({clips},) or (resamples, {clips})")
    by_clip = np.ascontiguousarray(np.atleast_2d(weight).T)
    out = np.full((by_clip.shape[1], classes), np.nan)
    for c in range(classes):
        order = np.argsort(-probabilities[:, c], kind="stable")
        positive = np.flatnonzero(labels[order, c])
        if len(positive):
            ends = np.append(np.flatnonzero(np.diff(probabilities[order, c])), clips - 1)
            tie = np.searchsorted(ends, positive)
            start = np.append(0, ends[:-1] + 1)[tie]
            with np.errstate(invalid="ignore"):  # 0 / 0: nothing to rank in a resample
                out[:, c] = one(by_clip[order], positive, start, ends[tie])
    return out.reshape(*weight.shape[:-1], classes)


def d_prime(auc):
    """The separation of two unit normals that has this area: sqrt(2) times the normal quantile."""
    return np.sqrt(2) * ndtri(auc)


def macro(values) -> tuple:
    """Mean over the classes that have a score, and how many have none.

    values (..., classes) with nan for none -> (...,) float, (...,) int, plain numbers for one row.
    nan if all are nan.
    """
    values = np.asarray(values, float)
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0).sum(axis=-1)
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    skipped = values.shape[-1] - count
    return (mean, skipped) if values.ndim > 1 else (float(mean), int(skipped))


def bootstrap_weights(groups, resamples: int, seed: int) -> np.ndarray:
    """How often each clip counts in each bootstrap resample: (resamples, clips) int.

    groups (clips,): clips with the same number share a sound source, and are drawn together,
    with replacement, as many groups as there are.
    """
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    count = group.max() + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples)
    return drawn[:, group]


def tagging_f1(labels, probabilities, threshold=0.5, weights=None) -> np.ndarray:
    """F1 of clip tags at a threshold (or one a class), present from it upwards, a class.

    Shapes as in `average_precision`. 2 tp / (2 tp + fp + fn), and 0 where that is undefined, as
    in the DCASE 2019 evaluation: unlike the event scores, no class drops out of the mean.
    """
    counts = tagging_counts(labels, np.asarray(probabilities) >= threshold)
    return np.nan_to_num(class_f1(counts, weights))


def tagging_counts(labels, said) -> np.ndarray:
    """What `tagging_f1` counts, a clip: (clips, classes, 3) hits, reference, estimated tags."""
    present, said = np.asarray(labels) > 0, np.asarray(said, bool)
    if present.shape != said.shape:
        raise ValueError(f"labels {present.shape} and tags {said.shape} differ in shape")
    return np.stack([present & said, present, said], axis=-1)


def event_f1(reference: Events, estimated: Events, labels=None, t_collar=0.2, percentage=0.2):
    """Event-based F1 with onset and offset: ((classes,), their mean).

    An estimated event hits a reference event of its class if their onsets differ by at most
    ``t_collar`` seconds and their offsets by at most that or ``percentage`` of the reference
    event's length, whichever is longer. As many hits count as can be paired one to one.
    A class without reference events has nan and stays out of the mean; one that the system
    never names has 0. The numbers are `sed_eval_event`'s. labels: the order of the classes, by
    default all that occur, sorted. ValueError for an impossible event or a label outside
    ``labels``. Notebook: start_here.
    """
    labels = _labels(reference, estimated, labels)
    by_class = class_f1(event_counts(reference, estimated, labels, t_collar, percentage))
    return by_class, macro(by_class)[0]


def segment_f1(reference: Events, estimated: Events, labels=None, resolution=1.0):
    """Segment-based F1 on a grid of ``resolution`` seconds: ((classes,), their mean).

    An event is active in every segment that it touches. Classes and errors as in `event_f1`;
    the numbers are `sed_eval_segment`'s.
    """
    labels = _labels(reference, estimated, labels)
    by_class = class_f1(segment_counts(reference, estimated, labels, resolution))
    return by_class, macro(by_class)[0]


def class_f1(counts, weights=None) -> np.ndarray:
    """F1 a class from (files, classes, 3) counts: hits, reference, estimated.

    weights (files,) or (resamples, files), as `bootstrap_weights` gives them ->
    (classes,) or (resamples, classes); nan where the reference has nothing of a class.
    """
    counts = np.asarray(counts, float)
    weights = np.ones(len(counts)) if weights is None else np.asarray(weights, float)
    hits, reference, estimated = np.moveaxis(np.tensordot(weights, counts, 1), -1, 0)
    out = np.full_like(hits, np.nan)
    return np.divide(2 * hits, reference + estimated, out=out, where=reference > 0)


def event_counts(reference: Events, estimated: Events, labels, t_collar=0.2, percentage=0.2):
    """What `event_f1` counts, a file: (files, classes, 3) hits, reference, estimated events."""
    ours, theirs = _table(reference, reference, labels), _table(estimated, reference, labels)
    theirs = theirs[np.argsort(theirs[:, 0], kind="stable")]
    first = np.searchsorted(theirs[:, 0], ours[:, 0], side="left")
    count = np.searchsorted(theirs[:, 0], ours[:, 0], side="right") - first
    # all pairs of one file and class; both sides never leave it, so one matching does for all
    i = np.repeat(np.arange(len(ours)), count)
    j = np.arange(len(i)) + np.repeat(first - np.cumsum(count) + count, count)
    _, onset, offset = ours[i].T
    hit = np.abs(onset - theirs[j, 1]) <= t_collar
    hit &= np.abs(offset - theirs[j, 2]) <= np.maximum(t_collar, percentage * (offset - onset))
    graph = coo_array((hit[hit], (i[hit], j[hit])), shape=(len(ours), len(theirs)))
    paired = maximum_bipartite_matching(graph.tocsr(), perm_type="column") >= 0
    return _count((ours[paired, 0], ours[:, 0], theirs[:, 0]), len(reference), len(labels))


def segment_counts(reference: Events, estimated: Events, labels, resolution=1.0) -> np.ndarray:
    """What `segment_f1` counts, a file: (files, classes, 3) active segments: both, either one."""
    found = []
    for events in (reference, estimated):
        key, onset, offset = _table(events, reference, labels).T
        spans = zip(key, np.floor(onset / resolution), np.ceil(offset / resolution), strict=True)
        found.append({(k, s) for k, first, end in spans for s in range(int(first), int(end))})
    ours, theirs = found
    keys = [np.array([k for k, _ in pairs]) for pairs in (ours & theirs, ours, theirs)]
    return _count(keys, len(reference), len(labels))


def _labels(reference: Events, estimated: Events, labels: Iterable[str] | None) -> list[str]:
    if labels is not None:
        return list(labels)
    rows = [e for f, es in reference.items() for e in (*es, *estimated.get(f, ()))]
    return sorted({event[0] for event in rows})


def _table(events: Events, files: Iterable[str], labels: Sequence[str]) -> np.ndarray:
    """(events, 3): file and class as one number, onset, offset; only events of ``files``."""
    number = {label: i for i, label in enumerate(labels)}
    rows = []
    for k, file in enumerate(files):
        for label, onset, offset, *_ in events.get(file, ()):
            if label not in number:
                raise ValueError(f"{file}: label {label!r} is not among the {len(number)} labels")
            if not 0 <= onset <= offset < np.inf:
                raise ValueError(f"{file}: {label} from {onset} to {offset} s is no event")
            rows.append((k * len(number) + number[label], onset, offset))
    return np.array(rows, float).reshape(-1, 3)


def _count(keys: Iterable[np.ndarray], files: int, classes: int) -> np.ndarray:
    """(files, classes, 3): how often each number of a file and class stands in three arrays."""
    counts = [np.bincount(one.astype(int), minlength=files * classes) for one in keys]
    return np.stack(counts, axis=-1).reshape(files, classes, 3)


def sed_eval_event(reference: Events, estimated: Events, labels=None, t_collar=0.2, percentage=0.2):
    """`event_f1` by sed_eval itself: optimal matching, ``zero_score`` for an empty output."""
    settings = {"t_collar": float(t_collar), "percentage_of_length": float(percentage)}
    settings["event_matching_type"] = "optimal"
    return _sed_eval("EventBasedMetrics", settings, reference, estimated, labels)


def sed_eval_segment(reference: Events, estimated: Events, labels=None, resolution=1.0):
    """`segment_f1` by sed_eval itself, with ``zero_score`` for an empty output."""
    settings = {"time_resolution": float(resolution)}
    return _sed_eval("SegmentBasedMetrics", settings, reference, estimated, labels)


def _sed_eval(metrics: str, settings: dict, reference: Events, estimated: Events, labels):
    from sed_eval import sound_event

    labels = _labels(reference, estimated, labels)
    metric = getattr(sound_event, metrics)(labels, **settings)
    # not all metrics of sed_eval 0.2.1 take it; without it a class never named has no F1 at all
    metric.empty_system_output_handling = "zero_score"
    names = ("event_label", "onset", "offset")
    for file, events in reference.items():
        both = events, estimated.get(file, ())
        rows = [[dict(zip(names, e, strict=False), filename=file) for e in es] for es in both]
        metric.evaluate(*rows)
    by_class = [metric.class_wise_f_measure(label)["f_measure"] for label in labels]
    if np.isnan(by_class).all():  # sed_eval would warn on its way to nan
        return np.array(by_class), float("nan")
    average = metric.results_class_wise_average_metrics()["f_measure"]["f_measure"]
    return np.array(by_class), float(average)


def localization_auc(scores: Sequence, active: Sequence, low=0.05, high=0.95) -> tuple[float, int]:
    """Mean over clips of the frame AUC inside a clip, and the number of clips it is the mean of.

    scores, active: a (steps,) array a clip, the class's frame probabilities and whether the
    event sounds (bool). Only clips with an active share between ``low`` and ``high`` count:
    in the others there is nothing to find. (nan, 0) if there is none. Notebook: localization.
    """
    values = []
    for score, is_active in zip(scores, active, strict=True):
        share = np.mean(is_active)
        if low <= share <= high and 0 < share < 1:
            values.append(roc_auc(np.asarray(is_active)[:, None], np.asarray(score)[:, None])[0])
    return (float(np.mean(values)), len(values)) if values else (float("nan"), 0)
