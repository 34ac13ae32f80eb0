"""Lab as a reader has it: players sound, and running and saving leave the repository as it is."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT, git

from wsaed import lab

PAGE = "notebooks/start_here.ipynb"
LENGTH = "async audio => { await audio.play(); return audio.duration; }"
PLAYED = "document.querySelector('.widget-interact audio')?.innerHTML"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A repository, all of it committed; what Jupyter keeps for a user stays in it."""
    monkeypatch.chdir(tmp_path)
    places = {"CACHE": ".cache", "JUPYTER_DATA_DIR": ".build/data", "JUPYTER_CONFIG_DIR": ".build"}
    for name, folder in {"PYTHONPATH": "", **places}.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    for name in ("notebooks", "params", "wsaed"):
        shutil.copytree(ROOT / name, name)
    shutil.copy(ROOT / ".gitignore", ".")
    git("init"), git("add", "."), git("commit", "-m", "all")
    return tmp_path


def test_a_saved_copy_opens_until_the_original_is_newer_and_no_cell_is_edited(tree, monkeypatch):
    monkeypatch.setattr(lab, "ROOT", tree)
    monkeypatch.setattr(lab, "originals", lab.originals.__wrapped__)
    files, later = lab.Copies(root_dir=str(tree)), time.time() + 9
    for edit, shown in (("", "# newer"), ("# mine", "# mine")):
        notebook = asyncio.run(files.get(PAGE))["content"]
        assert all(c.metadata.trusted for c in notebook.cells if c.cell_type == "code")
        notebook.cells[2].source += edit
        asyncio.run(files.save({"type": "notebook", "content": notebook}, PAGE))
        assert git("status", "--porcelain") == "" and Path("saved", PAGE).exists()
        listed = {file["name"] for file in asyncio.run(files.get(""))["content"]}
        assert {"notebooks", "params", "saved"} <= listed, "the root is no notebook with a copy"
        original = nbformat.read(PAGE, 4)
        original.cells[2].source += "# newer"
        nbformat.write(original, PAGE)
        os.utime(PAGE, (later, later))
        assert asyncio.run(files.get(PAGE))["content"].cells[2].source.endswith(shown)
        git("checkout", PAGE)


@pytest.mark.parametrize("chromium", [*filter(shutil.which, ("chromium", "google-chrome"))][:1])
def test_a_reader_listens_runs_moves_a_slider_and_saves(tree, chromium, monkeypatch):
    playwright = pytest.importorskip("playwright.sync_api")
    call, told = [sys.executable, "-m", "wsaed.lab", "--no-browser"], []
    monkeypatch.setenv("HEADLESS", "0")
    with subprocess.Popen(call) as server, playwright.sync_playwright() as p:
        try:
            while not told:
                assert server.poll() is None, "Lab has ended"
                time.sleep(1)
                told = [json.loads(path.read_text()) for path in tree.rglob("jpserver-*.json")]
            found = {"executable_path": shutil.which(chromium), "args": ["--no-sandbox"]}
            # so high that every cell is to be seen: Lab draws no other
            page = p.chromium.launch(**found).new_page(viewport={"width": 1200, "height": 16_000})
            page.set_default_timeout(120_000)
            page.goto(f"{told[0]['url']}?token={told[0]['token']}")
            assert 0 < page.locator("audio").first.evaluate(LENGTH) < 5  # as committed
            page.get_by_text("| Idle").wait_for()
            assert not page.get_by_text("Jupyter news").count()
            for item in ("Run", "Run All Cells"):
                page.get_by_role("menuitem", name=item, exact=True).click()
            page.get_by_text("[*]:").first.wait_for()
            page.wait_for_function("!document.body.innerText.includes('[*]:')")
            before = page.evaluate(PLAYED)
            page.locator(".widget-slider .noUi-handle").last.press("ArrowRight")
            page.wait_for_function(f"before => {PLAYED} != before", arg=before)
            assert page.locator(".widget-interact audio").evaluate(LENGTH) == 3
            page.keyboard.press("Control+s")
            page.locator(".jp-mod-dirty").wait_for(state="detached")
        finally:
            server.terminate()
    assert git("status", "--porcelain") == "" and not Path("notebooks/.ipynb_checkpoints").exists()
    assert "widget" in Path("saved", PAGE).read_text()
