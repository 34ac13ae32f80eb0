"""Restamp renews a digest only where the laptop's runs are equal to the bit."""

import json
import shutil

import pytest
from conftest import ROOT, git, spec

from wsaed import restamp, runs
from wsaed.committed import read_records, write_records


class Paper:
    systems = staticmethod(lambda p: {"base": spec()})
    artefacts = staticmethod(lambda profile: {"table_1": ["base"]})
    replicates = staticmethod(lambda system, p, wanted: wanted)


@pytest.fixture
def results(cache, tmp_path, monkeypatch):
    """A results folder with one committed record, and code that has changed since."""
    (record,) = runs.train([(spec(), 0)])
    for module in (restamp, runs):
        monkeypatch.setattr(module, "PAPERS", {"secost": Paper})
    monkeypatch.setattr(restamp, "ROOT", tmp_path)
    monkeypatch.delenv("BANK", raising=False)
    path = tmp_path / "results" / "evidence" / "secost" / "records.json"
    write_records(path, {("base", 0): {"system": "base"} | record})
    monkeypatch.setattr(runs, "code_digest", lambda s: "refactored")
    return path


def add(path, record, **changes):
    """Another record beside the committed one, in its file or in another folder's."""
    record = record | changes
    mine = {(record["system"], record["replicate"]): record}
    write_records(path, read_records(path) | mine)


def codes(path):
    return [record["code"] for record in read_records(path).values()]


def test_equal_numbers_take_the_new_digest_and_nothing_else_changes(results, tmp_path, capsys):
    """Other replicates and the laptop's are renewed with it; what still older code made is not."""
    before = read_records(results)
    add(results, before["base", 0], replicate=1, scores={"map_noisy": 0.25})
    add(results, before["base", 0], replicate=2, code="older")
    names = ("laptop", "evidence-x")
    laptop, bank = (tmp_path / f"results/{name}/secost/records.json" for name in names)
    for path in (laptop, bank):
        add(path, before["base", 0])
    restamp.main([])
    assert capsys.readouterr().out == "secost.method:train, base: equal\n"
    assert codes(results) == [*codes(laptop) * 2, "older"] and codes(laptop) == ["refactored"]
    assert codes(bank) == [before["base", 0]["code"]], "a bank's records need its sounds"
    assert read_records(results)["base", 0] | {"code": ""} == before["base", 0] | {"code": ""}


def test_a_digest_of_which_one_run_differs_is_renewed_for_none(results, monkeypatch, capsys):
    """Of two systems that the same older code made, the laptop's runs of one are not equal."""
    before = read_records(results)
    systems = {"base": spec(), "other": spec(draw=1)}
    monkeypatch.setattr(Paper, "systems", staticmethod(lambda p: systems))
    monkeypatch.setattr(Paper, "artefacts", staticmethod(lambda profile: {"table_1": [*systems]}))
    other = {"system": "other", "spec": systems["other"], "scores": {"map_noisy": 0.25}}
    add(results, before["base", 0] | other)
    kept = codes(results)
    made = before["base", 0] | {"code": "refactored"}
    monkeypatch.setattr(runs, "train", lambda pairs, title: [made] * 2)
    monkeypatch.setattr(restamp, "retrained_by", lambda against, pairs: [{**made, "scores": {}}])
    restamp.main([])
    assert capsys.readouterr().out.split()[-1] == "differs" and codes(results) == kept


def test_nothing_is_trained_where_nothing_changed(results, monkeypatch):
    (made_by,), before = codes(results), results.read_bytes()
    monkeypatch.setattr(runs, "code_digest", lambda s: made_by)
    none = lambda wanted, title: [pytest.fail("trained") for _ in wanted]  # noqa: E731
    monkeypatch.setattr(runs, "train", none)
    restamp.main([])
    assert results.read_bytes() == before


def commit(folder, module=None):
    """The project's module as a git repository in ``folder``; ``module`` gets a line more."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "wsaed", folder / "wsaed", ignore=ignored)
    if module:
        with open(folder / "wsaed" / module, "a") as file:
            file.write("\nANOTHER = 1\n")
    for command in ("init -q", "add wsaed", "commit -qm older"):
        git(*command.split(), cwd=folder)


CASES = [(None, 0.0, "equal"), (None, 1e-12, "differs"), ("secost/method.py", 0.0, "differs")]
OLDER = {}  # what the older code made, by what was changed in it: trained once


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
@pytest.mark.parametrize("changed, drift, told", CASES)
def test_a_machine_that_rounds_otherwise_asks_the_older_code(
    results, tmp_path, monkeypatch, capsys, changed, drift, told
):
    """The committed scores are another machine's; ``drift`` is what a refactoring changes."""
    stored = json.loads(results.read_text())
    stored["records"][0]["scores"]["map_noisy"] += 0.01
    results.write_text(json.dumps(stored))
    with pytest.raises(RuntimeError, match="no older code to compare with"):
        restamp.main([])
    commit(tmp_path, changed)
    real, older = runs.train, restamp.retrained_by

    def once(*asked):
        if changed not in OLDER:
            OLDER[changed] = older(*asked)
        return OLDER[changed]

    monkeypatch.setattr(restamp, "retrained_by", once)

    def today(wanted, title):
        scores = [record["scores"] for record in real(wanted, title)]
        drifted = [s | {"map_noisy": s["map_noisy"] + drift} for s in scores]
        return [{"code": "refactored", "scores": s} for s in drifted]

    monkeypatch.setattr(runs, "train", today)
    restamp.main([])
    assert capsys.readouterr().out == f"secost.method:train, base: {told}\n"
    (kept,) = read_records(results).values()
    assert kept["scores"] == stored["records"][0]["scores"]
    assert (kept["code"] == "refactored") == (told == "equal")
