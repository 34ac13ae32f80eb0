"""The networks of SeCoST's reference [7]: pooling and attention over ten embeddings a clip.

Notebook: secost/table_2.ipynb.
"""

import torch
import torch.nn.functional as F
from torch import nn

from wsaed.features import FrontEnd
from wsaed.nets import pooling
from wsaed.nets.layers import MELS, check_log_mel, scaled, settings

STEPS, VALUES = 10, 128  # embeddings a clip, numbers an embedding
PATCH = 25  # frames into which every patch is averaged, so that one projection fits all hops
KINDS = {
    "pooling": ("decision", 1024),
    "attention": ("decision", 1024),
    "attention_large": ("feature", 2048),
}


class EmbeddingAttention(nn.Module):
    """Input batch norm, three 1x1 convolutions with dropout, then pooling over the ten steps.

    At the decision level every step is classified and the probabilities are pooled. At the
    feature level hidden features are pooled and the recording is classified.

    **The embedding is a stand-in.** [7] feeds VGGish, trained on millions of YouTube videos.
    Here ten equal patches of log-mel go through a PCA with whitening (buffers ``centre``,
    ``components``) that `fit_stand_in` takes from the training clips: it carries no pre-training
    at all, and a score with it says nothing about the published one.
    """

    def __init__(self, classes: int, width: float, attends: bool, level: str, hidden: int):
        super().__init__()
        self.register_buffer("centre", torch.zeros(PATCH * MELS))
        self.register_buffer("components", torch.zeros(VALUES, PATCH * MELS))
        self.level, hidden = level, scaled(hidden, width)
        layers = [nn.BatchNorm1d(VALUES)]
        for inputs in (VALUES, hidden, hidden):
            layers += [nn.Conv1d(inputs, hidden, 1, bias=False), nn.BatchNorm1d(hidden)]
            layers += [nn.ReLU(inplace=True), nn.Dropout(0.5)]
        self.body = nn.Sequential(*layers)
        outputs = classes if level == "decision" else hidden
        self.cla = nn.Linear(hidden, outputs)
        self.att = nn.Linear(hidden, outputs) if attends else None
        if level == "feature":
            self.norm, self.dropout = nn.BatchNorm1d(hidden), nn.Dropout(0.5)
            self.head = nn.Linear(hidden, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Linear):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel (batch, frames, 64), or embeddings (batch, 10, 128), to probabilities.

        Gives (batch, 10, classes) and (batch, classes). At the feature level a step's
        probability is the recording's classifier applied to that step alone, with running
        statistics, no dropout and no gradient. Raises ValueError for other shapes and for
        log-mel before `fit_stand_in`.
        """
        if x.shape[1:] != (STEPS, VALUES):
            x = self.embed(x)
        h = self.body(x.transpose(1, 2)).transpose(1, 2)
        cla = self.cla(h).float()
        if self.level == "decision":
            p = cla.sigmoid()
            return p, self._pool(p, h)
        clip = self.head(self.dropout(F.relu(self.norm(self._pool(cla, h))))).float().sigmoid()
        with torch.no_grad():
            norm = self.norm
            statistics = norm.running_mean, norm.running_var, norm.weight, norm.bias
            steps = F.relu(F.batch_norm(cla.transpose(1, 2), *statistics)).transpose(1, 2)
            return self.head(steps).float().sigmoid(), clip

    def _pool(self, u: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        if self.att is None:
            return pooling.average(u)
        a = self.att(h).float().sigmoid()
        return pooling.attention(u, a.clamp(pooling.EPSILON, 1 - pooling.EPSILON))

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """The stand-in: log-mel (batch, frames, 64) -> embeddings (batch, 10, 128)."""
        if not self.components.any():
            raise ValueError(
                "no embedding is fitted: call fit_stand_in(training log-mel), or give "
                f"(batch, {STEPS}, {VALUES}) embeddings"
            )
        return (_patches(x) - self.centre) @ self.components.T

    def fit_stand_in(self, x) -> None:
        """PCA and whitening of one-second patches, once, from training log-mel.

        x: (clips, frames, 64), a tensor or an array; a thousand clips are plenty. Every value
        then has variance 1 over these patches; where they span fewer than 128 directions, the
        last values stay 0. Raises ValueError for under 2 clips, another shape, or values that
        are not finite.
        """
        # scipy's solver can stop at the 128 largest directions of 1,600
        from scipy.linalg import eigh

        patches = _patches(torch.as_tensor(x).float().cpu()).flatten(0, 1)
        if len(patches) < 2 * STEPS or not patches.isfinite().all():
            raise ValueError("fit_stand_in needs at least 2 clips of finite log-mel")
        centre = patches.mean(0)
        patches -= centre
        covariance = (patches.T @ patches / (len(patches) - 1)).double().numpy()
        last = len(covariance) - 1
        values, vectors = eigh(covariance, subset_by_index=(last - VALUES + 1, last))
        values, vectors = values[::-1].copy(), vectors[:, ::-1].copy()
        # directions without variance would be scaled up to noise: they stay 0
        scale = (values > 1e-5 * values[0]) / values.clip(1e-12) ** 0.5
        self.centre.copy_(centre)
        self.components.copy_(torch.from_numpy((vectors * scale).T))

    def frames_per_second(self, front_end: FrontEnd) -> float:
        """Steps a second: ten over the clip."""
        return STEPS / front_end.seconds


def _patches(x: torch.Tensor) -> torch.Tensor:
    """(batch, frames, 64) -> (batch, 10, 25 x 64): ten patches, each averaged to 25 frames."""
    check_log_mel(x)
    return F.adaptive_avg_pool2d(x, (STEPS * PATCH, MELS)).reshape(len(x), STEPS, PATCH * MELS)


def build(spec: dict, classes: int) -> EmbeddingAttention:
    """A network of [7] from ``{"name": "embedding_attention", "kind": ..., "width": 1.0}``.

    kind: "pooling" averages over time; "attention" weights every step by a sigmoid score, divided
    by the sum of scores over time; "attention_large" does so too, on hidden features and with
    2,048 units instead of 1,024. ``level`` ("decision" or "feature") overrides where
    pooling happens: by default the first two pool decisions. SeCoST's table 2 doesn't say which
    level its rows mean. Raises ValueError for another setting.
    """
    levels = (None, "decision", "feature")
    found = settings(spec, classes, kind=tuple(KINDS), level=levels)
    level, hidden = KINDS[found["kind"]]
    attends = found["kind"] != "pooling"
    return EmbeddingAttention(classes, found["width"], attends, found["level"] or level, hidden)
