"""The shallow student: three recurrent layers over log-mel, no convolution and no look ahead.

Section 3.1 of the paper. Notebook: shallow_student/method.ipynb.
"""

import torch
from torch import nn

from wsaed import nets


class LstmStudent(nets.LogMelNet):
    """A three-layer LSTM, 256 units a layer; a dense layer for the frames, one for the attention.

    ``width`` scales the units of a layer; at least 8 are left.
    """

    def __init__(self, classes: int, mels: int = 20, width: float = 1.0):
        super().__init__(mels)
        h = nets.scaled(256, width)
        self.lstm = nn.LSTM(mels, h, 3, batch_first=True)
        self.frames = nn.Linear(h, classes)
        self.attention = nn.Linear(h, classes)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel (batch, frames, mels) -> (batch, frames, classes), (batch, classes).

        Equation 1: z is a softmax over the classes at each frame; a clip's probability is the mean
        of its frames' by these weights, over time.
        """
        H = self.lstm(self.image(x).squeeze(1))[0]
        f, z = self.frames(H).float().sigmoid(), torch.softmax(self.attention(H).float(), 2)
        return f, nets.attention(f, z.clamp_min(nets.EPSILON))
