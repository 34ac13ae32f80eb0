"""The companion as web pages: ``python -m wsaed.site`` writes .build/site/html.

Sphinx reads a copy of what the repository shows, in the same folders, so that links hold: the
notebooks as committed, of each table and figure the executed copy of the evidence (else of the
laptop), the results' pages. Each page says what made it. Nothing is executed, and a built page
needs no network.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

from wsaed import render
from wsaed.files import ROOT, one_line, shown, table, write_whole

KNOWN = table("site.yaml")


def pages() -> dict[str, list[Path]]:
    """Part of the site -> its pages, paths from the repository's root."""
    found = {
        part: [path.relative_to(ROOT) for name in names for path in sorted(ROOT.glob(name))]
        for part, names in KNOWN["parts"].items()
    }
    return {part: paths for part, paths in found.items() if paths}


def executed(page: Path) -> tuple[Path, str]:
    """(the copy of a notebook that shows results, what made it)."""
    for name in ("evidence", "laptop"):
        copy = ROOT / "results" / name / page.parent.name / page.name
        if copy.exists():
            return copy, f"Made by profile {name}"
    named = render.names(ROOT / page)[0].items() if page.suffix == ".ipynb" else ()
    folders = [f"results/{value}" for key, value in named if key != "profile"]
    if read := [folder for folder in folders if (ROOT / folder).is_dir()]:
        return ROOT / page, f"Shows the committed records of {' and '.join(read)}"
    return ROOT / page, "Made by profile smoke, the smallest: it shows how things work, in seconds"


def write_page(page: Path, source: Path, commit: str) -> None:
    """Copy a page into the site's sources, with a line of what made it below its title."""
    target, (file, made) = source / page, executed(page)
    target.parent.mkdir(parents=True, exist_ok=True)
    if page.suffix == ".md":
        text = (ROOT / page).read_text(encoding="utf-8")
        return write_whole(target, f"{text}\n\n*Commit {commit}.*\n")
    notebook = render.read(file)
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell(f"*{made}; commit {commit}.*"))
    for cell in notebook.cells:
        if render.tagged(cell, "parameters") or render.tagged(cell, "injected-parameters"):
            cell.metadata.tags = [*cell.metadata.tags, "hide-input"]
    nbformat.write(notebook, target)


def copy_linked(source: Path) -> None:
    """Bring along the pictures, tables and pages that pages link to, and what those link to."""
    todo = [*source.rglob("*.md"), *source.rglob("*.ipynb")]
    while todo:
        page = todo.pop()
        where = ROOT / page.relative_to(source).parent
        for link in re.findall(r"\]\(([^)#\s:]+)", page.read_text(encoding="utf-8")):
            file = (where / link).resolve()
            target = source / file.relative_to(ROOT) if file.is_relative_to(ROOT) else source
            if file.is_file() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
                todo += [target] if target.suffix in (".md", ".ipynb") else []


def index(parts: dict[str, list[Path]]) -> str:
    """The start page: what this is, and where everything stands."""
    intro = (ROOT / "README.md").read_text(encoding="utf-8").split("\n\n")[1]
    lines = ["# wsaed", "", intro, ""]
    for part, paths in parts.items():
        entries = "\n".join(path.with_suffix("").as_posix() for path in paths)
        lines.append(f"```{{toctree}}\n:caption: {part}\n:maxdepth: 1\n\n{entries}\n```\n")
    return "\n".join(lines)


def main() -> None:
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    told = subprocess.run(git, capture_output=True, text=True).stdout if shutil.which("git") else ""
    commit = told.strip() or "unknown"
    source, parts = ROOT / ".build/site/source", pages()
    shutil.rmtree(source, ignore_errors=True)
    for page in (page for paths in parts.values() for page in paths):
        write_page(page, source, commit)
    copy_linked(source)
    write_whole(source / "index.md", index(parts))
    write_whole(source / "_static/site.css", KNOWN["css"])
    write_whole(source / "conf.py", "".join(f"{k} = {v!r}\n" for k, v in KNOWN["settings"].items()))
    html = source.with_name("html")
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", source, html]
    if subprocess.run([*map(str, build)]).returncode:
        raise ValueError("the site has faults, which Sphinx names above")
    print(f"site: {shown(html / 'index.html')}")


if __name__ == "__main__":
    one_line(main)
