"""Methods as the planner sees them: what they ask for, in which order, and what they may be given."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from study import methods
from study.lineage import Node, Training, step_function
from study.plan import plan_cell
from tests.test_plan import cell

ROOT = Path(__file__).parent.parent.parent
LAYERS = {"fc1.weight": [300, 784], "fc2.weight": [100, 300], "output.weight": [10, 100]}


def handles(sparsity: float = 0.9, seed: int = 0) -> dict[str, object]:
    return {
        "start": Node("initialise", {"seed": seed}),
        "examples": Node("examples", {"seed": seed}),
        "layers": LAYERS,
        "sparsity": sparsity,
        "seed": seed,
        "ranking": "score",
    }


CONF = ROOT / "conf" / "method"


@pytest.mark.parametrize("name", methods.names())
def test_every_method_has_a_yaml_that_repeats_its_settings(name: str) -> None:
    content = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    assert content == methods.settings_schema(name)(name=name).model_dump()


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_yaml_has_all_settings_of_its_method(path: Path) -> None:
    content = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(content, dict)
    assert set(content) == set(methods.settings_schema(content["name"]).model_fields)


def test_dense_asks_for_no_training_and_ignores_sparsity() -> None:
    assert not methods.takes("dense", "sparsity")
    mask = methods.call("dense", handles(), {})
    assert mask == methods.call("dense", handles(sparsity=0.5), {})


def test_lottery_ticket_rewinds_to_the_initial_weights_every_round() -> None:
    method = methods.call("lottery_ticket", handles(sparsity=0.7), {"rate": 0.5, "output_rate": 0.5})
    start = Node("initialise", {"seed": 0})
    first = next(method)
    assert first == Training(start, methods.call("dense", handles(), {}))
    second = method.send(Node("train", {"round": 0}))
    assert second.start == start
    assert list(second.mask.parents()) == [Node("train", {"round": 0}), first.mask]
    with pytest.raises(StopIteration) as stop:
        method.send(Node("train", {"round": 1}))
    assert sum(stop.value.value.mask.arguments["kept"].values()) == 79_860


def test_magnitude_goes_on_from_the_trained_weights() -> None:
    method = methods.call("magnitude", handles(), {})
    next(method)
    with pytest.raises(StopIteration) as stop:
        method.send(Node("train", {"round": 0}))
    assert stop.value.value.start == Node("train", {"round": 0})
    assert stop.value.value.mask.arguments["kept"] == 26_620


@pytest.mark.parametrize("method", ["snip", "grasp"])
def test_weights_scored_are_those_trained_or_another_draw(method: str) -> None:
    trainings = {
        scored: plan_cell(cell(method, scored=scored)).training for scored in ("trained", "redrawn", "he_normal")
    }
    scored = {name: training.arguments["mask"].arguments["network"] for name, training in trainings.items()}
    assert len({training.arguments["start"] for training in trainings.values()}) == 1
    assert scored["trained"] == trainings["trained"].arguments["start"]
    assert len(set(scored.values())) == 3
    assert scored["he_normal"].arguments["model"]["init"] == "he_normal"
    assert scored["redrawn"].arguments["draw"] == "scored"


def test_random_by_layer_keeps_the_same_fraction_of_each() -> None:
    mask = step_function("study.methods.random:random")(LAYERS, 0.9, 0, scope="layer")
    assert {name: int(m.sum()) for name, m in mask.items()} == {
        "fc1.weight": 23_520,
        "fc2.weight": 3_000,
        "output.weight": 100,
    }


def test_late_rewinding_trains_to_k_once_and_starts_every_round_from_there() -> None:
    method = methods.call("lottery_ticket", handles(sparsity=0.3), {"rewind": 100})
    first = next(method)
    assert (first.start, first.since, first.until) == (Node("initialise", {"seed": 0}), 0, 100)
    rewound = Node("train", {"until": 100})
    second = method.send(rewound)
    assert (second.start, second.since, second.until) == (rewound, 100, None)
    third = method.send(Node("train", {"round": 0}))
    assert (third.start, third.since) == (rewound, 100)
    with pytest.raises(StopIteration) as stop:
        method.send(Node("train", {"round": 1}))
    assert (stop.value.value.start, stop.value.value.since) == (rewound, 100)


def test_one_shot_prunes_once() -> None:
    method = methods.call("lottery_ticket", handles(sparsity=0.9), {"one_shot": True})
    next(method)
    with pytest.raises(StopIteration) as stop:
        method.send(Node("train", {"round": 0}))
    assert sum(stop.value.value.mask.arguments["kept"].values()) == 26_620


def test_a_global_ticket_ranks_all_but_the_spared_layers_together() -> None:
    method = methods.call("lottery_ticket", handles(sparsity=0.2), {"scope": "global", "output_rate": 0.0})
    next(method)
    method.send(Node("train", {"round": 0}))
    with pytest.raises(StopIteration) as stop:
        method.send(Node("train", {"round": 1}))
    arguments = stop.value.value.mask.arguments
    assert (arguments["kept"], arguments["spared"]) == (212_960 - 1_000, ("output.weight",))


def test_random_masks_follow_the_seed_and_spread_over_layers() -> None:
    random = step_function("study.methods.random:random")
    first, again, other = (random(LAYERS, 0.9, seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in LAYERS)
    assert not torch.equal(first["fc1.weight"], other["fc1.weight"])
    assert sum(int(mask.sum()) for mask in first.values()) == 26_620
    for name, mask in first.items():
        expected, n = 0.1, mask.numel()
        assert abs(mask.double().mean() - expected) < 4 * (expected * (1 - expected) / n) ** 0.5, name
