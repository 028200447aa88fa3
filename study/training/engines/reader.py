"""Batches as the sparse engine takes them: features first, the examples side by side."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
import torch
from torch import Tensor

from study.data.arrays import Part
from study.training.engines import kernels
from study.training.engines.transpose import BYTES, transpose
from study.training.engines.weights import Array

KEPT_BYTES = 64 * 2**20
"""Examples that are gone through again and again are laid out once up to this size: those of MNIST are."""

Examples = tuple[Array, Array]
"""Inputs (features..., width) and labels (n), n no more than the width."""


class Reader:
    """Reads examples of a part into batches of a width, as normalised numbers or as pixels.

    Of pixels it may leave out all but those of the features that are `used`.
    """

    def __init__(self, part: Part, width: int, dtype: str, as_pixels: bool, used: Array | None = None) -> None:
        self._part, self._labels, self._as_pixels = part, part.labels.numpy(), as_pixels
        self._shape = (*part.inputs.shape[1:], width)
        self._x = kernels.zeros(self._shape, np.uint8 if as_pixels else dtype)
        if isinstance(part.inputs, Tensor) and part.are_bytes:
            self._levels = part.levels().numpy().astype(dtype)
            self._images = part.inputs.flatten(1).numpy()
            features = self._images.shape[1]
            flat = self._x.reshape(features, width)
            self._pixels = flat if as_pixels else kernels.zeros((features, width), np.uint8)
            self._words = None if features % BYTES else (self._images.view(np.uint64), self._pixels.view(np.uint64))
            self._columns = np.unique((np.arange(features) if used is None else used) // BYTES)

    def read(self, indices: Tensor, augment: Callable[[Tensor], Tensor] | None = None) -> Examples:
        """The examples at no more than `width` indices, their images augmented. The next call overwrites them."""
        places = indices.numpy()
        if augment is None and self._part.are_bytes:
            self._read_bytes(places)
        else:
            images = self._part.batch(indices, indices.device).inputs
            images = augment(images) if augment else images
            torch.from_numpy(self._x)[..., : len(indices)] = images.movedim(0, -1)
        return self._x, self._labels[places]

    def _read_bytes(self, indices: Array) -> None:
        if self._words:
            transpose(self._words[0], indices, self._columns, self._words[1])
        else:
            self._pixels[:, : len(indices)] = self._images[indices].T
        if not self._as_pixels:
            kernels.look_up(self._levels, prod(self._shape[1:-1]), self._pixels, self._x.reshape(self._pixels.shape))

    def batches(self, indices: Tensor) -> Iterable[Examples]:
        """The examples at `indices` in order, to be gone through any number of times."""
        size = len(indices) * self._x[..., 0].nbytes
        if size > KEPT_BYTES:
            return _Batches(self, indices)
        return [(kernels.copy(x), labels) for x, labels in self.split(indices)]

    def split(self, indices: Tensor) -> Iterator[Examples]:
        return (self.read(part) for part in indices.split(self._shape[-1]))


@dataclass(frozen=True)
class _Batches:
    reader: Reader
    indices: Tensor

    def __iter__(self) -> Iterator[Examples]:
        return self.reader.split(self.indices)


@lru_cache(maxsize=1)
def whole(part: Part, width: int, dtype: str, as_pixels: bool) -> Iterable[Examples]:
    """All examples of a part, kept for the next training that evaluates on it."""
    return Reader(part, width, dtype, as_pixels).batches(torch.arange(len(part)))
