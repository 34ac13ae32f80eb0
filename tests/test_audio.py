"""Audio files come back as they were written, and players keep loudness."""

import base64
import io
import os
import re
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch
from conftest import CASES, refused

from wsaed import audio


def tone(seconds, rate, frequency=440.0, level=0.5):
    t = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * frequency * t)).astype(np.float32)


def played(html):
    """The WAV files that the browser would get: [(int16 samples, rate)]."""
    wavs = re.findall(r"data:audio/wav;base64,([^\"]+)", html.data)
    return [soundfile.read(io.BytesIO(base64.b64decode(w)), dtype="int16") for w in wavs]


def test_read_mixes_down_and_resamples(tmp_path):
    left, right = tone(1, 44_100, 300), tone(1, 44_100, 700)
    soundfile.write(tmp_path / "stereo.flac", np.stack([left, right], 1), 44_100)
    back, rate = audio.read(tmp_path / "stereo.flac", 16_000)
    assert rate == 16_000 and back.shape == (16_000,)
    expected = (tone(1, 16_000, 300) + tone(1, 16_000, 700)) / 2
    np.testing.assert_allclose(back[200:-200], expected[200:-200], atol=2e-3)


def test_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF, or so it says")
    (tmp_path / "headerless.raw").write_bytes(bytes(100))
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    soundfile.write(tmp_path / "nan.wav", np.full(9, np.nan), 16_000, subtype="FLOAT")
    for name in ("cut.wav", "cut.flac", "cut.ogg", "cut.opus", "cut.mp3", "cut.aiff", "cut.au"):
        path, form = tmp_path / name, {"format": "OGG", "subtype": "OPUS"}
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, 40_000)
        soundfile.write(path, noise, 16_000, **form if name == "cut.opus" else {})
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "x.m4a").write_bytes(b"\0\0\0 ftypM4A " + bytes(99))
    for name, says in CASES["audio"]:
        kind = FileNotFoundError if "no such" in says else ValueError
        with refused(says, kind) as error:
            audio.read(tmp_path / name)
        assert name in str(error.value)


def test_a_header_without_a_length_is_taken_at_its_word(tmp_path):
    path = tmp_path / "piped.wav"
    soundfile.write(path, tone(0.5, 16_000), 16_000)
    content = path.read_bytes()
    at = content.index(b"data") + 4  # what writers to a pipe leave there
    path.write_bytes(content[:at] + b"\xff\xff\xff\xff" + content[at + 4 :])
    assert audio.read(path)[0].shape == (8000,)


@pytest.mark.parametrize("rate", [44_100, 48_000, 8000])
def test_long_recordings_are_read_and_resampled_in_parts(tmp_path, monkeypatch, rate):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (121 * rate + 7, 2)).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", noise, rate, subtype="FLOAT")
    whole = audio._resample(torch.from_numpy(noise.mean(1)), rate, 16_000).numpy()
    longest, resample = [], audio._resample
    told = lambda x, *rates: longest.append(len(x)) or resample(x, *rates)  # noqa: E731
    monkeypatch.setattr(audio, "_resample", told)
    found, _ = audio.read(tmp_path / "long.wav", 16_000)
    np.testing.assert_allclose(found, whole, atol=1e-6, strict=True)
    assert max(longest) <= 62 * rate


def test_an_hour_fits_in_memory(tmp_path):
    """Beside the mono waveform and its blocks (two at a time), little more: 1.7 GB at 48 kHz."""
    rate, seconds = 48_000, 300
    soundfile.write(tmp_path / "long.wav", np.zeros((rate * seconds, 2), np.int16), rate)
    tracemalloc.start()
    audio.read(tmp_path / "long.wav", 16_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.5 * 4 * rate * seconds


def test_players_share_one_scale_and_cut_length():
    loud, quiet = tone(10, 44_100, level=0.8), tone(1, 44_100, level=0.2)
    table = audio.players({"loud": loud, "quiet <b>": quiet, "silent": 0 * loud}, 44_100)
    found = played(table)
    assert found[0][1] == 16_000 and found[0][0].shape == (64_000,)  # mono
    peaks = [int(np.abs(samples).max()) for samples, _ in found]
    np.testing.assert_allclose(peaks, [32_767, 8_192, 0], atol=30)
    assert "quiet &lt;b&gt;" in table.data and table.data.count("<td>") == 3
    ((silent, _),) = played(audio.players({"silent": 0 * loud}, 44_100))
    assert not silent.any()
