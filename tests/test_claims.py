"""The claims on made-up worlds: every rule against a naive transcription, every claim both ways."""

import re
from dataclasses import astuple, replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from conftest import CASES
from scipy import stats

from wsaed import files, pages, papers
from wsaed.claims import claims, picture, rules, statistics
from wsaed.claims.claims import PAPERS

DELTA = 0.02
REGIONS = {"S": (0, np.inf), "E": (-DELTA, DELTA), "NI": (-DELTA, np.inf)}  # by rule


# Made-up records


def frame(levels, replicates=8, noise=0.003, seed=0, **attrs):
    """Scores whose levels are known: {(system, column): a number, or one a class}.

    A replicate's corpus moves all its scores alike; a number has 20 resamples of clips.
    """
    rng, rows = np.random.default_rng(seed), {}
    for r in range(replicates):
        corpus = rng.normal(0, 0.01)
        for (system, column), level in levels.items():
            cells = rows.setdefault((system, r), {})
            value = level + corpus + rng.normal(0, noise, np.shape(level))
            cells[column] = value.tolist()
            if not np.shape(level):
                cells[f"{column}_resampled"] = (value + rng.normal(0, 0.002, 20)).tolist()
    df = pd.DataFrame.from_dict(rows, orient="index")
    df.index = pd.MultiIndex.from_tuples(rows, names=["system", "replicate"])
    df.attrs |= attrs
    return df.sort_index()


def given(text):
    """Levels in writing: "base@map_clean=0.4 ..."."""
    pairs = (one.split("=") for one in text.split())
    return {tuple(side.split("@")): float(level) for side, level in pairs}


SCORE = re.compile(r"[a-z]\w*(?:\.\d\w*)*(?:@\w+)?")  # of a contrast: a system, and its column


def naive(contrast, known, column):
    """A contrast by Python's own arithmetic; known: (system, column) -> score."""

    def value(score):
        return repr(float(known[sides([score[0]], column)[0]]))

    return eval(SCORE.sub(value, contrast))


def links(row):
    """[(rule, name, contrast or statistic)] of a claim, or of what stands beside it."""
    every = [(rule, one) for rule in (*REGIONS, "by") for one in row.get(rule, [])]
    named = [(rule, one if isinstance(one, dict) else {one: one}) for rule, one in every]
    return [(rule, *item) for rule, one in named for item in one.items()]


def column_of(paper, name):
    return PAPERS[paper]["claims"][name].get("column", PAPERS[paper]["column"])


def sides(texts, column):
    """All the (system, column) that contrasts are made of."""
    found = {tuple(score.split("@")) for text in texts for score in SCORE.findall(text)}
    return sorted((system, *own, column)[:2] for system, *own in found)


def solved(targets, column):
    """Levels near 0.4 at which each contrast comes to its target, or as near as can be."""
    unknown = sides(targets, column)
    zero = dict.fromkeys(unknown, 0.0)
    constants = np.array([naive(text, zero, column) for text in targets])
    weights = [[naive(t, zero | {s: 1.0}, column) for s in unknown] for t in targets]
    weights = np.array(weights) - constants[:, None]
    missing = np.array(list(targets.values())) - constants - 0.4 * weights.sum(1)
    return dict(zip(unknown, 0.4 + np.linalg.lstsq(weights, missing)[0], strict=True))


AP = np.random.default_rng(7).uniform(0.2, 0.6, 60)
SECONDS = statistics.durations()
RANKS = 0.01 * stats.rankdata(SECONDS)
SHARE = given("ws@event_f1=0.3 ss@event_f1=0.5 a_f_3@event_f1=0.4")


def by_statistic(name, sign):
    """Levels at which a claim on a statistic comes out the paper's way, or the other one."""
    if name == "T2":
        return SHARE | {("b_f_3", "event_f1"): 0.4 + 0.06 * sign}
    if name == "J7":
        columns = enumerate(("event_f1_average_class", "event_f1_esp_class"))
        return {("tfd_afl", c): 0.4 - k * sign * RANKS for k, c in columns}
    lift = {"S8": 0.05 * sign, "S9": AP * (0.1 - 0.2 * sign * AP), "S14": 0.4 * sign * AP}
    every = {"base": AP, "base_again": AP, "variable_4": AP + lift[name]}
    return {(system, "ap_noisy"): level for system, level in every.items()}


def world(paper, name, turned="", tuned=""):
    """Levels of what a claim compares: as the paper has it, or with one link turned round.

    tuned: the link that tuned thresholds alone turn round.
    """
    row, both = PAPERS[paper]["claims"][name], []
    old, new = PAPERS[paper].get("tuned", ("none", "none"))
    for link in (turned, tuned or turned):
        levels, targets = {}, {}
        for rule, key, text in links(row):
            way = -1 if key == link else 1
            if rule == "by":
                levels = by_statistic(name, way)
            else:
                targets[text] = 0.05 - 0.05 * way if rule == "E" else 0.1 * way
        both.append(levels | (solved(targets, column_of(paper, name)) if targets else {}))
    again = {(s, c.replace(old, new, 1)): v for (s, c), v in both[1].items() if c.startswith(old)}
    return both[0] | again


def judged(paper, df, name, failed=""):
    """One claim of a paper, judged alone; ``failed``: of a precondition.

    Its note is without what it must end in where only the real corpus decides.
    """
    mine = [c for c in claims.claims(paper, df) if c.name == name]
    (found,) = rules.decide(mine, {name: failed} if failed else {})
    real = f"only the real corpus decides: {found.only_real}" if found.only_real else ""
    assert found.note.endswith(real) or found.verdict in ("estimate only", "not run")
    return replace(found, note=found.note.removesuffix(real).removesuffix("; "))


EVERY = [(paper, name) for paper, spec in PAPERS.items() for name in spec["claims"]]
LINKS = [(p, n, key) for p, n in EVERY for _, key, _ in links(PAPERS[p]["claims"][n])]
OTHERS = re.compile("@(segment|tagging|pseudo)")  # scores that have no thresholds to tune
TUNED = [one for one in LINKS if "tuned" in PAPERS[one[0]] and not OTHERS.search(one[2])]


# Every claim of the table, both ways


@pytest.mark.parametrize("paper, name", EVERY)
def test_what_the_paper_found_reproduces_and_few_replicates_or_gaps_decide_nothing(paper, name):
    levels = world(paper, name)
    found = judged(paper, frame(levels), name)
    assert (found.verdict, found.note) == ("reproduced", "")
    for count in (1, 4):
        few = judged(paper, frame(levels, count), name, "too weak")
        assert (few.verdict, few.note) == ("estimate only", "fewer than 5 replicates; too weak")
    system = next(s for s, _ in levels if s != "base_again")
    lacks = judged(paper, frame(levels | given("x@y=1")).drop(system), name)
    assert (lacks.verdict, lacks.note) == ("not run", f"these results have no {system}")


def test_systems_that_are_not_trained_out_or_nobody_measured_leave_no_verdict():
    df = frame(world("secost", "S2") | world("secost", "S7"))
    df.attrs["gains"] = {"base": 0.004, "fixed_2": 0.0101, "alone_1": np.nan, "smoothed": 0.3}
    asked, reasons = claims.preconditions("secost", df)
    assert reasons["S2"] == "not trained out: fixed_2 (+0.010)"
    assert "alone_1 (+nan)" in reasons["S7"]
    assert asked.iloc[-1].tolist()[1:] == [2, "0", "no"]  # `smoothed` decides no claim
    assert "S11" not in reasons and "S1" not in reasons
    said = {c.name: c.verdict for c in claims.judged({"secost": df})["secost"]}
    assert said["S2"] == said["S7"] == "not testable here"
    df.attrs["gains"] = {"base": 0.004, "fixed_2": 0.0099}
    asked, reasons = claims.preconditions("secost", df)
    assert "S2" not in reasons and asked.iloc[-1].met == "yes"
    assert claims.compared("secost", "S2", "S7")[:3] == ["fixed_2", "base", "alone_1"]
    df["steps"] = 9
    asked, reasons = claims.preconditions("secost", df)  # partly measured: no reason, no "yes"
    assert "S7" not in reasons and asked.iloc[-1].tolist()[1:] == [0, "0", ""]
    assert "alone_1" in claims.unmeasured("secost", df)
    assert claims.compared("mixed_tsd", "T2") == ["ss", "ws", "b_f_3"]


def test_a_claim_that_only_the_real_corpus_decides_says_so(monkeypatch):
    row = PAPERS["secost"]["claims"]["S2"] | {"only_real": "527 classes"}
    monkeypatch.setitem(PAPERS["secost"]["claims"], "S2", row)
    (found,) = rules.decide([claims.claims("secost", frame(world("secost", "S2")))[1]])
    told = "reproduced", "only the real corpus decides: 527 classes"
    assert (found.name, found.verdict, found.note) == ("S2", *told)


@pytest.mark.parametrize("paper, name, link", LINKS)
def test_a_link_turned_round_shows_the_opposite_and_is_named(paper, name, link):
    df = frame(world(paper, name, link))
    found = judged(paper, df, name)
    named, _, size = found.note.rpartition(": ")
    assert found.verdict == "opposite" and (named == link or name == "T1")
    assert ("contradicted", size) in {(p.outcome, p.size()) for p in found.parts if p.name == named}
    known = [dict(df.xs(r, level="replicate").stack()) for r in range(8)]
    every = links(PAPERS[paper]["claims"][name])
    for part, (rule, key, text) in zip(found.parts, every, strict=True):
        assert part.name == key
        if rule != "by":
            d = [naive(text, one, column_of(paper, name)) for one in known]
            assert (part.rule, part.estimate) == (rule, pytest.approx(np.mean(d), abs=1e-12))


@pytest.mark.parametrize("paper, name, link", TUNED)
def test_a_verdict_that_tuned_thresholds_do_not_bear_out_is_at_half_only(paper, name, link):
    found = judged(paper, frame(world(paper, name, tuned=link)), name)
    note = "at 0.5 only, opposite at tuned thresholds"
    assert (found.verdict, found.note) == ("reproduced", note)
    effect, said = pages.outcome(found)
    assert said.startswith("reproduced †") and "tuned" in effect
    assert any(part.name.endswith(", event_f1_tuned") for part in found.tuned)


def test_other_scores_are_told_where_they_decide_otherwise():
    parts = [
        rules.Part(name, "S", 0.1, 0.0, 0.2, 0.01, outcome, 5)
        for name, outcome in {"a": "holds", "a, x": "contradicted", "a, y": "undecided"}.items()
    ]
    claim = rules.Claim("S1", "", parts[:1], beside=parts[1:], verdict="reproduced")
    assert re.findall("[xy]", pages.besides(claim)) == ["x"]
    assert pages.besides(claim, lost=["x"]) == ""  # by x one of the two lies on the floor
    assert pages.besides(replace(claim, verdict=rules.UNTESTABLE)) == ""


def test_only_scores_with_thresholds_are_tuned():
    without = {name for p, name in EVERY if "tuned" in PAPERS[p]} - {name for _, name, _ in TUNED}
    assert without == {"J9", "T8", "T11"} and len(EVERY) == 43
    found = judged("joint_at_aed", frame(world("joint_at_aed", "J8")), "J8")
    assert [part in found.parts for part in found.tuned] == [False, True, True]


def test_a_missing_score_leaves_an_estimate_and_missing_resamples_the_replicates():
    df = frame(world("shallow_student", "L2"))
    df.loc[("ef_sw_em_cs", 3), "event_f1_median_resampled"] = np.nan
    both = df["event_f1_median"].unstack("system")
    d = both["ef_sw_em_cs"] - both["hf_sw_em_cs"]
    alone = rules.tested("S", "ef_sw_em_cs - hf_sw_em_cs", d)
    assert judged("shallow_student", df, "L2").parts == [alone]
    df.loc[("ef_sw_em_cs", 3), "event_f1_median"] = np.nan
    found = judged("shallow_student", df, "L2")
    assert (found.verdict, found.note) == ("estimate only", "a score is missing")


def test_a_difference_is_of_the_replicates_that_all_systems_have():
    df = frame(given("a@m=0.2 b@m=0.1 c@m=0"), 4).drop([("a", 0), ("c", 2)])
    d, clips = statistics.measured(df, statistics.terms("2*a - b - c + 0.5", "m"))
    a, b, c = (df["m"][s].reindex([1, 3]).to_numpy() for s in "abc")
    assert d == pytest.approx(2 * a - b - c + 0.5) and clips.shape == (2, 20)
    df.attrs["corpus"] = {"name": "desed"}  # whose test clips are all replicates'
    shared = statistics.measured(df, statistics.terms("2*a - b - c + 0.5", "m"))[1]
    assert np.allclose(shared.mean(1), clips.mean(1))
    assert np.allclose(shared.std(1), 2**0.5 * clips.std(1))
    with pytest.raises(KeyError, match="replicate that all systems have"):
        statistics.scores(df.drop([("a", 1), ("a", 3)]), ("a", "m"), ("c", "m"))


def test_s15_is_how_much_a_gain_grows_and_t7_asks_all_flips_below_the_bound():
    ((_, _, text),) = links(PAPERS["secost"]["claims"]["S15"])
    gains = {"0": 0.01, "1": 0.09, "1.5": 0.07}
    known = {(f"noise_{k}_{s}", "m"): 0.3 + s * gain for k, gain in gains.items() for s in (0, 1)}
    assert naive(text, known, "m") == pytest.approx(gains["1.5"] - gains["0"])
    row, errors = PAPERS["mixed_tsd"]["claims"]["T7"], files.table("tsd/published.yaml")["errors"]
    below = [f"{kind}_{x:g} - ss" for kind, rates in errors.items() for x in rates if x < 0.35]
    assert row["NI"] + row["more"]["NI"] == below and all(n.startswith("flip") for n in row["NI"])


def test_other_scores_and_controls_stand_beside_by_rule_s_and_decide_nothing():
    levels = world("shallow_student", "L3")
    assert judged("shallow_student", frame(levels), "L3").beside == []
    levels |= given("ensemble@segment_f1_median=0.6 ef_sw_em_cs@segment_f1_median=0.4")
    found = judged("shallow_student", frame(levels | given("single@event_f1_median=0.1")), "L3")
    names = ["ef_sw_em_cs - ensemble, segment F1", "ef_sw_em_cs - single"]
    assert [(part.rule, part.name) for part in found.beside] == [("S", name) for name in names]
    assert [part.outcome for part in found.beside] == ["contradicted", "holds"]
    assert found.verdict == "reproduced"


# The rules


def decided(rule, low, high):
    """What a rule says of an interval, the t test of rule S aside."""
    bottom, top = REGIONS[rule]
    inside, outside = bottom < low and high < top, high < bottom or low > top
    return "holds" if inside else "contradicted" if outside else "undecided"


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("shift", [-0.06, -0.01, 0.0, 0.01, 0.06])
@pytest.mark.parametrize("rule", REGIONS)
def test_a_rule_is_its_naive_transcription(rule, shift, seed):
    rng = np.random.default_rng([seed, 1])
    d = shift + rng.normal(0, 0.02, 5 + 3 * seed)
    clips = d[:, None] + rng.normal(0, 0.02, (len(d), 7)) + 5  # only their spread may count
    low, high = stats.t.interval(0.9, len(d) - 1, d.mean(), stats.sem(d))
    ends = [*zip(REGIONS[rule], ("greater", "less"), strict=True)][: 2 if rule == "E" else 1]
    p = max(stats.ttest_1samp(d, end, alternative=side).pvalue for end, side in ends)
    if rule == "S":
        p = stats.ttest_rel(d, np.zeros(len(d))).pvalue
        draws, rng = [], np.random.default_rng(0)
        rows = rng.integers(len(d), size=(10_000, len(d)))
        spread, picks = clips - clips.mean(1, keepdims=True), rng.integers(7, size=rows.shape)
        for row, pick in zip(rows.tolist(), picks.tolist(), strict=True):
            draws.append(sum(d[i] + spread[i, j] for i, j in zip(row, pick, strict=True)) / len(d))
        low, high = np.percentile(draws, [2.5, 97.5])
    outcome = decided(rule, low, high) if rule != "S" or p < 0.05 else "undecided"
    assert rule == "S" or (outcome == "holds") == (p < 0.05)
    needed = None
    for n in range(1000, 1, -1):  # the fewest that would decide with this mean and spread
        half = stats.t.ppf(0.975 if rule == "S" else 0.95, n - 1) * d.std(ddof=1) / np.sqrt(n)
        if decided(rule, d.mean() - half, d.mean() + half) == "undecided":
            break
        needed = n
    expected = (d.mean(), low, high, p, outcome, len(d), needed)
    assert astuple(rules.tested(rule, "", d, clips, DELTA))[2:] == pytest.approx(expected)


def test_clips_that_leave_the_sign_open_forbid_a_verdict():
    d = 0.02 + 0.004 * np.array([-2, -1, 0, 1, 2, 0.5, -0.5])
    clips = d[:, None] + np.random.default_rng(0).normal(0, 0.1, (7, 50))
    found = rules.tested("S", "gain", d, clips)
    assert found.p < 0.01 and found.outcome == "undecided"
    (said,) = rules.decide([claim(found)])
    assert said.note == "the choice of test clips leaves the sign open"


def test_the_two_level_interval_covers_and_rule_s_keeps_its_level():
    rng, found = np.random.default_rng(1), []
    for mean in [0.0] * 300 + [0.05] * 50:
        clips = rng.normal(0, 0.01, 10)
        d = mean + rng.normal(0, 0.02, 10) + clips
        found.append(rules.tested("S", "", d, d[:, None] + rng.normal(0, 0.01, (10, 50))))
    said = [part.outcome for part in found]
    assert 0.90 <= np.mean([part.low <= 0 <= part.high for part in found[:300]]) <= 0.995
    assert said[:300].count("undecided") >= 278 and said[300:].count("holds") >= 48


# From links to verdicts


def part(outcome, p, rule="S", replicates=10, name="link", needed=None):
    return rules.Part(name, rule, 0.0, 0.0, 0.0, p, outcome, replicates, needed)


def claim(*parts, name="S1", tuned=()):
    return rules.Claim(name, "a claim", list(parts), [], list(tuned))


def verdicts(*found):
    return [c.verdict for c in rules.decide(list(found))]


@pytest.mark.parametrize("seed", range(6))
def test_benjamini_hochberg_goes_over_the_claims(seed):
    p = np.random.default_rng(seed).beta(0.4, 2, 9)
    limit = max([q for k, q in enumerate(np.sort(p), 1) if q <= 0.05 * k / 9], default=-1)
    for outcome, verdict in rules.VERDICTS.items():
        links = [part(outcome if q < 0.05 else "undecided", q) for q in p]
        said = verdicts(*(claim(link, name=f"S{i}") for i, link in enumerate(links)))
        assert said == [verdict if q <= limit else "open" for q in p]


def test_the_correction_is_over_all_papers_but_not_over_what_cannot_be_tested(monkeypatch):
    hopeless, reason = claim(part("undecided", 0.9), name="J1"), {}
    made = {"secost": [claim(part("holds", 0.03))], "joint_at_aed": [hopeless, claim(name="J2")]}
    monkeypatch.setattr(claims, "claims", lambda paper, df: made[paper])
    monkeypatch.setattr(claims, "preconditions", lambda paper, df: (None, reason))

    def said(*papers):
        found = claims.judged(dict.fromkeys(papers))
        return [(c.verdict, c.note) for paper in papers for c in found[paper]]

    assert said("secost") == [("reproduced", "")]
    assert said(*made)[0] == ("open", "p = 0.060 among all the claims")
    reason["J1"] = "too weak"
    assert said(*made) == [("reproduced", ""), ("not testable here", "too weak"), ("not run", "")]


@pytest.mark.parametrize("seed", range(8))
def test_holm_corrects_for_the_links_of_a_chain(seed):
    rng = np.random.default_rng(seed)
    p, against = np.sort(rng.beta(0.5, 8, 4)), rng.permutation([True, True, False, False])
    failed = [k for k in range(4) if p[k] * (4 - k) >= 0.05]  # what comes after it must not count
    named = [str(k) for k in range(min(failed, default=4)) if against[k]]
    said = ["contradicted" if a else "undecided" for a in against]
    chain = [part(o, q, name=str(k)) for k, (o, q) in enumerate(zip(said, p, strict=True))]
    against = rules.claim_p(claim(*chain[::-1]))[1]
    assert (against and against.name) == (named[0] if named else None)
    assert verdicts(claim(*chain[::-1])) == ["opposite" if named else "open"]


def test_a_chain_needs_every_link():
    held = [part("holds", 0.001), part("holds", 0.02)]
    assert rules.claim_p(claim(*held)) == (0.02, None)
    assert verdicts(claim(*held, part("undecided", 0.2))) == ["open"]


def test_an_open_claim_says_how_many_replicates_would_decide_it_and_which_way():
    def note(*parts):
        return rules.decide([claim(*parts)])[0].note.removeprefix("the observed spread would need ")

    wide = 0.02 * stats.norm.ppf((np.arange(7) + 0.5) / 7)
    up, down = rules.tested("S", "up", 0.006 + wide), rules.tested("S", "down", -0.006 + wide)
    nothing = part("undecided", 0.99)
    assert note(up) == f"{up.needed} replicates" and note(nothing) == "more than 1000 replicates"
    fewer = rules.replicates_needed(down.p, 7, 0.05 / (2 + (up.p >= down.p)))
    assert note(up, down, nothing) == f"{fewer} replicates, to show the opposite"
    for rule in ("E", "NI"):
        beyond = rules.tested(rule, "change", wide - 0.012, delta=0.01)
        assert note(beyond) == f"{beyond.needed} replicates, to show the opposite"
        z = 0.002 / wide.std(ddof=1)  # and with a sibling, at half the level
        halved = next(n for n in range(2, 1000) if stats.t.sf(z * n**0.5, n - 1) < 0.025)
        assert note(beyond, nothing) == f"{halved} replicates, to show the opposite"
        more = np.tile(wide - 0.012, -(-beyond.needed * 2 // 7))
        assert rules.tested(rule, "change", more, delta=0.01).outcome == "contradicted"
    assert note(part("undecided", 0.3, rule="share")).endswith("is unknown")
    # a link that fails Holm: of three, one has used up its factor
    said = note(part("contradicted", 0.03, needed=9), part("undecided", 0.4), part("holds", 1e-6))
    p = [2 * stats.t.sf(stats.t.isf(0.015, 9) * np.sqrt(n / 10), n - 1) for n in (10, 11)]
    assert p[1] < 0.025 <= p[0] and said == "11 replicates, to show the opposite"


def test_what_tuned_thresholds_say_of_other_verdicts():
    for outcome, tuned, failed, note in CASES["tuned"]:
        both = [part(said, 0.4 if said == "undecided" else 1e-4) for said in (outcome, tuned)]
        (found,) = rules.decide([claim(both[0], tuned=both[1:])], {"S1": failed} if failed else {})
        assert found.note.endswith(note)


# The statistics


def classes(lift, seed=0, noise=0.06):
    """Scores a class of two bases and a cascade that adds ``lift``; only the corpus is shared."""
    every = {"base": AP, "base_again": AP, "variable_4": AP + lift}
    return frame({(s, "ap_noisy"): v for s, v in every.items()}, 10, noise=noise, seed=seed)


def test_pure_retraining_gives_s9_no_verdict_and_a_gain_of_the_poor_is_found():
    asked = "ap_noisy", "variable_4"
    for over in ("", "relative"):
        found = [statistics.gain_where_low(classes(0.0, k), *asked, over) for k in range(9)]
        assert [part.outcome for part in found].count("holds") <= 1
    # what the paper's own sorting would have shown of the same data: a strong fall
    base, gain = statistics.class_gains(classes(0.0), "base_again")
    same = [stats.spearmanr(b, g)[0] for b, g in zip(base, gain, strict=True)]
    assert np.mean(same) < -0.15
    # the same gain of every class is a larger share of a poor one's AP
    level = judged("secost", classes(0.05), "S9")
    (relative,), (absolute,) = level.parts, level.beside
    assert relative.outcome == "holds" and relative.name.endswith("relative gain")
    assert relative.estimate > 3 * absolute.estimate and absolute.name.endswith("gain in AP")


def test_s8_asks_for_the_papers_share_and_shows_a_second_bases():
    found = judged("secost", classes(0.1), "S8")
    gain = statistics.class_gains(classes(0.1), "variable_4")[1].mean(0)
    assert found.parts[0].estimate == pytest.approx(np.mean(gain > 0) - 0.85)
    assert (found.parts[0].p, found.verdict) == (0.0, "reproduced")
    assert found.beside[0].outcome == "contradicted", "a mere retraining improves half of them"


def test_a_share_or_a_count_of_classes_that_could_not_show_is_not_judged():
    df = classes(0.0)
    spreads = statistics.class_gains(df, "base_again")[1].std(0, ddof=1) / 10**0.5
    by_hand = np.mean([stats.norm.cdf(0.1 / spread) for spread in spreads])
    assert statistics.share_shown(df, 0.1, "base_again").estimate == pytest.approx(by_hand)
    assert "would show in 6" in claims.preconditions("secost", df)[1]["S8"]
    failed = claims.preconditions("secost", classes(0.0, noise=0.001))[1]
    assert failed.keys() == {"S14"} and failed["S14"].startswith("with 0 of")
    quiet = classes(0.4 * AP, noise=0.001)
    assert statistics.count_moved(quiet, 0.01, "variable_4").estimate == len(AP)
    assert claims.preconditions("secost", quiet)[1] == {}


def test_spearmans_are_scipys_and_bins_show_no_gain_of_a_retraining():
    x, y = np.random.default_rng(0).normal(size=(2, 3, 20))
    expected = [stats.spearmanr(a, b)[0] for a, b in zip(x, y, strict=True)]
    assert statistics.spearman(x, y) == pytest.approx(expected)
    assert statistics.spearman(x, 0 * y).tolist() == [0, 0, 0]
    df, edges = classes(0.1 * AP), np.array([0, 0.3, 0.45, 1.0])
    placebo, counts = statistics.gain_by_bin(df, "base_again", edges)
    assert (counts.sum(1) == len(AP)).all() and np.abs(placebo.mean(0)).max() < 0.06
    cascade = statistics.gain_by_bin(df, "variable_4", edges)[0].mean(0)
    assert cascade == pytest.approx([0.1] * 3, abs=0.06)


def test_class_counts_and_sign_test_by_hand():
    base, after = [0.1, 0.2, 0.5, None, 0.4, 0.5], [0.2, 0.19, 0.4, 0.3, 0.6, 0.55]
    index = pd.MultiIndex.from_product([["base", "base_again", "variable_4"], [0]])
    df = pd.DataFrame({"ap_noisy": [base, base, after]}, index)
    counts = {"classes": 5, "improve": 3, "gain over 20 %": 2, "lose over 10 %": 1}
    assert statistics.class_counts(df, "variable_4") == counts
    found = judged("secost", df, "S14")
    assert found.parts[0].estimate == pytest.approx(2 / 3 - 0.5) and found.beside[0].p == 1.0
    assert found.parts[0].p == pytest.approx(stats.binomtest(2, 3).pvalue)


def esp(gain, replicates=5, **attrs):
    """J7 where ESP adds a class ``gain``; a bank's durations would be the other way round."""
    kinds = {"average": 0.4 + 0 * gain, "esp": 0.4 + gain}
    columns = {f"event_f1{t}_{f}_class": v for f, v in kinds.items() for t in ("", "_tuned")}
    levels = {("tfd_afl", c): v for c, v in (columns | {"seconds_class": -SECONDS}).items()}
    return judged("joint_at_aed", frame(levels, replicates, **attrs), "J7")


def test_j7_gives_minus_a_quarter_of_the_papers_table_and_nothing_of_chance():
    printed = files.table("joint/published.yaml")["table_2"]
    labels = list(files.table("corpora/desed.yaml")["clean"]["seconds"])
    assert list(printed)[:10] == labels == sorted(labels)
    gain = np.array([printed[label][2] - printed[label][0] for label in labels])
    found = esp(gain, 60).parts[0].estimate
    assert found == pytest.approx(0.25, abs=0.01)
    assert found == pytest.approx(-stats.spearmanr(SECONDS, gain)[0], abs=0.01)
    chance = [np.random.default_rng([7, seed]).normal(0, 0.05, 10) for seed in range(30)]
    assert [esp(gain).parts[0].outcome for gain in chance].count("undecided") >= 25


def test_j7_of_a_bank_takes_the_durations_of_its_own_classes_and_wants_all_scores():
    assert esp(-RANKS).verdict == "reproduced" and esp(-RANKS, bank="esc10").verdict == "opposite"
    lacks = esp(np.where(np.arange(10) == 3, np.nan, 0))
    assert lacks.note == "these results have no score or duration of some class"


def test_the_share_of_the_gap_is_the_papers():
    """75 % of the gap in event F1 and 21 % in segment F1, from the printed numbers."""
    for column, rows in files.table("tsd/published.yaml")["table_1"].items():
        df = frame({(s, column): v for s, v in rows.items()}, 1, noise=0)
        found = statistics.gap_closed(df, column, "b_f_3")
        share = 0.75 if column == "event_f1_paper" else 0.21
        assert found.estimate + 0.5 == pytest.approx(share, abs=0.005)
        assert np.isnan(found.low) and found.outcome == "undecided"  # one replicate


def test_half_of_the_gap_is_the_bound_and_without_a_gap_no_share_is_judged():
    said = {(0.33, 0.3): "contradicted", (0.45, 0.3): "holds"}
    for mixed, weak in (*said, (0.4, 0.3), (0.4, 0.5), (0.4, 0.9)):
        levels = SHARE | {("ws", "event_f1"): weak, ("b_f_3", "event_f1"): mixed}
        found = statistics.gap_closed(frame(levels), "event_f1", "b_f_3")
        assert found.outcome == said.get((mixed, weak), "undecided")
        assert weak != 0.3 or found.estimate == pytest.approx(5 * mixed - 2, abs=0.05)
    assert np.isnan([found.estimate, found.low, found.high]).all()


# Preconditions

MET = {paper: given(text) for paper, text in CASES["met"].items()}


def asked(paper, df):
    found, failed = claims.preconditions(paper, df)
    return "".join(str(int(row.met == "yes")) for row in found.itertuples() if row.needed), failed


@pytest.mark.parametrize("line", CASES["failing"].splitlines())
def test_a_failed_precondition_names_its_reason_and_its_claims(line):
    paper, change, met, who, said = line.split(", ")
    assert asked(paper, frame(MET[paper])) == ("1" * len(met), {})
    found, failed = asked(paper, frame(MET[paper] | given(change)))
    kind, *names = who.split()
    names = names if kind == "only" else PAPERS[paper]["claims"].keys() - set(names)
    assert found == met and failed.keys() == set(names)
    assert all(said in reason for reason in failed.values())
    name = "J9" if paper == "joint_at_aed" and "J9" in names else sorted(names)[-1]
    levels = world(paper, name) | MET[paper] | given(change)
    (one,) = (c for c in claims.judged({paper: frame(levels)})[paper] if c.name == name)
    assert (one.verdict, said in one.note) == ("not testable here", True)


def test_what_is_told_decides_nothing_and_what_was_not_trained_is_not_asked():
    assert {asked(paper, frame(given("x@y=0")))[0] for paper in MET} == {""}
    assert asked("mixed_tsd", frame(given("ss@event_f1=0.5 b_source@event_f1=0.3")))[0] == "11"
    found = claims.preconditions("mixed_tsd", frame(MET["mixed_tsd"]))[0]
    *told, more_steps = found["measured"].tolist()
    assert told == pytest.approx([0.2, 0.15, 0.5, 0.6, 0.6, 0.9, 0.3, 0.1], abs=0.02)
    assert more_steps == "not measured"
    needed = ["0.05 to 1", "0.05 to 1", "0.25 to 1", *["0.4 to 0.75"] * 2, "0.6 to 1", "", "", ""]
    assert found["needed"].tolist() == needed
    low = dict.fromkeys(MET["mixed_tsd"], -1.0) | given("clip_label@event_f1=-2")
    failed = asked("mixed_tsd", frame(low))[1]
    many = {name: 1 + failed[name].count(";") for name in ("T3", "T1", "T11", "T7")}
    assert many == {"T3": 5, "T1": 4, "T11": 3, "T7": 1}


def test_an_oracles_gap_needs_its_interval_where_there_is_one():
    found = claims.preconditions("joint_at_aed", frame(MET["joint_at_aed"], 1))[0]
    assert found["needed"].tolist()[-3:] == ["> 0", "> 0", ""] and set(found["met"]) <= {"yes", ""}
    near = MET["joint_at_aed"] | given("all_tagged@event_f1_tuned_baseline=0.205")
    found = claims.preconditions("joint_at_aed", frame(near, noise=0.02))[0]
    assert found["measured"].iloc[-2] > 0 and found["met"].iloc[-2] == "no"


def test_a_system_that_beats_no_control_at_0_5_or_tuned_leaves_no_verdict():
    levels = "all_silent@event_f1=0 all_silent@event_f1_tuned=0 clip_label@event_f1_tuned=0.1"
    levels += " a_f_3@event_f1=0.05 a_f_3@event_f1_tuned=0.3 a_f_1@event_f1=0.5"
    levels = MET["mixed_tsd"] | given(levels)
    assert asked("mixed_tsd", frame(levels)) == ("1111111", {})
    said = dict.fromkeys(("T1", "T6", "T10"), "a compared system lies on the floor: a_f_3")
    low = frame(levels | given("a_f_3@event_f1_tuned=0.05"))
    assert asked("mixed_tsd", low) == ("1111110", said)
    known = world("mixed_tsd", "T1") | given(
        "all_silent@event_f1_paper=0.5 clip_label@event_f1_paper=0.1"
    )
    for level, words in ((0.6, []), (0.4, ["event F1 by the paper's convention"])):
        scores = given(" ".join(f"{s}@event_f1_paper={level}" for s in ("a_f_3", "b_f_3", "ws")))
        df = frame(known | scores)
        claim = judged("mixed_tsd", df, "T1")
        assert claims.scores_on_floor("mixed_tsd", df, claim) == words


# Pictures


def test_the_picture_has_a_row_a_verdict_and_draws_what_decides():
    one = judged("joint_at_aed", frame(world("joint_at_aed", "J1")), "J1")
    two = replace(one, parts=[*one.parts, replace(one.parts[0], p=0.04, estimate=0.5)])
    said = [replace(two, verdict=v) for v in ("reproduced", "open", rules.UNTESTABLE, "not run")]
    fig = picture.effects({"A": said, "B": said[2:]})
    (ax,) = fig.axes
    assert (ax.get_title(loc="left"), len(ax.get_yticks())) == ("A", 2)
    drawn = [line.get_xdata().tolist() for line in ax.lines if line.get_marker() in ("o", "D")]
    assert drawn == [[0.5], [0.5]] and rules.decisive(two).estimate == 0.5
    assert "no claim" in picture.effects({"B": said[2:]}).axes[0].get_title(loc="left")
    plt.close("all")


def test_a_table_or_figure_of_ours_shows_each_claim():
    for paper, module in papers.PAPERS.items():
        shown = {c.artefact for c in claims.claims(paper, pd.DataFrame())}
        assert shown <= module.artefacts("evidence").keys()
