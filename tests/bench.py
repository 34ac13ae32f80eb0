"""How fast the project is here, each part beside what it is measured against: ``make bench``.

Both sides of a comparison run in this process, in turn, on the same input; a time is the best of
several, by the wall clock, so trust no small difference on a busy machine.
"""

import sys
from collections.abc import Callable, Iterator
from timeit import timeit

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from wsaed import corpora, scoring
from wsaed.features import FRONT_ENDS, log_mel
from wsaed.scoring import Event
from wsaed.secost.net import WelsNet

Row = tuple[str, str, float, str]  # part, what, value, unit


def race(times: int, *calls: Callable) -> list[float]:
    """Seconds that each call takes, the best of ``times`` rounds after one that doesn't count."""
    taken = [[timeit(call, number=1) for call in calls] for _ in range(times + 1)]
    return np.min(taken[1:], axis=0).tolist()


def compared(part: str, library: str, times: int, ours: Callable, theirs: Callable):
    """How long both take and how far apart they are: rows of numbers."""
    mine, other = race(times, ours, theirs)
    gap = max(float(np.nanmax(np.abs(np.subtract(*pair)))) for pair in zip(ours(), theirs()))  # noqa: B905
    yield part, "this project", 1e3 * mine, "ms"
    yield part, library, 1e3 * other, "ms"
    yield part, "largest difference", gap, ""


def features(quick: bool) -> Iterator[Row]:
    """Log-mel of ten seconds of noise, one thread, beside librosa (ours is stored in 16 bits)."""
    import librosa

    for name, f in list(FRONT_ENDS.items())[: 1 if quick else None]:
        wave = np.random.default_rng(0).standard_normal(round(f.seconds * f.rate), np.float32)
        stft = {"n_fft": f.n_fft, "hop_length": f.hop, "win_length": f.window, "power": f.power}
        mel = {"sr": f.rate, "n_mels": f.mels, "fmin": f.f_min, "fmax": f.f_max, "norm": f.norm}

        def theirs(f=f, wave=wave, more=stft | mel | {"pad_mode": "reflect"}):
            power = librosa.feature.melspectrogram(y=wave, window=f.window_shape, **more)
            return np.log(power.T[: f.frames] + f.floor)[None]

        def ours(f=f, wave=wave):
            return log_mel(wave, f).astype(np.float32)[None]

        yield from compared(f"log-mel, {name}", "librosa", 2 if quick else 20, ours, theirs)


def networks(quick: bool) -> Iterator[Row]:
    """WELS-Net forward and backward, one thread, as a share of what a matrix product reaches."""
    torch.manual_seed(0)
    net, x = WelsNet(60, width=0.125).train(), torch.randn(2 if quick else 32, 200, 64)
    y = (torch.rand(len(x), 60) < 0.05).float()
    a, b = torch.randn(2, 1024, 1024)

    def step():
        net.zero_grad(set_to_none=True)
        binary_cross_entropy(net(x)[1], y).backward()

    with FlopCounterMode(display=False) as counter:
        step()
    seconds, product = race(2 if quick else 8, step, lambda: a @ b)
    part, rate = f"WELS-Net 1/8, 200 x 64, batch {len(x)}", 2 * 1024**3 / product
    yield part, "forward and backward", len(x) / seconds, "clips/s"
    yield part, "of a matrix product's", 100 * counter.get_total_flops() / seconds / rate, "%"


def scenes(quick: bool) -> Iterator[Row]:
    """Scenes of the embedded corpus, mixed by one process."""
    count = 2 if quick else 40
    sizes = {"train": count, "validation": 1, "test": 1}
    split = corpora.load({"name": "soundscapes", "shape": "ontology"} | sizes, 0)["train"]
    (seconds,) = race(1, lambda: [split.waveform(i) for i in range(count)])
    yield "embedded sounds", "ten-second scenes", count / seconds, "scenes/s"


def scores(quick: bool) -> Iterator[Row]:
    """Our scores against sed_eval's and scikit-learn's: the same numbers, and how much sooner."""
    from sklearn.metrics import average_precision_score

    rng, found = np.random.default_rng(0), ({}, {})
    for file in range(20 if quick else 1000):
        spans = [(f"class {rng.integers(10)}", t) for t in rng.uniform(0, 8, rng.integers(0, 6))]
        for events, shift in zip(found, (0, 0.15), strict=True):
            late = rng.normal(0, 1, len(spans)) * shift
            moved = [(c, t, max(0.0, t + d)) for (c, t), d in zip(spans, late, strict=True)]
            events[str(file)] = [Event(c, onset, t + 1.5) for c, t, onset in moved]
    for kind in ("event", "segment"):
        ours, theirs = getattr(scoring, f"{kind}_f1"), getattr(scoring, f"sed_eval_{kind}")
        part = f"{kind} F1, {len(found[0])} files"
        calls = (lambda f1=f1: f1(*found) for f1 in (ours, theirs))
        yield from compared(part, "sed_eval", 1 if quick else 3, *calls)
    labels = (rng.random((1000, 20)) < 0.05).astype(int)
    said = np.round(rng.random((1000, 20)) * 0.7 + 0.3 * labels, 2)  # with ties
    weights = scoring.bootstrap_weights(np.arange(1000), 2 if quick else 50, 0)

    def naive():
        columns = [*zip(labels.T, said.T, strict=True)]
        return [[average_precision_score(*c, sample_weight=w) for c in columns] for w in weights]

    part = f"average precision, {len(weights)} resamples"
    ours = lambda: scoring.average_precision(labels, said, weights)  # noqa: E731
    yield from compared(part, "scikit-learn", 1, ours, naive)


def main(quick: bool = False) -> list[Row]:
    """Print the table, one thread, and give its rows."""
    torch.set_num_threads(1)
    rows = []
    for row in (row for part in (features, networks, scenes, scores) for row in part(quick)):
        if not rows or rows[-1][0] != row[0]:
            print(f"\n{row[0]}")
        print(f"  {row[1]:<36}{row[2]:>12.6g} {row[3]}", flush=True)
        rows.append(row)
    return rows


if __name__ == "__main__":
    main("--quick" in sys.argv)
