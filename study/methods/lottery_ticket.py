"""The lottery ticket hypothesis: iterative magnitude pruning with rewinding.

Frankle & Carbin 2019, "The lottery ticket hypothesis: finding sparse, trainable neural networks", section 2
(arXiv 1803.03635):

    1. Randomly initialise a network f(x; theta_0).
    2. Train it for j iterations, arriving at theta_j.
    3. Prune the p % smallest |theta_j| of each layer, giving the mask m.
    4. Reset the remaining weights to theta_0: the ticket f(x; m * theta_0). Repeat from 2.

The paper's LeNet prunes 20 % of each layer in a round, 10 % of the output layer.

Deviations: a target sparsity between two rounds is met exactly by a last, gentler round (`ladder`).
"""

from collections.abc import Generator
from typing import Annotated

from pydantic import Field

from study.lineage import Node, Training
from study.methods.masks import Layers, full_mask, ladder, prune_smallest

Rate = Annotated[float, Field(strict=True, gt=0, lt=1)]


def lottery_ticket(
    start: Node, layers: Layers, sparsity: float, *, rate: Rate = 0.2, output_rate: Rate = 0.1
) -> Generator[Training, Node, Node]:
    """Train, prune the smallest weights of each layer, rewind to the initial weights, repeat."""
    mask = full_mask(layers)
    for kept in ladder(layers, sparsity, rate, output_rate):
        trained = yield Training(start, mask)
        mask = prune_smallest(trained, mask, kept)
    return mask
