"""Networks: one file a family, one function a network, ordinary torch modules.

A new network is a function in its family's file, its layers in the order in which they run and the output layer last,
and a yaml in conf/model. The weights that docstrings count are the prunable ones. A layer before a batch norm has no
bias, which the norm would cancel.
"""

import importlib
from functools import lru_cache

import torch
from torch import Tensor, nn

from study.cell import Model
from study.models.initialise import initialise
from study.seeding import Seed


def build(model: Model, inputs: torch.Size, classes: int, seed: Seed) -> nn.Module:
    """The network at its initial weights, for examples of shape `inputs` (channels, height, width)."""
    network = _construct(model, inputs, classes)
    initialise(network, model.init, seed)
    return network


@lru_cache
def layers(model: Model, inputs: torch.Size, classes: int) -> dict[str, list[int]]:
    """Name -> shape of the prunable weights, without allocating them."""
    network = weightless(model, inputs, classes)
    return {name: list(weight.shape) for name, weight in prunable(network).items()}


def weightless(model: Model, inputs: torch.Size, classes: int) -> nn.Module:
    """The network without memory for its weights, on torch's meta device."""
    with torch.device("meta"):
        return _construct(model, inputs, classes)


def prunable(network: nn.Module) -> dict[str, Tensor]:
    """The weights that pruning ranks: of linear, convolutional and recurrent layers, in order. No biases, no norms."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.dim() > 1}


def _construct(model: Model, inputs: torch.Size, classes: int) -> nn.Module:
    family = importlib.import_module(f"{__name__}.{model.family}")
    network: nn.Module = getattr(family, model.name)(inputs, classes)
    return network
