"""The web pages' sources: every notebook is on one page, links find what they name."""

import re

import nbformat
from conftest import ROOT, put

from wsaed import render, site


def test_every_notebook_and_no_other_is_a_page():
    listed = [path for paths in site.pages().values() for path in paths]
    every = {path.relative_to(ROOT) for path in ROOT.glob("notebooks/**/*.ipynb")}
    sessions = {path for path in every if path.parent.name == "workshop"}  # the learners' stand
    assert {path for path in listed if path.suffix == ".ipynb"} == every - sessions
    assert len(listed) == len(set(listed))
    toc = re.findall(r"^(?:notebooks|results|README)\S*$", site.index(site.pages()), re.M)
    assert toc == [path.with_suffix("").as_posix() for path in listed]


def test_a_page_says_what_made_it_and_brings_what_it_links_to(tmp_path, monkeypatch):
    page, markdown = site.Path("notebooks/secost/table_2.ipynb"), nbformat.v4.new_markdown_cell
    cells = [markdown("# Title"), markdown("[a](../b.md) [web](https://x.y/z) [gone](no.csv)")]
    cells += [nbformat.v4.new_code_cell('home = "evidence"', metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell("home")]
    put(tmp_path / page, nbformat.writes(nbformat.v4.new_notebook(cells=cells)))
    put(tmp_path / "notebooks/b.md", "![picture](p.png)")
    put(tmp_path / "notebooks/p.png", b"png")
    monkeypatch.setattr(site, "ROOT", tmp_path)
    source = tmp_path / "source"
    site.write_page(page, source, "abc")
    site.copy_linked(source)
    found = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    assert found == {str(page), "notebooks/b.md", "notebooks/p.png"}
    assert "smoke" in render.read(source / page).cells[1].source
    evidence = tmp_path / "results/evidence/secost"
    evidence.mkdir(parents=True)
    (tmp_path / page).rename(evidence / page.name)
    site.write_page(page, source, "abc")
    assert "profile evidence; commit abc" in render.read(source / page).cells[1].source
    reader = site.Path("notebooks/claims.ipynb")  # has no copy, and reads what is committed
    (evidence / page.name).rename(tmp_path / reader)
    site.write_page(reader, source, "abc")
    assert "records of results/evidence; commit abc" in render.read(source / reader).cells[1].source
