"""Recurrent networks that read an image row by row (Lee, Ajanthan & Torr 2019, table 2).

Each row is projected to the hidden size: the paper does not say so, but its parameter counts do. They include biases.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from study.models.blocks import sequential


def lstm_s(inputs: torch.Size, classes: int) -> nn.Module:
    """128 hidden units; 135,936 weights on MNIST (table 2: 137k)."""
    return _row_by_row(LSTM(128, 128, batch_first=True), inputs, classes)


def lstm_b(inputs: torch.Size, classes: int) -> nn.Module:
    """256 hidden units; 534,016 weights on MNIST (table 2: 536k)."""
    return _row_by_row(LSTM(256, 256, batch_first=True), inputs, classes)


def gru_s(inputs: torch.Size, classes: int) -> nn.Module:
    """128 hidden units; 103,168 weights on MNIST (table 2: 104k)."""
    return _row_by_row(GRU(128, 128, batch_first=True), inputs, classes)


def gru_b(inputs: torch.Size, classes: int) -> nn.Module:
    """256 hidden units; 402,944 weights on MNIST (table 2: 404k)."""
    return _row_by_row(GRU(256, 256, batch_first=True), inputs, classes)


class Rows(nn.Module):
    """Images (n, channels, height, width) as sequences of their rows, (n, height, channels x width)."""

    def forward(self, images: Tensor) -> Tensor:
        return images.transpose(1, 2).flatten(2)


class LSTM(nn.LSTM):
    """Of a sequence (n, steps, features), the last state (n, hidden)."""

    def forward(self, rows: Tensor) -> Tensor:  # type: ignore[override]
        return _last_state(super().forward, rows)


class GRU(nn.GRU):
    """Of a sequence (n, steps, features), the last state (n, hidden)."""

    def forward(self, rows: Tensor) -> Tensor:  # type: ignore[override]
        return _last_state(super().forward, rows)


def _last_state(recurrent: Callable[[Tensor], tuple[Tensor, Any]], rows: Tensor) -> Tensor:
    with torch.backends.cudnn.flags(enabled=False):  # cuDNN has no second derivative, which GraSP takes
        states, _ = recurrent(rows)
    return states[:, -1]


def _row_by_row(recurrent: LSTM | GRU, inputs: torch.Size, classes: int) -> nn.Module:
    channels, _, width = inputs
    projection = nn.Linear(channels * width, recurrent.hidden_size, bias=False)
    output = nn.Linear(recurrent.hidden_size, classes)
    return sequential({"rows": Rows(), "projection": projection, "recurrent": recurrent, "output": output})
