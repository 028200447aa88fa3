"""Floating-point operations against counts by hand."""

import pytest
import torch

from study import models
from study.cell import Model
from study.energy import work
from study.models.flops import flops

MNIST, CIFAR = (1, 28, 28), (3, 32, 32)
HAND: dict[tuple[str, str, tuple[int, ...]], dict[str, int]] = {
    ("lenet_300_100", "lenet", MNIST): {"fc1": 784 * 300, "fc2": 300 * 100, "output": 100 * 10},
    # 24 x 24 and 8 x 8 positions.
    ("lenet_5_caffe", "lenet", MNIST): {
        "conv1": 20 * 25 * 24 * 24,
        "conv2": 50 * 20 * 25 * 8 * 8,
        "fc1": 800 * 500,
        "output": 500 * 10,
    },
    ("conv_2", "conv", CIFAR): {
        "conv1_1": 64 * 3 * 9 * 1024,
        "conv1_2": 64 * 64 * 9 * 1024,
        "fc1": 64 * 256 * 256,
        "fc2": 256 * 256,
        "output": 256 * 10,
    },
    # 16 x 16, 8 x 8, 4 x 4, 2 x 2 positions, then one.
    ("alexnet_s", "alexnet", CIFAR): {
        "conv1": 96 * 3 * 121 * 256,
        "conv2": 256 * 96 * 25 * 64,
        "conv3": 384 * 256 * 9 * 16,
        "conv4": 384 * 384 * 9 * 4,
        "conv5": 256 * 384 * 9,
        "fc1": 256 * 1024,
        "fc2": 1024 * 1024,
        "output": 1024 * 10,
    },
    # 32 x 32 positions, a quarter of them after each pool.
    ("vgg_11", "vgg", CIFAR): {
        "conv1_1": 64 * 3 * 9 * 1024,
        "conv2_1": 128 * 64 * 9 * 256,
        "conv3_1": 256 * 128 * 9 * 64,
        "conv3_2": 256 * 256 * 9 * 64,
        "conv4_1": 512 * 256 * 9 * 16,
        "conv4_2": 512 * 512 * 9 * 16,
        "conv5_1": 512 * 512 * 9 * 4,
        "conv5_2": 512 * 512 * 9 * 4,
        "output": 512 * 10,
    },
    # 28 steps; three and four gates.
    ("gru_s", "rnn", MNIST): {"projection": 28 * 28 * 128, "recurrent": 28 * 2 * 3 * 128**2, "output": 1280},
    ("lstm_s", "rnn", MNIST): {"projection": 28 * 28 * 128, "recurrent": 28 * 2 * 4 * 128**2, "output": 1280},
}


@pytest.mark.parametrize(("name", "family", "inputs"), HAND)
def test_operations_by_hand(name: str, family: str, inputs: tuple[int, ...]) -> None:
    network = models.build(Model(name=name, family=family), torch.Size(inputs), 10, 0)
    counted: dict[str, int] = {}
    for weight, operations in flops(network, inputs).items():
        layer = weight.rpartition(".")[0]
        counted[layer] = counted.get(layer, 0) + operations
    assert counted == {layer: 2 * products for layer, products in HAND[name, family, inputs].items()}


def test_a_strided_shortcut_and_batch_norms_count_their_convolutions_alone() -> None:
    network = models.build(Model(name="resnet_20", family="resnet"), torch.Size(CIFAR), 10, 0)
    counted = flops(network, CIFAR)
    first = 3 * 16 * 9 * 32 * 32
    wide, middle, narrow = 6 * 16 * 16 * 9 * 32**2, (16 + 5 * 32) * 32 * 9 * 16**2, (32 + 5 * 64) * 64 * 9 * 8**2
    shortcuts = 16 * 32 * 16**2 + 32 * 64 * 8**2
    assert sum(counted.values()) == 2 * (first + wide + middle + narrow + shortcuts + 640)
    assert network.training


@pytest.mark.parametrize(("name", "family", "inputs"), HAND)
def test_a_tenth_of_every_layer_s_weights_does_a_tenth_of_its_products(
    name: str, family: str, inputs: tuple[int, ...]
) -> None:
    network = models.build(Model(name=name, family=family), torch.Size(inputs), 10, 0)
    weights = {weight: values.numel() for weight, values in models.prunable(network).items()}
    kept = {weight: count // 10 for weight, count in weights.items()}
    # Each kept weight takes two operations at each position of its layer.
    positions = {weight: count // (2 * weights[weight]) for weight, count in flops(network, inputs).items()}
    by_hand = sum(2 * kept[weight] * positions[weight] for weight in weights)
    assert work.forward(flops(network, inputs), weights, kept) == by_hand
