"""The loop against a plain one written out here, and the properties that masks must keep."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from study.cell import Recipe
from study.data import Split
from study.data.arrays import Arrays, Part
from study.models import prunable
from study.seeding import stream
from study.training.loop import evaluate, train


def toy_split(n: int = 40, classes: int = 3) -> Split:
    generator = torch.Generator().manual_seed(7)
    part = Part(torch.randn(n, 4, generator=generator, dtype=torch.float64), torch.arange(n) % classes)
    return Split(Arrays(part, part), torch.arange(10, n), part.take(torch.arange(10)))


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


def plain_loop(network: nn.Module, mask: dict[str, torch.Tensor], data: Split, recipe: Recipe) -> None:
    """Masks in the graph, unfused updates by their textbook formulas, one permutation of the data after another."""
    names = dict(network.named_parameters())
    values = {name: p.detach().clone() for name, p in names.items()}
    first, second = ({name: torch.zeros_like(v) for name, v in values.items()} for _ in range(2))
    order, rate = stream(0, "order"), recipe.learning_rate
    queue: list[int] = []
    for step in range(1, recipe.iterations + 1):
        while len(queue) < recipe.batch_size:
            queue += data.training[torch.randperm(len(data.training), generator=order)].tolist()
        batch, queue = queue[: recipe.batch_size], queue[recipe.batch_size :]
        leaves = {name: v.clone().requires_grad_() for name, v in values.items()}
        masked = {name: v * mask[name] if name in mask else v for name, v in leaves.items()}
        logits = torch.func.functional_call(network, masked, data.arrays.training.inputs[batch])
        cross_entropy(logits, data.arrays.training.labels[batch]).backward()
        for name, leaf in leaves.items():
            assert leaf.grad is not None
            kept = mask.get(name, torch.ones_like(leaf, dtype=torch.bool))
            gradient = (leaf.grad + recipe.weight_decay * values[name]) * kept
            if recipe.optimizer == "sgd":
                first[name] = recipe.momentum * first[name] + gradient
                values[name] = values[name] - rate * first[name]
            else:
                first[name] = 0.9 * first[name] + 0.1 * gradient
                second[name] = 0.999 * second[name] + 0.001 * gradient**2
                corrected = (second[name] / (1 - 0.999**step)).sqrt() + 1e-8
                values[name] = values[name] - rate * first[name] / (1 - 0.9**step) / corrected
        if step in recipe.drops:
            rate *= recipe.drop_factor
    for name, parameter in names.items():
        parameter.data = values[name] * mask[name] if name in mask else values[name]


@pytest.mark.parametrize("recipe", [ADAM, SGD], ids=["adam", "sgd"])
def test_training_equals_a_plain_loop_in_float64(recipe: Recipe) -> None:
    data, ours, plain = toy_split(), toy_network(), toy_network()
    mask = toy_mask(ours)
    train(ours, mask, data, recipe, seed=0)
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


def test_a_diverging_training_stops_and_says_where_with_its_pruned_weights_zero() -> None:
    recipe = SGD.model_copy(update={"learning_rate": 1e200})
    network = toy_network()
    mask = toy_mask(network)
    outcome = train(network, mask, toy_split(), recipe, seed=0)
    assert outcome.diverged_at == 40
    assert outcome.curves.iteration == [0, 40]
    assert outcome.curves.train_loss == [None, None]
    assert all((w[~mask[n]] == 0).all() for n, w in prunable(network).items())


def test_curves_cover_the_start_the_grid_and_the_end() -> None:
    reported: list[int] = []
    outcome = train(toy_network(), toy_mask(toy_network()), toy_split(), ADAM, 0, reported.append)
    assert outcome.curves.iteration == [0, 40, 80, 100]
    assert reported == [40, 80, 100]
    assert outcome.curves.train_loss[0] is None
    assert all(isinstance(loss, float) and math.isfinite(loss) for loss in outcome.curves.train_loss[1:])


def test_evaluation_weighs_every_example_the_same_whatever_the_last_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    part = Part(torch.randn(1201, 4, generator=generator, dtype=torch.float64), torch.arange(1201) % 3)
    network = toy_network()
    loss, accuracy = evaluate(network, part)
    with torch.no_grad():
        logits = network(part.inputs)
    assert loss == pytest.approx(cross_entropy(logits, part.labels).item(), rel=1e-12)
    assert accuracy == (logits.argmax(1) == part.labels).sum().item() / 1201
    assert network.training


def test_the_data_order_follows_the_seed_and_seed_zero_is_a_seed() -> None:
    def end(seed: int) -> torch.Tensor:
        network = toy_network()
        train(network, toy_mask(network), toy_split(), ADAM, seed)
        return next(iter(prunable(network).values())).detach()

    assert torch.equal(end(0), end(0))
    assert not torch.equal(end(0), end(1))
