"""Masks: which weights are kept. Exact counts, ties broken by position, pruned weights never come back."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from study.lineage import mask_step
from study.models import prunable

Mask = dict[str, Tensor]
"""Name of a prunable weight -> boolean tensor of its shape, True where the weight is kept."""

Layers = Mapping[str, Sequence[int]]
"""Name of a prunable weight -> its shape, in the network's order, the output layer last."""


def sizes(layers: Layers) -> dict[str, int]:
    """Number of weights by layer."""
    return {name: torch.Size(shape).numel() for name, shape in layers.items()}


def kept_count(total: int, sparsity: float) -> int:
    """How many of `total` weights stay at a sparsity: round(n (1 - s))."""
    return round(total * (1 - sparsity))


def keep_top(scores: Mapping[str, Tensor], kept: int) -> Mask:
    """Keep the `kept` highest scores over all layers together.

    Of equal scores the first in the network's order stays. Raises ValueError where a score is not finite.
    """
    flat = torch.cat([score.flatten() for score in scores.values()])
    if not flat.isfinite().all():
        raise ValueError("scores are not finite: the network's loss or gradient overflowed")
    chosen = torch.zeros(len(flat), dtype=torch.bool)
    chosen[flat.sort(descending=True, stable=True).indices[:kept]] = True
    parts = chosen.split([score.numel() for score in scores.values()])
    return {name: part.view(scores[name].shape) for name, part in zip(scores, parts, strict=True)}


@mask_step
def full_mask(layers: Layers) -> Mask:
    """The mask of the dense network."""
    return {name: torch.ones(tuple(shape), dtype=torch.bool) for name, shape in layers.items()}


@mask_step
def prune_smallest(network: nn.Module, mask: Mask, kept: int | Mapping[str, int]) -> Mask:
    """Keep the largest |w| among the weights that `mask` keeps: a count over all layers, or one for each."""
    scores = {name: weight.detach().abs().masked_fill(~mask[name], -1.0) for name, weight in prunable(network).items()}
    if isinstance(kept, int):
        return keep_top(scores, kept)
    return {name: keep_top({name: score}, kept[name])[name] for name, score in scores.items()}


def ladder(layers: Layers, sparsity: float, rate: float, output_rate: float) -> Iterator[dict[str, int]]:
    """Weights kept by layer after each round of iterative pruning, down to exactly `sparsity`.

    Round k keeps (1 - rate)^k of each layer, (1 - output_rate)^k of the output layer (Frankle & Carbin 2019,
    section 2). A target between two rounds is met by a last, gentler one: the same powers with a fractional k,
    rounded by largest remainder to the exact total. Its earlier rounds are those of every other target.
    """
    total = sizes(layers)
    remaining = dict.fromkeys(total, 1 - rate)
    remaining[list(total)[-1]] = 1 - output_rate
    target = kept_count(sum(total.values()), sparsity)

    def share(k: float) -> dict[str, float]:
        return {name: total[name] * remaining[name] ** k for name in total}

    before, k = total, 0
    while sum(before.values()) > target:
        k += 1
        after = {name: round(count) for name, count in share(k).items()}
        if sum(after.values()) < target:
            low, high = k - 1.0, float(k)
            for _ in range(100):
                middle = (low + high) / 2
                low, high = (middle, high) if sum(share(middle).values()) > target else (low, middle)
            after = _round_to_total(share(high), before, target)
        if after == before:
            raise ValueError("a round of pruning removes nothing: raise rate or output_rate")
        yield after
        before = after


def _round_to_total(share: Mapping[str, float], at_most: Mapping[str, int], total: int) -> dict[str, int]:
    """Integers near `share` that sum to `total`, none above `at_most`: the largest remainders are rounded up."""
    counts = {name: min(int(value), at_most[name]) for name, value in share.items()}
    by_remainder = sorted(share, key=lambda name: int(share[name]) - share[name])
    while sum(counts.values()) < total:
        for name in by_remainder:
            if counts[name] < at_most[name] and sum(counts.values()) < total:
                counts[name] += 1
    return counts
