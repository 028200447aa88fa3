"""An experiment's grid, read without Hydra, against Hydra's own reading, the heads of the files and the records."""

import re

import pytest
from hydra import compose

from study import config
from study.analysis.grid import Cell, expected, experiments, head
from study.record import read_folder
from tests.conftest import ROOT


@pytest.mark.parametrize("experiment", experiments())
def test_the_grid_has_as_many_cells_as_the_head_says(experiment: str) -> None:
    counted = re.match(r"[\d,]+", head(experiment, "Cost"))
    assert counted is not None
    assert len(expected(experiment)) == int(counted[0].replace(",", ""))


def are_cells_of(settings: list[Cell], grid: list[Cell]) -> bool:
    """Whether each agrees with one cell of the grid, which lacks the defaults that no file of conf/ states."""

    def agree(whole: Cell, cell: Cell) -> bool:
        return all(agree(whole[k], v) if isinstance(v, dict) else whole[k] == v for k, v in cell.items())

    return all(sum(agree(one, cell) for cell in grid) == 1 for one in settings)


def test_published_records_are_the_cells_of_their_grid() -> None:
    found = [record.settings for record in read_folder(ROOT / "results" / "records" / "quickstart")]
    assert are_cells_of(found, expected("quickstart"))
    assert len(found) == len(expected("quickstart"))


@pytest.mark.parametrize(
    ("experiment", "overrides"),
    [
        ("lth_conv_2", ["control=reinitialise", "control.draw=2", "sparsity=0.98443406", "seed=4"]),
        ("snip_table_3", ["model=gru_s", "model.init=glorot_truncated", "method.scored=he_truncated", "seed=19"]),
        ("lth_vgg_19", ["recipe=lth_vgg_19_warmup", "sparsity=0.992367359", "seed=1"]),
        ("grasp_cifar10_vgg", ["method=lottery_ticket_global", "sparsity=0.98", "seed=2"]),
        ("grasp_cifar10_vgg", ["method=dense", "sparsity=0.9", "seed=0"]),
    ],
)
def test_a_cell_is_what_hydra_composes(experiment: str, overrides: list[str], hydra: None) -> None:
    composed = compose("config", overrides=[f"experiment={experiment}", *overrides], return_hydra_config=True)
    cell = config.read(composed)[0].model_dump(mode="json")
    assert are_cells_of([cell], expected(experiment))
    assert not are_cells_of([{**cell, "seed": 99}], expected(experiment))


def test_what_is_no_experiment_has_no_grid() -> None:
    assert expected("mine") == []
