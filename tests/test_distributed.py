"""More than one process: torchrun's gradient averaging, and a Dask cluster that loses a worker."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import distributed_job
import pytest
import torch
from conftest import ROOT, spec
from test_runs import other_cache, until

from wsaed import pool, runs, training

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def start(*command, **environment):
    """A script in two processes under torchrun, in a process group of their own."""
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | environment
    command = [sys.executable, *TORCHRUN, *map(str, command)]
    return subprocess.Popen(command, env=os.environ | environment, start_new_session=True)


def finish(process):
    try:
        assert process.wait(240) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_two_processes_train_what_one_does(tmp_path):
    finish(start(distributed_job.__file__, tmp_path))
    for norm in (False, True):
        one = distributed_job.train(norm, halves=1 + norm)
        two = torch.load(tmp_path / f"{norm}.pt", weights_only=True)
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, rtol=0, atol=1e-5)


def test_torchrun_killed_goes_on_from_the_checkpoint_in_all_processes(cache, monkeypatch):
    wanted, script = spec(epochs=6), cache / "job.py"
    call = "import json, sys\nfrom wsaed import runs\nruns.train([(json.loads(sys.argv[1]), 0)])\n"
    script.write_text(call)

    def trained(kill=False):
        process = start(script, json.dumps(wanted), CHECKPOINT_SECONDS="0")
        if kill:
            home = runs.folder(wanted, 0)
            until(lambda: (home.with_name(f"{home.name}.partial") / training.CHECKPOINT).exists())
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert runs.load(wanted, 0) is None, "killed too late"
            return trained()
        finish(process)
        assert not list((cache / "runs").glob("*.partial*"))
        return runs.load(wanted, 0)["scores"]

    interrupted = trained(kill=True)
    monkeypatch.setenv("CACHE", other_cache(cache))
    whole = trained()
    a, b = (scores["curves"]["loss"] for scores in (interrupted, whole))
    assert a == pytest.approx(b, abs=2e-4)  # of four digits
    assert interrupted["map_noisy"] == pytest.approx(whole["map_noisy"], abs=1e-3) and len(b) == 6


def test_a_dask_cluster_that_loses_a_worker_gives_the_pool_s_records(cache, monkeypatch):
    distributed = pytest.importorskip("distributed")
    wanted = [(spec(epochs=4, draw=d), 0) for d in range(4)]
    local = [record["scores"] for record in runs.train(wanted)]
    monkeypatch.setenv("CACHE", other_cache(cache))
    two = dict(n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True)
    with distributed.LocalCluster(**two) as cluster:
        monkeypatch.setenv("DASK", cluster.scheduler_address)
        left = []  # runs to train when a worker is killed

        def kill_one():
            if not list(cache.glob("other/runs/*.partial/progress.jsonl")):
                return cluster.loop.call_later(0.05, kill_one)
            left.append(4 - len(list(cache.glob("other/runs/*/record.json"))))
            return next(iter(cluster.workers.values())).process.process._process.kill()

        cluster.loop.add_callback(kill_one)
        remote = [record["scores"] for record in runs.train(wanted)]
    assert left[0] > 0 and remote == local


FAULTS = {"cache": "tcp://far:1 does not see CACHE=", "code": "tcp://far:1 runs other code"}
FAULTS |= {"threads": r"tcp://far:1 has 4 threads.*--nthreads 1"}


@pytest.mark.parametrize("fault, said", FAULTS.items())
def test_a_cluster_with_another_cache_threads_or_code_is_refused(cache, fault, said):
    class Cluster:
        def nthreads(self):
            return {"tcp://far:1": 4}

        def run(self, function, path):
            said = dict(zip(("cache", "code"), function(path), strict=True)) | {fault: ""}
            return {"tcp://far:1": (said["cache"], said["code"])}

    with pytest.raises(SystemExit, match=said):
        pool.check_cluster(Cluster())
