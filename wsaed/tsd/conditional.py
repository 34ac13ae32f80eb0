"""The conditional network: from a reference recording to the 128 values that stand for its sound.

Section 4.1 of the paper: the VGG-like CNN of PANNs, here Cnn14 with a bottleneck of 128, as in the
public code. The paper takes PANNs' weights as they are (section 5.2); without that file the
network is trained to tag generated clips of many classes, whose sources no clip and no reference
of the experiment shares. Notebook: mixed_tsd/method.ipynb.
"""

import math
import os
import pickle
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from wsaed import corpora, nets, tagging, training
from wsaed.corpora.pairs import halves
from wsaed.features import FRONT_ENDS, FrontEnd
from wsaed.nets import LogMelNet, scaled
from wsaed.tsd.nets import EMBEDDING

EMBEDDINGS = "embeddings.npy"
DECIBEL = math.log(10) / 10  # one dB in the log-mel's natural logarithm
# parts of a PANNs checkpoint that have no place here: its front end, and its AudioSet classes
LEFT_OUT = ("spectrogram_extractor.", "logmel_extractor.", "fc_audioset.")
# what a checkpoint may hold besides tensors: the sampler's arrays, under their old and new names
REBUILD = np._core.multiarray._reconstruct
NUMPY = [(REBUILD, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
NUMPY += [np.ndarray, np.dtype]
NUMPY += [type(np.dtype(kind)) for kind in ("bool", "int32", "int64", "float32", "float64")]
BROKEN = (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, AttributeError)
EXPECTED = "take PANNs' Cnn14_emb128, and a net of width 1 and 64 mels"


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm and ReLU, then average pooling; PANNs' names."""

    def __init__(self, inputs: int, outputs: int, pool: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.pool = pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu_(self.bn1(self.conv1(x)))
        return F.avg_pool2d(F.relu_(self.bn2(self.conv2(x))), self.pool)


class Conditional(LogMelNet):
    """Six blocks, mean over mel, maximum plus mean over time, 128 values, then the classes.

    ``width`` scales the filters (at least 8 are left), never the 128 values.
    """

    shortest = 32  # five of the blocks halve time

    def __init__(self, classes: int, width=1.0, mels=64, dropout=1.0):
        super().__init__(mels)
        self.dropout, inputs = dropout, 1
        self.bn0 = nn.BatchNorm2d(mels)
        for i, count in enumerate((64, 128, 256, 512, 1024, 2048), start=1):
            outputs = scaled(count, width)
            setattr(self, f"conv_block{i}", Block(inputs, outputs, 2 if i < 6 else 1))
            inputs = outputs
        self.fc1 = nn.Linear(inputs, EMBEDDING)
        self.fc_audioset = nn.Linear(EMBEDDING, classes)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel (batch, frames, mels) -> (batch, 1, classes), (batch, classes)."""
        h = F.dropout(self.embedding(x), 0.5 * self.dropout, self.training)
        clips = self.fc_audioset(h).float().sigmoid()
        return clips[:, None], clips

    def embedding(self, x: torch.Tensor) -> torch.Tensor:
        """e: log-mel (batch, frames, mels) of references -> (batch, 128), none negative."""
        x = self.bn0(self.image(x).transpose(1, 3)).transpose(1, 3)
        for i in range(1, 7):
            x = getattr(self, f"conv_block{i}")(x)
            x = F.dropout(x, 0.2 * self.dropout, self.training)
        x = x.mean(3)
        x = F.dropout(x.amax(2) + x.mean(2), 0.5 * self.dropout, self.training)
        return F.relu(self.fc1(x))

    def frames_per_second(self, front_end: FrontEnd) -> float:
        """One step a clip."""
        return 1 / front_end.seconds


def train(spec: dict, replicate: int, folder: Path, teachers: list[Path], tell) -> dict:
    """Train the network into ``folder`` to tag its own corpus; its curves, with validation mAP."""
    corpus = corpora.load(spec["corpus"], replicate)
    labels = np.asarray(corpus["train"].clip_labels, np.float32)
    where = spec, replicate, folder, tell
    return tagging.learn(corpus, F.binary_cross_entropy, labels, *where)[2]


def embed(spec: dict, replicate: int, folder: Path, teachers: list[Path], tell) -> dict:
    """Write the references' embeddings.npy, (references, 128) float32; {"reference_accuracy"}.

    The network is the teacher's, or with spec["panns"], a file's name, the environment's PANNS:
    ValueError where that is another file.
    """
    corpus, front_end = corpora.load(spec["corpus"], replicate), FRONT_ENDS[spec["front_end"]]
    if spec.get("panns"):
        net = nets.build(spec, len(corpus.labels))
        path, name = Path(os.environ.get("PANNS") or ""), spec["panns"]
        if path.name != name:
            raise ValueError(f"PANNS={str(path)!r} must be the path of the file {name}")
        load_panns(path, net)
    else:
        (teacher,) = spec["teachers"]
        classes = len(corpora.load(teacher["corpus"], replicate).labels)
        net = nets.trained(teacher, classes, teachers[0])
    references = corpus["references"]
    e = embeddings(net.to(training.device()), training.resident(references.features(front_end)))
    np.save(folder / EMBEDDINGS, e)
    return {"reference_accuracy": reference_accuracy(e, references.clip_labels)}


def embeddings(net, features) -> np.ndarray:
    """e of every clip in eval mode: (clips, 128) float32."""
    return training.predict(net, features, lambda x, rows: (net.embedding(x),))[0]


def reference_accuracy(e: np.ndarray, clip_labels: np.ndarray) -> float:
    """Share of the references for testing whose class's references for training lie nearest.

    Nearest is the class whose mean embedding has the largest cosine with e, (references, 128).
    """
    trained, tested = halves(clip_labels)
    means = np.stack([e[rows].mean(0) for rows in trained])
    near = e @ (means / (np.linalg.norm(means, axis=1, keepdims=True) + 1e-12)).T
    right = [near[rows].argmax(1) == k for k, rows in enumerate(tested)]
    return float(np.concatenate(right).mean())


def load_panns(path: Path, net: Conditional) -> None:
    """Give the net PANNs' published weights, Cnn14_emb128, all but its AudioSet classes.

    The file is read as weights only, and each of its names must be one of the net's or of
    `LEFT_OUT`. PANNs hears decibels: mean and std turn the natural logarithm into them. Raises
    ValueError, one line, for a file that is something else.
    """
    try:
        with torch.serialization.safe_globals(NUMPY):
            stored = torch.load(path, map_location="cpu", weights_only=True)
        weights = {k: v for k, v in stored["model"].items() if not k.startswith(LEFT_OUT)}
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; {EXPECTED}") from None
    except BROKEN as error:
        said = f"no PANNs checkpoint that can be read as weights only ({type(error).__name__})"
        raise ValueError(f"{path}: {said}; {EXPECTED}") from None
    kept = ("mean", "std", *LEFT_OUT)
    own = {k: v for k, v in net.state_dict().items() if not k.startswith(kept)}
    for name in sorted(own.keys() | weights.keys()):
        mine, given = (v[name].shape if name in v else None for v in (own, weights))
        if mine != given:
            said = "missing" if given is None else "unknown"
            if mine and given:
                said = f"{tuple(given)}, not {tuple(mine)}"
            raise ValueError(f"{path}: {name} is {said}; {EXPECTED}")
    net.load_state_dict(weights, strict=False)
    net.set_statistics(torch.zeros_like(net.mean), torch.full_like(net.std, DECIBEL))
