"""``python -m wsaed.corpora``: where the corpora are published; with a reader's name, its command.

``python -m wsaed.corpora desed --help`` says how DESED's folder looks; without --help it checks all
audio ahead of a run, and makes the features of a --front-end, in parallel (JOBS) and resumable.
"""

import argparse
import os

import joblib

from wsaed.corpora import audioset, desed, target_sound, urban_sed
from wsaed.features import FRONT_ENDS
from wsaed.files import one_line, table

READERS = {x.READER.name: x.READER for x in (audioset, desed, urban_sed, target_sound)}


def main(arguments: list[str] | None = None) -> None:
    """The command; errors are one line and exit 1."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m wsaed.corpora", description=__doc__)
    commands = parser.add_subparsers()
    for name, reader in READERS.items():
        about = f"{reader.doc}\nPublished at {reader.published}"
        command = commands.add_parser(name, description=about, formatter_class=form)
        for key, count in reader.sizes.items():
            command.add_argument(f"--{key}", type=int, default=count, help=f"({count or 'all'})")
        command.add_argument("--front-end", choices=sorted(FRONT_ENDS))
        command.set_defaults(load=reader.load)
    spec = vars(parser.parse_args(arguments))
    if "load" in spec:
        jobs = int(os.environ.get("JOBS") or joblib.cpu_count())
        print(spec.pop("load")(spec, 0, jobs).about)
    else:
        for name, known in table("corpora/readers.yaml").items():
            print(f"{name}: {known['published']}")


if __name__ == "__main__":
    one_line(main)
