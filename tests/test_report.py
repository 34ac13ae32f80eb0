"""Tables, scores and panels of a small made-up frame of results."""

import html
import re
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from conftest import CASES
from markdown_it import MarkdownIt
from matplotlib import font_manager

from wsaed import plots, report, runs
from wsaed.claims import rules
from wsaed.committed import write_records

CORPUS = {"name": "soundscapes", "bank": None}


def records(scores: dict) -> dict:
    """{(system, replicate): record} of {system: {column: [a score a replicate]}}."""
    found = {}
    for system, columns in scores.items():
        for r in range(len(next(iter(columns.values())))):
            made = {"system": system, "replicate": r, "cost": {"seconds": 60 * (1 + r)}}
            made |= {"spec": {"corpus": CORPUS, "budget": {"epochs": 1}}, "versions": {}}
            made |= {"code": "", "data": "", "scores": {c: v[r] for c, v in columns.items()}}
            found[system, r] = made
    return found


@pytest.fixture
def df():
    return report.frame(records(CASES["results"]))


def test_a_row_may_name_a_rule_and_a_column_may_have_none(df):
    assert report.values(df, "gl@esp", "f1").tolist() == [0.1, 0.5]
    assert report.values(df, "pts@esp", "psds").tolist() == [0.5] * 3
    with pytest.raises(KeyError, match="no_such"):
        report.values(df, "no_such", "f1_esp")


def test_differences_are_paired_by_replicate(df):
    d, clips = report.difference(df, "pts@average", "gl@average", "f1")
    assert d == pytest.approx([0.1, 0.3])  # the third replicate has no partner
    assert clips == pytest.approx(np.array([[0.1, 0.1], [0.3, 0.3]]))
    assert report.difference(df, "pts@esp", "gl@esp", "f1")[1] is None
    assert plots.changes(df, ["pts@esp"], "f1", "gl@esp")[0] == pytest.approx([10, 10])
    relative = plots.changes(df, ["pts@esp"], "f1", "gl@esp", relative=True)[0]
    assert relative == pytest.approx([100, 20])


def test_a_score_is_mean_and_interval_or_nothing(df):
    low, high = rules.two_level_interval(np.array([0.1, 0.5]), None)
    assert report.score(df, "gl@esp", "f1") == f"0.300 [{low:.3f}, {high:.3f}]"
    assert report.score(df, "gl", "psds") == "" == report.score(df, "gl", "unknown")
    assert report.mean_interval(np.array([0.25])) == "0.250"


def test_a_table_has_a_row_a_row_and_leaves_empty_columns_out(df):
    columns = {"f1": "event F1", "unknown": "PSDS"}
    rows = {"gl@average": "GL", "pts@esp": "PTS, ESP"}
    made = report.table(df, rows, columns, {"f1": {"gl@average": 0.405}})
    assert list(made) == ["system", "paper: event F1", "event F1", "replicates"]
    assert made["paper: event F1"].tolist() == ["0.405", ""]
    assert made["replicates"].tolist() == [2, 3]
    assert made["event F1"][1] == report.score(df, "pts@esp", "f1")


def test_a_replicate_stands_beside_the_evidence_that_it_is_one_of(df, tmp_path):
    home = tmp_path / "secost"
    scores = {"gl": {"f1_esp": [0.1, 0.2, 0.3]}, "pts": {"f1_esp": [0.1, 0.1, 0.101]}}
    scores["control"] = {"f1_esp": [0.4, 0.6, 0.5]}
    scores["gl"]["steps"] = scores["pts"]["steps"] = [9] * 3
    known = {(s, r + 5): x | {"replicate": r + 5} for (s, r), x in records(scores).items()}
    write_records(home / "records.json", known)
    (home / "plateau.csv").write_text("system,steps,change\ngl,9,0.004\npts,8,0.001\n")
    df.attrs["evidence"] = str(home)
    names = {"gl": "GL", "pts@esp": "PTS, ESP", "control": "beside"}
    made = report.table(df.drop("gl@esp", errors="ignore"), names, {"f1_esp": "F1"})
    heads = ["system", "evidence: F1", "this run: F1", "as expected", "gain from more training"]
    assert list(made) == [*heads, "core-minutes a run", "replicates"]
    assert made["as expected"].tolist() == ["yes", "not F1", ""]  # pts: 0.533, always 0.1 before
    assert made["this run: F1"].tolist()[2] == "" and made["replicates"].tolist() == [3, 3, 3]
    assert made["gain from more training"].tolist() == ["+0.004", "", ""]
    assert made["core-minutes a run"].tolist() == ["2.0"] * 3
    lone = {key: record for key, record in known.items() if key[1] == 5}
    for name, few in {"lone": lone, "itself": records(CASES["results"])}.items():  # no spread
        write_records(home.with_name(name) / "records.json", few)
        df.attrs["evidence"] = str(home.with_name(name))
        assert "as expected" not in report.table(df, names, {"f1_esp": "F1"})
    empty = df.assign(f1_esp=np.nan)
    assert report.within(report.recorded(tmp_path, "secost"), empty, "pts", "f1_esp") is None
    gains = report.recorded(tmp_path, "secost").attrs["gains"]
    assert gains["gl"] == 0.004 and np.isnan(gains["pts"])


def test_what_is_saved_is_the_same_twice(df, tmp_path, monkeypatch):
    p = dict(paper="secost", artefact="table_2", profile="smoke", saved=tmp_path, replicates=2)
    p |= dict(corpus="soundscapes", train_clips=8, test_clips=0)
    report.style()
    wide = {f"n{k}": k for k in range(report.SCREEN)}
    made = pd.DataFrame({"a|b": ["x", ""], "f": [0.12345, np.nan]} | wide)
    kept, seen = [], []
    for _ in range(2):
        monkeypatch.setattr(report, "display", lambda part: seen.append(part.to_html()))
        report.save_table(made, p, "gap", about="About it.")
        fig, ax = plt.subplots()
        plots.panels([ax], df, {"gl": "GL", "pts": "PTS"}, {"f1_esp": "F1"}, {"f1_esp": {"gl": 1}})
        report.save_figure(fig, p)
        kept.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
        plt.close(fig)
    assert kept[0] == kept[1]
    assert len(seen) == 4 and all("a|b" in part for part in seen)  # twice, in two parts
    assert "<td>0.123</td>" in seen[0] and "NaN" not in seen[0]
    assert kept[0].keys() == {f"table_2{end}" for end in ("_gap.csv", "_gap.md", ".png")}
    text = kept[0]["table_2_gap.md"].decode()
    assert "a\\|b" in text and "0.123" in text and "8 train, all test clips" in text
    assert "About it. Profile smoke" in text and "replicates: 2, each with its own" in text


def test_what_a_picture_takes_from_a_net_is_kept_beside_the_records(tmp_path, monkeypatch):
    p, cache, trained = {"artefact": "figure_1", "home": tmp_path, "saved": tmp_path}, {}, []
    monkeypatch.setattr(runs, "key", lambda spec, r: f"{spec}/{r}")
    monkeypatch.setattr(runs, "load", lambda spec, r: cache.get(spec))
    monkeypatch.setattr(runs, "train", trained.append)

    def taken(spec, x):
        return report.kept(p, [spec], lambda: {"x": np.array(x)})["x"].tolist()

    assert taken("a", [1, 2]) == taken("a", 0) == [1, 2] and trained == [[("a", 0)]]
    assert taken("b", 3) == 3 and len(trained) == 2  # the arrays of another run
    cache["b"] = {"scores": {}}
    assert taken("b", 4) == 4  # a run that is there decides


def test_panels_draw_the_replicates_and_the_paper_s_values(df):
    fig, axes = plt.subplots(1, 2, figsize=(6, 1))
    rows, printed = {"gl@esp": "GL", "pts@esp": "PTS"}, {"f1": {"gl@esp": 0.4, "pts@esp": 0.5}}
    plots.panels(axes[:1], df, rows, {"f1": "F1"}, printed, against="gl@esp")
    drawn = {tuple(np.round(np.array(line.get_xdata(), float), 6)) for line in axes[0].get_lines()}
    assert (10, 10) in drawn and (0, 0) in drawn  # replicates, in points
    assert any(np.allclose(x, (0, 10)) for x in drawn)  # the paper's own differences
    assert [tick.get_text() for tick in axes[0].get_yticklabels()] == ["GL", "PTS"]
    assert fig.get_figheight() > 2  # else names lie upon each other


def test_curves_draw_each_replicate_its_best_epoch_and_every_term_s_slope():
    known = {0: [0.1, 0.4, 0.2], 1: [0.3, 0.2, 0.1]}
    slopes = {"loss": [3, 2, 1], "weak": [2, 1, 1], "weak'": [4.0, 2.0, 1.0]}
    scores = {r: {"curves": slopes | {"validation": v}} for r, v in known.items()}
    best = {0: 2, 1: 1}
    every = {("gl", r): {"scores": {"best_epoch": best[r]} | s} for r, s in scores.items()}
    found = report.frame(every)
    assert report.best_epoch(found, "gl") == "2 of 3" and report.best_epoch(found, "pts") == ""
    _, axes = plt.subplots(1, 2)
    plots.curves(axes, found, {"gl": "GL"})
    drawn = [line.get_xydata() for line in axes[0].get_lines()]
    assert [line[:, 1].tolist() for line in drawn[:2]] == [*known.values()]
    assert np.allclose(drawn[2][:, 1], [0.2, 0.3, 0.15])
    assert drawn[3].tolist() == [[2, 0.4], [1, 0.3]]
    assert [(x.get_label(), [*x.get_ydata()]) for x in axes[1].get_lines()] == [("weak", [4, 2, 1])]


NAMES = ["Ba$$in", "cash_$5_$10", "<b>rain</b>", "back\\slash", "pi|pe", "*x*", "`a`", "_x_", "a&b"]


def test_names_are_shown_as_they_are(monkeypatch, tmp_path, capsys):
    (tmp_path / "dog_bark").mkdir()
    monkeypatch.setenv("BANK", str(tmp_path))
    report.style()
    text = report.markdown(pd.DataFrame({"class": NAMES, "b_w_1": "so"}))
    shown = MarkdownIt("commonmark").enable("table").render(text)
    cells = re.findall("<t[dh]>(.*?)</t[dh]>", shown)
    assert [html.unescape(cell) for cell in cells[2::2]] == NAMES
    assert set(cells[3::2]) == {"so"} and cells[1] == "b_w_1"
    fig, ax = plt.subplots()
    ax.set_yticks(range(len(NAMES)), map(report.drawn, NAMES))
    fig.canvas.draw()  # a formula would fail here
    texts = [tick.get_text() for tick in ax.get_yticklabels()]
    assert [text.replace(r"\$", "$") for text in texts] == NAMES and r"Ba\$\$in" in texts
    assert report.named("dog_bark") == "dog_bark", "a user's own class was renamed"
    monkeypatch.delenv("BANK")
    for name, shown in {"dog_bark": "Dog bark", "Dog": "Dog", "Male_speech": "Male speech"}.items():
        assert report.named(name) == shown
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("has", [True, False])
def test_a_font_that_has_a_name_is_found_or_it_is_spelt_out(monkeypatch, tmp_path, capsys, has):
    (tmp_path / "狗叫").mkdir()
    monkeypatch.setenv("BANK", str(tmp_path))
    monkeypatch.setattr(report, "UNDRAWN", set())
    real, path = report._has, font_manager.findfont("DejaVu Serif")
    listed = [SimpleNamespace(name="Serif that has all", fname=path)] * has
    monkeypatch.setattr(font_manager.fontManager, "ttflist", listed)
    monkeypatch.setattr(report, "_has", lambda font, c: font.fname == path or real(font, c))
    with monkeypatch.context() as quiet:
        quiet.setattr(report.sns, "set_theme", lambda *a, **b: None)
        report.style()
    said = capsys.readouterr().out
    assert ("Serif that has all" in plt.rcParams["font.family"]) == has
    assert report.drawn("狗叫!") == ("狗叫!" if has else r"\u72d7\u53eb!")
    assert said.count("\n") == (not has) and ("no font here has 叫狗" in said) == (not has)
    plt.rcParams["font.family"] = ["sans-serif"]
