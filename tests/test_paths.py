"""Effective sparsity: weights that lie on no path, by hand and against a search of the graph."""

import pytest
import torch
from torch import nn

from study import models
from study.cell import Model
from study.models.paths import effective


def test_a_cut_worked_by_hand() -> None:
    """Two inputs, three hidden units, one output. Unit 0 has no way out, unit 1 no way in, unit 2 one of each."""
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    mask = {
        "0.weight": torch.tensor([[True, True], [False, False], [False, True]]),
        "2.weight": torch.tensor([[False, True, True]]),
    }
    assert effective(network, mask, [2]) == {"0.weight": 1, "2.weight": 1}


def test_a_network_cut_through_has_nothing_left() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    mask = {"0.weight": torch.ones(3, 2) > 0, "2.weight": torch.zeros(1, 3) > 0}
    assert effective(network, mask, [2]) == {"0.weight": 0, "2.weight": 0}


@pytest.mark.parametrize("seed", range(3))
def test_it_equals_a_search_of_the_graph(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = {
        name: torch.rand(shape, generator=generator) < density
        for name, shape, density in [
            ("0.weight", (20, 30), 0.04),
            ("2.weight", (15, 20), 0.08),
            ("4.weight", (5, 15), 0.2),
        ]
    }
    network = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 15), nn.ReLU(), nn.Linear(15, 5))
    first, second, third = (mask[f"{i}.weight"] for i in (0, 2, 4))
    reached = [torch.ones(30, dtype=torch.bool)]
    for layer in (first, second, third):
        reached.append((layer & reached[-1]).any(1))
    leads_out = [torch.ones(5, dtype=torch.bool)]
    for layer in (third, second, first):
        leads_out.insert(0, (layer & leads_out[0][:, None]).any(0))
    expected = {
        f"{2 * i}.weight": int((layer & reached[i] & leads_out[i + 1][:, None]).sum())
        for i, layer in enumerate((first, second, third))
    }
    assert effective(network, mask, [30]) == expected
    assert sum(expected.values()) < sum(int(m.sum()) for m in mask.values())


@pytest.mark.parametrize(
    ("name", "family", "inputs"),
    [("lenet_5_caffe", "lenet", [1, 28, 28]), ("resnet_20", "resnet", [3, 32, 32]), ("lstm_s", "rnn", [1, 28, 28])],
)
def test_a_whole_network_is_all_effective_and_an_empty_layer_cuts_it(name: str, family: str, inputs: list[int]) -> None:
    network = models.build(Model(name=name, family=family), torch.Size(inputs), 10, seed=0)
    before = {n: t.clone() for n, t in network.state_dict().items()}
    mask = {n: torch.ones(w.shape, dtype=torch.bool) for n, w in models.prunable(network).items()}
    assert effective(network, mask, inputs) == {n: w.numel() for n, w in models.prunable(network).items()}
    mask[list(mask)[-1]].zero_()
    assert sum(effective(network, mask, inputs).values()) == 0
    assert all(torch.equal(before[n], t) for n, t in network.state_dict().items())
