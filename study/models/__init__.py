"""Networks: one file a family, one function a network, ordinary torch modules."""

import importlib

import torch
from torch import Tensor, nn

from study.cell import Model
from study.models.initialise import initialise


def build(model: Model, inputs: torch.Size, classes: int, seed: int) -> nn.Module:
    """The network at its initial weights, for examples of shape `inputs` (channels, height, width)."""
    network = _construct(model, inputs, classes)
    initialise(network, model.init, seed)
    return network


def layers(model: Model, inputs: torch.Size, classes: int) -> dict[str, list[int]]:
    """Name -> shape of the prunable weights, without allocating them."""
    with torch.device("meta"):
        network = _construct(model, inputs, classes)
    return {name: list(weight.shape) for name, weight in prunable(network).items()}


def prunable(network: nn.Module) -> dict[str, Tensor]:
    """The weights that pruning ranks: those of linear and convolutional layers, in order. No biases, no norms."""
    return {
        f"{name}.weight": module.weight
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }


def _construct(model: Model, inputs: torch.Size, classes: int) -> nn.Module:
    family = importlib.import_module(f"{__name__}.{model.family}")
    network: nn.Module = getattr(family, model.name)(inputs, classes)
    return network
