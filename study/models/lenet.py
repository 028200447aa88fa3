"""LeNets for small grey images (LeCun et al. 1998)."""

from collections import OrderedDict

import torch
from torch import nn


def lenet_300_100(inputs: torch.Size, classes: int) -> nn.Module:
    """Two hidden layers of 300 and 100 units; 266,200 weights on MNIST."""
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            fc1=nn.Linear(inputs.numel(), 300),
            relu1=nn.ReLU(),
            fc2=nn.Linear(300, 100),
            relu2=nn.ReLU(),
            output=nn.Linear(100, classes),
        )
    )
