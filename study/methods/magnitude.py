"""Magnitude pruning after training, in one shot.

Han, Pool, Tran & Dally 2015, "Learning both weights and connections for efficient neural networks", section 3:
train, remove the connections with small weights, train again from the weights that remain.

Deviations: the ranking has an exact count, over all layers together by default, instead of a threshold by layer; the
second training is the recipe once more from its start (the learning-rate rewinding of Renda, Frankle & Carbin 2020)
instead of fine-tuning at a small learning rate with adjusted dropout.
"""

from collections.abc import Generator

from study.lineage import Node, Training
from study.methods.masks import Layers, Ranking, Scope, full_mask, kept_in_scope, prune_smallest


def magnitude(
    start: Node, layers: Layers, sparsity: float, ranking: Ranking, *, scope: Scope = "global"
) -> Generator[Training, Node, Training]:
    """Train the dense network, keep its largest |w|, and go on from the trained weights."""
    dense = full_mask(layers)
    trained = yield Training(start, dense)
    return Training(trained, prune_smallest(trained, dense, kept_in_scope(layers, sparsity, scope), ranking=ranking))
