"""Aggregation over seeds, by hand, and labels that keep apart what must not be averaged."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study.analysis.load import load, rank
from study.analysis.tables import aggregate, by_method
from study.errors import StudyError
from study.record import Record, write
from tests.test_record import record


def cell(number: int, seed: int, accuracy: float, **settings: Any) -> Record:
    base = record(f"cell{number}")
    method = settings.pop("method", {"name": "snip"})
    changed = {**base.settings, "seed": seed, "method": method, "control": {"name": "none", "draw": 0}, **settings}
    results = base.results.model_copy(update={"test_accuracy": accuracy})
    return base.model_copy(update={"settings": changed, "results": results})


def table(folder: Path, *cells: Record) -> pd.DataFrame:
    for one in cells:
        write(folder / f"{one.cell}.json", one)
    return aggregate(load(folder))


def test_mean_and_sample_standard_deviation_over_seeds(tmp_path: Path) -> None:
    found = table(tmp_path, *(cell(i, i, accuracy) for i, accuracy in enumerate((0.90, 0.92, 0.97))))
    (row,) = found.to_dict("records")
    assert (row["method"], row["n"]) == ("SNIP", 3)
    assert row["mean"] == pytest.approx(93.0)
    assert row["std"] == pytest.approx(13.0**0.5)  # deviations -3, -1, 4: sum of squares 26, by n - 1 = 2
    assert by_method(found).loc["SNIP"].iloc[0] == "93.00±3.61"


def test_one_seed_has_no_standard_deviation(tmp_path: Path) -> None:
    assert by_method(table(tmp_path, cell(0, 0, 0.9))).loc["SNIP"].iloc[0] == "90.00"


def test_settings_that_vary_and_controls_are_told_apart(tmp_path: Path) -> None:
    cells = [
        cell(0, 0, 0.9, method={"name": "snip", "scoring_examples": 10, "rounds": 1}),
        cell(1, 0, 0.8, method={"name": "snip", "scoring_examples": 100, "rounds": 1}),
        cell(2, 0, 0.7, method={"name": "snip", "scoring_examples": 100, "rounds": 1}, control={"name": "shuffle"}),
        cell(3, 0, 0.6, method={"name": "grasp", "scoring_examples": 10}),
    ]
    assert list(table(tmp_path, *cells)["method"]) == [
        "SNIP, scoring_examples 10",
        "SNIP, scoring_examples 100",
        "SNIP, scoring_examples 100, shuffle",
        "GraSP",
    ]


def test_labels_are_ranked_by_method_then_by_number() -> None:
    labels = ["random", "SNIP, scoring_examples 100", "dense", "SNIP, scoring_examples 20", "GraSP", "SNIP", "zeta"]
    assert sorted(labels, key=rank) == [
        "dense",
        "SNIP",
        "SNIP, scoring_examples 20",
        "SNIP, scoring_examples 100",
        "GraSP",
        "random",
        "zeta",
    ]


def test_records_of_different_recipes_are_not_averaged(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="differ in recipe"):
        table(tmp_path, cell(0, 0, 0.9), cell(1, 1, 0.9, recipe={"label": "long", "batch_size": 60}))
