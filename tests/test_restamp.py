"""Restamp renews a digest only where a retrained replicate is equal to the bit."""

import json

import pytest
from test_runs import cache, features, spec  # noqa: F401 - fixtures

from wsaed import restamp, runs


@pytest.fixture
def results(cache, tmp_path, monkeypatch):  # noqa: F811
    """A results folder with one committed record, and code that has changed since."""
    monkeypatch.setattr(restamp.code, "ROOT", tmp_path)
    (record,) = runs.train([(spec(), 0)])
    path = tmp_path / "results" / "laptop" / "secost" / "records.json"
    runs.write_records(path, {("base", 0): {"system": "base"} | record})
    monkeypatch.setattr(runs, "code_digest", lambda s: "refactored")
    return path


def test_equal_numbers_take_the_new_digest_and_keep_the_trained_run(results, capsys):
    assert runs.stale(runs.read_records(results)) == ["base"]
    restamp.main()
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
        restamp.main()
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
        restamp.main()
    codes = [record["code"] for record in runs.read_records(results).values()]
    assert codes == ["refactored", "older"]
    assert json.loads(cached.read_text())["code"] == "older"


def test_nothing_is_retrained_where_nothing_changed(results, monkeypatch):
    made_by, before = runs.read_records(results)["base", 0]["code"], results.read_bytes()
    monkeypatch.setattr(runs, "code_digest", lambda s: made_by)
    monkeypatch.setattr(
        runs, "train", lambda wanted, *a: [pytest.fail("retrained") for _ in wanted]
    )
    restamp.main()
    assert results.read_bytes() == before


def test_what_cannot_be_retrained_here_stays_stale_and_is_told(results, monkeypatch):
    monkeypatch.setattr(restamp, "available", lambda spec: False)
    with pytest.raises(SystemExit, match="stale"):
        restamp.main()
    assert runs.stale(runs.read_records(results)) == ["base"]
