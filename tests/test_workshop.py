"""The workshop's sessions: a stub and all wrong answers fail their check, and nothing else fails.

That the solutions pass is nbval's part (``make test``).
"""

import ast

import matplotlib.pyplot as plt
import pytest
from conftest import ROOT, one_line

from wsaed import render, report

SESSIONS = sorted((ROOT / "notebooks/workshop").glob("*.ipynb"))
each = pytest.mark.parametrize("path", SESSIONS, ids=lambda path: path.stem)
KINDS = ("exercise", "solution", "wrong", "check")


def kind_of(cell):
    return next((kind for kind in KINDS if render.tagged(cell, kind)), "")


@each
def test_the_learners_page_is_current_and_folds_the_solutions_away(path):
    session, page = render.read(path), path.parent / "learners" / path.name
    assert page.read_text() == render.text(render.learners(session)), "run `make workshop`"
    cells = render.read(page).cells
    count = [kind_of(cell) for cell in session.cells].count("exercise")
    assert count >= 3 and not {"solution", "wrong"} & {kind_of(cell) for cell in cells}
    assert cells[-1].source.lower().count("<details><summary>exercise ") == count
    for cell in session.cells:
        if kind_of(cell) == "solution":
            assert cell.source in cells[-1].source
            assert not any(cell.source in other.source for other in cells[:-1])
    assert not any("whoever teaches" in cell.source for cell in cells)
    for cell in cells:  # a check's picture is the one to expect; no other output tells an answer
        if kind_of(cell) == "check":
            assert cell.outputs
        assert all("image/png" in out.data for out in cell.get("outputs", []))


@each
def test_a_stub_and_every_wrong_answer_fail_the_check_and_no_other_cell_fails(path, monkeypatch):
    """A learner's page from the top, without a kernel: what stands after a check goes on."""
    monkeypatch.setattr(report, "conclusion", lambda *asked: "")  # seconds, which nbval spends
    plt.switch_backend("Agg")
    namespace, name, wrong, order = {}, "", {}, []

    def run(cell, given=namespace):
        exec(compile(cell.source, f"{path.name}, {cell.id}", "exec"), given)
        plt.close("all")

    for cell in (cell for cell in render.read(path).cells if cell.cell_type == "code"):
        kind = kind_of(cell)
        order += [kind] * bool(kind)
        if kind == "check":
            assert len(wrong) >= 3, name
            with pytest.raises(NotImplementedError):
                run(cell)
            for what, answer in wrong.items():
                with pytest.raises(AssertionError) as error:
                    run(cell, namespace | {name: answer})
                    pytest.fail(f"{name}: {what} passes")
                assert len(one_line(error)) > 10, what
        elif kind != "solution":
            run(cell)
        if kind == "exercise":
            name = ast.parse(cell.source).body[-1].name
        elif kind == "wrong":
            wrong = namespace.pop("wrong")
    assert order == [*KINDS] * (len(order) // len(KINDS)), "stub, solution, wrong answers, check"
