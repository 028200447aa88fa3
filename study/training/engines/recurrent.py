"""Recurrent layers of the sparse engine, on sequences (steps, features, width)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from study.training.engines import kernels
from study.training.engines.layers import Layer
from study.training.engines.weights import Array, Bias, Numbers, SparseWeight, linear_weight


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
            return kernels.zeros((steps, features, width), numbers.values.dtype)

        self._on_inputs, self._on_states = weight("weight_ih_l0"), weight("weight_hh_l0")
        self._on_state = [self._on_states.at(step, size, outputs, width) for step in range(self._steps)]
        self._bias_inputs, self._bias_states = bias("bias_ih_l0"), bias("bias_hh_l0")
        self._gates, self._dgates = buffer(self._steps, outputs), buffer(self._steps, outputs)
        self._states, self._dstates = buffer(self._steps + 1, size), buffer(self._steps + 1, size)
        self._dx = kernels.zeros(x, numbers.values.dtype)

    def backward(self, dy: Array) -> Array:
        self._on_inputs.put_transposed(self._dgates, self._dx)
        return self._dx


class SparseLSTM(SparseRecurrent):
    """Hochreiter & Schmidhuber 1997 with forget gates, as torch orders them: input, forget, cell, output."""

    gates = 4

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._cells, self._squashed = (
            kernels.zeros(self._states.shape, self._states.dtype),
            kernels.zeros(self._states.shape, self._states.dtype),
        )

    def forward(self, x: Array) -> Array:
        self._x = x
        self._on_inputs.put(x, self._bias_inputs.values + self._bias_states.values, self._gates)
        for step, on_state in enumerate(self._on_state):
            on_state.multiply(self._states, self._gates)
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
        dstate, dcell = dy, kernels.zeros(dy.shape, dy.dtype)
        for step in reversed(range(self._steps)):
            kernels.lstm_cell_backward(
                self._gates[step], self._cells[step], self._squashed[step], dstate, dcell, self._dgates[step]
            )
            self._on_state[step].put_transposed(self._dgates, self._dstates)
            dstate = self._dstates[step]
        self._on_states.differentiate(self._states, self._dgates)
        self._on_inputs.differentiate(self._x, self._dgates)
        self._bias_inputs.differentiate(self._dgates)
        self._bias_states.gradients[:] = self._bias_inputs.gradients


class SparseGRU(SparseRecurrent):
    """Cho et al. 2014 as torch computes it, the reset gate after the product: reset, update, new."""

    gates = 3

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._recurrent, self._drecurrent = (
            kernels.zeros(self._gates.shape, self._gates.dtype),
            kernels.zeros(self._gates.shape, self._gates.dtype),
        )

    def forward(self, x: Array) -> Array:
        self._x = x
        self._on_inputs.put(x, self._bias_inputs.values, self._gates)
        size = self._size
        for step, on_state in enumerate(self._on_state):
            on_state.put(self._states, self._bias_states.values, self._recurrent)
            gates, recurrent = torch.from_numpy(self._gates[step]), torch.from_numpy(self._recurrent[step])
            gates[: 2 * size].add_(recurrent[: 2 * size]).sigmoid_()
            new, state = gates[2 * size :], torch.from_numpy(self._states[step])
            _tanh(new.addcmul_(gates[:size], recurrent[2 * size :]), out=new)
            torch.lerp(new, state, gates[size : 2 * size], out=torch.from_numpy(self._states[step + 1]))
        last: Array = self._states[-1]
        return last

    def differentiate(self, dy: Array) -> None:
        dstate = dy
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
        self._bias_inputs.differentiate(self._dgates)
        self._bias_states.differentiate(self._drecurrent)


def _tanh(x: Tensor, out: Tensor) -> Tensor:
    """tanh x = 2 sigmoid(2 x) - 1: torch's sigmoid is four times as fast as its tanh."""
    return torch.mul(x, 2, out=out).sigmoid_().mul_(2).sub_(1)
