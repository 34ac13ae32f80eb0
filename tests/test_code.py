"""The code digest sees what changes numbers and nothing else."""

import ast

from wsaed import code


def canonical(text):
    return code.canonical(ast.parse(text))


def test_comments_docstrings_and_formatting_do_not_count():
    plain = "def f(x):\n    return x + 1\n"
    dressed = '"""A module."""\n\n\ndef f(x):\n    """What."""\n    # why\n    return (x\n + 1)\n'
    assert canonical(plain) == canonical(dressed)


def test_a_changed_constant_counts():
    assert canonical("x = 1") != canonical("x = 2")


def test_a_digest_covers_imports_transitively(monkeypatch):
    before = code.digest(("wsaed.methods.ensemble",))
    real = code._module

    def changed(name):
        found = real(name)
        return (found[0] + "#", found[1]) if name == "wsaed.scoring" else found

    # ensemble -> tagging -> scoring: two imports away
    monkeypatch.setattr(code, "_module", changed)
    assert code._digest.__wrapped__(("wsaed.methods.ensemble",)) != before


def test_reports_and_runs_never_enter_a_method_digest():
    seen, todo = set(), []
    for kind in ("methods", "nets", "corpora"):
        found = (code.ROOT / "wsaed" / kind).glob("[!_]*.py")
        todo += [f"wsaed.{kind}.{path.stem}" for path in found]
    while todo:
        name = todo.pop()
        if name not in seen and code._module(name):
            seen.add(name)
            todo += code._module(name)[1]
    allowed = "audio augment code corpora features losses methods nets"
    allowed += " postprocess progress scoring training"
    assert {name.split(".")[1] for name in seen if "." in name} <= set(allowed.split())
