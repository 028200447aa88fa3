"""Numba kernels of the sparse engine's layers, on activations that lie feature by feature (sums.py says why).

Compiled at first use, in a second or so, and kept in __pycache__ (or NUMBA_CACHE_DIR) for the next process. Costs below
are multiply-adds, k kept weights; where none is named, a kernel passes over its arrays once.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

CACHE_LINE = 64  # bytes

kernel = njit(error_model="numpy", cache=True)


def zeros(shape: Any, dtype: Any) -> NDArray[Any]:
    """An array that begins at a cache line: a vector that lies across two takes twice as long to read."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + CACHE_LINE, np.uint8)
    begin = -memory.ctypes.data % CACHE_LINE
    aligned: NDArray[Any] = memory[begin : begin + size].view(dtype).reshape(shape)
    return aligned


def copy(array: NDArray[Any]) -> NDArray[Any]:
    """An array of the same that begins at a cache line."""
    aligned = zeros(array.shape, array.dtype)
    aligned[...] = array
    return aligned


@kernel
def normalise_weights(starts, values, biases, scale, shift, scaled, constants):  # type: ignore[no-untyped-def]
    """The weights w' and constants c with w' x + c = w (scale x + shift) + b, row by row; scale, shift by weight. k."""
    for row in range(len(starts) - 1):
        constant = values.dtype.type(0)
        for k in range(starts[row], starts[row + 1]):
            scaled[k] = values[k] * scale[k]
            constant += values[k] * shift[k]
        constants[row] = constant + biases[row]


@kernel
def normalise_gradients(starts, gradients, scale, shift, dy):  # type: ignore[no-untyped-def]
    """From the derivatives in w' those in w, in place: dy (rows) are the derivatives in the constants. k."""
    for row in range(len(starts) - 1):
        for k in range(starts[row], starts[row + 1]):
            gradients[k] = gradients[k] * scale[k] + dy[row] * shift[k]


@kernel
def look_up(levels, area, pixels, x):  # type: ignore[no-untyped-def]
    """x[f, b] = levels[channel of f, pixels[f, b]], `area` features to a channel; levels (channels, 256)."""
    features, width = pixels.shape
    for f in range(features):
        for b in range(width):
            x[f, b] = levels[f // area, pixels[f, b]]


@kernel
def relu(x):  # type: ignore[no-untyped-def]
    """In place, on a flat array; NaN stays."""
    for i in range(len(x)):
        if x[i] <= 0:
            x[i] = 0


@kernel
def relu_backward(y, dy):  # type: ignore[no-untyped-def]
    """In place: dy is zero where the output y is."""
    for i in range(len(y)):
        if y[i] <= 0:
            dy[i] = 0


@kernel
def max_pool(x, y, chosen):  # type: ignore[no-untyped-def]
    """The largest of each 2 x 2, the first of equals as torch: x (c, h, w, width), y and chosen of half the sides."""
    channels, height, width, lanes = y.shape
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                for b in range(lanes):
                    largest, at = x[c, 2 * i, 2 * j, b], np.uint8(0)
                    if x[c, 2 * i, 2 * j + 1, b] > largest:
                        largest, at = x[c, 2 * i, 2 * j + 1, b], np.uint8(1)
                    if x[c, 2 * i + 1, 2 * j, b] > largest:
                        largest, at = x[c, 2 * i + 1, 2 * j, b], np.uint8(2)
                    if x[c, 2 * i + 1, 2 * j + 1, b] > largest:
                        largest, at = x[c, 2 * i + 1, 2 * j + 1, b], np.uint8(3)
                    y[c, i, j, b], chosen[c, i, j, b] = largest, at


@kernel
def max_pool_backward(dy, chosen, dx):  # type: ignore[no-untyped-def]
    """Each derivative goes to the input that was chosen; the other three of its 2 x 2 get zero."""
    channels, height, width, lanes = dy.shape
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                for quarter in range(4):
                    row, column = 2 * i + quarter // 2, 2 * j + quarter % 2
                    for b in range(lanes):
                        dx[c, row, column, b] = dy[c, i, j, b] if chosen[c, i, j, b] == quarter else 0


@kernel
def lstm_cell(gates, before, cells):  # type: ignore[no-untyped-def]
    """cells = forget * before + input * new: gates (4 size, width), in torch's order; cells (size, width)."""
    size, width = cells.shape
    for i in range(size):
        for b in range(width):
            cells[i, b] = gates[size + i, b] * before[i, b] + gates[i, b] * gates[2 * size + i, b]


@kernel
def lstm_cell_backward(gates, before, squashed, dstate, dcell, dgates):  # type: ignore[no-untyped-def]
    """The derivatives before the gates' nonlinearities; dcell becomes that of the cells before.

    gates and dgates (4 size, width), others (size, width); `squashed` is tanh(cells).
    """
    size, width = dcell.shape
    one = gates.dtype.type(1)
    for i in range(size):
        for b in range(width):
            enter, forget, new, leave = gates[i, b], gates[size + i, b], gates[2 * size + i, b], gates[3 * size + i, b]
            d = dcell[i, b] + dstate[i, b] * leave * (one - squashed[i, b] * squashed[i, b])
            dgates[i, b] = d * new * enter * (one - enter)
            dgates[size + i, b] = d * before[i, b] * forget * (one - forget)
            dgates[2 * size + i, b] = d * enter * (one - new * new)
            dgates[3 * size + i, b] = dstate[i, b] * squashed[i, b] * leave * (one - leave)
            dcell[i, b] = d * forget


@kernel
def gru_cell_backward(gates, recurrent, state, dstate, dgates, drecurrent, dbefore):  # type: ignore[no-untyped-def]
    """The derivatives before the gates' nonlinearities, in what comes from inputs and from states, and, as far as it
    does not pass through the gates, in the state before: gates and recurrent (3 size, width), others (size, width)."""
    size, width = state.shape
    one = gates.dtype.type(1)
    for i in range(size):
        for b in range(width):
            reset, update, new = gates[i, b], gates[size + i, b], gates[2 * size + i, b]
            d = dstate[i, b]
            dnew = d * (one - update) * (one - new * new)
            dreset = dnew * recurrent[2 * size + i, b] * reset * (one - reset)
            dupdate = d * (state[i, b] - new) * update * (one - update)
            dgates[i, b], drecurrent[i, b] = dreset, dreset
            dgates[size + i, b], drecurrent[size + i, b] = dupdate, dupdate
            dgates[2 * size + i, b], drecurrent[2 * size + i, b] = dnew, dnew * reset
            dbefore[i, b] = d * update


@kernel
def cross_entropy(logits, labels, batch, derivatives):  # type: ignore[no-untyped-def]
    """The sum of -log softmax over the examples, in nats, and how many are classified right.

    logits (classes, width), labels (n) with n <= width. `derivatives` becomes the derivative in the logits of the mean
    over the `batch` that the examples belong to, zero beyond n.
    """
    classes, width = logits.shape
    n = len(labels)
    largest, best = logits[0].copy(), np.zeros(width, np.int64)
    for c in range(1, classes):
        for b in range(n):
            if logits[c, b] > largest[b]:
                largest[b], best[b] = logits[c, b], c
    totals = np.zeros(width, logits.dtype)
    for c in range(classes):
        for b in range(n):
            derivatives[c, b] = np.exp(logits[c, b] - largest[b])
            totals[b] += derivatives[c, b]
    loss, right = 0.0, 0
    for b in range(n):
        loss += np.log(totals[b]) + largest[b] - logits[labels[b], b]
        right += best[b] == labels[b]
    for c in range(classes):
        for b in range(n):
            derivatives[c, b] = (derivatives[c, b] / totals[b] - (c == labels[b])) / batch
        for b in range(n, width):
            derivatives[c, b] = 0
    return loss, right


@kernel
def adam(weights, gradients, first, second, step, correction, decay):  # type: ignore[no-untyped-def]
    """A step of Adam (Kingma & Ba 2015, algorithm 1) in place on flat arrays; decay (n) is an L2 penalty's.

    `step` is the rate over 1 - beta_1^t, `correction` the square root of 1 - beta_2^t.
    """
    number = weights.dtype.type
    for i in range(len(weights)):
        g = gradients[i] + decay[i] * weights[i]
        first[i] += number(0.1) * (g - first[i])
        second[i] = number(0.999) * second[i] + number(0.001) * g * g
        weights[i] -= step * first[i] / (np.sqrt(second[i]) / correction + number(1e-8))


@kernel
def sgd(weights, gradients, velocity, rate, momentum, decay):  # type: ignore[no-untyped-def]
    """A step of SGD with momentum as torch defines it, in place on flat arrays; decay (n) is an L2 penalty's."""
    for i in range(len(weights)):
        velocity[i] = momentum * velocity[i] + gradients[i] + decay[i] * weights[i]
        weights[i] -= rate * velocity[i]
