"""Where runs train: this machine's cores, or a Dask cluster that sees the same folder and code."""

import contextlib
import os
import secrets
import signal
import threading
from pathlib import Path

import joblib

from wsaed import code
from wsaed.files import cache_root


@contextlib.contextmanager
def pool():
    """joblib's pool over this machine's cores (JOBS), or a Dask cluster (DASK=tcp://host:port)."""
    address = os.environ.get("DASK")
    # else glibc gives a step's buffers back to the system and takes them again, step by step:
    # up to a third of its time. The workers that start from here on read it.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(32 << 20))
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(512 << 20))
    if not address:
        jobs = int(os.environ.get("JOBS") or joblib.cpu_count())
        jobs = 1 if "RANK" in os.environ else jobs
        parallel = joblib.Parallel(jobs, return_as="generator_unordered", pre_dispatch="all")
        with _interrupted_once(parallel, jobs):
            yield parallel
        return
    from distributed import Client

    with Client(address, set_as_default=True) as client:
        check_cluster(client)
        with joblib.parallel_config("dask"):
            yield joblib.Parallel(return_as="generator_unordered", pre_dispatch="all")


@contextlib.contextmanager
def _interrupted_once(parallel: joblib.Parallel, jobs: int):
    """Let an interrupt reach this process alone, which then ends its workers: one says so, not all.

    Signals that a process ignores when it starts it ignores for good; joblib's thread may fail
    while the workers end.
    """
    if jobs == 1 or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum, frame):
        threading.excepthook = lambda failed: None
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        list(parallel(joblib.delayed(int)() for _ in range(jobs)))  # the workers start
        signal.signal(signal.SIGINT, stop)
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def check_cluster(client) -> None:
    """Stop in one line unless every worker shares CACHE, runs the same code and has one thread."""
    nonce, path = secrets.token_hex(8), cache_root() / "cluster-nonce"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nonce)
    mine = _worker_answer(str(path))
    for worker, answer in client.run(_worker_answer, str(path)).items():
        if answer[0] != mine[0]:
            raise SystemExit(f"{worker} does not see CACHE={cache_root()}: give a shared folder")
        if answer[1] != mine[1]:
            raise SystemExit(f"{worker} runs other code than this machine: install the same commit")
    for worker, threads in client.nthreads().items():
        if threads > 1:
            said = f"{worker} has {threads} threads, whose runs would share one random stream"
            raise SystemExit(f"{said}: start it with --nthreads 1")


def _worker_answer(path: str) -> tuple[str, str]:
    return Path(path).read_text() if Path(path).exists() else "", code.digest(code.modules())
