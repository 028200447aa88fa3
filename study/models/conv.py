"""Small VGGs for CIFAR-10 (Frankle & Carbin 2019, figure 2): pairs of convolutions, then two hidden layers."""

import torch
from torch import nn

from study.models.blocks import Layers, fully_connected, sequential


def conv_2(inputs: torch.Size, classes: int) -> nn.Module:
    """One pair of convolutions; 4,300,992 weights on CIFAR-10."""
    return _pairs((64,), inputs, classes)


def conv_4(inputs: torch.Size, classes: int) -> nn.Module:
    """Two pairs of convolutions; 2,425,024 weights on CIFAR-10."""
    return _pairs((64, 128), inputs, classes)


def conv_6(inputs: torch.Size, classes: int) -> nn.Module:
    """Three pairs of convolutions; 2,261,184 weights on CIFAR-10, where the paper prints 1.7M."""
    return _pairs((64, 128, 256), inputs, classes)


def _pairs(widths: tuple[int, ...], inputs: torch.Size, classes: int) -> nn.Module:
    channels, *sides = inputs
    layers: Layers = {}
    for pair, width in enumerate(widths, start=1):
        layers |= {
            f"conv{pair}_1": nn.Conv2d(channels, width, 3, padding=1),
            f"relu{pair}_1": nn.ReLU(),
            f"conv{pair}_2": nn.Conv2d(width, width, 3, padding=1),
            f"relu{pair}_2": nn.ReLU(),
            f"pool{pair}": nn.MaxPool2d(2),
        }
        channels, sides = width, [side // 2 for side in sides]
    return sequential({**layers, **fully_connected(channels * sides[0] * sides[1], (256, 256), classes)})
