"""TALNet, the convolutional recurrent network of SeCoST's reference [13] (table 2).

Shapes from its authors' public code. Notebook: secost/table_2.ipynb.
"""

import torch
from torch import nn

from wsaed.features import FrontEnd
from wsaed.nets import pooling
from wsaed.nets.layers import MELS, LogMelNet, scaled, settings


class TalNet(LogMelNet):
    """Ten 3x3 convolutions in five pairs, a BiGRU, and a pooling of frame probabilities.

    Every pair ends in a max pool that halves the mel axis; the first two halve time as well.
    """

    frames_per_step = 4
    shortest = 4

    def __init__(self, classes: int, width: float, pooling_rule: str):
        super().__init__()
        layers, inputs = [], 1
        for i, F in enumerate([32, 64, 128, 256, 512]):
            F = scaled(F, width)
            for channels in (inputs, F):
                conv = nn.Conv2d(channels, F, 3, padding=1)
                nn.init.xavier_uniform_(conv.weight)
                layers += [conv, nn.BatchNorm2d(F), nn.ReLU(inplace=True)]
            layers.append(nn.MaxPool2d((2, 2) if i < 2 else (1, 2)))
            inputs = F
        embedding = inputs * MELS // 32
        self.convolutions = nn.Sequential(*layers)
        self.gru = nn.GRU(embedding, embedding // 2, batch_first=True, bidirectional=True)
        for name, weight in self.gru.named_parameters():
            nn.init.zeros_(weight) if "bias" in name else nn.init.orthogonal_(weight)
        self.detection = _dense(embedding, classes)
        self.attention = _dense(embedding, classes) if pooling_rule == "attention" else None
        self.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel (batch, frames, 64) -> (batch, frames // 4, classes), (batch, classes).

        400 frames, the paper's input, give 100 steps. Under 4 frames the input ends in silence.
        Frame probabilities stay 1e-7 away from 0 and 1. Raises ValueError for other mel bins.
        """
        h = self.convolutions(self.image(x))
        h, _ = self.gru(h.permute(0, 2, 1, 3).flatten(2))
        p = self.detection(h).float().sigmoid().clamp(pooling.EPSILON, 1 - pooling.EPSILON)
        if self.attention is None:
            return p, pooling.linear_softmax(p)
        return p, pooling.attention(p, self.attention(h).float().softmax(1))

    def frames_per_second(self, front_end: FrontEnd) -> float:
        """Steps a second."""
        return front_end.frames_per_second / self.frames_per_step


def _dense(inputs: int, outputs: int) -> nn.Linear:
    dense = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(dense.weight)
    nn.init.zeros_(dense.bias)
    return dense


def build(spec: dict, classes: int) -> TalNet:
    """TALNet from ``{"name": "talnet", "pooling": "linear" | "attention", "width": 1.0}``.

    "linear" is `pooling.linear_softmax`; "attention" weights each class by a softmax over time of
    a second dense layer. ``width`` scales the convolutions (at least 8 filters) and with them
    the recurrent layer, 512 units a direction at 1.0. No dropout, as in the authors' best
    model. Raises ValueError for another setting.
    """
    found = settings(spec, classes, pooling=("linear", "attention"))
    return TalNet(classes, found["width"], found["pooling"])
