"""AlexNets for small images (Lee, Ajanthan & Torr 2019, table 2, and their code).

The kernels of Krizhevsky, Sutskever & Hinton 2012 with batch norm, and with strides that leave one pixel of the image.
Padding is symmetric; TensorFlow pads a pixel more on one side.
"""

import torch
from torch import nn

from study.models.blocks import Layers, conv_norm_relu, fully_connected, sequential


def alexnet_s(inputs: torch.Size, classes: int) -> nn.Module:
    """Hidden layers of 1,024 units; 5,066,784 weights on CIFAR-10 (table 2: 5.1m)."""
    return _alexnet(1024, inputs, classes)


def alexnet_b(inputs: torch.Size, classes: int) -> nn.Module:
    """Hidden layers of 2,048 units; 8,484,896 weights on CIFAR-10 (table 2: 8.5m)."""
    return _alexnet(2048, inputs, classes)


def _alexnet(hidden: int, inputs: torch.Size, classes: int) -> nn.Module:
    convolutions: Layers = {
        **conv_norm_relu("1", inputs[0], 96, kernel=11, stride=inputs[1] // 16),
        **conv_norm_relu("2", 96, 256, kernel=5, stride=2),
        **conv_norm_relu("3", 256, 384, stride=2),
        **conv_norm_relu("4", 384, 384, stride=2),
        **conv_norm_relu("5", 384, 256, stride=2),
    }
    return sequential({**convolutions, **fully_connected(256, (hidden, hidden), classes, norm=True)})
