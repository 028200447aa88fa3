"""The dense baseline: nothing is pruned."""

from study.lineage import Node
from study.methods.masks import Layers, full_mask


def dense(layers: Layers) -> Node:
    """Keep every weight. The same training is round 0 of every lottery ticket of the same seed."""
    return full_mask(layers)
