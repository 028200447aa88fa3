"""GraSP: gradient signal preservation.

Wang, Zhang & Grosse 2020, "Picking winning tickets before training by preserving gradient flow" (arXiv 2002.07376),
equations 5 to 8. To first order, removing weight j changes the gradient norm dL^T dL by -2 theta_j (H g)_j, so

    S(-theta) = -theta * (H g)        remove the weights with the highest S, keep the rest

H g is the gradient of <g, dL> with g held constant (the paper's algorithm 2), so it costs two backward passes.

From the authors' code: logits are divided by a temperature of 200, and the examples are balanced, ten of each class.

Deviations: exactly k weights are kept (the code's threshold removes one less), and the weights scored are those trained
(the code draws every linear layer anew for scoring).
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
def grasp(
    start: nn.Module,
    examples: Examples,
    sparsity: float,
    *,
    examples_per_class: Annotated[int, Field(strict=True, ge=1)] = 10,
    temperature: Annotated[float, Field(strict=True, gt=0)] = 200.0,
) -> Mask:
    """Remove the weights with the highest -w (H g): those whose removal costs the gradient norm least."""
    weights = prunable(start)
    batch = examples.balanced(examples_per_class)
    loss = cross_entropy(start(batch.inputs) / temperature, batch.labels)
    gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    flow = torch.stack([(g.detach() * g).sum() for g in gradients]).sum()
    hessian_gradients = torch.autograd.grad(flow, list(weights.values()))
    removable = {name: -(w * hg).detach() for (name, w), hg in zip(weights.items(), hessian_gradients, strict=True)}
    kept = kept_count(sum(w.numel() for w in weights.values()), sparsity)
    return keep_top({name: -score for name, score in removable.items()}, kept)
