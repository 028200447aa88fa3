"""The dense engine: torch's own kernels and autograd on any device. The reference, and what serves every network."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from study.cell import Recipe
from study.data.arrays import Batch
from study.data.augment import augmentation
from study.models import prunable
from study.training.engines.engine import Evaluation, State, Task, learning_rate

EVALUATION_BATCH = 500


class Dense:
    """One task, its mask applied after every step."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        (task,) = tasks
        recipe = task.recipe
        self._network, self._recipe = task.network, recipe
        self._device = next(task.network.parameters()).device
        parameters = dict(task.network.named_parameters())
        for parameter in parameters.values():
            parameter.data = _channels_last(parameter.data)
        self._weights = [parameters[name].detach() for name in task.mask]
        self._kept = [
            torch.empty_like(w).copy_(mask) for w, mask in zip(self._weights, task.mask.values(), strict=True)
        ]
        self._optimizer = _optimizer(task.network, recipe)
        arrays = task.data.arrays
        self._training, test = arrays.training.on(self._device), arrays.test.on(self._device)
        self._augment = augmentation(recipe.augment, self._training.black(), task.seed)
        self._held_out = (
            self._training.batches(task.data.validation, EVALUATION_BATCH, self._device),
            test.batches(torch.arange(len(test)), EVALUATION_BATCH, self._device),
        )
        self._loss = torch.zeros((), dtype=torch.float64, device=self._device)
        torch._foreach_mul_(self._weights, self._kept)

    def advance(self, batches: Tensor, since: int) -> None:
        beside_data = batches.to(self._training.labels.device)
        for iteration, (indices,) in enumerate(beside_data, start=since + 1):
            batch = self._training.batch(indices, self._device)
            inputs = _channels_last(self._augment(iteration, batch.inputs))
            loss = cross_entropy(self._network(inputs), batch.labels)
            self._optimizer.zero_grad()
            loss.backward()
            for group in self._optimizer.param_groups:
                group["lr"] = learning_rate(self._recipe, iteration)
            self._optimizer.step()
            torch._foreach_mul_(self._weights, self._kept)
            self._loss += loss.detach()

    def losses(self) -> list[float]:
        loss = self._loss.item()
        self._loss.zero_()
        return [loss]

    def evaluate(self) -> list[tuple[Evaluation, Evaluation]]:
        validation, test = (evaluate(self._network, batches) for batches in self._held_out)
        return [(validation, test)]

    def states(self) -> list[State]:
        network = {f"network/{name}": tensor for name, tensor in self._network.state_dict().items()}
        moments = {
            f"optimizer/{parameter}/{name}": tensor
            for parameter, held in self._optimizer.state_dict()["state"].items()
            for name, tensor in held.items()
            if tensor is not None
        }
        everything = network | moments | {"loss": self._loss}
        return [{name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in everything.items()}]

    def restore(self, states: Sequence[State]) -> None:
        (state,) = states
        network: State = {}
        moments: dict[int, State] = {}
        for name, tensor in state.items():
            match name.split("/"):
                case ["network", entry]:
                    network[entry] = tensor
                case ["optimizer", parameter, entry]:
                    moments.setdefault(int(parameter), {})[entry] = _channels_last(tensor)
        self._network.load_state_dict(network)
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": moments})
        self._loss.copy_(state["loss"])

    def finish(self) -> None:
        for weight, keep in zip(self._weights, self._kept, strict=True):
            weight.masked_fill_(keep == 0, 0.0)  # zero times NaN is NaN


def evaluate(network: nn.Module, batches: Iterable[Batch]) -> Evaluation:
    """Evaluate a network, which is left in training mode."""
    network.eval()
    device = next(network.parameters()).device
    loss = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    count = 0
    with torch.inference_mode():
        for batch in batches:
            logits = network(_channels_last(batch.inputs))
            loss += cross_entropy(logits, batch.labels, reduction="sum")
            correct += (logits.argmax(1) == batch.labels).sum()
            count += len(batch.labels)
    network.train()
    return Evaluation(loss.item() / count, correct.item() / count)


def _channels_last(tensor: Tensor) -> Tensor:
    """Images and kernels in the layout in which torch's convolutions are fastest."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    decayed = list(network.parameters()) if recipe.decay == "all" else list(prunable(network).values())
    others = [parameter for parameter in network.parameters() if all(parameter is not other for other in decayed)]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, recipe.learning_rate, fused=True)
    return torch.optim.SGD(groups, recipe.learning_rate, recipe.momentum, fused=True)
