"""VGGs (Simonyan & Zisserman 2015, table 1) with batch norm after every convolution."""

import torch
from torch import nn

from study.models.blocks import Layers, averaged, conv_norm_relu, fully_connected, sequential

WIDTHS = (64, 128, 256, 512, 512)


def vgg_11(inputs: torch.Size, classes: int) -> nn.Module:
    """Averaged over the image, one linear layer; 9,222,848 weights on CIFAR-10."""
    return sequential({**_blocks((1, 1, 2, 2, 2), inputs[0]), **averaged(512, classes)})


def vgg_16(inputs: torch.Size, classes: int) -> nn.Module:
    """Averaged over the image, one linear layer; 14,715,584 weights on CIFAR-10."""
    return sequential({**_blocks((2, 2, 3, 3, 3), inputs[0]), **averaged(512, classes)})


def vgg_19(inputs: torch.Size, classes: int) -> nn.Module:
    """As in Frankle & Carbin 2019 and Wang, Zhang & Grosse 2020: averaged, one linear layer; 20,024,000 weights."""
    return sequential({**_blocks((2, 2, 4, 4, 4), inputs[0]), **averaged(512, classes)})


def vgg_16_imagenet(inputs: torch.Size, classes: int) -> nn.Module:
    """The VGG-16 of Wang, Zhang & Grosse 2020, without its dropout; 138,344,128 weights on ImageNet."""
    height, width = (side // 32 for side in inputs[1:])
    layers = {**_blocks((2, 2, 3, 3, 3), inputs[0]), "pool5": nn.MaxPool2d(2)}
    return sequential({**layers, **fully_connected(512 * height * width, (4096, 4096), classes)})


def vgg_c(inputs: torch.Size, classes: int) -> nn.Module:
    """SNIP's VGG-C, third convolutions of a block 1x1; 10,521,280 weights on CIFAR-10 (table 2: 10.5m)."""
    return _snip((512, 512), inputs, classes, third_kernel=1)


def vgg_d(inputs: torch.Size, classes: int) -> nn.Module:
    """SNIP's VGG-D; 15,239,872 weights on CIFAR-10 (table 2: 15.2m)."""
    return _snip((512, 512), inputs, classes)


def vgg_like(inputs: torch.Size, classes: int) -> nn.Module:
    """SNIP's VGG-like, after Zagoruyko; 14,977,728 weights on CIFAR-10 (table 2: 14.9m, and 449k as 3 % of them)."""
    return _snip((512,), inputs, classes)


def _snip(hidden: tuple[int, ...], inputs: torch.Size, classes: int, third_kernel: int = 3) -> nn.Module:
    """Hidden layers with batch norm. The first convolution halves images of 64 pixels: one pixel is left of all."""
    blocks = _blocks((2, 2, 3, 3, 3), inputs[0], third_kernel, first_stride=inputs[1] // 32)
    return sequential({**blocks, "pool5": nn.MaxPool2d(2), **fully_connected(512, hidden, classes, norm=True)})


def _blocks(depths: tuple[int, ...], channels: int, third_kernel: int = 3, first_stride: int = 1) -> Layers:
    """Blocks of 3x3 convolutions, with max-pools between them."""
    layers: Layers = {}
    for block, (width, depth) in enumerate(zip(WIDTHS, depths, strict=True), start=1):
        if layers:
            layers[f"pool{block - 1}"] = nn.MaxPool2d(2)
        for i in range(1, depth + 1):
            kernel, stride = third_kernel if i == 3 else 3, 1 if layers else first_stride
            layers |= conv_norm_relu(f"{block}_{i}", channels, width, kernel, stride)
            channels = width
    return layers
