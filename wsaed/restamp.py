"""After a refactoring that changes no number: prove it on the laptop's runs, renew the evidence.

The laptop profile is the evidence's replicate 0. ``make restamp`` trains it by today's code (what
the cache holds is there already) and compares with the committed records: those whose scores are
equal to the bit vouch for all that the same older code made of the same modules, whose digests are
renewed; nothing else about a record changes, and what differs stays stale. A machine that rounds
otherwise than the one that made the records gets other scores by any code: there the older code,
from git (AGAINST=commit, else HEAD), trains these runs too, and the two must be equal. With BANK
given it is about that bank's evidence.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

from wsaed import parameters, runs
from wsaed.committed import RECORDS, read_records, write_records
from wsaed.files import ROOT, folder_of, one_line
from wsaed.papers import PAPERS

TRAIN = "import json, sys; from wsaed import runs; "
TRAIN += "print(json.dumps(runs.train(json.load(sys.stdin), 'restamp, older code')))"


def retrained_by(commit: str, wanted: list) -> list[dict]:
    """The records of (spec, replicate) pairs by the code of a commit, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        archive = ["git", "archive", f"--output={folder}/older.tar", commit, "wsaed"]
        if subprocess.run(archive, cwd=ROOT).returncode:
            raise RuntimeError(f"no older code to compare with: is {commit} a commit here?")
        shutil.unpack_archive(f"{folder}/older.tar", folder)
        environment = os.environ | {"CACHE": f"{folder}/cache", "PYTHONPATH": folder}
        call = {"cwd": folder, "env": environment, "stdout": subprocess.PIPE, "text": True}
        older = subprocess.run([sys.executable, "-c", TRAIN], input=json.dumps(wanted), **call)
        if older.returncode:
            raise RuntimeError("the older code could not train these runs (see above)")
        return json.loads(older.stdout)


def same(one: dict, other: dict) -> bool:
    """Whether two records' scores are equal to the bit; NaN is equal to NaN."""
    one, other = (json.dumps(record["scores"], sort_keys=True) for record in (one, other))
    return one == other


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m wsaed.restamp", description=__doc__)
    parser.add_argument("--against", default="HEAD", help="the commit whose code made the records")
    against, known, made = parser.parse_args(arguments).against, [], {True: set(), False: set()}
    evidence, laptop = (ROOT / "results" / folder_of(name) for name in ("evidence", "laptop"))
    for paper, module in PAPERS.items():
        p = parameters.chosen(paper, "laptop", replicates=1)
        wanted = runs.wished(paper, set().union(*module.artefacts("laptop").values()), p)
        committed = read_records(evidence / paper / RECORDS)
        mine = [record for k, record in committed.items() if wanted.get(k) == record["spec"]]
        known += [record for record in mine if not runs.current(record)]
    pairs = [(record["spec"], record["replicate"]) for record in known]
    new = runs.train(pairs, "restamp")
    doubtful = [i for i, record in enumerate(known) if not same(record, new[i])]
    again = retrained_by(against, [pairs[i] for i in doubtful]) if doubtful else []
    older = dict(zip(doubtful, again, strict=True))  # where this machine rounds otherwise
    for i, record in enumerate(known):
        old = older.get(i, record)
        equal = old["code"] == record["code"] and same(old, new[i])
        # (older code, its data, today's code) of what is equal, and of what is not
        made[equal].add((record["code"], record["data"], new[i]["code"]))
        print(f"{record['spec']['method']}, {record['system']}:", "equal" if equal else "differs")
    for path in [*evidence.glob("*/records.json"), *laptop.glob("*/records.json")]:
        records = read_records(path)
        for record in records.values():
            code, data = runs.digests(record["spec"])
            if (record["code"], record["data"], code) in made[True] - made[False]:
                record["code"], record["data"] = code, data
        write_records(path, records)


if __name__ == "__main__":
    one_line(main)
