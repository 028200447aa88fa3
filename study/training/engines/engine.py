"""What an engine is: it trains networks of one shape side by side. The loop knows no other side of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from study.cell import Recipe
from study.data import Split


@dataclass(frozen=True)
class Task:
    """A network to be trained in place by a recipe, under a mask, on a split, its randomness from a seed."""

    network: nn.Module
    mask: Mapping[str, Tensor]
    data: Split
    recipe: Recipe
    seed: int


class Evaluation(NamedTuple):
    """Mean cross-entropy in nats and accuracy over a set of examples, each weighing the same."""

    loss: float
    accuracy: float


STRETCH = 100
"""The most iterations that an engine is handed at once."""

State = dict[str, Tensor]
"""What an engine has changed of one task since it began: copies, contiguous, on the CPU."""

STATE_FORM = 3
"""Raise it when what is in an engine's states changes, as by another rule for which layers are held sparse: older ones
are then not gone on from."""


class Engine(Protocol):
    """Trains tasks side by side. What becomes of one changes nothing for another, a loss that is not finite included.

    Pruned weights are zero whenever they are used, and in the networks after `finish`.
    """

    def advance(self, batches: Tensor, since: int) -> None:
        """Train on batches of training indices (iterations, tasks, batch), the first that of iteration `since` + 1."""

    def losses(self) -> list[float]:
        """By task: the sum of the losses of the batches since this was last asked."""

    def evaluate(self) -> list[tuple[Evaluation, Evaluation]]:
        """By task: on the validation and on the test examples."""

    def states(self) -> list[State]:
        """By task: weights, statistics, the optimiser's moments and the losses not yet asked for."""

    def restore(self, states: Sequence[State]) -> None:
        """Go on from states of an engine of this kind, whoever was in its pack, all after one iteration."""

    def finish(self) -> None:
        """Leave the trained weights and statistics in the networks."""


Runner = Callable[[Sequence[Task]], Engine]
"""What makes an engine of tasks: its class."""


def learning_rate(recipe: Recipe, iteration: int) -> float:
    """The learning rate of an iteration, counted from 1: that of a drop is the last before it."""
    rate = recipe.learning_rate
    for drop in recipe.drops:
        if iteration > drop:
            rate *= recipe.drop_factor
    return rate * iteration / recipe.warmup if iteration < recipe.warmup else rate
