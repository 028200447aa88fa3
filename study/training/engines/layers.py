"""Layers of the sparse engine: forward and backward on activations that lie feature by feature.

An activation has the shape (features..., width), that of a sequence (steps, features, width): the examples of a batch
lie side by side, padded to a multiple of LANES. What padding holds is never read: its derivatives are zero. `forward`
and `backward` return arrays that their next call overwrites.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from study.training.engines import kernels
from study.training.engines.kernels import LANES

Array = NDArray[Any]


class Numbers:
    """All numbers that are trained in one flat array and their gradients in another; of a sparse weight, those kept."""

    def __init__(self, network: nn.Module, mask: Mapping[str, Tensor], sparse: Collection[str]) -> None:
        self._network, self._mask, self._sparse = network, mask, sparse
        parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}
        held = [p[mask[name]] if name in sparse else p.flatten() for name, p in parameters.items()]
        ends = np.cumsum([0, *map(len, held)])
        self.values: Array = torch.cat(held).numpy()
        self.gradients: Array = np.zeros_like(self.values)
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


class Layer(ABC):
    """A step of a chain. Those with `parameters` also differentiate in them."""

    parameters: bool = False

    @abstractmethod
    def forward(self, x: Array) -> Array:
        """The output for an input."""

    def differentiate(self, dy: Array) -> None:
        """Put the derivatives in the parameters to where their gradients lie, from the one in the last output."""
        assert not self.parameters, "layers with parameters have their own"

    @abstractmethod
    def backward(self, dy: Array) -> Array:
        """The derivative in the last input, after `differentiate` where there are parameters. May overwrite dy."""


class Weight(Protocol):
    """A linear map W with its values and their gradients; W's positions say on which parts of its input it works."""

    def multiply(self, x: Array, y: Array) -> None:
        """y += W x."""

    def multiply_transposed(self, dy: Array, dx: Array) -> None:
        """dx += W^T dy."""

    def differentiate(self, x: Array, dy: Array) -> None:
        """The gradients of the values."""

    def features_read(self) -> Array:
        """Which of the inputs have a weight."""


@dataclass(frozen=True)
class Compressed:
    """Kept weights by rows (compressed sparse rows): row r has those from `starts[r]` to `starts[r + 1]`.

    Weight k is value `order[k]` and reads at `offsets[k]`, row r writes at r times `stride`; both at all positions.
    """

    starts: Array
    offsets: Array
    order: Array
    stride: int
    reads: Array
    writes: Array

    @staticmethod
    def of(row: Array, offset: Array, count: int, stride: int, reads: Array, writes: Array) -> "Compressed":
        """Sort weights, each given by its row and offset, into `count` rows."""
        order = np.lexsort((offset, row))
        starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=count))])
        return Compressed(starts, offset[order], order, stride, reads, writes)

    def add(self, values: Array, x: Array, y: Array) -> None:
        flat_x, flat_y = x.reshape(-1), y.reshape(-1)
        kernels.add_weighted_sums(
            self.starts, self.offsets, self.order, values, flat_x, self.reads, flat_y, self.stride, self.writes
        )


@dataclass(frozen=True)
class SparseWeight:
    """A weight of which only the kept values exist, in row-major order."""

    values: Array
    gradients: Array
    forward: Compressed
    backward: Compressed

    def multiply(self, x: Array, y: Array) -> None:
        self.forward.add(self.values, x, y)

    def multiply_transposed(self, dy: Array, dx: Array) -> None:
        self.backward.add(self.values, dy, dx)

    def differentiate(self, x: Array, dy: Array) -> None:
        f = self.forward
        flat_x, flat_dy = x.reshape(-1), dy.reshape(-1)
        kernels.weight_gradients(f.starts, f.offsets, flat_x, f.reads, flat_dy, f.stride, f.writes, self.gradients)

    def features_read(self) -> Array:
        return np.flatnonzero(np.diff(self.backward.starts))

    def at(self, step: int, inputs: int, outputs: int, width: int) -> "SparseWeight":
        """The same weight on one step of a sequence: from x (steps, inputs, width) to y (steps, outputs, width)."""
        blocks = np.arange(0, width, LANES)
        reads, writes = step * inputs * width + blocks, step * outputs * width + blocks
        forward = replace(self.forward, reads=reads, writes=writes)
        return replace(self, forward=forward, backward=replace(self.backward, reads=writes, writes=reads))


def linear_weight(values: Array, gradients: Array, mask: Tensor, width: int, steps: int = 1) -> SparseWeight:
    """A matrix (outputs, inputs) on every step of a sequence (steps, inputs, width)."""
    outputs, inputs = mask.shape
    row, column = (index.numpy() for index in mask.nonzero(as_tuple=True))
    blocks = np.arange(0, width, LANES)
    reads, writes = ((np.arange(steps)[:, None] * size * width + blocks).ravel() for size in (inputs, outputs))
    forward = Compressed.of(row, column * width, outputs, width, reads, writes)
    return SparseWeight(values, gradients, forward, Compressed.of(column, row * width, inputs, width, writes, reads))


@dataclass(frozen=True)
class DenseWeight:
    """A whole matrix (outputs, inputs), on (inputs, width)."""

    values: Tensor
    gradients: Tensor

    def multiply(self, x: Array, y: Array) -> None:
        torch.from_numpy(y).add_(product(self.values, torch.from_numpy(x)))

    def multiply_transposed(self, dy: Array, dx: Array) -> None:
        torch.from_numpy(dx).add_(product(self.values.T, torch.from_numpy(dy)))

    def differentiate(self, x: Array, dy: Array) -> None:
        self.gradients.copy_(product(torch.from_numpy(dy), torch.from_numpy(x).T))

    def features_read(self) -> Array:
        return np.arange(self.values.shape[1])


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


class Linear(Layer):
    """A linear layer on (inputs, width), or on every step of (steps, inputs, width)."""

    parameters = True

    def __init__(self, weight: Weight, bias: Bias | None, x: tuple[int, ...], outputs: int, dtype: Any) -> None:
        self.weight, self._bias = weight, bias
        self._y, self._dx = np.zeros((*x[:-2], outputs, x[-1]), dtype), np.zeros(x, dtype)

    def forward(self, x: Array) -> Array:
        self._x = x
        self._y[...] = self._bias.values[:, None] if self._bias else 0
        self.weight.multiply(x, self._y)
        return self._y

    def differentiate(self, dy: Array) -> None:
        self.weight.differentiate(self._x, dy)
        if self._bias:
            kernels.add_up(dy.reshape(-1, *dy.shape[-2:]), self._bias.gradients)

    def backward(self, dy: Array) -> Array:
        self._dx.fill(0)
        self.weight.multiply_transposed(dy, self._dx)
        return self._dx


class PixelLinear(Linear):
    """A first, sparse linear layer on pixels as they are, bytes (inputs, width): its weights normalise them.

    A quarter of the memory to read is twice the speed.
    """

    weight: SparseWeight

    def __init__(
        self, weight: SparseWeight, bias: Bias | None, x: tuple[int, ...], outputs: int, scale: Array, shift: Array
    ) -> None:
        """`scale` and `shift` (inputs) normalise a pixel p to scale p + shift."""
        super().__init__(weight, bias, x, outputs, weight.values.dtype)
        inputs = weight.forward.offsets // weight.forward.stride
        self._scale, self._shift = (each[inputs].astype(weight.values.dtype) for each in (scale, shift))
        self._scaled, self._constants = np.empty_like(weight.values), np.empty(outputs, weight.values.dtype)

    def forward(self, x: Array) -> Array:
        self._x = x
        w = self.weight
        kernels.normalise_weights(w.forward.starts, w.values, self._scale, self._shift, self._scaled, self._constants)
        self._y[...] = (self._constants + self._bias.values if self._bias else self._constants)[:, None]
        w.forward.add(self._scaled, x, self._y)
        return self._y

    def differentiate(self, dy: Array) -> None:
        super().differentiate(dy)
        starts, gradients = self.weight.forward.starts, self.weight.gradients
        kernels.add_up(dy[None], self._constants)
        kernels.normalise_gradients(starts, gradients, self._scale, self._shift, self._constants)


class SparseConv(Layer):
    """A convolution of stride 1, without its pruned weights, on (channels, height, width of the image, width).

    The derivative in the input is a convolution too, of the derivative in the output, padded by the kernel's size, with
    the kernel turned around (Dumoulin & Visin 2016, arXiv 1603.07285, section 4).
    """

    parameters = True

    def __init__(
        self, mask: Tensor, values: Array, gradients: Array, bias: Bias | None, pad: int, x: tuple[int, ...]
    ) -> None:
        channels, height, across, width = x
        outputs, _, kernel_y, kernel_x = mask.shape
        high, wide = height + 2 * pad, across + 2 * pad
        out_high, out_wide = high - kernel_y + 1, wide - kernel_x + 1
        deep, broad = out_high + 2 * (kernel_y - 1), out_wide + 2 * (kernel_x - 1)
        self._x = np.zeros((channels, high, wide, width), values.dtype)
        self._y = np.zeros((outputs, out_high, out_wide, width), values.dtype)
        self._dy = np.zeros((outputs, deep, broad, width), values.dtype)
        self._dx = np.zeros(x, values.dtype)
        self._inside = self._x[:, pad : pad + height, pad : pad + across]
        self._dy_inside = self._dy[:, kernel_y - 1 : kernel_y - 1 + out_high, kernel_x - 1 : kernel_x - 1 + out_wide]
        self._bias = bias

        o, c, i, j = (index.numpy() for index in mask.nonzero(as_tuple=True))
        read = ((c * high + i) * wide + j) * width
        reads, writes = _grid(out_high, out_wide, wide, width), _grid(out_high, out_wide, out_wide, width)
        forward = Compressed.of(o, read, outputs, out_high * out_wide * width, reads, writes)
        read = ((o * deep + kernel_y - 1 + pad - i) * broad + kernel_x - 1 + pad - j) * width
        reads, writes = _grid(height, across, broad, width), _grid(height, across, across, width)
        backward = Compressed.of(c, read, channels, height * across * width, reads, writes)
        self._weight = SparseWeight(values, gradients, forward, backward)

    def forward(self, x: Array) -> Array:
        self._inside[...] = x
        self._y[...] = self._bias.values[:, None, None, None] if self._bias else 0
        self._weight.multiply(self._x, self._y)
        return self._y

    def differentiate(self, dy: Array) -> None:
        self._weight.differentiate(self._x, dy)
        if self._bias:
            kernels.add_up(dy.reshape(1, len(dy), -1), self._bias.gradients)

    def backward(self, dy: Array) -> Array:
        self._dy_inside[...] = dy
        self._dx.fill(0)
        self._weight.multiply_transposed(self._dy, self._dx)
        return self._dx


def _grid(height: int, across: int, pitch: int, width: int) -> Array:
    """Offsets of the positions of an image (height, across) in rows of `pitch` pixels, block of LANES by block."""
    pixels = np.arange(height)[:, None] * pitch + np.arange(across)
    return (pixels[..., None] * width + np.arange(0, width, LANES)).ravel()


class ReLU(Layer):
    """In place."""

    def forward(self, x: Array) -> Array:
        self._y = x
        kernels.relu(x.reshape(-1))
        return x

    def backward(self, dy: Array) -> Array:
        kernels.relu_backward(self._y.reshape(-1), dy.reshape(-1))
        return dy


class MaxPool(Layer):
    """The largest of each 2 x 2, an odd last row or column left out."""

    def __init__(self, x: tuple[int, ...], dtype: Any) -> None:
        channels, height, across, width = x
        self._y = np.zeros((channels, height // 2, across // 2, width), dtype)
        self._chosen = np.zeros(self._y.shape, np.uint8)
        self._dx = np.zeros(x, dtype)

    def forward(self, x: Array) -> Array:
        kernels.max_pool(x, self._y, self._chosen)
        return self._y

    def backward(self, dy: Array) -> Array:
        kernels.max_pool_backward(dy, self._chosen, self._dx)
        return self._dx


class Flatten(Layer):
    """From (features..., width) to (features, width)."""

    def forward(self, x: Array) -> Array:
        self._shape = x.shape
        return x.reshape(-1, x.shape[-1])

    def backward(self, dy: Array) -> Array:
        return dy.reshape(self._shape)


class ImageRows(Layer):
    """From an image (channels, height, width of the image, width) to the sequence of its rows."""

    def forward(self, x: Array) -> Array:
        self._shape = x.shape
        channels, height, across, width = x.shape
        return np.ascontiguousarray(x.transpose(1, 0, 2, 3)).reshape(height, channels * across, width)

    def backward(self, dy: Array) -> Array:
        channels, height, across, width = self._shape
        return np.ascontiguousarray(dy.reshape(height, channels, across, width).transpose(1, 0, 2, 3))


class SparseRecurrent(Layer):
    """What LSTM and GRU share: from a sequence (steps, inputs, width) to the last state (size, width).

    Their weights work on the inputs of all steps at once; on the states step by step, but for the gradients.
    """

    parameters = True
    gates: int

    def __init__(self, size: int, name: str, mask: Mapping[str, Tensor], numbers: Numbers, x: tuple[int, ...]) -> None:
        self._size, (self._steps, _, width) = size, x
        outputs = self.gates * size

        def weight(part: str) -> SparseWeight:
            values, gradients = numbers.value(f"{name}.{part}"), numbers.gradient(f"{name}.{part}")
            return linear_weight(values, gradients, mask[f"{name}.{part}"], width, self._steps)

        def bias(part: str) -> Bias:
            return Bias(numbers.value(f"{name}.{part}"), numbers.gradient(f"{name}.{part}"))

        def buffer(steps: int, features: int) -> Array:
            return np.zeros((steps, features, width), numbers.values.dtype)

        self._on_inputs, self._on_states = weight("weight_ih_l0"), weight("weight_hh_l0")
        self._on_state = [self._on_states.at(step, size, outputs, width) for step in range(self._steps)]
        self._bias_inputs, self._bias_states = bias("bias_ih_l0"), bias("bias_hh_l0")
        self._gates, self._dgates = buffer(self._steps, outputs), buffer(self._steps, outputs)
        self._states, self._dstates = buffer(self._steps + 1, size), buffer(self._steps + 1, size)
        self._dx = np.zeros(x, numbers.values.dtype)

    def backward(self, dy: Array) -> Array:
        self._dx.fill(0)
        self._on_inputs.multiply_transposed(self._dgates, self._dx)
        return self._dx


class SparseLSTM(SparseRecurrent):
    """Hochreiter & Schmidhuber 1997 with forget gates, as torch orders them: input, forget, cell, output."""

    gates = 4

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._cells, self._squashed = np.zeros_like(self._states), np.zeros_like(self._states)

    def forward(self, x: Array) -> Array:
        self._x = x
        self._gates[...] = (self._bias_inputs.values + self._bias_states.values)[:, None]
        self._on_inputs.multiply(x, self._gates)
        for step, on_state in enumerate(self._on_state):
            on_state.multiply(self._states, self._gates)
            gates = torch.from_numpy(self._gates[step])
            gates[: 2 * self._size].sigmoid_()
            gates[2 * self._size : 3 * self._size].tanh_()
            gates[3 * self._size :].sigmoid_()
            kernels.lstm_cell(self._gates[step], self._cells[step], self._cells[step + 1])
            squashed = torch.tanh(torch.from_numpy(self._cells[step + 1]), out=torch.from_numpy(self._squashed[step]))
            torch.mul(gates[3 * self._size :], squashed, out=torch.from_numpy(self._states[step + 1]))
        last: Array = self._states[-1]
        return last

    def differentiate(self, dy: Array) -> None:
        dstate, dcell = dy, np.zeros_like(dy)
        self._dstates.fill(0)
        for step in reversed(range(self._steps)):
            kernels.lstm_cell_backward(
                self._gates[step], self._cells[step], self._squashed[step], dstate, dcell, self._dgates[step]
            )
            self._on_state[step].multiply_transposed(self._dgates, self._dstates)
            dstate = self._dstates[step]
        self._on_states.differentiate(self._states, self._dgates)
        self._on_inputs.differentiate(self._x, self._dgates)
        kernels.add_up(self._dgates, self._bias_inputs.gradients)
        self._bias_states.gradients[:] = self._bias_inputs.gradients


class SparseGRU(SparseRecurrent):
    """Cho et al. 2014 as torch computes it, the reset gate after the product: reset, update, new."""

    gates = 3

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._recurrent, self._drecurrent = np.zeros_like(self._gates), np.zeros_like(self._gates)

    def forward(self, x: Array) -> Array:
        self._x = x
        self._gates[...] = self._bias_inputs.values[:, None]
        self._recurrent[...] = self._bias_states.values[:, None]
        self._on_inputs.multiply(x, self._gates)
        size = self._size
        for step, on_state in enumerate(self._on_state):
            on_state.multiply(self._states, self._recurrent)
            gates, recurrent = torch.from_numpy(self._gates[step]), torch.from_numpy(self._recurrent[step])
            gates[: 2 * size].add_(recurrent[: 2 * size]).sigmoid_()
            gates[2 * size :].addcmul_(gates[:size], recurrent[2 * size :]).tanh_()
            new, state = gates[2 * size :], torch.from_numpy(self._states[step])
            torch.lerp(new, state, gates[size : 2 * size], out=torch.from_numpy(self._states[step + 1]))
        last: Array = self._states[-1]
        return last

    def differentiate(self, dy: Array) -> None:
        dstate = dy
        self._dstates.fill(0)
        for step in reversed(range(self._steps)):
            kernels.gru_cell_backward(
                self._gates[step],
                self._recurrent[step],
                self._states[step],
                dstate,
                self._dgates[step],
                self._drecurrent[step],
                self._dstates[step],
            )
            self._on_state[step].multiply_transposed(self._drecurrent, self._dstates)
            dstate = self._dstates[step]
        self._on_states.differentiate(self._states, self._drecurrent)
        self._on_inputs.differentiate(self._x, self._dgates)
        kernels.add_up(self._dgates, self._bias_inputs.gradients)
        kernels.add_up(self._drecurrent, self._bias_states.gradients)


class TorchLayers(Layer):
    """Torch's own modules in the chain, with its autograd: from and to (features..., width)."""

    parameters = True

    def __init__(self, modules: nn.Sequential, gradients: Mapping[str, Tensor], width: int, first: bool) -> None:
        """`gradients` are where those in the modules' parameters go."""
        self.modules, self._gradients, self._width, self._first = modules, gradients, width, first
        self.count = width

    def forward(self, x: Array) -> Array:
        """Of the first `count` examples alone: batch norm must not see padding."""
        examples = torch.from_numpy(x[..., : self.count]).movedim(-1, 0)
        layout = torch.channels_last if examples.dim() == 4 else torch.contiguous_format
        self._inputs = examples.contiguous(memory_format=layout).requires_grad_(not self._first)
        with torch.set_grad_enabled(self.modules.training):
            self._outputs = self.modules(self._inputs)
        return self._padded(self._outputs.detach())

    def differentiate(self, dy: Array) -> None:
        derivative = torch.from_numpy(dy[..., : self.count]).movedim(-1, 0)
        wanted = [self.modules.get_parameter(name) for name in self._gradients]
        found = torch.autograd.grad(self._outputs, wanted if self._first else [*wanted, self._inputs], derivative)
        for into, gradient in zip(self._gradients.values(), found, strict=False):
            into.copy_(gradient)
        self._dx = found[-1]

    def backward(self, dy: Array) -> Array:
        return self._padded(self._dx)

    def _padded(self, examples: Tensor) -> Array:
        padded = torch.zeros(*examples.shape[1:], self._width, dtype=examples.dtype)
        padded[..., : len(examples)] = examples.movedim(0, -1)
        return padded.numpy()
