"""Small corpora of recordings, some of them missing, cut off or short, for tests of readers."""

import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import yaml

from wsaed import corpora
from wsaed.corpora import __main__ as command
from wsaed.corpora import urban_sed

NAME = "secost_40ms"  # of the front end
HERE = Path(__file__).parent
SMALL = yaml.safe_load((HERE / "recorded.yaml").read_text())
for name, known in SMALL.items():
    small = SMALL[name] = SimpleNamespace(name=name, reader=command.READERS[name], **known)
    small.wrong = Counter(state.partition(":")[0] for state in small.states.values())
    small.arguments = [x for name, n in small.spec.items() for x in (f"--{name}", str(n))]


def small_steps(cache: Path, shard: int, monkeypatch) -> None:
    """A cache of its own, one job, and shards of so few clips that a split has several."""
    monkeypatch.setenv("CACHE", str(cache))
    monkeypatch.setenv("JOBS", "1")
    monkeypatch.setattr(corpora, "SHARD", shard)


def write(path: Path, draw, seconds: float, rate: int, channels: int = 1) -> None:
    """Noise; the suffix says the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * draw.standard_normal((round(seconds * rate), channels)), rate)


def use_bank(folder: Path, home: Path, monkeypatch) -> None:
    """``folder`` as BANK, with a cache of its own in ``home`` and no fold that is fixed."""
    monkeypatch.setenv("BANK", str(folder))
    monkeypatch.setenv("CACHE", str(home / "cache"))
    monkeypatch.delenv("TEST_FOLD", raising=False)


def make_bank(home: Path, labels, count: int, monkeypatch) -> None:
    """A bank, ``sounds``, of ``count`` recordings a class, of 0.4 s each."""
    draw = np.random.default_rng(0)
    for label in labels:
        for k in range(count):
            write(home / f"sounds/{label}/{label}{k}.wav", draw, 0.4, 16_000)
    use_bank(home / "sounds", home, monkeypatch)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def make_audioset(folder: Path) -> None:
    root, draw = folder / "audioset", np.random.default_rng(0)
    shutil.copytree(HERE / "audioset_files", root)
    for name, rate in SMALL["audioset"].recordings.items():
        path = root / "audio" / name
        write(path, draw, 6 if "rrr" in name else 10, rate, draw.integers(1, 3))
        if "kkk" in name or "sss" in name:
            half(path)
        if "lll" in name:
            path.write_bytes(b"")
        if "fff" in name:  # cut by less than a decoder allows for
            path.write_bytes(path.read_bytes()[: -path.stat().st_size // 66])


def make_desed(folder: Path) -> None:
    root, draw = folder / "desed", np.random.default_rng(0)
    shutil.copytree(HERE / "desed_files", root / "metadata")
    for number, path in enumerate(sorted(root.rglob("*.tsv"))):
        place = path.relative_to(root / "metadata").with_suffix("")
        place = "validation" if place.name == "validation" else place
        for line in dict.fromkeys(x.split("\t")[0] for x in path.read_text().splitlines()[1:]):
            name = line.replace(".wav", ".FLAC" if "uuu2" in line else ".wav")
            seconds = 10 if "synthetic" in path.name else 1
            rate = (44_100, 16_000, 22_050)[number % 3]
            write(root / "audio" / place / name, draw, seconds, rate, 1 + number % 2)
    (root / "audio/train/synthetic/8.wav").unlink()
    half(root / "audio/train/unlabel_in_domain/Yuuuuuuuuuu9_0.000_1.000.wav")
    (root / "audio/validation/Yvvvvvvvvvv3_5.000_6.000.wav").write_bytes(b"")


def annotate(path: Path, events: list) -> None:
    """A soundscape's text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{a}\t{a + lasts}\t{label}\n" for label, a, lasts in events))


def make_urban(folder: Path) -> None:
    root, draw = folder / "urban", np.random.default_rng(0)
    for split, soundscapes in SMALL["urban_sed"].events.items():
        for clip, events in soundscapes.items():
            annotate(root / "annotations" / split / f"{clip}.txt", events)
            path = root / "audio" / split / f"{clip}.{'flac' if 'bimodal1' in clip else 'wav'}"
            if "uniform3" not in clip:
                write(path, draw, 6 if "unimodal0" in clip else 10, 8000)
            if "validate_uniform1" in clip:
                half(path)


NOVEL, BASE_A = ("Bark", "Gunshot, gunfire", "Music"), ("Sneeze", "Whistle")
RARE = "-" * 10  # begins segments that have no recording


def strong_clips() -> dict[str, dict[str, list[tuple]]]:
    """{list: {segment: (label, onset, offset)}}, of 2 s; the first two have no recording."""
    counts = {"Bark": 501, "Gunshot, gunfire": 501, "Music": 501, "Noise": 900, "Yak": 3}
    many = [(x, k / 100, k / 100 + 0.01) for x, n in counts.items() for k in range(n)]
    train = {f"{RARE}0_30000": many, f"{RARE}1_0": [("Noise", 0.0, 1.0)]}
    for number, label in enumerate((*NOVEL, *BASE_A)):
        for k in range(7):
            events = [(label, 0.1, 0.5), (label, 1.0, 1.5 + k / 20)]
            train[f"{label[0]}_alone-{k:02d}-_{1000 * number}"] = events
    for k in range(6):
        mixed = [("Music", 0.0, 2.0), ("Whistle", 0.5, 1.0), ("Noise", 0.0, 0.2)]
        train[f"mixed{k}_yes-_{k}"] = mixed + [("Bark", 1.5, 1.8)] * (k % 2)
    test = {f"{RARE}2_0": [(x, k / 100, k / 100 + 0.01) for x in NOVEL for k in range(51)]}
    test |= {f"evaluation{k}_90000": [(NOVEL[k % 3], 0.5, 1.25 + k / 8)] for k in range(6)}
    test["evaluation9_0"] = [("Sneeze", 0.0, 1.0), ("Whistle", 1.0, 2.0)]
    return {"audioset_train_strong.tsv": train, "audioset_eval_strong.tsv": test}


STRONG = strong_clips()
SOUNDSCAPES = {
    f"soundscape_train_uniform{k}_{j}": [(label, 0.5, 1.0)]
    for k, label in enumerate(urban_sed.LABELS)
    for j in range(3)
} | {f"soundscape_train_bimodal{k}": [("dog_bark", 0, 1.0), ("siren", 0.5, 1.5)] for k in range(4)}


def make_both(folder: Path) -> None:
    """Of AudioSet one recording is cut off and one short, of URBAN-SED one missing."""
    ours, urban, draw = folder / "audioset", folder / "urban", np.random.default_rng(0)
    ours.mkdir()
    names = SMALL["target_sound"].names
    (ours / "mid_to_display_name.tsv").write_text("".join(f"{m}\t{n}\n" for m, n in names.items()))
    back = {name: mid for mid, name in names.items()}
    for path, clips in STRONG.items():
        lines = ["segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"]
        for segment, events in clips.items():
            lines += [f"{segment}\t{a:.3f}\t{b:.3f}\t{back[label]}\n" for label, a, b in events]
            if not segment.startswith(RARE):
                seconds = 1 if segment.startswith("evaluation1") else 2
                write(ours / f"audio/part00/Y{segment[:11]}.wav", draw, seconds, 8000)
        (ours / path).write_text("".join(lines))
    half(ours / "audio/part00/Yevaluation0.wav")
    for name, events in SOUNDSCAPES.items():
        annotate(urban / f"annotations/train/{name}.txt", events)
        if name != "soundscape_train_bimodal3":
            write(urban / f"audio/train/{name}.wav", draw, 2, 8000)


MAKERS = {"audioset": make_audioset, "desed": make_desed}
MAKERS |= {"urban_sed": make_urban, "target_sound": make_both}


@pytest.fixture(scope="session")
def originals(tmp_path_factory):
    """``originals(name)``: the folder above a small corpus, made once, not to be changed."""
    made = {}

    def original(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            MAKERS[name](made[name])
        return made[name]

    return original


@pytest.fixture
def lay(originals, tmp_path, monkeypatch):
    """``lay(name, shard)``: a copy that a test may change, a cache of its own, small shards."""

    def laid(name: str, shard: int = 2) -> Path:
        shutil.copytree(originals(name), tmp_path, dirs_exist_ok=True)
        for variable, folder in SMALL[name].variables.items():
            monkeypatch.setenv(variable, str(tmp_path / folder))
        small_steps(tmp_path / "cache", shard, monkeypatch)
        return tmp_path

    return laid
