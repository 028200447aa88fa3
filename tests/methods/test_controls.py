"""Controls: each changes what its name says and nothing else."""

from typing import Any

import pytest
import torch

from study.cell import Cell, Control
from study.errors import StudyError
from study.lineage import step_function
from study.plan import plan_cell
from tests.test_plan import cell

shuffled = step_function("study.methods.controls:shuffled")
MASK = {"a": torch.arange(100).view(10, 10) < 30, "b": torch.arange(20) < 5}


def controlled(method: str, control: str, draw: int = 0, **settings: Any) -> Cell:
    return cell(method, control=Control(name=control, draw=draw), **settings)


def test_a_shuffled_mask_has_the_same_counts_elsewhere() -> None:
    first, again, other = (shuffled(MASK, 0, draw) for draw in (0, 0, 1))
    for name, kept in MASK.items():
        assert first[name].sum() == kept.sum()
        assert first[name].shape == kept.shape
        assert not torch.equal(first[name], kept)
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])


def test_reinitialising_keeps_the_ticket_and_changes_the_weights_under_it() -> None:
    ticket, fresh, second = (
        plan_cell(c).training.arguments
        for c in (
            cell("lottery_ticket"),
            controlled("lottery_ticket", "reinitialise"),
            controlled("lottery_ticket", "reinitialise", draw=1),
        )
    )
    assert ticket["mask"] == fresh["mask"] == second["mask"]
    assert len({ticket["start"], fresh["start"], second["start"]}) == 3
    assert len({plan_cell(cell("lottery_ticket", seed=seed)).training for seed in (0, 1)}) == 2


def test_shuffling_changes_the_mask_alone() -> None:
    plain, control = (plan_cell(c).training.arguments for c in (cell("snip"), controlled("snip", "shuffle")))
    assert plain["start"] == control["start"]
    assert control["mask"].arguments["mask"] == plain["mask"]


@pytest.mark.parametrize("method", ["snip", "grasp", "synflow", "magnitude", "magnitude_at_init", "lottery_ticket"])
def test_rankings_reach_every_method_that_scores(method: str) -> None:
    plain, inverted, absolute = (
        plan_cell(controlled(method, name)).training.arguments["mask"] for name in ("none", "invert", "absolute")
    )
    assert inverted not in (plain, absolute)
    assert (absolute != plain) is (method == "grasp"), "only GraSP's scores have signs"


@pytest.mark.parametrize(("method", "control"), [("dense", "shuffle"), ("dense", "invert"), ("random", "invert")])
def test_a_control_without_a_hold_is_an_error(method: str, control: str) -> None:
    with pytest.raises(StudyError, match="choose control=none"):
        controlled(method, control)


def test_a_control_is_part_of_a_cells_identity_but_none_is_not() -> None:
    assert controlled("snip", "none").id == cell("snip").id
    assert len({controlled("snip", c, d).id for c in ("none", "shuffle", "invert") for d in (0, 1)}) == 4
    assert "shuffle" in controlled("snip", "shuffle").slug
