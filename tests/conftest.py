"""Where the tests find real material, and what they say when it is not there."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REAL = Path(os.environ.get("REAL") or ROOT / "../shared/data").resolve()
needs_real = pytest.mark.skipif(not REAL.exists(), reason="needs real recordings (REAL=folder)")


def pytest_terminal_summary(terminalreporter):
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if "REAL" in str(r.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests need real recordings, absent here")
