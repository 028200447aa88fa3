"""What families share: named layers, in the order in which they run."""

from collections import OrderedDict

from torch import nn

Layers = dict[str, nn.Module]


def sequential(layers: Layers) -> nn.Sequential:
    """The layers one after another, under their names."""
    return nn.Sequential(OrderedDict(layers))


def conv_norm(label: str, channels: int, width: int, kernel: int = 3, stride: int = 1) -> Layers:
    """A convolution that keeps the image's size, but for the stride, and its batch norm."""
    return {
        f"conv{label}": nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False),
        f"norm{label}": nn.BatchNorm2d(width),
    }


def conv_norm_relu(label: str, channels: int, width: int, kernel: int = 3, stride: int = 1) -> Layers:
    """A convolution that keeps the image's size, but for the stride, its batch norm and a ReLU."""
    return {**conv_norm(label, channels, width, kernel, stride), f"relu{label}": nn.ReLU()}


def fully_connected(features: int, hidden: tuple[int, ...], classes: int, norm: bool = False) -> Layers:
    """Flatten, hidden layers with ReLU, where asked for with batch norm, and the output layer."""
    layers: Layers = {"flatten": nn.Flatten()}
    for i, width in enumerate(hidden, start=1):
        layers[f"fc{i}"] = nn.Linear(features, width, bias=not norm)
        if norm:
            layers[f"norm_fc{i}"] = nn.BatchNorm1d(width)
        layers[f"relu_fc{i}"] = nn.ReLU()
        features = width
    layers["output"] = nn.Linear(features, classes)
    return layers


def averaged(features: int, classes: int) -> Layers:
    """The average over the image, and the output layer."""
    return {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "output": nn.Linear(features, classes)}
