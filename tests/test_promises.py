"""Tries to break what holds everywhere and has no test elsewhere: a full disk, repeated bytes."""

import re
import subprocess
import sys
from collections import Counter

import nbformat
import numpy as np
import pytest
import torch
from conftest import ROOT, refused, spec

from wsaed import pages, parameters, report, runs
from wsaed.claims import claims
from wsaed.committed import write_records
from wsaed.papers import PAPERS

FULL = {
    "weights": "the run secost.method:train",
    "checkpoint": "no checkpoint could be written; is there room under",
    "features": "the features of soundscapes (replicate 0) could not be made",
}


@pytest.mark.skipif(sys.platform != "linux", reason="limits a process's file size as Linux does")
@pytest.mark.parametrize("full", FULL)
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(cache, monkeypatch, full):
    if full == "checkpoint":
        monkeypatch.setenv("CHECKPOINT_SECONDS", "0")
    if full == "features":
        (cache / "features").unlink()  # the link to those that all these tests share
    code = "from wsaed import runs; from conftest import spec; runs.train([(spec(), 0)])"
    code = f"import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (2000, 2000)); {code}"
    call, here = [sys.executable, "-c", code], ROOT / "tests"
    line = subprocess.run(call, cwd=here, stderr=subprocess.PIPE, text=True).stderr.splitlines()[-1]
    assert line.startswith("wsaed.runs.FailedError: ") and FULL[full] in line
    assert full == "weights" or str(cache) in line
    assert runs.load(spec(), 0) is None
    assert runs.train([(spec(), 0)])[0]["scores"]["map_noisy"] > 0


ONE_EACH = [*zip(PAPERS, ("base", "tfd_afl", "em_cs", "ws"), strict=True)]
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_GPU)])
@pytest.mark.parametrize(("paper", "system"), ONE_EACH)
def test_training_again_gives_the_same_bytes(tmp_path, monkeypatch, device, paper, system):
    """From two empty caches, by one process and by two; on a GPU where it is asked for."""
    monkeypatch.setenv("DEVICE", device)
    monkeypatch.setenv("HEADLESS", "1")
    if device == "cuda":
        monkeypatch.setenv("DETERMINISTIC", "1")
    files, p = [], parameters.chosen(paper, "smoke")
    p |= {key: max(2, n // 3) for key, n in p.items() if key.endswith("_clips")}
    for jobs in ("1", "2"):
        monkeypatch.setenv("JOBS", jobs)
        monkeypatch.setenv("CACHE", str(tmp_path / jobs))
        files.append(tmp_path / jobs / "records.json")
        write_records(files[-1], runs.records(paper, [system], p))
    first, again = (file.read_bytes() for file in files)
    assert first == again and b'"loss"' in first


@pytest.fixture
def committed(cache, tmp_path, monkeypatch):
    """A paper's folder with the results of one run."""
    home = tmp_path / "results" / "laptop" / "secost"
    (record,) = runs.train([(spec(), 0)])
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    write_records(home / "records.json", {("base", 0): {"system": "base"} | record})
    return home


def test_a_page_marks_what_older_code_made_and_what_nobody_made_or_tried(committed, monkeypatch):
    home, results = committed, committed.parents[1]
    (home / "table_2.ipynb").touch()
    (home / "table_2.md").write_text(
        "| a |\n| --- |\n\nAbout it. Profile laptop: replicates:\n0.\n"
    )
    (home / "table_2.csv").write_text("system,as expected\nbase,yes\nlong,not mAP\n")
    every = pages.judged(results)
    assert "1 of 2 rows as expected" in pages.pages(results, every)[results / "README.md"]
    found = pages.pages(results, every)[home.with_suffix(".md")]
    assert "Stale" not in found and "## Localization\n\nNot made yet.\n" in found
    assert "## Figure 4\n\nNot made yet. Not run: base_again, variable_4.\n" in found
    assert "About it.\n\nMade with 0 of 1 replicates.\n" in found
    assert "| a |" in found and "About it.\n" in found and "24 train, 8 validation" in found
    assert found.index("| a |") < found.index("| S1 ") < found.index("## Figure 2")
    evidence = home.parent.rename(results / "evidence")
    for tried in (False, True):  # more steps
        text = pages.pages(results, pages.judged(results))[evidence / "secost.md"]
        assert ("has not been measured" in text) != tried
        (evidence / "secost" / "plateau.csv").write_text("system,steps,change\nbase,9,0.004\n")
    monkeypatch.setattr(runs, "code_digest", lambda s: "changed")
    every = pages.judged(results)
    assert "**Stale" in pages.pages(results, every)[evidence / "secost.md"]


def test_a_rendering_may_take_the_replicates_there_are(committed, monkeypatch):
    monkeypatch.setenv("COMMITTED", "1")
    monkeypatch.setattr(runs, "train", lambda *of: pytest.fail("trains"))
    p = {"paper": "secost", "profile": "laptop", "replicates": 3, "home": committed}
    assert report.results(p | {"artefact": "localization"}).index.tolist() == [("base", 0)]
    with refused("no record of alpha_0: make evidence"):
        report.results(p | {"artefact": "figure_2"})


def test_check_results_tells_what_today_s_code_did_not_make(committed, tmp_path, monkeypatch):
    home, page, results = committed, committed.with_suffix(".md"), committed.parents[1]
    (results / "evidence").mkdir()
    (results / "evidence" / "claims.png").touch()  # drawn where evidence is
    pages.main([])
    np.savez(home / "figure_2.npz", runs=np.array([runs.key(spec(), 1)]))
    assert pages.check(results) == [f"{home}: figure_2.npz is of other runs: make tables"]
    (home / "figure_2.npz").unlink()
    assert pages.check(results) == []
    page.write_text(page.read_text().replace("replicates", "replicate"))
    told = f"{page} is not what today's code makes of the records"
    assert pages.check(results) == [told]
    monkeypatch.setattr(runs, "code_digest", lambda s: "changed")
    assert f"{home}: base was made by older code" in pages.check(results)
    source = tmp_path / "notebooks" / "secost" / "table_2.ipynb"
    source.parent.mkdir(parents=True)
    new = nbformat.v4
    cells = [new.new_markdown_cell("one"), new.new_code_cell("profile = 1")]
    given = new.new_code_cell("", metadata={"tags": ["injected-parameters"]})
    nbformat.write(new.new_notebook(cells=cells), source)
    nbformat.write(new.new_notebook(cells=[*cells, given]), home / source.name)
    told = f"{home}: table_2.ipynb tells S1 otherwise than the records"
    assert told in pages.check(results)
    _, claims = pages.judged(results)["laptop"]["secost"]
    said = new.new_output("stream", text=report.verdict_line(claims) + "\n")
    cells[1].outputs = [said]
    nbformat.write(new.new_notebook(cells=[*cells, given]), home / source.name)
    assert not any("table_2" in line for line in pages.check(results))
    nbformat.write(new.new_notebook(cells=cells[:1]), source)
    told = f"{home}: table_2.ipynb was executed from another text than today's"
    assert told in pages.check(results)
    source.unlink()  # renamed: all else is still looked at
    assert told in pages.check(results) and f"{page} is not what" in str(pages.check(results))


@pytest.mark.parametrize("name", ["records.json", "figure_4.png", "table_2.csv"])
def test_a_file_that_is_gone_is_named_and_not_left_out_in_silence(committed, capsys, name):
    home, results = committed, committed.parents[1]
    for file in ("figure_4.png", "table_2.csv"):
        (home / file).write_text("system\n")
    links = "[table](secost/table_2.csv) ![figure](secost/figure_4.png)"
    home.with_suffix(".md").write_text(links)
    (home / name).unlink()
    told = f"{home / name} is gone, which {home.with_suffix('.md')} needs: take it from git"
    assert pages.check(results)[0].startswith(told)
    pages.main([])
    assert capsys.readouterr().err.startswith(told)


@pytest.fixture(scope="module")
def every():
    return pages.judged(ROOT / "results")


def test_the_committed_pages_are_today_s_and_short(every):
    """But for the line that counts what older code made, which `make check-results` tells."""
    results = ROOT / "results"
    texts = pages.pages(results, every)
    assert texts.keys() == {results / "README.md", *results.glob("*/*.md")}
    for path, text in texts.items():
        kept, made = (re.sub(r"\*\*Stale.*", "", t) for t in (path.read_text("utf-8"), text))
        assert kept == made, f"{path}: call `python -m wsaed.pages`"
        assert len(text.encode()) < 25_000, path
    screen = texts[results / "README.md"]
    assert len(screen.splitlines()) <= 75 and (results / "evidence/claims.png").exists()
    names = {c.name for _, found in every["evidence"].values() for c in found}
    assert names <= {*re.findall(r"\w+", screen)}


def test_the_readme_tells_how_the_verdicts_came_out(every):
    found = [claim for _, mine in every["evidence"].values() for claim in mine]
    count = Counter(claim.verdict for claim in found)
    half = Counter(claim.verdict for claim in found if "†" in pages.outcome(claim)[1])
    verdicts = "reproduced", "opposite", "open", "not testable here", "estimate only", "not run"
    only = {v: f" ({half[v]} of them at the threshold of 0.5 only)" for v in verdicts if half[v]}
    told = ", ".join(f"{count[v]} {v}{only.get(v, '')}" for v in verdicts)
    assert f"Of {count.total()} claims: {told}." in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("paper", PAPERS)
def test_a_conclusion_asks_nothing_of_what_is_told_and_names_all_claims(every, monkeypatch, paper):
    judged = {paper: found for paper, (_, found) in every["evidence"].items()}
    monkeypatch.setattr(claims, "judged", lambda frames: judged)
    lines = [x for x in report.conclusion(paper).splitlines() if x[0] != " "]  # a long one goes on
    assert any(line.endswith((": met", ": not met")) for line in lines)
    assert not any("needed :" in line for line in lines)
    said = [line.split()[0] for line in lines[-len(judged[paper]) :]]
    assert said == [claim.name for claim in judged[paper]]
