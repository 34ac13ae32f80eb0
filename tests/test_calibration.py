"""Calibration: where a setting goes, what is logged, who is trained out."""

import json

import pandas as pd
import pytest

from wsaed import calibration, runs

TEACHER = {"method": "m", "net": {"name": "n", "width": 1}, "corpus": {"name": "c", "snr": [0, 9]}}
TEACHER |= {"front_end": "f", "budget": {"epochs": 10, "learning_rate": 0.1}}
SPEC = TEACHER | {"teachers": [TEACHER], "alpha": [1.0]}


def test_a_setting_goes_where_its_name_belongs_and_the_corpus_is_the_teachers_too():
    settings = dict(epochs=7, width=2, snr=[5, 9], alpha=[0.5], batch_size=4, front_end="g")
    found = calibration.changed(SPEC, settings)
    assert found["budget"] == {"epochs": 7, "learning_rate": 0.1, "batch_size": 4}
    assert found["net"]["width"] == 2 and found["alpha"] == [0.5] and found["front_end"] == "g"
    assert found["corpus"] == {"name": "c", "snr": [5, 9]}
    assert found["teachers"] == [TEACHER | {"corpus": found["corpus"]}]
    assert calibration.longer(SPEC) == SPEC | {"budget": SPEC["budget"] | {"epochs": 15}}
    steps = SPEC | {"budget": {"steps": 101, "generation": 5}}
    assert calibration.longer(steps)["budget"] == {"steps": 152, "generation": 5}


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Runs that learn as if by the logarithm of their epochs; where the results go."""
    calls = []

    def train(wanted, title):
        calls.extend(wanted)
        found = []
        for spec, seed in wanted:
            many = spec["budget"]["epochs"]
            curve = [0.1, 0.0003 * many + 0.001 * (seed % 1000), 0.0]
            scores = {"curves": {"validation": curve}, "best_epoch": 2, "steps": 10 * many}
            scores |= dict.fromkeys(calibration.PAPERS["secost"].CALIBRATED, 0.25)
            found.append({"scores": scores, "cost": {"seconds": 30}})
        return found

    monkeypatch.setattr(runs, "train", train)
    monkeypatch.setattr(calibration, "ROOT", tmp_path)
    return calls


def test_every_try_is_logged_and_proposals_show_no_score_on_test_clips(trained, tmp_path, capsys):
    tries = ["secost", "base", "fixed_1", "--set", "epochs=20", "learning_rate=0.5"]
    calibration.main(tries)
    calibration.main([*tries, "--seeds", "1", "--note", "again"])
    assert {seed for _, seed in trained} == {1000, 1001}
    log = pd.read_csv(tmp_path / "results/calibration/secost.csv")
    assert log["system"].tolist() == ["base", "fixed_1"] * 2
    assert log["seeds"].tolist() == [2, 2, 1, 1] and log["note"][2] == "again"
    assert log["validation"].tolist() == [0.0065, 0.0065, 0.006, 0.006]
    assert json.loads(log["budget"][1])["learning_rate"] == 0.5 and log["steps"][0] == 200
    assert log["map_noisy"].notna().tolist() == [True, False] * 2
    with pytest.raises(SystemExit):
        calibration.main(["secost", "ensemble"])  # nothing to train
    for wrong in ("schedule=cosine", "epochs"):
        with pytest.raises(SystemExit):
            calibration.main(["secost", "base", "--set", wrong])
        assert "--set wants KEY=JSON, a text in double quotes" in capsys.readouterr().err


def test_who_gains_from_half_as_many_steps_again_is_not_trained_out(trained, tmp_path):
    # 0.0099 from half as many epochs again, 0.0102 of 68
    calibration.main(["secost", "--plateau", "--set", "epochs=66"])
    path = tmp_path / "results/evidence/secost/plateau.csv"
    found = pd.read_csv(path).set_index("system")
    assert {"base", "variable_4", "fixed_2"} <= set(found.index) and "ensemble" not in found.index
    rows = found.loc["base"].to_numpy().tolist()  # of the results' replicates, from 0 on
    assert rows == [[0, 660, 0.0198, 0.0297, 0.0099, True], [1, 660, 0.0208, 0.0307, 0.0099, True]]
    calibration.main(["secost", "base", "--plateau", "--set", "epochs=68", "--seeds", "1"])
    again = pd.read_csv(path).set_index("system")
    assert again.loc[["base"], "replicate"].tolist() == [0]  # of other steps than today's: dropped
    assert not again.loc["base", "met"] and again.drop("base").equals(found.drop("base"))
    taught = [spec for spec, _ in trained if spec.get("teachers")]
    own = {spec["budget"]["epochs"] for spec in taught}
    kept = {teacher["budget"]["epochs"] for spec in taught for teacher in spec["teachers"]}
    assert own == {66, 99} and kept and not own & kept  # a teacher keeps its budget


def test_a_committed_run_is_not_trained_again_and_the_mean_change_decides(
    trained, tmp_path, monkeypatch
):
    every = calibration.PAPERS["secost"].systems(
        calibration.parameters.chosen("secost", "evidence")
    )
    (own,) = runs.train([(every["base"], 0)], "")
    record = {"spec": every["base"], "scores": own["scores"] | {"steps": 7}, "code": "today"}
    monkeypatch.setattr(calibration, "read_records", lambda path: {("base", 0): record})
    monkeypatch.setattr(runs, "current", lambda record: record["code"] == "today")
    trained.clear()
    calibration.main(["secost", "base", "--plateau", "--seeds", "1"])
    longer = calibration.longer(every["base"])
    assert trained == [(longer, 0)]
    record["code"] = "older"
    calibration.main(["secost", "base", "--plateau", "--seeds", "1"])
    assert trained[1:] == [(longer, 0), (every["base"], 0)]
    rows = pd.DataFrame({"system": "s", "replicate": [0, 1], "steps": 9, "change": [0.018, 0.001]})
    assert (
        calibration.met(rows, 0.01)["met"].all() and not calibration.met(rows[:1], 0.01)["met"][0]
    )
