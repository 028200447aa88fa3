"""GraSP: gradient signal preservation.

Wang, Zhang & Grosse 2020, "Picking winning tickets before training by preserving gradient flow" (arXiv 2002.07376),
equations 5 to 8. To first order, removing weight j changes the gradient norm dL^T dL by -2 theta_j (H g)_j, so

    S(-theta) = -theta * (H g)        remove the weights with the highest S, keep the rest

H g is the gradient of <g, dL> with g held constant (the paper's algorithm 2). With several batches g is the sum over
all of them, and each then back-propagates <g, dL_b>: the same examples in both passes.

The defaults are the paper's, with the authors' code where the paper is silent: logits divided by a temperature of 200,
ten balanced examples of each class, batch norm in train mode. The code also draws the linear layers anew for scoring
(`redraw=linear`; for ImageNet only the last, `redraw=head`), and takes the scoring images as training augments them
(`augment=flip_crop`), the same ones in both passes.

Deviation: exactly k weights are kept; the code's threshold removes one less than it means to.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from study.cell import Augment, Count, Positive, PositiveCount
from study.data import Examples
from study.lineage import mask_step
from study.methods.masks import Mask, SignedRanking
from study.methods.scoring import (
    Batch,
    BatchNorm,
    Scored,
    Weights,
    derivatives,
    draw,
    for_scoring,
    loss,
    prune_in_rounds,
    rankable,
    summed,
)
from study.seeding import stream


@mask_step
def grasp(
    network: nn.Module,
    examples: Examples | Sequence[Batch],
    sparsity: float,
    seed: int,
    ranking: SignedRanking = "score",
    *,
    scoring_examples: Count = 0,
    examples_per_class: Count = 10,
    batches: PositiveCount = 1,
    augment: Augment = "none",
    temperature: Positive = 200.0,
    batch_norm: BatchNorm = "train",
    redraw: Literal["nothing", "head", "linear"] = "nothing",
    scored: Scored = "trained",
    rounds: PositiveCount = 1,
) -> Mask:
    """Remove the weights with the highest -w (H g): those whose removal costs the gradient norm least.

    `scored` says whose draw `network` is.
    """
    network = for_scoring(network, batch_norm)
    _redraw(network, redraw, seed)
    drawn = draw(examples, scoring_examples, examples_per_class, batches, augment)

    def minus_removal_score(weights: Weights) -> list[Tensor]:
        leaves = list(weights.values())
        g = summed(derivatives(loss(network, weights, batch, temperature), leaves) for batch in drawn)

        def hessian_times_g(batch: Batch) -> Sequence[Tensor]:
            gradients = derivatives(loss(network, weights, batch, temperature), leaves, create_graph=True)
            flow = torch.stack([(a * b).sum() for a, b in zip(g, gradients, strict=True)]).sum()
            return derivatives(flow, leaves)

        hg = summed(hessian_times_g(batch) for batch in drawn)
        return [(w * product).detach() for w, product in zip(leaves, hg, strict=True)]

    return prune_in_rounds(rankable(network), sparsity, rounds, ranking, minus_removal_score)


def _redraw(network: nn.Module, which: str, seed: int) -> None:
    """Draw linear layers anew, Xavier normal, for scoring only."""
    linear = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    for name, module in {"nothing": [], "head": linear[-1:], "linear": linear}[which]:
        drawn = torch.empty(module.weight.shape, dtype=module.weight.dtype)
        nn.init.xavier_normal_(drawn, generator=stream(seed, f"redraw/{name}"))
        module.weight.data.copy_(drawn)
