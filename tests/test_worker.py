"""What a worker makes of trainings that it is handed together."""

import multiprocessing
from pathlib import Path
from typing import Any

from study.cell import Model
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
