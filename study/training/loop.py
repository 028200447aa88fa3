"""The training loop: data order, evaluation, curves and divergence, whatever engine does the arithmetic."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from study.energy import meter
from study.energy.meter import Spent
from study.seeding import stream
from study.training.engines.engine import STRETCH, Evaluation, Runner, State, Task
from study.training.names import Point

STRETCH_SECONDS = 1.0
"""About how long an engine is left alone."""


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

    def points(self, since: int) -> list[Point]:
        """All but the first `since` evaluations, one by one."""
        rows = zip(*(values[since:] for values in vars(self).values()), strict=True)
        return [dict(zip(vars(self), row, strict=True)) for row in rows]

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

    def note(self, iteration: int, train_loss: float | None, held_out: tuple[Evaluation, Evaluation]) -> None:
        """Add an evaluation, unless one before it has found the training diverged."""
        if self.diverged_at is None:
            self.curves.add(iteration, train_loss, *held_out)
            if train_loss is not None and not math.isfinite(train_loss):
                self.diverged_at = iteration


@dataclass(frozen=True)
class Snapshot:
    """A training under way after an iteration: gone on from, it ends as it would have ended.

    Its random streams need no keeping: the data order and the augmentation of each iteration follow from the seed.
    """

    iteration: int
    outcome: Outcome
    state: State


Snapshots = Callable[[], list[Snapshot]]


def _go_on(*_: object) -> None:
    pass


def train(
    tasks: Sequence[Task],
    engine: Runner,
    after_stretch: Callable[[int, Snapshots], None] = _go_on,
    after_evaluation: Callable[[Sequence[Outcome]], None] = _go_on,
    *,
    since: int = 0,
    until: int | None = None,
    saved: Sequence[Snapshot] = (),
) -> list[Outcome]:
    """Train the networks of `tasks` in place, pruned weights zero at every step and at the end.

    Their recipes may differ in what an engine allows, but neither in length nor in when they evaluate.

    With `since` they start after that iteration of the schedule and the data order, with `until` they end after that
    one. The data order comes from the stream "order" of a task's seed, augmentation from "augment/1" and so on, a
    stream an iteration. Training ends at the evaluation after which no task has a finite loss.

    `after_stretch` is called every so often, with the iterations done and what takes a snapshot of each task; it ends
    the training where it raises. `after_evaluation` is called with what has been measured so far. With `saved`,
    snapshots after one iteration, tasks go on from there.
    """
    recipe = tasks[0].recipe
    last = recipe.iterations if until is None else until
    iteration = saved[0].iteration if saved else since
    outcomes = [copy.deepcopy(one.outcome) for one in saved] or [Outcome() for _ in tasks]
    training = [outcome.training for outcome in outcomes]
    with timed(training):
        running = engine(tasks)
        if saved:
            running.restore([one.state for one in saved])
    orders = [_Order(task, iteration) for task in tasks]

    def evaluate(losses: Sequence[float | None]) -> None:
        with timed([outcome.evaluation for outcome in outcomes]):
            for outcome, loss, held_out in zip(outcomes, losses, running.evaluate(), strict=True):
                outcome.note(iteration, loss, held_out)
        after_evaluation(outcomes)

    def snapshots() -> list[Snapshot]:
        states = running.states()
        return [Snapshot(iteration, copy.deepcopy(o), s) for o, s in zip(outcomes, states, strict=True)]

    if not saved:
        evaluate([None] * len(tasks))
    begun, stretch = max(outcome.curves.iteration[-1] for outcome in outcomes), 1
    while begun < last and any(outcome.diverged_at is None for outcome in outcomes):
        stop = min(begun - begun % recipe.evaluate_every + recipe.evaluate_every, last)
        while iteration < stop:
            clock = time.monotonic()
            with timed(training):
                count = min(stretch, stop - iteration)
                running.advance(torch.stack([order.next(count) for order in orders], dim=1), iteration)
            iteration += count
            stretch = _next_stretch(stretch, time.monotonic() - clock)
            with timed(training):
                after_stretch(iteration, snapshots)
        with timed(training):
            losses = [loss / (stop - begun) for loss in running.losses()]
        evaluate(losses)
        begun = stop
    running.finish()
    return outcomes


def _next_stretch(stretch: int, seconds: float) -> int:
    """Longer while it takes less than STRETCH_SECONDS, so that a slow training is looked after as often as a fast."""
    return min(2 * stretch, STRETCH) if seconds < STRETCH_SECONDS / 2 else max(1, stretch // 2)


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


class _Order:
    """A task's batches after an iteration: permutation after permutation, all full: one may span two epochs."""

    def __init__(self, task: Task, iteration: int) -> None:
        self._indices, self._batch = task.data.training, task.recipe.batch_size
        self._random, self._left = stream(task.seed, "order"), task.data.training[:0]
        for begun in range(0, iteration, STRETCH):
            self.next(min(STRETCH, iteration - begun))

    def next(self, count: int) -> Tensor:
        """The next batches: indices (count, batch)."""
        wanted = count * self._batch
        while len(self._left) < wanted:
            shuffled = self._indices[torch.randperm(len(self._indices), generator=self._random)]
            self._left = torch.cat([self._left, shuffled])
        batches, self._left = self._left[:wanted], self._left[wanted:]
        return batches.view(count, self._batch)
