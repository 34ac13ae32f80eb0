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
import warnings
from functools import cache
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name

import joblib
import torch
from filelock import FileLock

from wsaed import code, corpora, parameters, progress, training
from wsaed.committed import RECORDS, read_records, write_records, writing
from wsaed.features import FRONT_ENDS
from wsaed.files import ROOT, cache_root, first_line, folder_of, one_line, shown
from wsaed.papers import PAPERS, artefacts
from wsaed.pool import adopt, environment, features_of, pool, prepare, reason

RECORD = "record.json"  # of a run in the cache


def code_digest(spec: dict) -> str:
    """Digest of the modules of wsaed, and of all they import, that a run and its teachers take."""
    named = [spec["method"], f"corpora.{spec['corpus']['name']}"]
    named += [spec["net"]["name"]] if "net" in spec else []
    parts = [code.digest(f"wsaed.{name.partition(':')[0]}" for name in named)]
    parts += [code_digest(teacher) for teacher in spec.get("teachers", [])]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


@cache
def _fingerprint(text: str, folders: tuple) -> str:
    spec = json.loads(text)
    corpus = resolve_name(f"wsaed.corpora.{spec['name']}")
    return getattr(corpus, "fingerprint", lambda spec: "")(spec)


def fingerprint(text: str) -> str:
    """Of the user's data that a corpus' spec, as JSON, names; read once for the same folders."""
    return _fingerprint(text, tuple(map(os.environ.get, corpora.ENVIRONMENT)))


def digests(spec: dict) -> tuple[str, str]:
    """(digest of the code of a run and of its teachers, fingerprint of a user's own data)."""
    return code_digest(spec), fingerprint(json.dumps(spec["corpus"], sort_keys=True))


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


def train_one(spec: dict, replicate: int) -> dict:
    """Train one run whose teachers are finished, unless it is there; give its record.

    The run is made in a ``.partial`` folder under a lock and moved into place whole. Under
    torchrun all processes enter; the first one holds the lock and keeps what was made.
    """
    torch.set_num_threads(int(os.environ.get("THREADS") or 1))
    home = folder(spec, replicate)
    home.parent.mkdir(parents=True, exist_ok=True)
    rank, world = training.rank_and_world()
    lock = FileLock(f"{home}.lock") if rank == 0 else contextlib.nullcontext()
    with lock:
        if not _agreed(home.exists(), world):
            partial = first = home.with_name(f"{home.name}.partial")
            if rank:  # only the first process keeps a checkpoint: all go on from there
                partial = first.with_name(f"{first.name}.{rank}")
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


def _agreed(done: bool, world: int) -> bool:
    """What the first of torchrun's processes says."""
    if world == 1:
        return done
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


CHANGED = "code or recordings changed while a run trained: call again"


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
                    able = []
                    for spec, r in wave:
                        needed = [key(*pinned(teacher, r)) for teacher in spec.get("teachers", [])]
                        lost = [*map(faults.get, needed), unmade.get(features_of(spec, r))]
                        if why := next(filter(None, lost), ""):
                            faults[key(spec, r)] = why
                            b(cost(spec))
                        else:
                            able.append(joblib.delayed(_job)(spec, r, environment(), asked_by))
                    for spent, fault in parallel(able):
                        b(spent)
                        faults |= fault
    found = [load(spec, replicate) for spec, replicate in wanted]
    if not faults and None in found:  # a worker has made another run: its digest is another
        faults[key(*wanted[found.index(None)])] = CHANGED
    if faults:
        raise FailedError(faults)
    return found


def _job(spec: dict, replicate: int, settings: dict, asked_by: int | None) -> tuple[float, dict]:
    """(a run's `cost`, {its key: why it failed} or nothing), once it is trained."""
    if asked_by not in (None, os.getpid(), os.getppid()):
        os._exit(1)  # a pool's worker with jobs left, whose parent ended between two of them
    adopt(settings)
    try:
        train_one(spec, replicate)
    except SystemExit:
        os._exit(1)  # the parent has ended: a pool's worker would wait for it for ever
    except Exception as error:
        name, log = key(spec, replicate), folder(spec, replicate).with_suffix(".log")
        said = f"the run {spec['method']} (replicate {replicate}, {name}) failed"
        return cost(spec), {name: f"{said}: {reason(error, log)}"}
    return cost(spec), {}


def wished(paper: str, systems: list[str], p: dict) -> dict:
    """{(system, replicate): spec} of a paper's systems with the parameters ``p``."""
    module = PAPERS[paper]
    specs = {name: spec for name, spec in module.systems(p).items() if name in systems}
    counts = {name: module.replicates(name, p, p["replicates"]) for name in specs}
    return {(name, r): spec for name, spec in specs.items() for r in range(counts[name])}


def collect(jobs: dict, anew: bool = False, write: bool = True) -> tuple[dict, dict]:
    """({paper: {(system, replicate): record}}, {paper: why it failed}) of jobs.

    jobs: {paper: (systems, parameters, folder)}. There is one order of looking: the committed
    records in folder/records.json (where a folder is given, and not if ``anew``), the cache,
    training. A replicate of all papers is trained before the next, and (``write``) a paper's file
    is written whole as soon as all runs of a replicate are there; it keeps other replicates and
    systems that an artefact shows, if of today's specs. A paper whose run fails goes no further,
    all others do.
    """
    wanted, found, failed = {}, {}, {}

    def kept(paper: str) -> dict:
        _, p, home = jobs[paper]
        module = PAPERS[paper]
        specs, shown = module.systems(p), artefacts(module, folder_of(p["profile"])).values()
        committed = read_records(home / RECORDS) if home else {}
        today = {name: specs.get(name) for name in set().union(*shown)}
        return {k: v for k, v in committed.items() if today.get(k[0]) == v["spec"]}

    for paper, (systems, p, _) in jobs.items():
        wanted[paper], mine = wished(paper, systems, p), {} if anew else kept(paper)
        found[paper] = {k: v for k, v in mine.items() if k in wanted[paper] and current(v)}
    many = max(p["replicates"] for _, p, _ in jobs.values())
    for r in range(many):
        missing = {
            paper: {k: specs[k] for k in specs if k[1] == r and k not in found[paper]}
            for paper, specs in wanted.items()
            if paper not in failed
        }
        every, why = [(spec, r) for specs in missing.values() for spec in specs.values()], {}
        try:
            train(every, f"{', '.join(jobs)}: replicate {r + 1} of {many}")
        except FailedError as error:
            why = error.faults
        except (RuntimeError, OSError) as error:  # of the pool, and so of all
            why = dict.fromkeys((key(*run) for run in every), first_line(error))
        finally:
            for paper, specs in missing.items():
                trained = {k: load(spec, r) for k, spec in specs.items()}
                if specs and all(trained.values()):
                    found[paper] |= {k: {"system": k[0]} | trained[k] for k in trained}
                    if write and jobs[paper][2]:
                        with writing():
                            write_records(jobs[paper][2] / RECORDS, kept(paper) | found[paper])
                elif mine := [*filter(None, (why.get(key(spec, r)) for spec in specs.values()))]:
                    failed[paper] = mine[0]
    return {paper: dict(sorted(records.items())) for paper, records in found.items()}, failed


def records(paper: str, systems: list[str], p: dict, home: Path | None = None) -> dict:
    """{(system, replicate): record} for a notebook: `collect` of one paper, that writes nothing.

    home: the paper's folder of results. Raises RuntimeError in one line where a run fails.
    """
    found, failed = collect({paper: (systems, p, home)}, write=False)
    if failed:
        raise RuntimeError(failed[paper])
    return found[paper]


def current(record: dict) -> bool:
    """Whether a record is of today's code and data."""
    return (record["code"], record["data"]) == digests(record["spec"])


def stale(records: dict) -> list[str]:
    """The systems of `read_records` that other code than today's has made."""
    rows = records.values()
    return sorted({r["system"] for r in rows if r["code"] != code_digest(r["spec"])})


def papers_of(profile: str, replicates: int | None = None) -> dict[str, dict]:
    """{paper: its parameters} of a profile, without the papers that can't be made.

    These are named on the terminal, with what they lack: a corpus, or classes and recordings.
    Raises ValueError in one line where there is no such profile, or no paper is left.
    """
    listed = [paper for paper in PAPERS if parameters.file(paper, profile).exists()]
    if not listed:
        there = ", ".join(sorted(path.name for path in (ROOT / "params").iterdir()))
        raise ValueError(f"PROFILE={profile}: no params/{profile}/; there are {there}")
    found = {paper: parameters.chosen(paper, profile, replicates=replicates) for paper in listed}
    lacks = {paper: lacking(paper, p) for paper, p in found.items()}
    out = [f"{paper}, {what}" for paper, what in lacks.items() if what]
    if len(out) == len(found):
        raise ValueError(f"no paper can be made with PROFILE={profile}: {'; '.join(out)}")
    for told in out:
        print(f"left out: {told}", file=sys.stderr)
    return {paper: p for paper, p in found.items() if not lacks[paper]}


def lacking(paper: str, p: dict) -> str:
    """What a paper's corpora lack, found before anything trains, and what it wants; ""."""
    module = PAPERS[paper]
    folders = [f"{name}=folder" for name in module.NEEDS if not os.environ.get(name)]
    if folders and p["profile"] == "paper":
        return f"which needs {' '.join(folders)}"
    names = set().union(*artefacts(module, folder_of(p["profile"])).values())
    specs = [(s["corpus"], r) for (_, r), s in wished(paper, names, p).items()]
    try:
        for text, r in sorted({(json.dumps(spec, sort_keys=True), r) for spec, r in specs}):
            fingerprint(text)
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
    home = ROOT / "results" / folder_of(options.profile)
    results = options.results or home
    if results.parent == Path("results") and results.name != home.name:
        raise ValueError(f"{results} is of other settings, these make {shown(home)}: BANK=folder?")
    there, jobs = papers_of(options.profile, options.replicates), {}
    every = {
        f"{paper}/{artefact}": (paper, names)
        for paper in there
        for artefact, names in artefacts(PAPERS[paper], home.name).items()
    }
    wanted = options.artefacts or list(every)
    for artefact in wanted:
        if artefact not in every:
            known = artefact.partition("/")[0] in PAPERS.keys() - there.keys()
            what = "can't be made here" if known else "is no table or figure here: correct its name"
            raise ValueError(f"{artefact} {what}")
        paper, names = every[artefact]
        jobs.setdefault(paper, (set(), there[paper], results / paper))[0].update(names)
    found, failed = collect(jobs, options.anew)
    for artefact in wanted if os.environ.get("RANK", "0") == "0" else ():
        (paper, names), notebook = every[artefact], ROOT / "notebooks" / f"{artefact}.ipynb"
        if notebook.exists() and wished(paper, names, there[paper]).keys() <= found[paper].keys():
            print(shown(notebook))
    if failed:
        sys.exit("\n".join(f"{paper} is not all made: {why}" for paper, why in failed.items()))


if __name__ == "__main__":
    # the importable module's functions, because workers can't be sent those of __main__
    from wsaed import runs

    one_line(runs.main)
