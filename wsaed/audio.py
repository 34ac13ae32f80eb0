"""Audio files, and players that do not lie about loudness.

Notebook: start_here.ipynb.
"""

import os
import re
from pathlib import Path

import numpy as np
import soundfile
import torch
from torchaudio.functional import resample as _resample

from wsaed.files import content

PLAYER_RATE = 16_000  # Hz
PLAYER_SECONDS = 4.0  # some 170 kB in a notebook
BLOCK = 1 << 20  # frames that are read at once
FORMATS = "WAV, FLAC, Ogg, Opus or MP3 (convert others: ffmpeg -i x.m4a x.flac)"
# What libsndfile notes of a file that ends before its header says (RIFF's own size often is wrong)
CUT = re.compile(r"\b(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)")
NO_END = "Last page lacks an end-of-stream bit"  # of Ogg


def read(path: str | Path, rate: int | None = None) -> tuple[np.ndarray, int]:
    """An audio file as mono: ((samples,) float32, its rate in Hz), resampled to ``rate`` if given.

    FileNotFoundError where there is none, OSError where the disk fails, ValueError for a broken
    file: not audio, no sample, not finite, cut off as far as its header tells. All in one line.
    Read in blocks: an hour at 48 kHz takes 1.5 GB.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such audio file; check the folder and the annotation")
    try:
        waveform, found = _decoded(path)
    except ValueError:
        content(path)  # a lost disk must not make its recordings broken for good
        raise
    return resample(waveform, found, rate or found), rate or found


def _decoded(path: Path) -> tuple[np.ndarray, int]:
    blocks = []
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            frames, header, found = file.frames, file.extra_info, file.samplerate
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                blocks.append(block.mean(axis=1))
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless (.raw)
        reason = " ".join(str(getattr(error, "error_string", error)).split())
        said = f"not a readable audio file ({reason}); fetch it again, as {FORMATS}"
        raise ValueError(f"{path}: {said}") from None
    waveform = np.concatenate([*blocks, np.zeros(0, np.float32)])
    if not len(waveform) or not np.isfinite(waveform).all():
        what = "samples that are no numbers" if len(waveform) else "no samples"
        raise ValueError(f"{path}: holds {what}; fetch it again or leave it out")
    # writers to a pipe leave 0xFFFFFFFF there; MP3 lengths are estimates
    cut = any(int(there) < int(said) < 0x7FFF0000 for said, there in CUT.findall(header))
    if cut or NO_END in header or len(waveform) < 0.95 * frames:
        raise ValueError(f"{path}: cut off, it holds less than its header says; fetch it again")
    return waveform, found


def resample(waveform: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """(samples,) at ``rate`` Hz -> (samples * new_rate / rate, rounded up,) float32."""
    waveform = np.ascontiguousarray(waveform, np.float32)
    if rate == new_rate:
        return waveform
    minutes = []  # one by one, each with the second before and after it, which its ends need
    for start in range(0, max(len(waveform), 1), 60 * rate):
        before = min(start // rate, 1)
        piece = waveform[start - before * rate : start + 61 * rate]
        piece = _resample(torch.from_numpy(piece), rate, new_rate).numpy()
        minutes.append(piece[before * new_rate :][: 60 * new_rate])
    return np.concatenate(minutes)


def repeated(waveform: np.ndarray, rate: int, spans, seconds: float = 10.0) -> np.ndarray:
    """The spans (onset, offset in s) of a (samples,) waveform, joined and repeated to ``seconds``.

    Raises ValueError where the waveform ends before the first of them.
    """
    pieces = [waveform[round(onset * rate) : round(offset * rate)] for onset, offset in spans]
    joined = np.concatenate(pieces)
    if not len(joined):
        raise ValueError(f"a recording of {len(waveform) / rate:.2f} s ends before {spans[0][0]} s")
    return np.resize(joined, round(seconds * rate))


def players(clips: dict[str, np.ndarray], rate: int):
    """Players side by side under their titles, all on one loudness scale (`IPython.display.HTML`).

    clips: title -> (samples,) at ``rate`` Hz. Played are the first 4 s, mono, 16 kHz, 16 bits; the
    loudest sample of all clips at full scale, so that what is quiet then sounds quiet. The layout
    follows libfmp's audio_player_list.
    """
    from html import escape

    from IPython.display import HTML, Audio

    peak = max((float(np.abs(clip).max(initial=0)) for clip in clips.values()), default=0) or 1.0
    head, body = "".join(f"<th>{escape(title)}</th>" for title in clips), ""
    for clip in clips.values():
        waveform = resample(clip[: round(PLAYER_SECONDS * rate)], rate, PLAYER_RATE)
        # resampling may overshoot a little: only that is clipped
        shown = Audio(np.clip(waveform / peak, -1, 1), rate=PLAYER_RATE, normalize=False)
        body += f"<td>{shown._repr_html_()}</td>"
    return HTML(f"<table><tr>{head}</tr><tr>{body}</tr></table>")
