"""Where runs train: this machine's cores, or a Dask cluster that sees the same folder and code.

What its workers are told, how they say why something failed, and the features that they make
before the first run trains.
"""

import contextlib
import json
import os
import secrets
import signal
import sys
import threading
import traceback
from functools import cache
from pathlib import Path

import joblib
import torch
from safetensors import SafetensorError

from wsaed import code, corpora, progress
from wsaed.features import FRONT_ENDS
from wsaed.files import cache_root, first_line, shown, write_whole

# What a worker is told of the environment
SETTINGS = ("BANK", "AUDIOSET", "DESED", "URBAN_SED", "PANNS", "CACHE", "DEVICE", "TEST_FOLD")
SETTINGS += ("THREADS", "DETERMINISTIC", "CHECKPOINT_SECONDS")


def environment() -> dict[str, str]:
    """The settings of this process that its workers take over."""
    return {name: os.environ[name] for name in SETTINGS if name in os.environ}


def adopt(settings: dict[str, str]) -> None:
    """Take over what `environment` told, in a worker that others may have told otherwise."""
    for name in SETTINGS:
        os.environ.pop(name, None)
    os.environ.update(settings)


def cores() -> int:
    """How many workers: JOBS, else all cores of this machine."""
    return int(os.environ.get("JOBS") or joblib.cpu_count())


@contextlib.contextmanager
def pool():
    """joblib's pool over this machine's cores (JOBS), or a Dask cluster (DASK=tcp://host:port)."""
    address = os.environ.get("DASK")
    # else glibc gives a step's buffers back to the system and takes them again, step by step:
    # up to a third of its time. The workers that start from here on read it.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(32 << 20))
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(512 << 20))
    if not address:
        jobs = 1 if "RANK" in os.environ else cores()
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
    answers, threads = client.run(_worker_answer, str(path)), client.nthreads()
    for worker, (seen, made_by) in answers.items():
        if seen != nonce:
            raise SystemExit(f"{worker} does not see CACHE={cache_root()}: give a shared folder")
        if made_by != code.digest(code.modules()):
            raise SystemExit(f"{worker} runs other code than this machine: install the same commit")
        if (many := threads.get(worker, 1)) > 1:
            said = f"{worker} has {many} threads, whose runs would share one random stream"
            raise SystemExit(f"{said}: start it with --nthreads 1")


def _worker_answer(path: str) -> tuple[str, str]:
    return Path(path).read_text() if Path(path).exists() else "", code.digest(code.modules())


def reason(error: Exception, log: Path) -> str:
    """An error in one line; how one came about that no user can mend goes to a log."""
    said = f"{type(error).__name__}: {first_line(error)}"
    if "inline_container" in said:  # torch's words for a checkpoint that it could not write
        return f"no checkpoint could be written; is there room under {cache_root()}?"
    if not isinstance(error, ValueError | OSError | RuntimeError | SafetensorError):
        write_whole(log, "".join(traceback.format_exception(error)))
        said += f" (log: {shown(log)})"
    return said


def features_of(spec: dict, replicate: int) -> str:
    """What names the features that a run needs."""
    return json.dumps([spec["corpus"], replicate, spec.get("front_end")], sort_keys=True)


def prepare(parallel, runs: list[tuple[dict, int]], title: str) -> dict[str, str]:
    """Make the features that the runs need, all cores on each split, before any run trains.

    Gives those that could not be made (`features_of`), and why.
    """
    wanted = sorted({features_of(s, r) for s, r in runs if "front_end" in s})
    parts, unmade = [slice(first, None, cores()) for first in range(cores())], {}
    make = joblib.delayed(_features)
    calls = [make(names, part, environment()) for names in wanted for part in parts]
    with progress.bar(f"{title}, features", len(calls), "parts") as b:
        for told, fault in parallel(calls):
            b(1)
            unmade |= fault
            _say(told)
    return unmade


@cache
def _say(told: str) -> None:
    """A line on the terminal, once."""
    if told:
        print(told, file=sys.stderr, flush=True)


def _features(names: str, part: slice, settings: dict) -> tuple[str, dict[str, str]]:
    """Make a part of the features: what the corpus leaves out (`Corpus.left_out`), what failed."""
    adopt(settings)
    torch.set_num_threads(1)
    spec, replicate, front_end = json.loads(names)
    try:
        corpus = corpora.load(spec, replicate)
        splits = corpus.splits.values()
        shards = [(s, k) for s in splits for k in range(-(-len(s) // corpora.SHARD))]
        for split, shard in shards[part]:
            split.features(FRONT_ENDS[front_end], only=shard)
    except Exception as error:
        what = f"the features of {spec['name']} (replicate {replicate}) could not be made"
        return "", {names: f"{what}: {reason(error, cache_root() / 'features.log')}"}
    return corpus.left_out, {}
