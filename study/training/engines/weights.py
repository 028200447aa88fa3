"""The numbers that the sparse engine trains, and its linear maps: over kept weights alone, or whole.

Activations have the shape (features..., width), those of a sequence (steps, features, width): the examples of a batch
lie side by side.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from study.training.engines import kernels, sums

Array = NDArray[Any]


class Numbers:
    """All numbers that are trained in one flat array and their gradients in another; of a sparse weight, those kept."""

    def __init__(self, network: nn.Module, mask: Mapping[str, Tensor], sparse: Collection[str]) -> None:
        self._network, self._mask, self._sparse = network, mask, sparse
        parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}
        held = [p[mask[name]] if name in sparse else p.flatten() for name, p in parameters.items()]
        ends = np.cumsum([0, *map(len, held)])
        self.values: Array = torch.cat(held).numpy()
        self.gradients: Array = kernels.zeros(self.values.shape, self.values.dtype)
        self._slices = {name: slice(*ends[i : i + 2]) for i, name in enumerate(parameters)}
        self._shapes = {name: parameter.shape for name, parameter in parameters.items()}
        kept = self.where({name: keep for name, keep in mask.items() if name not in sparse})
        self._kept = None if kept.all() else kept
        self.zero_pruned()

    def value(self, name: str) -> Array:
        return self._view(self.values, name)

    def gradient(self, name: str) -> Array:
        return self._view(self.gradients, name)

    def where(self, of: Mapping[str, Tensor | float], otherwise: float = 1.0) -> Array:
        """An array like `values` that holds what is given for some parameters, and for the others a constant."""
        numbers = np.full_like(self.values, otherwise)
        for name, content in of.items():
            numbers[self._slices[name]] = content.flatten().numpy() if isinstance(content, Tensor) else content
        return numbers

    def mask_gradients(self) -> None:
        """Zero the gradients of pruned numbers, so that these stay zero."""
        if self._kept is not None:
            self.gradients *= self._kept

    def zero_pruned(self) -> None:
        if self._kept is not None:
            self.values[self._kept == 0] = 0

    def write_back(self) -> None:
        """Give the network's parameters their values, in memory of their own."""
        for name, parameter in self._network.named_parameters():
            values = torch.from_numpy(self.value(name).copy())
            if name in self._sparse:
                values = torch.zeros(self._shapes[name], dtype=values.dtype).masked_scatter_(self._mask[name], values)
            parameter.data = values

    def _view(self, array: Array, name: str) -> Array:
        view = array[self._slices[name]]
        return view if name in self._sparse else view.reshape(self._shapes[name])


@dataclass(frozen=True)
class Positions:
    """Where a linear map works: it reads at `reads` and writes at `writes`, vectors of `lanes` numbers each, of which a
    `group` shares each weight.

    Of every row it takes the parts from `first` to `last`, at each position.
    """

    lanes: tuple[int, ...]
    group: tuple[int, ...]
    reads: Array
    writes: Array
    first: Array
    last: Array

    @staticmethod
    def of(length: int, reads: Array, writes: Array, first: Array | int = 0, last: Array | int = 1) -> "Positions":
        """All positions of stretches of a length, each given by where it reads and writes, and by its parts."""
        lanes = sums.lanes(length)
        steps = np.arange(0, length, len(lanes) * sums.FEWEST_LANES)
        first, last = (np.broadcast_to(part, len(reads)).repeat(len(steps)) for part in (first, last))
        reads, writes = (np.add.outer(starts, steps).ravel() for starts in (reads, writes))
        return Positions(lanes, sums.group(lanes, len(reads)), reads, writes, first, last)


@dataclass(frozen=True)
class Compressed:
    """Kept weights by rows (compressed sparse rows), in sections and parts as sums.add_weighted_sums has them.

    Weight k is value `order[k]` and reads at `offsets[k]`, row r of the `rows` writes at r times `stride`.
    """

    starts: Array
    offsets: Array
    order: Array
    rows: int
    stride: int
    parts: int = 1

    @staticmethod
    def of(
        row: Array,
        offset: Array,
        rows: int,
        stride: int,
        section: Array | int = 0,
        part: Array | int = 0,
        parts: int = 1,
    ) -> "Compressed":
        """Sort weights, each given by its row, its offset, and its section and part."""
        place = (section * rows + row) * parts + part
        order = np.lexsort((offset, place))
        sections = int(np.max(section, initial=0)) + 1
        starts = np.concatenate([[0], np.cumsum(np.bincount(place, minlength=sections * rows * parts))])
        return Compressed(starts, offset[order], order, rows, stride, parts)

    def add(self, values: Array, x: Array, y: Array, at: Positions) -> None:
        """y += W x."""
        sums.add_weighted_sums(
            at.lanes,
            at.group,
            self.parts,
            self.starts,
            self.offsets,
            self.order,
            values,
            x.reshape(-1),
            at.reads,
            at.first,
            at.last,
            y.reshape(-1),
            self.rows,
            self.stride,
            at.writes,
        )

    def put(self, values: Array, x: Array, biases: Array, y: Array, rectified: bool, at: Positions) -> None:
        """y = W x + b, or where `rectified` zero if that is negative; of weights in one section of one part."""
        sums.linear(
            at.lanes,
            at.group,
            self.starts,
            self.offsets,
            self.order,
            values,
            x,
            at.reads,
            biases,
            rectified,
            y,
            self.stride,
            at.writes,
        )


@dataclass(frozen=True)
class SparseWeight:
    """A linear map W of which only the kept values exist, in row-major order; `rows` has them in this order.

    `forth` and `back` say on which parts of its input it works.
    """

    values: Array
    gradients: Array
    rows: Compressed
    forward: Compressed
    backward: Compressed
    forth: Positions
    back: Positions

    @cached_property
    def _nothing(self) -> Array:
        return np.zeros(self.backward.rows, self.values.dtype)

    def put(self, x: Array, biases: Array, y: Array, rectified: bool = False) -> None:
        """y = W x + b, or where `rectified` zero if that is negative."""
        self.forward.put(self.values, x, biases, y, rectified, self.forth)

    def put_transposed(self, dy: Array, dx: Array) -> None:
        """dx = W^T dy."""
        self.backward.put(self.values, dy, self._nothing, dx, False, self.back)

    def multiply(self, x: Array, y: Array) -> None:
        """y += W x."""
        self.forward.add(self.values, x, y, self.forth)

    def multiply_transposed(self, dy: Array, dx: Array) -> None:
        """dx += W^T dy."""
        self.backward.add(self.values, dy, dx, self.back)

    def differentiate(self, x: Array, dy: Array) -> None:
        """The gradients of the values."""
        rows, at = self.rows, self.forth
        x, dy = x.reshape(-1), dy.reshape(-1)
        sums.weight_gradients(
            at.lanes, rows.starts, rows.offsets, x, at.reads, dy, rows.stride, at.writes, self.gradients
        )

    def differentiate_put(self, x: Array, biases: Array, y: Array, rectified: bool, dy: Array) -> None:
        """The gradients of the values and the biases of a y that was put; dy becomes zero where the ReLU is flat."""
        rows, at = self.rows, self.forth
        sums.linear_gradients(
            at.lanes,
            rows.starts,
            rows.offsets,
            x,
            at.reads,
            y,
            rectified,
            dy,
            rows.stride,
            at.writes,
            self.gradients,
            biases,
        )


def linear_weight(values: Array, gradients: Array, mask: Tensor, width: int, steps: int = 1) -> SparseWeight:
    """A matrix (outputs, inputs) on every step of a sequence (steps, inputs, width)."""
    outputs, inputs = mask.shape
    row, column = (index.numpy() for index in mask.nonzero(as_tuple=True))
    reads, writes = (np.arange(steps) * size * width for size in (inputs, outputs))
    forward = Compressed.of(row, column * width, outputs, width)
    backward = Compressed.of(column, row * width, inputs, width)
    forth, back = Positions.of(width, reads, writes), Positions.of(width, writes, reads)
    return SparseWeight(values, gradients, forward, forward, backward, forth, back)


@dataclass(frozen=True)
class DenseWeight:
    """A whole matrix (outputs, inputs), on (inputs, width)."""

    values: Tensor
    gradients: Tensor

    def multiply(self, x: Array, y: Array) -> None:
        """y += W x."""
        torch.from_numpy(y).add_(product(self.values, torch.from_numpy(x)))

    def multiply_transposed(self, dy: Array, dx: Array) -> None:
        """dx += W^T dy."""
        torch.from_numpy(dx).add_(product(self.values.T, torch.from_numpy(dy)))

    def differentiate(self, x: Array, dy: Array) -> None:
        """The gradients of the values."""
        self.gradients.copy_(product(torch.from_numpy(dy), torch.from_numpy(x).T))


BY_ONEDNN = 2**20
"""The multiply-adds from which oneDNN's start, some 12 microseconds, is paid for."""


def product(a: Tensor, b: Tensor) -> Tensor:
    """The matrix product, a large one in float32 by oneDNN where torch has it: twice as fast as MKL on AMD."""
    large = a.numel() * b.shape[1] >= BY_ONEDNN
    if large and a.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        found: Tensor = torch.ops.mkldnn._linear_pointwise(a, b.T, None, "none", [], "")
        return found
    return a @ b


@dataclass(frozen=True)
class Bias:
    """A number for each output, and its gradient."""

    values: Array
    gradients: Array

    def differentiate(self, dy: Array) -> None:
        """The gradients, from derivatives (steps, outputs, width)."""
        sums.add_up(sums.lanes(dy.shape[-1]), dy, self.gradients)
