"""One network trained alone, for tests of what becomes of it."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from study.cell import Recipe
from study.data import Split
from study.training import loop
from study.training.engines.dense import Dense
from study.training.engines.engine import Engine, Task

Runs = Callable[[Sequence[Task], Recipe], Engine]


def train(
    network: nn.Module,
    mask: Mapping[str, Tensor],
    data: Split,
    recipe: Recipe,
    seed: int,
    on_iteration: Callable[[int], None] = lambda iteration: None,
    engine: Runs = Dense,
    **part: int,
) -> loop.Outcome:
    """Train a network in place."""
    (outcome,) = loop.train([Task(network, mask, data, seed)], recipe, engine, on_iteration, **part)
    return outcome
