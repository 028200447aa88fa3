"""Recurrent networks that read an image row by row (Lee, Ajanthan & Torr 2019, table 2).

Each row is projected to the hidden size: the paper does not say so, but its parameter counts do. They include biases.
"""

import torch
from torch import Tensor, nn


def lstm_s(inputs: torch.Size, classes: int) -> nn.Module:
    """128 hidden units; 135,936 weights on MNIST (table 2: 137k)."""
    return RowByRow(nn.LSTM(128, 128, batch_first=True), inputs, classes)


def lstm_b(inputs: torch.Size, classes: int) -> nn.Module:
    """256 hidden units; 534,016 weights on MNIST (table 2: 536k)."""
    return RowByRow(nn.LSTM(256, 256, batch_first=True), inputs, classes)


def gru_s(inputs: torch.Size, classes: int) -> nn.Module:
    """128 hidden units; 103,168 weights on MNIST (table 2: 104k)."""
    return RowByRow(nn.GRU(128, 128, batch_first=True), inputs, classes)


def gru_b(inputs: torch.Size, classes: int) -> nn.Module:
    """256 hidden units; 402,944 weights on MNIST (table 2: 404k)."""
    return RowByRow(nn.GRU(256, 256, batch_first=True), inputs, classes)


class RowByRow(nn.Module):
    """A projection of each row, a recurrent layer, and the output layer on its last state."""

    def __init__(self, recurrent: nn.LSTM | nn.GRU, inputs: torch.Size, classes: int) -> None:
        super().__init__()
        channels, _, width = inputs
        self.projection = nn.Linear(channels * width, recurrent.hidden_size, bias=False)
        self.recurrent = recurrent
        self.output = nn.Linear(recurrent.hidden_size, classes)

    def forward(self, images: Tensor) -> Tensor:
        rows = self.projection(images.transpose(1, 2).flatten(2))
        with torch.backends.cudnn.flags(enabled=False):  # cuDNN has no second derivative, which GraSP takes
            states, _ = self.recurrent(rows)
        logits: Tensor = self.output(states[:, -1])
        return logits
