"""Random pruning at initialisation, the baseline that any score must beat."""

import torch

from study.lineage import mask_step
from study.methods.masks import Layers, Mask, keep_top, kept_count, sizes
from study.seeding import stream


@mask_step
def random(layers: Layers, sparsity: float, seed: int) -> Mask:
    """Keep a uniformly random subset of all prunable weights: one global random ranking.

    Each layer's density is the network's up to chance.
    """
    total = sizes(layers)
    ranking = torch.rand(sum(total.values()), generator=stream(seed, "mask"), dtype=torch.float64)
    parts = ranking.split(list(total.values()))
    scores = {name: part.view(tuple(layers[name])) for name, part in zip(layers, parts, strict=True)}
    return keep_top(scores, kept_count(len(ranking), sparsity))
