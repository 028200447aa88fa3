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
from study.training.engines.weights import Array

KEPT_BYTES = 64 * 2**20
"""Examples that are gone through again and again are laid out once up to this size: those of MNIST are."""

Examples = tuple[Array, Array]
"""Inputs (features..., width) and labels (n), n no more than the width."""


class Reader:
    """Reads examples of a part into batches of a width, as normalised numbers or as pixels."""

    def __init__(self, part: Part, width: int, dtype: str, as_pixels: bool) -> None:
        self._part, self._width, self._as_pixels = part, width, as_pixels
        self._dtype = np.dtype(np.uint8 if as_pixels else dtype)
        self._shape = (*part.inputs.shape[1:], width)
        if isinstance(part.inputs, Tensor) and part.are_bytes:
            self._levels = part.levels().numpy().astype(dtype)
            self._images = part.inputs.flatten(1).numpy()

    def read(self, indices: Tensor, augment: Callable[[Tensor], Tensor] | None = None) -> Examples:
        """The examples at no more than `width` indices, their images augmented."""
        labels = self._part.labels[indices].numpy()
        if augment is None and self._part.are_bytes:
            return self._from_bytes(indices.numpy()), labels
        images = self._part.batch(indices, indices.device).inputs
        images = augment(images) if augment else images
        x = kernels.zeros(self._shape, self._dtype)
        torch.from_numpy(x)[..., : len(indices)] = images.movedim(0, -1)
        return x, labels

    def _from_bytes(self, indices: Array) -> Array:
        features = self._images.shape[1]
        pixels = kernels.zeros((features, self._width), np.uint8)
        if features % 8:
            pixels[:, : len(indices)] = self._images[indices].T
        else:
            kernels.transpose(self._images.view(np.uint64), indices, pixels.view(np.uint64))
        if self._as_pixels:
            return pixels.reshape(self._shape)
        x = kernels.zeros((features, self._width), self._dtype)
        kernels.look_up(self._levels, prod(self._shape[1:-1]), pixels, x)
        return x.reshape(self._shape)

    def batches(self, indices: Tensor) -> Iterable[Examples]:
        """The examples at `indices` in order, to be gone through any number of times."""
        size = len(indices) * self._dtype.itemsize * prod(self._shape[:-1])
        return list(_Batches(self, indices)) if size <= KEPT_BYTES else _Batches(self, indices)

    def split(self, indices: Tensor) -> Iterator[Examples]:
        return (self.read(part) for part in indices.split(self._width))


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
