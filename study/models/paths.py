"""Which kept weights still lie on a path from input to output."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from study.models import prunable


def effective(network: nn.Module, mask: Mapping[str, Tensor], inputs: Sequence[int]) -> dict[str, int]:
    """Kept weights by layer that lie on a path of kept weights from an input to an output.

    Effective sparsity: Vysogorets & Kempe 2023, "Connectivity matters" (arXiv 2107.02306), section 3. Every kept weight
    is given the same positive value in its layer, everything else that could cancel or block is taken out (biases,
    statistics, and maxima, which become means), and an input of ones sent through: all terms are positive, so a weight
    is on a path exactly if the output's derivative in it is not zero.
    """
    positive = _means_for_maxima(copy.deepcopy(network).double().cpu().eval())
    for module in positive.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
    with torch.no_grad():
        for name, parameter in positive.named_parameters():
            parameter.zero_() if "bias" in name else parameter.fill_(1.0)
    leaves = {}
    for name, weight in prunable(positive).items():
        kept = mask[name].double()
        fan_in = max(weight.numel() // weight.shape[0], 1)
        leaves[name] = (kept / fan_in).requires_grad_()
    output = functional_call(positive, leaves, torch.ones(1, *inputs, dtype=torch.float64)).sum()
    gradients = torch.autograd.grad(output, list(leaves.values()))
    return {name: int(((g != 0) & mask[name]).sum()) for name, g in zip(leaves, gradients, strict=True)}


def _means_for_maxima(network: nn.Module) -> nn.Module:
    for name, module in network.named_children():
        if isinstance(module, nn.MaxPool2d):
            setattr(network, name, nn.AvgPool2d(module.kernel_size, module.stride, module.padding, module.ceil_mode))
        else:
            _means_for_maxima(module)
    return network
