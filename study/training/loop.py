"""The training loop: dense kernels, with the mask applied after every step."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from study.cell import Recipe
from study.data import Split
from study.data.arrays import Part
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
) -> Outcome:
    """Train `network` in place for `recipe.iterations`, its pruned weights zero at every step and at the end.

    The data order comes from the stream "order" of the seed. A training whose loss is no longer finite stops at the
    next evaluation.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    device = next(network.parameters()).device
    weights = [weight.detach() for weight in prunable(network).values()]
    kept = [mask[name].to(device, weight.dtype) for name, weight in prunable(network).items()]
    optimizer = _optimizer(network, recipe)
    inputs, labels = data.arrays.training.inputs.to(device), data.arrays.training.labels.to(device)
    curves, diverged_at = Curves(), None

    torch._foreach_mul_(weights, kept)
    _evaluate_into(curves, network, data, 0, None)
    total_loss = torch.zeros((), device=device)
    for iteration, batch in enumerate(_batches(data.training, recipe, seed, device), start=1):
        loss = cross_entropy(network(inputs[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        torch._foreach_mul_(weights, kept)
        total_loss += loss.detach()
        if iteration in recipe.drops:
            for group in optimizer.param_groups:
                group["lr"] *= recipe.drop_factor
        if iteration % recipe.evaluate_every == 0 or iteration == recipe.iterations:
            mean_loss = total_loss.item() / (iteration - curves.iteration[-1])
            total_loss.zero_()
            _evaluate_into(curves, network, data, iteration, mean_loss)
            on_iteration(iteration)
            if not math.isfinite(mean_loss):
                diverged_at = iteration
                _zero_pruned(weights, kept)
                break
    return Outcome(curves, diverged_at, time.perf_counter() - wall, time.process_time() - cpu)


def evaluate(network: nn.Module, part: Part) -> tuple[float, float]:
    """Mean cross-entropy and accuracy over all examples, each weighing the same."""
    network.eval()
    device = next(network.parameters()).device
    loss = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    with torch.inference_mode():
        for x, y in zip(part.inputs.split(EVALUATION_BATCH), part.labels.split(EVALUATION_BATCH), strict=True):
            labels = y.to(device)
            logits = network(x.to(device))
            loss += cross_entropy(logits, labels, reduction="sum")
            correct += (logits.argmax(1) == labels).sum()
    network.train()
    return loss.item() / len(part), correct.item() / len(part)


def _evaluate_into(curves: Curves, network: nn.Module, data: Split, iteration: int, train_loss: float | None) -> None:
    validation_loss, validation_accuracy = evaluate(network, data.validation)
    test_loss, test_accuracy = evaluate(network, data.arrays.test)
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
    parameters = network.parameters()
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    return torch.optim.SGD(
        parameters, recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay, fused=True
    )


def _batches(indices: Tensor, recipe: Recipe, seed: int, device: torch.device) -> Iterator[Tensor]:
    """Batches of indices: permutation after permutation, every batch full, one batch may span two epochs."""
    order = stream(seed, "order")
    left = indices[:0]
    for _ in range(recipe.iterations):
        while len(left) < recipe.batch_size:
            left = torch.cat([left, indices[torch.randperm(len(indices), generator=order)]])
        batch, left = left[: recipe.batch_size], left[recipe.batch_size :]
        yield batch.to(device)
