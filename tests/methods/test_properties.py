"""What holds of every method that prunes: exact counts, ties broken by position, rounds that never give back."""

import copy
from functools import cache
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from study import methods
from study.cell import Recipe
from study.data import Examples, Split
from study.data.arrays import Arrays, Part
from study.lineage import Node, Training, step_function
from study.methods.masks import Ranking, kept_count
from study.seeding import stream
from tests.training import train

PRUNING = [name for name in methods.names() if methods.takes(name, "sparsity")]
SCORING = [name for name in PRUNING if methods.takes(name, "ranking")]
LAYERS = {"0.weight": (8, 4), "2.weight": (3, 8)}
TOTAL = 32 + 24
SETTINGS: dict[str, dict[str, Any]] = {
    "snip": {"scoring_examples": 30},
    "grasp": {"temperature": 1.0},
    "lottery_ticket": {"rate": 0.5, "output_rate": 0.5},
}
RECIPE = Recipe(optimizer="sgd", learning_rate=0.1, batch_size=10, iterations=5, evaluate_every=5)


def split() -> Split:
    part = Part(torch.randn(36, 4, generator=stream(0, "inputs"), dtype=torch.float64), torch.arange(36) % 3)
    return Split(Arrays(part, part), torch.arange(6, 36), torch.arange(6))


def network(deviation: float) -> nn.Module:
    drawn = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    for name, parameter in drawn.named_parameters():
        nn.init.normal_(parameter, std=deviation if name in LAYERS else 0, generator=stream(0, name))
    return drawn


def kept_by(name: str, sparsity: float, ranking: Ranking = "score", deviation: float = 1.0, **changes: Any) -> Tensor:
    """What a method keeps in the end of a small network's 56 weights, in order, the trainings it asks for run."""
    start, examples = Node("initialise", {}), Node("examples", {})

    @cache
    def value(node: Node) -> Any:
        values = {k: value(v) if isinstance(v, Node) else v for k, v in node.arguments.items()}
        match node.function:
            case "initialise":
                return network(deviation)
            case "examples":
                return Examples(split(), 0)
            case "train":
                trained = copy.deepcopy(values["start"])
                train(trained, values["mask"], split(), RECIPE, seed=0)
                return trained
            case path:
                return step_function(path)(**values)

    handles = {"start": start, "network": start, "examples": examples, "inputs": [4], "layers": LAYERS}
    chosen = methods.settings_schema(name)(name=name, **SETTINGS.get(name, {}) | changes).model_dump(exclude={"name"})
    found = methods.call(name, {**handles, "sparsity": sparsity, "seed": 0, "ranking": ranking}, chosen)
    trained = None
    while not isinstance(found, Node | Training):
        try:
            request = found.send(trained)
            trained = Node("train", {"start": request.start, "mask": request.mask})
        except StopIteration as stop:
            found = stop.value
    mask = value(found.mask if isinstance(found, Training) else found)
    assert {layer: kept.shape for layer, kept in mask.items()} == LAYERS
    return torch.cat([kept.flatten() for kept in mask.values()])


@pytest.mark.parametrize("name", PRUNING)
@settings(deadline=None, max_examples=15)
@given(sparsity=st.floats(0, 0.95))
def test_every_method_keeps_exactly_the_promised_count(name: str, sparsity: float) -> None:
    assert int(kept_by(name, sparsity).sum()) == kept_count(TOTAL, sparsity)


@pytest.mark.parametrize("ranking", get_args(Ranking))
@pytest.mark.parametrize("name", SCORING)
@settings(deadline=None, max_examples=5)
@given(sparsity=st.floats(0, 0.95))
def test_where_all_scores_tie_the_first_weights_stay(name: str, ranking: Ranking, sparsity: float) -> None:
    """Weights of zero have no gradient, and stay zero in training: every score of theirs is zero."""
    kept = kept_by(name, sparsity, ranking, deviation=0)
    groups = kept.split([32, 24]) if name == "lottery_ticket" else [kept]
    assert all(torch.equal(group, torch.arange(len(group)) < group.sum()) for group in groups)
    assert int(kept.sum()) == kept_count(TOTAL, sparsity)


@pytest.mark.parametrize("ranking", get_args(Ranking))
@pytest.mark.parametrize("name", ["snip", "grasp", "synflow", "lottery_ticket"])
def test_no_round_gives_back_what_an_earlier_one_removed(name: str, ranking: Ranking) -> None:
    """Halving 56 weights once, twice and three times: each is a round more than the one before."""
    halved = [
        kept_by(name, 1 - 0.5**rounds, ranking, **({} if name == "lottery_ticket" else {"rounds": rounds}))
        for rounds in (1, 2, 3)
    ]
    assert [int(kept.sum()) for kept in halved] == [28, 14, 7]
    assert not (halved[1] & ~halved[0]).any()
    assert not (halved[2] & ~halved[1]).any()
