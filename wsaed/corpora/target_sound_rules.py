"""The rules that make target sound detection's sets out of annotated clips, as pure functions.

Which classes are S-TSD's and L-TSD's, which clips are held out for validation, what a reference
is. They follow the authors' public code where the paper is silent.
Notebook: mixed_tsd/method.ipynb.
"""

from collections import Counter
from itertools import islice

import numpy as np

from wsaed.corpora import Event
from wsaed.corpora.recordings import Clip, hashed
from wsaed.files import table

TRAIN_EVENTS, EVAL_EVENTS = 500, 50  # L-TSD's classes have more
BASE_CLASSES = 51  # of S-TSD
VAGUE = table("corpora/readers.yaml")["target_sound"]["vague"]
HELD_OUT = 35  # of 1,000 clips of a class
SECONDS = 10.0


def roles(train: Counter, test: Counter) -> dict[str, tuple[str, ...]]:
    """{"base_a": S-TSD's classes, "novel": L-TSD's}, from the events a class in the two lists.

    Equally frequent ones of S-TSD rank by name. Raises ValueError where a set stays empty.
    """
    both = [name for name in train if test[name] and name not in VAGUE]
    novel = {name for name in both if train[name] > TRAIN_EVENTS and test[name] > EVAL_EVENTS}
    others = sorted(set(both) - novel, key=lambda name: (-train[name], name))
    if not novel or not others:
        raise ValueError(
            f"AudioSet's strong lists have {len(novel)} classes of L-TSD (more than "
            f"{TRAIN_EVENTS} training and {EVAL_EVENTS} evaluation events) and {len(others)} "
            "others: fetch both lists whole"
        )
    return {"base_a": tuple(sorted(others[:BASE_CLASSES])), "novel": tuple(sorted(novel))}


def held_out(clip_labels: np.ndarray) -> np.ndarray:
    """(clips,) bool, the validation clips: about 3.5 % of the clips of each class.

    Greedy, as in the authors' public code: clip after clip goes in unless one of its classes has
    its 3.5 % (rounded up) by then. clip_labels: (clips, classes).
    """
    on = clip_labels > 0
    room, held = -(-HELD_OUT * on.sum(0) // 1000), np.zeros(len(on), bool)
    for i, mine in enumerate(on):
        held[i] = (room[mine] > 0).all()
        room -= held[i] * mine
    return held


def intervals(events: list[Event], label: str, alone: bool = True) -> list[tuple[float, float]]:
    """Onsets and offsets in s of a clip's events of one class, joined where they meet, in order.

    alone: without those that overlap an event of another class.
    """
    others = [e for e in events if e.label != label] if alone else []
    spans = []
    for event in sorted((e for e in events if e.label == label), key=lambda e: e.onset):
        if any(event.onset < e.offset and e.onset < event.offset for e in others):
            continue
        if spans and event.onset <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(spans[-1][1], event.offset)
        else:
            spans.append((event.onset, event.offset))
    return spans


def references(clips: list[Clip], label: str, count: int) -> tuple[list[Clip], bool]:
    """(up to ``count`` clips cut to a class's references, whether it is alone in them).

    Of the first clips in which it is alone, ten times as many, those where it is for longest. A
    class that is alone in no two clips (a conversation without speech) is taken with what else
    sounds. They come in the order of hashes, so that every half is as good.
    """
    for alone in (True, False):
        found = ((clip, intervals(clip.events, label, alone)) for clip in clips)
        usable = list(islice((x for x in found if _surely_there(*x)), 10 * count))
        if len(usable) >= 2:
            break
    usable.sort(key=lambda x: -min(SECONDS, sum(offset - onset for onset, offset in x[1])))
    chosen = sorted(usable[:count], key=lambda x: hashed(f"{label} {x[0].id}"))
    found = []
    for clip, spans in chosen:
        whole = [Event(label, 0.0, SECONDS, clip.id)]
        clip = clip._replace(name=f"{label}_{clip.name}", events=whole, labels=[label])
        found.append(clip._replace(spans=tuple(spans)))
    return found, alone


def _surely_there(clip: Clip, spans: list) -> bool:
    """Whether some of the spans are heard in a recording that lacks its last 5 %."""
    return bool(spans) and spans[0][0] < 0.94 * max(event.offset for event in clip.events)
