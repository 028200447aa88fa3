"""What sweeps need: counts of trainings worked by hand, sharing, and the order of running."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from study import config, methods
from study.cell import Cell, Control
from study.errors import StudyError
from study.execute.pool import Finished, WorkerDied
from study.execute.queue import LIVES, Queue
from study.lineage import Node
from study.plan import Plan, companions, density, plan_cell
from study.record import Record, read_folder
from study.standing import standing
from study.store import Store
from tests.conftest import ROOT

NOWHERE = Path("/nonexistent")


def cell(method: str, sparsity: float = 0.9, seed: int = 0, control: Control | None = None, **settings: Any) -> Cell:
    content = {
        "name": "test",
        "output": "unused",
        "dry_run": False,
        "cluster": OmegaConf.load(ROOT / "conf" / "cluster" / "local.yaml"),
        "wandb": {"project": "test"},
        "method": {"name": method, **settings},
        "control": (control or Control()).model_dump(),
        "sparsity": sparsity,
        "seed": seed,
        "model": {"name": "lenet_300_100", "family": "lenet"},
        "dataset": {"name": "mnist"},
        "recipe": {"optimizer": "adam", "learning_rate": 1e-3, "batch_size": 60, "iterations": 10, "evaluate_every": 5},
    }
    return config.read(OmegaConf.create(content))[0]


def cell_of(record: Record) -> Cell:
    """The cell that a record is of, from its settings."""
    method = record.settings["method"]
    return Cell(**record.settings | {"method": methods.settings_schema(method["name"])(**method)})


def plan(*cells: Cell) -> Plan:
    return Plan([plan_cell(c) for c in cells])


def ladder_of(*sparsities: float) -> list[Cell]:
    return [cell("lottery_ticket", s) for s in sparsities]


def finish(store: Store, training: str, seconds: float = 2.0) -> None:
    cost = {
        "engine": "dense",
        "iterations": 10,
        "mask": {"wall": 3.0, "cpu": 3.0},
        "training": {"wall": 0.75 * seconds, "cpu": 1.0},
        "evaluation": {"wall": 0.25 * seconds, "cpu": 0.5},
    }
    store.save_training(training, {"w": torch.zeros(1)}, {"cost": cost})


def test_equal_cells_are_one() -> None:
    assert cell("dense", 0.5).id == cell("dense", 0.9).id
    assert cell("dense").sparsity == 0
    assert cell("snip").id == cell("snip", scoring_examples=100).id == cell("snip", scoring_class=None).id
    assert len({cell("snip").id, cell("snip", 0.8).id, cell("snip", seed=1).id, cell("grasp").id}) == 4
    assert len({cell("snip").id, cell("snip", scoring_class=0).id, cell("snip", scoring_examples=10).id}) == 3


def test_rewinding_to_the_end_or_beyond_leaves_nothing_to_train() -> None:
    assert len(plan_cell(cell("lottery_ticket", 0.5, rewind=9)).trainings) > 2
    for beyond in (10, 60_000):
        with pytest.raises(StudyError, match=rf"after iteration {beyond} of 10: lower method\.rewind"):
            plan_cell(cell("lottery_ticket", 0.5, rewind=beyond))


def test_published_records_are_of_the_cells_and_trainings_that_their_settings_mean_today() -> None:
    for record in read_folder(ROOT / "results" / "records" / "quickstart"):
        planned = plan_cell(cell_of(record))
        assert planned.cell.id == record.cell
        assert [node.id for node in planned.trainings] == record.trainings


def test_a_ticket_at_half_takes_four_rounds_of_a_fifth() -> None:
    # 0.8^3 = 0.512 > 0.5 > 0.8^4: dense, three whole rounds, and the ticket at exactly one half.
    assert len(plan(*ladder_of(0.5)).trainings) == 5


def test_a_ladder_runs_each_level_once_and_dense_is_its_level_zero() -> None:
    alone = [len(plan(c).trainings) for c in ladder_of(0.5, 0.8, 0.9)]
    # 0.8^7 = 0.21 > 0.2 (0.2 with the output layer's 10 %), 0.8^10 = 0.107: 8 and 11 rounds after dense.
    assert alone == [5, 9, 12]
    together = plan(*ladder_of(0.5, 0.8, 0.9), cell("dense", 0.9))
    # The deepest ladder has 11 whole levels with dense; each of the three targets branches off once.
    assert len(together.trainings) == 11 + 3
    assert set(plan(cell("dense")).trainings) < set(together.trainings)


def test_dense_ticket_and_magnitude_share_the_dense_training() -> None:
    shared = plan(cell("dense"), cell("magnitude", 0.8), cell("magnitude", 0.9), cell("snip"), cell("random"))
    assert len(shared.trainings) == 1 + 2 + 2
    other_seed = plan(cell("dense"), cell("dense", seed=1))
    assert len(other_seed.trainings) == 2


@pytest.mark.parametrize("method", [name for name in methods.names() if methods.takes(name, "sparsity")])
def test_where_nothing_is_pruned_every_method_is_dense(method: str) -> None:
    """Unless its weights are drawn anew."""
    assert set(plan(cell("dense"), cell(method, 0.0)).trainings) == set(plan(cell("dense")).trainings)
    assert len(plan(cell("dense"), cell(method, 0.0, control=Control(name="reinitialise"))).trainings) == 2


def test_only_what_is_new_is_missing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for training in plan(*ladder_of(0.5, 0.9)).trainings:
        finish(store, training)
    wider = plan(*ladder_of(0.5, 0.7, 0.9))
    assert list(wider.missing(store, set())) == [plan(*ladder_of(0.7)).cells[0].training.id]
    assert wider.missing(store, {c.cell.id for c in wider.cells}) == {}


def test_standing_counts_and_estimates_from_what_was_measured(tmp_path: Path) -> None:
    store, whole = Store(tmp_path), plan(cell("dense"), *ladder_of(0.5), cell("snip"))
    before = standing(whole, store, set(), 2, NOWHERE)
    assert (before.cells, before.naive, before.trainings, before.missing) == (3, 1 + 5 + 1, 6, 6)
    assert before.seconds_left is None
    finish(store, plan(cell("dense")).cells[0].training.id)  # 2 s for 10 iterations
    after = standing(whole, store, {cell("dense").id}, 2, NOWHERE)
    assert (after.cells_recorded, after.missing) == (1, 5)
    assert after.seconds_left == pytest.approx(8.0)  # four levels wait for each other, SNIP runs beside them
    assert standing(whole, store, set(), 1, NOWHERE).seconds_left == pytest.approx(10.0)
    with store.lease(plan(cell("snip")).cells[0].training.id):
        assert standing(whole, store, set(), 1, NOWHERE).running == 1


def test_a_setting_that_the_method_cannot_meet_is_an_error_with_the_cells_name() -> None:
    with pytest.raises(StudyError, match=r"lottery_ticket-0\.9-seed0.*removes nothing"):
        plan(cell("lottery_ticket", rate=1e-12, output_rate=1e-12))


def drain(queue: Queue) -> list[list[Node]]:
    packs = []
    while pack := queue.next_pack(1):
        packs.append(pack)
    return packs


def test_the_queue_starts_with_the_longest_chain_and_respects_needs(tmp_path: Path) -> None:
    store, whole = Store(tmp_path), plan(cell("snip"), cell("dense"), *ladder_of(0.5))
    queue = Queue(whole.missing(store, set()), store, pack=1)
    first, second = drain(queue)
    assert [first[0].id, second[0].id] == [whole.cells[1].training.id, whole.cells[0].training.id]
    finish(store, first[0].id)
    assert queue.settle(Finished(first)) == [first[0].id]
    assert len(drain(queue)) == 1


def test_packs_hold_trainings_that_can_run_together(tmp_path: Path) -> None:
    cells = [cell("random", s) for s in (0.5, 0.6, 0.7)]
    other = cell("random", 0.5).model_copy(update={"recipe": cell("snip").recipe.model_copy(update={"batch_size": 10})})
    whole = plan(*cells, other)
    packs = drain(Queue(whole.missing(Store(tmp_path), set()), Store(tmp_path), pack=2))
    assert sorted(len(pack) for pack in packs) == [1, 1, 2]
    assert all(len({node.arguments["recipe"]["batch_size"] for node in pack}) == 1 for pack in packs)


def test_a_worker_that_dies_is_given_other_chances_then_the_cell_fails(tmp_path: Path) -> None:
    store = Store(tmp_path)
    queue = Queue(plan(cell("snip")).missing(store, set()), store, pack=1)
    for _ in range(LIVES):
        (pack,) = drain(queue)
        assert queue.settle(Finished(pack, WorkerDied("exit code -9"))) == []
    assert not queue.has_work
    assert "exit code -9" in next(iter(queue.failures.values()))


def test_an_error_fails_what_rests_on_it_and_no_more(tmp_path: Path) -> None:
    store = Store(tmp_path)
    queue = Queue(plan(cell("magnitude"), cell("snip")).missing(store, set()), store, pack=1)
    dense, snip = drain(queue)
    queue.settle(Finished(dense, failures={dense[0].id: "boom"}))
    finish(store, snip[0].id)
    assert queue.settle(Finished(snip)) == [snip[0].id]
    assert not queue.has_work
    assert queue.failures == {dense[0].id: "boom"}


def test_what_somebody_else_runs_is_waited_for_and_taken_over_if_given_up(tmp_path: Path) -> None:
    store = Store(tmp_path)
    training = plan(cell("snip")).cells[0].training.id
    queue = Queue(plan(cell("snip")).missing(store, set()), store, pack=1)
    with store.lease(training):
        assert drain(queue) == []
        assert queue.has_work
        assert queue.finished_elsewhere() == []
    assert queue.finished_elsewhere() == []  # given up: back in the queue
    assert [pack[0].id for pack in drain(queue)] == [training]
    queue.settle(Finished([plan(cell("snip")).cells[0].training]))  # somebody else was faster after all
    finish(store, training)
    assert queue.finished_elsewhere() == [training]
    assert not queue.has_work


LAYERS = 784 * 300, 300 * 100, 100 * 10


def test_the_density_of_a_training_follows_from_its_plan() -> None:
    first, second = (
        sum(round(n * (1 - rate) ** k) for n, rate in zip(LAYERS, (0.2, 0.2, 0.1), strict=True)) for k in (1, 2)
    )
    ladder = plan_cell(cell("lottery_ticket", 0.5)).trainings
    expected = [1, first / 266_200, second / 266_200]
    assert [density(training) for training in ladder[:3]] == pytest.approx(expected, rel=1e-12)
    assert density(ladder[-1]) == pytest.approx(0.5, abs=1e-5)
    for method in ("snip", "random", "magnitude", "synflow"):
        assert density(plan_cell(cell(method, 0.75)).training) == pytest.approx(0.25, abs=1e-5), method
    shuffled = plan_cell(cell("lottery_ticket", 0.5, control=Control(name="shuffle"))).training
    assert density(shuffled) == density(ladder[-1])


def test_the_estimate_goes_between_the_densities_that_were_measured(tmp_path: Path) -> None:
    """The dense training takes 0.2 s an iteration, one at a tenth 0.05: a 0.55 lies half way."""
    store, dense, sparse = Store(tmp_path), plan_cell(cell("dense")), plan_cell(cell("snip", 0.9))
    finish(store, dense.training.id, 2.0)
    finish(store, sparse.training.id, 0.5)
    half = plan_cell(cell("snip", 0.45))
    assert standing(Plan([dense, sparse, half]), store, set(), 1, NOWHERE).seconds_left == pytest.approx(1.25, rel=1e-3)


def test_side_by_side_run_trainings_that_differ_in_seed_mask_and_learning_rate_alone() -> None:
    def other(**recipe: Any) -> Node:
        one = cell("snip", 0.8, seed=3)
        return plan_cell(one.model_copy(update={"recipe": one.recipe.model_copy(update=recipe)})).training

    one = companions(plan_cell(cell("dense")).training)
    assert companions(other(learning_rate=0.5, drops=(3,))) == one
    assert companions(other(batch_size=61)) != one
    assert companions(other(iterations=11)) != one
