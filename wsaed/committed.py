"""A paper's committed records: read, written whole, and what they cost beside them."""

import json
from pathlib import Path

from filelock import FileLock

from wsaed.files import cache_root, shown, write_whole

RECORDS = "records.json"  # of a paper, in a folder of results


def writing() -> FileLock:
    """The lock of committed records while they are read and written anew: another make's, too."""
    cache_root().mkdir(parents=True, exist_ok=True)
    return FileLock(cache_root() / "records.lock")


def read_records(path: Path) -> dict:
    """{(system, replicate): record} of a committed records.json; {} where there is none."""
    if not path.exists():
        return {}
    try:
        stored = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{shown(path)} is no JSON: take it from git ({error})") from error
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
    known, names = read_costs(path.parent), {f"{s}/{r}" for s, r in records}
    costs = {k: v for k, v in (known | costs).items() if k in names}
    if costs != known:
        told = json.dumps(costs, indent=0, sort_keys=True) + "\n"
        write_whole(path.with_name("cost.json"), told)


def read_costs(home: Path) -> dict[str, dict]:
    """{"system/replicate": cost} of the records in a paper's folder of results."""
    path = home / "cost.json"
    return json.loads(path.read_text()) if path.exists() else {}
