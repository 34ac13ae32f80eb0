"""AudioSet as a `Corpus`: the official lists, a folder of audio, features in shards.

AUDIOSET names a folder with the lists as they are published

    balanced_train_segments.csv  unbalanced_train_segments.csv  eval_segments.csv
    class_labels_indices.csv
    audioset_train_strong.tsv  audioset_eval_strong.tsv  (optional: events of validation and test)

and, in any folders below it, the recordings. A recording holds one segment, from the segment's
start, and is found by its name: Y<YTID>.wav, <YTID>.wav, <YTID>_<start in ms>.flac,
<YTID>_<start>_<end>.ogg; any rate, any channels, WAV, FLAC, Ogg, Opus or MP3 (convert M4A and
WebM).

Splits (SeCoST section 4): train is balanced + unbalanced without a held-out validation of 25,000
that has every class; test is eval. They are drawn once, by a fixed seed, among the segments whose
audio is there, so replicates differ in initialisation and order alone. Every file is decoded
before it enters a split; what is missing, broken or short is counted in ``about`` and listed in
the cache.

The full lists have 2,084,320 segments (published downloads hold about 94 % of them). Computed, as
clips x frames x mels x 2 bytes: 267 GB of features at 10 ms hop and 64 mels, 53 GB at 50 ms; and
1.1 GB of labels. Extrapolated from the processor time of 55 ten-second stereo clips at 44.1 kHz on
one busy server core, 17 s per 1,000 clips of WAV, 20 s of FLAC, 33 s of Ogg: 10, 11 and 19 hours
of one core at 10 ms hop, divided by the cores as long as the disk keeps up (WAV: 3.7 TB to read).
On synthetic lists of that size, reading them and drawing the splits takes half a minute and 2.7 GB
of memory at its peak, in every process; looking through the folder comes on top.

``python -m wsaed.corpora.audioset`` makes it all ahead of a run, in parallel (JOBS) and resumable:
what is done is kept in CACHE/audioset. Notebook: start_here.ipynb.
"""

import hashlib
import os
import re
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from wsaed.corpora import Corpus, Split, audioset_lists, recordings
from wsaed.features import FRONT_ENDS

DEFAULTS = {"validation": 25_000, "train": 0, "test": 0}

_NAME = re.compile(
    rf"Y?([\w-]{{11}})(?:_\d[\d._-]*)?\.(?:{'|'.join(recordings.SUFFIXES)})", re.ASCII | re.I
)


def load(spec: dict, replicate: int) -> Corpus:
    """Train, validation and test of the AudioSet under the folder AUDIOSET.

    spec: ``validation`` (25000), ``train`` and ``test`` (a number of clips; 0: all), ``front_end``
    (make these features in the pass that checks the audio). ``replicate`` changes nothing here.
    clip_labels are (clips, classes) uint8, a quarter of float32's memory. Test and validation have
    ``events`` where the strong lists are there, with None for a clip that they leave out. Raises
    ValueError, FileNotFoundError or OSError in one line.
    """
    return _corpus(spec, jobs=1)  # a pool's processes call this at once, and share the work


def fingerprint(spec: dict) -> str:
    """Digest of a user's own AudioSet: the lists, and the recordings' names and sizes."""
    root = recordings.root_of("AUDIOSET")
    lists = [audioset_lists.find(root, x) for x in (*audioset_lists.LISTS, audioset_lists.CLASSES)]
    lists += [root / x for x in audioset_lists.STRONG.values() if (root / x).is_file()]
    parts = [hashlib.sha256(path.read_bytes()).hexdigest() for path in lists]
    return recordings.digest_of(*parts, repr(sorted(find_recordings(root).values())))


def find_recordings(root: Path) -> dict[str, tuple[str, int]]:
    """{YTID: (name within root, bytes)} of the recordings anywhere under ``root``."""
    found = {}
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            match, path = _NAME.fullmatch(name), os.path.join(folder, name)
            if match and os.path.isfile(path):  # a link to nothing counts as missing
                one = (os.path.relpath(path, root), os.path.getsize(path))
                found[match[1]] = min(one, found.get(match[1], one))
    return found


def _counts(spec: dict) -> dict[str, int]:
    """Clips by split, 0 for all, after a check of the whole spec."""
    counts = DEFAULTS | {name: n for name, n in spec.items() if name not in ("name", "front_end")}
    for name, n in counts.items():
        if name not in DEFAULTS or type(n) is not int or n < 0:
            options = ", ".join(DEFAULTS)
            raise ValueError(f"audioset: {name}={n!r}: give {options} as numbers of clips, 0: all")
    if spec.get("front_end") not in (None, *FRONT_ENDS):
        raise ValueError(f"audioset: front_end is one of {', '.join(FRONT_ENDS)}")
    return counts


def _corpus(spec: dict, jobs: int) -> Corpus:
    counts, root = _counts(spec), recordings.root_of("AUDIOSET")
    names, mids, segments, first_test = audioset_lists.read(root)
    found = find_recordings(root)
    files = [found.get(segment[:11]) for segment in segments.ids]
    present = np.array([file is not None for file in files])
    if not present.any():
        raise FileNotFoundError(
            f"{root}: no recording of any of {len(files)} segments: name it Y<YTID>.wav or "
            "<YTID>_<start in ms>.wav (or .flac, .ogg, .opus, .mp3)"
        )
    drawn = audioset_lists.draw(segments.labels, present, first_test, counts)
    long = segments.seconds.tolist()
    blocks = {
        split: recordings.blocks_of([(segments.ids[i], *files[i], long[i]) for i in rows])
        for split, rows in drawn.items()
    }
    together = [*chain(*blocks.values())]
    wrong = recordings.check("AudioSet", root, together, spec.get("front_end"), jobs)
    broken = {segment for segment, state, *_ in wrong if state == "broken"}
    notes, splits = [], {}
    for name, rows in drawn.items():
        rows = np.array([i for i in rows if segments.ids[i] not in broken], int)
        if not len(rows):
            raise ValueError(f"{root}: no recording of {name} is there and can be decoded")
        clips, labels = [files[i][0] for i in rows], segments.labels[rows].toarray()
        without = np.count_nonzero(~labels.any(0))
        notes += [f"{without} classes never occur in {name}"] if without else []
        strong = root / audioset_lists.STRONG.get(name, "")
        events, told = _events(strong, mids, names, [segments.ids[i] for i in rows])
        notes += told
        features = partial(recordings.features, "AudioSet", root, blocks[name])
        waveform = partial(recordings.waveform, root, clips)
        splits[name] = Split(
            name, clips, events, labels, None, rows, features, waveform, recordings.RATE
        )
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in splits.items())
    missing = [segment for segment, file in zip(segments.ids, files, strict=True) if not file]
    wrong = recordings.told("AudioSet", "segments", len(files), missing, wrong)
    about = f"AudioSet: {sizes} clips of {len(names)} classes; {wrong}"
    return Corpus("audioset", names, splits, "; ".join([about, *notes]) + ".")


def _events(path: Path, mids: dict, names: tuple, ids: list[str]) -> tuple[list | None, list[str]]:
    """(events by clip, a note) of a strong list; (None, no note) where there is none."""
    if not path.is_file():
        return None, []
    strong, left_out = audioset_lists.read_strong(path, {mid: names[k] for mid, k in mids.items()})
    events = [strong.get(segment) for segment in ids]
    known = sum(mine is not None for mine in events)
    outside = f"{left_out:,} events have labels outside the list"
    return events, [f"{path.name} gives events of {known:,} clips ({outside})"]


def main(arguments: list[str] | None = None) -> None:
    """Check all audio and make the features ahead of a run; errors are one line and exit 1."""
    recordings.command("AudioSet", __doc__, DEFAULTS, _corpus, arguments, "secost")


if __name__ == "__main__":
    main()
