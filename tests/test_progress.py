"""Long work says how fast it is and how long it still takes; under nbval it is silent."""

import re

import pytest

from wsaed import progress


@pytest.fixture
def lines(capsys, monkeypatch):
    """The lines told without a terminal while ``units`` units are done one by one."""

    def told(units, every, **variables):
        for name in ("HEADLESS", "JPY_PARENT_PID", "RANK"):
            monkeypatch.delenv(name, raising=False)
        for variable in variables.items():
            monkeypatch.setenv(*variable)
        with progress.bar("secost", units, every=every) as update:
            for _ in range(units):
                update(1)
        said = capsys.readouterr()
        assert said.out == ""
        return said.err.splitlines()

    return told


def test_without_a_terminal_there_is_a_line_now_and_then(lines):
    told = lines(4, every=0)
    form = r"secost: 50% after 0\.0 min, about 0\.0 min to go, [\d.]+ epochs/min"
    assert len(told) == 4 and re.fullmatch(form, told[1]) and told[-1].startswith("secost: 100%")
    assert len(lines(100, every=60)) == 1  # the end is always told


def test_the_first_hundredth_promises_nothing(lines):
    told = lines(200, every=0)
    assert told[0] == "secost: 0% after 0.0 min" and "to go" in told[1]


def test_nobody_speaks_headless_and_of_several_processes_the_first(lines):
    assert lines(2, every=0, HEADLESS="1") == []
    assert [len(lines(1, every=0, RANK=rank)) for rank in "01"] == [1, 0]
