"""Parameters files, params/<profile>/<paper>.yaml: flat, every key known, of its type, in bounds.

The smoke profile's file is the pattern of its paper's others; the bounds are bounds.yaml.
"""

import contextlib
import difflib
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name

import yaml

from wsaed.files import ROOT, first_line, misfit, shown, table


def file(paper: str, profile: str) -> Path:
    return ROOT / "params" / profile / f"{paper}.yaml"


def given(path: Path) -> dict:
    """The keys of a parameters file: flat YAML, values plain or lists of plain values."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or first_line(error)
        raise ValueError(f"{shown(path)}{line}: {problem}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{shown(path)}: it holds no `key: value` lines")
    for key, value in values.items():
        if any(isinstance(v, dict | list) for v in (value if isinstance(value, list) else [value])):
            raise ValueError(f"{shown(path)}: {key} is nested: keep the file flat")
    return values


def fault(value, pattern) -> str:
    """What is wrong with the type of ``value`` where that of ``pattern`` is wanted; "".

    A pattern of None allows all types, and None is allowed in place of a text.
    """
    if pattern is None or (value is None and isinstance(pattern, str)):
        return ""
    if isinstance(pattern, list | tuple) and isinstance(value, list | tuple):
        faults = (fault(v, pattern[0]) for v in value) if pattern else ()
        return next((f"an item {f}" for f in faults if f), "")
    if type(value) is type(pattern) or (isinstance(pattern, float) and type(value) is int):
        return ""
    hint = ""
    if isinstance(value, str) and isinstance(pattern, int | float):
        with contextlib.suppress(ValueError, OverflowError):
            number = f"{float(value):.1e}" if isinstance(pattern, float) else int(float(value))
            hint = f"; write {number}" if not isinstance(pattern, bool) else ""
    return f"is the {type(value).__name__} {value!r}, {type(pattern).__name__} is wanted{hint}"


def complain(where: str, key: str, value, pattern: dict) -> None:
    """Raise ValueError in one line where ``pattern`` has no such key or another type of value."""
    if key not in pattern:
        meant = difflib.get_close_matches(key, pattern, 1)
        hint = f", {meant[0]} is" if meant else ""
        raise ValueError(f"{where}: {key} is no parameter{hint}: correct it or take it out")
    if wrong := fault(value, pattern[key]):
        raise ValueError(f"{where}: {key} {wrong}")


def within(where: str, values: dict) -> dict:
    """The values; ValueError in one line where one is of another type than its bounds, or out.

    A corpus that is not made has bounds of its own.
    """
    bounds = table("bounds.yaml")
    real = bounds["real"] if values.get("corpus") != "soundscapes" else {}
    every = [*real.items(), *bounds["parameters"].items()]
    for key, value in values.items():
        for bound in [bound for name, bound in every if fnmatch(key, name)][:1]:
            if wrong := fault(value, bound[0]) or misfit(value, bound):
                raise ValueError(f"{where}: {key} {wrong}")
    return values


def checked(paper: str, profile: str) -> dict:
    """The parameters of a paper in a profile: every key that the smoke profile has, in bounds.

    Raises ValueError or FileNotFoundError in one line that names the file, the key, what to do.
    """
    path = file(paper, profile)
    if not path.exists():
        raise ValueError(f"{shown(path)} does not exist: which profile?")
    values, pattern = given(path), given(file(paper, "smoke"))
    for key, value in values.items():
        complain(shown(path), key, value, pattern)
    if missing := sorted(pattern.keys() - values.keys()):
        raise ValueError(f"{shown(path)}: {missing[0]} is missing: add it")
    return within(shown(path), values)


def chosen(paper: str, profile: str, **others) -> dict:
    """A paper's parameters in a profile, with those of ``others`` that are not None over them.

    Raises ValueError or FileNotFoundError in one line: as `checked`, or where one of ``others``
    is no parameter or of another type, or no front end or corpus has the name that is given.
    """
    from wsaed.features import FRONT_ENDS  # torch, which rendering does not wait for

    values, where = checked(paper, profile), f"{paper} in profile {profile}"
    for key, value in others.items():
        complain(where, key, values.get(key) if value is None else value, values)
    found = values | {key: value for key, value in others.items() if value is not None}
    within(where, found)
    names = {key: found[key] in FRONT_ENDS for key in found if key.endswith("front_end")}
    corpus = f"wsaed.corpora.{found['corpus']}"  # some modules hold a part of a corpus
    names["corpus"] = "." not in found["corpus"] and find_spec(corpus)
    names["corpus"] = names["corpus"] and hasattr(resolve_name(corpus), "load")
    if unknown := [f"{key} {found[key]}" for key, known in names.items() if not known]:
        raise ValueError(f"{where}: there is no {unknown[0]}: correct its name")
    return found
