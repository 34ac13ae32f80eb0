"""Where the tests find real material, and what they say when it is not there."""

import json
import math
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import yaml
from recorded import lay, originals  # noqa: F401 - fixtures
from safetensors.torch import load_file

from wsaed import code, corpora, files, nets, runs
from wsaed.corpora import Corpus, Event, Shards, Split
from wsaed.postprocess import active_frames

ROOT = Path(__file__).parents[1]
REAL = Path(os.environ.get("REAL") or ROOT / "../shared/data").resolve()
CASES = yaml.safe_load(Path(__file__).with_name("cases.yaml").read_text(encoding="utf-8"))
needs_real = pytest.mark.skipif(not REAL.exists(), reason="needs real recordings (REAL=folder)")


def one_line(error) -> str:
    """What an error says, in one line and no more."""
    assert "\n" not in str(error.value)
    return str(error.value)


@contextmanager
def refused(match: str, kind: type = ValueError):
    """What is done in it raises such an error, in one line that ``match`` finds something in."""
    with pytest.raises(kind, match=match) as error:
        yield error
    one_line(error)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def bits(scores) -> str:
    return json.dumps(scores, sort_keys=True)


def bce(p, y) -> float:
    """Cross-entropy as a loop, for soft y too; the mean over all cells."""
    cells = zip(np.ravel(p).tolist(), np.ravel(y).tolist(), strict=True)
    return np.mean([-b * math.log(a) - (1 - b) * math.log(1 - a) for a, b in cells])


def put(path: Path, content: str | bytes = "") -> Path:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def notebook(*sources) -> str:
    """A notebook's text, of code; its first cell, if there is something in it, sets parameters."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata.tags = ["parameters"] * bool(sources[0])
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells))


def shown(systems, profile: str) -> set[str]:
    """The systems that a paper's tables and figures show."""
    return set().union(*systems.artefacts(profile).values())


def git(*arguments, cwd=None) -> str:
    call = ["git", "-c", "user.name=a", "-c", "user.email=b", *arguments]
    return subprocess.run(call, cwd=cwd, check=True, capture_output=True, text=True).stdout


def python(*arguments, **settings) -> subprocess.CompletedProcess:
    """What a Python of its own did and said, in the repository."""
    call = [sys.executable, *map(str, arguments)]
    return subprocess.run(call, cwd=ROOT, capture_output=True, encoding="utf-8", **settings)


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / nets.WEIGHTS)


def same_weights(a: Path, b: Path) -> bool:
    """Whether the networks kept in two folders are equal to the bit."""
    a, b = weights_in(a), weights_in(b)
    return all(torch.equal(a[key], b[key]) for key in a)


def ends_the_same(train, folder: Path, killed_in: int = 2, epochs: int = 3) -> dict:
    """The scores of ``train(folder, tell)`` as a whole; a run killed in an epoch ends in them."""
    trained, whole = [], train(folder / "whole", lambda row: None)

    def kill(row):
        if row["epoch"] == killed_in:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(folder / "killed", kill)
    assert (folder / "killed/checkpoint.pt").exists()
    again = train(folder / "killed", lambda row: trained.append(row["epoch"]))
    assert trained == list(range(killed_in, epochs + 1))  # those before were not trained again
    assert bits(whole) == bits(again) and same_weights(folder / "whole", folder / "killed")
    return whole


@pytest.fixture
def forget():
    """Call it where a test has changed code or tables: their digests are computed again."""

    def clear():
        for cached in (code._module, code._digest, files.table):
            cached.cache_clear()

    yield clear
    clear()


NET = {"name": "secost.net:WelsNet", "width": 0.125, "mels": 32}


def spec(epochs=2, **changes):
    """A run that takes a second: SeCoST's on 48 scenes."""
    sizes = {"train": 24, "validation": 8, "test": 16}
    found = {"method": "secost.method:train", "net": NET, "front_end": "secost_40ms", "draw": 0}
    found["corpus"] = {"name": "soundscapes", "shape": "ontology", **sizes}
    found["budget"] = {"epochs": epochs, "batch_size": 8, "learning_rate": 1e-3}
    return found | changes


def alone(cache: Path, monkeypatch) -> None:
    """A cache of its own, one job and no bar."""
    for name, value in {"CACHE": str(cache), "JOBS": "1", "HEADLESS": "1"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def features(tmp_path_factory):
    """The features of `spec`, so that tests pay for them once."""
    home = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        alone(home, patch)
        runs.train([(spec(epochs=1), 0)])
    return home / "features"


@pytest.fixture
def cache(tmp_path, features, monkeypatch):
    """A cache that holds those features already."""
    (tmp_path / "features").symlink_to(features)
    alone(tmp_path, monkeypatch)
    return tmp_path


LABELS = ("Alarm", "Cat", "Dog", "Speech")


def made_corpus(folder: Path, sizes: dict[str, int]) -> Corpus:
    """Ten-second clips with one or two events, splits known as DCASE 2019 task 4's.

    The features are noise with a band of its own for every class, where its event says.
    """
    splits = {name: made_split(name, count, folder) for name, count in sizes.items()}
    return Corpus("made", LABELS, splits, "")


@pytest.fixture
def corpus(request, tmp_path, monkeypatch):
    """A corpus of the test module's ``SIZES`` or the parameter's, whatever a spec's corpus.

    A module may make its own, by a function ``made_corpus``.
    """
    make = getattr(request.module, "made_corpus", made_corpus)
    made = make(tmp_path, request.module.SIZES | getattr(request, "param", {}))
    monkeypatch.setattr(corpora, "load", lambda spec, replicate: made)
    return made


def lose_cats(corpus: Corpus) -> None:
    """No clip but the test's holds a cat any more, and the first strong one nothing at all."""
    for part in (part for name, part in corpus.splits.items() if name != "test"):
        for events in part.events or []:
            events[:] = [e for e in events if e.label != "Cat"]
        if part.clip_labels is not None:
            part.clip_labels[:, 1] = 0
    corpus["strong"].events[0].clear()
    corpus["strong"].clip_labels[0] = 0


def made_events(name: str, count: int, labels=LABELS) -> list[list[Event]]:
    """One event or two of different labels a clip."""
    rng, events = np.random.default_rng(len(name)), []
    for i in range(count):
        onsets = [(label, rng.uniform(0, 6)) for label in rng.permutation(labels)[: 1 + i % 2]]
        events.append([Event(str(c), on, on + rng.uniform(0.5, 3)) for c, on in onsets])
    return events


def tags_of(events: list[list[Event]], labels) -> np.ndarray:
    """(clips, classes): 1 where one of a clip's events is of the class."""
    return np.array([[c in {e.label for e in es} for c in labels] for es in events], np.float32)


def made_split(name: str, count: int, folder: Path, labels=LABELS, events=None) -> Split:
    events = events or made_events(name, count, labels)

    def features(front_end):
        path, mels = folder / f"{name}_{front_end.mels}.npy", front_end.mels
        if not path.exists():
            x = np.random.default_rng([count, len(name)]).normal(-5, 1, (count, 250, mels))
            bands = active_frames(events, labels, 250, 25.0).repeat(mels // len(labels), axis=2)
            x[:, :, : bands.shape[2]] += 6 * bands
            np.save(path, x.astype(np.float16))
        return Shards((path,))

    tags = tags_of(events, labels)
    known = events if name in ("strong", "base_a", "base_b", "validation", "test") else None
    given = None if name == "unlabelled" else tags
    clips, rows = [f"{name}_{i}.wav" for i in range(count)], np.arange(count)
    return Split(name, clips, known, given, tags, rows, features, None, 16_000, hidden=events)


def pytest_terminal_summary(terminalreporter):
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if "REAL" in str(r.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests need real recordings, absent here")
