"""Operations of scoring against a count by hand, counted once for all masks that take the same."""

from pathlib import Path

import pytest

from study.execute import worker
from study.execute.worker import Values
from study.lineage import Node
from study.plan import plan_cell
from study.store import Store
from tests.test_plan import cell

PASS = 2 * (235_200 + 30_000 + 1_000) * 100
"""LeNet-300-100's weights once, two operations each, for 100 examples."""


@pytest.fixture(autouse=True)
def _no_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_counts", {})


def mask(method: str, seed: int = 0, sparsity: float = 0.9) -> Node:
    found: Node = plan_cell(cell(method, sparsity, seed)).training.arguments["mask"]
    return found


def operations(node: Node, folder: Path) -> int:
    values = Values(Store(folder))
    values.of(node)
    return values.operations


def test_snip_scores_by_a_pass_forward_and_one_back(tmp_path: Path) -> None:
    """Back by the weights of all layers, and to the inputs of all but the first."""
    assert operations(mask("snip"), tmp_path) == 2 * PASS + 2 * (30_000 + 1_000) * 100


def test_a_mask_that_the_store_has_takes_no_operations(tmp_path: Path) -> None:
    operations(mask("snip"), tmp_path)
    assert operations(mask("snip"), tmp_path) == 0


def test_masks_that_take_the_same_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = operations(mask("snip"), tmp_path)
    monkeypatch.delattr(worker, "FlopCounterMode")
    assert operations(mask("snip", seed=1, sparsity=0.98), tmp_path) == first
    with pytest.raises(NameError):
        operations(mask("grasp"), tmp_path)


def test_ranking_by_magnitude_takes_none_that_are_counted(tmp_path: Path) -> None:
    assert operations(mask("magnitude_at_init"), tmp_path) == 0
