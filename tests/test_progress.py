"""Long work says how fast it is and how long it still takes; under nbval it is silent."""

import re

from wsaed import progress


def test_without_a_terminal_there_is_a_line_now_and_then(capsys, monkeypatch):
    for name in ("HEADLESS", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    with progress.bar("secost", 4, every=0) as update:
        for _ in range(4):
            update(1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    said = re.fullmatch(
        r"secost: 50% after 0\.0 min, about 0\.0 min to go, [\d.]+ epochs/min", lines[1]
    )
    assert said and lines[-1].startswith("secost: 100%")


def test_lines_are_rare(capsys, monkeypatch):
    for name in ("HEADLESS", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    with progress.bar("secost", 100, every=60) as update:
        for _ in range(100):
            update(1)
    assert len(capsys.readouterr().err.splitlines()) == 1  # the end is always told


def test_headless_is_silent(capsys, monkeypatch):
    monkeypatch.setenv("HEADLESS", "1")
    with progress.bar("secost", 2, every=0) as update:
        update(2)
    assert capsys.readouterr() == ("", "")
