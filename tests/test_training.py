"""The loop against a plain one written out here, and the properties that masks must keep."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from study.cell import Augment, Recipe
from study.data import Split
from study.data.arrays import Arrays, Part
from study.data.augment import augmentation, draw, shift
from study.models import prunable
from study.seeding import stream
from study.training.engines.dense import Dense, evaluate
from study.training.engines.engine import Runner, learning_rate
from study.training.engines.sparse import Sparse
from study.training.loop import Curves
from tests.training import train

ENGINES = pytest.mark.parametrize("engine", [Dense, Sparse], ids=["dense", "sparse"])


def toy_split(n: int = 40, classes: int = 3) -> Split:
    generator = torch.Generator().manual_seed(7)
    part = Part(torch.randn(n, 4, generator=generator, dtype=torch.float64), torch.arange(n) % classes)
    return Split(Arrays(part, part), torch.arange(10, n), torch.arange(10))


def toy_network(seed: int = 0) -> nn.Module:
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    for name, parameter in network.named_parameters():
        nn.init.normal_(parameter, std=0.5, generator=stream(seed, name))
    return network


def toy_mask(network: nn.Module) -> dict[str, torch.Tensor]:
    return {n: torch.rand(w.shape, generator=stream(3, n)) < 0.5 for n, w in prunable(network).items()}


ADAM = Recipe(
    optimizer="adam",
    learning_rate=1e-2,
    weight_decay=1e-3,
    drops=(30,),
    batch_size=7,
    iterations=100,
    evaluate_every=40,
)
SGD = Recipe(
    optimizer="sgd",
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=1e-3,
    drops=(30, 60),
    batch_size=7,
    iterations=100,
    evaluate_every=40,
)
WARMED = SGD.model_copy(update={"warmup": 20, "decay": "weights", "weight_decay": 0.1})


def plain_loop(network: nn.Module, mask: dict[str, torch.Tensor], data: Split, recipe: Recipe) -> None:
    """Masks in the graph, unfused updates by their textbook formulas, one permutation of the data after another."""
    names = dict(network.named_parameters())
    values = {name: p.detach().clone() for name, p in names.items()}
    first, second = ({name: torch.zeros_like(v) for name, v in values.items()} for _ in range(2))
    order, full_rate = stream(0, "order"), recipe.learning_rate
    queue: list[int] = []
    for step in range(1, recipe.iterations + 1):
        while len(queue) < recipe.batch_size:
            queue += data.training[torch.randperm(len(data.training), generator=order)].tolist()
        batch, queue = queue[: recipe.batch_size], queue[recipe.batch_size :]
        leaves = {name: v.clone().requires_grad_() for name, v in values.items()}
        masked = {name: v * mask[name] if name in mask else v for name, v in leaves.items()}
        logits = torch.func.functional_call(network, masked, data.arrays.training.inputs[torch.tensor(batch)])
        cross_entropy(logits, data.arrays.training.labels[batch]).backward()
        rate = full_rate * min(1, step / max(1, recipe.warmup))
        for name, leaf in leaves.items():
            assert leaf.grad is not None
            decay = recipe.weight_decay if recipe.decay == "all" or name.endswith("weight") else 0
            kept = mask.get(name, torch.ones_like(leaf, dtype=torch.bool))
            gradient = (leaf.grad + decay * values[name]) * kept
            if recipe.optimizer == "sgd":
                first[name] = recipe.momentum * first[name] + gradient
                values[name] = values[name] - rate * first[name]
            else:
                first[name] = 0.9 * first[name] + 0.1 * gradient
                second[name] = 0.999 * second[name] + 0.001 * gradient**2
                corrected = (second[name] / (1 - 0.999**step)).sqrt() + 1e-8
                values[name] = values[name] - rate * first[name] / (1 - 0.9**step) / corrected
        if step in recipe.drops:
            full_rate *= recipe.drop_factor
    for name, parameter in names.items():
        parameter.data = values[name] * mask[name] if name in mask else values[name]


@ENGINES
@pytest.mark.parametrize("recipe", [ADAM, SGD, WARMED], ids=["adam", "sgd", "warmed"])
def test_training_equals_a_plain_loop_in_float64(recipe: Recipe, engine: Runner) -> None:
    data, ours, plain = toy_split(), toy_network(), toy_network()
    mask = toy_mask(ours)
    train(ours, mask, data, recipe, seed=0, engine=engine)
    plain_loop(plain, mask, data, recipe)
    for (name, a), b in zip(ours.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10, msg=name)


@pytest.mark.parametrize("recipe", [ADAM, SGD], ids=["adam", "sgd"])
def test_pruned_weights_are_zero_whenever_they_are_used_and_at_the_end(recipe: Recipe) -> None:
    network = toy_network()
    mask = toy_mask(network)
    seen = []

    def look(*_: object) -> None:
        seen.append(all(bool((w[~mask[n]] == 0).all()) for n, w in prunable(network).items()))

    network.register_forward_pre_hook(look)
    train(network, mask, toy_split(), recipe, seed=0)
    look()
    assert all(seen)
    assert len(seen) > recipe.iterations
    assert all((w[mask[n]] != 0).all() for n, w in prunable(network).items())


@ENGINES
def test_a_diverging_training_stops_and_says_where_with_its_pruned_weights_zero(engine: Runner) -> None:
    recipe = SGD.model_copy(update={"learning_rate": 1e200})
    network = toy_network()
    mask = toy_mask(network)
    outcome = train(network, mask, toy_split(), recipe, seed=0, engine=engine)
    assert outcome.diverged_at == 40
    assert outcome.curves.iteration == [0, 40]
    assert outcome.curves.train_loss == [None, None]
    assert all((w[~mask[n]] == 0).all() for n, w in prunable(network).items())


def test_curves_cover_the_start_the_grid_and_the_end() -> None:
    reported: list[int] = []
    network, mask = toy_network(), toy_mask(toy_network())
    outcome = train(network, mask, toy_split(), ADAM, 0, lambda iteration, _: reported.append(iteration))
    assert outcome.curves.iteration == [0, 40, 80, 100]
    assert reported == sorted(set(reported))
    assert {40, 80, 100} <= set(reported)
    assert outcome.curves.train_loss[0] is None
    assert all(isinstance(loss, float) and math.isfinite(loss) for loss in outcome.curves.train_loss[1:])


def test_evaluation_weighs_every_example_the_same_whatever_the_last_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(1201, 4, generator=generator, dtype=torch.float64)
    part = Part(inputs, torch.arange(1201) % 3)
    network = toy_network()
    loss, accuracy = evaluate(network, part.batches(torch.arange(1201), 500, torch.device("cpu")))
    with torch.no_grad():
        logits = network(inputs)
    assert loss == pytest.approx(cross_entropy(logits, part.labels).item(), rel=1e-12)
    assert accuracy == (logits.argmax(1) == part.labels).sum().item() / 1201
    assert network.training


@ENGINES
def test_the_data_order_follows_the_seed_and_seed_zero_is_a_seed(engine: Runner) -> None:
    def end(seed: int) -> torch.Tensor:
        network = toy_network()
        train(network, toy_mask(network), toy_split(), ADAM, seed, engine=engine)
        return next(iter(prunable(network).values())).detach()

    assert torch.equal(end(0), end(0))
    assert not torch.equal(end(0), end(1))


@ENGINES
def test_a_training_can_mask_parameters_that_are_not_ranked_by_default(engine: Runner) -> None:
    network = toy_network()
    mask = {**toy_mask(network), "0.bias": torch.arange(8) < 3}
    train(network, mask, toy_split(), SGD, seed=0, engine=engine)
    assert (network.get_parameter("0.bias") == 0).tolist() == [False] * 3 + [True] * 5


def test_the_learning_rate_by_hand() -> None:
    recipe = SGD.model_copy(update={"learning_rate": 0.5, "warmup": 4, "drops": (6, 8), "drop_factor": 0.2})
    rates = [learning_rate(recipe, iteration) for iteration in range(1, 11)]
    expected = [0.125, 0.25, 0.375, 0.5, 0.5, 0.5, 0.1, 0.1, 0.02, 0.02]
    assert rates == pytest.approx(expected, rel=1e-12)


def test_a_flip_and_a_shift_by_hand() -> None:
    image = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    images, outside = torch.stack([image, image, image + 10]).unsqueeze(1), torch.full((1, 1, 1), -1.0)
    moved = shift(images, outside, torch.tensor([False, True, True]), torch.tensor([[0, 0], [0, 0], [1, -2]]))
    assert moved[0, 0].tolist() == image.tolist()
    assert moved[1, 0].tolist() == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]
    assert moved[2, 0].tolist() == [[-1, -1, -1], [11, -1, -1], [14, -1, -1]]


@pytest.mark.parametrize("kind", ["flip_crop", "flip_shift"])
def test_augmenting_equals_padding_pixels_and_cropping_each_image(kind: Augment) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (20, 3, 6, 5), dtype=torch.uint8, generator=generator)
    part = Part(pixels, torch.zeros(20), mean=(0.4, 0.5, 0.2), std=(0.2, 0.3, 0.25))
    inputs = part.batch(torch.arange(20), torch.device("cpu")).inputs
    augment = augmentation(kind, part.black(), seed=3)
    flips, shifts = draw(20, stream(3, "augment/7"))
    expected = []
    for image, normalised, flip, (down, right) in zip(pixels, inputs, flips, shifts.tolist(), strict=True):
        if kind == "flip_crop":
            black = torch.zeros(1, 3, 14, 13, dtype=torch.uint8)
            black[0, :, 4:10, 4:9] = image.flip(2) if flip else image
            padded = Part(black, torch.zeros(1), part.mean, part.std).batch(torch.tensor([0]), torch.device("cpu"))
            canvas = padded.inputs[0]
        else:
            canvas = torch.zeros(3, 14, 13)
            canvas[:, 4:10, 4:9] = normalised.flip(2) if flip else normalised
        expected.append(canvas[:, 4 - down : 10 - down, 4 - right : 9 - right])
    assert torch.equal(augment(7, inputs), torch.stack(expected))
    assert not torch.equal(augment(8, inputs), torch.stack(expected))


def test_flips_and_shifts_are_uniform() -> None:
    flips, shifts = draw(81_000, stream(0, "augment"))
    assert flips.double().mean().item() == pytest.approx(0.5, abs=0.01)
    counts = (9 * (shifts[:, 0] + 4) + shifts[:, 1] + 4).bincount(minlength=81)
    assert len(counts) == 81  # each of 9 x 9 shifts about 1000 times, five standard deviations either way
    assert counts.min() > 840
    assert counts.max() < 1160


def test_augmentation_reaches_training_and_not_evaluation() -> None:
    pixels = torch.randint(0, 256, (40, 1, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    part = Part(pixels, torch.arange(40) % 3)
    data = Split(Arrays(part, part), torch.arange(10, 40), torch.arange(10))

    def curves(**changes: str) -> Curves:
        network = nn.Sequential(nn.Flatten(), nn.Linear(25, 3))
        for name, parameter in network.named_parameters():
            nn.init.normal_(parameter, generator=stream(0, name))
        mask = {"1.weight": torch.ones(3, 25, dtype=torch.bool)}
        return train(network, mask, data, SGD.model_copy(update=changes), seed=0).curves

    plain, augmented = curves(), curves(augment="flip_crop")
    assert augmented == curves(augment="flip_crop")
    assert augmented.test_loss[0] == plain.test_loss[0]
    assert augmented.train_loss[1] != plain.train_loss[1]


@ENGINES
def test_a_training_in_two_parts_is_the_training(engine: Runner) -> None:
    """Without momentum nothing but the weights crosses from one part to the next."""
    recipe = SGD.model_copy(update={"momentum": 0.0})
    whole, parts = toy_network(), toy_network()
    mask, data = toy_mask(whole), toy_split()
    train(whole, mask, data, recipe, seed=0, engine=engine)
    first = train(parts, mask, data, recipe, seed=0, engine=engine, until=45)
    second = train(parts, mask, data, recipe, seed=0, engine=engine, since=45)
    assert (first.curves.iteration, second.curves.iteration) == ([0, 40, 45], [45, 80, 100])
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))
