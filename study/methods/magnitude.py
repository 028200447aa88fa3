"""Magnitude pruning after training, in one shot.

Han, Pool, Tran & Dally 2015, "Learning both weights and connections for efficient neural networks", section 3:
train, remove the connections with small weights, train again from the weights that remain.

Deviations: the ranking is global with an exact count instead of a threshold by layer, and the second training is the
recipe once more from its start (the learning-rate rewinding of Renda, Frankle & Carbin 2020) instead of fine-tuning
at a small learning rate with adjusted dropout.
"""

from collections.abc import Generator

from study.lineage import Node, Training
from study.methods.masks import Layers, full_mask, kept_count, prune_smallest, sizes


def magnitude(start: Node, layers: Layers, sparsity: float) -> Generator[Training, Node, tuple[Node, Node]]:
    """Train the dense network, keep its largest |w|, and go on from the trained weights."""
    dense = full_mask(layers)
    trained = yield Training(start, dense)
    return trained, prune_smallest(trained, dense, kept_count(sum(sizes(layers).values()), sparsity))
