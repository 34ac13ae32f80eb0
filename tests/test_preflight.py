"""The pre-flight check: ready here, and one line of what to do where something is broken."""

import os
import shutil
import sys
from importlib import metadata
from types import SimpleNamespace

import psutil
import pytest
from conftest import put, python

from wsaed import preflight


def test_this_machine_is_ready(tmp_path, monkeypatch):
    monkeypatch.setenv("CACHE", str(tmp_path))
    assert preflight.fault() == ""


DISK, MEMORY, PY = SimpleNamespace(free=3e8), SimpleNamespace(available=2e8), (3, 9, 2)


def lab():
    raise ImportError("numpy is broken\n\nread this")


BROKEN = [  # what monkeypatch does, what is said
    ("setattr", (sys, "version_info", PY), "python: this is 3.9: install 3.11, 3.12 or 3.13, then"),
    ("setattr", (metadata, "version", lambda name: "1.0"), "packages: anyio is 1.0, not "),
    ("setenv", ("CACHE", "{}/file/cache"), "room: {}/file/cache: Not a directory: "),
    ("setattr", (shutil, "disk_usage", lambda path: DISK), "room: 0.3 GB free under {}: "),
    ("setattr", (psutil, "virtual_memory", lambda: MEMORY), "room: 0.2 GB free of memory: "),
    ("setitem", (sys.modules, "wsaed.features", None), "scene: import of wsaed.features halted"),
    ("setitem", (sys.modules, "jupyterlab.labapp", None), "lab: "),
    ("setattr", (preflight, "lab", lab), "lab: numpy is broken: "),
]


@pytest.mark.parametrize("how, what, wanted", BROKEN)
def test_what_is_broken_is_one_line_that_says_what_to_do(tmp_path, monkeypatch, how, what, wanted):
    monkeypatch.setenv("CACHE", str(tmp_path))
    monkeypatch.delitem(sys.modules, "wsaed.lab", raising=False)  # it is imported anew
    put(tmp_path / "file")
    given = [x.format(tmp_path) if isinstance(x, str) else x for x in what]
    getattr(monkeypatch, how)(*given)
    said, asked = preflight.fault(), ("install", "make env", "mend", "make that", "call .venv")
    assert said.startswith(wanted.format(tmp_path)) and "\n" not in said
    assert any(do in said for do in asked), said


def test_a_python_without_any_package_is_told_what_to_do():
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = python("-S", "-m", "wsaed.preflight", env=kept)
    assert done.returncode == 1 and done.stderr == "" and done.stdout.count("\n") == 1
    assert done.stdout.startswith("not ready: packages: ") and "anyio" in done.stdout
