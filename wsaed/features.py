"""Log-mel front ends, one a paper and rate.

Notebook: start_here.ipynb shows one.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torchaudio

from wsaed.files import table


@dataclass(frozen=True)
class FrontEnd:
    """A log-mel spectrogram's settings; lengths in samples at ``rate`` Hz."""

    rate: int
    n_fft: int
    window: int
    hop: int
    mels: int
    f_min: float = 0.0
    f_max: float | None = None
    floor: float = 1e-10  # added to the mel bands before the logarithm
    seconds: float = 10.0
    power: float = 2.0  # of the spectrogram: 1 for magnitudes
    window_shape: str = "hann"  # or "hamming"
    norm: str | None = "slaney"  # of the mel filters' area; None: peaks of 1

    @property
    def frames(self) -> int:
        return math.ceil(self.seconds * self.rate / self.hop)

    @property
    def frames_per_second(self) -> float:
        return self.rate / self.hop


FRONT_ENDS = {name: FrontEnd(**values) for name, values in table("features.yaml").items()}


@lru_cache
def _mel(front_end: FrontEnd) -> torch.nn.Module:
    sizes = front_end.rate, front_end.n_fft, front_end.window, front_end.hop
    bands = {"n_mels": front_end.mels, "norm": front_end.norm, "mel_scale": "slaney"}
    shape = {"window_fn": getattr(torch, f"{front_end.window_shape}_window")}
    more = shape | {"power": front_end.power} | bands
    return torchaudio.transforms.MelSpectrogram(*sizes, front_end.f_min, front_end.f_max, **more)


def log_mel(waveform: np.ndarray, front_end: FrontEnd) -> np.ndarray:
    """Natural log of the mel bands of one clip: (samples,) -> (frames, mels) float16.

    A shorter clip ends in the floor's value, a longer one is cut at ``front_end.seconds``.
    """
    samples = round(front_end.seconds * front_end.rate)
    waveform = np.pad(waveform[:samples], (0, max(0, samples - len(waveform))))
    bands = _mel(front_end)(torch.as_tensor(waveform, dtype=torch.float32))
    return torch.log(bands.T[: front_end.frames] + front_end.floor).half().numpy()
