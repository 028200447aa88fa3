import pytest
import torch

from study import models
from study.cell import Model
from study.seeding import stream

LENET = Model(name="lenet_300_100", family="lenet")
MNIST = torch.Size([1, 28, 28])

PRUNABLE = {("lenet_300_100", "lenet"): 266_200}


@pytest.mark.parametrize(("name", "family"), PRUNABLE)
def test_prunable_weights(name: str, family: str) -> None:
    layers = models.layers(Model(name=name, family=family), MNIST, 10)
    assert sum(torch.Size(shape).numel() for shape in layers.values()) == PRUNABLE[name, family]


def test_layers_are_those_of_the_network() -> None:
    network = models.build(LENET, MNIST, 10, seed=0)
    assert models.layers(LENET, MNIST, 10) == {n: list(w.shape) for n, w in models.prunable(network).items()}
    assert network(torch.zeros(3, *MNIST)).shape == (3, 10)


def test_glorot_normal_has_its_variance_and_biases_are_zero() -> None:
    network = models.build(LENET, MNIST, 10, seed=0)
    for name, weight in models.prunable(network).items():
        variance = 2 / (weight.shape[0] + weight.shape[1])
        relative_error = 5 * (2 / weight.numel()) ** 0.5
        assert weight.var().item() == pytest.approx(variance, rel=relative_error), name
        assert network.get_parameter(name.replace("weight", "bias")).abs().max() == 0


def test_initial_weights_follow_the_seed_alone() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(torch.seed() % 1000)  # whatever state torch's own generator is in
        return models.prunable(models.build(LENET, MNIST, 10, seed))["fc2.weight"]

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_streams_are_independent_and_keep_their_numbers() -> None:
    def draw(seed: int, name: str) -> list[float]:
        return torch.rand(3, generator=stream(seed, name)).tolist()

    assert draw(0, "init") == draw(0, "init")
    assert len({tuple(draw(seed, name)) for seed in (0, 1) for name in ("init", "order", "mask")}) == 6
