"""Masks: which weights are kept. Exact counts, ties broken by position, pruned weights never come back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from study.lineage import mask_step
from study.models import prunable

Mask = dict[str, Tensor]
"""Name of a prunable weight -> boolean tensor of its shape, True where the weight is kept."""

Layers = Mapping[str, Sequence[int]]
"""Name of a prunable weight -> its shape, in the network's order, the output layer last."""

Ranking = Literal["score", "inverted"]
"""Keep the highest scores; or, as a control (Frankle et al. 2021), the lowest."""

SignedRanking = Literal["score", "inverted", "absolute"]
"""The same of scores that have signs; or, as another control, keep those of the highest magnitudes."""


Scope = Literal["global", "layer"]
"""Whether weights are ranked over all layers together or in each."""


def sizes(layers: Layers) -> dict[str, int]:
    """Number of weights by layer."""
    return {name: torch.Size(shape).numel() for name, shape in layers.items()}


def kept_count(total: int, sparsity: float) -> int:
    """How many of `total` weights stay at a sparsity: round(n (1 - s))."""
    return round(total * (1 - sparsity))


def kept_in_scope(layers: Layers, sparsity: float, scope: Scope) -> int | dict[str, int]:
    """The count to keep over all layers, or in each layer at the same sparsity to the same total."""
    total = sizes(layers)
    kept = kept_count(sum(total.values()), sparsity)
    if scope == "global":
        return kept
    return round_to_total({name: n * (1 - sparsity) for name, n in total.items()}, total, kept)


def keep_top(
    scores: Mapping[str, Tensor],
    kept: int,
    ranking: SignedRanking = "score",
    within: Mapping[str, Tensor] | None = None,
) -> Mask:
    """Keep the `kept` highest scores over all layers together, among the weights of the mask `within` if given.

    The mask is on the CPU. Of equal scores the first in the network's order stays. Raises ValueError where a score is
    not finite.
    """
    flat = torch.cat([score.flatten().cpu() for score in scores.values()])
    if not flat.isfinite().all():
        raise ValueError("scores are not finite: the network's loss or gradient overflowed")
    chosen = torch.zeros(len(flat), dtype=torch.bool)
    eligible = torch.ones_like(chosen) if within is None else torch.cat([within[name].flatten() for name in scores])
    ranked = {"score": flat, "inverted": -flat, "absolute": flat.abs()}[ranking][eligible]
    if kept:
        lowest = ranked.kthvalue(len(ranked) - kept + 1).values
        above, ties = ranked > lowest, (ranked == lowest).nonzero().flatten()
        above[ties[: kept - int(above.sum())]] = True
        chosen[eligible] = above
    parts = chosen.split([score.numel() for score in scores.values()])
    return {name: part.view(scores[name].shape) for name, part in zip(scores, parts, strict=True)}


@mask_step
def full_mask(layers: Layers) -> Mask:
    """The mask of the dense network."""
    return {name: torch.ones(tuple(shape), dtype=torch.bool) for name, shape in layers.items()}


@mask_step
def prune_smallest(
    network: nn.Module,
    mask: Mask,
    kept: int | Mapping[str, int],
    *,
    spared: Sequence[str] = (),
    ranking: Ranking = "score",
) -> Mask:
    """Keep the largest |w| among the weights that `mask` keeps.

    `kept` is a count for each layer, or one over all layers together but the `spared`, which stay as they are.
    """
    scores = {name: weight.detach().abs() for name, weight in prunable(network).items()}
    if isinstance(kept, int):
        ranked = {name: score for name, score in scores.items() if name not in spared}
        return mask | keep_top(ranked, kept, ranking, mask)
    return {name: keep_top({name: score}, kept[name], ranking, mask)[name] for name, score in scores.items()}


def ladder(layers: Layers, sparsity: float, rates: Mapping[str, float]) -> Iterator[dict[str, int]]:
    """Weights kept by layer after each round of iterative pruning, down to exactly `sparsity`.

    Round k keeps (1 - rate)^k of a layer (Frankle & Carbin 2019, section 2). A target between two rounds is met by a
    last, gentler one: the same powers with a fractional k, rounded by largest remainder to the exact total. Its earlier
    rounds are those of every other target. Raises ValueError where the rates can't reach the sparsity.
    """
    total = sizes(layers)
    target = kept_count(sum(total.values()), sparsity)
    if target < sum(count for name, count in total.items() if rates[name] == 0):
        raise ValueError("layers with a pruning rate of 0 hold more weights than are to be kept: lower the sparsity")

    def share(k: float) -> dict[str, float]:
        return {name: total[name] * (1 - rates[name]) ** k for name in total}

    before, k = total, 0
    while sum(before.values()) > target:
        k += 1
        after = {name: round(count) for name, count in share(k).items()}
        if sum(after.values()) < target:
            after = round_to_total(share(_power(share, target, k - 1, k)), before, target)
        if after == before:
            raise ValueError("a round of pruning removes nothing: raise the pruning rates")
        yield after
        before = after


def one_round(layers: Layers, sparsity: float, rates: Mapping[str, float]) -> dict[str, int]:
    """Weights kept by layer where one round goes all the way: what many rounds at these rates would keep of each."""
    rungs = list(ladder(layers, sparsity, rates))
    return rungs[-1] if rungs else sizes(layers)


def round_to_total(share: Mapping[str, float], at_most: Mapping[str, int], total: int) -> dict[str, int]:
    """Integers near `share` that sum to `total`, none above `at_most`: the largest remainders are rounded up."""
    counts = {name: min(int(value), at_most[name]) for name, value in share.items()}
    by_remainder = sorted(share, key=lambda name: int(share[name]) - share[name])
    while sum(counts.values()) < total:
        for name in by_remainder:
            if counts[name] < at_most[name] and sum(counts.values()) < total:
                counts[name] += 1
    return counts


def _power(share: Callable[[float], Mapping[str, float]], target: int, low: float, high: float) -> float:
    """The k between `low` and `high` at which the shares sum to the target, by bisection."""
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(share(middle).values()) > target else (low, middle)
    return high
