"""SNIP and GraSP against computations that share no code with them."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from study.cell import Augment
from study.data import Examples, Split, augment
from study.data.arrays import Arrays, Part
from study.errors import StudyError
from study.lineage import step_function
from study.methods.scoring import draw
from study.seeding import stream

snip = step_function("study.methods.snip:snip")
grasp_step = step_function("study.methods.grasp:grasp")


def grasp(network: nn.Module, examples: Examples, sparsity: float, **settings: Any) -> dict[str, Tensor]:
    mask: dict[str, Tensor] = grasp_step(network, examples, sparsity, seed=0, **settings)
    return mask


def examples(inputs: Tensor, labels: Tensor, seed: int = 0) -> Examples:
    part = Part(inputs, labels)
    return Examples(Split(Arrays(part, part), torch.arange(len(labels)), torch.arange(0)), seed)


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


def by_hand(seed: int, temperature: float, batches: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Weights, the gradient summed over batches of indices, and each batch's gradient, by automatic Jacobians."""
    network, (inputs, labels) = small_network(seed), small_batch(seed)
    weights = weights_of(network)
    gradients = [
        torch.autograd.functional.jacobian(
            lambda w, b=b: loss_at(network, w, inputs[b], labels[b], temperature), weights
        )
        for b in batches
    ]
    return weights, torch.stack(gradients).sum(0), gradients


def drawn_batches(seed: int, batches: int) -> list[Tensor]:
    """The indices that `draw` puts into each batch where all twelve examples are asked for at random."""
    order = torch.randperm(12, generator=stream(seed, "score"))
    return [order[i::batches] for i in range(batches)]


@pytest.mark.parametrize("absolute", ["after_sum", "before_sum"])
def test_snip_over_several_batches_sums_before_or_after_the_absolute_value(absolute: str) -> None:
    weights, total, each = by_hand(0, 1.0, drawn_batches(0, 3))
    summed = (weights * total).abs()
    apart = torch.stack([(weights * g).abs() for g in each]).sum(0)
    expected = {"after_sum": summed, "before_sum": apart}[absolute]
    settings = {"scoring_examples": 12, "batches": 3, "absolute": absolute}
    scored = {k: snip(small_network(0), examples(*small_batch(0)), 1 - k / 45, **settings) for k in range(1, 46)}
    assert ranking(scored) == expected.argsort(descending=True).tolist()
    assert summed.argsort().tolist() != apart.argsort().tolist()


def test_grasp_over_several_batches_holds_the_sum_of_gradients_constant() -> None:
    batches = drawn_batches(0, 3)
    weights, g, _ = by_hand(0, 1.0, batches)
    network, (inputs, labels) = small_network(0), small_batch(0)
    hessian = sum(
        torch.autograd.functional.hessian(lambda w, b=b: loss_at(network, w, inputs[b], labels[b]), weights)
        for b in batches
    )
    settings = {"scoring_examples": 12, "examples_per_class": 0, "batches": 3, "temperature": 1.0}
    scored = {k: grasp(network, examples(inputs, labels), 1 - k / 45, **settings) for k in range(1, 46)}
    assert ranking(scored) == (-weights * (hessian @ g)).argsort(stable=True).tolist()


@pytest.mark.parametrize("kind", ["flip_crop", "flip_shift"])
def test_scoring_images_are_augmented_once_for_both_of_grasps_passes(kind: Augment) -> None:
    inputs = torch.randn(12, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    part = Part(inputs, torch.arange(12) % 3, mean=(0.4,), std=(0.2,))
    given = Examples(Split(Arrays(part, part), torch.arange(12), torch.arange(0)), seed=0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 3, bias=False)).double()
    weights = nn.init.normal_(network.get_parameter("1.weight"), generator=stream(0, "w")).detach().flatten()

    outside = {"flip_crop": part.black(), "flip_shift": torch.zeros(1, 1, 1)}[kind]
    gradients, hessians = [], []
    for i, (plain, labels) in enumerate(draw(given, 12, 0, 2)):
        images = augment.shift(plain, outside, *augment.draw(6, stream(0, f"score/augment/{i}"))).flatten(1)

        def loss(flat: Tensor, images: Tensor = images, labels: Tensor = labels) -> Tensor:
            return cross_entropy(images @ flat.view(3, 36).T, labels)

        gradients.append(torch.autograd.functional.jacobian(loss, weights))
        hessians.append(torch.autograd.functional.hessian(loss, weights))
    gradient, hessian = torch.stack(gradients).sum(0), torch.stack(hessians).sum(0)
    expected = {"snip": (weights * gradient).abs(), "grasp": weights * (hessian @ gradient)}

    settings: dict[str, Any] = {"scoring_examples": 12, "batches": 2}
    for augmented in (True, False):
        asked = settings | ({"augment": kind} if augmented else {})
        masks = {
            "snip": snip(network, given, 0.5, **asked),
            "grasp": grasp(network, given, 0.5, **asked, examples_per_class=0, temperature=1.0),
        }
        for name, scores in expected.items():
            kept = torch.zeros(108, dtype=torch.bool).index_fill(0, scores.topk(54).indices, True)
            assert torch.equal(masks[name]["1.weight"].flatten(), kept) == augmented


def test_batches_are_made_as_they_are_gone_over() -> None:
    """All of ImageNet's at once would be 90 GB."""
    inputs, labels = small_batch(0)
    gathered: list[list[int]] = []

    class Images:
        shape = inputs.shape

        def __getitem__(self, indices: Tensor) -> Tensor:
            gathered.append(indices.tolist())
            return inputs[indices]

    part = Part(Images(), labels)
    given = Examples(Split(Arrays(part, part), torch.arange(len(labels)), torch.arange(0)), 0)
    batches = draw(given, 0, 1, batches=2)
    assert gathered == []
    iterator = iter(batches)
    first, _ = next(iterator)
    assert len(gathered) == 1
    next(iterator)
    assert torch.equal(next(iter(batches))[0], first)
    assert [len(indices) for indices in gathered] == [3, 3, 3]
    assert not set(gathered[0]) & set(gathered[1])


def test_balanced_batches_are_balanced_each() -> None:
    inputs, labels = small_batch(0)
    for _, batch_labels in draw(examples(inputs, labels), 0, 2, batches=2):
        assert sorted(batch_labels.tolist()) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(("count", "per_class"), [(0, 0), (5, 5)])
def test_examples_are_asked_for_in_one_way(count: int, per_class: int) -> None:
    batch = examples(*small_batch(0))
    with pytest.raises(StudyError, match="set one of"):
        draw(batch, count, per_class, 1)
    assert len(list(draw(batch, 10, 0, 10))) == 10
    with pytest.raises(StudyError, match=r"5 scoring examples do not make 4 batches of one size"):
        draw(batch, 5, 0, 4)
    with pytest.raises(StudyError, match=r"change method\.batches"):
        draw(batch, 10, 0, 11)


def test_examples_of_one_class_alone_are_scored() -> None:
    inputs, labels = small_batch(0)
    ((images, found),) = draw(examples(inputs, labels), 4, 0, 1, of_class=1)
    assert found.tolist() == [1, 1, 1, 1]
    assert {tuple(image) for image in images.tolist()} == {tuple(image) for image in inputs[labels == 1].tolist()}
    network, all_of_it = small_network(0), examples(inputs[labels == 1], labels[labels == 1])
    mask = snip(network, examples(inputs, labels), 0.5, scoring_examples=4, scoring_class=1)
    expected = snip(network, all_of_it, 0.5, scoring_examples=4)
    assert all(torch.equal(mask[name], expected[name]) for name in expected)
    with pytest.raises(StudyError, match="wants 5 examples of class 1, training has 4"):
        draw(examples(inputs, labels), 5, 0, 1, of_class=1)
    with pytest.raises(StudyError, match=r"set method\.examples_per_class=0"):
        draw(examples(inputs, labels), 0, 2, 1, of_class=1)


def test_biases_at_zero_are_ranked_last_and_pruned() -> None:
    network = small_network(0)
    for name in ("0.bias", "2.bias"):
        nn.init.zeros_(network.get_parameter(name))
    mask = snip(network, examples(*small_batch(0)), 8 / 53, scoring_examples=12, biases=True)
    assert list(mask) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert sum(int(m.sum()) for m in mask.values()) == 45
    assert not mask["0.bias"].any()
    assert not mask["2.bias"].any()


def test_rounds_are_nested_and_score_the_pruned_network() -> None:
    network, batch = small_network(1), examples(*small_batch(1))
    by_rounds = {r: snip(network, batch, 0.9, scoring_examples=12, rounds=r) for r in (1, 5)}
    assert any(not torch.equal(by_rounds[1][name], by_rounds[5][name]) for name in by_rounds[1])
    # Two rounds to 4 of 45 weights, done here: first 45 (4 / 45)^(1/2) = 13, then score the network that is left.
    first = snip(network, batch, 1 - 13 / 45, scoring_examples=12)
    for name, kept in first.items():
        network.get_parameter(name).data *= kept
    second = snip(network, batch, 0.9, scoring_examples=12)
    both = snip(small_network(1), batch, 0.9, scoring_examples=12, rounds=2)
    assert all(torch.equal(second[name], both[name]) for name in second)
    assert all(not (both[name] & ~first[name]).any() for name in first)


def test_inverted_and_absolute_rankings() -> None:
    network, batch = small_network(2), examples(*small_batch(2))
    top = snip(network, batch, 1 / 3, scoring_examples=12)
    bottom = snip(network, batch, 2 / 3, scoring_examples=12, ranking="inverted")
    assert all(torch.equal(top[name], ~bottom[name]) for name in top)  # 30 highest, 15 lowest
    lowest = grasp(network, batch, 0.6, examples_per_class=4, temperature=1.0, ranking="inverted")
    highest = grasp(network, batch, 0.6, examples_per_class=4, temperature=1.0)
    magnitude = grasp(network, batch, 0.6, examples_per_class=4, temperature=1.0, ranking="absolute")
    assert (
        len({tuple(torch.cat([m.flatten() for m in x.values()]).tolist()) for x in (lowest, highest, magnitude)}) == 3
    )


def with_norm(seed: int) -> nn.Module:
    network = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(seed))
    return network


def test_batch_norm_is_scored_in_the_mode_asked_for_and_left_alone() -> None:
    network, (inputs, labels) = with_norm(0), small_batch(0)
    masks = {}
    for mode in ("train", "eval"):
        masks[mode] = snip(network, examples(inputs, labels), 0.5, scoring_examples=12, batch_norm=mode)
        network.train(mode == "train")
        scored = copy.deepcopy(network)
        weights = [scored.get_parameter("0.weight"), scored.get_parameter("3.weight")]
        gradients = torch.autograd.grad(cross_entropy(scored(inputs), labels), weights)
        flat = torch.cat([(w * g).abs().flatten() for w, g in zip(weights, gradients, strict=True)])
        expected = torch.zeros(45, dtype=torch.bool).index_fill(0, flat.topk(22).indices, True)
        assert torch.equal(torch.cat([m.flatten() for m in masks[mode].values()]), expected)
    assert not torch.equal(masks["train"]["0.weight"], masks["eval"]["0.weight"])
    assert torch.equal(network.get_buffer("1.running_mean"), torch.zeros(5, dtype=torch.float64))
    assert network.get_buffer("1.num_batches_tracked") == 0


@pytest.mark.parametrize("redraw", ["nothing", "head", "linear"])
def test_grasp_redraws_what_it_is_told_for_scoring_only(redraw: str) -> None:
    network, batch = small_network(0), examples(*small_batch(0))
    before = weights_of(network).clone()
    mask = grasp(network, batch, 0.5, examples_per_class=4, redraw=redraw)
    assert torch.equal(weights_of(network), before)
    for name in {"nothing": [], "head": ["2"], "linear": ["0", "2"]}[redraw]:
        nn.init.xavier_normal_(network.get_parameter(f"{name}.weight"), generator=stream(0, f"redraw/{name}"))
    by_hand = grasp(network, batch, 0.5, examples_per_class=4)
    assert all(torch.equal(mask[name], by_hand[name]) for name in mask)


def test_scoring_leaves_the_network_as_it_was() -> None:
    network, (inputs, labels) = small_network(0), small_batch(0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    snip(network, examples(inputs, labels), 0.5, scoring_examples=4)
    grasp(network, examples(inputs, labels), 0.5, examples_per_class=2)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
