"""What a worker makes of trainings that it is handed together."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch

from study.cell import Model
from study.execute import worker
from study.execute.worker import run_pack
from study.lineage import Node
from study.plan import plan_cell
from study.store import Store
from tests.test_groups import settings
from tests.test_plan import cell


def run(pack: list[Node], folder: Path) -> dict[str, dict[str, Any]]:
    """What becomes of each, by its id."""
    store, cluster = Store(folder), settings("local", device="cpu", workers=1, pack=len(pack))
    assert run_pack(pack, store, cluster, multiprocessing.RawValue("Q", 0), multiprocessing.RawValue("b", 0)) == {}
    return {node.id: store.result(node.id) for node in pack}


def test_workers_count_numbers_too_small_to_matter_as_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked in the thread that trains: torch's setting is each thread's own."""
    monkeypatch.setattr(worker, "run_pack", lambda *arguments: {"half": str(float(torch.tensor(2e-38) / 2))})
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    arguments = theirs, fork.RawValue("Q", 0), fork.RawValue("b", 0), tmp_path, settings("local", device="cpu")
    process = fork.Process(target=worker.serve, args=arguments)
    process.start()
    ours.send([])
    answer = ours.recv()
    process.kill()
    process.join()
    assert answer == (None, {"half": "0.0"})


def test_each_of_a_pack_is_trained_and_recorded_by_the_engine_that_suits_it(tmp_path: Path) -> None:
    """LeNet-5 is faster in torch while it is dense, and in the sparse engine at 90 %."""
    lenet_5 = {"model": Model(name="lenet_5_caffe", family="lenet")}
    dense, sparse = (plan_cell(cell(name).model_copy(update=lenet_5)).training for name in ("dense", "random"))
    for first, second in ((dense, sparse), (sparse, dense)):
        together = run([first, second], tmp_path / f"{first.id} first")
        assert [together[node.id]["cost"]["engine"] for node in (dense, sparse)] == ["dense", "sparse"]
        for node in (dense, sparse):
            alone = run([node], tmp_path / node.id)
            assert together[node.id]["curves"] == alone[node.id]["curves"]
