"""After a refactoring that changes no number: prove it on one replicate, then renew the digests.

``make restamp`` retrains, for every method, net and set of options whose code has changed, one
replicate of one committed system. Only where all scores are equal to the bit do the committed
records and the trained runs in the cache that the very same older code made take the new digest;
nothing else about them changes. What still older code made stays stale. A machine that rounds
otherwise than the one that the records come from gives other scores by any code: there the older
code, taken from git (AGAINST=commit, else HEAD), trains the same replicate, and the two must be
equal. Records of a bank are renewed where BANK is given.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from wsaed import code, corpora, runs
from wsaed.files import one_line, write_whole


def group(spec: dict) -> str:
    """What one retrained replicate can vouch for: runs that take the same branches of the code.

    Sizes, budgets and weights may differ, for a number counts as on or off; what a spec names
    may not, so each method, net, option, bank and front end is proven on a run of its own.
    """
    corpus = {key: spec["corpus"].get(key) for key in ("name", "shape", "bank")}
    net = {key: value for key, value in spec.get("net", {}).items() if isinstance(value, str)}
    skipped = ("corpus", "net", "budget", "draw", "teachers")
    kept = {key: _branch(value) for key, value in spec.items() if key not in skipped}
    return json.dumps(kept | {"net": net, "corpus": corpus}, sort_keys=True)


def _branch(value):
    if isinstance(value, int | float):
        return bool(value)
    if isinstance(value, dict):
        return {key: _branch(one) for key, one in value.items()}
    return [_branch(one) for one in value] if isinstance(value, list) else value


def depth(spec: dict) -> int:
    """How many stages of teachers stand below a run."""
    return 1 + max((depth(teacher) for teacher in spec.get("teachers", [])), default=-1)


def available(spec: dict) -> bool:
    """Whether the bank that a corpus needs is given, so that it can be trained here."""
    bank = spec["corpus"].get("bank")
    return not bank or Path(os.environ.get("BANK", "")).name == bank


def origin(record: dict) -> tuple[str, str]:
    """A run's group, and the digest of the code that made it: what is proven, and for what."""
    return group(record["spec"]), record["code"]


def proofs(records: list[dict]) -> dict[tuple[str, str], dict]:
    """The stale record to retrain for each origin: the one with the fewest stages below it."""
    found = {}
    for record in sorted(records, key=lambda r: (depth(r["spec"]), r["replicate"])):
        if record["code"] != runs.code_digest(record["spec"]) and available(record["spec"]):
            found.setdefault(origin(record), record)
    return found


def retrained(records: list[dict]) -> list[dict]:
    """The records of the same runs, trained by today's code in an empty cache."""
    home = os.environ.get("CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CACHE"] = folder
        try:
            return runs.train([(r["spec"], r["replicate"]) for r in records], "restamp")
        finally:
            os.environ.pop("CACHE")
            if home:
                os.environ["CACHE"] = home


TRAIN = """
import json, sys
from wsaed import runs
print(json.dumps(runs.train(json.load(sys.stdin), "restamp, older code")))
"""


def older_code(commit: str) -> bytes | None:
    """The module as a commit has it, a tar file; None, and a line, where git can't give it."""
    archive = ["git", "archive", "--format=tar", commit, "wsaed"]
    try:
        return subprocess.run(archive, cwd=code.ROOT, capture_output=True, check=True).stdout
    except FileNotFoundError as error:
        reason = str(error)
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode().strip().splitlines()[-1]
    print(f"no older code to compare with ({reason}): only the committed numbers count")
    return None


def retrained_by(packed: bytes, records: list[dict]) -> list[dict]:
    """As `retrained`, by the code of `older_code`, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            tar.extractall(folder, filter="data")
        older = subprocess.run(
            [sys.executable, "-c", TRAIN],
            cwd=folder,
            env=os.environ | {"CACHE": f"{folder}/cache", "PYTHONPATH": folder},
            input=json.dumps([(r["spec"], r["replicate"]) for r in records]),
            stdout=subprocess.PIPE,
            text=True,
        )
        if older.returncode:
            raise RuntimeError("the older code could not train these runs (see above)")
        return json.loads(older.stdout)


EQUAL = "equal to the bit"
ROUNDED = "this machine rounds otherwise; here older and today's code are equal to the bit"
OTHER = "other numbers, so it must be retrained"
UNPROVEN = "other numbers, and that commit's code did not make it: give AGAINST=commit"


def outcomes(records: list[dict], packed: bytes | None) -> list[str]:
    """How the retraining of each record came out: `EQUAL`, `ROUNDED`, `OTHER` or `UNPROVEN`."""
    pairs = list(zip(records, retrained(records), strict=True))
    found = [EQUAL if known["scores"] == new["scores"] else OTHER for known, new in pairs]
    doubtful = [i for i, outcome in enumerate(found) if outcome == OTHER]
    if doubtful and packed:
        older = retrained_by(packed, [records[i] for i in doubtful])
        for i, old in zip(doubtful, older, strict=True):
            known, new = pairs[i]
            if old["code"] != known["code"]:
                found[i] = UNPROVEN
            elif old["scores"] == new["scores"]:
                found[i] = ROUNDED
    return found


def renew_cache(vouched: set[tuple[str, str]]) -> int:
    """Move the cache's runs of vouched origins to their new keys; how many."""
    count = 0
    for path in sorted((corpora.cache_root() / "runs").glob(f"*/{runs.RECORD}")):
        record = json.loads(path.read_text())
        now = runs.code_digest(record["spec"])
        if origin(record) in vouched and record["code"] != now:
            write_whole(path, json.dumps(record | {"code": now}))
            home = path.parent.with_name(
                runs.key(record["spec"], record["replicate"], record["data"])
            )
            if not home.exists():
                os.replace(path.parent, home)
                count += 1
    return count


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m wsaed.restamp", description=__doc__)
    parser.add_argument("--against", default="HEAD", help="the commit whose code made the records")
    against = parser.parse_args(arguments).against
    paths = sorted((code.ROOT / "results").glob("*/*/records.json"))
    records = {path: runs.read_records(path) for path in paths}
    every = [record for known in records.values() for record in known.values()]
    found, names = proofs(every), {}
    for record in every:
        names.setdefault(origin(record), set()).add(record["system"])
    packed = older_code(against) if found else None
    vouched = set()
    for made, outcome in zip(found, outcomes(list(found.values()), packed), strict=True):
        spec = found[made]["spec"]
        sounds = spec["corpus"].get("bank") or spec["corpus"]["name"]
        print(f"{spec['method']} on {sounds} ({', '.join(sorted(names[made]))}): {outcome}")
        vouched |= {made} if outcome in (EQUAL, ROUNDED) else set()
    for path, known in records.items():
        for record in known.values():
            if origin(record) in vouched:
                record["code"] = runs.code_digest(record["spec"])
        if known:
            runs.write_records(path, known)
    print(f"{renew_cache(vouched)} trained runs kept in the cache")
    if any(map(runs.stale, records.values())):
        sys.exit("some results are stale: make reproduce-tables, make evidence")


if __name__ == "__main__":
    one_line(main)
