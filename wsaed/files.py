"""Where files lie, writes that are whole or not at all, tables of numbers, errors of one line."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def cache_root() -> Path:
    """The folder for runs and features: CACHE, else .cache/ in the project's root."""
    return Path(os.environ.get("CACHE") or ROOT / ".cache").absolute()


@lru_cache
def table(name: str) -> dict:
    """A table of numbers or names, ``wsaed/<name>``, e.g. "corpora/desed.yaml"; don't change it.

    A module that names such a file depends on it as on code: see `wsaed.code`.
    """
    return yaml.safe_load((ROOT / "wsaed" / name).read_text(encoding="utf-8"))


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a path to write; it becomes ``path`` when the block ends, and is gone if that fails.

    Raises OSError in one line where the disk fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        reason = error.strerror or error
        said = f"{shown(path)}: {reason}: mend that (free space? another CACHE?) and call again"
        raise OSError(said) from error
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all, its folder with it."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def one_line(main: Callable) -> None:
    """Run a command; what a user can mend ends it in one line, an interrupt without any."""
    try:
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
