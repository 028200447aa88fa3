"""Engines compute the same: against torch's own kernels in float64, family by family; in float32 to rounding."""

import copy
import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from study import models
from study.cell import Augment, Model, Recipe
from study.data import Split
from study.data.arrays import Arrays, Part
from study.models import prunable
from study.models.blocks import sequential
from study.models.initialise import initialise
from study.seeding import stream
from study.training.engines import choose, computing_in, kernels, streams, sums, transpose
from study.training.engines.chain import FEW, SPARSE_BELOW, sparse_layers
from study.training.engines.dense import Dense
from study.training.engines.engine import Task
from study.training.engines.packed import Packed
from study.training.engines.sparse import Sparse, compile_kernels
from study.training.engines.streams import Streams, Together, fastest
from study.training.loop import Outcome, train
from study.training.names import Precision

SGD = Recipe(
    optimizer="sgd",
    learning_rate=0.02,
    momentum=0.9,
    weight_decay=1e-2,
    decay="weights",
    warmup=20,
    drops=(60, 80),
    batch_size=12,
    iterations=100,
    evaluate_every=40,
)
ADAM = SGD.model_copy(update={"optimizer": "adam", "momentum": 0.0, "learning_rate": 2e-3, "decay": "all"})

GREY, COLOUR, ROWS = (1, 16, 16), (3, 8, 8), (1, 6, 5)
NETWORKS: dict[str, tuple[Model, tuple[int, int, int], float, set[str]]] = {
    "linear, sparse": (Model(name="lenet_300_100", family="lenet"), GREY, 0.05, {"fc1", "fc2", "output"}),
    "linear, dense": (Model(name="lenet_300_100", family="lenet"), ROWS, 0.7, {"output"}),
    "convolutions": (Model(name="lenet_5_caffe", family="lenet"), GREY, 0.1, {"conv1", "conv2", "fc1", "output"}),
    "padded convolutions": (
        Model(name="conv_2", family="conv"),
        COLOUR,
        0.05,
        {"conv1_1", "conv1_2", "fc1", "fc2", "output"},
    ),
    "LSTM": (Model(name="lstm_s", family="rnn"), ROWS, 0.05, {"projection", "recurrent", "output"}),
    "GRU": (Model(name="gru_s", family="rnn"), ROWS, 0.05, {"projection", "recurrent", "output"}),
}


def split(shape: tuple[int, ...], dtype: torch.dtype, classes: int = 4, n: int = 150) -> Split:
    """Random images around a mean for each class, 30 of them held out."""
    labels = torch.arange(n) % classes
    means = torch.randn(classes, *shape, generator=stream(0, "means"), dtype=torch.float64)
    images = means[labels] + torch.randn(n, *shape, generator=stream(0, "images"), dtype=torch.float64)
    part = Part(images.to(dtype), labels)
    return Split(Arrays(part, part), torch.arange(30, n), torch.arange(30))


def random_mask(network: nn.Module, density: float | Mapping[str, float]) -> dict[str, Tensor]:
    """Each layer at a density of its own, or all at one."""

    def wanted(name: str) -> float:
        return density if isinstance(density, float) else density[name.rpartition(".")[0]]

    return {n: torch.rand(w.shape, generator=stream(1, n)) < wanted(n) for n, w in prunable(network).items()}


def both(
    build: Callable[[], nn.Module], density: float | Mapping[str, float], data: Split, recipe: Recipe
) -> tuple[tuple[nn.Module, Outcome], tuple[nn.Module, Outcome]]:
    """The network trained by torch and by the sparse engine."""

    def one(engine: Any) -> tuple[nn.Module, Outcome]:
        network = build()
        (outcome,) = train([Task(network, random_mask(network, density), data, recipe, 0)], engine)
        return network, outcome

    return one(Dense), one(Sparse)


def assert_equal(dense: tuple[nn.Module, Outcome], sparse: tuple[nn.Module, Outcome], tolerance: float) -> None:
    ours = sparse[0].state_dict()
    for name, expected in dense[0].state_dict().items():
        torch.testing.assert_close(ours[name], expected, rtol=tolerance, atol=tolerance, msg=name)
    for name, expected in vars(dense[1].curves).items():
        found = vars(sparse[1].curves)[name]
        assert found[0] == expected[0] or found[0] == pytest.approx(expected[0], rel=100 * tolerance)
        assert found[1:] == pytest.approx(expected[1:], rel=100 * tolerance), name


@pytest.mark.parametrize("recipe", [SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("network", NETWORKS)
def test_in_float64_every_family_equals_torch(network: str, recipe: Recipe) -> None:
    model, shape, density, expected_sparse = NETWORKS[network]

    def build() -> nn.Module:
        return models.build(model, torch.Size(shape), 4, 0).double()

    assert sparse_layers(build(), random_mask(build(), density)) == expected_sparse
    assert_equal(*both(build, density, split(shape, torch.float64), recipe), tolerance=1e-10)


def test_layers_run_by_torch_stand_between_sparse_ones_batch_norm_statistics_included() -> None:
    def build() -> nn.Module:
        layers = {
            "conv1": nn.Conv2d(3, 6, 3, stride=2, padding=1),
            "norm1": nn.BatchNorm2d(6),
            "relu1": nn.ReLU(),
            "conv2": nn.Conv2d(6, 8, 3, padding=1, bias=False),
            "norm2": nn.BatchNorm2d(8),
            "relu2": nn.ReLU(),
            "conv3": nn.Conv2d(8, 5, 3),
            "flatten": nn.Flatten(),
            "fc1": nn.Linear(20, 30),
            "norm3": nn.BatchNorm1d(30),
            "output": nn.Linear(30, 4),
        }
        network = sequential(layers).double()
        initialise(network, "he_normal", 0)
        return network

    density = {"conv1": 0.1, "conv2": 0.2, "conv3": 0.9, "fc1": 0.2, "output": 0.8}
    assert sparse_layers(build(), random_mask(build(), density)) == {"conv2", "fc1", "output"}
    data = split(COLOUR, torch.float64)
    assert_equal(*both(build, density, data, SGD.model_copy(update={"augment": "flip_crop"})), tolerance=1e-10)


@pytest.mark.parametrize("bias", [True, False])
def test_relus_follow_sparse_and_dense_layers_with_and_without_biases(bias: bool) -> None:
    def build() -> nn.Module:
        layers = {
            "flatten": nn.Flatten(),
            "fc1": nn.Linear(30, 70, bias=bias),
            "relu1": nn.ReLU(),
            "fc2": nn.Linear(70, 90, bias=bias),
            "relu2": nn.ReLU(),
            "fc3": nn.Linear(90, 12, bias=bias),
            "relu3": nn.ReLU(),
            "output": nn.Linear(12, 4, bias=bias),
            "relu4": nn.ReLU(),
        }
        network = sequential(layers).double()
        initialise(network, "he_normal", 0)
        return network

    density = {"fc1": 0.2, "fc2": 0.8, "fc3": 0.3, "output": 1.0}
    assert sparse_layers(build(), random_mask(build(), density)) == {"fc1", "fc3", "output"}
    assert_equal(*both(build, density, split(ROWS, torch.float64), SGD), tolerance=1e-10)


@pytest.mark.parametrize("batch_size", [1, 64, 65, 100, 270])
@pytest.mark.parametrize("network", ["linear, sparse", "convolutions", "GRU"])
def test_any_batch_size_fits(network: str, batch_size: int) -> None:
    model, shape, density, _ = NETWORKS[network]

    def build() -> nn.Module:
        return models.build(model, torch.Size(shape), 4, 0).double()

    recipe = SGD.model_copy(update={"batch_size": batch_size, "iterations": 5, "evaluate_every": 1})
    assert_equal(*both(build, density, split(shape, torch.float64, n=400), recipe), tolerance=1e-10)


@pytest.mark.parametrize(
    ("length", "stretches", "expected"),
    [
        (112, 1, (16, 7)),
        (112, 28, (16, 14)),  # 14 passes of 14 and not 12 of 16, then 4 alone
        (272, 1, (16, 16)),  # and one alone
        (96, 1, (32, 3)),
        (64, 1, (64, 1)),
        (24 * 112, 24, (64, 4)),
    ],
)
def test_vectors_share_weights_so_that_these_are_read_least_often(
    length: int, stretches: int, expected: tuple[int, int]
) -> None:
    lanes = sums.lanes(length)
    size = len(lanes) * sums.FEWEST_LANES
    assert (size, len(sums.group(lanes, stretches * length // size))) == expected


@pytest.mark.parametrize("augment", ["none", "flip_crop"])
def test_pixels_are_read_as_torch_normalises_them(augment: Augment) -> None:
    pixels = torch.randint(0, 256, (90, 2, 4, 4), dtype=torch.uint8, generator=stream(0, "pixels"))
    part = Part(pixels, torch.arange(90) % 3, mean=(0.3, 0.6), std=(0.2, 0.4))
    data = Split(Arrays(part, part), torch.arange(20, 90), torch.arange(20))

    def build() -> nn.Module:
        return models.build(Model(name="lenet_300_100", family="lenet"), torch.Size([2, 4, 4]), 3, 0)

    recipe = SGD.model_copy(update={"iterations": 10, "evaluate_every": 5, "augment": augment})
    assert_equal(*both(build, 0.1, data, recipe), tolerance=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_in_float32_it_parts_from_torch_no_faster_than_a_run_perturbed_by_rounding(network: str) -> None:
    model, shape, density, _ = NETWORKS[network]
    data = split(shape, torch.float32)

    def build(perturbed: float = 0.0) -> nn.Module:
        built = models.build(model, torch.Size(shape), 4, 0)
        with torch.no_grad():
            for name, parameter in prunable(built).items():
                parameter.mul_(1 + perturbed * torch.randn(parameter.shape, generator=stream(2, name)))
        return built

    def weights(built: nn.Module) -> Tensor:
        return torch.cat([parameter.detach().flatten() for parameter in built.parameters()])

    (dense, _), (sparse, _) = both(build, density, data, SGD)
    (perturbed, _), _ = both(lambda: build(1e-6), density, data, SGD)
    assert (weights(sparse) - weights(dense)).norm() <= (weights(perturbed) - weights(dense)).norm()


@pytest.mark.parametrize("network", NETWORKS)
def test_it_is_equal_bit_for_bit_when_run_again(network: str) -> None:
    model, shape, density, _ = NETWORKS[network]

    def run() -> tuple[dict[str, Tensor], Any]:
        built = models.build(model, torch.Size(shape), 4, 0)
        recipe = ADAM.model_copy(update={"iterations": 30})
        task = Task(built, random_mask(built, density), split(shape, torch.float32), recipe, 0)
        (outcome,) = train([task], Sparse)
        return built.state_dict(), outcome.curves

    (first, curves), (second, curves_again) = run(), run()
    assert curves == curves_again
    assert all(torch.equal(first[name], second[name]) for name in first)


def signatures(network: str) -> tuple[int, int, int]:
    """How many kernels are compiled at first, once they are compiled for a task, and after its training."""
    model, shape, density, _ = NETWORKS[network]
    built = models.build(model, torch.Size(shape), 4, 0)
    task = Task(built, random_mask(built, density), split(shape, torch.float32), SGD, 0)
    start = copy.deepcopy(built.state_dict())

    def count() -> int:
        return sum(len(kernel.signatures) for module in (kernels, sums, transpose) for kernel in dispatchers(module))

    before = count()
    compile_kernels(task)
    assert all(torch.equal(start[name], tensor) for name, tensor in built.state_dict().items())
    compiled = count()
    train([task], Sparse)
    return before, compiled, count()


def dispatchers(module: ModuleType) -> list[Any]:
    return [value for value in vars(module).values() if hasattr(value, "signatures")]


@pytest.mark.parametrize("network", NETWORKS)
def test_a_training_compiles_nothing_after_its_kernels_are(network: str) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        before, compiled, after = pool.submit(signatures, network).result()
    assert before < compiled == after


@pytest.mark.parametrize("network", NETWORKS)
def test_pruned_weights_are_zero_and_kept_ones_have_moved(network: str) -> None:
    model, shape, density, _ = NETWORKS[network]
    built = models.build(model, torch.Size(shape), 4, 0)
    start = {name: weight.detach().clone() for name, weight in prunable(built).items()}
    mask = random_mask(built, density)
    train([Task(built, mask, split(shape, torch.float32), SGD, 0)], Sparse)
    for name, weight in prunable(built).items():
        assert (weight[~mask[name]] == 0).all()
        assert (weight[mask[name]] != start[name][mask[name]]).float().mean() > 0.5


def test_an_empty_layer_and_a_network_without_weights_train_like_torchs() -> None:
    def build() -> nn.Module:
        return models.build(Model(name="lenet_5_caffe", family="lenet"), torch.Size(GREY), 4, 0).double()

    recipe = SGD.model_copy(update={"iterations": 10, "evaluate_every": 5})
    for density in ({"conv1": 0.2, "conv2": 0.0, "fc1": 0.2, "output": 0.5}, 0.0):
        assert_equal(*both(build, density, split(GREY, torch.float64), recipe), tolerance=1e-10)


@pytest.mark.parametrize(
    ("model", "shape", "density", "engine"),
    [
        (Model(name="lenet_300_100", family="lenet"), GREY, 1.0, Sparse),
        (Model(name="lenet_5_caffe", family="lenet"), GREY, 1.0, Dense),
        (Model(name="lenet_5_caffe", family="lenet"), GREY, 0.1, Sparse),
        (Model(name="resnet_20", family="resnet"), (3, 32, 32), 0.01, Dense),
    ],
)
def test_the_engine_follows_from_network_and_mask(
    model: Model, shape: tuple[int, ...], density: float, engine: type
) -> None:
    network = models.build(model, torch.Size(shape), 10, 0)
    mask = {name: torch.rand(w.shape, generator=stream(1, name)) < density for name, w in prunable(network).items()}
    assert choose("auto", Task(network, mask, split(GREY, torch.float32), SGD, 0)) is engine


@pytest.mark.parametrize(("density", "expected"), [(SPARSE_BELOW[nn.Linear] - 0.05, True), (0.9, False)])
def test_a_layer_is_sparse_below_its_density(density: float, expected: bool) -> None:
    network = nn.Sequential(nn.Linear(200, 200))
    assert (sparse_layers(network, random_mask(network, density)) == {"0"}) is expected


@pytest.mark.parametrize(("outputs", "expected"), [(FEW // 100, True), (FEW // 100 + 1, False)])
def test_a_layer_of_few_weights_is_sparse_at_any_density(outputs: int, expected: bool) -> None:
    network = nn.Sequential(nn.Linear(100, outputs))
    assert (sparse_layers(network, random_mask(network, 1.0)) == {"0"}) is expected


PACKED: dict[str, tuple[Model, tuple[int, int, int]]] = {
    "linear": (Model(name="lenet_300_100", family="lenet"), ROWS),
    "convolutions": (Model(name="lenet_5_caffe", family="lenet"), GREY),
    "padded convolutions": (Model(name="conv_2", family="conv"), COLOUR),
    "residual, batch norm": (Model(name="resnet_20", family="resnet"), COLOUR),
}


def tasks_of(
    model: Model, shape: tuple[int, ...], recipe: Recipe, dtype: torch.dtype, rates: tuple[float, ...]
) -> list[Task]:
    """As many replicas as rates, each of its own draw, mask, held-out examples and data order."""
    data = split(shape, dtype)

    def task(replica: int, rate: float) -> Task:
        network = models.build(model, torch.Size(shape), 4, replica).to(dtype)
        mask = {n: torch.rand(w.shape, generator=stream(replica, n)) < 0.5 for n, w in prunable(network).items()}
        shuffled = torch.randperm(150, generator=stream(replica, "split"))
        own = Split(data.arrays, shuffled[30:], shuffled[:30])
        return Task(network, mask, own, recipe.model_copy(update={"learning_rate": rate}), replica)

    return [task(replica, rate) for replica, rate in enumerate(rates)]


@pytest.mark.parametrize("recipe", [SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("network", PACKED)
def test_in_float64_each_of_a_pack_equals_itself_alone(network: str, recipe: Recipe) -> None:
    model, shape = PACKED[network]
    recipe = recipe.model_copy(update={"augment": "flip_crop"})
    rates = (recipe.learning_rate, recipe.learning_rate / 3, recipe.learning_rate / 10)
    together, alone = (tasks_of(model, shape, recipe, torch.float64, rates) for _ in range(2))
    outcomes = train(together, Packed)
    for task, outcome, single in zip(together, outcomes, alone, strict=True):
        (expected,) = train([single], Dense)
        assert_equal((single.network, expected), (task.network, outcome), tolerance=1e-10)


@pytest.mark.parametrize("network", ["LSTM", "GRU"])
def test_recurrent_networks_run_on_streams_each_a_pack_of_one(network: str) -> None:
    model, shape, *_ = NETWORKS[network]
    together, alone = (tasks_of(model, shape, ADAM, torch.float64, (2e-3, 1e-3)) for _ in range(2))
    outcomes = train(together, Streams)
    for task, outcome, single in zip(together, outcomes, alone, strict=True):
        (expected,) = train([single], Dense)
        assert_equal((single.network, expected), (task.network, outcome), tolerance=1e-10)


@pytest.mark.parametrize(("device", "expected"), [("cpu", (Packed, 1)), ("meta", (Streams, 4))])
def test_recurrent_networks_are_not_stacked(
    device: str, expected: tuple[type, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The meta device stands for a GPU."""
    (task,) = tasks_of(*NETWORKS["GRU"][:2], ADAM, torch.float32, (0.1,))
    task.network.to(device)
    monkeypatch.setattr(streams, "_speed", lambda way, task, size: 2 * size * (size == 1 or way is Streams))
    assert fastest(task, 4) == expected


@pytest.mark.parametrize("with_biases", [0, 1])
def test_in_a_pack_biases_may_be_pruned_in_some(with_biases: int) -> None:
    def tasks() -> list[Task]:
        found = tasks_of(*PACKED["linear"], SGD, torch.float64, (0.02, 0.02))
        biases = {"fc1.bias": torch.arange(300) % 3 > 0}
        found[with_biases] = replace(found[with_biases], mask={**found[with_biases].mask, **biases})
        return found

    together, alone = tasks(), tasks()
    outcomes = train(together, Packed)
    for task, outcome, single in zip(together, outcomes, alone, strict=True):
        (expected,) = train([single], Dense)
        assert_equal((single.network, expected), (task.network, outcome), tolerance=1e-10)
    pruned = [int((task.network.get_parameter("fc1.bias") == 0).sum()) for task in together]
    assert (pruned[with_biases], pruned[1 - with_biases]) == (100, 0)


@pytest.mark.parametrize("engine", [Dense, Packed])
@pytest.mark.parametrize("network", PACKED)
def test_in_bf16_training_goes_as_in_float32_but_for_rounding(network: str, engine: type[Dense] | type[Packed]) -> None:
    model, shape = PACKED[network]

    def losses(precision: Precision) -> list[float | None]:
        with computing_in(precision, torch.device("cpu")):
            (outcome,) = train(tasks_of(model, shape, ADAM, torch.float32, (ADAM.learning_rate,)), engine)
        return outcome.curves.train_loss[1:]

    full, rounded = losses("float32"), losses("bf16")
    assert rounded != full
    assert rounded == pytest.approx(full, rel=0.05, abs=0.02)


@pytest.mark.parametrize("network", PACKED)
def test_on_streams_each_is_bit_for_bit_a_pack_of_one(network: str) -> None:
    model, shape = PACKED[network]
    rates = (0.02, 1e30, 0.002)
    together, alone = (tasks_of(model, shape, SGD, torch.float32, rates) for _ in range(2))
    for task, outcome, single in zip(together, train(together, Streams), alone, strict=True):
        (expected,) = train([single], Packed)
        assert (outcome.curves, outcome.diverged_at) == (expected.curves, expected.diverged_at)
        if expected.diverged_at is None:  # else it is trained on, in company
            for name, tensor in single.network.state_dict().items():
                assert torch.equal(tensor, task.network.state_dict()[name]), name


@pytest.mark.parametrize(
    ("speeds", "limit", "expected"),
    [
        ({1: (10, 0), 2: (11, 11)}, 8, (Packed, 1)),  # no faster by the factor
        ({1: (10, 0), 2: (12, 15), 4: (30, 16), 8: (32, 29)}, 8, (Packed, 4)),
        ({1: (10, 0), 2: (12, 15), 4: (30, 16)}, 4, (Packed, 4)),
        ({1: (10, 0), 2: (12, 15), 4: (0, 16)}, 16, (Streams, 2)),  # memory ran out
        ({1: (0, 0)}, 16, (Packed, 1)),
    ],
)
def test_on_a_gpu_trainings_are_laid_out_as_a_trial_was_fastest(
    speeds: dict[int, tuple[float, float]],
    limit: int,
    expected: tuple[type, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (task,) = tasks_of(*PACKED["linear"], SGD, torch.float32, (0.1,))
    task.network.to("meta")  # stands for a GPU
    monkeypatch.setattr(streams, "_speed", lambda way, task, size: speeds[size][way is Streams])
    assert fastest(task, limit) == expected


@pytest.mark.parametrize("way", [Packed, Streams])
def test_the_trial_leaves_the_task_as_it_was(way: Together) -> None:
    (task,) = tasks_of(*PACKED["residual, batch norm"], SGD, torch.float32, (0.1,))
    before = copy.deepcopy(task.network.state_dict())
    assert streams._speed(way, task, 2) > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.network.state_dict().items())


def test_one_of_a_pack_that_diverges_changes_nothing_for_the_others() -> None:
    model, shape = PACKED["residual, batch norm"]
    recipe = SGD.model_copy(update={"iterations": 30, "evaluate_every": 10})
    sound, sick = (tasks_of(model, shape, recipe, torch.float32, (0.02, rate)) for rate in (0.02, 1e30))
    expected, _ = train(sound, Packed)
    found, diverged = train(sick, Packed)
    assert diverged.diverged_at == 10
    assert (expected.diverged_at, found.diverged_at) == (None, None)
    assert found.curves == expected.curves
    for name, tensor in sound[0].network.state_dict().items():
        assert torch.equal(tensor, sick[0].network.state_dict()[name]), name
    for name, weight in prunable(sick[1].network).items():
        assert (weight[~sick[1].mask[name]] == 0).all()
