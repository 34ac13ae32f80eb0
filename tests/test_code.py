"""The code digest sees what changes numbers, nothing else; imports go one way, strings too."""

import ast
import graphlib
import re
import shutil

import pytest
from conftest import CASES, ROOT

from wsaed import code, files, runs


def test_comments_docstrings_and_formatting_do_not_count():
    plain = "def f(x):\n    return x + 1\n"
    dressed = '"""A module."""\n\n\ndef f(x):\n    """What."""\n    # why\n    return (x\n + 1)\n'
    one, two, other = (code.canonical(ast.parse(t)) for t in (plain, dressed, plain + "x = 1\n"))
    assert one == two != other
    assert code.canonical(ast.parse("x = 1")) != code.canonical(ast.parse("x = 2"))


@pytest.fixture
def copy(tmp_path, monkeypatch, forget):
    """A copy of the module with a corpus whose numbers are a table, and a record of a run on it."""
    shutil.copytree(ROOT / "wsaed", tmp_path / "wsaed", ignore=shutil.ignore_patterns("*.pyc"))
    (tmp_path / "wsaed/corpora/mine.py").write_text('NUMBERS = table("corpora/mine.yaml")\n')
    (tmp_path / "wsaed/corpora/mine.yaml").write_text("a: [1, 2]\nb: 3\n")
    for module in (code, files):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    forget()
    spec = {"method": "secost.method:train", "corpus": {"name": "mine"}}
    record = {"system": "base", "spec": spec, "code": runs.code_digest(spec)}
    return tmp_path / "wsaed", {("base", 0): record}


@pytest.mark.parametrize("table, change, stale", CASES["digested"])
def test_a_changed_table_or_module_makes_its_runs_stale(copy, forget, table, change, stale):
    home, records = copy
    assert runs.stale(records) == []
    (home / table).write_text(change)
    forget()
    assert runs.stale(records) == stale


NAMED = re.compile(r"['\"](\w+(?:\.\w+)*):\w+['\"]")  # "secost.method:train", as specs name it


def test_there_is_no_cycle_of_imports_or_of_modules_named_as_strings():
    every = {name.removesuffix(".__init__"): code._module(name) for name in code.modules()}
    graph = {name: set(found[1]) & every.keys() for name, found in every.items()}
    for name, (text, _) in every.items():
        graph[name] |= {f"wsaed.{named}" for named in NAMED.findall(text)} & every.keys()
    named = {name for name in every if NAMED.search(every[name][0])}
    assert {name.rpartition(".")[2] for name in named} == {"systems"}
    graph = {name: below - {name} for name, below in graph.items()}
    assert len([*graphlib.TopologicalSorter(graph).static_order()]) == len(every)
