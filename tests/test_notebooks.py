"""The committed notebooks: compared ones are executed and the comparison bites; tables are source.

That they run is nbval's part (``make test``).
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from conftest import ROOT

from wsaed import render, report

COMPARED = [
    path
    for pattern in ("start_here.ipynb", "claims.ipynb", "*/method.ipynb")
    for path in sorted((ROOT / "notebooks").glob(pattern))
]
TABLES = [p for p in sorted(ROOT.glob("notebooks/[!.]*/*.ipynb")) if p not in COMPARED]
SKIPPED = ("image/", "application/vnd.jupyter.widget", "text/latex")  # nbval compares none of these
UNCOMPARED_TAGS = {"nbval-ignore-output", "nbval-skip"}


def name(path):
    return str(path.relative_to(ROOT / "notebooks"))


each = pytest.mark.parametrize("path", COMPARED + TABLES, ids=name)
each_compared = pytest.mark.parametrize("path", COMPARED, ids=name)
each_table = pytest.mark.parametrize("path", TABLES, ids=name)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def compared_outputs(cell):
    """The outputs of a cell that nbval compares and that hold some text of their own."""
    if UNCOMPARED_TAGS & set(cell.metadata.get("tags", [])) or "NBVAL_IGNORE" in cell.source:
        return []
    return [
        output
        for output in cell.get("outputs", [])
        if output.get("name") == "stdout"
        or (output.get("data") and not any(k.startswith(SKIPPED) for k in output["data"]))
    ]


@each
def test_every_notebook_can_be_read_and_set(path):
    notebook = render.read(path)
    nbformat.validate(notebook)
    assert render.declared(path), "no parameters"
    assert set(render.declared(path)) <= render.names_read(path)
    prose = " ".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert len(re.findall(r"\b[^\W\d_]{2,}\b", prose)) >= 120
    assert notebook.cells[0].source.startswith("# "), "the first cell is the title"
    for cell in code(notebook):
        assert len(cell.source.splitlines()) <= 35, cell.source
    imports = re.findall(
        r"^(?:from|import) (\S+)", "\n".join(c.source for c in code(notebook)), re.M
    )
    assert "wsaed" in {i.split(".")[0] for i in imports}


@each
def test_no_notebook_names_a_machine(path):
    notebook = render.read(path)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    assert dict(notebook.metadata.get("kernelspec", {})) in ({}, kernel)
    assert not {"papermill", "widgets"} & set(notebook.metadata)
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}, f"{cell.id}: {set(cell.metadata)}"
    assert not re.search(r"/(home|root|Users|tmp)/", path.read_text())


@each_table
def test_table_notebooks_carry_no_outputs(path):
    for cell in code(render.read(path)):
        assert not cell.outputs and cell.execution_count is None


@each_compared
def test_compared_notebooks_are_executed(path):
    cells = [cell for cell in code(render.read(path)) if cell.source.strip()]
    counts = [cell.execution_count for cell in cells]
    assert counts == list(range(1, len(cells) + 1)), "run `make notebooks`"
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr", output
            assert "image/svg+xml" not in output.get("data", {}), "nbval compares its random ids"
    assert path.stat().st_size < 600_000
    assert sum(bool(compared_outputs(cell)) for cell in cells) >= 3


def changed(output):
    """Change one letter or digit of what an output shows."""

    def spoil(text):
        text = "".join(text)
        at = re.search(r"\w", text).start()
        return text[:at] + ("x" if text[at] != "x" else "y") + text[at + 1 :]

    if "text" in output:
        output["text"] = spoil(output["text"])
    else:
        for kind in output["data"]:
            if kind.startswith("text/"):
                output["data"][kind] = spoil(output["data"][kind])


def nbval(path):
    plain = {k: v for k, v in os.environ.items() if k not in ("MPLBACKEND", "RESULTS", "BANK")}
    plain |= {"HEADLESS": "1", "PROFILE": "smoke", "DEVICE": "cpu"}
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-x"]
    command += ["-p", "no:cacheprovider", "--rootdir", str(path.parent), str(path)]
    return subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True)


@each_compared
def test_a_changed_output_makes_nbval_fail(path, tmp_path):
    """Up to the first compared output, so that it costs one kernel and not one training."""
    notebook = render.read(path)
    first = next(i for i, c in enumerate(notebook.cells) if compared_outputs(c))
    notebook.cells = notebook.cells[: first + 1]
    copy = tmp_path / path.name
    nbformat.write(notebook, copy)
    done = nbval(copy)
    assert done.returncode == 0, done.stdout
    changed(compared_outputs(notebook.cells[first])[0])
    nbformat.write(notebook, copy)
    done = nbval(copy)
    assert done.returncode == 1 and "Cell outputs differ" in done.stdout, done.stdout


@pytest.mark.skipif("SMOKE" not in os.environ, reason="`make test` runs it after nbval (SMOKE=)")
@each_table
def test_smoke_results_of_table_notebooks(path):
    home = Path(os.environ.get("SMOKE", "")) / path.parent.name
    files = sorted(home.glob(f"{path.stem}*.csv"))
    assert files or list(home.glob(f"{path.stem}*.png")), f"{name(path)} wrote nothing to {home}"
    assert files or not path.stem.startswith("table")
    for file in files:
        table = pd.read_csv(file)
        assert len(table) and not table.isna().all().any(), f"{file.name}: an empty column"
        assert not table.columns.duplicated().any() and "Unnamed: 0" not in table


def test_what_a_cell_prints_in_a_row_is_one_output():
    def stream(text, kind="stdout"):
        return nbformat.v4.new_output("stream", name=kind, text=text)

    figure = nbformat.v4.new_output("display_data", data={"text/plain": "a figure"})
    pieces = [stream("a"), stream("b"), stream("c", "stderr"), stream("d"), figure, stream("e")]
    cell = nbformat.v4.new_code_cell("x", outputs=pieces)
    cleaned = render.clean(nbformat.v4.new_notebook(cells=[cell, nbformat.v4.new_markdown_cell()]))
    assert [o.get("text") for o in cleaned.cells[0].outputs] == ["ab", "c", "d", None, "e"]


@pytest.mark.parametrize("paper", report.TITLES)
def test_a_conclusion_asks_nothing_of_what_is_only_told(paper):
    lines = report.conclusion(paper).splitlines()
    asked = [line for line in lines if line.endswith((": met", ": not met"))]
    assert asked and not any("needed :" in line for line in lines)
    claims = report.claims(paper, report.committed(paper))
    assert [line.split()[0] for line in lines[-len(claims) :]] == [c.name for c in claims]
    shared = [line.partition(": ")[2] for line in lines if line.startswith("of all claims")]
    for remark in {r for c in claims for r in c.remarks}:
        assert sum(remark in line for line in lines) >= 1
        assert (remark in shared) == (sum(remark in line for line in lines[-len(claims) :]) == 0)
    assert report.conclusion("no_such_paper").startswith("No evidence records")
