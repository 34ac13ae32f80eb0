"""More than one process: torchrun's gradient averaging, and a Dask cluster that loses a worker."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from test_runs import cache, features, other_cache, spec, until  # noqa: F401 - fixtures

from wsaed import code, pool, runs, training

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def start(*command, torchrun=True, **environment):
    """A script in a process group of its own, or in two under torchrun."""
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | environment
    command = [sys.executable, *(TORCHRUN if torchrun else []), *map(str, command)]
    return subprocess.Popen(command, env=os.environ | environment, start_new_session=True)


def finish(process):
    try:
        assert process.wait(240) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(("norm", "halves"), [("plain", "1"), ("norm", "2")])
def test_two_processes_train_what_one_does(tmp_path, norm, halves):
    job = ROOT / "tests" / "distributed_job.py"
    finish(start(job, tmp_path / "one.pt", norm, halves, torchrun=False))
    finish(start(job, tmp_path / "two.pt", norm, "1"))
    one, two = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-5)


def test_torchrun_killed_goes_on_from_the_checkpoint_in_all_processes(cache, monkeypatch):  # noqa: F811
    wanted, script = spec(epochs=12), cache / "job.py"
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
    assert interrupted["loss"] == pytest.approx(whole["loss"], abs=1e-4)
    assert interrupted["map_noisy"] == pytest.approx(whole["map_noisy"], abs=1e-3) and whole["loss"]


def test_a_dask_cluster_that_loses_a_worker_gives_the_pool_s_records(cache, monkeypatch):  # noqa: F811
    distributed = pytest.importorskip("distributed")
    wanted = [(spec(epochs=8, draw=d), 0) for d in range(4)]
    local = [record["scores"] for record in runs.train(wanted)]
    monkeypatch.setenv("CACHE", other_cache(cache))
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


EDITED = ["wsaed.files", "wsaed.secost.method", "wsaed.tsd.nets"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("cache", "tcp://far:1 does not see CACHE="),
        ("threads", r"tcp://far:1 has 4 threads.*--nthreads 1"),
        *((module, "tcp://far:1 runs other code") for module in EDITED),
    ],
)
def test_a_cluster_with_another_cache_threads_or_code_is_refused(cache, monkeypatch, fault, said):  # noqa: F811
    class Cluster:
        def nthreads(self):
            return {"tcp://far:1": 4}

        def run(self, function, path):
            read = code._module

            def edited(name):
                text, imports = read(name) or ("", ())
                return (text + "edited" * (name == fault), imports) if text else None

            code._digest.cache_clear()
            with monkeypatch.context() as patch:
                patch.setattr(code, "_module", edited)
                nonce, digest = function(path)
            code._digest.cache_clear()
            return {"tcp://far:1": ("" if fault == "cache" else nonce, digest)}

    with pytest.raises(SystemExit, match=said):
        pool.check_cluster(Cluster())
