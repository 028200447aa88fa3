"""SNIP and GraSP against computations that share no code with them."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from study.data import Examples, Split
from study.data.arrays import Arrays, Part
from study.lineage import step_function

snip = step_function("study.methods.snip:snip")
grasp = step_function("study.methods.grasp:grasp")


def examples(inputs: Tensor, labels: Tensor, seed: int = 0) -> Examples:
    part = Part(inputs, labels)
    return Examples(Split(Arrays(part, part), torch.arange(len(labels)), part), seed)


def small_network(seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, generator=generator)
    return network


def small_batch(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed + 1000)
    return torch.randn(12, 6, generator=generator, dtype=torch.float64), torch.arange(12) % 3


def ranking(masks_of: Mapping[int, Mapping[str, Tensor]]) -> list[int]:
    """The order in which positions enter the mask as the count grows."""
    order: list[int] = []
    for kept in sorted(masks_of):
        flat = torch.cat([mask.flatten() for mask in masks_of[kept].values()])
        order += [i for i in flat.nonzero().flatten().tolist() if i not in order]
    return order


def weights_of(network: nn.Module) -> Tensor:
    return torch.cat([network.get_parameter(name).detach().flatten() for name in ("0.weight", "2.weight")])


def loss_at(network: nn.Module, flat: Tensor, inputs: Tensor, labels: Tensor, temperature: float = 1.0) -> Tensor:
    shapes = {"0.weight": (5, 6), "2.weight": (3, 5)}
    first = flat[:30].view(shapes["0.weight"])
    second = flat[30:].view(shapes["2.weight"])
    logits = functional_call(network, {"0.weight": first, "2.weight": second}, inputs)
    return cross_entropy(logits / temperature, labels)


@pytest.mark.parametrize("seed", range(3))
def test_snip_ranks_by_the_change_of_the_loss_in_the_mask(seed: int) -> None:
    network, (inputs, labels) = small_network(seed), small_batch(seed)
    weights, step = weights_of(network), 1e-6
    sensitivity = torch.empty(45, dtype=torch.float64)
    for j in range(45):  # central differences in c_j around c = 1
        up, down = weights.clone(), weights.clone()
        up[j] *= 1 + step
        down[j] *= 1 - step
        change = loss_at(network, up, inputs, labels) - loss_at(network, down, inputs, labels)
        sensitivity[j] = change.abs() / (2 * step)
    by_count = {k: snip(network, examples(inputs, labels), 1 - k / 45, scoring_examples=12) for k in range(1, 46)}
    assert ranking(by_count) == sensitivity.argsort(descending=True).tolist()


def test_snip_on_a_network_worked_by_hand() -> None:
    """One input x = 1, hidden h = (2, -1) linear, logits (w . h, 0) with w = (1, 1), label 0.

    Logit z = 1, so dL/dz = sigmoid(1) - 1 =: -d with d = 0.26894. Output weights of class 0: |w h d| = 2d and 1d; of
    class 1, both zero: 0. Input weights: |2 * w_1 * d| = 2d and |-1 * w_2 * d| = d, from class 0 only.
    Ties go to the first: input weights before output weights.
    """
    network = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 2, bias=False))
    network.get_parameter("0.weight").data = torch.tensor([[2.0], [-1.0]])
    network.get_parameter("1.weight").data = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    one = examples(torch.ones(1, 1), torch.tensor([0]))
    kept = {k: snip(network, one, 1 - k / 6, scoring_examples=1) for k in range(1, 6)}
    assert kept[1]["0.weight"].flatten().tolist() == [True, False]
    assert kept[2]["1.weight"].flatten().tolist() == [True, False, False, False]
    assert kept[3]["0.weight"].flatten().tolist() == [True, True]
    assert kept[4]["1.weight"].flatten().tolist() == [True, True, False, False]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("temperature", [1.0, 200.0])
def test_grasp_ranks_by_the_explicit_hessian(seed: int, temperature: float) -> None:
    network, (inputs, labels) = small_network(seed), small_batch(seed)
    weights = weights_of(network)
    ordered = labels.argsort(stable=True)  # any order: the loss is a mean

    def loss(flat: Tensor) -> Tensor:
        return loss_at(network, flat, inputs[ordered], labels[ordered], temperature)

    hessian = torch.autograd.functional.hessian(loss, weights)
    gradient = torch.autograd.functional.jacobian(loss, weights)
    score = -weights * (hessian @ gradient)
    settings = {"examples_per_class": 4, "temperature": temperature}
    by_count = {k: grasp(network, examples(inputs, labels), 1 - k / 45, **settings) for k in range(1, 46)}
    assert ranking(by_count) == score.argsort(stable=True).tolist()  # the lowest score is kept longest


@pytest.mark.parametrize("seed", range(5))
def test_grasp_removes_what_costs_the_gradient_norm_least(seed: int) -> None:
    """Shrinking the removed weights a little must leave more gradient norm than shrinking the kept ones."""
    network, (inputs, labels) = small_network(seed), small_batch(seed)
    weights = weights_of(network)
    mask = grasp(network, examples(inputs, labels), 0.5, examples_per_class=4, temperature=1.0)
    kept = torch.cat([m.flatten() for m in mask.values()]).double()

    def gradient_norm(flat: Tensor) -> float:
        gradient = torch.autograd.functional.jacobian(lambda w: loss_at(network, w, inputs, labels), flat)
        return float(gradient.square().sum())

    step = 1e-4
    assert gradient_norm(weights * (1 - step * (1 - kept))) > gradient_norm(weights * (1 - step * kept))


def test_scoring_leaves_the_network_as_it_was() -> None:
    network, (inputs, labels) = small_network(0), small_batch(0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    snip(network, examples(inputs, labels), 0.5, scoring_examples=4)
    grasp(network, examples(inputs, labels), 0.5, examples_per_class=2)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
