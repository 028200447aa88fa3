"""Random pruning at initialisation, the baseline that any score must beat."""

import torch

from study.lineage import mask_step
from study.methods.masks import Layers, Mask, Scope, keep_top, kept_in_scope, sizes
from study.seeding import stream


@mask_step
def random(layers: Layers, sparsity: float, seed: int, *, scope: Scope = "global") -> Mask:
    """Keep a uniformly random subset: of all weights, each layer's density equal up to chance, or exactly in each."""
    total = sizes(layers)
    ranking = torch.rand(sum(total.values()), generator=stream(seed, "mask"), dtype=torch.float64)
    parts = ranking.split(list(total.values()))
    scores = {name: part.view(tuple(layers[name])) for name, part in zip(layers, parts, strict=True)}
    kept = kept_in_scope(layers, sparsity, scope)
    if isinstance(kept, int):
        return keep_top(scores, kept)
    return {name: keep_top({name: score}, kept[name])[name] for name, score in scores.items()}
