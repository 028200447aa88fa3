"""The sparse engine: on a CPU, networks that are a chain of layers train without their pruned weights.

Each layer is held sparse or dense by its density. What has no kernel here runs in torch, as a part of the chain.
"""

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from study.data.augment import augmentation
from study.models import prunable
from study.training.engines import kernels
from study.training.engines.chain import Chain, is_linear, sparse_layers
from study.training.engines.engine import Evaluation, State, Task, learning_rate
from study.training.engines.kernels import LANES
from study.training.engines.layers import Numbers
from study.training.engines.reader import Examples, Reader, whole

EVALUATED_AT_ONCE = 7
"""Blocks of LANES that chains of linear layers evaluate together; odd, so that rows fall into different cache sets."""


class Sparse:
    """One task whose network is a chain of layers, on a CPU."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        (task,) = tasks
        recipe = task.recipe
        network, arrays = task.network, task.data.arrays
        sparse = sparse_layers(network, task.mask)
        held_sparse = [name for name in prunable(network) if name.rpartition(".")[0] in sparse]
        self._recipe, self._numbers = recipe, Numbers(network, task.mask, held_sparse)
        self._statistics = {f"network/{name}": buffer for name, buffer in network.named_buffers()}

        def chain(width: int) -> Chain:
            return Chain(network, task.mask, sparse, self._numbers, arrays.training, width)

        width = -(-recipe.batch_size // LANES) * LANES
        self._chain = self._evaluated = chain(width)
        if is_linear(network):
            self._evaluated = chain(EVALUATED_AT_ONCE * LANES)
        decayed = prunable(network) if recipe.decay == "weights" else dict(network.named_parameters())
        self._decay = self._numbers.where(dict.fromkeys(decayed, recipe.weight_decay), 0.0)
        self._moments = np.zeros((2, len(self._decay)), self._decay.dtype)
        self._steps, self._loss = 0, 0.0
        read_as = self._decay.dtype.name, self._chain.reads_pixels
        evaluated = self._evaluated.width, *read_as
        self._held_out = (
            Reader(arrays.training, *evaluated).batches(task.data.validation),
            whole(arrays.test, *evaluated),
        )
        self._reader = Reader(arrays.training, width, *read_as, self._chain.features_read)
        self._augment = None
        if recipe.augment != "none":
            self._augment = augmentation(recipe.augment, arrays.training.black(), task.seed)

    def advance(self, batches: Tensor, since: int) -> None:
        for iteration, (indices,) in enumerate(batches, start=since + 1):
            x, labels = self._reader.read(indices, self._augment and partial(self._augment, iteration))
            logits = self._chain.forward(x, len(labels))
            derivatives = np.empty_like(logits)
            loss, _ = kernels.cross_entropy(logits, labels, derivatives)
            self._loss += loss / len(labels)
            self._chain.backward(derivatives)
            self._numbers.mask_gradients()
            self._update(learning_rate(self._recipe, iteration))

    def losses(self) -> list[float]:
        loss, self._loss = self._loss, 0.0
        return [loss]

    def evaluate(self) -> list[tuple[Evaluation, Evaluation]]:
        with self._evaluated.evaluating():
            validation, test = (self._evaluate(examples) for examples in self._held_out)
        return [(validation, test)]

    def states(self) -> list[State]:
        counts = torch.tensor([self._steps, self._loss], dtype=torch.float64)
        arrays = {"values": self._numbers.values, "moments": self._moments}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return [{name: tensor.clone() for name, tensor in {**tensors, **self._statistics, "counts": counts}.items()}]

    def restore(self, states: Sequence[State]) -> None:
        (state,) = states
        self._numbers.values[:], self._moments[:] = state["values"].numpy(), state["moments"].numpy()
        for name, tensor in self._statistics.items():
            tensor.copy_(state[name])
        steps, self._loss = state["counts"].tolist()
        self._steps = int(steps)

    def finish(self) -> None:
        self._numbers.zero_pruned()
        self._numbers.write_back()

    def _evaluate(self, batches: Iterable[Examples]) -> Evaluation:
        loss, right, count = 0.0, 0, 0
        for x, labels in batches:
            logits = self._evaluated.forward(x, len(labels))
            batch_loss, batch_right = kernels.cross_entropy(logits, labels, np.empty_like(logits))
            loss, right, count = loss + batch_loss, right + batch_right, count + len(labels)
        return Evaluation(loss / count, right / count)

    def _update(self, rate: float) -> None:
        self._steps += 1
        numbers, number, (first, second) = self._numbers, self._decay.dtype.type, self._moments
        if self._recipe.optimizer == "adam":
            step, correction = rate / (1 - 0.9**self._steps), (1 - 0.999**self._steps) ** 0.5
            kernels.adam(
                numbers.values, numbers.gradients, first, second, number(step), number(correction), self._decay
            )
        else:
            momentum = number(self._recipe.momentum)
            kernels.sgd(numbers.values, numbers.gradients, first, number(rate), momentum, self._decay)
