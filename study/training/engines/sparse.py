"""The sparse engine: on a CPU, networks that are a chain of layers train without their pruned weights.

Each layer is held sparse or dense by its density. What has no kernel here runs in torch, as a part of the chain.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from study.data import Split
from study.data.arrays import Arrays
from study.data.augment import augmentation
from study.models import prunable
from study.training.engines import kernels
from study.training.engines.chain import Chain, is_linear, sparse_layers
from study.training.engines.engine import Evaluation, State, Task, learning_rate
from study.training.engines.reader import Examples, Reader, whole
from study.training.engines.sums import FEWEST_LANES, LANES
from study.training.engines.weights import Array, Numbers

EVALUATED_AT_ONCE = 7 * LANES
"""How many examples chains of linear layers evaluate together; odd, so that rows fall into different cache sets."""

BLOCK = 32
"""How many examples pass through convolutions together."""


def compile_kernels(task: Task) -> None:
    """Have numba compile, or read from its cache, what a task's training calls: an iteration of it on a copy.

    It takes seconds where nothing is cached, and is not a part of the training that comes first.
    """
    training, test = (p.first(task.recipe.batch_size) for p in (task.data.arrays.training, task.data.arrays.test))
    few = torch.arange(task.recipe.batch_size) % len(training)
    data = Split(Arrays(training, test), few, few)
    engine = Sparse([replace(task, network=copy.deepcopy(task.network), data=data)])
    engine.advance(few[None, None], 0)
    engine.evaluate()


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
            return Chain(network, task.mask, sparse, self._numbers, arrays.training, width, recipe.augment != "none")

        whole_batch = _up_to(FEWEST_LANES, recipe.batch_size)
        evaluated = chain(BLOCK)
        if evaluated.takes_blocks:
            rest = _up_to(FEWEST_LANES, recipe.batch_size % BLOCK)
            self._chains = [evaluated] * (recipe.batch_size // BLOCK) + ([chain(rest)] if rest else [])
        else:
            self._chains = [chain(whole_batch)]
            evaluated = chain(EVALUATED_AT_ONCE) if is_linear(network) else self._chains[0]
        self._evaluated = evaluated
        self._sums = np.zeros_like(self._numbers.gradients)
        decayed = prunable(network) if recipe.decay == "weights" else dict(network.named_parameters())
        self._decay = self._numbers.where(dict.fromkeys(decayed, recipe.weight_decay), 0.0)
        self._moments = np.zeros((2, len(self._decay)), self._decay.dtype)
        self._steps, self._loss = 0, 0.0
        read_as = self._decay.dtype.name, evaluated.pixels is not None
        self._held_out = (
            Reader(arrays.training, evaluated.width, *read_as).batches(task.data.validation),
            whole(arrays.test, evaluated.width, *read_as),
        )
        width = sum(chain.width for chain in self._chains)
        self._reader = Reader(arrays.training, width, *read_as, evaluated.pixels)
        self._augment = None
        if recipe.augment != "none":
            self._augment = augmentation(recipe.augment, arrays.training.black(), task.seed)

    def advance(self, batches: Tensor, since: int) -> None:
        for iteration, indices in enumerate(batches[:, 0].unbind(), start=since + 1):
            x, labels = self._reader.read(indices, self._augment and partial(self._augment, iteration))
            self._differentiate(x, labels)
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

    def _differentiate(self, x: Array, labels: Array) -> None:
        """The gradients of the mean loss over a batch, which is added to the losses."""
        gradients, begin = self._numbers.gradients, 0
        for chain in self._chains:
            block = slice(begin, begin + chain.width)
            logits = chain.forward(x[..., block], len(labels[block]))
            derivatives = np.empty_like(logits)
            loss, _ = kernels.cross_entropy(logits, labels[block], len(labels), derivatives)
            self._loss += loss / len(labels)
            chain.backward(derivatives)
            begin = block.stop
            if len(self._chains) > 1:
                self._sums += gradients
        if len(self._chains) > 1:
            gradients[...] = self._sums
            self._sums.fill(0)

    def _evaluate(self, batches: Iterable[Examples]) -> Evaluation:
        loss, right, count = 0.0, 0, 0
        for x, labels in batches:
            logits = self._evaluated.forward(x, len(labels))
            batch_loss, batch_right = kernels.cross_entropy(logits, labels, len(labels), np.empty_like(logits))
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


def _up_to(multiple: int, count: int) -> int:
    """The smallest multiple of a number that is no less than a count."""
    return -(-count // multiple) * multiple
