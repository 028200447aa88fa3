import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from study.lineage import step_function
from study.methods import masks
from study.methods.masks import keep_top, kept_count, ladder, one_round, sizes

RATES = {"fc1.weight": 0.2, "fc2.weight": 0.2, "output.weight": 0.1}
LENET = {"fc1.weight": [300, 784], "fc2.weight": [100, 300], "output.weight": [10, 100]}
full_mask = step_function("study.methods.masks:full_mask")
prune_smallest = step_function("study.methods.masks:prune_smallest")


@given(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.floats(0, 1, exclude_max=True), st.integers(0, 99))
def test_exactly_the_promised_count_is_kept_even_among_ties(layers: list[int], sparsity: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = {str(i): torch.randint(0, 3, (n,), generator=generator).float() for i, n in enumerate(layers)}
    kept = kept_count(sum(layers), sparsity)
    mask = keep_top(scores, kept)
    assert sum(int(m.sum()) for m in mask.values()) == kept
    if 0 < kept < sum(layers):
        lowest_kept = min(float(scores[n][mask[n]].min()) for n in scores if mask[n].any())
        highest_removed = max(float(scores[n][~mask[n]].max()) for n in scores if (~mask[n]).any())
        assert lowest_kept >= highest_removed


def test_ties_are_broken_by_position() -> None:
    mask = keep_top({"a": torch.tensor([1.0, 2.0, 1.0]), "b": torch.tensor([1.0, 1.0])}, 3)
    assert mask["a"].tolist() == [True, True, True]
    assert mask["b"].tolist() == [False, False]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        keep_top({"a": torch.tensor([1.0, bad])}, 1)


@pytest.mark.parametrize(("sparsity", "kept"), [(0.0, 266_200), (0.9, 26_620), (0.98, 5_324), (0.99999, 3)])
def test_kept_counts_of_lenet(sparsity: float, kept: int) -> None:
    assert kept_count(sum(sizes(LENET).values()), sparsity) == kept


def two_layers() -> nn.Module:
    network = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 1, bias=False))
    network.get_parameter("0.weight").data = torch.tensor([[-5.0, 1.0, 0.2], [3.0, -0.1, 4.0]])
    network.get_parameter("1.weight").data = torch.tensor([[-2.0, 0.5]])
    return network


def test_prune_smallest_ranks_absolute_values_over_all_layers_or_in_each() -> None:
    network = two_layers()
    full = full_mask({"0.weight": [2, 3], "1.weight": [1, 2]})
    together = prune_smallest(network, full, 4)
    assert together["0.weight"].tolist() == [[True, False, False], [True, False, True]]
    assert together["1.weight"].tolist() == [[True, False]]
    each = prune_smallest(network, full, {"0.weight": 2, "1.weight": 1})
    assert each["0.weight"].tolist() == [[True, False, False], [False, False, True]]
    assert each["1.weight"].tolist() == [[True, False]]


def test_pruned_weights_never_come_back() -> None:
    network = two_layers()
    mask = {"0.weight": torch.tensor([[False, True, True], [True, True, True]]), "1.weight": torch.ones(1, 2) > 0}
    mask["1.weight"][0, 0] = False
    # What is kept is all but zero, what was pruned is large.
    network.get_parameter("0.weight").data = torch.tensor([[9.0, 0.0, 0.0], [0.0, 0.0, 1e-9]])
    smaller = prune_smallest(network, mask, 5)
    assert not (smaller["0.weight"] & ~mask["0.weight"]).any()
    assert not (smaller["1.weight"] & ~mask["1.weight"]).any()


def test_ladder_meets_the_percentages_that_frankle_and_carbin_print() -> None:
    printed = [80.0, 64.1, 51.3, 41.1, 32.9, 26.3, 21.1, 16.9, 13.5, 10.8, 8.7, 7.0, 5.6, 4.5, 3.6, 2.9]
    rungs = [sum(kept.values()) / 2662 for kept in ladder(LENET, 0.98, RATES)]
    assert rungs[: len(printed)] == pytest.approx(printed, abs=0.051)  # one decimal


@given(st.floats(0, 0.999), st.floats(0.05, 0.9), st.floats(0.05, 0.9))
def test_ladder_ends_exactly_and_only_descends(sparsity: float, rate: float, output_rate: float) -> None:
    target = kept_count(266_200, sparsity)
    before = sizes(LENET)
    rungs = list(ladder(LENET, sparsity, dict.fromkeys(LENET, rate) | {"output.weight": output_rate}))
    for kept in rungs:
        assert all(kept[name] <= before[name] for name in before)
        assert sum(kept.values()) < sum(before.values())
        before = kept
    assert sum(before.values()) == target


@given(st.floats(0.5, 0.95), st.floats(0.951, 0.999))
def test_a_deeper_ladder_goes_through_the_rounds_of_a_shallower_one(shallow: float, deep: float) -> None:
    less, more = list(ladder(LENET, shallow, RATES)), list(ladder(LENET, deep, RATES))
    assert less[:-1] == more[: len(less) - 1]


def test_a_rate_that_removes_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="removes nothing"):
        list(ladder(LENET, 0.5, dict.fromkeys(LENET, 1e-9)))


def test_spared_layers_stay_whole_and_can_make_a_sparsity_impossible() -> None:
    spared = RATES | {"output.weight": 0.0}
    assert all(kept["output.weight"] == 1_000 for kept in ladder(LENET, 0.99, spared))
    with pytest.raises(ValueError, match="lower the sparsity"):
        list(ladder(LENET, 0.999, spared))
    network = two_layers()
    mask = prune_smallest(network, full_mask({"0.weight": [2, 3], "1.weight": [1, 2]}), 2, spared=["1.weight"])
    assert mask["0.weight"].tolist() == [[True, False, False], [False, False, True]]
    assert mask["1.weight"].all()


def test_one_round_keeps_of_each_layer_what_many_rounds_would() -> None:
    assert one_round(LENET, 0.9, RATES) == list(ladder(LENET, 0.9, RATES))[-1]
    assert one_round(LENET, 0.0, RATES) == sizes(LENET)


def test_ranking_within_a_mask_never_leaves_it() -> None:
    scores = {"a": torch.tensor([5.0, -4.0, 3.0, -2.0])}
    within = {"a": torch.tensor([False, True, True, True])}
    kept = {r: keep_top(scores, 1, r, within)["a"].tolist().index(True) for r in ("score", "inverted", "absolute")}
    assert kept == {"score": 2, "inverted": 1, "absolute": 1}


def test_layers_and_sizes() -> None:
    assert sizes(LENET) == {"fc1.weight": 235_200, "fc2.weight": 30_000, "output.weight": 1_000}
    assert all(m.all() and m.dtype == torch.bool for m in full_mask(LENET).values())
    assert masks.full_mask(LENET) == masks.full_mask(dict(LENET))
