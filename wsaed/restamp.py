"""After a refactoring that changes no number: prove it on one replicate, then renew the digests.

``make restamp`` retrains, for every method and net whose code has changed, one replicate of one
committed system. Only where all scores are equal to the bit do the committed records and the
trained runs in the cache that the very same older code made take the new digest; nothing else
about them changes. What still older code made stays stale.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from wsaed import code, corpora, runs
from wsaed.parameters import one_line


def group(spec: dict) -> str:
    """What one retrained replicate can vouch for: method, net, corpus and front end."""
    net = spec.get("net", {}).get("name", "")
    return " ".join((spec["method"], net, spec["corpus"]["name"], spec.get("front_end", "")))


def depth(spec: dict) -> int:
    """How many stages of teachers stand below a run."""
    return 1 + max((depth(teacher) for teacher in spec.get("teachers", [])), default=-1)


def available(spec: dict) -> bool:
    """Whether the folder that a corpus needs is given, so that it can be trained here."""
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


def equal(records: list[dict]) -> list[bool]:
    """Retrain the records' runs in an empty cache and compare, for each, all its scores."""
    home = os.environ.get("CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CACHE"] = folder
        try:
            fresh = runs.train([(r["spec"], r["replicate"]) for r in records], "restamp")
        finally:
            os.environ.pop("CACHE")
            if home:
                os.environ["CACHE"] = home
    return [new["scores"] == known["scores"] for new, known in zip(fresh, records, strict=True)]


def renew_cache(vouched: set[tuple[str, str]]) -> int:
    """Move the cache's runs of vouched origins to their new keys; how many."""
    count = 0
    for path in sorted((corpora.cache_root() / "runs").glob(f"*/{runs.RECORD}")):
        record = json.loads(path.read_text())
        now = runs.code_digest(record["spec"])
        if origin(record) in vouched and record["code"] != now:
            runs.write_whole(path, json.dumps(record | {"code": now}))
            home = path.parent.with_name(
                runs.key(record["spec"], record["replicate"], record["data"])
            )
            if not home.exists():
                os.replace(path.parent, home)
                count += 1
    return count


def main() -> None:
    paths = sorted((code.ROOT / "results").glob("*/*/records.json"))
    records = {path: runs.read_records(path) for path in paths}
    found = proofs([record for known in records.values() for record in known.values()])
    vouched = set()
    for (name, made_by), same in zip(found, equal(list(found.values())), strict=True):
        told = "equal to the bit" if same else "other numbers, so it must be retrained"
        print(f"{name}, code {made_by[:8]}: {told}")
        vouched |= {(name, made_by)} if same else set()
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
