"""What a data set is once loaded: tensors in memory."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Shape:
    """What a network must know of a data set: one example's shape (channels, height, width), and the classes."""

    inputs: torch.Size
    classes: int


@dataclass(frozen=True)
class Part:
    """Examples: inputs (n, channels, height, width), float32 and normalised; labels (n), int64."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> "Part":
        """The examples at `indices`, copied."""
        return Part(self.inputs[indices], self.labels[indices])


@dataclass(frozen=True)
class Arrays:
    """A whole data set."""

    training: Part
    test: Part
