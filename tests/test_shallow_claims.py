"""The shallow student's claims, tables and costs, on made-up scores whose effects are known."""

import itertools
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from wsaed.papers.comparisons import values

from wsaed import report, runs, verdicts
from wsaed.papers import comparisons, costs, shallow_student_claims
from wsaed.papers import shallow_student as paper
from wsaed.papers import shallow_student_figures as figures

# What the paper found, exaggerated: every claim holds
LEVELS = {
    "ensemble": 0.48,
    "single": 0.46,
    "ef_sw_em_cs": 0.50,
    "sw_em_cs": 0.44,
    "hf_sw_em_cs": 0.44,
    "sw_nm_ns": 0.30,
    "ef_sw_em_ss": 0.44,
    "ef_sw_em_ns": 0.38,
    "ef_sw_sm_cs": 0.44,
    "ef_sw_nm_cs": 0.38,
    "ef_w_em_cs": 0.30,
    "em_cs": 0.20,
    "labelled": 0.20,
}
METRICS = ("event_f1", "event_f1_tuned", "event_f1_validation", "segment_f1", "tagging_f1")
CORPUS = {"strong": 300, "weak": 300, "unlabelled": 2400}
LAPTOP = runs.parameters("laptop", "shallow_student")


def frame(changes=(), replicates=10, corpus=CORPUS, more=(), seed=0):
    """Scores of every system; ``changes``: (metric, system) -> what is added to its level.

    metric "event" stands for event F1 at 0.5 and at tuned thresholds; ``more``: further systems
    with their levels.
    """
    rng, changes, records = np.random.default_rng(seed), dict(changes), {}
    for r in range(replicates):
        shared = rng.normal(0, 0.01)  # the replicate's, all its systems alike
        for system, level in (LEVELS | dict(more)).items():
            scores = {}
            for metric in METRICS:
                value = level + shared + rng.normal(0, 0.003) + changes.get((metric, system), 0)
                if metric in ("event_f1", "event_f1_tuned"):
                    value += changes.get(("event", system), 0)
                scores[f"{metric}_median"] = value
                if metric != "event_f1_validation":
                    clips = value + rng.normal(0, 0.002, 20)
                    scores[f"{metric}_median_resampled"] = clips.tolist()
            scores["tagging_f1_raw"] = scores["tagging_f1_median"]
            if system.removesuffix("_again") not in ("ensemble", "single"):
                scores |= {"validation": [0.1, 0.3, 0.2], "best_epoch": 2, "steps": 100}
                scores["pool"] = [600, 600, 1080]
            records[system, r] = {"scores": scores, "spec": {"corpus": corpus}}
    return report.frame(records)


def judged(df, *only):
    """The claims by name, judged together, preconditions aside."""
    found = shallow_student_claims.claims(df, list(only) or None)
    return {c.name: c for c in verdicts.decide(found)}


# name -> (the system that changes, by how much, the link that tells)
OTHER_WAY = {
    "B1": ("sw_nm_ns", 0.3, "sw_em_cs (median) - sw_nm_ns (median)"),
    "B2": ("hf_sw_em_cs", 0.2, "ef_sw_em_cs (median) - hf_sw_em_cs (median)"),
    "B3": ("ensemble", 0.2, "ef_sw_em_cs (median) - ensemble (median)"),
    "B4": ("ef_sw_em_ns", 0.2, "ef_sw_em_ss (median) - ef_sw_em_ns (median)"),
    "B5": ("ef_sw_nm_cs", 0.2, "ef_sw_sm_cs (median) - ef_sw_nm_cs (median)"),
    "B6": ("em_cs", 0.2, "ef_w_em_cs (median) - em_cs (median)"),
    "B7": ("hf_sw_em_cs", -0.2, "hf_sw_em_cs (median) - sw_em_cs (median)"),
}


def test_what_the_paper_found_makes_every_claim_hold():
    found = judged(frame())
    assert list(found) == list(OTHER_WAY)
    assert {c.verdict for c in found.values()} == {"holds"}
    assert {c.note for c in found.values()} == {""}


@pytest.mark.parametrize("name", OTHER_WAY)
def test_the_other_way_round_contradicts_and_names_the_link(name):
    system, change, link = OTHER_WAY[name]
    found = judged(frame({("event", system): change}), name)[name]
    assert (found.verdict, found.note) == ("contradicted", link)


@pytest.mark.parametrize("name", OTHER_WAY)
def test_a_claim_that_tuned_thresholds_do_not_bear_out_holds_at_half_only(name):
    system, change, _ = OTHER_WAY[name]
    found = judged(frame({("event_f1_tuned", system): change}), name)[name]
    assert (found.verdict, found.note) == ("holds", "at 0.5 only")


@pytest.mark.parametrize("name", ["B1", "B4", "B5", "B6"])
def test_a_chain_falls_with_its_weakest_link(name):
    last, _, link = OTHER_WAY[name]
    upper = link.split(" (")[0]
    found = judged(frame({("event", last): LEVELS[upper] - LEVELS[last]}))[name]  # equal
    assert found.verdict == "undecided"
    assert [p.outcome for p in found.parts] == ["holds", "undecided"]


def test_reaching_the_teacher_and_changing_nothing_have_margins():
    for gap, verdict in ((-0.04, "holds"), (0.01, "holds"), (0.02, "undecided"), (0.04, "contra")):
        level = LEVELS["ef_sw_em_cs"] - LEVELS["ensemble"] + gap
        assert judged(frame({("event", "ensemble"): level}), "B3")["B3"].verdict.startswith(verdict)
    for gap, verdict in ((0.01, "holds"), (-0.01, "holds"), (0.04, "contra"), (-0.04, "contra")):
        found = judged(frame({("event", "hf_sw_em_cs"): gap}), "B7")["B7"]
        assert found.verdict.startswith(verdict), gap


def test_other_scores_stand_beside_and_decide_nothing():
    worse = {(m, "hf_sw_em_cs"): 0.3 for m in ("segment_f1", "event_f1_validation")}
    found = judged(frame(worse))["B2"]
    beside = {p.name.split(", ")[-1]: p for p in found.beside}
    assert found.verdict == "holds" and set(beside) == {"segment_f1", "event_f1_validation"}
    assert {p.outcome for p in beside.values()} == {"contradicted"}
    df = frame(worse)
    gain = df.loc["ef_sw_em_cs"] - df.loc["hf_sw_em_cs"].select_dtypes("float")
    expected = gain["event_f1_validation_median"].mean()
    assert beside["event_f1_validation"].estimate == pytest.approx(expected)
    table = report.beside_table([found])
    assert table["beside it"].str.rsplit(", ", n=1).str[-1].tolist() == [
        "event_f1_tuned",
        "segment_f1",
        "event_f1_validation",
    ]


def test_older_results_without_validation_scores_are_judged():
    df = frame().drop(columns="event_f1_validation_median")
    found = judged(df)
    assert {c.verdict for c in found.values()} == {"holds"}
    assert not [p for c in found.values() for p in c.beside if "validation" in p.name]


def test_second_teacher_difficulties_and_controls_stand_beside_where_they_were_run():
    levels = {"ef_sw_em_cs_again": 0.4, "sw_nm_ns_again": 0.3}
    levels |= {"easier_ef_sw_em_cs": 0.4, "easier_sw_nm_ns": 0.5}
    levels |= {"ef_sw_em_cs_mask_sum": 0.3, "ef_sw_sm_cs_mask_sum": 0.4}
    found = judged(frame(more=levels))
    beside = {p.name: p.outcome for p in found["B1"].beside}
    assert beside["ef_sw_em_cs_again (median) - sw_nm_ns_again (median)"] == "holds"
    assert beside["ef_sw_em_cs (median) - sw_nm_ns (median)"] == "holds"
    assert beside["easier_ef_sw_em_cs (median) - easier_sw_nm_ns (median)"] == "contradicted"
    assert not any("harder" in name for name in beside)
    assert found["B1"].note == comparisons.FLIPS
    name = "ef_sw_em_cs_mask_sum (median) - ef_sw_sm_cs_mask_sum (median), event_f1"
    assert {p.name: p.outcome for p in found["B5"].beside}[name] == "contradicted"
    assert found["B5"].verdict == "holds"
    singles = [p for p in found["B3"].beside if "single" in p.name]
    assert [p.outcome for p in singles] == ["holds"]
    assert not any("mask_sum" in p.name for c in judged(frame()).values() for p in c.beside)


def test_a_missing_system_is_named_and_only_its_claims_fall():
    found = judged(frame().drop("ef_sw_em_ss"))
    assert found["B4"].note == "these results have no ef_sw_em_ss"
    assert [c.verdict for c in found.values()].count("not run") == 1
    assert judged(frame().drop("single"))["B3"].verdict == "holds"
    df = frame()
    assert [c.name for c in shallow_student_claims.claims(df, ["B2", "B7"])] == ["B2", "B7"]


@pytest.mark.parametrize("count", [1, 3])
def test_below_five_replicates_there_is_no_verdict(count):
    assert {c.verdict for c in judged(frame(replicates=count)).values()} == {"estimate only"}


# Preconditions


def conditions(df):
    table, failed = shallow_student_claims.preconditions(df)
    return [met for met in table["met"] if met != ""], failed


def test_a_teacher_that_meets_its_preconditions_lets_every_claim_be_judged():
    assert conditions(frame()) == ([True] * 3, {})
    table = report.preconditions("shallow_student", frame())
    assert table["measured"].tolist() == pytest.approx([0.48, 0.28, 4.0, 0.30, 0.20], abs=0.02)
    assert {c.verdict for c in report.claims("shallow_student", frame())} == {"holds"}


@pytest.mark.parametrize(
    "changes, corpus, which, reason",
    [
        ({("event_f1", "ensemble"): -0.3}, CORPUS, [False, False, True], "off the scale"),
        ({("event_f1", "ensemble"): 0.1}, CORPUS, [False, True, True], "off the scale"),
        ({("event_f1", "labelled"): 0.2}, CORPUS, [True, False, True], "hardly beats"),
        ({}, CORPUS | {"weak": 400}, [True, True, False], "3.4 unlabelled clips"),
    ],
)
def test_without_a_good_teacher_or_enough_clips_nothing_is_testable(changes, corpus, which, reason):
    met, failed = conditions(frame(changes, corpus=corpus))
    assert met == which and failed.keys() == shallow_student_claims.CLAIMS.keys()
    assert all(reason in text for text in failed.values())
    verdict = {c.verdict for c in report.claims("shallow_student", frame(changes, corpus=corpus))}
    assert verdict == {"not testable here"}


def test_what_cannot_be_measured_is_not_asked():
    assert conditions(frame(corpus=CORPUS | {"weak": 0})) == ([True, True], {})
    assert conditions(frame().drop("labelled")) == ([True, True], {})
    table_2 = frame().drop(["ensemble", "labelled"])
    assert conditions(table_2) == ([True], {})


# The systems and the grid


def test_every_table_compares_systems_that_have_specs_and_names():
    systems = paper.systems(LAPTOP)
    for profile in ("laptop", "evidence"):
        wanted = {name for names in paper.artefacts(profile).values() for name in names}
        assert wanted <= set(systems)
    drawn = {name for names in paper.artefacts("laptop").values() for name in names}
    assert all(figures.title(name) for name in drawn)
    assert not set(paper.AGAIN) & set(paper.artefacts("evidence-esc10")["beside"])
    assert set(paper.PUBLISHED) | {"labelled"} == {"ensemble", "single", *paper.CONFIGURATIONS}


def test_a_grids_best_pair_goes_into_its_systems_spec(tmp_path, monkeypatch):
    rows = [("em_cs", 0.5, 2.0, 0.3), ("em_cs", 1.5, 0.75, 0.4), ("sw_em_cs", 2.0, 2.0, 0.1)]
    columns = ["system", "lambda_1", "lambda_2", "validation"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "grid.csv", index=False)
    best = {"em_cs": [1.5, 0.75], "sw_em_cs": [2.0, 2.0]}
    assert paper.lambdas({"grid": str(tmp_path / "grid.csv")}) == best
    # a relative path is one in the project, wherever a notebook's kernel runs
    monkeypatch.setattr("wsaed.code.ROOT", tmp_path)
    assert paper.lambdas({"grid": "grid.csv"}) == best
    with pytest.raises(ValueError, match=r"grid: other\.csv does not exist: make it, or leave"):
        paper.lambdas({"grid": "other.csv"})
    assert paper.lambdas({"grid": ""}) == {}


# Rows and pictures


def test_a_system_is_named_by_its_row_and_what_is_other_there():
    assert figures.title("ef_sw_em_cs") == "EF+SW+EM+CS"
    assert figures.title("ef_sw_em_cs_mask_sum") == "EF+SW+EM+CS, over the mask's sum"


def test_a_table_has_settings_and_the_papers_scores_beside_ours():
    df = frame(replicates=3, more={"ef_sw_em_cs_mask_sum": 0.3})
    order = ["ensemble", "ef_sw_em_cs", "labelled", "ef_sw_em_cs_mask_sum"]
    table = figures.table(df, order).set_index("system")
    row = table.loc["EF+SW+EM+CS"]
    assert row[list(figures.SETTINGS)].tolist() == ["easier", "strong+weak", "event", "custom"]
    printed = ["paper validation", "paper test"]
    assert row[printed].tolist() == ["0.407 ± 0.006", "0.413 ± 0.009"]
    assert row["event F1 at 0.5"] == report.score(df, "ef_sw_em_cs", "event_f1_median")
    assert row["validation event F1"].startswith(f"{df.loc['ef_sw_em_cs', VALIDATION].mean():.3f}")
    assert row["best epoch"] == "2 of 3" and table.loc["teacher, all", "best epoch"] == ""
    assert table.loc["teacher, all", printed].tolist() == ["0.453", "0.427"]
    assert table.loc["labels only", printed].tolist() == ["", ""]
    assert table.iloc[3]["mask"] == "event"
    assert "best epoch" not in figures.table(df, ["ensemble"]).columns  # nothing fills it


VALIDATION = "event_f1_validation_median"


def test_changes_are_of_the_replicates_that_both_have():
    df = frame(replicates=4).drop(("sw_nm_ns", 1))
    (found,) = figures.changes(df, ["em_cs"], "sw_nm_ns")
    a, b = (df.loc[name, "event_f1_median"] for name in ("em_cs", "sw_nm_ns"))
    assert found == pytest.approx([100 * (a[r] - b[r]) for r in (0, 2, 3)])
    both = shallow_student_claims.paired(df, "em_cs", "sw_nm_ns", "event_f1_validation")
    assert both.shape == (2, 3)
    assert both[0] == pytest.approx(df.loc["em_cs", VALIDATION].drop(1).tolist())


def test_a_printed_difference_has_the_interval_of_two_means():
    change, half = figures.printed_change("ef_sw_em_cs", "sw_nm_ns", 1)
    assert change == pytest.approx(7.8)
    assert half == pytest.approx(2.1009 * math.sqrt((0.9**2 + 0.9**2) / 10), abs=1e-3)
    assert figures.printed_change("ef_sw_em_cs", "ensemble", 0) == (pytest.approx(-4.6), 0)


def test_the_picture_holds_the_measured_and_the_printed_differences():
    order = ["ensemble", "ef_sw_em_cs", "sw_nm_ns", "labelled"]
    df = frame(replicates=3)
    fig, axes = plt.subplots(1, 3)
    figures.picture(axes, df, order, "sw_nm_ns")
    means, diamonds = (bars[0].get_xdata() for bars in axes[1].containers)
    assert means == pytest.approx([c.mean() for c in figures.changes(df, order, "sw_nm_ns")])
    assert diamonds == pytest.approx([9.2, 7.8])  # not of the row itself, nor of what isn't printed
    assert axes[2].containers[1][0].get_xdata() == pytest.approx([12.2, 7.6])
    assert np.rint(axes[2].containers[1][0].get_ydata()).tolist() == [0, 1]
    names = [label.get_text() for label in axes[0].get_yticklabels()]
    assert names == ["teacher, all", "EF+SW+EM+CS", "SW+NM+NS", "labels only"]
    plt.close(fig)


def test_learning_is_drawn_over_steps_with_a_dot_at_the_epoch_that_is_kept():
    fig, ax = plt.subplots()
    figures.learning(ax, frame(replicates=2), ["ef_sw_em_cs"], batch_size=16)
    run, best, _, _, mean = ax.lines
    assert run.get_xdata().tolist() == [38, 76, 100]  # 600 clips are 38 steps; cut at 100
    assert (best.get_xdata(), best.get_ydata()) == ([76], [0.3])
    assert mean.get_ydata().tolist() == [0.1, 0.3, 0.2] and mean.get_label() == "EF+SW+EM+CS"
    plt.close(fig)


# What a clip costs


class Counted:
    """Multiplies numbers and counts how often."""

    def __init__(self):
        self.count = 0

    def dot(self, weights, x):
        self.count += len(weights)
        return sum(float(w) * float(v) for w, v in zip(weights, x, strict=True))


def naive_lstm(lstm, x):
    """A stack of LSTM layers on one clip, number by number, and the products of its weights."""
    counted, h = Counted(), lstm.hidden_size
    for layer in range(lstm.num_layers):
        W, U, b, c = (p.tolist() for p in lstm._flat_weights[4 * layer : 4 * layer + 4])
        state, cell, out = [0.0] * h, [0.0] * h, []
        for step in x:
            gates = [
                counted.dot(W[k], step) + b[k] + counted.dot(U[k], state) + c[k]
                for k in range(4 * h)
            ]
            i, f, g, o = (gates[k * h : (k + 1) * h] for k in range(4))
            cell = [_sigmoid(f[k]) * cell[k] + _sigmoid(i[k]) * math.tanh(g[k]) for k in range(h)]
            state = [_sigmoid(o[k]) * math.tanh(cell[k]) for k in range(h)]
            out.append(state)
        x = out
    return x, counted.count


def _sigmoid(v):
    return 1 / (1 + math.exp(-v))


def test_an_lstm_costs_what_its_naive_transcription_multiplies():
    torch.manual_seed(0)
    net, x = torch.nn.LSTM(5, 4, 3, batch_first=True).eval(), torch.randn(1, 6, 5)
    out, count = naive_lstm(net, x[0].tolist())
    with torch.no_grad():
        assert torch.allclose(net(x)[0][0], torch.tensor(out), atol=1e-6)
    assert costs.multiply_adds(net, x) == count == 6 * 4 * 4 * ((5 + 4) + 2 * (4 + 4))
    assert costs.multiply_adds(net, x.expand(3, -1, -1)) == 3 * count
    both_ways = torch.nn.LSTM(5, 4, 2, batch_first=True, bidirectional=True).eval()
    assert costs.multiply_adds(both_ways, x) == 2 * 6 * 4 * 4 * ((5 + 4) + (8 + 4))


def test_an_lstm_costs_the_same_where_torch_takes_it_apart_and_counts_it_itself():
    net, x = torch.nn.LSTM(5, 4, 2, batch_first=True).eval(), torch.randn(1, 6, 5)
    fused, before = costs.multiply_adds(net, x), torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        assert costs.multiply_adds(net, x) == fused
    finally:
        torch._C._set_mkldnn_enabled(before)


def test_a_convolution_costs_what_a_naive_count_says():
    net, x, counted = torch.nn.Conv2d(2, 3, 5, padding=2), torch.randn(1, 2, 7, 6), Counted()
    padded, out = torch.nn.functional.pad(x[0], (2, 2, 2, 2)), torch.zeros(1, 3, 7, 6)
    for k, t, m in itertools.product(range(3), range(7), range(6)):
        seen = padded[:, t : t + 5, m : m + 5].flatten().tolist()
        out[0, k, t, m] = counted.dot(net.weight[k].flatten().tolist(), seen) + net.bias[k].item()
    with torch.no_grad():
        assert torch.allclose(net(x), out, atol=1e-5)
    assert costs.multiply_adds(net, x) == counted.count
    assert costs.multiply_adds(torch.nn.Linear(5, 4), torch.randn(2, 7, 5)) == 2 * 7 * 5 * 4


def test_the_papers_student_saves_work_and_not_weights_against_one_teacher():
    p = runs.parameters("paper", "shallow_student") | {"members": 4}
    table = figures.costs_table({"paper": p}, 10).set_index("machine")
    h, T = 256, 500
    lstm = 4 * h * (20 + h) + 2 * 4 * h * (h + h)
    assert table.loc["student", "parameters"] == lstm + 3 * 8 * h + 20 * (h + 1) == 1_342_484
    work = T * (lstm + 20 * h)
    assert table.loc["student", "million multiply-adds"] == pytest.approx(work / 1e6)
    # 600 frames of 64 mel bins, then a quarter of the bins a layer; 160 filters of 5, 5 and 3
    convolved = 600 * (64 * 25 * 160 + 16 * 25 * 160**2 + 4 * 9 * 160**2)
    pooled = 600 * 160 * 10 * 2  # frame scores, and the clip's features by their weights
    measured = table.loc["teacher, one", "million multiply-adds"]
    assert measured == pytest.approx((convolved + pooled) / 1e6)
    assert table.loc["teacher, one", "times the parameters"] == 0.65
    assert table.loc["teacher, one", "times the multiply-adds"] > 10
    as_the_student = table.loc["teacher, one, the student's frames", "million multiply-adds"]
    assert as_the_student == pytest.approx(500 / 600 * measured)
    whole = table.loc["teacher, all 4", ["parameters", "million multiply-adds"]]
    one = table.loc["teacher, one", ["parameters", "million multiply-adds"]]
    assert whole.tolist() == pytest.approx((4 * one).tolist())


def test_latency_is_a_median_with_one_thread():
    threads = []

    def call():
        threads.append(torch.get_num_threads())
        time.sleep(0.002)

    assert 0.002 <= costs.latency(call, seconds=0.02) < 0.01
    assert set(threads) == {1} and len(threads) > 3


def test_the_legend_says_how_large_the_student_is():
    times = {}
    for size in ("laptop", "evidence", "paper"):
        table = figures.costs_table({size: runs.parameters(size, "shallow_student")}, 10)
        times[size] = 1 / table.set_index("machine").loc["teacher, all 6", "times the parameters"]
    assert round(times["laptop"], 1) == round(times["evidence"], 1) == 1.6
    assert times["paper"] == pytest.approx(0.25, abs=0.01)
    legend = report.legend("shallow_student")
    assert "1.6 times the parameters" in legend and "a quarter of them" in legend


def test_the_whole_teachers_nets_take_turns():
    p = runs.parameters("smoke", "shallow_student")
    table = figures.latency_table({"smoke": p}, 10).set_index("machine")
    assert table.index.tolist() == ["student", "teacher, one", "teacher, all 2"]
    one, both = (table.loc[name, "nets, ms"] for name in ("teacher, one", "teacher, all 2"))
    assert both == pytest.approx(2 * one, abs=0.11) and (table.iloc[:, 1:] > 0).all(axis=None)


# The best of ten, thresholds, table 4


def test_the_best_of_n_normals():
    # order statistics that have closed forms
    assert figures.best_of(1) == pytest.approx(0, abs=1e-9)
    assert figures.best_of(2) == pytest.approx(1 / math.sqrt(math.pi))
    assert figures.best_of(3) == pytest.approx(1.5 / math.sqrt(math.pi))
    draws = np.random.default_rng(0).standard_normal((100_000, 10)).max(1)
    assert figures.best_of(10) == pytest.approx(draws.mean(), abs=0.01)


def test_the_quoted_run_is_what_picking_the_best_of_ten_is_worth():
    found = figures.picked(frame(replicates=5)).set_index("system")
    student = found.loc["EF+SW+EM+CS"]
    assert student["paper best"] == 0.42738
    assert student["paper best, expected"] == pytest.approx(0.413 + 1.5388 * 0.009, abs=1e-5)
    ours = values(frame(replicates=5), "ef_sw_em_cs", "event_f1_median")
    assert student["our best"] == ours.max() and student["our mean"] == ours.mean()
    expected = ours.mean() + 1.16296 * np.std(ours, ddof=1)  # of five
    assert student["our best, expected"] == pytest.approx(expected, abs=1e-5)
    alone = figures.picked(frame(replicates=1))
    assert not alone.isna().any(axis=None) and "our sd" not in alone


def test_what_tuning_takes_away_is_the_thresholds():
    changes = {("event_f1", "ef_sw_nm_cs"): -0.06}  # 0.18 behind at 0.5, 0.12 when tuned
    pairs = [("ef_sw_em_cs", "ef_sw_nm_cs"), ("em_cs", "ef_sw_nm_cs"), ("labelled", "em_cs")]
    first, second, third = figures.remaining(frame(changes), pairs).to_dict("records")
    assert first["difference"] == "EF+SW+EM+CS - EF+SW+NM+CS" and first["paper"] == "0.084"
    shown = [float(first[k].split()[0]) for k in ("at 0.5", "tuned", "what tuning takes away")]
    assert shown == pytest.approx([0.18, 0.12, 0.06], abs=0.005)
    assert float(first["share left"]) == pytest.approx(2 / 3, abs=0.03)
    assert second["share left"] == "" and second["at 0.5"].startswith("-0.1")
    assert third["paper"] == ""
    alone = figures.remaining(frame(changes, replicates=1), pairs)
    assert "share left" not in alone and alone.loc[0, "tuned"].startswith("0.1")


def test_one_printed_statistic_cannot_follow_from_its_means():
    misfits = {}
    for comparison, (a, b, printed) in paper.TABLE_4.items():
        (mean_a, sd_a), (mean_b, sd_b) = (paper.PUBLISHED[name][0] for name in (a, b))
        t, low, high = figures.recomputed(a, b)
        by_hand = (mean_a - mean_b) / math.sqrt((sd_a**2 + sd_b**2) / 10)
        assert t == pytest.approx(by_hand, abs=1e-9)
        # the largest that digits allow: the means apart, the deviations small
        apart, narrow = mean_a - mean_b + 0.001, math.hypot(sd_a - 0.0005, sd_b - 0.0005)
        assert high == pytest.approx(apart * math.sqrt(10) / narrow)
        assert low < t < high
        if not low - 0.0005 <= printed <= high + 0.0005:
            misfits[comparison] = (round(t, 2), round(high, 1))
    assert misfits == {"Custom SpecAugment vs none": (5.26, 6.3)}


PRINTED_MARKS = ["Y N N", "N N N", "Y N N", "Y Y N"] + ["Y Y Y"] * 8


def test_table_4_marks_as_printed_and_ours_by_both_tests():
    df = frame()
    table = figures.t_table(df)
    assert table["printed marks"].tolist() == PRINTED_MARKS
    assert table["fits"].tolist().count("no") == 1
    for row, (a, b, _) in zip(table.to_dict("records"), paper.TABLE_4.values(), strict=True):
        x, y = (values(df, name, VALIDATION) for name in (a, b))
        pooled = math.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 10)
        assert row["our t"] == pytest.approx((x.mean() - y.mean()) / pooled, abs=6e-4)
        d = x - y
        paired = d.mean() / (d.std(ddof=1) / math.sqrt(10))
        assert row["paired t"] == pytest.approx(paired, abs=6e-4)
        assert row["our change, points"] == pytest.approx(100 * d.mean(), abs=6e-4)
        beyond = [abs(paired) > stats.t.ppf(1 - a / 2, 9) for a in (0.2, 0.05, 0.01)]
        assert row["paired marks"] == " ".join("Y" if b else "N" for b in beyond)
        beyond = [abs(row["our t"]) > c for c in (1.330, 2.101, 2.878)]
        assert row["our marks"] == " ".join("Y" if b else "N" for b in beyond)
        test = values(df, a, "event_f1_median") - values(df, b, "event_f1_median")
        on_test = test.mean() / (test.std(ddof=1) / math.sqrt(10))
        assert row["paired t on test"] == pytest.approx(on_test, abs=6e-4)
    (t, p), (paired_t, paired_p) = figures.t_tests(df, "hf_sw_em_cs", "sw_em_cs")
    assert p == pytest.approx(2 * stats.t.sf(abs(t), 18), rel=1e-9)
    assert paired_p == pytest.approx(2 * stats.t.sf(abs(paired_t), 9), rel=1e-9)
    # the replicate's own ups and downs only hide a difference from the unpaired test
    assert (table["paired t"].abs() > table["our t"].abs()).sum() >= 10


@pytest.mark.filterwarnings("error")
def test_without_replicates_or_spread_there_is_no_t():
    alone = figures.t_table(frame(replicates=1))
    assert {"our t", "our marks", "paired t", "paired t on test"}.isdisjoint(alone)
    assert alone["our change, points"].notna().all() and len(alone) == 12
    df = frame(replicates=3)
    df[VALIDATION] = 0.25
    (t, p), (paired_t, paired_p) = figures.t_tests(df, "em_cs", "sw_em_cs")
    assert np.isnan([t, p, paired_t, paired_p]).all() and figures.marks(p) == ""
    df.loc["em_cs", VALIDATION] = 0.35  # a difference, always the same
    assert np.isnan(figures.t_tests(df, "em_cs", "sw_em_cs")).all()
    fig, axes = plt.subplots(1, 2)
    figures.t_picture(axes, frame(replicates=1), alone)
    plt.close(fig)


def test_the_picture_of_table_4_holds_the_paper_and_ours():
    df = frame(replicates=3)
    table = figures.t_table(df)
    fig, axes = plt.subplots(1, 2)
    figures.t_picture(axes, df, table)
    labels = {line.get_label(): line for line in axes[0].lines}
    assert labels["our t"].get_xdata() == pytest.approx(table["our t"].tolist())
    assert labels["paired t"].get_xdata() == pytest.approx(table["paired t"].tolist())
    assert axes[0].containers[0][0].get_xdata() == pytest.approx(table["printed t"].tolist())
    measured, printed = (bars[0].get_xdata() for bars in axes[1].containers)
    assert measured == pytest.approx(table["our change, points"].tolist(), abs=6e-4)
    assert printed[:4] == pytest.approx([0.4, 0.0, 0.4, 0.7])
    plt.close(fig)


def test_students_that_were_still_rising_are_marked():
    df = frame()
    curves = {system: list(np.linspace(0, 0.04, 16)) for system in df.index.unique("system")}
    curves["ef_w_em_cs"] = list(np.linspace(0, 0.4, 16))

    def notes():
        df["validation"] = [curves[system] for system, _ in df.index]
        return {name: c.note for name, c in judged(df).items()}

    found = notes()
    assert found["B6"] == shallow_student_claims.RISING and found["B1"] == found["B5"] == ""
    curves["ef_w_em_cs"] = [0.1]  # one epoch shows no slope, and breaks nothing
    assert notes()["B6"] == ""


def test_rankings_stand_at_the_steps_where_generations_end():
    run = {"pool": [160, 320, 480, 480], "difficulty": [[], []], "steps": 80}
    curves = [[0.0, 0.1, 0.2, 0.3], [0.0, 0.3, 0.2, 0.3]]
    scores = [run | {"validation": curve} for curve in curves]
    records = {("ef_sw_em_cs", r): {"scores": found} for r, found in enumerate(scores)}
    table = figures.rankings(report.frame(records), ["ef_sw_em_cs"], 1, 16)
    assert table["step"].tolist() == [10, 30] and table["of steps"].tolist() == [80, 80]
    assert table.iloc[:, -1].tolist() == [0.0, 0.2]
