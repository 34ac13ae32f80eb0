"""Notebooks and a profile's parameters to executed notebooks: ``python -m wsaed.render``.

papermill only warns about a parameter that nobody reads, reads ``1e-3`` as text, leaves a failed
run where the good one belongs and writes paths and times into what it makes. So the parameters
are checked before a kernel starts, and what comes out is moved into place whole and clean.
"""

import argparse
import ast
import copy
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import yaml
from filelock import FileLock
from IPython.core.inputtransformer2 import TransformerManager
from nbconvert.preprocessors import CoalesceStreamsPreprocessor, TagRemovePreprocessor

from wsaed import code, parameters
from wsaed.files import ROOT, first_line, folder_of, one_line, shown, write_whole

BUILD = ROOT / ".build"
DEAD = 138  # papermill's exit status where a kernel died
INLINE = "module://matplotlib_inline.backend_inline"
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def read(path: Path) -> nbformat.NotebookNode:
    """A notebook; FileNotFoundError where it is missing, ValueError where it is none."""
    if not path.exists():
        raise FileNotFoundError(f"{shown(path)}: no such notebook")
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, nbformat.ValidationError) as error:
        raise ValueError(f"{shown(path)} is not a notebook: {first_line(error)}") from error


def tagged(cell: nbformat.NotebookNode, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def names(path: Path) -> tuple[dict, set[str]]:
    """({name: default} of a notebook's ``parameters`` cell, the names that its other cells read).

    Raises ValueError where there is no such cell or where it holds more than literal assignments,
    which papermill's own inspection would skip in silence.
    """
    cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
    try:  # magics and shell lines become calls: their names do not count as read
        plain = [ast.parse(TransformerManager().transform_cell(cell.source)) for cell in cells]
    except SyntaxError as error:
        raise ValueError(f"{shown(path)}: a cell does not parse: {error}") from error
    mine = [tree for cell, tree in zip(cells, plain, strict=True) if tagged(cell, "parameters")]
    if not mine:
        raise ValueError(f"{shown(path)}: no cell is tagged `parameters`: tag one")
    declared = {}
    for line in mine[0].body:
        try:
            target = line.targets[0] if isinstance(line, ast.Assign) else line.target
            declared[target.id] = ast.literal_eval(line.value)
        except (AttributeError, ValueError):
            said = f"{shown(path)}: `{ast.unparse(line)}` in the parameters cell: keep that cell"
            said += " to `name = literal`, one a line, and compute in the next cell"
            raise ValueError(said) from None
    nodes = (node for tree in plain if tree is not mine[0] for node in ast.walk(tree))
    used = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return declared, used


def check(path: Path, profile: str, replicates: int | None = None) -> dict:
    """The parameters that a notebook gets in a profile, all checked; no kernel starts.

    They are those of params/<profile>/<its folder>.yaml that it declares; where its folder has no
    such files, none. ``replicates`` takes the place of the profile's.
    Raises ValueError or FileNotFoundError in one line that names the file, the key, what to do.
    """
    declared, used = names(path)
    if unread := [f"{shown(path)}: {key} is declared" for key in declared if key not in used]:
        raise ValueError(f"{unread[0]} and never read: use it or take it out")
    if not parameters.file(path.parent.name, "smoke").exists():
        return {}
    values = parameters.checked(path.parent.name, profile)
    where = f"{shown(path)}, profile {profile}"
    values |= {} if replicates is None else {"replicates": replicates}
    parameters.within(where, values)
    for key, default in declared.items():
        # a default of None stands for the profile's value, whatever its type
        default = values.get(key) if default is None else default
        parameters.complain(where, key, default, values)
    return {key: values[key] for key in declared}


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without times, paths and machine in its metadata; cell ids and tags stay.

    What a cell prints in a row becomes one output: a busy kernel sends it in pieces.
    """
    notebook, _ = CoalesceStreamsPreprocessor().preprocess(notebook, {})
    notebook.metadata = nbformat.from_dict(KERNEL)
    for cell in notebook.cells:
        if tagged(cell, "injected-parameters"):
            cell.id = "injected-parameters"  # papermill draws a new one for each run
        kept = {key: value for key, value in cell.metadata.items() if key == "tags" and value}
        cell.metadata = nbformat.from_dict(kept)
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
    return notebook


def text(notebook: nbformat.NotebookNode) -> str:
    """A notebook as it is written: one newline at its end."""
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def learners(session: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A workshop's session for learners: solutions leave their places and stand folded at its foot.

    Wrong answers go, too, and the teacher's notes, and all outputs that would answer a question:
    what stays is a check's picture, the one to expect. Links start one folder further down.
    """
    remove = TagRemovePreprocessor(remove_cell_tags={"solution", "wrong", "teacher"})
    page, _ = remove.preprocess(copy.deepcopy(session), {})
    for cell in page.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../", "](../../")
        else:
            shown = cell.outputs if tagged(cell, "check") else []
            cell.outputs = [out for out in shown if "image/png" in out.get("data", {})]
    title, solutions = "", ["## Solutions"]
    for cell in session.cells:
        if cell.cell_type == "markdown":
            title = (re.findall(r"^#.*(exercise .*)", cell.source, re.M | re.I) or [title])[-1]
        elif tagged(cell, "solution"):
            code = f"```python\n{cell.source}\n```"
            solutions.append(f"<details><summary>{title}</summary>\n\n{code}\n\n</details>")
    page.cells.append(nbformat.v4.new_markdown_cell("\n\n".join(solutions), id="solutions"))
    return page


def render(path: Path, values: dict, target: Path, where: str) -> None:
    """Execute a notebook with its parameters and put it, cleaned, at ``target``.

    ``where`` names its place under .build/partial, failed and logs (``laptop/secost/table_2``).
    Raises RuntimeError in one line that names the kept notebook and the log when a cell fails.
    """
    partial, failed = (BUILD / kind / f"{where}.ipynb" for kind in ("partial", "failed"))
    log = BUILD / "logs" / f"{where}.log"
    for file in (partial, failed, log):
        file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, partial)  # what is kept where no kernel starts
    # in a process of its own, so that what papermill and the kernel print goes to the log
    command = [sys.executable, "-m", "papermill", path, partial, "--kernel=python3"]
    command += ["--language=python", f"--cwd={path.parent}", "--no-progress-bar"]
    command += ["--start-timeout=300"]  # many kernels may start at once
    command += ["--parameters_yaml", yaml.safe_dump(values)] if values else []
    quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    with open(log, "w") as file:
        status = subprocess.run(command, stdout=file, **quiet).returncode
    if status:
        os.replace(partial, failed)
        outputs = (output for cell in read(failed).cells for output in cell.get("outputs", []))
        raised = (f"{o.ename}: {o.evalue}" for o in outputs if o.output_type == "error")
        killed = "its kernel was killed; was there memory?"
        ended = killed if status == DEAD else f"papermill ended with {status}"
        reason = next(raised, ended).splitlines()[0]
        said = f"{shown(path)} failed: {reason}"
        raise RuntimeError(f"{said} (kept: {shown(failed)}; log: {shown(log)})")
    write_whole(target, text(clean(read(partial))))
    partial.unlink()
    failed.unlink(missing_ok=True)


def state(path: Path, values: dict, target: Path) -> str:
    """Digest of what an executed notebook depends on and of all that it wrote beside itself."""
    found = hashlib.sha256(f"{values} {code.digest(code.modules())}".encode())
    homes = (target.parents[1], ROOT / "results" / "evidence")
    kept = "records.json", "plateau.csv"  # what claims are judged from
    records = (f for home in homes for name in kept for f in sorted(home.glob(f"*/{name}")))
    mine = (file for file in sorted(target.parent.glob(f"{target.stem}*")) if file.is_file())
    for file in (path, *records, *mine):
        found.update(f"\n{file}\n".encode() + file.read_bytes())
    return found.hexdigest()


def renew(path: Path, values: dict, target: Path) -> str:
    """`render` a notebook unless it is up to date; one line if that failed, else ""."""
    began, where = time.monotonic(), f"{target.parents[1].name}/{path.parent.name}/{path.stem}"
    kept = BUILD / "states" / where
    kept.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{kept}.lock"):  # another make may be at it
        if kept.exists() and kept.read_text() == state(path, values, target):
            return ""
        try:
            render(path, values, target, where)
        except (ValueError, OSError, RuntimeError) as error:
            return first_line(error)
        write_whole(kept, state(path, values, target))
    # the line and its end in one, since notebooks that end together print at once
    print(f"{shown(target)} ({time.monotonic() - began:.0f} s)\n", end="", flush=True)
    return ""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m wsaed.render", description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, help="notebooks/secost/table_2.ipynb")
    parser.add_argument("--profile", default="laptop", help="a folder of params/")
    parser.add_argument("--results", type=Path, help="default: results/<profile>[-<bank>]")
    parser.add_argument("--replicates", type=int, help="in place of the profile's, where asked for")
    told = "train nothing: of each system the replicates that the results have"
    parser.add_argument("--committed", action="store_true", help=told)
    parser.add_argument("--in-place", action="store_true", help="run with the notebooks' defaults")
    parser.add_argument("--learners", action="store_true", help="only write learners' pages")
    options = parser.parse_args(arguments)
    if options.learners:
        for path in options.notebooks:
            write_whole(path.parent / "learners" / path.name, text(learners(read(path))))
        return
    results = (options.results or ROOT / "results" / folder_of(options.profile)).absolute()
    jobs = []
    for path in (notebook.absolute() for notebook in options.notebooks):
        values = check(path, options.profile, options.replicates)
        target = results / path.parent.name / path.name
        jobs.append((path, {}, path) if options.in_place else (path, values, target))
    # no bar in an executed notebook: it would hold times
    os.environ.update(PROFILE=options.profile, MPLBACKEND=INLINE, HEADLESS="1")
    os.environ.pop("RESULTS", None)
    os.environ["COMMITTED"] = "1" * options.committed
    os.environ |= {} if options.in_place else {"RESULTS": str(results)}
    with ThreadPoolExecutor(int(os.environ.get("JOBS") or os.cpu_count() or 1)) as pool:
        if failed := [*filter(None, pool.map(renew, *zip(*jobs, strict=True)))]:
            sys.exit("\n".join(failed))


if __name__ == "__main__":
    one_line(main)
