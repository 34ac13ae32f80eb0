"""Parameters files against the notebooks that read them, and what the check refuses."""

import nbformat
import pytest
import yaml
from conftest import ROOT

from wsaed import commands, parameters, render, runs

NOTEBOOKS = sorted(ROOT.glob("notebooks/[!.]*/*.ipynb"))
FILES = sorted(ROOT.glob("params/*/*.yaml"))


def name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_defaults_are_the_smoke_profile(path):
    smoke = render.check(path, ROOT / f"params/smoke/{path.parent.name}.yaml")
    defaults = render.declared(path)
    assert smoke == defaults


@pytest.mark.parametrize("file", FILES, ids=name)
def test_every_profile_fits_its_notebooks(file):
    notebooks = sorted((ROOT / "notebooks" / file.stem).glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        render.check(path, file)


@pytest.mark.parametrize("file", FILES, ids=name)
def test_a_parameters_file_is_flat_and_names_its_profile(file):
    assert parameters.given(file).get("profile") == file.parent.name
    for number, line in enumerate(file.read_text().splitlines(), 1):
        assert "#" in line or not line.strip(), f"{name(file)}:{number}: no comment"


def test_every_profile_gives_the_same_keys():
    for smoke in (f for f in FILES if f.parent.name == "smoke"):
        keys = set(yaml.safe_load(smoke.read_text()))
        for file in (f for f in FILES if f.name == smoke.name):
            assert set(yaml.safe_load(file.read_text())) == keys, name(file)


@pytest.fixture
def notebook(tmp_path):
    def write(parameters, body="print(width, rate, sizes)", file="width: 3\nrate: 1\nsizes: [4]\n"):
        new = nbformat.v4
        tags = {"tags": ["parameters"]} if parameters else {}
        cells = [new.new_code_cell(parameters, metadata=tags), new.new_code_cell(body)]
        path = tmp_path / "notebooks/demo/table_1.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(new.new_notebook(cells=cells), path)
        (tmp_path / "demo.yaml").write_text(file)
        return path, tmp_path / "demo.yaml"

    return write


GOOD = "width: int = 2  # channels\nrate = 1.0e-3\nsizes = [2, 3]"


def test_a_notebook_gets_the_keys_that_it_declares(notebook):
    path, file = notebook(GOOD)
    assert render.check(path, file) == {"width": 3, "rate": 1, "sizes": [4]}
    assert render.check(path, file, {"width": 8})["width"] == 8
    other = path.with_name("table_2.ipynb")
    nbformat.write(nbformat.read(notebook("width = 2", "width")[0], 4), other)
    path, file = notebook(GOOD)
    assert render.check(other, file) == {"width": 3}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"file": "width: 3\nrate: 1\nsizes: [4]\nwidht: 3"}, "demo.yaml.*declares widht"),
        ({"file": "width: 3\nrate: 1"}, "demo.yaml: sizes is missing"),
        ({"file": "width: 3\nrate: 1e-3\nsizes: [4]"}, "rate is the str '1e-3'.*write 1.0e-03"),
        ({"file": "width: 3.0\nrate: 1\nsizes: [4]"}, "width is the float 3.0"),
        ({"file": "width: yes\nrate: 1\nsizes: [4]"}, "width is the bool True"),
        ({"file": "width: 3\nrate: 1\nsizes: [4, a]"}, "sizes an item is the str 'a'"),
        ({"file": "width: 3\nrate: 1\nsizes: {a: 4}"}, "sizes is nested"),
        ({"file": "width: [3\nrate: 1"}, "demo.yaml, line 2"),
        ({"file": "just words"}, "no `key: value` lines"),
        ({"body": "width = 4\nprint(rate, sizes)"}, "width is declared and never read"),
        ({"body": "%time width\nprint(rate, sizes)"}, "width is declared and never read"),
        ({"body": "print(width"}, "cell 1 does not parse"),
        ({"parameters": "width = 2\nrate = 2 * width"}, "rate = 2 . width.* in the parameters"),
        ({"parameters": ""}, "no cell is tagged"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(notebook, changes, complaint):
    path, file = notebook(**{"parameters": GOOD} | changes)
    with pytest.raises(ValueError, match=complaint) as told:
        render.check(path, file)
    assert "\n" not in str(told.value)


def test_missing_files_and_unknown_settings_are_named(notebook, tmp_path):
    path, file = notebook(GOOD)
    with pytest.raises(FileNotFoundError, match=r"other.yaml: no such parameters file"):
        render.check(path, tmp_path / "other.yaml")
    with pytest.raises(FileNotFoundError, match=r"none.ipynb: no such notebook"):
        render.check(path.with_name("none.ipynb"), file)
    with pytest.raises(ValueError, match="--set widht"):
        render.check(path, file, {"widht": 3})
    assert render.chosen_values(["a=3", "b=x", "c=[1, 2]"]) == {"a": 3, "b": "x", "c": [1, 2]}
    with pytest.raises(ValueError, match="write --set key=value"):
        render.chosen_values(["a"])


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("width:", "widht:", "widht is no parameter, width is"),
        ("width:", "# width:", "width is missing"),
        ("epochs: 2", "epochs: 2e0", "epochs is the str '2e0', int is wanted; write 2"),
        ("corpus: soundscapes", "corpus: soundscape", "there is no corpus soundscape"),
        ("corpus: soundscapes", "corpus: bank", "there is no corpus bank"),
        ("\nfront_end: guided", "\nfront_end: guide", "there is no front_end guide_40ms"),
        ("mt_front_end: guided", "mt_front_end: guide", "there is no mt_front_end guide_40ms"),
    ],
)
def test_no_run_starts_on_wrong_parameters(tmp_path, monkeypatch, old, new, complaint):
    monkeypatch.setattr(parameters, "ROOT", tmp_path)
    text = (ROOT / "params/smoke/joint_at_aed.yaml").read_text()
    for profile in ("smoke", "mine"):
        (tmp_path / f"params/{profile}").mkdir(parents=True)
        (tmp_path / f"params/{profile}/joint_at_aed.yaml").write_text(text)
    assert runs.parameters("mine", "joint_at_aed") == runs.parameters("smoke", "joint_at_aed")
    assert old in text
    (tmp_path / "params/mine/joint_at_aed.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=complaint) as told:
        runs.parameters("mine", "joint_at_aed")
    assert "\n" not in str(told.value) and "params/mine/joint_at_aed.yaml" in str(told.value)
    with pytest.raises(ValueError, match=r"params/yours/joint_at_aed\.yaml does not exist"):
        runs.parameters("yours", "joint_at_aed")


def test_without_a_file_a_notebook_has_its_defaults_checked_all_the_same(notebook):
    path, _ = notebook(GOOD)
    assert render.check(path, None) == {"width": 2, "rate": 1e-3, "sizes": [2, 3]}
    assert render.check(path, None, {"width": 8})["width"] == 8
    with pytest.raises(ValueError, match="--set widht"):
        render.check(path, None, {"widht": 3})
    with pytest.raises(ValueError, match=r"table_1\.ipynb: width is the str"):
        render.check(path, None, {"width": "wide"})


@pytest.mark.parametrize("file", FILES, ids=name)
def test_the_comments_say_what_each_parameter_is(file):
    found = parameters.meanings(file.parent.name, file.stem)
    assert found.keys() == parameters.given(file).keys() and all(found.values())


def test_what_a_user_can_mend_is_one_line(capsys):
    def fails(error):
        def main():
            raise error

        with pytest.raises(SystemExit) as told:
            commands.one_line(main)
        return told.value.code

    assert fails(ValueError("a.yaml: wrong\nand more")) == "a.yaml: wrong"
    assert fails(OSError(28, "No space left on device")) == "[Errno 28] No space left on device"
    assert fails(RuntimeError()) == "RuntimeError" and fails(KeyboardInterrupt()) == 130
    with pytest.raises(KeyError):
        commands.one_line(lambda: {}["a bug"])
