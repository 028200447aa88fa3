"""Magnitude pruning at initialisation: keep the largest |w| before any training.

A baseline of Frankle, Dziugaite, Roy & Carbin 2021, "Pruning neural networks at initialization: why are we missing the
mark?" (arXiv 2009.08576).
"""

from study.lineage import Node
from study.methods.masks import Layers, Ranking, Scope, full_mask, kept_in_scope, prune_smallest


def magnitude_at_init(
    start: Node, layers: Layers, sparsity: float, ranking: Ranking, *, scope: Scope = "global"
) -> Node:
    """Keep the largest initial |w|, over all layers together or the same fraction of each."""
    return prune_smallest(start, full_mask(layers), kept_in_scope(layers, sparsity, scope), ranking=ranking)
