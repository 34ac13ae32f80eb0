"""JupyterLab on the repository, whose own notebooks stay as they are: ``python -m wsaed.lab``.

They open trusted, so that their players sound. What is saved of one goes to saved/ and opens in its
stead; where no cell of it was edited, it gives way to a newer original. `jupyter lab` has none of
this: it edits the notebooks themselves.
"""

import json
import os
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import nbformat
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from jupyterlab.labapp import LabApp

from wsaed.files import ROOT, write_whole

SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false"},
    "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Markdown Preview"}},
}


@lru_cache
def originals() -> set[str]:
    """The notebooks that git knows, paths from the root; without git, all that stand there."""
    git = ["git", "-C", str(ROOT), "ls-files", "-z", "*.ipynb"]
    told = subprocess.run(git, capture_output=True, text=True).stdout if shutil.which("git") else ""
    there = (path for home in ("notebooks", "results") for path in ROOT.glob(f"{home}/**/*.ipynb"))
    known = told.split("\0") if told else (p.relative_to(ROOT).as_posix() for p in there)
    return {*known} - {""}


def cells(path: Path) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in nbformat.read(path, as_version=4).cells]


class Copies(AsyncLargeFileManager):
    """The repository's files, its own notebooks with what was saved of them in their stead."""

    def _saved(self, path: str) -> tuple[bool, Path, Path]:
        """(whether the copy opens, the copy, the original as it was when that was first saved)."""
        original, copy = ROOT / path, ROOT / "saved" / path
        base = copy.with_suffix(".original")
        known = path in originals() and copy.exists()
        newer = known and copy.stat().st_mtime >= original.stat().st_mtime
        return newer or (known and cells(copy) != cells(base)), copy, base

    def _get_os_path(self, path: str) -> str:
        opens, copy, _ = self._saved(path.strip("/"))
        return str(copy) if opens else super()._get_os_path(path)

    def mark_trusted_cells(self, nb, path: str = "") -> None:
        original = path in originals() and not self._saved(path)[0]
        self.notary.mark_cells(nb, original or self.notary.check_signature(nb))

    async def save(self, model: dict, path: str = "") -> dict:
        name = path.strip("/")
        opens, *files = self._saved(name)
        if name in originals() and not opens:
            files[0].parent.mkdir(parents=True, exist_ok=True)
            for file in files:
                shutil.copy(ROOT / name, file)
        return await super().save(model, path)


def main() -> None:
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # this environment's kernel
    write_whole(ROOT / ".build/lab/overrides.json", json.dumps(SETTINGS))
    options = [f"--ServerApp.root_dir={ROOT}", f"--LabApp.app_settings_dir={ROOT / '.build/lab'}"]
    options += ["--ServerApp.contents_manager_class=wsaed.lab.Copies", "--allow-root"]
    options += [f"--AsyncFileCheckpoints.root_dir={ROOT / 'saved'}"]
    options += ["--LabApp.default_url=/lab/tree/notebooks/start_here.ipynb"]
    if sys.platform == "linux" and not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
        options += ["--no-browser"]
    LabApp.launch_instance(options + sys.argv[1:])


if __name__ == "__main__":
    main()
