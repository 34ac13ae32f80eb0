"""One notebook and one parameters file to one executed notebook: ``python -m wsaed.render``.

papermill only warns about a parameter that nobody reads, reads ``1e-3`` as text, leaves a failed
run where the good one belongs and writes paths and times into what it makes. So the parameters
are checked before a kernel starts, and what comes out is moved into place whole and clean.
"""

import argparse
import ast
import contextlib
import logging
import os
import sys
import time
import warnings
from pathlib import Path

import nbformat

from wsaed.code import ROOT
from wsaed.files import first_line, one_line, shown, write_whole
from wsaed.parameters import fault, given

BUILD = ROOT / ".build"
INLINE = "module://matplotlib_inline.backend_inline"


def read(path: Path) -> nbformat.NotebookNode:
    """A notebook; FileNotFoundError where it is missing, ValueError where it is none."""
    if not path.exists():
        raise FileNotFoundError(f"{shown(path)}: no such notebook")
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, nbformat.ValidationError) as error:
        raise ValueError(f"{shown(path)} is not a notebook: {first_line(error)}") from error


def parameters_cell(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """The code cell tagged ``parameters``, or None."""
    tagged = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    return next(tagged, None)


def declared(path: Path) -> dict:
    """{name: default} of a notebook's ``parameters`` cell, in its order.

    Raises ValueError where there is no such cell or where it holds more than literal assignments.
    """
    cell = parameters_cell(read(path))
    if cell is None:
        raise ValueError(f"{shown(path)}: no cell is tagged `parameters`: tag one")
    found = {}
    for line in ast.parse(cell.source).body:
        target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
        try:
            found[target.id] = ast.literal_eval(line.value)
        except (AttributeError, ValueError):
            raise ValueError(
                f"{shown(path)}: `{ast.unparse(line)}` in the parameters cell: keep that cell to "
                "`name = literal`, one a line, and compute in the next cell"
            ) from None
    return found


def names_read(path: Path) -> set[str]:
    """The names that the code cells of a notebook read, the parameters cell left out."""
    notebook = read(path)
    skip = parameters_cell(notebook)
    found = set()
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code" or cell is skip:
            continue
        # a magic or a shell line is no Python; its names do not count as read
        lines = ["" if s.lstrip()[:1] in ("%", "!") else s for s in cell.source.splitlines()]
        try:
            tree = ast.parse("\n".join(lines))
        except SyntaxError as error:
            raise ValueError(f"{shown(path)}: cell {number} does not parse: {error}") from error
        nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Name))
        found |= {node.id for node in nodes if isinstance(node.ctx, ast.Load)}
    return found


def check(path: Path, parameters: Path | None, chosen: dict | None = None) -> dict:
    """The parameters that a notebook gets from a parameters file, all checked; no kernel starts.

    ``chosen`` replaces single values of the file; without a file, of the notebook's defaults.
    Raises ValueError or FileNotFoundError in one line that names the file, the key and what to do.
    """
    wanted, used = declared(path), names_read(path)
    values = given(parameters) if parameters else wanted
    siblings = {p: declared(p) for p in sorted(path.parent.glob("*.ipynb"))}
    known = {name for names in siblings.values() for name in names}
    for key in values:
        if key not in known:
            raise ValueError(
                f"{shown(parameters)}: no notebook in {shown(path.parent)} declares {key}: "
                "correct its spelling or take it out"
            )
    for key in chosen or {}:
        if key not in wanted:
            raise ValueError(f"--set {key}: {shown(path)} declares no {key}: correct its spelling")
    values = values | (chosen or {})
    for key, default in wanted.items():
        if key not in used:
            raise ValueError(
                f"{shown(path)}: {key} is declared and never read: use it or take it out"
            )
        if key not in values:
            raise ValueError(
                f"{shown(parameters)}: {key} is missing and {shown(path)} declares it: add it"
            )
        if wrong := fault(values[key], default):
            raise ValueError(f"{shown(parameters or path)}: {key} {wrong}")
    return {key: values[key] for key in wanted}


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without times, paths and machine in its metadata; cell ids and tags stay.

    What a cell prints in a row becomes one output: a busy kernel sends it in pieces.
    """
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        kept = {"tags": tags} if tags else {}
        if "injected-parameters" in tags:
            cell.id = "injected-parameters"  # papermill draws a new one for each run
        cell.metadata = nbformat.from_dict(kept)
        whole = []
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
            before = whole[-1] if whole else {}
            if "name" in output and output.name == before.get("name"):  # only streams have one
                before.text += output.text
            else:
                whole.append(output)
        if "outputs" in cell:
            cell.outputs = whole
    return notebook


@contextlib.contextmanager
def into(log: Path):
    """Send everything that this process and its kernel print to a log while it lasts."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    with open(log, "w") as file:
        handler = logging.StreamHandler(file)
        logging.getLogger().addHandler(handler)
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, old in zip((1, 2), kept, strict=True):
                os.dup2(old, number)
                os.close(old)
            logging.getLogger().removeHandler(handler)


def render(path: Path, parameters: dict, target: Path, where: str) -> None:
    """Execute a notebook with its parameters and put it, cleaned, at ``target``.

    ``where`` names its place under .build/partial, failed and logs (``laptop/secost/table_2``).
    Raises RuntimeError in one line that names the kept notebook and the log when a cell fails.
    """
    partial, failed = (BUILD / kind / f"{where}.ipynb" for kind in ("partial", "failed"))
    log = BUILD / "logs" / f"{where}.log"
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.unlink(missing_ok=True)
    try:
        with into(log), warnings.catch_warnings():
            import papermill

            papermill.execute_notebook(
                str(path),
                str(partial),
                parameters,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                cwd=str(path.parent),
                start_timeout=300,  # many kernels may start at once
            )
    except Exception as error:
        failed.parent.mkdir(parents=True, exist_ok=True)
        if partial.exists():
            os.replace(partial, failed)
        else:
            failed.write_bytes(path.read_bytes())
        reason = f"{getattr(error, 'ename', type(error).__name__)}: "
        reason += first_line(Exception(getattr(error, "evalue", error)))
        raise RuntimeError(
            f"{shown(path)} failed: {reason} (kept: {shown(failed)}; log: {shown(log)})"
        ) from error
    write_whole(target, nbformat.writes(clean(read(partial))).rstrip("\n") + "\n")
    partial.unlink()
    failed.unlink(missing_ok=True)


def chosen_values(pairs: list[str]) -> dict:
    """``key=value`` arguments as a dict; a value is read as Python where it is a literal."""
    found = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not (key and equals):
            raise ValueError(f"--set {pair}: write --set key=value")
        try:
            found[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[key] = text
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m wsaed.render", description=__doc__)
    parser.add_argument("notebook", type=Path, help="e.g. notebooks/secost/table_2.ipynb")
    parser.add_argument("--profile", default="laptop", help="a folder of params/")
    parser.add_argument("--results", type=Path, help="default: results/<profile>")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--replicates", type=int, help="in place of the profile's, where asked for")
    parser.add_argument("--in-place", action="store_true", help="run with the notebook's defaults")
    options = parser.parse_args(arguments)
    path = Path(os.path.abspath(options.notebook))
    results = Path(os.path.abspath(options.results or ROOT / "results" / options.profile))
    paper = "" if path.parent.name == "notebooks" else path.parent.name
    chosen = chosen_values(options.set)
    if options.replicates and "replicates" in declared(path):
        chosen = {"replicates": options.replicates} | chosen
    parameters_file = ROOT / "params" / options.profile / f"{paper}.yaml"
    known = paper and not (options.in_place and not parameters_file.exists())
    parameters = check(path, parameters_file if known else None, chosen)
    # no bar in an executed notebook: it would hold times
    os.environ.update(PROFILE=options.profile, MPLBACKEND=INLINE, HEADLESS="1")
    if options.in_place:
        target, parameters, where = path, chosen, f"in_place/{paper}/{path.stem}"
        os.environ.pop("RESULTS", None)
    else:
        target = results / paper / path.name
        where = f"{results.name}/{paper}/{path.stem}"
        os.environ["RESULTS"] = str(results)
    started = time.monotonic()
    render(path, parameters, target, where)
    print(f"{shown(target)} ({time.monotonic() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    one_line(main)
