"""The lottery ticket hypothesis: iterative magnitude pruning with rewinding.

Frankle & Carbin 2019, "The lottery ticket hypothesis: finding sparse, trainable neural networks", section 2
(arXiv 1803.03635):

    1. Randomly initialise a network f(x; theta_0).
    2. Train it for j iterations, arriving at theta_j.
    3. Prune the p % smallest |theta_j| of each layer, giving the mask m.
    4. Reset the remaining weights to theta_0: the ticket f(x; m * theta_0). Repeat from 2.

The defaults are the paper's for LeNet: 20 % of each layer a round, 10 % of the output layer. Its Conv-2, -4 and -6
prune 10 to 15 % of convolutions (`conv_rate`); its ResNet and VGG rank all convolutions together (`scope=global`) and
spare the linear layer (`output_rate=0`). `one_shot` is its control with a single round. `rewind` is late rewinding
(Frankle, Dziugaite, Roy & Carbin 2020, arXiv 1912.05671): weights go back to iteration k of the dense training, and
with them the schedule and the data order; the optimiser starts afresh.

Deviation: a target sparsity between two rounds is met exactly by a last, gentler round (`ladder`).
"""

from collections.abc import Generator
from typing import Annotated

from pydantic import Field

from study.cell import Count
from study.lineage import Node, Training
from study.methods.masks import Layers, Ranking, Scope, full_mask, ladder, one_round, prune_smallest

Rate = Annotated[float, Field(strict=True, ge=0, lt=1)]


def lottery_ticket(
    start: Node,
    layers: Layers,
    sparsity: float,
    ranking: Ranking,
    *,
    rate: Rate = 0.2,
    conv_rate: Rate = 0.2,
    output_rate: Rate = 0.1,
    scope: Scope = "layer",
    one_shot: bool = False,
    rewind: Count = 0,
) -> Generator[Training, Node, Training]:
    """Train, prune the smallest weights, rewind, repeat."""
    rates = {name: conv_rate if len(shape) > 2 else rate for name, shape in layers.items()}
    rates[list(layers)[-1]] = output_rate
    spared = tuple(name for name in layers if rates[name] == 0) if scope == "global" else ()
    mask = full_mask(layers)
    if rewind:
        start = yield Training(start, mask, until=rewind)
    for kept in [one_round(layers, sparsity, rates)] if one_shot else ladder(layers, sparsity, rates):
        trained = yield Training(start, mask, since=rewind)
        ranked = sum(n for name, n in kept.items() if name not in spared) if scope == "global" else kept
        mask = prune_smallest(trained, mask, ranked, spared=spared, ranking=ranking)
    return Training(start, mask, since=rewind)
