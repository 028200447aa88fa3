"""Layers of the sparse engine: forward and backward on activations that lie feature by feature.

An activation has the shape (features..., width), that of a sequence (steps, features, width): the examples of a batch
lie side by side, padded to a multiple of FEWEST_LANES. What padding holds is never read: its derivatives are zero.
`forward` and `backward` return arrays that their next call overwrites.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from study.training.engines import kernels, sums
from study.training.engines.weights import Array, Bias, Compressed, DenseWeight, Positions, SparseWeight


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


class Linear(Layer):
    """A linear layer on (inputs, width), its matrix whole."""

    parameters = True

    def __init__(self, weight: DenseWeight, bias: Bias, x: tuple[int, ...], outputs: int, dtype: Any) -> None:
        self._weight, self._bias = weight, bias
        self._y, self._dx = kernels.zeros((outputs, x[-1]), dtype), kernels.zeros(x, dtype)

    def forward(self, x: Array) -> Array:
        self._x = x
        self._y[...] = self._bias.values[:, None]
        self._weight.multiply(x, self._y)
        return self._y

    def differentiate(self, dy: Array) -> None:
        self._weight.differentiate(self._x, dy)
        self._bias.differentiate(dy[None])

    def backward(self, dy: Array) -> Array:
        self._dx.fill(0)
        self._weight.multiply_transposed(dy, self._dx)
        return self._dx


class SparseLinear(Layer):
    """A linear layer without its pruned weights, on (inputs, width), or on every step of (steps, inputs, width).

    A ReLU that follows it may be a part of it: where `rectified`.
    """

    parameters = True
    rectified = False

    def __init__(self, weight: SparseWeight, bias: Bias, x: tuple[int, ...], outputs: int) -> None:
        dtype = weight.values.dtype
        self._weight, self._bias = weight, bias
        self._y, self._dx = kernels.zeros((*x[:-2], outputs, x[-1]), dtype), kernels.zeros(x, dtype)

    def forward(self, x: Array) -> Array:
        self._x = x
        self._weight.put(x, self._bias.values, self._y, self.rectified)
        return self._y

    def differentiate(self, dy: Array) -> None:
        self._weight.differentiate_put(self._x, self._bias.gradients, self._y, self.rectified, dy)

    def backward(self, dy: Array) -> Array:
        self._weight.put_transposed(dy, self._dx)
        return self._dx


class PixelLinear(SparseLinear):
    """A first linear layer on pixels as they are, bytes (inputs, width): its weights normalise them.

    A quarter of the memory to read is twice the speed.
    """

    def __init__(
        self, weight: SparseWeight, bias: Bias, x: tuple[int, ...], outputs: int, scale: Array, shift: Array
    ) -> None:
        """`scale` and `shift` (inputs) normalise a pixel p to scale p + shift. `inputs` has that of each weight."""
        super().__init__(weight, bias, x, outputs)
        dtype = weight.values.dtype
        self.inputs = weight.rows.offsets // weight.rows.stride
        self._scale, self._shift = (each[self.inputs].astype(dtype) for each in (scale, shift))
        self._scaled, self._constants = kernels.zeros(weight.values.shape, dtype), kernels.zeros(outputs, dtype)

    def forward(self, x: Array) -> Array:
        self._x, w, b = x, self._weight, self._bias.values
        kernels.normalise_weights(w.rows.starts, w.values, b, self._scale, self._shift, self._scaled, self._constants)
        w.forward.put(self._scaled, x, self._constants, self._y, self.rectified, w.forth)
        return self._y

    def differentiate(self, dy: Array) -> None:
        super().differentiate(dy)
        starts, gradients = self._weight.rows.starts, self._weight.gradients
        kernels.normalise_gradients(starts, gradients, self._scale, self._shift, self._bias.gradients)


class SparseConv(Layer):
    """A convolution of stride 1, without its pruned weights, on (channels, height, width of the image, width).

    The derivative in the input is a convolution too, of the derivative in the output, padded by the kernel's size, with
    the kernel turned around (Dumoulin & Visin 2016, arXiv 1603.07285, section 4); rows of padding are not visited.
    """

    parameters = True

    def __init__(self, mask: Tensor, values: Array, gradients: Array, bias: Bias, pad: int, x: tuple[int, ...]) -> None:
        channels, height, across, width = x
        outputs, _, kernel_y, kernel_x = mask.shape
        high, wide = height + 2 * pad, across + 2 * pad
        out_high, out_wide = high - kernel_y + 1, wide - kernel_x + 1
        broad = out_wide + 2 * (kernel_x - 1)
        self._x = kernels.zeros((channels, high, wide, width), values.dtype)
        self._y = kernels.zeros((outputs, out_high, out_wide, width), values.dtype)
        self._dy = kernels.zeros((outputs, out_high, broad, width), values.dtype)
        self._dx = kernels.zeros(x, values.dtype)
        self._inside = self._x[:, pad : pad + height, pad : pad + across]
        self._dy_inside = self._dy[:, :, kernel_x - 1 : kernel_x - 1 + out_wide]
        self._bias = bias

        o, c, i, j = (index.numpy() for index in mask.nonzero(as_tuple=True))
        together = _cached_channels(kernel_y, kernel_x, width, values.itemsize)
        offset, stride = ((c * high + i) * wide + j) * width, out_high * out_wide * width
        rows = Compressed.of(o, offset, outputs, stride)
        forward = Compressed.of(o, offset, outputs, stride, c // together)
        down = np.arange(out_high)
        forth = Positions.of(out_wide * width, down * wide * width, down * out_wide * width)
        offset, stride = ((o * out_high + pad - i) * broad + kernel_x - 1 + pad - j) * width, height * across * width
        backward = Compressed.of(c, offset, channels, stride, o // together, i, kernel_y)
        down = np.arange(height)
        first, last = np.maximum(0, down + pad - out_high + 1), np.minimum(kernel_y, down + pad + 1)
        back = Positions.of(across * width, down * broad * width, down * across * width, first, last)
        self._weight = SparseWeight(values, gradients, rows, forward, backward, forth, back)

    def forward(self, x: Array) -> Array:
        self._inside[...] = x
        self._y[...] = self._bias.values[:, None, None, None]
        self._weight.multiply(self._x, self._y)
        return self._y

    def differentiate(self, dy: Array) -> None:
        self._weight.differentiate(self._x, dy)
        self._bias.differentiate(dy.reshape(1, len(dy), -1))

    def backward(self, dy: Array) -> Array:
        self._dy_inside[...] = dy
        self._dx.fill(0)
        self._weight.multiply_transposed(self._dy, self._dx)
        return self._dx


CACHED_BYTES = 32 * 2**10
"""What sums read again and again while they go through the rows of a section: it stays in the first cache."""


def _cached_channels(kernel_y: int, kernel_x: int, width: int, itemsize: int) -> int:
    """How many channels of an image fit into the cache, as far as the kernel reaches from a few positions."""
    reach = kernel_y * (sums.SHARING + (kernel_x - 1) * width) * itemsize
    return max(1, CACHED_BYTES // reach)


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
        self._y = kernels.zeros((channels, height // 2, across // 2, width), dtype)
        self._chosen = kernels.zeros(self._y.shape, np.uint8)
        self._dx = kernels.zeros(x, dtype)

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
