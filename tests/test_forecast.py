"""The time that a sweep under way still takes, on a clock of our own."""

import multiprocessing
from pathlib import Path

import pytest

from study.execute.forecast import Forecast
from study.execute.worker import run_pack
from study.lineage import Node
from study.plan import kind
from study.standing import Speeds
from study.store import Store
from tests.test_groups import settings as local
from tests.test_plan import cell, ladder_of, plan

DENSE = plan(cell("dense")).cells[0].training  # 10 iterations, as each here
SNIP = plan(cell("snip", 0.9)).cells[0].training
KNOWN: Speeds = {kind(DENSE): {0.1: 1.0, 1.0: 4.0}}


def forecast(*nodes: Node, speeds: Speeds | None = None, workers: int = 2) -> Forecast:
    return Forecast({node.id: node for node in nodes}, speeds or {}, workers, 0.0)


def test_a_dense_training_beside_a_fast_sparse_one_is_not_taken_to_be_as_fast() -> None:
    """Together they do an iteration a second, but the dense one needs 3.3 s for each of its ten."""
    ours = forecast(DENSE, SNIP)
    assert ours.seconds_left((), [([DENSE], 0), ([SNIP], 0)], 5.0) is None
    ours.seconds_left((), [([DENSE], 1), ([SNIP], 1)], 10.0)
    assert ours.seconds_left((), [([DENSE], 4), ([SNIP], 8)], 20.0) == pytest.approx(6 * 10 / 3)
    assert ours.seconds_left({SNIP.id}, [([DENSE], 7)], 30.0) == pytest.approx(3 * 20 / 6)


def test_what_waits_takes_what_was_expected_by_as_much_longer_as_the_work_so_far_did() -> None:
    ours = forecast(DENSE, SNIP, speeds=KNOWN, workers=1)
    assert ours.seconds_left((), [([DENSE], 0)], 0.0) == pytest.approx(40 + 10)
    ours.seconds_left((), [([DENSE], 0)], 80.0)
    assert ours.seconds_left({DENSE.id}, [([SNIP], 0)], 80.0) == pytest.approx(2 * 10)


def test_work_is_spread_over_workers_but_a_chain_is_not() -> None:
    ladder = plan(*ladder_of(0.5))  # five trainings that wait for each other
    speeds = {kind(DENSE): {1.0: 1.0}}
    chain = Forecast(ladder.trainings, speeds, 4, 0.0)
    assert chain.seconds_left((), [([DENSE], 0)], 0.0) == pytest.approx(5 * 10)
    apart = forecast(DENSE, SNIP, plan(cell("random")).cells[0].training, speeds=speeds)
    assert apart.seconds_left((), [([DENSE], 0), ([SNIP], 0)], 0.0) == pytest.approx(3 * 10 / 2)


def test_what_a_checkpoint_had_is_not_taken_for_work_done_here() -> None:
    """Eight of ten iterations were there after a second; the other two take ten each."""
    ours = forecast(DENSE, SNIP, workers=1)
    ours.seconds_left((), [([DENSE], 8)], 1.0)
    assert ours.seconds_left((), [([DENSE], 9)], 11.0) == pytest.approx(10 + 11 / 1 * 10)
    assert ours.seconds_left({DENSE.id}, [([SNIP], 0)], 22.0) == pytest.approx(22 / 2 * 10)


def test_trainings_side_by_side_share_a_pace() -> None:
    """Two do twenty iterations in all; five of those took 5 s since the first report, on one of two workers."""
    ours = forecast(DENSE, SNIP)
    ours.seconds_left((), [([DENSE, SNIP], 5)], 5.0)
    assert ours.seconds_left((), [([DENSE, SNIP], 10)], 10.0) == pytest.approx(10)


@pytest.mark.parametrize("engine", ["packed", "sparse"])
def test_a_worker_reports_the_iterations_of_all_its_trainings(engine: str, tmp_path: Path) -> None:
    """Side by side, and where each goes alone, as in the sparse engine."""
    reported, stopping = multiprocessing.RawValue("Q", 0), multiprocessing.RawValue("b", 0)
    seen: list[int] = []
    cluster = local("local", device="cpu", workers=1, pack=2, engine=engine)
    run_pack([DENSE, SNIP], Store(tmp_path), cluster, reported, stopping, lambda _: seen.append(reported.value))
    assert seen == sorted(seen)
    assert seen[-1] == 20
    assert reported.value == 0
