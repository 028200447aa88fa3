"""Records as a table: labels that keep apart what must not be averaged, missing cells, and what is refused."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from study.analysis.grid import Cell, expected
from study.analysis.load import MISSING, load, measured, rank
from study.errors import StudyError
from study.record import write
from tests.analysis.synthetic import synthetic, write_experiment

CELL: Cell = {
    "method": {"name": "snip", "scoring_examples": 100},
    "control": {"name": "none", "draw": 0},
    "sparsity": 0.9,
    "seed": 0,
    "model": {"name": "lenet_300_100", "init": "glorot_normal"},
    "dataset": {"name": "mnist"},
    "recipe": {"label": "short", "batch_size": 60},
}


def folder_of(path: Path, cells: Iterable[Cell], name: str = "mine") -> Path:
    for number, cell in enumerate(cells):
        write(path / name / f"{number}.json", synthetic(name, number, cell, 0.9))
    return path / name


def changed(**settings: Any) -> Cell:
    return {**CELL, **settings}


def test_settings_that_vary_and_controls_are_told_apart(tmp_path: Path) -> None:
    cells = [
        changed(method={"name": "snip", "scoring_examples": 10, "rounds": 1}),
        changed(method={"name": "snip", "scoring_examples": 100, "rounds": 1}),
        changed(method={"name": "snip", "scoring_examples": 100, "rounds": 1}, control={"name": "shuffle", "draw": 0}),
        changed(method={"name": "grasp", "scoring_examples": 10}),
        changed(method={"name": "lottery_ticket", "one_shot": True}),
        changed(method={"name": "lottery_ticket", "one_shot": False}),
        changed(method={"name": "magnitude", "scope": "layer"}),
        changed(method={"name": "magnitude", "scope": "global"}),
    ]
    assert list(load(folder_of(tmp_path, cells))["method"]) == [
        "SNIP, scoring_examples 10",
        "SNIP, scoring_examples 100",
        "SNIP, scoring_examples 100, shuffle",
        "GraSP",
        "one-shot ticket",
        "lottery ticket",
        "magnitude by layer",
        "magnitude after training",
    ]


def test_nothing_pruned_is_dense_once_whichever_method_it_was(tmp_path: Path) -> None:
    anew = {"name": "reinitialise", "draw": 1}
    cells = [
        changed(sparsity=0.0),
        changed(sparsity=0.0, method={"name": "grasp"}),
        changed(sparsity=0.0, control=anew),
    ]
    assert list(load(folder_of(tmp_path, cells))["method"]) == ["dense", "SNIP, reinitialise"]


def test_labels_are_ranked_by_method_then_by_number() -> None:
    ordered = [
        "dense",
        "lottery ticket",
        "one-shot ticket",
        "lottery ticket, reinitialise",
        "magnitude after training",
        "magnitude by layer",
        "SNIP",
        "SNIP, scoring_examples 20",
        "SNIP, scoring_examples 100",
        "GraSP",
        "random",
        "zeta",
    ]
    assert sorted(sorted(ordered), key=rank) == ordered


def test_cells_that_the_grid_has_and_the_folder_has_not_are_missing(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path, "snip_table_2_rnn", lambda cell: 0.98)
    gone = [cell for cell in expected("snip_table_2_rnn") if cell["seed"] == 3 and cell["model"]["name"] == "gru_s"]
    whole = load(folder)
    for path in folder.glob("*.json"):
        row = whole.iloc[int(path.stem.removeprefix("cell"))]
        if row["seed"] == 3 and row["model"] == "gru_s":
            path.unlink()
    cells = load(folder)
    assert len(gone) == 2
    assert len(cells) == len(whole) == 40
    assert set(cells[cells["status"] == MISSING]["method"]) == {"dense", "SNIP"}
    assert len(measured(cells)) == 38
    assert measured(cells)["test_error"].tolist() == pytest.approx([2.0] * 38)


def test_a_label_does_not_depend_on_which_cells_are_there_already(tmp_path: Path) -> None:
    """One of five numbers of examples: the others are known from the grid."""
    folder = write_experiment(tmp_path, "snip_figure_3", lambda cell: 0.98)
    for path in sorted(folder.glob("*.json"))[1:]:
        path.unlink()
    (row,) = measured(load(folder)).to_dict("records")
    assert row["method"] == "SNIP, scoring_examples 1"


@pytest.mark.parametrize(
    ("group", "settings"),
    [
        ("recipe", {"label": "short", "batch_size": 61}),
        ("model", {"name": "lenet_300_100", "init": "he_normal"}),
        ("dataset", {"name": "cifar10"}),
    ],
)
def test_different_settings_under_one_name_are_refused(tmp_path: Path, group: str, settings: Cell) -> None:
    with pytest.raises(StudyError, match=f"{group}.*: give each grid a name of its own"):
        load(folder_of(tmp_path, [CELL, changed(seed=1, **{group: settings})]))


def test_records_that_are_not_as_the_experiments_configuration_are_refused(tmp_path: Path) -> None:
    cell = expected("quickstart")[0]
    shorter = {**cell, "recipe": {**cell["recipe"], "iterations": 100}}
    with pytest.raises(StudyError, match="two settings of recipe quickstart"):
        load(folder_of(tmp_path, [shorter], "quickstart"))


def test_recipes_and_networks_of_their_own_names_stay_apart(tmp_path: Path) -> None:
    other = [changed(recipe={"label": "long", "batch_size": 60}), changed(model={"name": "conv_2"})]
    assert len(load(folder_of(tmp_path, [CELL, *other]))) == 3


def test_one_cell_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"two records of SNIP at sparsity 0.9 with seed 0"):
        load(folder_of(tmp_path, [CELL, CELL]))


def test_records_of_another_experiment_are_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, [CELL])
    write(folder / "foreign.json", synthetic("other", 7, changed(seed=1), 0.9))
    with pytest.raises(StudyError, match="has records of other: move them"):
        load(folder)


def test_records_of_two_versions_of_torch_are_refused_but_not_of_two_builds(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, [CELL])
    record = synthetic("mine", 7, changed(seed=1), 0.9)
    for version in ("2+cu128", "3"):
        run = record.run.model_copy(update={"versions": {"torch": version}})
        write(folder / "later.json", record.model_copy(update={"run": run}))
        if version == "3":
            with pytest.raises(StudyError, match="made with torch 2 and 3"):
                load(folder)
        else:
            assert len(load(folder)) == 2
