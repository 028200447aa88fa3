"""What a data set is once loaded, and how batches are made of it."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

# Normalised examples that are gone through again and again are kept up to this size: those of MNIST are.
KEPT_BYTES = 64 * 2**20

# Images are moved to a GPU as a whole up to this size: all data sets of the papers but ImageNet.
RESIDENT_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Shape:
    """What a network must know of a data set: one example's shape (channels, height, width), and the classes."""

    inputs: torch.Size
    classes: int


class Images(Protocol):
    """Images of shape (n, channels, height, width), gathered by indices.

    A tensor in memory, one that is mapped from a file, or a reader that decodes what it is asked for.
    """

    @property
    def shape(self) -> torch.Size: ...

    def __getitem__(self, indices: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class Batch:
    """Examples as networks take them: inputs normalised, labels (n) int64."""

    inputs: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Part:
    """Examples: inputs (n, channels, height, width), labels (n) int64; mean and deviation of each channel.

    uint8 inputs are pixels, mean and deviation those of pixels scaled to [0, 1]; batches of them are float32,
    normalised. Floating-point inputs are taken as they are.
    """

    inputs: Images
    labels: Tensor
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def are_in_memory(self) -> bool:
        """Whether the inputs are a tensor that fits onto a GPU, not read anew for each batch."""
        return isinstance(self.inputs, Tensor) and self.inputs.nbytes <= RESIDENT_BYTES

    @property
    def are_bytes(self) -> bool:
        """Whether the inputs are pixels in memory."""
        return isinstance(self.inputs, Tensor) and self.inputs.dtype == torch.uint8

    def batch(self, indices: Tensor, device: torch.device) -> Batch:
        """The examples at `indices`, normalised on the device."""
        inputs = self.inputs[indices].to(device)
        return Batch(inputs if inputs.is_floating_point() else self._normalise(inputs), self.labels[indices].to(device))

    def batches(self, indices: Tensor, size: int, device: torch.device) -> Iterable[Batch]:
        """The examples at `indices` in order, `size` at a time, to be gone through any number of times.

        They are normalised once and kept on the device, or anew each time where that takes more than KEPT_BYTES.
        """
        batches = _Batches(self, indices, size, device)
        return list(batches) if 4 * len(indices) * math.prod(self.inputs.shape[1:]) <= KEPT_BYTES else batches

    def first(self, count: int) -> "Part":
        """The first so many examples, in memory; all where there are fewer."""
        indices = torch.arange(min(count, len(self)))
        return replace(self, inputs=self.inputs[indices], labels=self.labels[indices])

    def on(self, device: torch.device) -> "Part":
        """The same examples, held in the memory of a GPU where they fit."""
        if device.type == "cpu" or not isinstance(self.inputs, Tensor) or not self.are_in_memory:
            return self
        return replace(self, inputs=self.inputs.to(device), labels=self.labels.to(device))

    def black(self) -> Tensor:
        """A black pixel, normalised: (channels, 1, 1)."""
        return self.levels()[:, :1, None]

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift (channels), float64: a pixel p is normalised to scale p + shift."""
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (self.mean, self.std))
        return 1 / (255 * std), -mean / std

    def levels(self) -> Tensor:
        """Each of the 256 values of a pixel, normalised: (channels, 256)."""
        return self._normalise(torch.arange(256, dtype=torch.uint8).expand(len(self.mean), 1, 256)).squeeze(1)

    def _normalise(self, pixels: Tensor) -> Tensor:
        mean, std = _constant(self.mean, pixels.device), _constant(self.std, pixels.device)
        return pixels.float().div_(255).sub_(mean).div_(std)


@cache
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers by channel, laid down on a device once: while a CUDA graph is captured nothing can be copied there."""
    return torch.tensor(values, device=device).view(-1, 1, 1)


@dataclass(frozen=True)
class _Batches:
    part: Part
    indices: Tensor
    size: int
    device: torch.device

    def __iter__(self) -> Iterator[Batch]:
        return (self.part.batch(indices, self.device) for indices in self.indices.split(self.size))


@dataclass(frozen=True)
class Arrays:
    """A whole data set."""

    training: Part
    test: Part
