"""What the commands share: messages of one line, and files that are written whole or not at all."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from wsaed.code import ROOT


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


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all, its folder with it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
