"""LeNets for small grey images (LeCun et al. 1998)."""

import torch
from torch import nn

from study.models.blocks import Layers, fully_connected, sequential


def lenet_300_100(inputs: torch.Size, classes: int) -> nn.Module:
    """Two hidden layers of 300 and 100 units; 266,200 weights on MNIST."""
    return sequential(fully_connected(inputs.numel(), (300, 100), classes))


def lenet_5_caffe(inputs: torch.Size, classes: int) -> nn.Module:
    """Caffe's LeNet-5, whose convolutions have no ReLU, as in SNIP's code; 430,500 weights on MNIST."""
    convolutions: Layers = {
        "conv1": nn.Conv2d(inputs[0], 20, 5),
        "pool1": nn.MaxPool2d(2),
        "conv2": nn.Conv2d(20, 50, 5),
        "pool2": nn.MaxPool2d(2),
    }
    height, width = (((side - 4) // 2 - 4) // 2 for side in inputs[1:])
    return sequential({**convolutions, **fully_connected(50 * height * width, (500,), classes)})
