"""How fast the project is here, each part beside what it is measured against, in one run.

    python -m wsaed.bench [--quick] [--threads N] [--json PATH]

Both sides of a comparison run in this process, one after the other, on the same input; a time is
the best of several, by the wall clock, so trust no small difference on a busy machine. Nothing is
written unless ``--json`` says where.
"""

import argparse
import csv
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from wsaed import corpora, scoring
from wsaed.bench_networks import Row, compiled, networks, race, students, threads
from wsaed.corpora import Event
from wsaed.features import FRONT_ENDS, FrontEnd, log_mel


def front_ends(quick: bool) -> Iterator[Row]:
    """Log-mel of a ten-second clip against librosa, one thread each, and how far they differ."""
    for name, front_end in list(FRONT_ENDS.items())[: 1 if quick else None]:
        yield from log_mels(f"log-mel, {name}, one thread", front_end, 5 if quick else 30)


def log_mels(part: str, f: FrontEnd, times: int) -> Iterator[Row]:
    import librosa

    t = np.arange(round(f.seconds * f.rate)) / f.rate
    clip = 0.3 * np.sin(2 * np.pi * 440 * t) + 0.1 * np.random.default_rng(0).standard_normal(
        len(t)
    )
    clip = clip.astype(np.float32)
    stft = {"n_fft": f.n_fft, "hop_length": f.hop, "win_length": f.window, "pad_mode": "reflect"}
    mel = {"sr": f.rate, "n_mels": f.mels, "fmin": f.f_min, "fmax": f.f_max}
    bank = librosa.filters.mel(n_fft=f.n_fft, **mel)

    def called():
        power = librosa.feature.melspectrogram(y=clip, **stft, **mel)
        return np.log(power.T[: f.frames] + f.floor)

    def kept():
        spectrum = librosa.stft(clip, **stft)
        power = bank @ (spectrum.real**2 + spectrum.imag**2)
        return np.log(power.T[: f.frames] + f.floor)

    with threads(1):
        ours, theirs, theirs_kept = race(times, lambda: log_mel(clip, f), called, kept)
        difference = np.abs(log_mel(clip, f).astype(np.float32) - called())
    yield part, "this project", 1e3 * ours, "ms"
    yield part, "librosa, as called", 1e3 * theirs, "ms"
    yield part, "librosa, filter bank kept", 1e3 * theirs_kept, "ms"
    yield part, "largest difference (16 bits stored)", float(difference.max()), "ln"


def scenes(quick: bool) -> Iterator[Row]:
    """Soundscapes mixed, and their features computed, a second and process."""
    count = 8 if quick else 40
    spec = {"name": "soundscapes", "shape": "ontology", "bank": None}
    spec |= {"train": count + 1, "validation": 1, "test": 1}
    split = corpora.load(spec, 0)["train"]
    front_end = FRONT_ENDS["secost_50ms"]
    with threads(1):
        split.waveform(count)
        start = time.perf_counter()
        waveforms = [split.waveform(i) for i in range(count)]
        mixed = time.perf_counter() - start
        start = time.perf_counter()
        for waveform in waveforms:
            log_mel(waveform, front_end)
        made = time.perf_counter() - start
    part = "soundscapes, one thread"
    yield part, "ten-second scenes mixed", count / mixed, "scenes/s"
    yield part, "log-mel, secost_50ms", count / made, "scenes/s"
    yield part, "both", count / (mixed + made), "scenes/s"


def scores(quick: bool) -> Iterator[Row]:
    """Our scoring against sed_eval and scikit-learn: the same numbers, and how much sooner."""
    real = Path(os.environ.get("REAL") or Path(__file__).parents[1] / "../shared/data")
    real = real / "dcase2019_baseline"
    if real.is_dir():
        source = "DCASE 2019 baseline"
        reference = read_events(real / "ground_truth.tsv")
        estimated = read_events(real / "predictions_0.5.tsv")
    else:
        source = "random events"
        reference, estimated = random_events(100 if quick else 1000)
    pairs = (
        ("event F1", scoring.event_f1, scoring.sed_eval_event),
        ("segment F1", scoring.segment_f1, scoring.sed_eval_segment),
    )
    for name, ours, theirs in pairs:
        part = f"{name}, {source}, {len(reference)} files"
        got, expected = ours(reference, estimated), theirs(reference, estimated)
        difference = max(np.nanmax(np.abs(got[0] - expected[0])), abs(got[1] - expected[1]))
        calls = (partial(f1, reference, estimated) for f1 in (ours, theirs))
        mine, other = race(1 if quick else 3, *calls)
        yield from compared(part, "sed_eval", mine, other, float(difference))
        yield part, "macro", got[1], ""
    yield from ranking(quick)


def ranking(quick: bool) -> Iterator[Row]:
    """Average precision over bootstrap resamples against scikit-learn's, class by class."""
    from sklearn.metrics import average_precision_score

    resamples, clips, classes = (2, 1000, 20) if quick else (50, 1000, 60)
    rng = np.random.default_rng(0)
    labels = (rng.random((clips, classes)) < 0.05).astype(int)
    probabilities = np.round(rng.random((clips, classes)) * 0.7 + 0.3 * labels, 2)  # ties
    weights = scoring.bootstrap_weights(np.arange(clips), resamples, 0)
    got = scoring.average_precision(labels, probabilities, weights)
    (mine,) = race(3, partial(scoring.average_precision, labels, probabilities, weights))
    start = time.perf_counter()
    expected = [
        [average_precision_score(*pair, sample_weight=w) for pair in columns]
        for w in weights
        for columns in [list(zip(labels.T, probabilities.T, strict=True))]
    ]
    other = time.perf_counter() - start
    part = f"AP, {resamples} resamples, {clips} clips, {classes} classes"
    yield from compared(part, "scikit-learn", mine, other, float(np.abs(got - expected).max()))


def compared(part: str, library: str, ours: float, theirs: float, difference: float):
    yield part, "this project", 1e3 * ours, "ms"
    yield part, library, 1e3 * theirs, "ms"
    yield part, "times faster", theirs / ours, ""
    yield part, "largest difference", difference, ""


def read_events(path: str | Path) -> dict[str, list[Event]]:
    """file -> events of a table with columns filename, onset, offset, event_label (tabs)."""
    events: dict[str, list[Event]] = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            found = events.setdefault(row["filename"], [])
            if row["event_label"]:
                times = float(row["onset"]), float(row["offset"])
                found.append(Event(row["event_label"], *times))
    return events


def random_events(files: int) -> tuple[dict, dict]:
    """A made annotation and a made system's answer: ten classes, some hits, some misses."""
    rng = np.random.default_rng(0)
    reference, estimated = {}, {}
    for f in range(files):
        onsets = rng.uniform(0, 8, rng.integers(0, 6))
        spans = [(f"class {rng.integers(10)}", onset, onset + 1.5) for onset in onsets]
        reference[str(f)] = spans
        jitter = rng.normal(0, 0.15, len(spans))
        estimated[str(f)] = [
            (label, max(0.0, on + d), off + d)
            for (label, on, off), d in zip(spans, jitter, strict=True)
        ]
    return reference, estimated


PARTS = {
    "log-mel": front_ends,
    "networks": networks,
    "compiled": compiled,
    "students": students,
    "scenes": scenes,
    "scores": scores,
}


def main(arguments: list[str] | None = None) -> None:
    """Print the table part by part; see ``--help``."""
    parser = argparse.ArgumentParser(
        prog="python -m wsaed.bench", description=__doc__.split("\n")[0]
    )
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)} (all)")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, smaller batches")
    parser.add_argument("--threads", type=int, help="CPU threads of the networks (torch's choice)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the rows there too")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {sorted(unknown)[0]!r}; choose from {', '.join(PARTS)}")
    if options.threads:
        torch.set_num_threads(options.threads)
    about = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else None,
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
    print(", ".join(f"{k} {v}" for k, v in about.items() if v is not None), flush=True)
    rows, last = [], None
    for part in options.parts or PARTS:
        for row in PARTS[part](options.quick):
            if row[0] != last:
                last = row[0]
                print(f"\n{last}")
            print(f"  {row[1]:<36}{row[2]:>12.6g} {row[3]}", flush=True)
            rows.append(row)
    if options.json:
        names = "part", "what", "value", "unit"
        text = json.dumps(
            about | {"rows": [dict(zip(names, r, strict=True)) for r in rows]}, indent=1
        )
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
