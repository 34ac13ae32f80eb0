"""More than one process: torchrun's gradient averaging, and a Dask cluster that loses a worker."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import ROOT
from test_runs import cache, features, spec  # noqa: F401 - fixtures

from wsaed import code, pool, runs

JOB = ROOT / "tests" / "distributed_job.py"


def weights(path, *arguments, processes=1):
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(launch if processes > 1 else []), JOB, path, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize(("norm", "halves"), [("plain", "1"), ("norm", "2")])
def test_two_processes_train_what_one_does(tmp_path, norm, halves):
    one = weights(tmp_path / "one.pt", norm, halves)
    two = weights(tmp_path / "two.pt", norm, "1", processes=2)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-5)


def test_torchrun_trains_runs(cache):  # noqa: F811
    call = "from wsaed import runs; import json, sys; runs.train([(json.loads(sys.argv[1]), 0)])"
    script = cache / "job.py"
    script.write_text(call)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*launch, script, json.dumps(spec())], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert runs.load(spec(), 0)["scores"]["map_noisy"] > 0
    assert not list((cache / "runs").glob("*.partial*"))


def test_torchrun_killed_goes_on_from_the_checkpoint_in_all_processes(cache, tmp_path, monkeypatch):  # noqa: F811
    wanted, script = spec(epochs=12), tmp_path / "job.py"
    script.write_text(
        "import json, sys\nfrom wsaed import runs\nruns.train([(json.loads(sys.argv[1]), 0)])\n"
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]

    def start():
        environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CHECKPOINT_SECONDS": "0"}
        environment = os.environ | environment
        command = [*launch, script, json.dumps(wanted)]
        return subprocess.Popen(command, env=environment, start_new_session=True)

    def finish(process):
        try:
            assert process.wait(90) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    home = runs.folder(wanted, 0)
    checkpoint = home.with_name(f"{home.name}.partial") / runs.CHECKPOINT
    process, deadline = start(), time.time() + 90
    while not checkpoint.exists() and time.time() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert checkpoint.exists() and runs.load(wanted, 0) is None, "killed too early or too late"
    finish(start())
    interrupted = runs.load(wanted, 0)["scores"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "features").symlink_to(cache / "features")
    monkeypatch.setenv("CACHE", str(other))
    finish(start())
    whole = runs.load(wanted, 0)["scores"]
    assert interrupted["loss"] == pytest.approx(whole["loss"], abs=1e-4)
    assert interrupted["map_noisy"] == pytest.approx(whole["map_noisy"], abs=1e-3)


def test_a_dask_cluster_that_loses_a_worker_gives_the_pool_s_records(cache, tmp_path, monkeypatch):  # noqa: F811
    distributed = pytest.importorskip("distributed")
    wanted = [(spec(epochs=8, draw=d), 0) for d in range(4)]
    local = [record["scores"] for record in runs.train(wanted)]
    other = tmp_path / "shared"
    other.mkdir()
    (other / "features").symlink_to(cache / "features")
    monkeypatch.setenv("CACHE", str(other))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True
    ) as cluster:
        monkeypatch.setenv("DASK", cluster.scheduler_address)
        real, killed = runs._environment, []

        def kill_one_then(*_):
            # the first job's arguments are made just before the cluster gets its work
            if not killed:
                killed.append(next(iter(cluster.workers.values())))
                cluster.loop.call_later(4.0, killed[0].process.process._process.kill)
            return real()

        monkeypatch.setattr(runs, "_environment", kill_one_then)
        remote = [record["scores"] for record in runs.train(wanted)]
    assert killed and remote == local


def test_a_cluster_that_does_not_share_the_cache_is_refused(cache):  # noqa: F811
    class Cluster:
        def run(self, function, path):
            return {"tcp://far:1": ("", function(path)[1])}

    class Threads:
        def run(self, function, path):
            return {"tcp://far:1": function(path)}

        def nthreads(self):
            return {"tcp://far:1": 4}

    with pytest.raises(SystemExit, match=r"tcp://far:1 has 4 threads.*--nthreads 1"):
        pool.check_cluster(Threads())
    with pytest.raises(SystemExit, match="tcp://far:1 does not see CACHE="):
        pool.check_cluster(Cluster())


@pytest.mark.parametrize("module", ["wsaed.losses", "wsaed.methods.secost", "wsaed.nets.tsdnet"])
def test_a_worker_with_other_code_is_refused(cache, monkeypatch, module):  # noqa: F811
    class Cluster:
        def run(self, function, path):
            read = code._module

            def edited(name):
                tree, imports = read(name) or ("", ())
                return (tree + "edited" * (name == module), imports) if tree else None

            code._digest.cache_clear()
            with monkeypatch.context() as patch:
                patch.setattr(code, "_module", edited)
                answer = function(path)
            code._digest.cache_clear()
            return {"tcp://far:1": answer}

    with pytest.raises(SystemExit, match="runs other code"):
        pool.check_cluster(Cluster())
