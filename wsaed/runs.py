"""Specs to trained records: cache, locks, one pool, one progress bar.

A run is a spec (plain JSON) and a replicate number. ``python -m wsaed.runs --help`` trains what
the artefacts of a profile need; a notebook that misses a run calls the same `train`.
"""

import argparse
import contextlib
import errno
import hashlib
import importlib
import json
import os
import platform
import shutil
import time
import warnings
from functools import cache
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name

import joblib
import torch
from filelock import FileLock
from safetensors import SafetensorError

from wsaed import code, corpora, progress, training
from wsaed.files import cache_root, one_line, write_whole
from wsaed.features import FRONT_ENDS
from wsaed.parameters import of_profile as parameters
from wsaed.pool import pool

RECORD = "record.json"
VERSIONS = ("torch", "torchaudio", "numpy", "scipy")


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
    corpus = importlib.import_module(f"wsaed.corpora.{spec['name']}")
    return getattr(corpus, "fingerprint", lambda spec: "")(spec)


def digests(spec: dict) -> tuple[str, str]:
    """(digest of the code of a run and of its teachers, fingerprint of a user's own data)."""
    return code_digest(spec), _fingerprint(json.dumps(spec["corpus"], sort_keys=True))


def key(spec: dict, replicate: int, data: str | None = None) -> str:
    """The name of a run's folder: spec, replicate, code and data, and nothing else.

    ``data`` is the fingerprint of a user's own data, measured where it is not given.
    """
    made_by, measured = (code_digest(spec), data) if data is not None else digests(spec)
    text = json.dumps([spec, replicate, made_by, measured], sort_keys=True)
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
                (partial / training.CHECKPOINT).unlink(missing_ok=True)
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
    method = resolve_name(f"wsaed.{spec['method']}")
    if os.environ.get("DETERMINISTIC") == "1":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    teachers = [folder(*pinned(teacher, replicate)) for teacher in spec.get("teachers", [])]

    def tell(row: dict) -> None:
        with open(partial / "progress.jsonl", "a") as file:
            file.write(json.dumps(row | {"seconds": round(time.time() - started, 1)}) + "\n")

    scores = method(spec, replicate, partial, teachers, tell)
    made_by, data = digests(spec)
    return {
        "spec": spec,
        "replicate": replicate,
        "code": made_by,
        "data": data,
        "scores": scores,
        "versions": {name: version(name) for name in VERSIONS},
        "cost": {
            "seconds": round(time.time() - started, 2),
            "device": training.device().type,
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        },
    }


def waves(wanted: list[tuple[dict, int]]) -> list[list[tuple[dict, int]]]:
    """The missing runs and their missing teachers, in waves that only need earlier waves."""
    level = {}

    def visit(spec, replicate):
        name = key(spec, replicate)
        if name not in level:
            missing = load(spec, replicate) is None
            # a finished run needs its teachers no more
            teachers = spec.get("teachers", []) if missing else []
            below = [visit(*pinned(teacher, replicate)) for teacher in teachers]
            level[name] = (max(below, default=-1) + missing, missing, spec, replicate)
        return level[name][0]

    for spec, replicate in wanted:
        visit(spec, replicate)
    missing = [entry for entry in level.values() if entry[1]]
    ordered = sorted(missing, key=lambda entry: (entry[0], -cost(entry[2])))
    found = {}
    for depth, _, spec, replicate in ordered:
        found.setdefault(depth, []).append((spec, replicate))
    return list(found.values())


def cost(spec: dict) -> float:
    """A run's rough cost in epochs of 200 frames a clip: its place in a wave, the time to go.

    A hundred steps of a run that counts steps are taken for an epoch.
    """
    if "budget" not in spec:
        return 0.1
    budget = spec["budget"]
    epochs = budget["steps"] / 100 if "steps" in budget else budget["epochs"]
    return epochs * FRONT_ENDS[spec["front_end"]].frames / 200


def train(wanted: list[tuple[dict, int]], title: str = "training") -> list[dict]:
    """The records of the wanted (spec, replicate) pairs; what is missing is trained first.

    Raises RuntimeError in one line that names the run when one fails.
    """
    todo = waves(wanted)
    # joblib replaces a worker that holds a corpus in memory, and warns; nothing is lost by it
    warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
    if todo:
        asked_by = None if os.environ.get("DASK") else os.getpid()
        with pool() as parallel:
            prepare(parallel, [run for wave in todo for run in wave], title)
            with progress.bar(title, sum(cost(s) for w in todo for s, _ in w)) as b:
                for wave in todo:
                    jobs = [joblib.delayed(_job)(*run, _environment(), asked_by) for run in wave]
                    for spent in parallel(jobs):
                        b(spent)
    return [load(spec, replicate) for spec, replicate in wanted]


def _job(spec: dict, replicate: int, environment: dict, asked_by: int | None) -> float:
    if asked_by not in (None, os.getpid(), os.getppid()):
        os._exit(1)  # a pool's worker with jobs left, whose parent ended between two of them
    try:
        train_one(spec, replicate, environment)
    except SystemExit:
        os._exit(1)  # the parent has ended: a pool's worker would wait for it for ever
    except (ValueError, OSError, RuntimeError, SafetensorError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        if "inline_container" in reason:  # torch's words for a checkpoint that it could not write
            reason = f"no checkpoint could be written; is there room under {cache_root()}?"
        name = f"{spec['method']} (replicate {replicate}, {key(spec, replicate)})"
        raise RuntimeError(f"the run {name} failed: {reason}") from error
    return cost(spec)


def _environment() -> dict:
    names = ("BANK", "AUDIOSET", "DESED", "URBAN_SED", "PANNS", "CACHE", "DEVICE", "TEST_FOLD")
    names += ("THREADS", "DETERMINISTIC", "CHECKPOINT_SECONDS")
    return {name: os.environ[name] for name in names if name in os.environ}


def prepare(parallel, runs: list[tuple[dict, int]], title: str) -> None:
    """Make the features that the runs need, all cores on each split, before any run trains."""
    wanted = {}
    for spec, replicate in runs:
        if "front_end" in spec:
            names = [spec["corpus"], replicate, spec["front_end"]]
            wanted[json.dumps(names, sort_keys=True)] = names
    cores = int(os.environ.get("JOBS") or joblib.cpu_count())
    calls = [
        joblib.delayed(_features)(*names, part, cores, _environment())
        for names in wanted.values()
        for part in range(cores)
    ]
    with progress.bar(f"{title}, features", len(calls), "parts") as b:
        for _ in parallel(calls):
            b(1)


def _features(spec: dict, replicate: int, front_end: str, part: int, parts: int, environment):
    os.environ.update(environment)
    torch.set_num_threads(1)
    jobs = [
        (split, shard)
        for split in corpora.load(spec, replicate).splits.values()
        for shard in range(-(-len(split) // corpora.SHARD))
    ]
    try:
        for split, shard in jobs[part::parts]:
            split.features(FRONT_ENDS[front_end], only=shard)
    except OSError as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT) or "written" in reason:
            reason += f"; is there room under {cache_root()}?"
        name = f"{spec['name']} (replicate {replicate})"
        raise RuntimeError(f"the features of {name} could not be made: {reason}") from error


def wished(paper: str, names: list[str], p: dict, replicates: int) -> dict:
    """{(system, replicate): spec} of a paper's systems, replicate by replicate."""
    module = importlib.import_module(f"wsaed.papers.{paper}")
    specs = {name: spec for name, spec in module.systems(p).items() if name in names}
    counts = {name: module.replicates(name, p, replicates) for name in specs}
    return {(n, r): specs[n] for r in range(replicates) for n in specs if r < counts[n]}


def collect(paper: str, names: list[str], p: dict, replicates: int, resume: Path | None) -> dict:
    """{(system, replicate): record} of a paper's systems; trains what is missing.

    ``resume`` is a records.json to go on from: records whose spec and code are today's are taken
    from it, and every finished replicate is added to it at once, so that a lost machine costs
    one replicate. Without it the cache alone counts.
    """
    wanted = wished(paper, names, p, replicates)
    specs = {name: spec for (name, _), spec in wanted.items()}
    known = {} if resume is None else read_records(resume)
    # a file holds one spec a system: records of another one, of other sizes say, go
    known = {k: v for k, v in known.items() if specs.get(k[0], v["spec"]) == v["spec"]}
    current = {k: known[k] for k, spec in wanted.items() if k in known and _same(known[k], spec)}
    rounds = [[r] for r in range(replicates)] if resume else [range(replicates)]
    for numbers in rounds:
        missing = [k for k in wanted if k[1] in numbers and k not in current]
        if not missing:
            continue
        title = f"{paper}, replicate {numbers[0]}" if resume else paper
        records = train([(wanted[k], k[1]) for k in missing], title)
        current |= {k: {"system": k[0]} | v for k, v in zip(missing, records, strict=True)}
        if resume:
            write_records(resume, known | current)
    return {k: current[k] for k in sorted(current)}


def _same(record: dict, spec: dict) -> bool:
    return record["spec"] == spec and (record["code"], record["data"]) == digests(spec)


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


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m wsaed.runs", description=__doc__)
    parser.add_argument("artefacts", nargs="*", help="e.g. secost/table_2; default: all")
    parser.add_argument("--profile", default="laptop", help="a folder of params/")
    parser.add_argument("--results", type=Path, help="default: results/<profile>")
    parser.add_argument("--resume", action="store_true", help="go on from committed records")
    parser.add_argument("--replicates", type=int, help="default: the profile's parameter")
    options = parser.parse_args(arguments)
    results = options.results or code.ROOT / "results" / options.profile
    if not (code.ROOT / "params" / options.profile).is_dir():
        raise ValueError(f"params/{options.profile} does not exist: which profile?")
    found = sorted(path.stem for path in (code.ROOT / "params" / options.profile).glob("*.yaml"))
    made = {
        paper: importlib.import_module(f"wsaed.papers.{paper}").artefacts(options.profile)
        for paper in found
    }
    known = {f"{paper}/{artefact}" for paper, every in made.items() for artefact in every}
    if unknown := sorted(set(options.artefacts) - known):
        raise ValueError(f"{unknown[0]} is no table or figure here: correct its name")
    jobs = []
    for paper, every in made.items():
        wanted = every
        if options.artefacts:
            wanted = {a: s for a, s in wanted.items() if f"{paper}/{a}" in options.artefacts}
        systems = sorted({system for names in wanted.values() for system in names})
        p = parameters(options.profile, paper)
        p["replicates"] = options.replicates or p["replicates"]
        jobs.append((paper, systems, p, wanted.keys() == every.keys()))
    wishes, failed = {}, None
    if not options.resume:  # all papers' runs together: a core seldom waits for a wave's last run
        for paper, systems, p, _ in jobs:
            wish = wished(paper, systems, p, p["replicates"])
            wishes[paper] = [(spec, r) for (_, r), spec in wish.items()]
        try:
            train([run for wish in wishes.values() for run in wish], options.profile)
        except RuntimeError as error:  # papers that are complete are kept all the same
            failed = error
    most = max(p["replicates"] for _, _, p, _ in jobs)
    # a replicate of every paper before the next: whoever stops early has something of all claims
    for count in range(1, most + 1) if options.resume else [most]:
        for paper, systems, p, whole in jobs:
            if failed and any(load(*run) is None for run in wishes[paper]):
                continue
            path = results / paper / "records.json"
            resume = path if options.resume else None
            records = collect(paper, systems, p, min(count, p["replicates"]), resume)
            if records and whole and count == most:
                # fewer replicates than are committed were asked for: the others stay
                old = read_records(path) if options.resume else {}
                old = {k: v for k, v in old.items() if k[1] >= p["replicates"]}
                today = {k[0]: records[k[0], 0]["spec"] for k in old if (k[0], 0) in records}
                kept = {k: v for k, v in old.items() if today.get(k[0]) == v["spec"]}
                write_records(path, kept | records)
    if failed:
        raise failed


if __name__ == "__main__":
    # the importable module's functions, because workers can't be sent those of __main__
    from wsaed import runs

    one_line(runs.main)
