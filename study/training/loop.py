"""The training loop: dense kernels, with the mask applied after every step."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from study.cell import Recipe
from study.data import Split
from study.data.arrays import Batch
from study.data.augment import augmentation
from study.models import prunable
from study.seeding import stream

EVALUATION_BATCH = 500


@dataclass
class Curves:
    """Measurements by iteration. Losses are mean cross-entropies in nats, accuracies fractions.

    `train_loss` is the mean over the batches since the point before; it has none at iteration 0. A loss that is not
    finite is None.
    """

    iteration: list[int] = field(default_factory=list)
    train_loss: list[float | None] = field(default_factory=list)
    validation_loss: list[float | None] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    test_loss: list[float | None] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """What a training leaves beside the network itself. `diverged_at`: the first evaluation with a loss not finite."""

    curves: Curves
    diverged_at: int | None
    wall_seconds: float
    cpu_seconds: float


def train(
    network: nn.Module,
    mask: Mapping[str, Tensor],
    data: Split,
    recipe: Recipe,
    seed: int,
    on_iteration: Callable[[int], None] = lambda iteration: None,
    *,
    since: int = 0,
    until: int | None = None,
) -> Outcome:
    """Train `network` in place for `recipe.iterations`, its pruned weights zero at every step and at the end.

    With `since` it starts after that iteration of the schedule and the data order, with `until` it ends after that one.
    The data order comes from the stream "order" of the seed, augmentation from "augment/1" and so on, a stream an
    iteration. A training whose loss is no longer finite stops at the next evaluation.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    device = next(network.parameters()).device
    parameters = dict(network.named_parameters())
    weights = [parameters[name].detach() for name in mask]
    kept = [mask[name].to(device, parameters[name].dtype) for name in mask]
    optimizer = _optimizer(network, recipe)
    training, test = data.arrays.training.on(device), data.arrays.test.on(device)
    augment = augmentation(recipe.augment, training.black(), seed)
    held_out = (
        training.batches(data.validation, EVALUATION_BATCH, device),
        test.batches(torch.arange(len(test)), EVALUATION_BATCH, device),
    )
    curves, diverged_at = Curves(), None

    torch._foreach_mul_(weights, kept)
    _evaluate_into(curves, network, held_out, since, None)
    total_loss = torch.zeros((), device=device)
    last = recipe.iterations if until is None else until
    for iteration, indices in enumerate(islice(_order(data.training, recipe, seed), since, last), start=since + 1):
        batch = training.batch(indices, device)
        loss = cross_entropy(network(augment(batch.inputs, iteration)), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, iteration)
        optimizer.step()
        torch._foreach_mul_(weights, kept)
        total_loss += loss.detach()
        if iteration % recipe.evaluate_every == 0 or iteration == last:
            mean_loss = total_loss.item() / (iteration - curves.iteration[-1])
            total_loss.zero_()
            _evaluate_into(curves, network, held_out, iteration, mean_loss)
            on_iteration(iteration)
            if not math.isfinite(mean_loss):
                diverged_at = iteration
                _zero_pruned(weights, kept)
                break
    return Outcome(curves, diverged_at, time.perf_counter() - wall, time.process_time() - cpu)


def learning_rate(recipe: Recipe, iteration: int) -> float:
    """The learning rate of an iteration, counted from 1: that of a drop is the last before it."""
    rate = recipe.learning_rate
    for drop in recipe.drops:
        if iteration > drop:
            rate *= recipe.drop_factor
    return rate * iteration / recipe.warmup if iteration < recipe.warmup else rate


def evaluate(network: nn.Module, batches: Iterable[Batch]) -> tuple[float, float]:
    """Mean cross-entropy and accuracy over all examples, each weighing the same."""
    network.eval()
    device = next(network.parameters()).device
    loss = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    count = 0
    with torch.inference_mode():
        for batch in batches:
            logits = network(batch.inputs)
            loss += cross_entropy(logits, batch.labels, reduction="sum")
            correct += (logits.argmax(1) == batch.labels).sum()
            count += len(batch.labels)
    network.train()
    return loss.item() / count, correct.item() / count


def _evaluate_into(
    curves: Curves,
    network: nn.Module,
    held_out: tuple[Iterable[Batch], Iterable[Batch]],
    iteration: int,
    train_loss: float | None,
) -> None:
    """Evaluate on the validation and the test batches, and add a point to the curves."""
    (validation_loss, validation_accuracy), (test_loss, test_accuracy) = (evaluate(network, b) for b in held_out)
    curves.iteration.append(iteration)
    curves.train_loss.append(_finite(train_loss))
    curves.validation_loss.append(_finite(validation_loss))
    curves.validation_accuracy.append(validation_accuracy)
    curves.test_loss.append(_finite(test_loss))
    curves.test_accuracy.append(test_accuracy)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _zero_pruned(weights: list[Tensor], kept: list[Tensor]) -> None:
    """Set pruned weights to zero even where they are NaN, which zero times NaN leaves."""
    for weight, keep in zip(weights, kept, strict=True):
        weight.masked_fill_(keep == 0, 0.0)


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


def _order(indices: Tensor, recipe: Recipe, seed: int) -> Iterator[Tensor]:
    """Indices of each batch: permutation after permutation, every batch full, one batch may span two epochs."""
    order = stream(seed, "order")
    left = indices[:0]
    for _ in range(recipe.iterations):
        while len(left) < recipe.batch_size:
            left = torch.cat([left, indices[torch.randperm(len(indices), generator=order)]])
        batch, left = left[: recipe.batch_size], left[recipe.batch_size :]
        yield batch
