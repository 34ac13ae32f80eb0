"""Rules and verdicts on data whose answer is known, and SeCoST's claims on made-up scores."""

import importlib
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from wsaed import claims_figures, report, runs, verdicts
from wsaed.papers import (
    comparisons,
    joint_at_aed,
    mixed_tsd,
    secost,
    secost_claims,
    shallow_student,
)
from wsaed.verdicts import Claim, Part


def part(outcome, p, rule="S", replicates=10, name="link"):
    return Part(name, rule, 0.0, 0.0, 0.0, p, outcome, replicates)


def claim(name, *parts):
    return Claim(name, "table 1", "a claim", list(parts))


def verdict_of(*claims, **testable):
    return {c.name: c.verdict for c in verdicts.decide(list(claims), testable)}


GAIN = 0.02 + 0.004 * np.array([-2, -1, 0, 1, 2, 0.5, -0.5])


def test_rule_s_is_the_paired_t_test():
    found = verdicts.better("gain", GAIN)
    t = GAIN.mean() / (GAIN.std(ddof=1) / np.sqrt(len(GAIN)))
    assert found.p == pytest.approx(2 * stats.t.sf(t, len(GAIN) - 1), rel=1e-9)
    assert found.outcome == "holds" and 0 < found.low < found.estimate < found.high
    mirror = verdicts.better("loss", -GAIN)
    assert mirror.outcome == "contradicted" and mirror.p == found.p
    assert verdicts.better("centred", GAIN - GAIN.mean()).outcome == "undecided"


def test_the_replicates_needed_are_the_first_that_reach_significance():
    d = 0.01 + 0.02 * stats.norm.ppf((np.arange(8) + 0.5) / 8)
    found = stats.ttest_1samp(d, 0).pvalue
    count, mean, sd = verdicts.replicates_needed(found, len(d)), d.mean(), d.std(ddof=1)

    def p(n):
        return 2 * stats.t.sf(mean / (sd / np.sqrt(n)), n - 1)

    assert p(count) < 0.05 <= p(count - 1)
    assert verdicts.better("link", d).needed == count
    assert verdicts.replicates_needed(1.0, len(d)) is None
    assert verdicts.replicates_needed(found, len(d), 0.001) > count


def test_clips_that_leave_the_sign_open_forbid_a_verdict():
    spread = np.random.default_rng(0).normal(0, 0.1, (len(GAIN), 50))
    open_sign = verdicts.better("gain", GAIN, GAIN[:, None] + spread)
    assert open_sign.p < 0.01 and open_sign.outcome == "undecided"
    shifted = verdicts.two_level_interval(GAIN, GAIN[:, None] + spread + 5)
    assert shifted == pytest.approx((open_sign.low, open_sign.high)), "only the spread may count"


def test_rule_e_is_two_one_sided_tests():
    d, delta = GAIN - 0.017, 0.01
    found = verdicts.equivalent("same", d, delta)
    error = d.std(ddof=1) / np.sqrt(len(d))
    p = max(stats.t.sf((d.mean() + s * delta) * s / error, len(d) - 1) for s in (1, -1))
    assert found.p == pytest.approx(p, rel=1e-9)
    assert found.outcome == "holds" and found.p < 0.05
    assert verdicts.equivalent("far", d + 0.05, delta).outcome == "contradicted"
    wide = verdicts.equivalent("wide", 5 * (d - d.mean()), delta)
    assert wide.outcome == "undecided" and wide.needed > len(d)
    low, high = stats.t.interval(0.9, len(d) - 1, d.mean(), error)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_rule_ni_asks_for_one_bound_only():
    assert verdicts.not_worse("better", GAIN, 0.01).outcome == "holds"
    assert verdicts.not_worse("worse", -GAIN, 0.01).outcome == "contradicted"
    assert verdicts.not_worse("near", GAIN - 0.03, 0.01).outcome == "undecided"
    error = stats.sem(GAIN)
    assert verdicts.not_worse("better", GAIN, 0.01).low == pytest.approx(
        GAIN.mean() - stats.t.ppf(0.95, len(GAIN) - 1) * error
    )


@pytest.mark.parametrize(
    "p, expected",
    [
        ([0.03, 0.04], ["holds", "holds"]),  # adjusted: 0.04, 0.04
        ([0.03, 0.06], ["undecided", "undecided"]),  # 0.06, 0.06
        ([0.01, 0.06], ["holds", "undecided"]),  # 0.02, 0.06
        ([0.01, 0.02, 0.9], ["holds", "holds", "undecided"]),  # 0.03, 0.03, 0.9
    ],
)
def test_benjamini_hochberg_goes_over_the_claims(p, expected):
    claims = [claim(f"A{i}", part("holds", q)) for i, q in enumerate(p)]
    if p[-1] > 0.5:
        claims[-1] = claim(claims[-1].name, part("undecided", p[-1]))
    assert list(verdict_of(*claims).values()) == expected


def test_the_correction_also_protects_from_a_false_contradiction():
    lone = claim("A1", part("contradicted", 0.03))
    assert verdict_of(lone) == {"A1": "contradicted"}
    assert verdict_of(lone, claim("A2", part("undecided", 0.9)))["A1"] == "undecided"


def test_a_chain_needs_every_link():
    links = [part("holds", 0.001), part("holds", 0.02)]
    assert verdict_of(claim("A1", *links)) == {"A1": "holds"}
    assert verdict_of(claim("A1", *links, part("undecided", 0.2))) == {"A1": "undecided"}
    assert verdicts.claim_p(claim("A1", *links)) == (0.02, "")


@pytest.mark.parametrize("p, expected", [(0.02, "contradicted"), (0.03, "undecided")])
def test_a_contradicted_link_must_survive_holm(p, expected):
    chain = claim("A1", part("undecided", 0.4), part("contradicted", p, name="the bad link"))
    found = verdicts.decide([chain])[0]
    assert found.verdict == expected  # Holm doubles the smaller of two
    assert (found.note == "the bad link") == (expected == "contradicted")
    assert ("Holm's" in found.note) == (expected == "undecided")


def test_a_link_that_fails_holm_says_how_many_replicates_would_do():
    bad = Part("bad", "S", -0.02, -0.04, -0.001, 0.03, "contradicted", 10)
    (found,) = verdicts.decide([claim("A1", bad, part("undecided", 0.4), part("holds", 1e-6))])
    t = stats.t.isf(0.015, 9)
    needed = verdicts.replicates_needed(0.03, 10, 0.05 / 2)  # the third has used up its factor
    assert found.note == (
        f"bad speaks against it, but not after Holm's correction ({needed} replicates would do)"
    )
    p = [2 * stats.t.sf(t * np.sqrt(n / 10), n - 1) for n in (needed - 1, needed)]
    assert p[1] < 0.025 <= p[0]


def test_an_open_claim_says_how_many_replicates_would_decide_it_and_which_way():
    up = verdicts.better("up", 0.3 * GAIN + 0.02 * stats.norm.ppf((np.arange(7) + 0.5) / 7))
    assert up.outcome == "undecided" and up.needed > 7
    (found,) = verdicts.decide([claim("A1", up)])
    assert found.note == f"the observed spread would need {up.needed} replicates"
    down = verdicts.better("down", -0.3 * GAIN + 0.02 * stats.norm.ppf((np.arange(7) + 0.5) / 7))
    nothing = part("undecided", 0.99)  # needs more than 1000, which must not hide the other
    (found,) = verdicts.decide([claim("A1", up, down, nothing)])
    needed = verdicts.replicates_needed(down.p, 7, 0.05 / (2 + (up.p >= down.p)))
    assert needed > down.needed
    assert found.note == f"the observed spread would need {needed} replicates, to contradict it"


@pytest.mark.parametrize("rule", [verdicts.equivalent, verdicts.not_worse])
def test_a_mean_beyond_its_margin_needs_replicates_to_contradict(rule):
    d = -0.012 + 0.02 * stats.norm.ppf((np.arange(7) + 0.5) / 7)
    found = rule("change", d, 0.01)
    assert found.outcome == "undecided" and 7 < found.needed < 1000
    (judged,) = verdicts.decide([claim("A1", found)])
    assert judged.note.endswith(f"{found.needed} replicates, to contradict it")
    more = rule("change", np.tile(d, -(-found.needed * 2 // 7)), 0.01)
    assert more.outcome == "contradicted"


def test_holm_stops_at_the_first_link_that_fails():
    # 0.02 * 3 fails, so the later 0.024, though 0.024 * 2 < 0.05 on its own, must not count
    links = [part("undecided", 0.02), part("contradicted", 0.024), part("undecided", 0.9)]
    assert verdict_of(claim("A1", *links)) == {"A1": "undecided"}


def test_a_contradicted_equivalence_is_judged_by_its_own_tail():
    far = verdicts.equivalent("far", GAIN + 0.05, 0.01)
    assert far.p > 0.99
    assert verdict_of(claim("A1", far)) == {"A1": "contradicted"}


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("testable", [{}, {"A1": "the base is too weak"}])
def test_below_five_replicates_there_is_never_a_verdict(count, testable):
    d = 0.5 + 1e-3 * np.arange(count)
    parts = [verdicts.better("s", d), verdicts.equivalent("e", d - 0.5, 0.01)]
    parts.append(verdicts.not_worse("n", d, 0.01))
    for one in parts:
        found = verdicts.decide([claim("A1", one)], testable)[0]
        assert found.verdict == "estimate only" and "fewer than 5" in found.note
        text = report.claims_table([found])["what was measured"][0]
        assert not any(word in text for word in ("holds", "contradicted", "undecided"))


def test_a_failed_precondition_leaves_the_correction():
    good, hopeless = claim("A1", part("holds", 0.03)), claim("A2", part("undecided", 0.9))
    assert verdict_of(good, hopeless)["A1"] == "undecided"
    found = verdicts.decide([good, hopeless], {"A2": "the base is too weak"})
    assert [c.verdict for c in found] == ["holds", "not testable here"]
    assert found[1].note == "the base is too weak"


def test_a_claim_without_results_is_not_run():
    assert verdict_of(claim("A1")) == {"A1": "not run"}


def simulated(rng, mean, replicates=10):
    """Differences with replicate and clip noise, and resamples that show the latter alone."""
    clips = rng.normal(0, 0.01, replicates)
    d = mean + rng.normal(0, 0.02, replicates) + clips
    return d, d[:, None] + rng.normal(0, 0.01, (replicates, 50))


def test_the_two_level_interval_covers_and_rule_s_keeps_its_level():
    rng, trials, covered, wrong = np.random.default_rng(1), 400, 0, 0
    for _ in range(trials):
        found = verdicts.better("null", *simulated(rng, 0.0))
        covered += found.low <= 0 <= found.high
        wrong += found.outcome != "undecided"
    assert 0.90 <= covered / trials <= 0.995
    assert wrong / trials <= 0.07  # 0.05 and two standard errors
    power = [verdicts.better("gain", *simulated(rng, 0.05)).outcome for _ in range(50)]
    assert power.count("holds") >= 48


CLASSES = 60


def frame(seed, lift, replicates=10, slope=0.0):
    """Scores of base, a second base and a cascade that adds ``lift(true AP of the base)``."""
    rng = np.random.default_rng(seed)
    true = rng.uniform(0.1, 0.7, CLASSES)
    records = {}
    for r in range(replicates):
        common = rng.normal(0, 0.03, CLASSES)  # the replicate's corpus, shared by its systems
        for system in ("base", "base_again", "variable_4"):
            ap = true + common + rng.normal(0, 0.06, CLASSES)
            ap = np.clip(ap + (lift(true) if system == "variable_4" else 0), 0.001, 1)
            records[system, r] = {
                "ap_noisy": ap.tolist(),
                "map_noisy": float(ap.mean()),
                "map_noisy_resampled": [float(ap.mean())] * 5,
            }
        for level in secost_claims.NOISE_LEVELS:
            for s in (0, 1):
                value = 0.4 - 0.1 * level + s * (0.01 + slope * level + 1e-4 * rng.normal())
                records[f"noise_{level:g}_{s}", r] = {
                    "map_noisy": value,
                    "map_noisy_resampled": [value] * 5,
                }
    return report.frame({key: {"scores": scores} for key, scores in records.items()})


def outcome(df, name):
    return [p.outcome for p in secost_claims.claims(df, [name])[0].parts]


def test_pure_retraining_gives_a9_no_verdict():
    found = [outcome(frame(seed, lambda ap: 0 * ap), "A9")[0] for seed in range(20)]
    assert found.count("holds") <= 2
    # what the paper's own sorting would have shown of the same data: a strong fall
    df = frame(0, lambda ap: 0 * ap)
    base, gain = secost_claims.class_gains(df, "base_again")
    naive = np.mean([stats.spearmanr(b, g)[0] for b, g in zip(base, gain, strict=True)])
    assert naive < -0.15


def test_a_gain_of_the_poor_classes_is_found_by_a9_and_a8():
    df = frame(3, lambda ap: 0.15 * (1 - ap))
    assert outcome(df, "A9") == ["holds"]
    assert outcome(df, "A8") == ["holds", "holds"]
    assert outcome(frame(3, lambda ap: 0 * ap), "A8")[0] == "contradicted"
    assert outcome(frame(3, lambda ap: 0.15 * ap), "A9") == ["contradicted"]
    # the same gain of every class is a larger share of a poor one's AP
    (level,) = secost_claims.claims(frame(3, lambda ap: 0.05 + 0 * ap), ["A9"])
    (relative,) = level.beside
    assert relative.name.endswith("relative gain") and relative.outcome == "holds"
    assert relative.estimate > 3 * level.parts[0].estimate


def test_a9s_spearman_is_scipys():
    x, y = np.random.default_rng(0).normal(size=(2, 3, 20))
    found = secost_claims._spearman(x, y, np.arange(20)[None])
    expected = np.mean([stats.spearmanr(a, b)[0] for a, b in zip(x, y, strict=True)])
    assert found == pytest.approx([expected])


def test_the_bins_of_figure_4_show_no_gain_of_a_retraining():
    edges = np.array([0, 0.2, 0.4, 1.0])
    df = frame(5, lambda ap: 0.1 * ap)
    placebo, counts = secost_claims.gain_by_bin(df, "base_again", edges)
    assert (counts.sum(1) == CLASSES).all()
    assert np.abs(placebo.mean(0)).max() < 0.06
    cascade = secost_claims.gain_by_bin(df, "variable_4", edges)[0].mean(0)
    assert cascade == pytest.approx([0.1] * 3, abs=0.06)


def test_class_counts_and_sign_test_by_hand():
    base, after = [0.1, 0.2, 0.5, None, 0.4, 0.5], [0.2, 0.19, 0.4, 0.3, 0.6, 0.55]
    scores = {"base": base, "variable_4": after, "base_again": base}
    records = {(s, 0): {"scores": {"ap_noisy": ap}} for s, ap in scores.items()}
    df = report.frame(records)
    assert secost_claims.class_counts(df, "variable_4") == {
        "classes": 5,
        "improve": 3,
        "gain over 20 %": 2,
        "lose over 10 %": 1,
    }
    found = secost_claims.claims(df, ["A14"])[0]
    assert found.parts[0].estimate == pytest.approx(2 / 3 - 0.5)
    assert found.parts[0].p == pytest.approx(stats.binomtest(2, 3).pvalue)
    assert found.beside[0].p == 1.0


def test_a15_measures_the_slope_that_was_put_in():
    df = frame(0, lambda ap: 0 * ap, slope=0.02)
    found = secost_claims.claims(df, ["A15"])[0].parts[0]
    assert found.estimate == pytest.approx(0.02, abs=5e-4) and found.outcome == "holds"
    flat = secost_claims.claims(frame(0, lambda ap: 0 * ap), ["A15"])[0].parts[0]
    assert abs(flat.estimate) < 5e-4


def test_claims_ask_only_for_the_systems_they_compare():
    df = frame(0, lambda ap: 0 * ap, replicates=5)
    found = {c.name: c for c in verdicts.decide(secost_claims.claims(df))}
    assert len(found) == 15 == len(secost_claims.CLAIMS)
    assert found["A9"].verdict == "undecided"
    assert found["A2"].verdict == "not run" and "fixed_2" in found["A2"].note


def test_differences_pair_only_the_replicates_of_both():
    records = {("a", r): {"scores": {"m": r + 1.0, "m_resampled": [r]}} for r in range(3)}
    records |= {("b", r): {"scores": {"m": 1.0, "m_resampled": [0]}} for r in range(1, 3)}
    d, clips = secost_claims.difference(report.frame(records), "a", "b", "m")
    assert d.tolist() == [1, 2] and clips.tolist() == [[1], [2]]


def test_preconditions_are_the_bases_alone():
    def scored(score, auc):
        scores = {"map_noisy": score, "train_missing_auc": auc}
        return report.frame({("base", r): {"scores": scores} for r in range(5)})

    assert secost_claims.preconditions(scored(0.45, 0.8))[1] == {}
    weak = secost_claims.preconditions(scored(0.45, 0.6))[1]
    assert "A1" in weak and "A11" not in weak and "0.60" in weak["A1"]
    assert "0.20" in secost_claims.preconditions(scored(0.2, 0.8))[1]["A1"]
    both = secost_claims.preconditions(scored(0.2, 0.6))[1]["A1"]
    assert "0.20" in both and "0.60" in both
    unknown = scored(0.45, 0.8).drop(columns="train_missing_auc")
    table, failed = secost_claims.preconditions(unknown)
    assert len(table) == 1 and not failed


def a1(replicates=6, **means):
    """A1 where each system scores its mean but for a little noise."""
    means = {"base": 0.4, "base_long": 0.4, "variable_4": 0.5} | means
    noise = np.random.default_rng(0).normal(0, 0.004, (len(means), replicates))
    df = report.frame(
        {
            (system, r): {"scores": {"map_noisy": m + e, "map_noisy_resampled": [0.0] * 5}}
            for (system, m), rows in zip(means.items(), noise, strict=True)
            for r, e in enumerate(rows)
        }
    )
    return verdicts.decide(secost_claims.claims(df, ["A1"]))[0]


def test_a1_says_where_the_difficulty_turns_its_sign():
    levels = {"easier_0": 0.5, "easier_4": 0.6, "harder_0": 0.3, "harder_4": 0.2}

    found = a1(**levels)
    assert (found.verdict, found.note) == ("holds", comparisons.FLIPS)
    names = ["variable_4 - base", "easier_4 - easier_0", "harder_4 - harder_0"]
    assert [p.name for p in found.beside[-3:]] == names
    assert report.beside_table([found])["beside it"].tolist() == [
        "variable_4 - base_long",
        *names[1:],
    ]
    assert a1(**levels | {"harder_4": 0.4}).note == ""
    open_one = a1(**levels | {"variable_4": 0.4})
    assert open_one.note.endswith(comparisons.FLIPS), "an open verdict says so, too"


def test_a1_says_where_longer_training_does_not_bear_it_out():
    levels = {"longer_base": 0.5, "longer_variable_4": 0.4}
    found = a1(**levels)
    note = "after longer training variable_4 - base: contradicted, holds before"
    assert found.verdict == "holds" and found.note.startswith(f"{note}; training was unfinished")
    beside = {p.name: p.outcome for p in found.beside}
    assert beside["longer_variable_4 - longer_base"] == "contradicted"
    assert "after longer" not in a1(**levels | {"longer_variable_4": 0.6}).note
    assert "longer" not in a1(replicates=4, **levels).note
    assert claims_figures.turns(found) and not claims_figures.turns(a1())


def test_a1_says_where_its_base_was_not_trained_to_the_end():
    assert a1(base_long=0.45).note.startswith("training was unfinished: five times as much adds")
    both = a1(base_long=0.45, longer_base=0.46, longer_variable_4=0.6)
    assert both.note.startswith("training was unfinished: three times as much adds")
    assert "unfinished" not in a1(base_long=0.405).note, "less than the margin"
    assert "unfinished" not in a1(base_long=0.45, replicates=4).note


def test_localising_worse_than_energy_alone_is_told_apart_from_not_localising():
    def a11(model, energy):
        rng, names = np.random.default_rng(0), ("model", "energy")
        scores = [
            {
                f"frame_auc_{k}": v + rng.normal(0, 0.004)
                for k, v in zip(names, (model, energy), strict=True)
            }
            for _ in range(6)
        ]
        df = report.frame({("base_10ms", r): {"scores": s} for r, s in enumerate(scores)})
        return verdicts.decide(secost_claims.claims(df, ["A11"]))[0]

    found = a11(0.85, 0.9)
    assert found.verdict == "contradicted" and "it does localise, above chance" in found.note
    assert a11(0.4, 0.9).note == "frame AUC - energy's"
    assert (a11(0.9, 0.85).verdict, a11(0.9, 0.85).note) == ("holds", "")


def test_an_open_claim_says_what_tuned_thresholds_give():
    def note(outcome):
        open_one = claim("A1", part("undecided", 0.3))
        tuned = replace(open_one, tuned=[part(outcome, 1e-4)])
        return verdicts.decide([tuned])[0].note

    assert note("holds").endswith("; holds at tuned thresholds")
    assert note("contradicted").endswith("; contradicted at tuned thresholds")
    assert "tuned" not in note("undecided")


def test_an_untestable_claim_says_what_tuned_thresholds_and_remarks_do():
    one = claim("A1", part("holds", 1e-4))
    one = replace(one, tuned=[part("contradicted", 1e-4)], remarks=["a remark"])
    (found,) = verdicts.decide([one], {"A1": "the base is too good"})
    assert found.verdict == verdicts.UNTESTABLE
    assert found.note == "the base is too good; contradicted at tuned thresholds; a remark"


def test_longer_training_is_that_of_every_stage():
    p = runs.parameters("evidence", "secost")
    systems = secost.systems(p)
    found = {name: systems[f"longer_{name}"] for name in secost.LONGER}

    def epochs(spec):
        return {spec["budget"]["epochs"]}.union(*map(epochs, spec.get("teachers", [])))

    assert all(epochs(spec) == {3 * p["epochs"]} for spec in found.values())
    assert report.epochs(found["variable_4"]) == 3 * report.epochs(systems["variable_4"])
    stages = found["variable_4"]
    while "teachers" in stages:
        (stages,) = stages["teachers"]
    assert stages == found["base"], "stage 0 of the cascade is the base beside it"


@pytest.mark.parametrize(
    ("paper", "system"),
    [
        (secost, "easier_4"),
        (secost, "longer_variable_4"),
        (joint_at_aed, "longer_gl"),
        (joint_at_aed, "harder_gl"),
        (shallow_student, "easier_sw_nm_ns"),
        (shallow_student, "sw_nm_ns_again"),
        (mixed_tsd, "harder_ws"),
    ],
)
def test_what_decides_nothing_gets_no_more_replicates_than_a_verdict_needs(paper, system):
    counts = [paper.replicates(system, {}, wanted) for wanted in (1, 5, 10)]
    assert counts == [1, verdicts.MINIMUM, verdicts.MINIMUM]


def test_the_correction_goes_over_the_claims_of_all_papers(tmp_path, monkeypatch):
    papers = {"secost": [claim("A1", part("holds", 0.04))]}
    papers["joint_at_aed"] = [claim(f"C{k}", part("undecided", 0.9)) for k in range(5)]
    for paper in report.TITLES:
        module = importlib.import_module(f"wsaed.papers.{paper}_claims")
        found = papers.get(paper, [])
        monkeypatch.setattr(module, "claims", lambda df, found=found: found)
        monkeypatch.setattr(module, "preconditions", lambda df: (None, {}))
    df = frame(0, lambda ap: 0 * ap)
    alone = report.claims("secost", df)
    assert [c.verdict for c in alone] == ["holds"]
    df.attrs["home"] = tmp_path
    (among,) = report.claims("secost", df)
    assert among.verdict == "undecided" and "p = 0.24" in among.note
    every = report.judged(dict.fromkeys(report.TITLES, df))
    assert every["secost"] == [among] and [c.name for c in every["joint_at_aed"]][-1] == "C4"


def test_a_replicate_that_one_system_lacks_takes_no_part():
    whole = frame(0, lambda ap: 0 * ap, replicates=6)
    short = whole.drop([("base_again", 5)])
    for name in ("A8", "A9"):
        (found,) = secost_claims.claims(short, [name])
        (expected,) = secost_claims.claims(whole.drop(5, level="replicate"), [name])
        assert found.parts == expected.parts and found.parts[0].replicates == 5
        (missing,) = secost_claims.claims(whole.drop("base_again"), [name])
        assert missing.note == "these results have no base_again"
