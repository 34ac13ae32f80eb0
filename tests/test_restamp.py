"""Restamp renews a digest only where a retrained replicate is equal to the bit."""

import json
import shutil
import subprocess

import pytest
from conftest import ROOT
from test_runs import cache, features, spec  # noqa: F401 - fixtures

from wsaed import restamp, runs


@pytest.fixture
def results(cache, tmp_path, monkeypatch):  # noqa: F811
    """A results folder with one committed record, and code that has changed since."""
    (record,) = runs.train([(spec(), 0)])
    monkeypatch.setattr(restamp.code, "ROOT", tmp_path)
    path = tmp_path / "results" / "laptop" / "secost" / "records.json"
    runs.write_records(path, {("base", 0): {"system": "base"} | record})
    monkeypatch.setattr(runs, "code_digest", lambda s: "refactored")
    return path


def test_equal_numbers_take_the_new_digest_and_keep_the_trained_run(results, capsys):
    assert runs.stale(runs.read_records(results)) == ["base"]
    restamp.main([])
    assert "equal to the bit" in capsys.readouterr().out
    assert (
        runs.stale(runs.read_records(results)) == []
        and runs.load(spec(), 0)["code"] == "refactored"
    )


def test_other_numbers_stay_stale(results):
    stored = json.loads(results.read_text())
    stored["records"][0]["scores"]["map_noisy"] += 1e-12
    results.write_text(json.dumps(stored))
    with pytest.raises(SystemExit, match="stale"):
        restamp.main([])
    assert runs.stale(runs.read_records(results)) == ["base"]


def test_what_still_older_code_made_is_not_vouched_for(results):
    """Committed or cached, equal scores or not: another replicate of the same method and net."""
    known = runs.read_records(results)
    older = known["base", 0] | {"replicate": 1, "code": "older", "scores": {"map_noisy": 0.5}}
    cached = restamp.corpora.cache_root() / "runs" / "an-older-run" / runs.RECORD
    cached.parent.mkdir()
    cached.write_text(json.dumps(older | {"replicate": 2}))
    runs.write_records(results, known | {("base", 1): older})
    with pytest.raises(SystemExit, match="stale"):
        restamp.main([])
    codes = [record["code"] for record in runs.read_records(results).values()]
    assert codes == ["refactored", "older"]
    assert json.loads(cached.read_text())["code"] == "older"


def test_nothing_is_retrained_where_nothing_changed(results, monkeypatch):
    made_by, before = runs.read_records(results)["base", 0]["code"], results.read_bytes()
    monkeypatch.setattr(runs, "code_digest", lambda s: made_by)
    monkeypatch.setattr(
        runs, "train", lambda wanted, *a: [pytest.fail("retrained") for _ in wanted]
    )
    restamp.main([])
    assert results.read_bytes() == before


def test_what_cannot_be_retrained_here_stays_stale_and_is_told(results, monkeypatch):
    monkeypatch.setattr(restamp, "available", lambda spec: False)
    with pytest.raises(SystemExit, match="stale"):
        restamp.main([])
    assert runs.stale(runs.read_records(results)) == ["base"]


def commit(folder, module: str | None = None):
    """The project's module as a git repository in ``folder``; ``module`` gets a line more."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "wsaed", folder / "wsaed", ignore=ignored, dirs_exist_ok=True)
    if module:
        with open(folder / "wsaed" / module, "a") as file:
            file.write("\nANOTHER = 1\n")
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q"], ["add", "wsaed"], [*author, "commit", "-q", "-m", "older"]):
        subprocess.run(["git", *command], cwd=folder, check=True)


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
@pytest.mark.parametrize(
    ("changed", "drift", "told"),
    [
        (None, 0.0, restamp.ROUNDED),
        (None, 1e-12, restamp.OTHER),
        ("methods/secost.py", 0.0, restamp.UNPROVEN),
    ],
)
def test_a_machine_that_rounds_otherwise_asks_the_older_code(
    results, tmp_path, monkeypatch, capsys, changed, drift, told
):
    """The committed scores are another machine's; ``drift`` is what a refactoring changes."""
    stored = json.loads(results.read_text())
    stored["records"][0]["scores"]["map_noisy"] += 0.01
    results.write_text(json.dumps(stored))
    commit(tmp_path, changed)
    train = runs.train

    def today(wanted, title):
        records = train(wanted, title)
        return [
            r | {"scores": r["scores"] | {"map_noisy": r["scores"]["map_noisy"] + drift}}
            for r in records
        ]

    monkeypatch.setattr(runs, "train", today)
    if told == restamp.ROUNDED:
        restamp.main([])
    else:
        with pytest.raises(SystemExit, match="stale"):
            restamp.main([])
    assert told in capsys.readouterr().out
    (kept,) = runs.read_records(results).values()
    assert kept["scores"] == stored["records"][0]["scores"]
    assert (kept["code"] == "refactored") == (told == restamp.ROUNDED)


def test_each_kind_of_run_needs_a_proof_of_its_own(monkeypatch):
    """Sizes and weights may differ; another option, a weight of 0 or a bank is another kind."""
    monkeypatch.setattr(runs, "code_digest", lambda s: "today's")
    monkeypatch.setattr(restamp, "available", lambda s: True)
    corpus, pair = spec()["corpus"], {"teachers": [spec()]}
    kinds = [
        [spec(), spec(epochs=9), spec(corpus=corpus | {"train": 99})],
        [spec(smoothing=0.1), spec(smoothing=0.2)],
        [spec(alpha=[0.3, 0.7], **pair), spec(alpha=[0.2, 0.8], **pair)],
        [spec(alpha=[0.0, 1.0], **pair)],
        [spec(corpus=corpus | {"bank": "esc10"})],
        [spec(net=spec()["net"] | {"pool": "average"})],
        [spec(front_end="secost")],
    ]
    records = [
        {"spec": s, "replicate": r, "code": "older"} for kind in kinds for r, s in enumerate(kind)
    ]
    found = restamp.proofs(records)
    assert [record["spec"] for record in found.values()].count(spec()) == 1
    assert len(found) == len(kinds)
    assert {json.dumps(record["spec"]) for record in found.values()} == {
        json.dumps(kind[0]) for kind in kinds
    }
