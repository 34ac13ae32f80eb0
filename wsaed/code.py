"""Which code made a result: a digest over syntax trees and tables, so comments never retrain."""

import ast
import hashlib
from functools import lru_cache

from wsaed.files import ROOT, table


@lru_cache
def _module(name: str) -> tuple[str, frozenset[str]] | None:
    """(canonical text, names of wsaed modules it imports) of one module of wsaed.

    To its text belong the tables that it names: what a YAML says below wsaed/, not its comments.
    """
    base = ROOT.joinpath(*name.split("."))
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    if not path.exists():
        return None
    tree, imports, strings = ast.parse(path.read_text(encoding="utf-8")), set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant):
            strings.add(node.value)
    tables = {path.relative_to(ROOT / "wsaed").as_posix() for path in ROOT.glob("wsaed/**/*.yaml")}
    numbers = "".join(f"\n{name} {table(name)!r}" for name in sorted(tables & strings))
    return canonical(tree) + numbers, frozenset(i for i in imports if i.split(".")[0] == "wsaed")


def canonical(node) -> str:
    """A syntax tree as text, without docstrings, positions and empty fields.

    Empty fields are left out because Python versions add new ones to the same code.
    """
    if isinstance(node, list):
        return "[" + ",".join(map(canonical, node)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            fields["body"] = node.body[1:]
    inner = ",".join(f"{name}={canonical(value)}" for name, value in fields.items())
    return f"{type(node).__name__}({inner})"


def digest(roots) -> str:
    """sha256 (16 hex digits) over the named modules and all they import within wsaed."""
    return _digest(tuple(sorted(roots)))


@lru_cache
def _digest(roots: tuple[str, ...]) -> str:
    seen, todo = {}, list(roots)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen[name] = _module(name)
            todo += sorted(seen[name][1]) if seen[name] else []
    sources = [f"{name}\n{seen[name][0]}" for name in sorted(seen) if seen[name]]
    return hashlib.sha256("\n".join(sources).encode()).hexdigest()[:16]


def modules() -> list[str]:
    """The names of all modules of wsaed."""
    paths = (path.relative_to(ROOT).with_suffix("") for path in ROOT.glob("wsaed/**/*.py"))
    return [".".join(path.parts) for path in paths]
