"""Residual networks (He et al. 2016) and wide ones (Zagoruyko & Komodakis 2016).

Blocks come in groups; each group but the first halves the image. Where a block changes the shape, its shortcut is a 1x1
convolution.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from study.models.blocks import Layers, averaged, conv_norm, conv_norm_relu, sequential


def resnet_20(inputs: torch.Size, classes: int) -> nn.Module:
    """He et al., section 4.2, the ResNet-18 of Frankle & Carbin 2019; 270,896 weights on CIFAR-10."""
    return _cifar((16, 32, 64), 3, inputs, classes)


def resnet_32_double(inputs: torch.Size, classes: int) -> nn.Module:
    """Twice as wide, as in the code of Wang, Zhang & Grosse 2020; 1,855,584 weights on CIFAR-10."""
    return _cifar((32, 64, 128), 5, inputs, classes)


def resnet_50(inputs: torch.Size, classes: int) -> nn.Module:
    """He et al., table 1, halving in 3x3 instead of 1x1 convolutions, as is usual; 25,502,912 weights on ImageNet."""
    stem = {**conv_norm_relu("0", inputs[0], 64, kernel=7, stride=2), "pool0": nn.MaxPool2d(3, 2, padding=1)}
    groups = _groups(_bottleneck, 64, (256, 512, 1024, 2048), (3, 4, 6, 3))
    return sequential({**stem, **groups, **averaged(2048, classes)})


def wrn_16_8(inputs: torch.Size, classes: int) -> nn.Module:
    """16 layers, 8 times as wide; 10,954,160 weights on CIFAR-10 (SNIP's table 2: 10.0m, but 548k as 5 % of them)."""
    return _wide((128, 256, 512), 2, inputs, classes)


def wrn_16_10(inputs: torch.Size, classes: int) -> nn.Module:
    """16 layers, 10 times as wide; 17,107,632 weights on CIFAR-10 (SNIP's table 2: 17.1m)."""
    return _wide((160, 320, 640), 2, inputs, classes)


def wrn_22_8(inputs: torch.Size, classes: int) -> nn.Module:
    """22 layers, 8 times as wide; 17,147,312 weights on CIFAR-10 (SNIP's table 2: 17.2m)."""
    return _wide((128, 256, 512), 3, inputs, classes)


def _cifar(widths: tuple[int, int, int], depth: int, inputs: torch.Size, classes: int) -> nn.Module:
    stem = conv_norm_relu("0", inputs[0], widths[0])
    groups = _groups(_basic, widths[0], widths, (depth, depth, depth))
    return sequential({**stem, **groups, **averaged(widths[-1], classes)})


def _wide(widths: tuple[int, int, int], depth: int, inputs: torch.Size, classes: int) -> nn.Module:
    stem: Layers = {"conv0": nn.Conv2d(inputs[0], 16, 3, padding=1, bias=False)}
    groups = _groups(WideBlock, 16, widths, (depth, depth, depth))
    last: Layers = {"norm": nn.BatchNorm2d(widths[-1]), "relu": nn.ReLU()}
    return sequential({**stem, **groups, **last, **averaged(widths[-1], classes)})


def _groups(
    block: Callable[[int, int, int], nn.Module], channels: int, widths: tuple[int, ...], depths: tuple[int, ...]
) -> Layers:
    layers: Layers = {}
    for group, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
        for i in range(1, depth + 1):
            stride = 2 if group > 1 and i == 1 else 1
            layers[f"block{group}_{i}"] = block(channels, width, stride)
            channels = width
    return layers


def _basic(channels: int, width: int, stride: int) -> nn.Module:
    """Two 3x3 convolutions (He et al., figure 5, left)."""
    branch = {**conv_norm_relu("1", channels, width, stride=stride), **conv_norm("2", width, width)}
    return Residual(branch, channels, width, stride)


def _bottleneck(channels: int, width: int, stride: int) -> nn.Module:
    """A 3x3 convolution of a quarter of the width between two of 1x1 (He et al., figure 5, right)."""
    narrow = width // 4
    branch = {
        **conv_norm_relu("1", channels, narrow, kernel=1),
        **conv_norm_relu("2", narrow, narrow, stride=stride),
        **conv_norm("3", narrow, width, kernel=1),
    }
    return Residual(branch, channels, width, stride)


class Residual(nn.Module):
    """ReLU of branch plus shortcut (He et al., equations 1 and 2)."""

    def __init__(self, branch: Layers, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.branch = sequential(branch)
        same = channels == width and stride == 1
        self.shortcut = nn.Identity() if same else sequential(conv_norm("", channels, width, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.branch(x) + self.shortcut(x))


class WideBlock(nn.Module):
    """Norm and ReLU come before the convolutions (Zagoruyko & Komodakis, figure 1a), and before a shortcut's."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.activation = sequential({"norm": nn.BatchNorm2d(channels), "relu": nn.ReLU()})
        conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.branch = sequential({**conv_norm_relu("1", channels, width, stride=stride), "conv2": conv2})
        same = channels == width and stride == 1
        self.shortcut = None if same else nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.activation(x)
        branch: Tensor = self.branch(activated)
        return branch + (x if self.shortcut is None else self.shortcut(activated))
