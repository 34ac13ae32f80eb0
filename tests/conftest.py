"""Where the tests find real material, and what they say when it is not there."""

import os
from pathlib import Path

import numpy as np
import pytest

from wsaed import corpora
from wsaed.corpora import Split

ROOT = Path(__file__).parents[1]
REAL = Path(os.environ.get("REAL") or ROOT / "../shared/data").resolve()
needs_real = pytest.mark.skipif(not REAL.exists(), reason="needs real recordings (REAL=folder)")


def one_line(error) -> str:
    """What an error says, in one line and no more."""
    assert "\n" not in str(error.value)
    return str(error.value)


def small_steps(cache: Path, shard: int, monkeypatch) -> None:
    """A cache of its own, one job, and shards of so few clips that a split has several."""
    monkeypatch.setenv("CACHE", str(cache))
    monkeypatch.setenv("JOBS", "1")
    monkeypatch.setattr(corpora, "SHARD", shard)


def made_split(name: str, events: list, labels: tuple, features) -> Split:
    """A split of ten-second clips: strong labels if its name is no training set's, or "strong"."""
    tags = np.array([[c in {e.label for e in es} for c in labels] for es in events], np.float32)
    known = events if name in ("strong", "validation", "test") else None
    given = None if name == "unlabelled" else tags
    clips = [f"{name}_{i}.wav" for i in range(len(events))]
    rows = np.arange(len(events))
    return Split(name, clips, known, given, tags, rows, features, None, 16_000, hidden=events)


def pytest_terminal_summary(terminalreporter):
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if "REAL" in str(r.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests need real recordings, absent here")
