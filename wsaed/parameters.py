"""Parameters files, params/<profile>/<paper>.yaml: flat, every key known, every value of its type.

The smoke profile's file is the pattern of its paper's others, as the notebooks' defaults are of it.
"""

import contextlib
import difflib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import yaml

from wsaed.code import ROOT
from wsaed.files import first_line, shown


def given(path: Path) -> dict:
    """The keys of a parameters file: flat YAML, values plain or lists of plain values."""
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"{shown(path)}: no such parameters file: write one") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or first_line(error)
        raise ValueError(f"{shown(path)}{line}: {problem}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{shown(path)}: it holds no `key: value` lines")
    for key, value in values.items():
        if isinstance(value, dict) or (
            isinstance(value, list) and any(isinstance(v, dict | list) for v in value)
        ):
            raise ValueError(f"{shown(path)}: {key} is nested: keep the file flat")
    return values


def meanings(profile: str, paper: str) -> dict[str, str]:
    """What each parameter of a file is, by the comment behind it."""
    lines = (ROOT / "params" / profile / f"{paper}.yaml").read_text().splitlines()
    return {line.partition(":")[0]: line.partition("#")[2].strip() for line in lines}


def fault(value, default) -> str:
    """What is wrong with the type of ``value`` where the notebook's default is ``default``; ""."""
    if default is None or (value is None and isinstance(default, str)):
        return ""
    if isinstance(default, list | tuple) and isinstance(value, list | tuple):
        faults = (fault(v, default[0]) for v in value) if default else ()
        return next((f"an item {f}" for f in faults if f), "")
    same = type(value) is type(default)
    if same or (isinstance(default, float) and type(value) is int):
        return ""
    hint = ""
    if isinstance(value, str) and isinstance(default, int | float):
        with contextlib.suppress(ValueError, OverflowError):
            number = f"{float(value):.1e}" if isinstance(default, float) else int(float(value))
            hint = f"; write {number}" if not isinstance(default, bool) else ""
    return f"is the {type(value).__name__} {value!r}, {type(default).__name__} is wanted{hint}"


def of_profile(profile: str, paper: str) -> dict:
    """The parameters of a paper in a profile, checked before anything trains.

    Raises ValueError in one line that names the file, the key and what to do.
    """
    from wsaed.features import FRONT_ENDS  # torch, which rendering does not wait for

    path, pattern = (ROOT / "params" / name / f"{paper}.yaml" for name in (profile, "smoke"))
    if not path.exists():
        raise ValueError(f"{shown(path)} does not exist: which profile?")
    values, known = given(path), given(pattern)
    for key in values.keys() - known.keys():
        meant = difflib.get_close_matches(key, known, 1)
        hint = f", {meant[0]} is" if meant else ""
        raise ValueError(f"{shown(path)}: {key} is no parameter{hint}: correct it or take it out")
    for key, default in known.items():
        if key not in values:
            raise ValueError(f"{shown(path)}: {key} is missing: add it")
        if wrong := fault(values[key], default):
            raise ValueError(f"{shown(path)}: {key} {wrong}")
    names = {key: values[key] in FRONT_ENDS for key in known if key.endswith("front_end")}
    module = f"wsaed.corpora.{values['corpus']}"  # some hold a part of a corpus
    names["corpus"] = find_spec(module) and hasattr(import_module(module), "load")
    for key, found in names.items():
        if not found:
            raise ValueError(f"{shown(path)}: there is no {key} {values[key]}: correct its name")
    return values
