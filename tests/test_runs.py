"""What the run cache promises: kill it, race it, change its code, feed it nonsense."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from wsaed import runs
from wsaed.methods import secost
from wsaed.methods.secost import cascade

CORPUS = {"name": "soundscapes", "shape": "ontology", "train": 24, "validation": 8, "test": 16}


def spec(epochs=2, **changes):
    return {
        "method": "secost",
        "net": {"name": "wels_net", "width": 0.125},
        "corpus": CORPUS,
        "front_end": "secost_50ms",
        "budget": {"epochs": epochs, "batch_size": 8, "learning_rate": 1e-3},
        "draw": 0,
    } | changes


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """A cache that already holds the features, so that tests pay for them once."""
    cache = tmp_path_factory.mktemp("cache")
    start(cache, spec(epochs=1)).wait(120)
    return cache / "features"


@pytest.fixture
def cache(tmp_path, features, monkeypatch):
    (tmp_path / "features").symlink_to(features)
    monkeypatch.setenv("CACHE", str(tmp_path))
    monkeypatch.setenv("JOBS", "1")
    monkeypatch.setenv("HEADLESS", "1")
    return tmp_path


def start(cache, *specs, **environment):
    call = "import json, sys; from wsaed import runs; "
    call += "runs.train([(s, 0) for s in json.load(sys.stdin)])"
    process = subprocess.Popen(
        [sys.executable, "-c", call],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
        env=os.environ | {"CACHE": str(cache), "JOBS": "1", "HEADLESS": "1"} | environment,
    )
    process.stdin.write(json.dumps(specs))
    process.stdin.close()
    process.stdin = None
    return process


def epochs_told(home):
    lines = (home / "progress.jsonl").read_text().splitlines()
    return [json.loads(line)["epoch"] for line in lines]


def test_killed_at_random_moments_it_ends_in_the_same_numbers(cache, tmp_path):
    wanted = spec(epochs=40)
    rng, kills = random.Random(0), 0
    while runs.load(wanted, 0) is None and kills < 60:
        process = start(cache, wanted, CHECKPOINT_SECONDS="0")
        try:
            # long enough to come up, short enough that the run never ends in one go
            process.wait(rng.uniform(2.0, 3.5) if kills < 6 else 120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    interrupted = runs.load(wanted, 0)
    told = epochs_told(runs.folder(wanted, 0))
    os.environ["CACHE"] = str(tmp_path / "other")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "features").symlink_to(cache / "features")
    whole = runs.train([(wanted, 0)])[0]
    assert kills >= 3, "the kills came too late to test anything"
    assert max(told) == 40 and len(told) < 40 * (kills + 1), "it never went on from a checkpoint"
    assert interrupted["scores"] == whole["scores"]


def test_two_processes_that_want_one_run_train_it_once(cache):
    wanted = spec(epochs=3)
    both = [start(cache, wanted), start(cache, wanted)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert epochs_told(runs.folder(wanted, 0)) == [1, 2, 3]


def test_a_worker_whose_parent_died_stops(cache):
    wanted = [spec(epochs=2000, draw=d) for d in (0, 1)]
    process = start(cache, *wanted, JOBS="2")
    homes = [runs.folder(w, 0) for w in wanted]
    partials = [home.with_name(home.name + ".partial") / "progress.jsonl" for home in homes]
    deadline = time.time() + 60
    while not all(p.exists() for p in partials) and time.time() < deadline:
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(5)
    before = [p.read_text() for p in partials]
    time.sleep(2)
    assert [p.read_text() for p in partials] == before, "an orphan is still training"


def test_the_same_replicate_gives_the_same_record(cache, tmp_path, monkeypatch):
    first = runs.train([(spec(), 1)])[0]["scores"]
    monkeypatch.setenv("CACHE", str(tmp_path / "other"))
    assert runs.train([(spec(), 1)])[0]["scores"] == first
    assert runs.train([(spec(), 2)])[0]["scores"] != first


def test_teachers_are_trained_first_and_shared(cache):
    stages = cascade(spec(), [0.3, 0.2])
    depth = [len(wave) for wave in runs.waves([(stages[2], 0), (stages[1], 0)])]
    assert depth == [1, 1, 1]
    runs.train([(stages[2], 0)])
    assert all(runs.load(s, 0) for s in stages) and runs.waves([(stages[2], 0)]) == []
    shutil.rmtree(runs.folder(stages[1], 0))  # what is finished needs its teacher no more
    assert runs.waves([(stages[2], 0)]) == []


def test_a_teacher_with_a_replicate_of_its_own_is_one_run_for_all_students(cache, monkeypatch):
    base, student = cascade(spec(), [0.3])
    one = student | {"teachers": [base | {"replicate": 0}]}
    trained = []

    def train(spec, replicate, folder, teachers, tell):
        assert all((teacher / runs.RECORD).exists() for teacher in teachers)
        trained.append((spec, replicate, teachers))
        return {}

    monkeypatch.setattr(secost, "train", train)
    students = [(one, r) for r in (1, 2, 3)]
    assert runs.waves(students) == [[(base, 0)], students]
    assert len(runs.waves([(student, r) for r in (1, 2, 3)])[0]) == 3  # without the key
    for wave in runs.waves(students):
        for run in wave:
            runs.train_one(*run)
    home = runs.folder(base, 0)
    assert trained == [(base, 0, []), *((one, r, [home]) for r in (1, 2, 3))]
    assert home == runs.folder(*runs.pinned(base | {"replicate": 0}, 3))
    assert runs.pinned(base, 3) == (base, 3)
    assert len({runs.key(one, r) for r in (0, 1, 2, 3)}) == 4
    assert runs.waves([(base, 0), (one, 2)]) == []  # the same run as a wish of its own


def test_the_key_covers_spec_replicate_code_and_teachers(cache, monkeypatch):
    base, student = cascade(spec(), [0.3])
    keys = {runs.key(base, 0), runs.key(base, 1), runs.key(student, 0), runs.key(spec(3), 0)}
    assert len(keys) == 4
    real = runs.code.digest
    monkeypatch.setattr(runs.code, "digest", lambda roots: real(roots) + "x")
    assert runs.key(base, 0) not in keys and runs.key(student, 0) not in keys


def test_a_failing_run_is_one_line_that_names_it(cache):
    bad = spec(net={"name": "wels_net", "width": 0.125, "pool": "median"})
    with pytest.raises(RuntimeError, match=r"the run secost .* failed: ") as error:
        runs.train([(bad, 0)])
    assert "\n" not in str(error.value)


def test_an_interrupted_run_is_never_read(cache):
    home = runs.folder(spec(), 0)
    partial = home.with_name(home.name + ".partial")
    partial.mkdir(parents=True)
    (partial / runs.RECORD).write_text('{"scores": {"map_noi')
    assert runs.load(spec(), 0) is None
    assert runs.train([(spec(), 0)])[0]["scores"]["map_noisy"] > 0


def test_records_go_on_replicate_by_replicate(cache, tmp_path, monkeypatch):
    systems = {"base": spec()}
    parts = {"systems": lambda p: systems, "replicates": lambda name, p, wanted: wanted}
    module = type("paper", (), {k: staticmethod(f) for k, f in parts.items()})
    monkeypatch.setitem(sys.modules, "wsaed.papers.fake", module)
    path = tmp_path / "results" / "records.json"
    first = runs.collect("fake", ["base"], {}, 1, path)
    trained = []
    real = runs.train
    monkeypatch.setattr(runs, "train", lambda w, t: trained.append(w) or real(w, t))
    both = runs.collect("fake", ["base"], {}, 2, path)
    assert [r for wave in trained for _, r in wave] == [1]
    assert both["base", 0]["scores"] == first["base", 0]["scores"]
    assert runs.stale(runs.read_records(path)) == []
    systems["base"] = spec(epochs=1)
    other = runs.collect("fake", ["base"], {}, 1, path)
    assert list(runs.read_records(path)) == [("base", 0)], "a record of another spec stayed"
    assert other["base", 0]["spec"] == spec(epochs=1)
    monkeypatch.setattr(runs, "code_digest", lambda s: "changed")
    assert runs.stale(runs.read_records(path)) == ["base"]


def test_evidence_takes_each_replicate_through_all_papers(tmp_path, monkeypatch):
    calls, written = [], []

    def collect(paper, names, p, replicates, resume):
        calls.append((paper, replicates))
        return {("base", r): r for r in range(replicates)}

    monkeypatch.setattr(runs, "collect", collect)
    monkeypatch.setattr(runs, "write_records", lambda path, records: written.append(len(records)))
    runs.main(["--profile", "evidence", "--resume", "--results", str(tmp_path)])
    papers = sorted({paper for paper, _ in calls})
    assert len(papers) == 4
    assert calls == [(paper, count) for count in range(1, 11) for paper in papers]
    assert written == [10] * 4, "a file was cut to the replicates of a round"


def test_evidence_of_fewer_replicates_keeps_the_others(tmp_path, monkeypatch):
    row = dict(code="", data="", versions={}, scores={}, spec={})
    committed = {("base", r): row | {"system": "base", "replicate": r} for r in range(5)}
    committed |= {("dropped", 4): row | {"system": "dropped", "replicate": 4}}
    other = {"system": "smoothed", "spec": {"other": "sizes"}}
    committed |= {("smoothed", r): row | other | {"replicate": r} for r in (0, 4)}
    path = tmp_path / "secost" / "records.json"
    runs.write_records(path, committed)

    def collect(paper, names, p, replicates, resume):
        new = {"smoothed": {"spec": {"new": "sizes"}}}
        known = {k: v for k, v in committed.items() if k[0] in names and k[1] < replicates}
        return {k: v | new.get(k[0], {}) for k, v in known.items()}

    monkeypatch.setattr(runs, "collect", collect)
    options = ["--profile", "evidence", "--results", str(tmp_path), "--replicates", "2"]
    runs.main([*options, "--resume"])
    found = runs.read_records(path)
    assert list(found) == [*(("base", r) for r in range(5)), ("smoothed", 0)]
    assert found["smoothed", 0]["spec"] == {"new": "sizes"}, "a record of another spec stayed"
    monkeypatch.setattr(runs, "train", lambda wanted, title: None)
    runs.main(options)
    assert list(runs.read_records(path)) == [("base", 0), ("base", 1), ("smoothed", 0)]


def test_an_unknown_artefact_is_named(tmp_path):
    with pytest.raises(ValueError, match="secost/tabel_2 is no table or figure"):
        runs.main(["secost/tabel_2", "--profile", "smoke", "--results", str(tmp_path)])


def test_the_runs_of_all_papers_train_together(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(runs, "train", lambda wanted, title: calls.append(wanted))
    monkeypatch.setattr(runs, "collect", lambda *rest: {})
    runs.main(["--profile", "smoke", "--results", str(tmp_path)])
    (wanted,) = calls
    assert {"secost", "joint", "pseudolabel", "two_student"} <= {s["method"] for s, _ in wanted}
    runs.main(["secost/table_2", "--profile", "smoke", "--results", str(tmp_path)])
    assert {"secost"} == {s["method"] for s, _ in calls[1]} - {"ensemble"}


def test_a_failed_run_of_one_paper_leaves_the_others_their_records(tmp_path, monkeypatch):
    def fails(wanted, title):
        raise RuntimeError("the run joint failed")

    def load(one, replicate):
        return None if one["method"] == "joint" else {"scores": {}}

    kept = []
    monkeypatch.setattr(runs, "train", fails)
    monkeypatch.setattr(runs, "load", load)
    monkeypatch.setattr(runs, "collect", lambda paper, *rest: {("base", 0): paper})
    monkeypatch.setattr(runs, "write_records", lambda path, records: kept.append(path.parent.name))
    with pytest.raises(RuntimeError, match="joint"):
        runs.main(["--profile", "smoke", "--results", str(tmp_path)])
    assert kept == ["mixed_tsd", "secost", "shallow_student"]


def test_an_unknown_profile_is_one_line():
    command = [sys.executable, "-m", "wsaed.runs", "secost/table_2", "--profile", "nothing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and "nothing" in done.stderr and done.stderr.count("\n") == 1


def test_workers_with_runs_left_end_with_their_parent(cache):
    every = [spec(epochs=1, draw=k) for k in range(16)]
    process = start(cache, *every, JOBS="2")
    group, finished = os.getpgid(process.pid), lambda: len(list(cache.glob("runs/*/record.json")))
    while not finished():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    count, deadline = finished(), time.time() + 60
    while time.time() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        os.killpg(group, signal.SIGKILL)
        pytest.fail("workers live on without their parent")
    assert finished() <= count + 2 < len(every)  # what was in its last epoch may end


def test_the_costs_beside_the_records_are_of_these_records(tmp_path):
    path = tmp_path / "secost" / "records.json"
    row = dict(system="base", code="", data="", versions={}, scores={}, spec={})
    records = {("base", r): row | {"replicate": r, "cost": {"seconds": 1.0 + r}} for r in (0, 1)}
    runs.write_records(path, records)
    del records["base", 1], records["base", 0]["cost"]
    runs.write_records(path, records | {("base", 2): row | {"replicate": 2, "cost": {}}})
    costs = json.loads(path.with_name("cost.json").read_text())
    assert costs == {"base/0": {"seconds": 1.0}, "base/2": {}}
