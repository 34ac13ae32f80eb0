"""Parameters files against the notebooks that read them, and what the checks refuse."""

from fnmatch import fnmatch

import pytest
from conftest import CASES, ROOT, notebook, put, refused

from wsaed import files, parameters, render, report
from wsaed.papers import PAPERS

NOTEBOOKS = sorted(path for paper in PAPERS for path in ROOT.glob(f"notebooks/{paper}/*.ipynb"))
FILES = sorted(ROOT.glob("params/*/*.yaml"))


def name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
@pytest.mark.parametrize("profile", sorted({file.parent.name for file in FILES}))
def test_every_profile_fits_its_notebooks(path, profile):
    values = render.check(path, profile)
    declared, _ = render.names(path)
    assert values.keys() == declared.keys() and values.get("profile", profile) == profile
    if profile == "smoke":  # what a notebook does not leave to the profile is smoke's
        assert values | {k: v for k, v in declared.items() if v is not None} == values


@pytest.mark.parametrize("file", FILES, ids=name)
def test_a_parameters_file_names_its_profile_and_says_what_each_parameter_is(file):
    values = parameters.checked(file.stem, file.parent.name)
    assert values["profile"] == file.parent.name
    lines = file.read_text().splitlines()
    meant = {line.partition(":")[0]: line.partition("# ")[2] for line in lines}
    assert meant.keys() == values.keys() and all(meant.values())
    named = files.table("bounds.yaml")["parameters"]
    assert all(any(fnmatch(key, name) for name in named) for key in values), "no bounds"


@pytest.mark.parametrize("paper", PAPERS)
def test_laptop_is_evidence_s_first_replicate(paper):
    laptop, evidence = (parameters.chosen(paper, x) for x in ("laptop", "evidence"))
    assert laptop == evidence | {"profile": "laptop", "replicates": 1}


GOOD = {
    "cell": "profile = 'smoke'\nwidth: int = 2  # channels\nrate = None\nsizes = [2, 3]",
    "body": "print(profile, width, rate, sizes)",
    "file": "profile: smoke\nwidth: 3\nrate: 1.0\nsizes: [4]\nother: text\nreplicates: 4\n",
}


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """Write a notebook of a paper "demo" and its parameters files."""
    monkeypatch.setattr(parameters, "ROOT", tmp_path)

    def write(paper="demo", **changed):
        given = GOOD | changed
        for profile, text in (("smoke", GOOD["file"]), ("mine", given["file"])):
            put(tmp_path / f"params/{profile}/demo.yaml", text)
        text = notebook(given["cell"], given["body"])
        return put(tmp_path / f"notebooks/{paper}/table_1.ipynb", text)

    return write


def test_a_notebook_gets_the_keys_that_it_declares_and_none_without_a_file(demo):
    mine = GOOD["file"].replace("3", "8").replace("1.0", "1").replace("smoke", "mine")
    found = {"profile": "mine", "width": 8, "rate": 1, "sizes": [4]}
    assert render.check(demo(file=mine), "mine") == found
    path = demo(cell=GOOD["cell"] + "\nreplicates: int = None", body=GOOD["body"] + "\nreplicates")
    assert render.check(path, "smoke", 2)["replicates"] == 2
    assert render.check(demo(paper="notebooks"), "mine") == {}


@pytest.mark.parametrize(("changes", "complaint"), CASES["notebooks"])
def test_what_is_wrong_is_said_in_one_line_before_a_kernel_starts(demo, changes, complaint):
    every = {part: [GOOD[part], x] if isinstance(x, str) else x for part, x in changes.items()}
    path = demo(**{part: GOOD[part].replace(*change) for part, change in every.items()})
    with refused(complaint):
        render.check(path, "mine")


def test_a_missing_notebook_is_named(demo):
    with pytest.raises(FileNotFoundError, match=r"none.ipynb: no such notebook"):
        render.check(demo().with_name("none.ipynb"), "mine")


@pytest.mark.parametrize(("old", "new", "complaint"), CASES["parameters"])
@pytest.mark.parametrize("profile", ["mine", "smoke"])
def test_no_run_starts_on_wrong_parameters(tmp_path, monkeypatch, profile, old, new, complaint):
    text = (ROOT / "params/smoke/joint_at_aed.yaml").read_text()
    assert old in text
    if profile == "smoke" and "widht" in new:
        return  # the smoke profile's keys are the known ones
    for name, wrong in (("smoke", text), (profile, text.replace(old, new, 1))):
        put(tmp_path / f"params/{name}/joint_at_aed.yaml", wrong)
    monkeypatch.setattr(parameters, "ROOT", tmp_path)
    with refused(complaint) as told:
        parameters.chosen("joint_at_aed", profile)
    assert profile in str(told.value)


@pytest.mark.parametrize(("given", "complaint"), CASES["chosen"])
def test_what_a_notebook_chooses_is_checked_and_lies_over_the_profile(given, complaint):
    profile = parameters.chosen("joint_at_aed", "smoke")
    found = parameters.chosen("joint_at_aed", "smoke", epochs=7, batch_size=None)
    assert found == profile | {"epochs": 7}
    with refused(complaint):
        parameters.chosen("joint_at_aed", "smoke", **given)


@pytest.mark.parametrize(("name", "value", "complaint"), CASES["variables"])
def test_a_wrong_variable_is_named_before_anything_else(monkeypatch, name, value, complaint):
    monkeypatch.setenv(name, value)
    with refused(complaint, SystemExit):
        files.one_line(lambda: pytest.fail("it began"))
    with pytest.raises(ValueError, match=complaint):
        report.start("secost", "table_2", "smoke")


@pytest.mark.parametrize("paper", PAPERS)
def test_who_sets_the_profile_alone_gets_its_settings_and_its_committed_records(paper, monkeypatch):
    """As a notebook does in Lab, which runs in its own folder and is told of no results."""
    monkeypatch.delenv("RESULTS", raising=False)
    monkeypatch.delenv("BANK", raising=False)
    monkeypatch.chdir(ROOT / "notebooks" / paper)
    for profile in ("smoke", "laptop", "evidence"):
        settings = parameters.checked(paper, profile)
        p = report.start(paper, "table_1", profile, **dict.fromkeys(settings.keys() - {"profile"}))
        assert p["home"] == ROOT / "results" / profile / paper and p | settings == p
    with refused("params/evidnce/"):
        report.start(paper, "table_1", "evidnce", replicates=None)


def test_what_a_user_can_mend_is_one_line():
    def fails(error):
        def main():
            raise error

        with pytest.raises(SystemExit) as told:
            files.one_line(main)
        return told.value.code

    assert fails(ValueError("a.yaml: wrong\nand more")) == "a.yaml: wrong"
    assert fails(OSError(28, "No space left on device")) == "[Errno 28] No space left on device"
    assert fails(RuntimeError()) == "RuntimeError" and fails(KeyboardInterrupt()) == 130
    with pytest.raises(KeyError):
        files.one_line(lambda: {}["a bug"])
