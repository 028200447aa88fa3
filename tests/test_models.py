import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from study import models
from study.cell import Model
from study.models.initialise import SCHEMES
from study.seeding import stream

CONF = Path(__file__).parent.parent / "conf" / "model"
MODELS = {path.stem: Model.model_validate(dict(OmegaConf.load(path))) for path in sorted(CONF.glob("*.yaml"))}
MNIST, CIFAR, IMAGENET = torch.Size([1, 28, 28]), torch.Size([3, 32, 32]), torch.Size([3, 224, 224])


def kernels(*layers: tuple[int, int, int]) -> int:
    """Weights of convolutions and linear layers, each (kernel, inputs, outputs)."""
    return sum(kernel * kernel * inputs * outputs for kernel, inputs, outputs in layers)


def wide(factor: int, convolutions: int) -> int:
    """A wide ResNet with so many 3x3 convolutions, and one for the shortcut, in each of its three groups."""
    a, b, c = 16 * factor, 32 * factor, 64 * factor
    groups = [kernels((3, i, o), *[(3, o, o)] * (convolutions - 1), (1, i, o)) for i, o in ((16, a), (a, b), (b, c))]
    return kernels((3, 3, 16)) + sum(groups) + c * 10


def bottlenecks(inputs: int, narrow: int, blocks: int) -> int:
    """A group of ResNet-50: its blocks and the shortcut of the first."""
    wide = 4 * narrow
    first = kernels((1, inputs, narrow), (3, narrow, narrow), (1, narrow, wide), (1, inputs, wide))
    return first + (blocks - 1) * kernels((1, wide, narrow), (3, narrow, narrow), (1, narrow, wide))


VGG_BLOCKS_1_2 = kernels((3, 3, 64), (3, 64, 64), (3, 64, 128), (3, 128, 128))
VGG_16_CONVOLUTIONS = VGG_BLOCKS_1_2 + kernels((3, 128, 256), *[(3, 256, 256)] * 2, (3, 256, 512), *[(3, 512, 512)] * 5)
# VGG-C has 1x1 instead of 3x3 kernels in one convolution of 256 channels and two of 512.
VGG_C_CONVOLUTIONS = VGG_16_CONVOLUTIONS - 8 * (256 * 256 + 2 * 512 * 512)
ALEXNET = kernels((11, 3, 96), (5, 96, 256), (3, 256, 384), (3, 384, 384), (3, 384, 256))


def recurrent(gates: int, hidden: int) -> int:
    """Projection of 28 pixels, gates that each see input and state, output."""
    return 28 * hidden + gates * hidden * 2 * hidden + hidden * 10


PRUNABLE = {
    "lenet_300_100": 266_200,
    "lenet_5_caffe": 430_500,
    "conv_2": 4_300_992,
    "conv_4": 2_425_024,
    "conv_6": 2_261_184,
    "resnet_20": 270_896,
    "resnet_32_double": 1_855_584,
    "vgg_16": 14_715_584,
    "vgg_19": 20_024_000,
    "resnet_50": kernels((7, 3, 64), (1, 2048, 1000))
    + bottlenecks(64, 64, 3)
    + bottlenecks(256, 128, 4)
    + bottlenecks(512, 256, 6)
    + bottlenecks(1024, 512, 3),
    "wrn_16_8": wide(8, 4),
    "wrn_16_10": wide(10, 4),
    "wrn_22_8": wide(8, 6),
    "vgg_11": kernels((3, 3, 64), (3, 64, 128), (3, 128, 256), (3, 256, 256), (3, 256, 512), *[(3, 512, 512)] * 3)
    + 512 * 10,
    "vgg_16_imagenet": VGG_16_CONVOLUTIONS + 7 * 7 * 512 * 4096 + 4096 * 4096 + 4096 * 1000,
    "vgg_c": VGG_C_CONVOLUTIONS + 2 * 512 * 512 + 512 * 10,
    "vgg_d": VGG_16_CONVOLUTIONS + 2 * 512 * 512 + 512 * 10,
    "vgg_like": VGG_16_CONVOLUTIONS + 512 * 512 + 512 * 10,
    "alexnet_s": ALEXNET + 256 * 1024 + 1024 * 1024 + 1024 * 10,
    "alexnet_b": ALEXNET + 256 * 2048 + 2048 * 2048 + 2048 * 10,
    "lstm_s": recurrent(4, 128),
    "lstm_b": recurrent(4, 256),
    "gru_s": recurrent(3, 128),
    "gru_b": recurrent(3, 256),
}

# What Lee, Ajanthan & Torr 2019 print in table 2: all parameters, and those kept at a sparsity.
SNIP_TABLE_2 = {
    "alexnet_s": (5.1e6, 0.9, 507e3),
    "alexnet_b": (8.5e6, 0.9, 849e3),
    "vgg_c": (10.5e6, 0.95, 526e3),
    "vgg_d": (15.2e6, 0.95, 762e3),
    "vgg_like": (14.9e6, 0.97, 449e3),
    "wrn_16_8": (11.0e6, 0.95, 548e3),  # 10.0m in the table, which 548k contradict
    "wrn_16_10": (17.1e6, 0.95, 856e3),
    "wrn_22_8": (17.2e6, 0.95, 858e3),
    "lstm_s": (137e3, 0.95, 6.8e3),
    "lstm_b": (536e3, 0.95, 26.8e3),
    "gru_s": (104e3, 0.95, 5.2e3),
    "gru_b": (404e3, 0.95, 20.2e3),
}


def shape(name: str) -> tuple[torch.Size, int]:
    """The examples that a network is for: their shape, and the number of classes."""
    if name in ("resnet_50", "vgg_16_imagenet"):
        return IMAGENET, 1000
    return (MNIST if MODELS[name].family in ("lenet", "rnn") else CIFAR), 10


def function(name: str) -> Callable[[torch.Size, int], nn.Module]:
    found: Callable[[torch.Size, int], nn.Module]
    found = getattr(importlib.import_module(f"study.models.{MODELS[name].family}"), name)
    return found


def on_meta(name: str, inputs: torch.Size, classes: int) -> nn.Module:
    with torch.device("meta"):
        return function(name)(inputs, classes)


def weights(name: str, seed: int = 0, init: str | None = None) -> dict[str, Tensor]:
    model = MODELS[name].model_copy(update={"init": init or MODELS[name].init})
    return models.prunable(models.build(model, *shape(name), seed))


def test_every_network_is_counted() -> None:
    assert set(MODELS) == set(PRUNABLE)
    assert all(model.name == stem for stem, model in MODELS.items())


@pytest.mark.parametrize("name", PRUNABLE)
def test_prunable_weights_are_those_of_the_paper_and_the_documentation(name: str) -> None:
    layers = models.layers(MODELS[name], *shape(name))
    assert sum(torch.Size(s).numel() for s in layers.values()) == PRUNABLE[name]
    printed = f"{PRUNABLE[name]:,} weights"
    assert printed in (function(name).__doc__ or "")
    assert printed in (CONF / f"{name}.yaml").read_text().splitlines()[0]


@pytest.mark.parametrize("name", SNIP_TABLE_2)
def test_sizes_are_near_those_that_snip_prints(name: str) -> None:
    total, sparsity, kept = SNIP_TABLE_2[name]
    all_parameters = sum(parameter.numel() for parameter in on_meta(name, *shape(name)).parameters())
    assert PRUNABLE[name] == pytest.approx(total, rel=0.01)
    assert all_parameters * (1 - sparsity) == pytest.approx(kept, rel=0.01)


@pytest.mark.parametrize("name", PRUNABLE)
def test_prunable_weights_come_in_the_order_in_which_they_are_used(name: str) -> None:
    inputs, classes = shape(name)
    network, used = on_meta(name, inputs, classes), list[str]()
    for label, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.LSTM | nn.GRU):
            module.register_forward_hook(lambda *_, label=label: used.append(label))
    assert network(torch.zeros(2, *inputs, device="meta")).shape == (2, classes)
    assert list(dict.fromkeys(weight.rpartition(".")[0] for weight in models.prunable(network))) == used
    assert used[-1] == "output"


def test_layers_are_those_of_the_network_and_planning_them_is_quick() -> None:
    for name in ("lenet_300_100", "resnet_20", "gru_s"):
        assert models.layers(MODELS[name], *shape(name)) == {n: list(w.shape) for n, w in weights(name).items()}
    begun = time.process_time()
    models.layers(MODELS["vgg_16_imagenet"], IMAGENET, 1000)
    assert time.process_time() - begun < 1


@pytest.mark.parametrize("name", [name for name in PRUNABLE if shape(name)[0] != IMAGENET])
def test_every_weight_has_a_gradient_and_a_second_derivative(name: str) -> None:
    inputs, classes = shape(name)
    network = models.build(MODELS[name], inputs, classes, seed=0)
    images = torch.randn(4, *inputs, generator=stream(0, "images"))
    if name.startswith("wrn"):
        images = images[..., ::4, ::4]  # they work on images of any size: for speed
    kernels = models.prunable(network)
    loss = cross_entropy(network(images), torch.arange(4) % classes)
    gradients = torch.autograd.grad(loss, list(kernels.values()), create_graph=True)
    flow = torch.stack([(g.detach() * g).sum() for g in gradients]).sum()
    for first, second in zip(gradients, torch.autograd.grad(flow, list(kernels.values())), strict=True):
        assert first.isfinite().all()
        assert second.isfinite().all()
        assert first.any()
        assert second.any()


def test_lenet_5_is_linear_up_to_its_hidden_layer_but_for_the_pools() -> None:
    network = models.build(MODELS["lenet_5_caffe"], MNIST, 10, seed=0)
    assert [type(module) for module in network.children()].count(nn.ReLU) == 1


@pytest.mark.parametrize("name", ["alexnet_s", "vgg_c", "vgg_d", "vgg_like"])
def test_larger_images_change_the_output_layer_of_snips_networks_alone(name: str) -> None:
    tiny_imagenet = torch.Size([3, 64, 64]), 200
    assert on_meta(name, *tiny_imagenet)(torch.zeros(2, 3, 64, 64, device="meta")).shape == (2, 200)
    larger, smaller = (models.layers(MODELS[name], *examples) for examples in (tiny_imagenet, shape(name)))
    assert larger == {**smaller, "output.weight": [200, smaller["output.weight"][1]]}


TRUNCATED = 0.7737413  # variance of N(0, 1) truncated at two: 1 - 4 phi(2) / (2 Phi(2) - 1)

VARIANCES: dict[str, Callable[[int, int], float]] = {
    "glorot_normal": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "glorot_uniform": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "glorot_truncated": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he_normal": lambda fan_in, fan_out: 2 / fan_in,
    "he_normal_fan_out": lambda fan_in, fan_out: 2 / fan_out,
    "he_truncated": lambda fan_in, fan_out: 2 / fan_in,
    "variance_scaling": lambda fan_in, fan_out: 1 / fan_in,
    "standard_normal": lambda fan_in, fan_out: 1.0,
    "standard_truncated": lambda fan_in, fan_out: TRUNCATED,
}

LENET_5_FANS = {"conv1": (25, 500), "conv2": (500, 1250), "fc1": (800, 500), "output": (500, 10)}


def test_every_scheme_can_be_chosen_and_is_tested() -> None:
    assert set(get_args(Model.model_fields["init"].annotation)) == set(SCHEMES) == {*VARIANCES, "grasp"}


@pytest.mark.parametrize("scheme", VARIANCES)
def test_initial_weights_have_their_variance(scheme: str) -> None:
    for name, weight in weights("lenet_5_caffe", init=scheme).items():
        variance = VARIANCES[scheme](*LENET_5_FANS[name.removesuffix(".weight")])
        assert weight.var().item() == pytest.approx(variance, rel=5 * (2 / weight.numel()) ** 0.5), name
        assert weight.mean().item() == pytest.approx(0, abs=5 * (variance / weight.numel()) ** 0.5), name


def test_grasps_scheme_draws_linear_layers_small() -> None:
    drawn, he = (weights("lenet_5_caffe", init=scheme) for scheme in ("grasp", "he_normal_fan_out"))
    assert torch.equal(drawn["conv2.weight"], he["conv2.weight"])
    assert drawn["fc1.weight"].std().item() == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("scheme", [scheme for scheme in VARIANCES if "truncated" in scheme or "scaling" in scheme])
def test_truncated_weights_end_at_two_deviations_of_the_normal_distribution(scheme: str) -> None:
    weight = weights("lenet_5_caffe", init=scheme)["fc1.weight"]
    end = 2 * (VARIANCES[scheme](800, 500) / TRUNCATED) ** 0.5
    assert 0.99 * end < weight.abs().max() <= end * 1.00001


def test_glorot_normal_is_torchs_from_the_stream_of_the_weight() -> None:
    for name, weight in weights("lenet_300_100").items():
        expected = nn.init.xavier_normal_(torch.empty(weight.shape), generator=stream(0, f"init/{name}"))
        assert torch.equal(weight, expected)


@pytest.mark.parametrize("name", ["resnet_20", "wrn_16_8", "vgg_like", "lstm_s", "gru_s", "lenet_5_caffe"])
def test_norms_start_at_one_and_biases_at_zero(name: str) -> None:
    for label, parameter in models.build(MODELS[name], *shape(name), seed=0).named_parameters():
        if parameter.dim() == 1:
            assert (parameter == (0 if "bias" in label else 1)).all(), label


@pytest.mark.parametrize("name", ["resnet_20", "lstm_s"])
def test_a_network_follows_its_seed_alone(name: str) -> None:
    def state(seed: int, torch_seed: int) -> dict[str, Tensor]:
        torch.manual_seed(torch_seed)
        return models.build(MODELS[name], *shape(name), seed).state_dict()

    one, again, other = state(0, 1), state(0, 2), state(1, 1)
    assert all(torch.equal(one[label], again[label]) for label in one)
    assert not any(torch.equal(one[label], other[label]) for label in one if one[label].dim() > 1)


@pytest.mark.parametrize("name", ["vgg_11", "lstm_s"])
def test_tensors_of_a_network_are_drawn_independently(name: str) -> None:
    drawn = [weight.flatten()[:20] / weight.std() for weight in weights(name).values()]
    correlations = torch.corrcoef(torch.stack(drawn)) - torch.eye(len(drawn))
    assert correlations.abs().max() < 0.9


def test_streams_are_independent_and_keep_their_numbers() -> None:
    def draw(seed: int, name: str) -> list[float]:
        return torch.rand(3, generator=stream(seed, name)).tolist()

    assert draw(0, "init") == draw(0, "init")
    assert len({tuple(draw(seed, name)) for seed in (0, 1) for name in ("init", "order", "mask")}) == 6
