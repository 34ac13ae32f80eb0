"""The pre-flight check: ready here, and one line of what to do where something is broken."""

import os
import subprocess
import sys

import psutil
import pytest
from conftest import ROOT

from wsaed import preflight


def test_this_machine_is_ready(tmp_path, monkeypatch):
    monkeypatch.setenv("CACHE", str(tmp_path))
    assert preflight.fault() == ""


def old(patch, path):
    patch.setattr(sys, "version_info", (3, 9, 2, "final", 0))


def other(patch, path):
    patch.setattr(preflight.metadata, "version", lambda name: "1.0")


def no_folder(patch, path):
    (path / "file").touch()
    patch.setenv("CACHE", str(path / "file" / "cache"))


def full(patch, path):
    patch.setattr(preflight.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 3e8}))


def crowded(patch, path):
    patch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 2e8}))


def deaf(patch, path):
    patch.setitem(sys.modules, "wsaed.features", None)


def no_lab(patch, path):
    patch.setitem(sys.modules, "jupyterlab.labapp", None)
    patch.delitem(sys.modules, "wsaed.lab", raising=False)


BROKEN = {
    old: "python: this is 3.9: install 3.11, 3.12 or 3.13, then ",
    other: "packages: anyio is 1.0, not ",
    no_folder: "room: {}/file/cache: Not a directory: ",
    full: "room: 0.3 GB free under {}: ",
    crowded: "room: 0.2 GB free of memory: ",
    deaf: "scene: import of wsaed.features halted",
    no_lab: "lab: ",
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_what_is_broken_is_one_line_that_says_what_to_do(tmp_path, monkeypatch, broken):
    monkeypatch.setenv("CACHE", str(tmp_path))
    broken(monkeypatch, tmp_path)
    said = preflight.fault()
    assert said.startswith(BROKEN[broken].format(tmp_path)) and "\n" not in said
    assert any(do in said for do in ("install", "make env", "mend", "make that", "call .venv")), (
        said
    )


def test_a_python_without_any_package_is_told_what_to_do():
    call = [sys.executable, "-S", "-m", "wsaed.preflight"]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(call, cwd=ROOT, env=kept, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "" and done.stdout.count("\n") == 1
    assert done.stdout.startswith("not ready: packages: ") and "anyio" in done.stdout
