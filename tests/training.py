"""One network trained alone, for tests of what becomes of it."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from study.cell import Recipe
from study.data import Split
from study.training import loop
from study.training.engines.dense import Dense
from study.training.engines.engine import Runner, Task


def train(
    network: nn.Module,
    mask: Mapping[str, Tensor],
    data: Split,
    recipe: Recipe,
    seed: int,
    after_stretch: Callable[[int, loop.Snapshots], None] = lambda iteration, snapshots: None,
    engine: Runner = Dense,
    since: int = 0,
    until: int | None = None,
) -> loop.Outcome:
    """Train a network in place."""
    (outcome,) = loop.train([Task(network, mask, data, recipe, seed)], engine, after_stretch, since=since, until=until)
    return outcome
