"""``python -m wsaed.corpora``: where the corpora are published; with a reader's name, its command.

``python -m wsaed.corpora desed --help`` says how DESED's folder looks and how to make its features
ahead of a run.
"""

import sys

from wsaed.corpora import audioset, desed, target_sound, urban_sed
from wsaed.files import table

READERS = {m.READER.name: m.READER for m in (audioset, desed, urban_sed, target_sound)}


def main(arguments: list[str]) -> None:
    """Print, or hand the arguments after a reader's name to it."""
    if arguments and arguments[0] not in READERS:
        sys.exit(f"{arguments[0]}: none of the corpora {', '.join(READERS)}")
    if arguments:
        READERS[arguments[0]].main(arguments[1:])
    else:
        for name, known in table("corpora/readers.yaml").items():
            print(f"{name}: {known['published']}")


if __name__ == "__main__":
    main(sys.argv[1:])
