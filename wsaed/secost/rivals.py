"""The rivals of SeCoST's table 2: the networks of its references [7] and [13] (TALNet).

Notebook: secost/table_2.ipynb.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from scipy.linalg import eigh
from torch import nn

from wsaed import nets
from wsaed.features import FrontEnd
from wsaed.nets import EPSILON, LogMelNet, attention, convolution, scaled

STEPS, VALUES = 10, 128  # embeddings a clip, numbers an embedding
Pooling, TalNetPooling = Literal["average", "attention"], Literal["linear", "attention"]
PATCH = 25  # frames into which every patch is averaged, so that one projection fits all hops


class EmbeddingAttention(nn.Module):
    """[7] at the feature level: batch norm, three 1x1 convolutions, pooling, then a classifier.

    ``pooling`` over the ten steps is a plain mean, or weighs every step by a sigmoid score,
    divided by the sum of scores over time; ``hidden``: 1,024 units, 2,048 in the large net.
    SeCoST's table 2 doesn't say whether its rows pool features or decisions; features did better.

    **The embedding is a stand-in.** [7] feeds VGGish, trained on millions of YouTube videos.
    Here ten equal patches of log-mel go through a PCA with whitening (buffers ``centre``,
    ``components``) that `fit_stand_in` takes from the training clips: it carries no pre-training
    at all, and a score with it says nothing about the published one.
    """

    def __init__(self, classes, width=1.0, mels=64, pooling: Pooling = "attention", hidden=1024):
        super().__init__()
        self.register_buffer("centre", torch.zeros(PATCH * mels))
        self.register_buffer("components", torch.zeros(VALUES, PATCH * mels))
        self.mels, hidden = mels, scaled(hidden, width)
        layers = [nn.BatchNorm1d(VALUES)]
        for inputs in (VALUES, hidden, hidden):
            layers += [nn.Conv1d(inputs, hidden, 1, bias=False), nn.BatchNorm1d(hidden)]
            layers += [nn.ReLU(inplace=True), nn.Dropout(0.5)]
        self.body = nn.Sequential(*layers)
        self.cla = nn.Linear(hidden, hidden)
        self.att = nn.Linear(hidden, hidden) if pooling == "attention" else None
        self.norm, self.dropout = nn.BatchNorm1d(hidden), nn.Dropout(0.5)
        self.head = nn.Linear(hidden, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Linear):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel (batch, frames, mels), or embeddings (batch, 10, 128), to probabilities.

        Gives (batch, 10, classes) and (batch, classes). A step's probability is the recording's
        classifier applied to that step alone, with running statistics, no dropout and no
        gradient. Raises ValueError for other shapes and for log-mel before `fit_stand_in`.
        """
        if x.shape[1:] != (STEPS, VALUES):
            x = self.embed(x)
        h = self.body(x.transpose(1, 2)).transpose(1, 2)
        u = self.cla(h).float()
        if self.att is None:
            pooled = nets.average(u)
        else:
            pooled = attention(u, self.att(h).float().sigmoid().clamp(EPSILON, 1 - EPSILON))
        clip = self.head(self.dropout(F.relu(self.norm(pooled)))).float().sigmoid()
        with torch.no_grad():
            norm = self.norm
            statistics = norm.running_mean, norm.running_var, norm.weight, norm.bias
            steps = F.relu(F.batch_norm(u.transpose(1, 2), *statistics)).transpose(1, 2)
            return self.head(steps).float().sigmoid(), clip

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """The stand-in: log-mel (batch, frames, mels) -> embeddings (batch, 10, 128)."""
        if not self.components.any():
            raise ValueError(
                "no embedding is fitted: call fit_stand_in(training log-mel), or give "
                f"(batch, {STEPS}, {VALUES}) embeddings"
            )
        return (self._patches(x) - self.centre) @ self.components.T

    def fit_stand_in(self, x) -> None:
        """PCA and whitening of one-second patches, once, from training log-mel.

        x: (clips, frames, mels), a tensor or an array; a thousand clips are plenty. Every value
        then has variance 1 over these patches; where they span fewer than 128 directions, the
        last values stay 0. Raises ValueError for under 2 clips, another shape, or values that
        are not finite.
        """
        patches = self._patches(torch.as_tensor(x).float().cpu()).flatten(0, 1)
        if len(patches) < 2 * STEPS or not patches.isfinite().all():
            raise ValueError("fit_stand_in needs at least 2 clips of finite log-mel")
        centre = patches.mean(0)
        patches -= centre
        covariance = (patches.T @ patches / (len(patches) - 1)).double().numpy()
        last = len(covariance) - 1
        # scipy's solver can stop at the 128 largest directions of 1,600
        values, vectors = eigh(covariance, subset_by_index=(last - VALUES + 1, last))
        values, vectors = values[::-1].copy(), vectors[:, ::-1].copy()
        # directions without variance would be scaled up to noise: they stay 0
        scale = (values > 1e-5 * values[0]) / values.clip(1e-12) ** 0.5
        self.centre.copy_(centre)
        self.components.copy_(torch.from_numpy((vectors * scale).T))

    def _patches(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, frames, mels) -> (batch, 10, 25 mels): ten patches of 25 frames, averaged."""
        nets.check_log_mel(x, self.mels)
        return F.adaptive_avg_pool2d(x, (STEPS * PATCH, self.mels)).reshape(len(x), STEPS, -1)

    def frames_per_second(self, front_end: FrontEnd) -> float:
        """Steps a second: ten over the clip."""
        return STEPS / front_end.seconds


class TalNet(LogMelNet):
    """[13], TALNet: ten 3x3 convolutions in five pairs, a BiGRU, pooling of frame probabilities.

    Every pair ends in a max pool that halves the mel axis (``mels`` from 32 on); the first two
    halve time as well. ``pooling`` "linear" is linear softmax; "attention" weighs each class by a
    softmax over time of a second dense layer. ``width`` scales the convolutions (at least 8
    filters) and with them the recurrent layer, 512 units a direction at 1.0. Shapes are from its
    authors' public code; no dropout, as in their best model.
    """

    frames_per_step = 4
    shortest = 4

    def __init__(self, classes: int, width=1.0, mels=64, pooling: TalNetPooling = "linear"):
        super().__init__(mels)
        layers, inputs = [], 1
        for i, channels in enumerate([32, 64, 128, 256, 512]):
            outputs = scaled(channels, width)
            for before in (inputs, outputs):
                layers += convolution(before, outputs, 3)
                nn.init.xavier_uniform_(layers[-3].weight)
            layers.append(nn.MaxPool2d((2, 2) if i < 2 else (1, 2)))
            inputs = outputs
        embedding = inputs * (mels // 32)
        self.convolutions = nn.Sequential(*layers)
        self.gru = nn.GRU(embedding, embedding // 2, batch_first=True, bidirectional=True)
        for name, weight in self.gru.named_parameters():
            nn.init.zeros_(weight) if "bias" in name else nn.init.orthogonal_(weight)
        self.detection = _dense(embedding, classes)
        self.attention = _dense(embedding, classes) if pooling == "attention" else None
        self.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel (batch, frames, mels) -> (batch, frames // 4, classes), (batch, classes).

        400 frames, the paper's input, give 100 steps. Under 4 frames the input ends in silence.
        Frame probabilities stay 1e-7 away from 0 and 1. Raises ValueError for other mel bins.
        """
        h = self.convolutions(self.image(x))
        h, _ = self.gru(h.permute(0, 2, 1, 3).flatten(2))
        p = self.detection(h).float().sigmoid().clamp(EPSILON, 1 - EPSILON)
        if self.attention is None:
            return p, nets.linear_softmax(p)
        return p, attention(p, self.attention(h).float().softmax(1))


def _dense(inputs: int, outputs: int) -> nn.Linear:
    dense = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(dense.weight)
    nn.init.zeros_(dense.bias)
    return dense
