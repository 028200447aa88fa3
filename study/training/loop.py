"""The training loop: data order, evaluation, curves and divergence, whatever engine does the arithmetic."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor

from study.cell import Recipe
from study.energy import meter
from study.energy.meter import Spent
from study.seeding import stream
from study.training.engines.engine import STRETCH, Engine, Evaluation, Task


@dataclass
class Curves:
    """Measurements by iteration. Losses are mean cross-entropies in nats, accuracies fractions.

    `train_loss` is the mean over the batches since the point before; it has none at the first. A loss that is not
    finite is None.
    """

    iteration: list[int] = field(default_factory=list)
    train_loss: list[float | None] = field(default_factory=list)
    validation_loss: list[float | None] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    test_loss: list[float | None] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)

    def add(self, iteration: int, train_loss: float | None, validation: Evaluation, test: Evaluation) -> None:
        self.iteration.append(iteration)
        self.train_loss.append(_finite(train_loss))
        self.validation_loss.append(_finite(validation.loss))
        self.validation_accuracy.append(validation.accuracy)
        self.test_loss.append(_finite(test.loss))
        self.test_accuracy.append(test.accuracy)


@dataclass
class Outcome:
    """What a training leaves beside the network itself. `diverged_at`: the first evaluation with a loss not finite."""

    curves: Curves = field(default_factory=Curves)
    diverged_at: int | None = None
    training: Spent = field(default_factory=Spent)
    evaluation: Spent = field(default_factory=Spent)


def train(
    tasks: Sequence[Task],
    engine: Callable[[Sequence[Task]], Engine],
    on_iteration: Callable[[int], None] = lambda iteration: None,
    *,
    since: int = 0,
    until: int | None = None,
) -> list[Outcome]:
    """Train the networks of `tasks` in place, pruned weights zero at every step and at the end.

    Their recipes may differ in what an engine allows, but neither in length nor in when they evaluate.

    With `since` they start after that iteration of the schedule and the data order, with `until` they end after that
    one. The data order comes from the stream "order" of a task's seed, augmentation from "augment/1" and so on, a
    stream an iteration. Training ends at the evaluation after which no task has a finite loss.
    """
    recipe = tasks[0].recipe
    outcomes = [Outcome() for _ in tasks]
    with timed([outcome.training for outcome in outcomes]):
        running = engine(tasks)
    last = recipe.iterations if until is None else until
    order = islice(
        zip(*(_order(task.data.training, task.recipe, task.seed) for task in tasks), strict=True), since, last
    )

    def evaluate(iteration: int, losses: Sequence[float | None]) -> None:
        with timed([outcome.evaluation for outcome in outcomes]):
            for outcome, loss, held_out in zip(outcomes, losses, running.evaluate(), strict=True):
                if outcome.diverged_at is None:
                    outcome.curves.add(iteration, loss, *held_out)

    evaluate(since, [None] * len(tasks))
    iteration = since
    while iteration < last and any(outcome.diverged_at is None for outcome in outcomes):
        begun, stop = iteration, min(iteration - iteration % recipe.evaluate_every + recipe.evaluate_every, last)
        with timed([outcome.training for outcome in outcomes]):
            while iteration < stop:
                batches = torch.stack([torch.stack(batch) for batch in islice(order, min(STRETCH, stop - iteration))])
                running.advance(batches, iteration)
                iteration += len(batches)
                on_iteration(iteration)
            losses = [loss / (stop - begun) for loss in running.losses()]
        evaluate(iteration, losses)
        for outcome, loss in zip(outcomes, losses, strict=True):
            if outcome.diverged_at is None and not math.isfinite(loss):
                outcome.diverged_at = iteration
    running.finish()
    return outcomes


@contextmanager
def timed(phases: Sequence[Spent]) -> Iterator[None]:
    """Add what the block takes, each its share by floating-point operations: side by side all do the same."""
    before = meter.current().read()
    yield
    after = meter.current().read()
    for phase in phases:
        phase.add(before, after, 1 / len(phases))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _order(indices: Tensor, recipe: Recipe, seed: int) -> Iterator[Tensor]:
    """Indices of each batch: permutation after permutation, every batch full, one batch may span two epochs."""
    order = stream(seed, "order")
    left = indices[:0]
    for _ in range(recipe.iterations):
        while len(left) < recipe.batch_size:
            left = torch.cat([left, indices[torch.randperm(len(indices), generator=order)]])
        batch, left = left[: recipe.batch_size], left[recipe.batch_size :]
        yield batch
