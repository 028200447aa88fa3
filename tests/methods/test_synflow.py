"""SynFlow's own theorems: conservation of flow, and no layer collapse."""

import pytest
import torch

from study import models
from study.cell import Model
from study.lineage import step_function
from study.methods.scoring import rankable
from study.methods.synflow import flow, linearised

synflow = step_function("study.methods.synflow:synflow")
VGG, INPUTS = Model(name="vgg_16", family="vgg"), torch.Size([3, 32, 32])
LENET, MNIST = Model(name="lenet_300_100", family="lenet"), torch.Size([1, 28, 28])


def test_every_layer_carries_the_same_flow() -> None:
    linear = linearised(models.build(LENET, MNIST, 10, seed=0))
    weights = {name: w.detach().requires_grad_() for name, w in rankable(linear).items()}
    totals = torch.stack([score.sum() for score in flow(linear, weights, MNIST)])
    torch.testing.assert_close(totals, totals[0].expand(3), rtol=1e-12, atol=0)
    # With biases at zero the flow is the output itself (Tanaka et al. 2020, theorem 1).
    torch.testing.assert_close(totals[0], linear(torch.ones(1, *MNIST, dtype=torch.float64)).sum().detach())


def test_flow_of_a_network_worked_by_hand() -> None:
    """x = 1, hidden |a| = (2, 1), output |b| = ((1, 3)): R = 2 + 3, each path's flow is its product of magnitudes."""
    network = torch.nn.Sequential(torch.nn.Linear(1, 2, bias=False), torch.nn.Linear(2, 1, bias=False))
    network.get_parameter("0.weight").data = torch.tensor([[-2.0], [1.0]])
    network.get_parameter("1.weight").data = torch.tensor([[1.0, -3.0]])
    linear = linearised(network)
    first, second = flow(linear, {n: w.detach().requires_grad_() for n, w in rankable(linear).items()}, [1])
    assert first.tolist() == [[2.0], [3.0]]
    assert second.tolist() == [[2.0, 3.0]]
    mask = synflow(network, [1], 0.5, rounds=1)
    assert mask["0.weight"].tolist() == [[False], [True]]
    assert mask["1.weight"].tolist() == [[False, True]]


@pytest.mark.slow
def test_vgg_16_does_not_collapse_at_99_9_percent() -> None:
    mask = synflow(models.build(VGG, INPUTS, 10, seed=0), INPUTS, 0.999, rounds=100)
    kept = {name: int(m.sum()) for name, m in mask.items()}
    assert sum(kept.values()) == round(14_715_584 * 0.001)
    assert min(kept.values()) > 0
