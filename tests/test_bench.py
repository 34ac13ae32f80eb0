"""The benchmark runs, and both sides of its comparisons give the same numbers."""

import json

import pytest

from wsaed import bench


def test_both_sides_of_a_comparison_give_the_same_numbers(tmp_path, capsys):
    bench.main(["students", "scores", "--quick", "--json", str(tmp_path / "bench.json")])
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    differences = {r["part"]: r["value"] for r in rows if r["what"] == "largest difference"}
    students = [part for part in differences if "students" in part]
    assert len(students) == 1 and differences.pop(students[0]) < 1e-6
    assert len(differences) == 3 and max(differences.values()) < 1e-12
    assert "one after the other" in capsys.readouterr().out


def test_an_unknown_part_is_named(capsys):
    with pytest.raises(SystemExit):
        bench.main(["nets"])
    assert "no part 'nets'" in capsys.readouterr().err
