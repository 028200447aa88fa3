"""Floating-point operations of a network's weights."""

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from study.models import prunable


def flops(network: nn.Module, inputs: Sequence[int]) -> dict[str, int]:
    """Operations by prunable weight for one example forward, two a multiply-add, as torch counts them for dense ones.

    The weights of one layer share its operations by their sizes.
    """
    weightless = copy.deepcopy(network).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        weightless(torch.zeros(1, *inputs, device="meta", dtype=next(weightless.parameters()).dtype))
    counted = counter.get_flop_counts()
    root, found = type(network).__name__, {}
    for name, weight in prunable(network).items():
        layer = name.rpartition(".")[0]
        siblings = prunable(network.get_submodule(layer)).values()
        operations = sum(counted[f"{root}.{layer}"].values())
        found[name] = operations * weight.numel() // sum(sibling.numel() for sibling in siblings)
    return found
