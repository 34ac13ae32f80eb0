"""The shallow student's teacher: several guided-learning nets, whose outputs become pseudolabels.

Section 3.2 of the paper. The nets are the joint paper's runs; nothing is trained here.
Notebook: shallow_student/method.ipynb.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from wsaed import corpora, costs, nets, postprocess, training
from wsaed.features import FRONT_ENDS
from wsaed.joint import scores
from wsaed.tagging import rounded

SPLITS = ("validation", "test", "unlabelled")


def combined(members: Iterable[tuple], rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Frame and clip probabilities of an ensemble, shaped as its members'.

    members: each one's (clips, frames, classes) and (clips, classes). "mean": plain means, soft
    targets. "vote": guided learning's own rule: a clip's probability is the share of members that
    say 0.5 or more, a frame's the mean over those members, 0 where there is none.
    """
    if rule not in ("mean", "vote"):
        raise ValueError(f"an ensemble's rule must be mean or vote, got {rule!r}")
    frames = clips = voices = count = 0
    for p, c in members:
        vote = (c >= 0.5).astype(c.dtype) if rule == "vote" else np.ones_like(c)
        frames, voices = frames + p * vote[:, None], voices + vote
        clips, count = clips + (vote if rule == "vote" else c), count + 1
    return frames / np.maximum(voices, 1)[:, None], clips / count


def ensemble(spec: dict, replicate: int, folder: Path, teachers: list[Path], tell) -> dict:
    """Combine the nets in ``teachers`` by spec["rule"] and score what they say together.

    They hear this replicate's own corpus. Into ``folder`` go unlabelled_frames.npy and
    unlabelled_clips.npy, float16. With spec["single"] the net that is best on validation speaks
    alone, and the score "member" says which (from 0). What a clip costs is that of all who speak.
    """
    corpus, front_end = corpora.load(spec["corpus"], replicate), FRONT_ENDS[spec["front_end"]]
    members = [
        nets.trained(teacher, len(corpus.labels), path)
        for teacher, path in zip(spec["teachers"], teachers, strict=True)
    ]
    cost = costs.of_clip(members[0], front_end)
    members = [net.to(training.device()) for net in members]
    heard = {name: training.resident(corpus[name].features(front_end)) for name in SPLITS}

    def outputs(name: str) -> Iterable[tuple]:
        return (training.predict(net, heard[name]) for net in members)

    said = outputs("validation")
    f1 = [scores.validation_f1(corpus, *found, front_end.seconds) for found in said]
    more = {"members_event_f1_validation": rounded(f1)}
    if spec["single"]:
        more["member"] = int(np.argmax(f1))
        members = [members[more["member"]]]
    more |= {name: len(members) * one for name, one in cost.items()}
    found = {name: combined(outputs(name), spec["rule"]) for name in SPLITS}
    for part, p in zip(("frames", "clips"), found["unlabelled"], strict=True):
        np.save(folder / f"unlabelled_{part}.npy", p.astype(np.float16))
    free, (t_s, t_w) = corpus["unlabelled"], found["unlabelled"]
    if free.hidden is not None:
        rate = t_s.shape[1] / front_end.seconds
        truth = postprocess.active_frames(free.hidden, corpus.labels, t_s.shape[1], rate)
        more |= pseudolabel_errors(t_s, t_w, truth)
    rules = ("average", "median", "none")
    return more | scores.score(corpus, found, front_end.seconds, replicate, rules)


def pseudolabel_errors(t_s: np.ndarray, t_w: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """How wrong frame pseudolabels are, cut at a half; t_s, truth (clips, frames, classes).

    "pseudo_error": the share of wrong cells; "pseudo_error_mask": of those that the event mask of
    t_w (clips, classes) keeps; "absent_active": the share of active cells among those of classes
    that a clip has not got, about which guided learning's frames say nothing.
    """
    active, truth = t_s >= 0.5, truth > 0
    wrong, absent = (active != truth).mean(1), ~truth.any(1)
    shares = {
        "pseudo_error": wrong.mean(),
        "pseudo_error_mask": wrong[t_w >= 0.5].mean(),
        "absent_active": active.mean(1)[absent].mean(),
    }
    return {name: float(share) for name, share in shares.items()}
