"""What an engine is: it trains networks of one shape side by side by one recipe. The loop knows no other side of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from study.cell import Recipe
from study.data import Split


@dataclass(frozen=True)
class Task:
    """A network to be trained in place from where it is under a mask, on a split, its randomness from a seed."""

    network: nn.Module
    mask: Mapping[str, Tensor]
    data: Split
    seed: int


class Evaluation(NamedTuple):
    """Mean cross-entropy in nats and accuracy over a set of examples, each weighing the same."""

    loss: float
    accuracy: float


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

    def finish(self) -> None:
        """Leave the trained weights and statistics in the networks."""


def learning_rate(recipe: Recipe, iteration: int) -> float:
    """The learning rate of an iteration, counted from 1: that of a drop is the last before it."""
    rate = recipe.learning_rate
    for drop in recipe.drops:
        if iteration > drop:
            rate *= recipe.drop_factor
    return rate * iteration / recipe.warmup if iteration < recipe.warmup else rate
