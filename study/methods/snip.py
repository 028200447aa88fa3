"""SNIP: single-shot network pruning based on connection sensitivity.

Lee, Ajanthan & Torr 2019 (arXiv 1810.02340), equations 4 to 6. With a mask c on the weights w, the sensitivity of
connection j is the loss's derivative in its mask at c = 1, on one mini-batch at initialisation:

    g_j = dL(c * w) / dc_j = w_j dL/dw_j        s_j = |g_j| / sum_k |g_k|        keep the top kappa of s

The sum changes no ranking and is left out.

The defaults are the paper's. The authors' code differs: it scores with batch norm in eval mode (as here, the paper does
not say), ranks biases together with the weights (`biases`) and draws the weights anew between scoring and training
(`scored=redrawn`). The paper's table 3 scores weights of several initialisations and trains one (`scored=he_truncated`,
...); its figure 2 scores examples of a single class (`scoring_class`).
Other codes sum over several batches, before or after the absolute value (`batches`, `absolute`), or prune in several
rounds (`rounds`: de Jorge et al. 2021, Verdenius et al. 2020).
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from study.cell import Augment, Count, PositiveCount
from study.data import Examples
from study.lineage import mask_step
from study.methods.masks import Mask, Ranking
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


@mask_step
def snip(
    network: nn.Module,
    examples: Examples | Sequence[Batch],
    sparsity: float,
    ranking: Ranking = "score",
    *,
    scoring_examples: Count = 100,
    scoring_class: Count | None = None,
    examples_per_class: Count = 0,
    batches: PositiveCount = 1,
    augment: Augment = "none",
    absolute: Literal["after_sum", "before_sum"] = "after_sum",
    batch_norm: BatchNorm = "eval",
    biases: bool = False,
    scored: Scored = "trained",
    rounds: PositiveCount = 1,
) -> Mask:
    """Keep the weights with the largest |w dL/dw| over all layers together; `scored` says whose draw `network` is."""
    network = for_scoring(network, batch_norm)
    drawn = draw(examples, scoring_examples, examples_per_class, batches, augment, scoring_class)

    def sensitivity(weights: Weights) -> list[Tensor]:
        def change(batch: Batch) -> list[Tensor]:
            gradients = derivatives(loss(network, weights, batch), list(weights.values()))
            changes = [(w * g).detach() for w, g in zip(weights.values(), gradients, strict=True)]
            return [c.abs() for c in changes] if absolute == "before_sum" else changes

        return [s.abs() for s in summed(change(batch) for batch in drawn)]

    return prune_in_rounds(rankable(network, biases), sparsity, rounds, ranking, sensitivity)
