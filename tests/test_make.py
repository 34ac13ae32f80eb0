"""The Makefile on a small copy of the repository: what it orders, failures, the environment."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import time

import nbformat
import pytest
from conftest import CASES, ROOT, git, notebook, put, python

from wsaed import files

CPU = "https://download.pytorch.org/whl/cpu"
# Stands for wsaed.runs, which trains
STUB = """
import pathlib, sys
results = pathlib.Path("results", sys.argv[sys.argv.index("--profile") + 1])
(results / "secost").mkdir(parents=True, exist_ok=True)
asked = [a for a in sys.argv[1:] if a.startswith("secost/")] or ["secost/table_1", "secost/table_2"]
print(*(f"notebooks/{a}.ipynb" for a in asked))
"""
BODY = """
import os, pathlib
home = pathlib.Path(os.environ["RESULTS"]) / "secost"
(home / "NAME.md").write_text(f"{width} {rate}")
"""


def table(path, body):
    return put(path, notebook("width = None\nrate = 1.0", body))


def executable(path, text):
    put(path, text).chmod(0o755)


@pytest.fixture
def tree(tmp_path):
    """A repository with two notebooks whose Python writes down each of its calls."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    home = put(tmp_path / "wsaed/runs.py", STUB).parent
    put(home / "pages.py", "open('results/README.md', 'w').write('report')\n")
    for name in ("__init__.py", "render.py", "parameters.py", "files.py", "code.py", "bounds.yaml"):
        shutil.copy(ROOT / f"wsaed/{name}", home)
    for name in ("table_1", "table_2"):
        table(tmp_path / f"notebooks/secost/{name}.ipynb", BODY.replace("NAME", name))
    for profile in ("smoke", "laptop", "evidence", "paper"):
        put(tmp_path / f"params/{profile}/secost.yaml", "width: 2\nrate: 1.0\nreplicates: 10\n")
    calls = f'#!/bin/sh\necho "$*" >> "{tmp_path}/calls"\nexec "{sys.executable}" "$@"\n'
    executable(tmp_path / ".venv/bin/python", calls)
    put(tmp_path / ".build/env.stamp")
    return tmp_path


def make(tree, *arguments, path=None, **settings):
    """(exit status, what was printed, the Python calls that it took)."""
    kept = {k: v for k, v in os.environ.items() if k not in CASES["settings"]} | settings
    kept |= {"PATH": path} if path else {}
    log = tree / "calls"
    log.unlink(missing_ok=True)
    done = subprocess.run(["make", *arguments], cwd=tree, env=kept, capture_output=True, text=True)
    calls = log.read_text().splitlines() if log.exists() else []
    return done.returncode, done.stdout + done.stderr, calls


def rendered(said):
    return sorted(re.findall(r"^results/smoke/secost/(\w+).ipynb \(\d+ s\)$", said, re.M))


def test_a_second_call_runs_no_notebook_and_an_edit_runs_one(tree):
    code, said, calls = make(tree, "reproduce-tables", "PROFILE=smoke")
    assert code == 0, said
    assert said.splitlines()[0].startswith("wsaed: environment .venv, profile smoke, device cpu,")
    assert rendered(said) == ["table_1", "table_2"]
    assert [call.split()[1] for call in calls] == ["wsaed.runs", "wsaed.render", "wsaed.pages"]
    assert calls[0].endswith("--anew")
    assert (tree / "results/smoke/secost/table_2.md").read_text() == "2 1.0"
    text = (tree / "results/smoke/secost/table_2.ipynb").read_text()
    assert "papermill" not in text and str(tree) not in text and "iopub" not in text

    code, said, calls = make(tree, "tables", "PROFILE=smoke")
    assert (code, rendered(said)) == (0, []) and "--anew" not in calls[0], said
    body = BODY.replace("NAME", "table_1") + "\nprint('edited')"
    table(tree / "notebooks/secost/table_1.ipynb", body)
    code, said, _ = make(tree, "tables", "PROFILE=smoke")
    assert (code, rendered(said)) == (0, ["table_1"]), said


def test_one_result_file_takes_its_profile_from_the_path_and_trains_its_runs_only(tree):
    code, said, calls = make(tree, "results/smoke/secost/table_1.md")
    assert code == 0 and ", profile smoke," in said
    assert rendered(said) == ["table_1"] and calls[0].endswith("results/smoke secost/table_1")
    code, said, _ = make(tree, "results/smoke/secost/table_1.txt")
    assert code != 0 and "does not write it" in said


def test_a_wrong_parameter_stops_before_a_kernel_starts(tree):
    (tree / "params/laptop/secost.yaml").write_text("width: 2\nrate: 1e-3\n")
    code, said, _ = make(tree, "results/laptop/secost/table_1.md")
    told = [x for x in said.splitlines() if "params/laptop/secost.yaml" in x]
    assert code != 0 and len(told) == 1 and "write 1.0e-03" in told[0], said
    assert not (tree / ".build/partial").exists() and not (tree / ".build/failed").exists()


def test_a_failed_notebook_is_kept_and_fails_again_and_the_others_are_made(tree):
    body = "print(width, rate)\nraise ValueError('no such\\nthing')"
    table(tree / "notebooks/secost/table_1.ipynb", body)
    for done in (["table_2"], []):
        code, said, _ = make(tree, "tables", "PROFILE=smoke")
        told = [x for x in said.splitlines() if "no such" in x]
        assert code != 0 and rendered(said) == done and len(told) == 1, said
        assert "table_1.ipynb failed: ValueError: no such (kept: .build/failed/smoke" in told[0]
        assert ".build/logs/smoke/secost/table_1.log" in told[0]
        assert "no such" in (tree / ".build/failed/smoke/secost/table_1.ipynb").read_text()
        assert not (tree / "results/smoke/secost/table_1.ipynb").exists()


def test_a_paper_that_fails_takes_no_other_with_it_and_the_report_is_written(tree):
    with open(tree / "wsaed/runs.py", "a") as file:
        file.write("sys.exit('mixed_tsd is not all made: no room')\n")
    code, said, calls = make(tree, "tables", "PROFILE=smoke")
    assert code != 0 and "mixed_tsd is not all made: no room" in said
    assert rendered(said) == ["table_1", "table_2"], said
    assert [call.split()[1] for call in calls] == ["wsaed.runs", "wsaed.render", "wsaed.pages"]


@pytest.mark.parametrize("wanted", [["wsaed.runs"], ["wsaed.runs", "wsaed.render"]])
def test_what_is_interrupted_while_it_trains_or_renders_goes_no_further(tree, wanted):
    put(tree / f"{wanted[-1].replace('.', '/')}.py", "import sys\nsys.exit(130)\n")
    code, _, calls = make(tree, "tables", "PROFILE=smoke")
    assert code != 0 and [call.split()[1] for call in calls] == wanted


def test_a_kernel_that_is_killed_is_told_and_the_others_are_made(tree):
    body = "import os\nprint(width, rate)\nos.kill(os.getpid(), 9)"
    table(tree / "notebooks/secost/table_1.ipynb", body)
    code, said, _ = make(tree, "tables", "PROFILE=smoke")
    assert code != 0 and rendered(said) == ["table_2"]
    assert said.count("table_1.ipynb failed: its kernel was killed; was there memory? (kept") == 1


def test_two_at_once_end_well_and_run_each_notebook_once(tree):
    (tree / "results/smoke/secost").mkdir(parents=True)  # as wsaed.runs does
    call = [sys.executable, "-m", "wsaed.render", "--profile", "smoke"]
    call += [f"notebooks/secost/table_{k}.ipynb" for k in (1, 2)]
    run = {"cwd": tree, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    both = [subprocess.Popen(call, **run) for _ in range(2)]
    said = [one.communicate()[0] for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert rendered("".join(said)) == ["table_1", "table_2"]


def test_notebooks_are_executed_in_place_or_left_as_they_are(tree):
    body = "import os\nassert 'RESULTS' not in os.environ\nprint(width, rate)"
    path = table(tree / "notebooks/start_here.ipynb", body)
    code, said, _ = make(tree, "notebooks")
    assert code == 0 and ", profile smoke," in said, said
    cells = nbformat.read(path, 4).cells
    assert [c.execution_count for c in cells] == [1, 2]
    assert cells[1].outputs[0].text == "None 1.0\n"
    assert "papermill" not in path.read_text() and "injected" not in path.read_text()
    once = path.read_bytes()
    assert make(tree, "clean")[0] == make(tree, "notebooks")[0] == 0 and path.read_bytes() == once
    broken = table(path, "print(width, rate)\n1 / 0").read_text()
    code, said, _ = make(tree, "notebooks")
    assert code != 0 and "ZeroDivisionError" in said and path.read_text() == broken


@pytest.mark.parametrize("name", CASES["folders"])
def test_a_bank_s_folder_may_be_called_anything(tree, name):
    """In the environment and as an argument."""
    (tree / name).mkdir()
    bank = f"BANK={tree / name}"
    for arguments in ([bank], ["-e"]):
        show = ["--eval", "show: ; @env | grep ^BANK=", "show", *arguments]
        assert make(tree, *show, BANK=str(tree / name))[1].endswith(f"{bank}\n")


def test_banks_of_different_names_have_different_folders(monkeypatch):
    names = []
    for name in ("录音一", "录音二", "🐶", "🐱", "a", "b"):
        monkeypatch.setenv("BANK", f"/sounds/{name}")
        names.append(files.folder_of("smoke"))
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("arguments", "said"), CASES["banks"])
def test_a_bank_has_its_own_results_and_must_exist(tree, arguments, said):
    (tree / "my bank").mkdir()
    code, told, calls = make(tree, *arguments)
    assert said.format(tree=tree) in told and calls == []
    assert (code == 0) == ("--" in said)
    assert "--replicates" in said or "--replicates" not in told


def test_the_environment_comes_from_the_first_python_that_works(tree, tmp_path):
    shutil.rmtree(tree / ".venv")
    (tree / ".build/env.stamp").unlink()
    shims, stub = tmp_path / "shims", '#!/bin/sh\\necho "$*" >> calls\\n'
    executable(shims / "python3.12", "#!/bin/sh\necho 'not installed here' >&2\nexit 127\n")
    works = '#!/bin/sh\n[ "$1" = -c ] && exit 0\nmkdir -p .venv/bin\n'
    works += f"printf '{stub}' > .venv/bin/python\nchmod +x .venv/bin/python\n"
    executable(shims / "python3.11", works)
    code, said, calls = make(tree, "env", path=f"{shims}:{os.environ['PATH']}")
    assert code == 0 and "made .venv from python3.11" in said, said
    assert any("-r requirements.lock" in c for c in calls)
    assert make(tree, "env")[2] == []
    os.utime(tree / "requirements.lock", (time.time() + 5,) * 2)
    assert any("-r requirements.lock" in c for c in make(tree, "env")[2])
    (tree / ".build/env.stamp").touch()
    os.utime(tree / ".build/env.stamp", (time.time() + 9,) * 2)
    assert "--extra-index-url there" in str(make(tree, "env", "TORCH_INDEX=there")[2])


def test_the_bundle_holds_the_repository_the_site_and_what_to_call_without_network(tree):
    executable(tree / ".venv/bin/python", f'#!/bin/sh\necho "$*" >> "{tree}/calls"\n')
    put(tree / ".build/site/html/index.html")
    put(tree / "private.wav")
    for call in ("init -q", "add Makefile notebooks", "commit -qm a"):
        git(*call.split(), cwd=tree)
    code, said, calls = make(tree, "bundle")
    assert code == 0, said
    with tarfile.open(tree / ".build/bundle.tar") as file:
        held = {name.removeprefix("bundle/") for name in file.getnames()}
    assert {"wheels", "site", "Makefile", "notebooks/secost/table_1.ipynb", "START.txt"} <= held
    assert not {".venv", ".build", ".git", "private.wav"} & held
    assert calls[0].endswith("-r requirements.lock --extra-index-url " + CPU), calls
    lines = (tree / ".build/bundle/START.txt").read_text().splitlines()
    assert len(lines) == 3 and all("--no-index" in line for line in lines if "pip" in line)


def test_help_names_every_target_and_the_makefile_keeps_to_old_makes():
    text = (ROOT / "Makefile").read_text()
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    for target in CASES["targets"]:
        assert f"make {target} " in said
    newer = r"\$\(file |^\.ONESHELL|&:|!=|::=|sed -i|readlink -f|-printf|date -d|--reference"
    assert re.findall(newer, text.replace("! -name", ""), re.M) == []
    assert re.findall(r"^define \w+ *:?=", text, re.M) == [] and len(text.splitlines()) < 153


def test_rendering_waits_for_no_torch():
    done = python("-c", "import sys, wsaed.render; print('torch' in sys.modules)")
    assert done.stdout == "False\n", done.stderr
