"""The Makefile on a small copy of the repository: stamps, profiles, failures, the environment."""

import os
import re
import shutil
import stat
import subprocess
import sys
import time

import nbformat
import pytest
from conftest import ROOT

SETTINGS = re.findall(
    r"\w+",
    "PROFILE DEVICE JOBS BANK DESED AUDIOSET URBAN_SED CACHE DASK RESULTS CONDA_DEFAULT_ENV "
    "MAKEFLAGS MFLAGS MAKELEVEL",
)
TARGETS = re.findall(
    r"\S+",
    "env reproduce-tables evidence runs notebooks check-results restamp test lab data bench lint "
    "clean",
)
STUB = """
import pathlib, sys
print("STUB", *sys.argv[1:])
results = pathlib.Path(sys.argv[sys.argv.index("--results") + 1])
results.mkdir(parents=True, exist_ok=True)
"""
BODY = """
import os, pathlib
home = pathlib.Path(os.environ["RESULTS"]) / "secost"
home.mkdir(parents=True, exist_ok=True)
(home / "NAME.md").write_text(f"{width} {epochs}")
"""


def notebook(body: str) -> str:
    new = nbformat.v4
    cell = new.new_code_cell("width = 2\nepochs = 1.0", metadata={"tags": ["parameters"]})
    return nbformat.writes(new.new_notebook(cells=[cell, new.new_code_cell(body)]))


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def tree(tmp_path):
    """A repository with two notebooks whose Python writes down each of its calls."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    home = tmp_path / "wsaed"
    home.mkdir()
    (home / "__init__.py").touch()
    for module in ("render", "parameters", "commands", "code"):
        shutil.copy(ROOT / f"wsaed/{module}.py", home)
    (home / "runs.py").write_text(STUB)
    (home / "readme.py").write_text(STUB + '(results / "README.md").write_text("report")\n')
    for name in ("table_1", "table_2"):
        path = tmp_path / f"notebooks/secost/{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(notebook(BODY.replace("NAME", name)))
    for profile in ("smoke", "laptop", "evidence", "paper"):
        path = tmp_path / f"params/{profile}/secost.yaml"
        path.parent.mkdir(parents=True)
        path.write_text("width: 2\nepochs: 1\n")
    calls = f'#!/bin/sh\necho "$*" >> "{tmp_path}/calls"\nexec "{sys.executable}" "$@"\n'
    executable(tmp_path / ".venv/bin/python", calls)
    stamp = tmp_path / ".build/env.stamp"
    stamp.parent.mkdir()
    stamp.touch()
    return tmp_path


def make(tree, *arguments, path=None):
    """(exit status, what was printed, the Python calls that it took)."""
    kept = {k: v for k, v in os.environ.items() if k not in SETTINGS}
    kept |= {"PATH": path} if path else {}
    log = tree / "calls"
    log.unlink(missing_ok=True)
    done = subprocess.run(["make", *arguments], cwd=tree, env=kept, capture_output=True, text=True)
    calls = log.read_text().splitlines() if log.exists() else []
    return done.returncode, done.stdout + done.stderr, calls


def rendered(calls):
    return [re.search(r"secost/(\w+)", c)[1] for c in calls if "wsaed.render" in c]


def test_a_second_call_starts_no_python_and_an_edit_runs_one_notebook(tree):
    code, said, calls = make(tree, "reproduce-tables", "PROFILE=smoke")
    assert code == 0, said
    assert said.splitlines()[0].startswith("wsaed: environment .venv, profile smoke, device cpu,")
    assert sorted(rendered(calls)) == ["table_1", "table_2"]
    assert ["wsaed.runs" in c for c in calls] == [True, False, False, False]
    assert (tree / "results/smoke/secost/table_2.md").read_text() == "2 1"

    started = time.monotonic()
    code, said, calls = make(tree, "reproduce-tables", "PROFILE=smoke")
    assert (code, calls) == (0, []) and time.monotonic() - started < 2
    assert make(tree, "results/smoke/secost/table_1.md")[::2] == (0, [])

    path = tree / "notebooks/secost/table_2.ipynb"
    path.write_text(notebook(BODY.replace("NAME", "table_2") + "\nprint('edited')"))
    code, said, calls = make(tree, "reproduce-tables", "PROFILE=smoke")
    assert (code, rendered(calls)) == (0, ["table_2"]), said
    assert not any("wsaed.runs" in c for c in calls)
    text = (tree / "results/smoke/secost/table_2.ipynb").read_text()
    assert "papermill" not in text and str(tree) not in text and "iopub" not in text


def test_one_result_file_takes_its_profile_from_the_path_and_trains_its_runs_only(tree):
    code, said, calls = make(tree, "results/smoke/secost/table_1.md")
    assert code == 0 and ", profile smoke," in said
    assert rendered(calls) == ["table_1"] and calls[0].endswith("results/smoke secost/table_1")
    (tree / "results/smoke/secost/table_1.md").unlink()
    code, said, calls = make(tree, "results/smoke/secost/table_1.md")
    assert code == 0 and rendered(calls) == ["table_1"], "a deleted result is made again"
    code, said, _ = make(tree, "results/smoke/secost/table_1.svg")
    assert code != 0 and "does not write it" in said


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("width: 2\nepochs: 1\nwidht: 3\n", "declares widht"),
        ("width: 2\nepochs: 1e-3\n", "write 1.0e-03"),
        ("width: 2.5\nepochs: 1\n", "width is the float 2.5, int is wanted"),
        ("width: 2\n", "epochs is missing"),
    ],
)
def test_a_wrong_parameter_stops_before_a_kernel_starts(tree, line, complaint):
    (tree / "params/smoke/secost.yaml").write_text(line)
    code, said, _ = make(tree, "results/smoke/secost/table_1.md")
    told = [x for x in said.splitlines() if "params/smoke/secost.yaml" in x]
    assert code != 0 and len(told) == 1 and complaint in told[0], said
    assert not (tree / ".build/partial").exists() and not (tree / ".build/failed").exists()


def test_a_failed_notebook_is_kept_and_fails_again(tree):
    path = tree / "notebooks/secost/table_1.ipynb"
    path.write_text(notebook("print(width, epochs)\nraise ValueError('no such thing')"))
    for _ in range(2):
        code, said, calls = make(tree, "results/smoke/secost/table_1.md")
        assert code != 0 and rendered(calls) == ["table_1"]
        told = [x for x in said.splitlines() if "no such thing" in x]
        assert len(told) == 1 and ".build/failed/smoke/secost/table_1.ipynb" in told[0], said
        assert ".build/logs/smoke/secost/table_1.log" in told[0]
        assert "no such thing" in (tree / ".build/failed/smoke/secost/table_1.ipynb").read_text()
        assert not (tree / "results/smoke/secost/table_1.ipynb").exists()


def test_notebooks_are_executed_in_place_or_left_as_they_are(tree):
    path = tree / "notebooks/start_here.ipynb"
    body = "import os\nassert 'RESULTS' not in os.environ\nprint(width, epochs)"
    path.write_text(notebook(body))
    code, said, _ = make(tree, "notebooks")
    assert code == 0 and ", profile smoke," in said, said
    cells = nbformat.read(path, 4).cells
    assert [c.execution_count for c in cells] == [1, 2]
    assert cells[1].outputs[0].text == "2 1.0\n"
    assert "papermill" not in path.read_text() and "injected" not in path.read_text()
    once = path.read_bytes()
    assert make(tree, "notebooks")[0] == 0 and path.read_bytes() == once
    broken = notebook("print(width, epochs)\n1 / 0")
    path.write_text(broken)
    code, said, _ = make(tree, "notebooks")
    assert code != 0 and "ZeroDivisionError" in said and path.read_text() == broken


def test_the_paper_profile_names_what_it_leaves_out(tree):
    code, said, calls = make(tree, "reproduce-tables", "PROFILE=paper")
    assert code != 0 and calls == []
    assert "secost needs AUDIOSET=folder" in said and len(said.splitlines()) == 1
    other = tree / "notebooks/shallow_student/table_1.ipynb"
    other.parent.mkdir()
    other.write_text(notebook("print(width, epochs)"))
    (tree / "segments").mkdir()
    code, said, _ = make(tree, "-n", "reproduce-tables", "PROFILE=paper", "AUDIOSET=segments")
    assert code == 0 and "left out: shallow_student, which needs DESED=folder" in said
    assert "notebooks/secost/table_1" in said and "notebooks/shallow_student" not in said


def test_a_bank_has_its_own_results_and_must_exist(tree):
    (tree / "my bank").mkdir()
    code, said, _ = make(tree, "-n", "reproduce-tables", "BANK=my bank")
    assert code == 0 and "--results results/laptop-my_bank" in said
    code, said, _ = make(tree, "reproduce-tables", "BANK=nowhere")
    assert code != 0 and f"BANK={tree}/nowhere: no such folder" in said
    code, said, _ = make(tree, "results/evidence-esc10/secost/table_1.md")
    assert code != 0 and "add BANK=folder" in said
    code, said, _ = make(tree, "-n", "evidence")
    assert code == 0 and "--profile evidence --results results/evidence --resume" in said
    for goal in ("results/evidence/secost/table_1.md", "results/evidence/README.md"):
        assert "--results results/evidence --resume" in make(tree, "-n", goal)[1], goal
    assert "--resume" not in make(tree, "-n", "results/laptop/secost/table_1.md")[1]
    code, said, _ = make(tree, "reproduce-tables", "PROFILE=laptpo")
    assert code != 0 and "no params/laptpo/" in said


def test_the_environment_comes_from_the_first_python_that_works(tree, tmp_path):
    shutil.rmtree(tree / ".venv")
    (tree / ".build/env.stamp").unlink()
    shims = tmp_path / "shims"
    executable(shims / "python3.12", "#!/bin/sh\necho 'not installed here' >&2\nexit 127\n")
    stub = '#!/bin/sh\\necho "$*" >> calls\\n'
    executable(
        shims / "python3.11",
        '#!/bin/sh\n[ "$1" = -c ] && exit 0\nmkdir -p .venv/bin\n'
        f"printf '{stub}' > .venv/bin/python\nchmod +x .venv/bin/python\n",
    )
    code, said, calls = make(tree, "env", path=f"{shims}:{os.environ['PATH']}")
    assert code == 0 and "made .venv from python3.11" in said, said
    assert any("-r requirements.lock" in c for c in calls)
    assert make(tree, "env")[2] == []
    os.utime(tree / "requirements.lock", (time.time() + 5,) * 2)
    assert any("-r requirements.lock" in c for c in make(tree, "env")[2])


def test_help_names_every_target_and_the_makefile_keeps_to_old_makes():
    text = (ROOT / "Makefile").read_text()
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    for target in TARGETS:
        assert f"make {target} " in said
    newer = r"\$\(file |^\.ONESHELL|&:|!=|::=|sed -i|readlink -f|-printf|date -d|--reference"
    assert re.findall(newer, text.replace("! -name", ""), re.M) == []
    assert re.findall(r"^define \w+ *:?=", text, re.M) == []


def test_a_changed_folder_of_recordings_is_seen(tree):
    bank = tree / "my bank" / "dog"
    bank.mkdir(parents=True)
    (bank / "a.wav").write_text("sound")
    arguments = "reproduce-tables", "PROFILE=smoke", f"BANK={bank.parent}"
    assert any("wsaed.runs" in call for call in make(tree, *arguments)[2])
    assert make(tree, *arguments)[::2] == (0, [])
    for text in ("sound", "another sound"):
        (bank / "b.wav").write_text(text)
        code, said, calls = make(tree, *arguments)
        assert code == 0 and "wsaed.runs" in calls[0], said
        assert make(tree, *arguments)[::2] == (0, [])


def test_the_evidence_of_a_bank_takes_five_replicates(tree):
    (tree / "bank").mkdir()
    body = BODY.replace("{epochs}", "{epochs:g} {replicates}").replace("NAME", "table_1")
    path = tree / "notebooks/secost/table_1.ipynb"
    path.write_text(notebook(body).replace("width = 2", "replicates = 1\\nwidth = 2"))
    for profile in ("smoke", "evidence"):
        (tree / f"params/{profile}/secost.yaml").write_text("width: 2\nepochs: 1\nreplicates: 10\n")
    code, said, calls = make(tree, "evidence", "BANK=bank")
    assert code == 0 and "--resume --replicates 5" in calls[0], said
    assert (tree / "results/evidence-bank/secost/table_1.md").read_text() == "2 1 5"
    assert (tree / "results/evidence-bank/secost/table_2.md").exists()  # which knows no replicates
    assert "--replicates" not in make(tree, "evidence")[2][0]
    assert (tree / "results/evidence/secost/table_1.md").read_text() == "2 1 10"
    assert "--replicates 2" in make(tree, "reproduce-tables", "PROFILE=smoke", "REPLICATES=2")[2][0]
    assert (tree / "results/smoke/secost/table_1.md").read_text() == "2 1 2"
