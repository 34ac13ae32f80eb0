"""Where files lie, writes that are whole or not at all, tables of numbers, errors of one line."""

import contextlib
import hashlib
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def cache_root() -> Path:
    """The folder for runs and features: CACHE, else .cache/ in the project's root."""
    return Path(os.environ.get("CACHE") or ROOT / ".cache").absolute()


def folder_of(profile: str) -> str:
    """A profile's folder in results: on a BANK with the bank's name, as the Makefile has it.

    What a shell or make would read becomes "_".
    """
    bank = Path(os.environ.get("BANK") or "").name
    return "-".join(filter(None, (profile, re.sub(r"[\x01-,/:-@[-^`{-\x7f]", "_", bank))))


@lru_cache
def table(name: str) -> dict:
    """A table of numbers or names, ``wsaed/<name>``, e.g. "corpora/desed.yaml"; don't change it.

    A module that names such a file depends on it as on code: see `wsaed.code`.
    """
    return yaml.safe_load((ROOT / "wsaed" / name).read_text(encoding="utf-8"))


@contextlib.contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """What fails in it because of the disk is an OSError of one line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        said = f"{shown(path)}: {reason}: mend that (free space? another CACHE?) and call again"
        raise OSError(said) from error


@contextlib.contextmanager
def whole(path: Path, locked: bool = False) -> Iterator[Path]:
    """Give a path to write; it becomes ``path`` when the block ends, and is gone if that fails.

    locked: nobody else writes ``path``, so that what a kill has left is written over. Raises
    OSError in one line where the disk fails.
    """
    writer = "" if locked else f".{os.getpid()}"
    partial = path.with_name(f".{path.stem}{writer}.partial{path.suffix}")
    with on_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all, its folder with it."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def misfit(value, bounds: list | str) -> str:
    """What is wrong with a number outside [least, most], or a text that is not the pattern; ""."""
    if isinstance(bounds, str):
        return "" if re.fullmatch(bounds, str(value)) else f"is {value!r}, {bounds} is wanted"
    least, most = bounds
    if isinstance(value, int | float) and least <= value <= (most or math.nextafter(math.inf, 0)):
        return ""
    kind = "a number" if isinstance(least, float) else "a whole number"
    return f"is {value}: {kind}, {f'{least} to {most}' if most else f'{least} or more'}, is wanted"


def check_variables() -> None:
    """ValueError in one line for a variable of the environment that can't be what it is."""
    for name, bounds in table("bounds.yaml")["variables"].items():
        value = text = os.environ.get(name, "")
        if text and not isinstance(bounds, str):
            with contextlib.suppress(ValueError):
                value = type(bounds[0])(text)
        if text and (wrong := misfit(value, bounds)):
            raise ValueError(f"{name} {wrong}")
    kind, _, number = os.environ.get("DEVICE", "").partition(":")
    if kind in ("cuda", "mps") and not os.environ.get("DASK"):
        import torch  # which a command on the CPU may not wait for

        there = torch.cuda.device_count() if kind == "cuda" else torch.backends.mps.is_available()
        if int(number or 0) >= there:
            raise ValueError(f"DEVICE={kind}{number and f':{number}'}: PyTorch sees none; take cpu")


def content(path: str | Path) -> int:
    """64 bits of the SHA-256 of what a file holds; OSError in one line where the disk fails."""
    try:
        with open(path, "rb") as file:
            return int.from_bytes(hashlib.file_digest(file, "sha256").digest()[:8])
    except OSError as error:
        raise OSError(f"{path}: {error.strerror}: mend that and call again") from None


def one_line(main: Callable) -> None:
    """Run a command; what a user can mend ends it in one line, an interrupt without any."""
    try:
        check_variables()
        main()
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(first_line(error))
    except KeyboardInterrupt:
        sys.exit(130)


def first_line(error: Exception) -> str:
    """The first line of an error's text, its type's name where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def shown(path: Path) -> str:
    """A path as messages print it: relative to the repository where it lies within."""
    path = Path(os.path.abspath(path))
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
