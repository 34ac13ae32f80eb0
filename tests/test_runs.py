"""What the run cache promises: kill it, race it, change its code, feed it nonsense."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from conftest import NET, ROOT, put, refused, spec
from recorded import make_bank

from wsaed import parameters, pool, runs
from wsaed.committed import RECORDS, read_records, write_records
from wsaed.secost import method


def other_cache(cache):
    """A second cache, with the features of the first."""
    (cache / "other").mkdir()
    (cache / "other" / "features").symlink_to(cache / "features")
    return str(cache / "other")


def start(cache, *specs, **environment):
    call = "import json, sys; from wsaed import files, runs; "
    call += "files.one_line(lambda: runs.train([(s, 0) for s in json.loads(sys.argv[1])]))"
    environment = {"CACHE": str(cache), "JOBS": "1", "HEADLESS": "1"} | environment
    how = {"stderr": subprocess.PIPE, "cwd": ROOT, "start_new_session": True}
    how["env"] = os.environ | environment
    return subprocess.Popen([sys.executable, "-c", call, json.dumps(specs)], **how)


def told(home):
    """The epochs that a run has told of, in its folder or where it is being made."""
    paths = (path / "progress.jsonl" for path in (home, home.with_name(home.name + ".partial")))
    lines = next((path.read_text().splitlines() for path in paths if path.exists()), [])
    return [json.loads(line)["epoch"] for line in lines if line.endswith("}")]


def until(condition, seconds=240):
    deadline = time.time() + seconds
    while not condition() and time.time() < deadline:
        time.sleep(0.02)
    assert condition()


def test_killed_at_random_moments_it_ends_in_the_same_numbers(cache, monkeypatch):
    wanted, rng = spec(epochs=40), random.Random(0)
    home = runs.folder(wanted, 0)
    for _ in range(3):
        process = start(cache, wanted, CHECKPOINT_SECONDS="0")
        more = len(told(home)) + rng.randint(1, 8)
        until(lambda: len(told(home)) >= more)  # noqa: B023 - called within this turn
        time.sleep(rng.uniform(0, 0.1))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert runs.load(wanted, 0) is None, "killed too late"
    home.with_name(f"{home.name}.partial").joinpath(".checkpoint.7.partial.pt").touch()
    assert start(cache, wanted).wait(240) == 0
    assert max(told(home)) == 40 and len(told(home)) < 80, "it never went on from a checkpoint"
    assert not list(home.glob(".*")), "half a file stayed"
    interrupted = runs.load(wanted, 0)["scores"]
    monkeypatch.setenv("CACHE", other_cache(cache))
    assert runs.train([(wanted, 0)])[0]["scores"] == interrupted


def test_two_processes_that_want_one_run_train_it_once(cache):
    wanted = spec(epochs=3)
    both = [start(cache, wanted), start(cache, wanted)]
    assert [process.wait(240) for process in both] == [0, 0]
    assert told(runs.folder(wanted, 0)) == [1, 2, 3]


@pytest.mark.parametrize(("epochs", "many"), [(2000, 2), (1, 16)])
def test_workers_end_with_their_parent(cache, epochs, many):
    """Within a long run, and between two of those that are left."""
    every = [spec(epochs, draw=k) for k in range(many)]
    process = start(cache, *every, JOBS="2")
    until(lambda: sum(bool(told(runs.folder(s, 0))) for s in every) >= 2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    count = len(list(cache.glob("runs/*/record.json")))

    def alone():
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True

    try:
        until(alone, 120)
    finally:
        if not alone():
            os.killpg(process.pid, signal.SIGKILL)
    finished = len(list(cache.glob("runs/*/record.json")))
    assert finished <= min(count + 2, many - 2)  # what was in its last epoch may end


def test_an_interrupt_of_all_processes_says_nothing(cache):
    every = [spec(2000, draw=k) for k in range(4)]
    process = start(cache, *every, JOBS="2")
    until(lambda: sum(bool(told(runs.folder(s, 0))) for s in every) == 2)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=120)[1] == b"" and process.returncode == 130


def test_teachers_are_trained_first_and_shared(cache):
    stages = method.cascade(spec(), [0.3, 0.2])
    assert [len(wave) for wave in runs.waves([(stages[2], 0), (stages[1], 0)])] == [1, 1, 1]
    runs.train([(stages[2], 0)])
    assert all(runs.load(s, 0) for s in stages) and runs.waves([(stages[2], 0)]) == []
    shutil.rmtree(runs.folder(stages[1], 0))  # what is finished needs its teacher no more
    assert runs.waves([(stages[2], 0)]) == []


def test_a_teacher_with_a_replicate_of_its_own_is_one_run_for_all_students(cache, monkeypatch):
    base, student = method.cascade(spec(), [0.3])
    one = student | {"teachers": [base | {"replicate": 0}]}
    trained = []

    def train(spec, replicate, folder, teachers, tell):
        assert all((teacher / runs.RECORD).exists() for teacher in teachers)
        trained.append((spec, replicate, teachers))
        return {}

    monkeypatch.setattr(method, "train", train)
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
    base, student = method.cascade(spec(), [0.3])
    keys = {runs.key(base, 0), runs.key(base, 1), runs.key(student, 0), runs.key(spec(3), 0)}
    assert len(keys) == 4
    real = runs.code.digest
    monkeypatch.setattr(runs.code, "digest", lambda roots: real(roots) + "x")
    assert runs.key(base, 0) not in keys and runs.key(student, 0) not in keys
    monkeypatch.setattr(runs.code, "digest", real)
    monkeypatch.setattr(runs, "fingerprint", lambda corpus: "another recording")
    assert runs.key(base, 0) not in keys and runs.key(student, 0) not in keys


def test_a_failing_run_is_one_line_that_names_it_and_all_others_are_trained(cache):
    bad, student = method.cascade(spec(net=NET | {"pool": "median"}), [0.3])
    deaf = spec(corpus=spec()["corpus"] | {"snr": [9, 1]})
    bug, wanted = spec(net={"name": "secost.net:Missing"}), spec(epochs=1, draw=5)
    with refused(r"(the run secost.method:train .*|made): .*Error", RuntimeError) as error:
        runs.train([(one, 0) for one in (student, deaf, bug, wanted)])
    faults = error.value.faults
    assert faults.keys() == {runs.key(one, 0) for one in (bad, student, deaf, bug)}
    assert "the run secost.method:train (replicate 0, " in faults[runs.key(bad, 0)]
    assert faults[runs.key(student, 0)] == faults[runs.key(bad, 0)]
    assert "could not be made: ValueError: soundscapes: snr" in faults[runs.key(deaf, 0)]
    log = runs.folder(bug, 0).with_suffix(".log")  # a bug: no user can mend it
    assert log.read_text().startswith("Traceback") and log.name in faults[runs.key(bug, 0)]
    assert runs.load(wanted, 0)["scores"]["map_noisy"] > 0


def test_a_run_that_a_worker_made_of_other_data_is_told_and_not_left_out(cache, monkeypatch):
    heard = lambda spec: os.environ.get("TEST_FOLD", "")  # noqa: E731
    monkeypatch.setattr(runs.corpora.soundscapes, "fingerprint", heard, raising=False)
    others = [runs.key(spec(), 0)]
    monkeypatch.setenv("TEST_FOLD", "1")
    others.append(runs.key(spec(), 0))
    assert len({*others}) == 2, "the folders of an earlier call"
    told = pool.environment()
    monkeypatch.setenv("TEST_FOLD", "2")
    monkeypatch.setenv("DETERMINISTIC", "1")  # what an earlier session told a worker
    pool.adopt(told)
    assert pool.environment() == told
    monkeypatch.setattr(runs, "train_one", lambda spec, replicate: {})
    with refused("code or recordings changed while", RuntimeError):
        runs.train([(spec(), 0)])


# Records in a folder of results: who is trained, what is written. Training itself is faked here.


LAB = {"one": "BANK", "two": "DESED"}  # two papers, and what their paper profile needs
BOTH = [("a", 0), ("a", 1), ("b", 0), ("b", 1)]


@pytest.fixture
def lab(tmp_path, monkeypatch):
    lab = SimpleNamespace(trained=[], broken=None, home=tmp_path, finished={})
    lab.systems = {paper: {"a": spec(draw=0), "b": spec(draw=1)} for paper in LAB}

    def paper(name):
        return SimpleNamespace(
            NEEDS=(LAB[name],),
            systems=lambda p: lab.systems[name],
            replicates=lambda system, p, wanted: wanted,
            artefacts=lambda profile: {"table_1": ["a"], "table_2": list(lab.systems[name])},
        )

    def train(wanted, title):
        new = [(s, r) for s, r in wanted if runs.key(s, r) not in lab.finished]
        lab.trained.append(sorted({r for _, r in new}))
        faults = {runs.key(s, r): "the run failed" for s, r in new if (s, r) == lab.broken}
        for s, r in (run for run in new if run != lab.broken):
            made = {"code": runs.code_digest(s), "data": "", "versions": {}, "cost": {"seconds": 1}}
            made |= {"spec": s, "replicate": r, "scores": {"map": s["draw"] + r / 10}}
            lab.finished[runs.key(s, r)] = made
        if faults:
            raise runs.FailedError(faults)

    def chosen(paper, profile, replicates):
        return {"profile": profile, "replicates": replicates or 2}

    monkeypatch.setattr(runs, "PAPERS", {name: paper(name) for name in LAB})
    monkeypatch.setattr(runs, "load", lambda s, r: lab.finished.get(runs.key(s, r)))
    monkeypatch.setattr(runs, "train", train)
    monkeypatch.setattr(parameters, "chosen", chosen)
    monkeypatch.setattr(parameters, "file", lambda paper, profile: ROOT / "params" / profile)
    lab.run = lambda *options: runs.main([*options, "--results", str(tmp_path)])
    lab.kept = lambda paper: list(read_records(tmp_path / paper / RECORDS))
    return lab


def test_committed_records_come_first_then_the_cache_then_training(lab):
    lab.run()
    assert lab.trained == [[0], [1]], "not a replicate of all papers before the next"
    assert lab.kept("one") == lab.kept("two") == BOTH
    lab.finished.clear()
    lab.run()
    p = {"profile": "laptop", "replicates": 3}
    found = runs.records("one", ["a"], p, lab.home / "one")
    assert lab.trained[2:] == [[], [], [], [], [2]], "what is committed was trained again"
    assert found.keys() == {("a", r) for r in range(3)} and found["a", 1]["scores"] == {"map": 0.1}
    assert lab.kept("one") == BOTH, "a notebook changed what is committed"
    assert runs.records("one", ["a"], p).keys() == found.keys()
    assert lab.trained[7:] == [[0], [1], []], "without a folder the cache alone counts"
    lab.finished.clear()
    lab.run("--anew")
    assert lab.trained[10:] == [[0], [1]] and lab.kept("one") == BOTH
    lab.finished.clear()
    lab.run("--anew", "--replicates", "1")
    assert lab.trained[12:] == [[0]] and lab.kept("one") == BOTH, "others were deleted"
    (lab.home / "one" / RECORDS).write_text("<<<<<<< HEAD")
    with refused("records.json is no JSON: take it from git"):
        lab.run()


def test_fewer_replicates_keep_the_others_while_their_specs_are_today_s(lab, monkeypatch):
    lab.run()
    lab.systems["one"] = {"a": spec(draw=0), "b": spec(draw=7)}
    lab.run("--replicates", "1")
    assert lab.kept("one") == [("a", 0), ("a", 1), ("b", 0)], "a record of another spec stayed"
    del lab.systems["two"]["b"]
    lab.run("two/table_1", "--replicates", "3")
    assert lab.kept("two") == [("a", 0), ("a", 1), ("a", 2)], "a dropped system stayed"
    path = lab.home / "one" / RECORDS
    assert runs.stale(read_records(path)) == []
    monkeypatch.setattr(runs, "code_digest", lambda s: "changed")
    assert runs.stale(read_records(path)) == ["a", "b"]


def test_a_failed_run_of_one_paper_leaves_the_others_theirs(lab):
    lab.systems["two"]["b"], lab.broken = spec(draw=8), (spec(draw=8), 1)
    with pytest.raises(SystemExit, match="the run failed"):
        lab.run()
    assert lab.kept("one") == BOTH and lab.kept("two") == [("a", 0), ("b", 0)]


@pytest.mark.parametrize("how", ["a run", "the pool"])
def test_what_is_complete_is_rendered_though_a_paper_fails(lab, monkeypatch, capsys, how):
    lab.systems["one"]["b"], lab.broken = spec(draw=8), (spec(draw=8), 0)
    monkeypatch.setattr(runs, "ROOT", lab.home)
    for name in ("one/table_1", "one/table_2", "two/table_1", "two/table_2"):
        put(lab.home / f"notebooks/{name}.ipynb")
    if how == "the pool":
        lab.run("two/table_2")
        capsys.readouterr()

        def train(wanted, title):
            if wanted:
                raise OSError("a worker was killed")

        monkeypatch.setattr(runs, "train", train)
    with pytest.raises(SystemExit, match=r"^one is not all made: (the run failed|a worker)"):
        lab.run()
    assert lab.kept("two") == BOTH and lab.kept("one") == []
    assert re.findall(r"(\w+/table_\d)", capsys.readouterr().out) == ["two/table_1", "two/table_2"]


def test_the_papers_whose_corpora_are_given_and_the_notebooks_to_run(lab, monkeypatch, capsys):
    for name in LAB.values():
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="two, which needs DESED=folder"):
        lab.run("--profile", "paper")
    assert runs.papers_of("gpu").keys() == LAB.keys()
    monkeypatch.setenv("BANK", "folder")
    lab.run("--profile", "paper")
    assert capsys.readouterr().err == "left out: two, which needs DESED=folder\n"
    assert lab.kept("one") == BOTH and lab.kept("two") == []
    with pytest.raises(ValueError, match="one/tabel_1 is no table or figure"):
        lab.run("one/tabel_1")
    with pytest.raises(ValueError, match="two/table_1 can't be made here"):
        lab.run("two/table_1", "--profile", "paper")


WANTED = {"secost": (2, 3), "joint_at_aed": (2, 5), "shallow_student": (2, 5), "mixed_tsd": (8, 8)}
FEWER = ((0, 0), (1, 0), (0, 1))
BANKS = sorted({(c - few, n - less) for c, n in WANTED.values() for few, less in FEWER})


@pytest.mark.parametrize(("classes", "many"), BANKS)
def test_a_bank_too_small_for_a_paper_leaves_others(tmp_path, monkeypatch, capsys, classes, many):
    make_bank(tmp_path, "abcdefgh"[:classes], many, monkeypatch)
    can = {p for p, (c, n) in WANTED.items() if classes >= c and many >= n}
    readme = (ROOT / "README.md").read_text()
    assert all(f"{words} of {n}" in readme for words, n in (("two classes", 3), ("eight", 8)))
    if not can:
        with refused("no paper can be made with PROFILE=smoke"):
            runs.papers_of("smoke")
        return
    assert runs.papers_of("smoke").keys() == can
    told = capsys.readouterr().err.splitlines()
    assert sorted(line.split()[2].strip(",") for line in told) == sorted(WANTED.keys() - can)
    for line in told:
        assert "which wants {} classes of {} ".format(*WANTED[line.split()[2].strip(",")]) in line


def test_all_four_papers_train_together_and_an_unknown_profile_is_named(tmp_path, monkeypatch):
    wanted = []
    monkeypatch.setattr(runs, "train", lambda runs, title: wanted.append(runs))
    monkeypatch.setattr(runs, "load", lambda spec, replicate: None)
    for arguments in ([], ["secost/table_2"]):
        runs.main([*arguments, "--profile", "smoke", "--results", str(tmp_path)])
    packages = [{s["method"].partition(".")[0] for s, _ in every} for every in wanted]
    assert packages == [{"secost", "joint", "shallow", "tsd"}, {"secost"}]
    with refused("no params/nothing/; there are evidence, "):
        runs.main(["--profile", "nothing"])


@pytest.mark.parametrize(("bank", "asked"), [("", "evidence-esc10"), ("/my bank", "evidence")])
def test_a_bank_s_results_are_made_with_that_bank_and_no_other_s(monkeypatch, bank, asked):
    monkeypatch.setenv("BANK", bank)
    with pytest.raises(ValueError, match=f"results/{asked} is of other settings"):
        runs.main(["--profile", "evidence", "--results", f"results/{asked}"])


@pytest.mark.parametrize("bank", ["", "/recordings/a-bank"])
def test_evidence_on_a_bank_is_of_what_a_laptop_trains(monkeypatch, bank):
    jobs, none = {}, {paper: {} for paper in runs.PAPERS}
    monkeypatch.setenv("BANK", bank)
    monkeypatch.setattr(runs, "papers_of", lambda *of: none)
    monkeypatch.setattr(runs, "wished", lambda *of: {})
    monkeypatch.setattr(runs, "collect", lambda wanted, anew: jobs.update(wanted) or (none, {}))
    runs.main(["--profile", "evidence"])
    like = "laptop" if bank else "evidence"
    assert jobs.keys() == runs.PAPERS.keys()
    for paper, (systems, _, home) in jobs.items():
        assert systems == set().union(*runs.PAPERS[paper].artefacts(like).values())
        assert home.parent.name == ("evidence-a-bank" if bank else "evidence")


def test_the_costs_beside_the_records_are_of_these_records(tmp_path):
    path = tmp_path / "secost" / "records.json"
    row = dict(system="base", code="", data="", versions={}, scores={}, spec={})
    records = {("base", r): row | {"replicate": r, "cost": {"seconds": 1.0 + r}} for r in (0, 1)}
    write_records(path, records)
    del records["base", 1], records["base", 0]["cost"]
    write_records(path, records | {("base", 2): row | {"replicate": 2, "cost": {}}})
    costs = json.loads(path.with_name("cost.json").read_text())
    assert costs == {"base/0": {"seconds": 1.0}, "base/2": {}}
