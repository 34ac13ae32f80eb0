"""Audio files, and players that do not lie about loudness.

Notebook: start_here.ipynb.
"""

import os
from pathlib import Path

import numpy as np
import soundfile
import torch
from torchaudio.functional import resample as _resample

PLAYER_RATE = 16_000  # Hz
PLAYER_SECONDS = 4.0  # some 170 kB in a notebook


def read(path: str | Path, rate: int | None = None) -> tuple[np.ndarray, int]:
    """An audio file as mono: ((samples,) float32, its rate in Hz), resampled to ``rate`` if given.

    FileNotFoundError where there is none, ValueError where it is broken, empty or not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such audio file; check the folder and the annotation")
    try:
        waveform, found = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        reason = " ".join(str(getattr(error, "error_string", error)).split())
        raise ValueError(f"{path}: not a readable audio file ({reason}); fetch it again") from None
    waveform = waveform.mean(axis=1)
    if not len(waveform) or not np.isfinite(waveform).all():
        what = "samples that are no numbers" if len(waveform) else "no samples"
        raise ValueError(f"{path}: holds {what}; fetch it again or leave it out")
    return resample(waveform, found, rate or found), rate or found


def resample(waveform: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """(samples,) at ``rate`` Hz -> (samples * new_rate / rate, rounded up,) float32."""
    waveform = np.ascontiguousarray(waveform, np.float32)
    if rate == new_rate:
        return waveform
    return _resample(torch.from_numpy(waveform), rate, new_rate).numpy()


def write(path: str | Path, waveform: np.ndarray, rate: int) -> None:
    """Write (samples,) within -1 .. 1 as 16-bit mono; the suffix says the format.

    The file appears whole or not at all. ValueError for samples that would be clipped.
    """
    path, waveform = Path(path), np.asarray(waveform)
    if waveform.ndim != 1 or not np.all(np.abs(waveform) <= 1):
        raise ValueError(f"{path}: wants mono samples within -1 .. 1; divide by the peak first")
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        soundfile.write(partial, waveform, rate, format=path.suffix[1:].upper())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def player(waveform: np.ndarray, rate: int, peak: float):
    """A notebook player (`IPython.display.Audio`): mono, 16 kHz, 16 bits, the first 4 s.

    ``peak`` plays at full scale. Give all clips that a reader compares the same one, at least
    the largest magnitude among them: what is quiet then sounds quiet. ValueError for a clip
    that exceeds it.
    """
    from IPython.display import Audio

    waveform = np.asarray(waveform, np.float32)[: round(PLAYER_SECONDS * rate)]
    loudest = np.abs(waveform).max(initial=0)
    if not loudest <= peak or not peak > 0:
        raise ValueError(f"peak {peak:g} is not above 0 and at least the clip's {loudest:g}")
    # resampling may overshoot a little: only that is clipped
    scaled = np.clip(resample(waveform, rate, PLAYER_RATE) / peak, -1, 1)
    return Audio(scaled, rate=PLAYER_RATE, normalize=False)


def players(clips: dict[str, np.ndarray], rate: int):
    """Players side by side under their titles, all on one loudness scale (`IPython.display.HTML`).

    clips: title -> (samples,) at ``rate`` Hz. The layout follows libfmp's audio_player_list.
    """
    from html import escape

    from IPython.display import HTML

    peak = max((float(np.abs(clip).max(initial=0)) for clip in clips.values()), default=0) or 1.0
    head = "".join(f"<th>{escape(title)}</th>" for title in clips)
    body = "".join(f"<td>{player(clip, rate, peak)._repr_html_()}</td>" for clip in clips.values())
    return HTML(f"<table><tr>{head}</tr><tr>{body}</tr></table>")
