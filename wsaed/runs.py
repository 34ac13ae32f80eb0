"""Specs to trained records: cache, locks, one pool, one progress bar.

A run is a spec (plain JSON) and a replicate number. ``python -m wsaed.runs --help`` trains what
the artefacts of a profile need; a notebook that misses a run calls the same `collect`.
"""

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shutil
import sys
import time
import traceback
import warnings
from functools import cache
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name

import joblib
import torch
from filelock import FileLock
from safetensors import SafetensorError

from wsaed import code, corpora, parameters, progress, training
from wsaed.features import FRONT_ENDS
from wsaed.files import ROOT, cache_root, first_line, folder_of, one_line, shown, write_whole
from wsaed.papers import PAPERS
from wsaed.pool import pool

RECORD, RECORDS = "record.json", "records.json"  # of a run in the cache; of a paper's results
# What a worker is told of the environment
SETTINGS = ("BANK", "AUDIOSET", "DESED", "URBAN_SED", "PANNS", "CACHE", "DEVICE", "TEST_FOLD")
SETTINGS += ("THREADS", "DETERMINISTIC", "CHECKPOINT_SECONDS")


def modules_of(spec: dict) -> list[str]:
    """The modules of wsaed whose code a run's numbers depend on (with all they import)."""
    names = [spec["method"], f"corpora.{spec['corpus']['name']}"]
    names += [spec["net"]["name"]] if "net" in spec else []
    return [f"wsaed.{name.partition(':')[0]}" for name in names]


def code_digest(spec: dict) -> str:
    """Digest of the code that a run and its teachers depend on."""
    parts = [code.digest(modules_of(spec))]
    parts += [code_digest(teacher) for teacher in spec.get("teachers", [])]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


@cache
def _fingerprint(text: str) -> str:
    spec = json.loads(text)
    corpus = resolve_name(f"wsaed.corpora.{spec['name']}")
    return getattr(corpus, "fingerprint", lambda spec: "")(spec)


def digests(spec: dict) -> tuple[str, str]:
    """(digest of the code of a run and of its teachers, fingerprint of a user's own data)."""
    return code_digest(spec), _fingerprint(json.dumps(spec["corpus"], sort_keys=True))


def key(spec: dict, replicate: int) -> str:
    """The name of a run's folder: spec, replicate, code and data, and nothing else."""
    text = json.dumps([spec, replicate, *digests(spec)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def folder(spec: dict, replicate: int) -> Path:
    """Where a finished run lies (or would lie): its weights, outputs and record."""
    return cache_root() / "runs" / key(spec, replicate)


def load(spec: dict, replicate: int) -> dict | None:
    """A finished run's record, or None where it has not been trained."""
    path = folder(spec, replicate) / RECORD
    return json.loads(path.read_text()) if path.exists() else None


def pinned(spec: dict, replicate: int) -> tuple[dict, int]:
    """(spec, replicate) of a teacher: its own replicate where its spec says one.

    A teacher with ``"replicate": 0`` is the same run for the students of every replicate.
    """
    return {k: v for k, v in spec.items() if k != "replicate"}, spec.get("replicate", replicate)


def train_one(spec: dict, replicate: int, environment: dict | None = None) -> dict:
    """Train one run whose teachers are finished, unless it is there; give its record.

    The run is made in a ``.partial`` folder under a lock and moved into place whole. Under
    torchrun all processes enter; the first one holds the lock and keeps what was made.
    """
    os.environ.update(environment or {})
    torch.set_num_threads(int(os.environ.get("THREADS") or 1))
    home = folder(spec, replicate)
    home.parent.mkdir(parents=True, exist_ok=True)
    rank, world = training.rank_and_world()
    lock = FileLock(f"{home}.lock") if rank == 0 else contextlib.nullcontext()
    with lock:
        done = _agreed(load(spec, replicate) is not None) if world > 1 else home.exists()
        if not done:
            first = home.with_name(f"{home.name}.partial")
            partial = first.with_name(f"{first.name}.{rank}") if rank else first
            if rank:  # only the first process keeps a checkpoint: all go on from there
                shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(exist_ok=True)
            if rank and (first / training.CHECKPOINT).exists():
                shutil.copy(first / training.CHECKPOINT, partial)
            record = _train(spec, replicate, partial)
            if rank == 0:
                # the checkpoint, and halves of files that a kill has left
                for left in (partial / training.CHECKPOINT, *partial.glob(".*.partial*")):
                    left.unlink(missing_ok=True)
                (partial / RECORD).write_text(json.dumps(record))
                os.replace(partial, home)
            else:
                shutil.rmtree(partial)
        if world > 1:
            torch.distributed.barrier()
    return load(spec, replicate)


def _agreed(done: bool) -> bool:
    flag = torch.tensor([int(done)], device=training.device())
    torch.distributed.broadcast(flag, 0)
    return bool(flag.item())


def _train(spec: dict, replicate: int, partial: Path) -> dict:
    started = time.time()
    if os.environ.get("DETERMINISTIC") == "1":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    teachers = [folder(*pinned(teacher, replicate)) for teacher in spec.get("teachers", [])]

    def tell(row: dict) -> None:
        with open(partial / "progress.jsonl", "a") as file:
            file.write(json.dumps(row | {"seconds": round(time.time() - started, 1)}) + "\n")

    scores = resolve_name(f"wsaed.{spec['method']}")(spec, replicate, partial, teachers, tell)
    made_by, data = digests(spec)
    return {
        "spec": spec,
        "replicate": replicate,
        "code": made_by,
        "data": data,
        "scores": scores,
        "versions": {name: version(name) for name in ("torch", "torchaudio", "numpy", "scipy")},
        "cost": {
            "seconds": round(time.time() - started, 2),
            "device": training.device().type,
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        },
    }


def waves(wanted: list[tuple[dict, int]]) -> list[list[tuple[dict, int]]]:
    """The missing runs and their missing teachers, in waves that only need earlier waves."""
    found, level = [], {}

    def visit(spec: dict, replicate: int) -> int:
        """The first wave that may need this run, 0 where it is finished."""
        name = key(spec, replicate)
        if name not in level:
            level[name] = 0
            if load(spec, replicate) is None:  # what is finished needs its teachers no more
                below = [visit(*pinned(teacher, replicate)) for teacher in spec.get("teachers", [])]
                wave = max(below, default=0)
                found.extend([] for _ in range(wave + 1 - len(found)))
                found[wave].append((spec, replicate))
                level[name] = wave + 1
        return level[name]

    for run in wanted:
        visit(*run)
    return [sorted(wave, key=lambda run: -cost(run[0])) for wave in found]


def cost(spec: dict) -> float:
    """A run's rough cost in epochs of 200 frames a clip: its place in a wave, the time to go.

    A hundred steps of a run that counts steps are taken for an epoch.
    """
    budget = spec.get("budget", {"epochs": 0.1})
    epochs = budget["steps"] / 100 if "steps" in budget else budget["epochs"]
    return epochs * FRONT_ENDS[spec["front_end"]].frames / 200 if "front_end" in spec else epochs


class FailedError(RuntimeError):
    """Why runs failed, by their `key`: what it says is the first one's reason."""

    def __init__(self, faults: dict[str, str]):
        super().__init__(next(iter(faults.values())))
        self.faults = faults


def train(wanted: list[tuple[dict, int]], title: str = "training") -> list[dict]:
    """The records of the wanted (spec, replicate) pairs; what is missing is trained first.

    Raises FailedError in one line that names a run where some failed, after all others.
    """
    todo, faults = waves(wanted), {}
    # joblib replaces a worker that holds a corpus in memory, and warns; nothing is lost by it
    warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
    if todo:
        asked_by = None if os.environ.get("DASK") else os.getpid()
        with pool() as parallel:
            unmade = prepare(parallel, [run for wave in todo for run in wave], title)
            with progress.bar(title, sum(cost(s) for w in todo for s, _ in w)) as b:
                for wave in todo:
                    for spec, r in wave:
                        needed = (key(*pinned(teacher, r)) for teacher in spec.get("teachers", []))
                        lost = [faults[name] for name in needed if name in faults]
                        lost += filter(None, [unmade.get(_features_of(spec, r))])
                        faults |= {key(spec, r): why for why in lost[:1]}
                    able = [run for run in wave if key(*run) not in faults]
                    b(sum(cost(spec) for spec, _ in wave) - sum(cost(spec) for spec, _ in able))
                    jobs = [joblib.delayed(_job)(*run, _environment(), asked_by) for run in able]
                    for spent, fault in parallel(jobs):
                        b(spent)
                        faults |= fault
    if faults:
        raise FailedError(faults)
    return [load(spec, replicate) for spec, replicate in wanted]


def _environment() -> dict:
    return {name: os.environ[name] for name in SETTINGS if name in os.environ}


def _reason(error: Exception, log: Path) -> str:
    """An error in one line; how one came about that no user can mend goes to a log."""
    reason = f"{type(error).__name__}: {first_line(error)}"
    if "inline_container" in reason:  # torch's words for a checkpoint that it could not write
        return f"no checkpoint could be written; is there room under {cache_root()}?"
    if not isinstance(error, ValueError | OSError | RuntimeError | SafetensorError):
        write_whole(log, "".join(traceback.format_exception(error)))
        reason += f" (log: {shown(log)})"
    return reason


def _job(spec: dict, replicate: int, environment: dict, asked_by: int | None) -> tuple[float, dict]:
    """(a run's `cost`, {its key: why it failed} or nothing), once it is trained."""
    if asked_by not in (None, os.getpid(), os.getppid()):
        os._exit(1)  # a pool's worker with jobs left, whose parent ended between two of them
    fault, name = {}, key(spec, replicate)
    try:
        train_one(spec, replicate, environment)
    except SystemExit:
        os._exit(1)  # the parent has ended: a pool's worker would wait for it for ever
    except Exception as error:
        reason = _reason(error, folder(spec, replicate).with_suffix(".log"))
        fault[name] = f"the run {spec['method']} (replicate {replicate}, {name}) failed: {reason}"
    return cost(spec), fault


def _features_of(spec: dict, replicate: int) -> str:
    """What names the features that a run needs."""
    return json.dumps([spec["corpus"], replicate, spec.get("front_end")], sort_keys=True)


def prepare(parallel, runs: list[tuple[dict, int]], title: str) -> dict[str, str]:
    """Make the features that the runs need, all cores on each split, before any run trains.

    Gives those that could not be made (`_features_of`), and why.
    """
    wanted = sorted({_features_of(s, r) for s, r in runs if "front_end" in s})
    cores = int(os.environ.get("JOBS") or joblib.cpu_count())
    parts, unmade = [slice(first, None, cores) for first in range(cores)], {}
    make = joblib.delayed(_features)
    calls = [make(names, part, _environment()) for names in wanted for part in parts]
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


def _features(names: str, part: slice, environment: dict) -> tuple[str, dict[str, str]]:
    """Make a part of the features: what the corpus leaves out (`Corpus.left_out`), what failed."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    spec, replicate, front_end = json.loads(names)
    try:
        corpus = corpora.load(spec, replicate)
        splits = corpus.splits.values()
        shards = [(s, k) for s in splits for k in range(-(-len(s) // corpora.SHARD))]
        for split, shard in shards[part]:
            split.features(FRONT_ENDS[front_end], only=shard)
    except Exception as error:
        reason = _reason(error, cache_root() / "features.log")
        what = f"the features of {spec['name']} (replicate {replicate})"
        return "", {names: f"{what} could not be made: {reason}"}
    return corpus.left_out, {}


def wished(paper: str, systems: list[str], p: dict) -> dict:
    """{(system, replicate): spec} of a paper's systems with the parameters ``p``."""
    module = PAPERS[paper]
    specs = {name: spec for name, spec in module.systems(p).items() if name in systems}
    counts = {name: module.replicates(name, p, p["replicates"]) for name in specs}
    return {(name, r): spec for name, spec in specs.items() for r in range(counts[name])}


def collect(jobs: dict, anew: bool = False, write: bool = True, faults: dict | None = None) -> dict:
    """{paper: {(system, replicate): record}} of jobs {paper: (systems, parameters, folder)}.

    There is one order of looking: the committed records in folder/records.json (where a folder is
    given, and not if ``anew``), the cache, training. A replicate of all papers is trained before
    the next, and (``write``) a paper's file is written whole as soon as all runs of a replicate
    are there; it keeps other replicates and systems that an artefact shows, if of today's specs.
    A paper whose run fails goes no further, all others do: then ``faults`` gets {paper: why}, or
    RuntimeError is raised in one line where it is not given.
    """
    wanted, kept, found, failed = {}, {}, {}, {}
    for paper, (systems, p, home) in jobs.items():
        wanted[paper], specs = wished(paper, systems, p), PAPERS[paper].systems(p)
        shown = set().union(*PAPERS[paper].artefacts(p["profile"]).values())
        today = {name: specs.get(name) for name in (shown - set(systems) if anew else shown)}
        committed = read_records(home / RECORDS) if home else {}
        kept[paper] = {k: v for k, v in committed.items() if today.get(k[0]) == v["spec"]}
        found[paper] = {k: v for k, v in kept[paper].items() if k in wanted[paper] and current(v)}
    many = max(p["replicates"] for _, p, _ in jobs.values())
    for r in range(many):
        missing = {
            paper: {k: specs[k] for k in specs if k[1] == r and k not in found[paper]}
            for paper, specs in wanted.items()
            if paper not in failed
        }
        title = f"{', '.join(jobs)}: replicate {r + 1} of {many}"
        why = {}
        try:
            train([(spec, r) for specs in missing.values() for spec in specs.values()], title)
        except (RuntimeError, OSError) as error:  # of runs; or of the pool, and so of all
            keys = [key(spec, r) for specs in missing.values() for spec in specs.values()]
            why = getattr(error, "faults", dict.fromkeys(keys, first_line(error)))
        finally:
            for paper, specs in missing.items():
                trained = {k: load(spec, r) for k, spec in specs.items()}
                if specs and all(trained.values()):
                    found[paper] |= {k: {"system": k[0]} | trained[k] for k in trained}
                    if write and jobs[paper][2]:
                        write_records(jobs[paper][2] / RECORDS, kept[paper] | found[paper])
                elif mine := [
                    why[k] for k in (key(spec, r) for spec in specs.values()) if k in why
                ]:
                    failed[paper] = mine[0]
    if failed and faults is None:
        raise RuntimeError(next(iter(failed.values())))
    (faults if faults is not None else {}).update(failed)
    return {paper: dict(sorted(records.items())) for paper, records in found.items()}


def records(paper: str, systems: list[str], p: dict, home: Path | None = None, anew=False) -> dict:
    """{(system, replicate): record} for a notebook: `collect` of one paper, that writes nothing.

    home: the paper's folder of results.
    """
    return collect({paper: (systems, p, home)}, anew, write=False)[paper]


def current(record: dict) -> bool:
    """Whether a record is of today's code and data."""
    return (record["code"], record["data"]) == digests(record["spec"])


def read_records(path: Path) -> dict:
    """{(system, replicate): record} of a committed records.json; {} where there is none."""
    if not path.exists():
        return {}
    stored = json.loads(path.read_text())
    rows = [{**row, "spec": stored["specs"][row["system"]]} for row in stored["records"]]
    return {(row["system"], row["replicate"]): row for row in rows}


def write_records(path: Path, records: dict) -> None:
    """Write records whole or not at all; machine and times go to cost.json beside it."""
    specs = {key[0]: records[key]["spec"] for key in sorted(records)}
    kept = ("system", "replicate", "code", "data", "versions", "scores")
    rows = [{k: records[key][k] for k in kept} for key in sorted(records)]
    lines = ",\n".join(json.dumps(row) for row in rows)
    head = json.dumps({"specs": specs})[:-1]
    write_whole(path, f'{head},\n"records": [\n{lines}\n]}}\n')
    costs = {f"{s}/{r}": rec["cost"] for (s, r), rec in sorted(records.items()) if "cost" in rec}
    beside, names = path.with_name("cost.json"), {f"{s}/{r}" for s, r in records}
    known = json.loads(beside.read_text()) if beside.exists() else {}
    costs = {k: v for k, v in (known | costs).items() if k in names}
    if costs != known:
        write_whole(beside, json.dumps(costs, indent=0, sort_keys=True) + "\n")


def stale(records: dict) -> list[str]:
    """The systems of `read_records` that other code than today's has made."""
    rows = records.values()
    return sorted({r["system"] for r in rows if r["code"] != code_digest(r["spec"])})


def papers_of(profile: str, replicates: int | None = None) -> dict[str, tuple]:
    """{paper: (its module, its parameters)} of a profile, without those that can't be made.

    These are named on the terminal, with what they lack: a corpus, or classes and recordings.
    Raises ValueError in one line where there is no such profile, or no paper is left.
    """
    found, out = {p: m for p, m in PAPERS.items() if parameters.file(p, profile).exists()}, {}
    if not found:
        there = ", ".join(sorted(path.name for path in (ROOT / "params").iterdir()))
        raise ValueError(f"PROFILE={profile}: no params/{profile}/; there are {there}")
    for paper, module in found.items():
        p = parameters.chosen(paper, profile, replicates=replicates)
        found[paper] = module, p
        lacks = [f"{v}=folder" for v in module.NEEDS if not os.environ.get(v)]
        lacks = " ".join(lacks) if profile == "paper" else ""
        if lacks := (lacks and f"which needs {lacks}") or lacking(paper, p):
            out[paper] = f"{paper}, {lacks}"
    if len(out) == len(found):
        raise ValueError(f"no paper can be made with PROFILE={profile}: {'; '.join(out.values())}")
    for told in out.values():
        print(f"left out: {told}", file=sys.stderr)
    return {paper: both for paper, both in found.items() if paper not in out}


def lacking(paper: str, p: dict) -> str:
    """What a paper's corpora lack, found before anything trains, and what it wants; ""."""
    module = PAPERS[paper]
    names = set().union(*module.artefacts(p["profile"]).values())
    specs = [(s["corpus"], r) for (_, r), s in wished(paper, names, p).items()]
    try:
        for text, r in sorted({(json.dumps(spec, sort_keys=True), r) for spec, r in specs}):
            _fingerprint(text)
            corpora.check(json.loads(text), r)
    except (ValueError, OSError) as error:
        wants = "which wants {} classes of {} recordings or more of a bank: ".format(*module.BANK)
        return wants * ("BANK" in os.environ) + first_line(error)
    return ""


def main(arguments: list[str] | None = None) -> None:
    """Train what the artefacts need that are asked for; print their notebooks."""
    parser = argparse.ArgumentParser(prog="python -m wsaed.runs", description=__doc__)
    parser.add_argument("artefacts", nargs="*", help="e.g. secost/table_2; default: all")
    parser.add_argument("--profile", default="laptop", help="a folder of params/")
    parser.add_argument("--results", type=Path, help="default: results/<profile>[-<bank>]")
    parser.add_argument("--anew", action="store_true", help="leave the committed records out")
    parser.add_argument("--replicates", type=int, help="default: the profile's parameter")
    options = parser.parse_args(arguments)
    results = options.results or ROOT / "results" / folder_of(options.profile)
    every, jobs, faults = {}, {}, {}
    there = papers_of(options.profile, options.replicates)
    for paper, (module, _) in there.items():
        every |= {f"{paper}/{a}": names for a, names in module.artefacts(options.profile).items()}
    wanted = options.artefacts or list(every)
    for artefact in wanted:
        if artefact not in every:
            known = artefact.partition("/")[0] in PAPERS.keys() - there.keys()
            what = "can't be made here" if known else "is no table or figure here: correct its name"
            raise ValueError(f"{artefact} {what}")
        paper = artefact.partition("/")[0]
        jobs.setdefault(paper, (set(), there[paper][1], results / paper))[0].update(every[artefact])
    found = collect(jobs, options.anew, faults=faults)
    for artefact in wanted if os.environ.get("RANK", "0") == "0" else ():
        paper, notebook = artefact.partition("/")[0], ROOT / "notebooks" / f"{artefact}.ipynb"
        complete = wished(paper, every[artefact], jobs[paper][1]).keys() <= found[paper].keys()
        if notebook.exists() and (complete or paper not in faults):
            print(shown(notebook))
    *others, last = [f"{paper} is not all made: {why}" for paper, why in faults.items()] or [""]
    print(*others, sep="\n", end="\n" * bool(others), file=sys.stderr)
    if last:
        raise RuntimeError(last)


if __name__ == "__main__":
    # the importable module's functions, because workers can't be sent those of __main__
    from wsaed import runs

    one_line(runs.main)
