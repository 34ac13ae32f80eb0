"""URBAN-SED v2 (Salamon et al., WASPAA 2017) as a `Corpus`: its annotations and its audio.

URBAN_SED names a folder in the published layout, or one that has it in URBAN-SED_v2.0.0/

    annotations/{train,validate,test}/soundscape_*.txt
    audio/{train,validate,test}/soundscape_*.wav

A soundscape's events stand in its text file: onset, offset, label between tabs, no header (its
JAMS file, which says the same, is not read). Audio may have any rate and any channels, as WAV,
FLAC, Ogg, Opus or MP3.

Splits: train, validation (validate) and test, all with events, each in a fixed order that its
names' hashes give. UrbanSound8K's folds 1-6, 7-8 and 9-10 keep their sources apart; within a split
nearly all clips share some source, so every clip is a group of its own.

A spec has ``train``, ``validation``, ``test`` and ``front_end``, see `recordings.Reader.load`.
``python -m wsaed.corpora urban_sed`` makes it all ahead of a run, in parallel (JOBS) and
resumable: what is done is kept in CACHE/urban_sed. Notebook: start_here.ipynb.
"""

from pathlib import Path

from wsaed.corpora import Event, digest_of, recordings
from wsaed.corpora.recordings import ROUNDING, SECONDS, TIME, Clip, Listing, Reader
from wsaed.files import table

TABLE = table("corpora/readers.yaml")["urban_sed"]
PUBLISHED, LABELS, FOLDERS = TABLE["published"], tuple(TABLE["labels"]), TABLE["places"]
FORM = rf"{TIME}\t{TIME}\t([^\t]+)", "onset, offset, label between tabs"


def files(sizes: dict[str, int]) -> dict[str, tuple[list[Path], dict]]:
    """{split: (its text files, recordings by name)}; FileNotFoundError without the first."""
    home, found = recordings.root_of("URBAN_SED"), {}
    home = home / "URBAN-SED_v2.0.0" if (home / "URBAN-SED_v2.0.0").is_dir() else home
    for split in sizes:
        folder = home / "annotations" / FOLDERS[split]
        texts = sorted(folder.glob("*.txt"))
        if not texts:
            what = "only JAMS and no .txt" if any(folder.glob("*.jams")) else "no .txt"
            what = f"{home}: {what} in annotations/{FOLDERS[split]}"
            raise FileNotFoundError(f"{what}: {READER.get_it()}")
        found[split] = texts, recordings.found_in(home, [f"audio/{FOLDERS[split]}"])
    return found


def clips(texts: list[Path], there: dict[str, tuple[str, int]]) -> list[Clip]:
    """The soundscapes of text files, in the order of their names' hashes."""
    found = []
    for path in sorted(texts, key=lambda path: digest_of(path.stem)):
        (file, content), events = there.get(path.stem, (None, 0)), read(path)
        of = path.parents[2], file, content, path.stem, Path(file or path.stem).name, SECONDS
        found.append(Clip(*of, events, {event.label for event in events}))
    return found


def read(path: Path) -> list[Event]:
    """Events of one soundscape, by label and onset; needs no audio.

    Raises ValueError with file and line for a malformed one and for a label outside `LABELS`.
    """
    lines = recordings.fields(path, *FORM)
    events = [recordings.event(w, x, a, b, LABELS, over=ROUNDING) for w, (a, b, x) in lines]
    return sorted(events, key=lambda event: event[:3])


def listed(sizes: dict[str, int]) -> Listing:
    """As a `Reader` wants it."""
    splits = {split: clips(*found) for split, found in files(sizes).items()}
    where = {split: f"audio/{FOLDERS[split]} of {x[0].root}" for split, x in splits.items()}
    return Listing(LABELS, splits, where, [], {})


SIZES = dict.fromkeys(FOLDERS, 0)
READER = Reader("urban_sed", "URBAN-SED", __doc__, PUBLISHED, SIZES, files, listed, exact=True)
load, fingerprint = READER.load, READER.fingerprint
