"""SynFlow: iterative synaptic flow pruning.

Tanaka, Kunin, Yamins & Ganguli 2020, "Pruning neural networks without any data by iteratively conserving synaptic flow"
(arXiv 2006.05467), algorithm 1. With all weights replaced by their magnitudes, an input of ones and R the sum of the
outputs,

    S = |theta| * dR/d|theta|        rho_k = rho^(k / n) kept after round k of n

Each layer's scores sum to the same total (conservation of flow), so no layer is emptied before another.

Scored in float64, where the products over a deep network do not overflow, with batch norm in eval mode at its initial
statistics, as in the authors' code.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from study.cell import PositiveCount
from study.lineage import mask_step
from study.methods.masks import Mask, Ranking
from study.methods.scoring import Weights, derivatives, prune_in_rounds, rankable


@mask_step
def synflow(
    network: nn.Module,
    inputs: Sequence[int],
    sparsity: float,
    ranking: Ranking = "score",
    *,
    rounds: PositiveCount = 100,
) -> Mask:
    """Keep the weights that carry the most flow, re-scored every round."""
    linear = linearised(network)
    return prune_in_rounds(rankable(linear), sparsity, rounds, ranking, lambda weights: flow(linear, weights, inputs))


def linearised(network: nn.Module) -> nn.Module:
    """A float64 copy in eval mode with every parameter replaced by its magnitude."""
    copied = copy.deepcopy(network).double().eval()
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.abs_()
    return copied


def flow(linear: nn.Module, weights: Weights, inputs: Sequence[int]) -> list[Tensor]:
    """Each weight's synaptic flow: |w| dR/d|w| for an input of ones of shape `inputs`."""
    ones = torch.ones(1, *inputs, dtype=torch.float64, device=next(iter(weights.values())).device)
    output = functional_call(linear, weights, ones).sum()
    gradients = derivatives(output, list(weights.values()))
    return [(w * g).detach() for w, g in zip(weights.values(), gradients, strict=True)]
