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

    def __init__(self, part: Part, width: int, dtype: str, as_pixels: bool, features: Array | None = None) -> None:
        """Of pixels, other features than the given ones are left out: zero."""
        self._part, self._width = part, width
        self._dtype = np.dtype(np.uint8 if as_pixels else dtype)
        shape = part.inputs.shape[1:]
        self._features = np.arange(shape.numel()) if features is None else features
        self._area = shape[1:].numel()
        self._shape = (*shape, width)
        if isinstance(part.inputs, Tensor) and part.are_bytes:
            levels = torch.arange(256).expand(len(part.mean), 256) if as_pixels else part.levels()
            self._levels = levels.numpy().astype(self._dtype)
            self._images = part.inputs.flatten(1).numpy()

    def read(self, indices: Tensor, augment: Callable[[Tensor], Tensor] | None = None) -> Examples:
        """The examples at no more than `width` indices, their images augmented."""
        x, labels = kernels.zeros(self._shape, self._dtype), self._part.labels[indices].numpy()
        if augment is None and self._part.are_bytes:
            features = x.reshape(-1, self._width)
            kernels.gather(self._images, self._levels, self._area, indices.numpy(), self._features, features)
        else:
            images = self._part.batch(indices, indices.device).inputs
            images = augment(images) if augment else images
            torch.from_numpy(x)[..., : len(indices)] = images.movedim(0, -1)
        return x, labels

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
