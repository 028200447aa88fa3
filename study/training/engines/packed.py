"""The packed engine: trainings of one network side by side on a leading replica axis, for GPUs.

Small networks leave a GPU idle: an iteration of one is a few dozen tiny kernels. Stacked, K of them are the same number
of kernels on K times the data. Linear layers become batched products, convolutions grouped ones (torch.func.vmap).
Networks with recurrent layers, for which vmap has no rule, are packs of one. Masks, data, learning rates, batch norm's
statistics and the optimiser's moments are each replica's own.

A step reads memory of the device alone: the batches of a stretch, their learning rates and augmentation lie there in
tables, and a counter says which row is next. On a GPU it is captured once as a CUDA graph and replayed, so that the
host waits for nothing within a stretch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn.functional import cross_entropy
from torch.utils._pytree import tree_map

from study.data.arrays import Part
from study.data.augment import draw, shift
from study.models import prunable
from study.seeding import stream
from study.training.engines.engine import STRETCH, Evaluation, State, Task, learning_rate

EVALUATION_BATCH = 500

WARM_UP_STEPS = 3
"""Steps that torch wants run before it captures one."""

Tensors = dict[str, Tensor]


class Packed:
    """Tasks that share their network's shape, their data set and, but for the learning rate, their recipe.

    More than one only where `can_stack` says so.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks, self._recipe, self._network = tasks, tasks[0].recipe, tasks[0].network
        self._device = next(self._network.parameters()).device
        arrays = tasks[0].data.arrays
        self._training, self._test = arrays.training.on(self._device), arrays.test.on(self._device)
        outside = arrays.training.black() if self._recipe.augment == "flip_crop" else torch.zeros(1, 1, 1)
        self._outside = outside.to(self._device)
        parameters, self._buffers = stack_module_state([task.network for task in tasks])
        self._flat = _Flat({name: parameter.detach() for name, parameter in parameters.items()})
        masks = {  # of biases too, where the method ranks them
            name: torch.stack([task.mask.get(name, torch.tensor(True).expand_as(parameter)) for task in tasks])
            for name, parameter in self._network.named_parameters()
        }
        self._kept = self._flat.joined(masks).to(self._device)
        decayed = prunable(self._network) if self._recipe.decay == "weights" else parameters
        rates = {name: self._recipe.weight_decay if name in decayed else 0.0 for name in parameters}
        self._decay = self._flat.joined({n: torch.full_like(p, rates[n]) for n, p in parameters.items()})
        self._flat.values.copy_(torch.where(self._kept, self._flat.values, 0))
        self._first, self._second = (torch.zeros_like(self._flat.values) for _ in range(2))
        self._losses, self._steps = (torch.zeros(n, dtype=torch.float64, device=self._device) for n in (len(tasks), 1))
        self._tables: dict[str, Tensor] = {}
        self._row = torch.zeros(1, dtype=torch.int64, device=self._device)
        self._run_step = self._step

    def advance(self, batches: Tensor, since: int) -> None:
        self._fill_tables(batches, range(since + 1, since + 1 + len(batches)))
        if self._device.type == "cuda" and self._run_step == self._step:
            self._run_step = self._captured()
        for _ in batches:
            self._run_step()

    def losses(self) -> list[float]:
        losses: list[float] = self._losses.tolist()
        self._losses.zero_()
        return losses

    def evaluate(self) -> list[tuple[Evaluation, Evaluation]]:
        everything = torch.arange(len(self._test), device=self._device)
        held_out = torch.stack([task.data.validation for task in self._tasks]).to(self._device)
        self._network.eval()
        with torch.no_grad():
            validation, test = self._evaluate(self._training, held_out), self._evaluate(self._test, everything)
        self._network.train()
        return list(zip(validation, test, strict=True))

    def states(self) -> list[State]:
        everything = {name: tensor.cpu() for name, tensor in self._changed().items()}
        steps = self._steps.cpu()
        return [
            {"steps": steps.clone(), **{name: tensor[replica].clone() for name, tensor in everything.items()}}
            for replica in range(len(self._tasks))
        ]

    def restore(self, states: Sequence[State]) -> None:
        for name, tensor in self._changed().items():
            tensor.copy_(torch.stack([state[name] for state in states]))
        self._steps.copy_(states[0]["steps"])

    def finish(self) -> None:
        trained = {**self._flat.parameters, **self._buffers}
        for replica, task in enumerate(self._tasks):
            task.network.load_state_dict({name: tensor[replica].clone() for name, tensor in trained.items()})

    def _changed(self) -> Tensors:
        """What steps change, by replica."""
        numbers = {"values": self._flat.values, "first": self._first, "second": self._second, "losses": self._losses}
        return numbers | {f"network/{name}": tensor for name, tensor in self._buffers.items()}

    def _fill_tables(self, batches: Tensor, iterations: range) -> None:
        """Lay down what the steps of a stretch read, in the memory that a captured step reads again."""
        tasks = self._tasks
        rates = torch.tensor(
            [[learning_rate(task.recipe, i) for task in tasks] for i in iterations], dtype=torch.float64
        )
        tables = {"indices": batches, "rates": rates.to(self._flat.values.dtype)}
        if self._recipe.augment != "none":
            drawn = [[draw(batches.shape[-1], stream(task.seed, f"augment/{i}")) for task in tasks] for i in iterations]
            tables["flips"] = torch.stack([torch.stack([flips for flips, _ in step]) for step in drawn])
            tables["shifts"] = torch.stack([torch.stack([shifts for _, shifts in step]) for step in drawn])
        for name, table in tables.items():
            if name not in self._tables:
                self._tables[name] = torch.zeros(STRETCH, *table.shape[1:], dtype=table.dtype, device=self._device)
            self._tables[name][: len(table)].copy_(table)
        self._row.zero_()

    def _captured(self) -> Callable[[], None]:
        """The step as a CUDA graph. The steps that warm it up are undone.

        It is captured on the stream that it is replayed on, unless that is the default one: cuBLAS has a workspace for
        each stream, which graphs that run at the same time must not share.
        """
        state = [self._flat.values, self._first, self._second, self._losses, self._steps, self._row]
        state += self._buffers.values()
        before = [tensor.clone() for tensor in state]
        here, default = torch.cuda.current_stream(self._device), torch.cuda.default_stream(self._device)
        side = torch.cuda.Stream(self._device) if here == default else here
        side.wait_stream(here)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_STEPS):
                self._row.zero_()
                self._step()
        here.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=side):
            self._step()
        for tensor, value in zip(state, before, strict=True):
            tensor.copy_(value)
        return graph.replay

    def _step(self) -> None:
        """An iteration of all replicas: what the tables hold in the next row."""
        row = {name: table.index_select(0, self._row).squeeze(0) for name, table in self._tables.items()}
        inputs, labels = self._examples(self._training, row["indices"])
        if "flips" in row:
            moved = shift(inputs.flatten(0, 1), self._outside, row["flips"].flatten(), row["shifts"].flatten(0, 1))
            inputs = moved.view(inputs.shape)
        differentiate = self._over_replicas(grad_and_value(self._loss), in_dims=(0, 0, 0, 0))
        gradients, losses = differentiate(self._flat.parameters, self._buffers, inputs, labels)
        self._update(self._flat.joined(gradients), row["rates"].unsqueeze(1))
        self._losses += losses
        self._row += 1

    def _over_replicas(self, function: Callable[..., Any], in_dims: tuple[int | None, ...]) -> Callable[..., Any]:
        """torch.func.vmap over the replicas; where there is one, the function on what is its own."""
        if len(self._tasks) > 1:
            return vmap(function, in_dims)

        def alone(*arguments: Any) -> Any:
            own = [
                argument if dim is None else tree_map(lambda stacked: stacked[0], argument)
                for argument, dim in zip(arguments, in_dims, strict=True)
            ]
            return tree_map(lambda tensor: tensor.unsqueeze(0), function(*own))

        return alone

    def _loss(self, parameters: Tensors, buffers: Tensors, inputs: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(self._logits(parameters, buffers, inputs), labels)

    def _logits(self, parameters: Tensors, buffers: Tensors, inputs: Tensor) -> Tensor:
        logits: Tensor = functional_call(self._network, (parameters, buffers), (inputs,))
        return logits

    def _update(self, gradients: Tensor, rates: Tensor) -> None:
        """A step of the optimiser on all numbers; pruned ones stay zero beside whatever becomes of the others."""
        values = self._flat.values
        gradients = torch.where(self._kept, gradients + self._decay * values, 0)
        self._steps += 1
        if self._recipe.optimizer == "adam":
            self._first.lerp_(gradients, 0.1)
            self._second.mul_(0.999).addcmul_(gradients, gradients, value=0.001)
            corrections = (1 - 0.9**self._steps).to(values), (1 - 0.999**self._steps).sqrt().to(values)
            values -= rates / corrections[0] * self._first / (self._second.sqrt() / corrections[1] + 1e-8)
        else:
            self._first.mul_(self._recipe.momentum).add_(gradients)
            values -= rates * self._first

    def _evaluate(self, part: Part, indices: Tensor) -> list[Evaluation]:
        """Evaluate all replicas on the same examples (n), or each on its own (replicas, n)."""
        of_all = indices.dim() == 1
        forward = self._over_replicas(self._logits, in_dims=(0, 0, None if of_all else 0))
        loss = torch.zeros(len(self._tasks), dtype=torch.float64, device=self._device)
        right = torch.zeros_like(loss)
        for batch in indices.split(EVALUATION_BATCH, dim=-1):
            inputs, labels = self._examples(part, batch)
            logits = forward(self._flat.parameters, self._buffers, inputs)
            labels = labels.expand(logits.shape[:2])
            loss += cross_entropy(logits.movedim(2, 1), labels, reduction="none").double().sum(1)
            right += (logits.argmax(2) == labels).sum(1)
        count = indices.shape[-1]
        return [Evaluation(*each) for each in zip((loss / count).tolist(), (right / count).tolist(), strict=True)]

    def _examples(self, part: Part, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and labels of the shape of the indices."""
        batch = part.batch(indices.flatten(), self._device)
        return batch.inputs.unflatten(0, indices.shape), batch.labels.view(indices.shape)


def can_stack(network: nn.Module) -> bool:
    """Whether torch can stack a network's layers: vmap has no rule for recurrent ones."""
    return not any(isinstance(module, nn.RNNBase) for module in network.modules())


class _Flat:
    """All parameters of all replicas in one tensor (replicas, numbers), in which `parameters` are views."""

    def __init__(self, parameters: Tensors) -> None:
        self._shapes = {name: parameter.shape[1:] for name, parameter in parameters.items()}
        self.values = self.joined(parameters)
        parts = self.values.split([shape.numel() for shape in self._shapes.values()], dim=1)
        self.parameters = {
            n: part.unflatten(1, shape) for (n, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def joined(self, tensors: Tensors) -> Tensor:
        """Tensors of the parameters' shapes and order as one (replicas, numbers)."""
        return torch.cat([tensors[name].flatten(1) for name in self._shapes], dim=1)
