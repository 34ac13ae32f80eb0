"""Tries to break what holds everywhere and has no test elsewhere: a full disk, repeated bytes."""

import resource
import subprocess
import sys
from collections import Counter

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from test_runs import cache, features, spec  # noqa: F401 - fixtures

from wsaed import claims_figures, readme, report, runs
from wsaed.verdicts import UNTESTABLE


@pytest.mark.skipif(sys.platform != "linux", reason="limits a process's file size as Linux does")
@pytest.mark.parametrize(
    ("full", "said"),
    [
        ("weights", "the run secost"),
        ("checkpoint", "no checkpoint could be written; is there room under"),
        ("features", "the features of soundscapes (replicate 0) could not be made"),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    cache,  # noqa: F811
    monkeypatch,
    full,
    said,
):
    if full == "checkpoint":
        monkeypatch.setenv("CHECKPOINT_SECONDS", "0")
    if full == "features":
        (cache / "features").unlink()  # the link to those that all these tests share
    code = "from wsaed import runs; from test_runs import spec; runs.train([(spec(), 0)])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "tests",
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
    )
    line = done.stderr.splitlines()[-1]
    assert line.startswith("RuntimeError: ") and said in line
    assert full == "weights" or str(cache) in line
    assert runs.load(spec(), 0) is None
    assert runs.train([(spec(), 0)])[0]["scores"]["map_noisy"] > 0


def trained_twice(tmp_path, monkeypatch, paper, system):
    """The bytes of a system's records from two empty caches, by one process and by two."""
    monkeypatch.setenv("HEADLESS", "1")
    for jobs in ("1", "2"):
        monkeypatch.setenv("JOBS", jobs)
        monkeypatch.setenv("CACHE", str(tmp_path / jobs))
        records = runs.collect(paper, [system], runs.parameters("smoke", paper), 1, None)
        runs.write_records(tmp_path / jobs / "records.json", records)
        yield (tmp_path / jobs / "records.json").read_bytes()


ONE_EACH = [("secost", "base"), ("joint_at_aed", "tfd_afl"), ("shallow_student", "em_cs")]
ONE_EACH += [("mixed_tsd", "ws")]


@pytest.mark.parametrize(("paper", "system"), ONE_EACH)
def test_training_again_gives_the_same_bytes(tmp_path, monkeypatch, paper, system):
    monkeypatch.setenv("DEVICE", "cpu")
    first, again = trained_twice(tmp_path, monkeypatch, paper, system)
    assert first == again and b'"loss"' in first


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(("paper", "system"), ONE_EACH)
def test_on_a_gpu_too_when_asked(tmp_path, monkeypatch, paper, system):
    monkeypatch.setenv("DEVICE", "cuda")
    monkeypatch.setenv("DETERMINISTIC", "1")
    first, again = trained_twice(tmp_path, monkeypatch, paper, system)
    assert first == again


def test_a_table_is_the_same_bytes_twice(tmp_path, monkeypatch):
    written = []
    for name in ("a", "b"):
        monkeypatch.setenv("RESULTS", str(tmp_path / name))
        df = pd.DataFrame({"system": ["base", "a|b"], "mAP": [1 / 3, np.nan]})
        report.save_table(df, "table_2", paper="secost", profile="smoke", caption="Two rows.")
        files = sorted((tmp_path / name / "secost").glob("table_2.*"))
        written.append([file.read_bytes() for file in files])
    assert written[0] == written[1] and len(written[0]) == 2


def test_a_figure_carries_no_date(tmp_path, monkeypatch):
    report.style()
    pictures = []
    for name in ("a", "b"):
        monkeypatch.setenv("RESULTS", str(tmp_path / name))
        fig, ax = plt.subplots()
        report.dots(ax, [0, 1], [np.array([0.1, 0.2, 0.3]), np.array([0.2, 0.2, 0.4])])
        report.save_figure(fig, "figure_2", paper="secost", profile="smoke")
        plt.close(fig)
        home = tmp_path / name / "secost"
        pictures.append([(home / f"figure_2.{end}").read_bytes() for end in ("png", "svg")])
    assert pictures[0] == pictures[1]
    assert b"date" not in pictures[0][1].lower()


def test_a_report_marks_what_older_code_made(cache, tmp_path, monkeypatch):  # noqa: F811
    home = tmp_path / "laptop" / "secost"
    (record,) = runs.train([(spec(), 0)])
    runs.write_records(home / "records.json", {("base", 0): {"system": "base"} | record})
    (home / "table_2.ipynb").touch()
    (home / "table_2.md").write_text("| a |\n| --- |\n")
    monkeypatch.setattr("wsaed.papers.secost_claims.preconditions", lambda df: (pd.DataFrame(), {}))
    found = readme.readme(tmp_path / "laptop")
    assert "Stale" not in found and "### Localization\n\nNot made yet. Not run: base_10ms." in found
    monkeypatch.setattr(runs, "code_digest", lambda s: "changed")
    assert "**Stale" in readme.readme(tmp_path / "laptop")


def test_the_readme_tells_how_the_verdicts_came_out():
    judged = report.judged({paper: report.committed(paper) for paper in report.TITLES})
    found = [claim for claims in judged.values() for claim in claims]
    count = Counter(claim.verdict for claim in found)
    told = f"of {len(found)} on the embedded sounds {count['holds']} hold, {count['contradicted']} "
    told += f"are contradicted, {count['undecided']} undecided and {count[UNTESTABLE]} not testable"
    assert told in (ROOT / "README.md").read_text()
    assert [c.name for c in found if claims_figures.turns(c)] == ["A1", "A3", "A4", "A5", "C3"]


def test_check_results_tells_what_today_s_code_did_not_make(cache, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(readme.code, "ROOT", tmp_path)
    path = tmp_path / "laptop" / "secost" / "records.json"
    record = {"system": "base"} | runs.train([(spec(), 0)])[0]
    other = record | {"replicate": 1, "scores": {"map_noisy": 0.5}}
    runs.write_records(path, {("base", 0): record})
    assert readme.check(tmp_path) == []
    monkeypatch.setattr("wsaed.papers.secost_claims.preconditions", lambda df: (pd.DataFrame(), {}))
    text = readme.readme(tmp_path / "laptop")
    (tmp_path / "laptop" / "README.md").write_text(text)
    assert readme.check(tmp_path) == []
    (tmp_path / "laptop" / "README.md").write_text(text.replace("Claims", "Claim"))
    told = "laptop: README.md is not what today's code makes of the records"
    assert readme.check(tmp_path) == [told]
    (tmp_path / "laptop" / "README.md").unlink()
    runs.write_records(path, {("base", 0): record, ("base", 1): other})
    assert readme.check(tmp_path) == ["laptop/secost: base's replicates hold different scores"]
    monkeypatch.setattr(runs, "code_digest", lambda s: "changed")
    assert "laptop/secost: base was made by older code" in readme.check(tmp_path)
    source = tmp_path / "notebooks" / "secost" / "table_2.ipynb"
    source.parent.mkdir(parents=True)
    cells = [nbformat.v4.new_markdown_cell("one"), nbformat.v4.new_code_cell("profile = 1")]
    given = nbformat.v4.new_code_cell("", metadata={"tags": ["injected-parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=cells), source)
    nbformat.write(nbformat.v4.new_notebook(cells=[*cells, given]), path.parent / source.name)
    assert not any("table_2" in line for line in readme.check(tmp_path))
    nbformat.write(nbformat.v4.new_notebook(cells=cells[:1]), source)
    told = "laptop/secost: table_2.ipynb was executed from another text than today's"
    assert told in readme.check(tmp_path)
