"""The average of several trained systems' outputs: SeCoST's two-base control.

Notebook: secost/table_2.ipynb.
"""

from pathlib import Path

import numpy as np

from wsaed import corpora
from wsaed.methods import tagging


def train(spec: dict, replicate: int, folder: Path, teachers: list[Path], tell) -> dict:
    """Average the clip probabilities of the runs in ``teachers``; nothing is trained."""
    corpus = corpora.load(spec["corpus"], replicate)
    for name in corpus.splits:
        outputs = np.mean([np.load(t / f"{name}.npy").astype(np.float32) for t in teachers], 0)
        np.save(folder / f"{name}.npy", outputs)
    scores = tagging.tagging_scores(corpus["test"], np.load(folder / "test.npy"), replicate)
    validation = np.load(folder / "validation.npy")
    scores["validation_map_noisy"] = tagging.map_of(corpus["validation"].clip_labels, validation)
    return scores
