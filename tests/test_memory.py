"""Memory is kept for what comes next; where it runs out packs are halved, and a training that is too large alone fails
with one sentence."""

import multiprocessing
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hydra import compose

from study import config
from study.config import Cluster
from study.execute import worker
from study.execute.pool import Finished, WorkerDied
from study.execute.queue import LIVES, Queue
from study.execute.worker import OUT_OF_MEMORY, run_pack
from study.lineage import Node
from study.plan import plan_cell
from study.store import Store
from study.training import engines, memory
from study.training.engines.engine import Task
from study.training.engines.packed import Packed
from tests.conftest import ROOT, SHORT, environment

GIBIBYTE = 2**30

pytestmark = pytest.mark.usefixtures("hydra")


def planned(*overrides: str) -> tuple[list[Node], Cluster]:
    """The trainings of dense cells with seeds 0 to 4, which need none of each other."""
    nodes = []
    for seed in range(5):
        cell, run = config.read(compose("config", [f"seed={seed}", "method=dense", *SHORT, *overrides]))
        nodes.append(plan_cell(cell).training)
    return nodes, run.cluster


@pytest.fixture(autouse=True)
def _nothing_tried_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_layouts", {})


def run(pack: list[Node], store: Store, cluster: Cluster) -> dict[str, str]:
    return run_pack(pack, store, cluster, multiprocessing.RawValue("Q", 0), multiprocessing.RawValue("b", 0))


def holding_at_most(limit: int, sizes: list[int]) -> type[Packed]:
    """The packed engine on a device in which no more than so many replicas fit."""

    class Limited(Packed):
        def __init__(self, tasks: Sequence[Task]) -> None:
            sizes.append(len(tasks))
            super().__init__(tasks)
            if len(tasks) > limit:
                torch.empty(2**60)

    return Limited


@pytest.mark.parametrize(("limit", "tried"), [(5, [5]), (2, [5, 2, 3, 1, 2]), (1, [5, 2, 1, 1, 3, 1, 2, 1, 1])])
def test_a_pack_that_does_not_fit_is_halved(
    limit: int, tried: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes, cluster = planned("cluster.engine=packed")
    sizes: list[int] = []
    limited = holding_at_most(limit, sizes)
    monkeypatch.setattr(engines, "Packed", limited)
    monkeypatch.setattr(worker, "Packed", limited)
    monkeypatch.setattr(worker, "fastest", lambda task, most: (limited, most))
    store = Store(tmp_path)
    assert run(nodes, store, cluster) == {}
    assert sizes == tried
    assert all(store.result(node.id)["curves"]["iteration"] == [0, 5, 10, 12] for node in nodes)
    assert not any(store.is_leased(node.id) for node in nodes)


def test_trainings_of_a_kind_are_laid_out_by_one_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, cluster = planned("cluster.engine=packed")
    others, _ = planned("cluster.engine=packed", "recipe.batch_size=40")
    trials: list[int] = []

    def counting(task: Task, most: int) -> tuple[type[Packed], int]:
        trials.append(most)
        return Packed, 2

    monkeypatch.setattr(worker, "fastest", counting)
    for pack in (nodes[:2], nodes[2:4], others[:2], others[2:]):
        assert run(pack, Store(tmp_path), cluster) == {}
    assert trials == [2, 2, 3]


def test_a_training_that_does_not_fit_alone_fails_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes, cluster = planned("cluster.engine=packed")
    limited = holding_at_most(0, [])
    monkeypatch.setattr(engines, "Packed", limited)
    monkeypatch.setattr(worker, "Packed", limited)
    monkeypatch.setattr(worker, "fastest", lambda task, most: (limited, most))
    assert run(nodes[:2], Store(tmp_path), cluster) == {node.id: OUT_OF_MEMORY for node in nodes[:2]}


@pytest.mark.parametrize("allocate", ["torch.empty(2**36)", "numpy.ones(2**36)", "bytearray(2**38)"])
def test_what_allocators_say_under_a_limit_is_understood(allocate: str) -> None:
    code = f"""
import resource, numpy, torch
from study.training import memory
resource.setrlimit(resource.RLIMIT_AS, ({16 * GIBIBYTE}, {16 * GIBIBYTE}))
try:
    {allocate}
except Exception as error:
    print(memory.ran_out(error))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library's ways are its own")
@pytest.mark.parametrize(("kept", "faulted"), [("", True), ("memory.keep(); ", False)])
def test_large_tensors_are_made_of_memory_that_was_kept(kept: str, faulted: bool) -> None:
    code = f"""
import resource, torch
from study.training import memory
{kept}faults = []
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones({40 * 2**20 // 4})
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(faults[-1])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert (int(done.stdout) > 100) == faulted, done.stderr


@pytest.mark.parametrize("error", [RuntimeError("boom"), ValueError("memory"), OSError(28, "No space"), KeyError("a")])
def test_other_errors_are_not_of_memory(error: Exception) -> None:
    assert not memory.ran_out(error)


def test_a_pack_whose_worker_was_killed_is_halved_until_each_is_alone(tmp_path: Path) -> None:
    nodes, _ = planned()
    nodes = nodes[:4]
    queue = Queue({node.id: node for node in nodes}, Store(tmp_path), pack=4)
    died = WorkerDied("exit code -9")
    sizes = []
    while pack := queue.next_pack(1):
        sizes.append(len(pack))
        assert queue.settle(Finished(pack, died)) == []
    assert sizes == [4, 2, 2, *[1] * 4 * LIVES]
    assert set(queue.failures) == {node.id for node in nodes}
    assert all("is the memory too small?" in reason for reason in queue.failures.values())
    assert not queue.has_work
