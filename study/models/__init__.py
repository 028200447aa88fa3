"""Networks: one file a family, one function a network, ordinary torch modules.

A new network is a function in its family's file, its layers in the order in which they run and the output layer last,
and a yaml in conf/model. The weights that docstrings count are the prunable ones. A layer before a batch norm has no
bias, which the norm would cancel.
"""

import importlib
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from study.cell import Model
from study.models.initialise import initialise
from study.seeding import Seed

PRUNABLE_LAYERS = (nn.Linear, _ConvNd, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)


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
    """The weights that pruning ranks, in order: of linear, convolutional and recurrent layers and of attention.

    No biases, norms or embeddings. A weight that several layers share counts once, under its first name.
    """
    layers = (module for module in network.modules() if isinstance(module, PRUNABLE_LAYERS))
    owned = {id(parameter) for layer in layers for parameter in layer.parameters(recurse=False)}
    return {name: p for name, p in network.named_parameters() if id(p) in owned and p.dim() > 1}


def _construct(model: Model, inputs: torch.Size, classes: int) -> nn.Module:
    family = importlib.import_module(f"{__name__}.{model.family}")
    network: nn.Module = getattr(family, model.name)(inputs, classes)
    return network
