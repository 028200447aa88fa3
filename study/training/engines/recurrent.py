"""Recurrent layers of the sparse engine, on sequences (steps, features, width)."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from study.training.engines import kernels
from study.training.engines.layers import Layer
from study.training.engines.weights import Array, Bias, Numbers, linear_weight


class SparseRecurrent(Layer):
    """What LSTM and GRU share: from a sequence (steps, inputs, width) to the last state (size, width).

    All that a step needs is done at once, while what it works on lies in the cache; gradients are summed over steps.
    """

    parameters = True
    gates: int

    def __init__(self, size: int, name: str, mask: Mapping[str, Tensor], numbers: Numbers, x: tuple[int, ...]) -> None:
        self._size, (self._steps, _, width) = size, x
        outputs = self.gates * size
        weights, biases = ([f"{name}.{kind}_{of}_l0" for of in ("ih", "hh")] for kind in ("weight", "bias"))
        self._gradients = [numbers.gradient(part) for part in weights + biases]
        self._of_step = [np.zeros_like(gradient) for gradient in self._gradients]

        def buffer(*shape: int) -> Array:
            return kernels.zeros((*shape, width), numbers.values.dtype)

        self._on_inputs, self._on_states = (
            linear_weight(numbers.value(part), gradient, mask[part], width)
            for part, gradient in zip(weights, self._of_step, strict=False)
        )
        self._bias_inputs, self._bias_states = (
            Bias(numbers.value(part), gradient) for part, gradient in zip(biases, self._of_step[2:], strict=True)
        )
        self._gates, self._dgates = buffer(self._steps, outputs), buffer(outputs)
        self._states, self._dstate = buffer(self._steps + 1, size), buffer(size)
        self._dx = kernels.zeros(x, numbers.values.dtype)

    def differentiate(self, dy: Array) -> None:
        for gradient in self._gradients:
            gradient.fill(0)
        self._dstate[...] = dy
        for step in reversed(range(self._steps)):
            self._differentiate(step)
            for gradient, of_step in zip(self._gradients, self._of_step, strict=True):
                gradient += of_step

    def backward(self, dy: Array) -> Array:
        return self._dx

    @abstractmethod
    def _differentiate(self, step: int) -> None:
        """Put a step's gradients into those `_of_step`, and derivatives in its input and in the state before it."""


class SparseLSTM(SparseRecurrent):
    """Hochreiter & Schmidhuber 1997 with forget gates, as torch orders them: input, forget, cell, output."""

    gates = 4

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._cells, self._squashed, self._dcell = (
            kernels.zeros(like.shape, like.dtype) for like in (self._states, self._states, self._dstate)
        )

    def forward(self, x: Array) -> Array:
        self._x = x
        biases = self._bias_inputs.values + self._bias_states.values
        for step in range(self._steps):
            self._on_inputs.put(x[step], biases, self._gates[step])
            self._on_states.multiply(self._states[step], self._gates[step])
            gates = torch.from_numpy(self._gates[step])
            gates[: 2 * self._size].sigmoid_()
            new = gates[2 * self._size : 3 * self._size]
            _tanh(new, out=new)
            gates[3 * self._size :].sigmoid_()
            kernels.lstm_cell(self._gates[step], self._cells[step], self._cells[step + 1])
            squashed = _tanh(torch.from_numpy(self._cells[step + 1]), out=torch.from_numpy(self._squashed[step]))
            torch.mul(gates[3 * self._size :], squashed, out=torch.from_numpy(self._states[step + 1]))
        last: Array = self._states[-1]
        return last

    def differentiate(self, dy: Array) -> None:
        self._dcell.fill(0)
        super().differentiate(dy)

    def _differentiate(self, step: int) -> None:
        kernels.lstm_cell_backward(
            self._gates[step], self._cells[step], self._squashed[step], self._dstate, self._dcell, self._dgates
        )
        self._on_states.put_transposed(self._dgates, self._dstate)
        self._on_states.differentiate(self._states[step], self._dgates)
        self._on_inputs.put_transposed(self._dgates, self._dx[step])
        self._on_inputs.differentiate(self._x[step], self._dgates)
        self._bias_inputs.differentiate(self._dgates[None])
        self._bias_states.gradients[:] = self._bias_inputs.gradients


class SparseGRU(SparseRecurrent):
    """Cho et al. 2014 as torch computes it, the reset gate after the product: reset, update, new."""

    gates = 3

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._recurrent, self._drecurrent, self._dbefore = (
            kernels.zeros(like.shape, like.dtype) for like in (self._gates, self._dgates, self._dstate)
        )

    def forward(self, x: Array) -> Array:
        self._x = x
        size = self._size
        for step in range(self._steps):
            self._on_inputs.put(x[step], self._bias_inputs.values, self._gates[step])
            self._on_states.put(self._states[step], self._bias_states.values, self._recurrent[step])
            gates, recurrent = torch.from_numpy(self._gates[step]), torch.from_numpy(self._recurrent[step])
            gates[: 2 * size].add_(recurrent[: 2 * size]).sigmoid_()
            new, state = gates[2 * size :], torch.from_numpy(self._states[step])
            _tanh(new.addcmul_(gates[:size], recurrent[2 * size :]), out=new)
            torch.lerp(new, state, gates[size : 2 * size], out=torch.from_numpy(self._states[step + 1]))
        last: Array = self._states[-1]
        return last

    def _differentiate(self, step: int) -> None:
        kernels.gru_cell_backward(
            self._gates[step],
            self._recurrent[step],
            self._states[step],
            self._dstate,
            self._dgates,
            self._drecurrent,
            self._dbefore,
        )
        self._on_states.multiply_transposed(self._drecurrent, self._dbefore)
        self._dstate, self._dbefore = self._dbefore, self._dstate
        self._on_states.differentiate(self._states[step], self._drecurrent)
        self._on_inputs.put_transposed(self._dgates, self._dx[step])
        self._on_inputs.differentiate(self._x[step], self._dgates)
        self._bias_inputs.differentiate(self._dgates[None])
        self._bias_states.differentiate(self._drecurrent[None])


def _tanh(x: Tensor, out: Tensor) -> Tensor:
    """tanh x = 2 sigmoid(2 x) - 1: torch's sigmoid is four times as fast as its tanh."""
    return torch.mul(x, 2, out=out).sigmoid_().mul_(2).sub_(1)
