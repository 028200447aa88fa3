"""Methods as the planner sees them: what they ask for, in which order, and what they may be given."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from study import methods
from study.lineage import Node, Training, step_function

ROOT = Path(__file__).parent.parent.parent
LAYERS = {"fc1.weight": [300, 784], "fc2.weight": [100, 300], "output.weight": [10, 100]}


def handles(sparsity: float = 0.9, seed: int = 0) -> dict[str, object]:
    return {
        "start": Node("initialise", {"seed": seed}),
        "examples": Node("examples", {"seed": seed}),
        "layers": LAYERS,
        "sparsity": sparsity,
        "seed": seed,
    }


@pytest.mark.parametrize("name", methods.names())
def test_every_method_has_a_yaml_that_repeats_its_settings(name: str) -> None:
    content = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "method" / f"{name}.yaml"))
    assert content == methods.settings_schema(name)(name=name).model_dump()


def test_every_yaml_has_a_method() -> None:
    assert {path.stem for path in (ROOT / "conf" / "method").glob("*.yaml")} == set(methods.names())


def test_dense_asks_for_no_training_and_ignores_sparsity() -> None:
    assert not methods.has_sparsity("dense")
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
    assert sum(stop.value.value.arguments["kept"].values()) == 79_860


def test_magnitude_goes_on_from_the_trained_weights() -> None:
    method = methods.call("magnitude", handles(), {})
    next(method)
    with pytest.raises(StopIteration) as stop:
        method.send(Node("train", {"round": 0}))
    network, mask = stop.value.value
    assert network == Node("train", {"round": 0})
    assert mask.arguments["kept"] == 26_620


def test_random_masks_follow_the_seed_and_spread_over_layers() -> None:
    random = step_function("study.methods.random:random")
    first, again, other = (random(LAYERS, 0.9, seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in LAYERS)
    assert not torch.equal(first["fc1.weight"], other["fc1.weight"])
    assert sum(int(mask.sum()) for mask in first.values()) == 26_620
    for name, mask in first.items():
        expected, n = 0.1, mask.numel()
        assert abs(mask.double().mean() - expected) < 4 * (expected * (1 - expected) / n) ** 0.5, name
