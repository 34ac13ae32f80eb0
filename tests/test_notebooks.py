"""The committed notebooks: compared ones are executed and the comparison bites; tables are source.

That they run is nbval's part (``make test``).
"""

import ast
import copy
import os
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import CASES, ROOT, put, python

from wsaed import code, files, render
from wsaed.joint import systems as joint

PATTERNS = ("*.ipynb", "*/method*.ipynb", "workshop/*.ipynb")
COMPARED = [path for pattern in PATTERNS for path in sorted((ROOT / "notebooks").glob(pattern))]
TABLES = [p for p in sorted(ROOT.glob("notebooks/[!.]*/*.ipynb")) if p not in COMPARED]
SKIPPED = ("image/", "application/vnd.jupyter.widget", "text/latex")  # nbval compares none of these
UNCOMPARED_TAGS = {"nbval-ignore-output", "nbval-skip"}


def name(path):
    return str(path.relative_to(ROOT / "notebooks"))


each = pytest.mark.parametrize("path", COMPARED + TABLES, ids=name)
each_compared = pytest.mark.parametrize("path", COMPARED, ids=name)
each_table = pytest.mark.parametrize("path", TABLES, ids=name)


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def compared_outputs(cell):
    """The outputs of a cell that nbval compares and that hold some text of their own."""
    if UNCOMPARED_TAGS & set(cell.metadata.get("tags", [])) or "NBVAL_IGNORE" in cell.source:
        return []
    kinds = [(output, [*output.get("data", ())]) for output in cell.get("outputs", [])]
    kept = [(o, k and not any(kind.startswith(SKIPPED) for kind in k)) for o, k in kinds]
    return [output for output, shown in kept if shown or output.get("name") == "stdout"]


@each
def test_every_notebook_can_be_read_and_set_and_names_no_machine(path):
    notebook = render.read(path)
    nbformat.validate(notebook)
    declared, used = render.names(path)
    (cell,) = (cell for cell in code_of(notebook) if render.tagged(cell, "parameters"))
    lines = [line.count("=") for line in cell.source.splitlines()]  # as papermill reads them
    assert declared and declared.keys() <= used and lines == [1] * len(declared)
    prose = " ".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert len(re.findall(r"\b[^\W\d_]{2,}\b", prose)) >= 120
    assert notebook.cells[0].source.startswith("# "), "the first cell is the title"
    text = "\n".join(cell.source for cell in code_of(notebook))
    assert max(len(cell.source.splitlines()) for cell in code_of(notebook)) <= 35
    assert "wsaed" in {i.split(".")[0] for i in re.findall(r"^(?:from|import) (\S+)", text, re.M)}
    assert notebook.metadata.get("kernelspec", {}) in ({}, render.KERNEL["kernelspec"])
    assert not {"papermill", "widgets"} & set(notebook.metadata)
    assert {key for cell in notebook.cells for key in cell.metadata} <= {"tags"}
    assert not re.search(r"/(home|root|Users|tmp)/", path.read_text())


@each
def test_figures_show_the_names_of_classes_as_they_are(path):
    """By `report.drawn`: in a title or at an axis a dollar would begin a formula."""
    shows = {"set", "set_title", "set_xticks", "set_yticks", "suptitle", "text", "legend"}
    for cell in code_of(render.read(path)):
        calls = (n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.Call))
        for call in calls:
            if getattr(call.func, "attr", "") in shows:
                seen = re.sub(r"drawn\(.+?\]|drawn, [\w.]+|len\(.+?\)", "", ast.unparse(call))
                assert not re.search(r"\bnamed\b|\blabels(\[|, )", seen), seen


def test_a_class_called_overall_takes_no_number_of_the_paper_s():
    """By the notebook's own statements: only the row of the mean does."""
    cells = code_of(render.read(ROOT / "notebooks/joint_at_aed/table_2.ipynb"))
    statements = [s for cell in cells for s in ast.parse(cell.source).body]
    wanted = [s for s in statements if re.match(r"table_2 = |def published", ast.unparse(s))]
    known = {"np": np, "printed": joint.PUBLISHED["table_2"]}
    exec(compile(ast.Module(wanted, []), "table_2.ipynb", "exec"), known)
    published = known["published"]
    assert np.isnan(published("Overall", 0)).all() and len(wanted) == 2
    assert published(None, 0) == (0.471, 0.498, 0.027) and published("Dog", 0)[0] > 0


@each_table
def test_table_notebooks_carry_no_outputs(path):
    for cell in code_of(render.read(path)):
        assert not cell.outputs and cell.execution_count is None


@each_compared
def test_compared_notebooks_are_executed(path):
    cells = [cell for cell in code_of(render.read(path)) if cell.source.strip()]
    counts = [cell.execution_count for cell in cells]
    assert counts == list(range(1, len(cells) + 1)), "run `make notebooks`"
    for output in (output for cell in cells for output in cell.outputs):
        assert output.output_type != "error" and output.get("name") != "stderr", output
        assert "image/svg+xml" not in output.get("data", {}), "nbval compares its random ids"
    assert path.stat().st_size < 600_000
    assert sum(bool(compared_outputs(cell)) for cell in cells) >= 3


def changed(output):
    """Change one letter or digit of what an output shows."""

    def spoil(text):
        at = re.search(r"\w", text).start()
        return text[:at] + ("x" if text[at] != "x" else "y") + text[at + 1 :]

    where = output if "text" in output else output["data"]
    for kind in [kind for kind in where if kind.startswith("text")]:
        where[kind] = spoil("".join(where[kind]))


def replay(cell):
    """The cell with a source that says again what it said, and computes nothing."""
    lines = []
    for o in cell.outputs:
        shown = f"print({o.text!r}, end='')" if "text" in o else f"display({o.data!r}, raw=True)"
        lines.append(shown)
    kept = dict(outputs=copy.deepcopy(cell.outputs), metadata=cell.metadata, execution_count=1)
    return nbformat.v4.new_code_cell("\n".join(lines), **kept)


def test_a_changed_output_makes_nbval_fail(tmp_path):
    """Every cell with a compared output, as it is and with a letter changed, in one kernel."""
    every = [cell for path in COMPARED for cell in code_of(render.read(path))]
    cells = [replay(cell) for cell in every if compared_outputs(cell) for _ in range(2)]
    for cell in cells[1::2]:
        changed(compared_outputs(cell)[0])
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "all.ipynb")
    command = ["-m", "pytest", "--nbval", "--nbval-current-env", "-v", "-rN", "-p"]
    command += ["no:cacheprovider", "--rootdir", tmp_path, tmp_path / "all.ipynb"]
    said = python(*command).stdout
    outcomes = re.findall(r"Cell \d+ (PASSED|FAILED)", said)
    assert outcomes == ["PASSED", "FAILED"] * (len(cells) // 2), said
    assert said.count("Cell outputs differ") == len(cells) // 2


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


def test_what_a_cell_prints_in_a_row_is_one_output_and_metadata_goes():
    def stream(text, kind="stdout"):
        return nbformat.v4.new_output("stream", name=kind, text=text)

    new = nbformat.v4
    data = {"data": {"text/plain": "a figure"}, "metadata": {"image/png": {"width": 9}}}
    figure = new.new_output("display_data", **data)
    pieces = [stream("a"), stream("b"), stream("c", "stderr"), stream("d"), figure, stream("e")]
    given = {"tags": ["injected-parameters"], "papermill": {"duration": 1.0}}
    cells = [new.new_code_cell("x", outputs=pieces, metadata=given), new.new_markdown_cell("y")]
    cells[1].metadata = {"tags": [], "papermill": {}}
    cleaned = render.clean(new.new_notebook(cells=cells, metadata={"papermill": {"path": "/home"}}))
    assert [o.get("text") for o in cleaned.cells[0].outputs] == ["ab", "c", "d", None, "e"]
    assert cleaned.metadata == render.KERNEL and not cleaned.cells[0].outputs[3].metadata
    assert [dict(c.metadata) for c in cleaned.cells] == [{"tags": given["tags"]}, {}]
    assert cleaned.cells[0].id == "injected-parameters"


@pytest.mark.parametrize(("file", "text", "anew"), CASES["rendered"])
def test_a_notebook_runs_anew_where_a_source_changes(
    tmp_path, monkeypatch, forget, file, text, anew
):
    """Running it is faked here; test_make.py runs some."""
    for path, *_ in CASES["rendered"]:
        put(tmp_path / path)
    for module in (render, files, code):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(render, "BUILD", tmp_path / ".build")
    ran = []
    monkeypatch.setattr(render, "render", lambda path, values, target, where: ran.append(where))
    source = tmp_path / "notebooks/secost/table_1.ipynb"
    target = tmp_path / "results/smoke/secost/table_1.ipynb"

    def renew(width):
        forget()
        assert render.renew(source, {"width": width}, target) == ""
        return len(ran)

    assert [renew(2), renew(2), renew(3), renew(3)] == [1, 1, 2, 2]
    (tmp_path / file).unlink() if text is None else put(tmp_path / file, text)
    assert renew(3) == 2 + anew and ran[0] == "smoke/secost/table_1"
