"""SNIP: single-shot network pruning based on connection sensitivity.

Lee, Ajanthan & Torr 2019 (arXiv 1810.02340), equations 4 to 6. With a mask c on the weights w, the sensitivity of
connection j is the loss's derivative in its mask at c = 1, on one mini-batch at initialisation:

    g_j = dL(c * w) / dc_j = w_j dL/dw_j        s_j = |g_j| / sum_k |g_k|        keep the top kappa of s

The sum changes no ranking and is left out.

Deviations from the authors' code: the weights scored are those trained (the code draws them anew), and biases are
neither ranked nor pruned (the code ranks them together with the weights).
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import cross_entropy

from study.data import Examples
from study.lineage import mask_step
from study.methods.masks import Mask, keep_top, kept_count
from study.models import prunable


@mask_step
def snip(
    start: nn.Module,
    examples: Examples,
    sparsity: float,
    *,
    scoring_examples: Annotated[int, Field(strict=True, ge=1)] = 100,
) -> Mask:
    """Keep the weights with the largest |w dL/dw| over all layers together."""
    weights = prunable(start)
    batch = examples.sample(scoring_examples)
    gradients = torch.autograd.grad(cross_entropy(start(batch.inputs), batch.labels), list(weights.values()))
    scores = {name: (w * g).abs().detach() for (name, w), g in zip(weights.items(), gradients, strict=True)}
    return keep_top(scores, kept_count(sum(w.numel() for w in weights.values()), sparsity))
