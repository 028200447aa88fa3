"""Aggregation over seeds, by hand, and tables in the papers' layout."""

import math
import re
from pathlib import Path

import pandas as pd
import pytest

from study.analysis.grid import Cell
from study.analysis.load import load
from study.analysis.reference import PAPER_TABLES, compare
from study.analysis.tables import aggregate, by_method, details, layout, write, write_comparison
from study.record import write as write_record
from tests.analysis.synthetic import noisy, synthetic, write_experiment
from tests.analysis.test_load import changed

LEE_1 = next(table for table in PAPER_TABLES if table.name == "lee_2019_table_1")


def table(folder: Path, *accuracies: float) -> pd.DataFrame:
    for seed, accuracy in enumerate(accuracies):
        write_record(folder / "mine" / f"{seed}.json", synthetic("mine", seed, changed(seed=seed), accuracy))
    return aggregate(load(folder / "mine"))


def test_mean_and_sample_standard_deviation_over_seeds(tmp_path: Path) -> None:
    found = table(tmp_path, 0.90, 0.92, 0.97)
    (row,) = found.to_dict("records")
    assert (row["method"], row["n"], row["planned"]) == ("SNIP", 3, 3)
    assert row["mean"] == pytest.approx(93.0)
    assert row["std"] == pytest.approx(13.0**0.5)  # deviations -3, -1, 4: sum of squares 26, by n - 1 = 2
    assert row["early_stop_mean"] == pytest.approx(92.0)
    assert 90 <= row["low"] < 93 < row["high"] <= 97
    assert by_method(found).loc["SNIP"].iloc[0] == "93.00±3.61"


def test_one_seed_has_no_standard_deviation(tmp_path: Path) -> None:
    assert by_method(table(tmp_path, 0.9)).loc["SNIP"].iloc[0] == "90.00"


def test_a_seed_that_diverged_is_told(tmp_path: Path) -> None:
    write(table(tmp_path, 0.9), tmp_path / "finished", "A table.")
    found = table(tmp_path, 0.9, math.nan)
    write(found, tmp_path / "diverged", "A table.")
    assert "diverged" not in (tmp_path / "finished.md").read_text()
    assert re.search(r"collapsed +\| diverged +\|(.|\n)+\| 0 +\| 1 +\|$", (tmp_path / "diverged.md").read_text(), re.M)
    assert (found["n"].item(), found["planned"].item(), found["mean"].item()) == (1, 2, pytest.approx(90))
    assert by_method(table(tmp_path / "alone", math.nan)).loc["SNIP"].iloc[0] == "diverged"


def test_a_seed_counts_once_however_many_draws_its_control_has(tmp_path: Path) -> None:
    """Draws of 90 and 94 % in one seed and of 95 % in the other: 92 and 95 %, not a mean of three."""
    draws = [(0, 0, 0.90), (0, 1, 0.94), (1, 0, 0.95)]
    for number, (seed, draw, accuracy) in enumerate(draws):
        cell = changed(seed=seed, control={"name": "shuffle", "draw": draw})
        write_record(tmp_path / "mine" / f"{number}.json", synthetic("mine", number, cell, accuracy))
    (row,) = aggregate(load(tmp_path / "mine")).to_dict("records")
    assert (row["n"], row["mean"]) == (2, pytest.approx(93.5))


def test_missing_seeds_and_cells_show(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path, "quickstart", lambda cell: 0.95 + cell["seed"] / 100)
    cells = load(folder)
    gone = cells[(cells["method"] == "SNIP") & ((cells["sparsity"] == 0.9) | (cells["seed"] == 0))]
    for number in gone.index:
        (folder / f"cell{number:04}.json").unlink()
    found = aggregate(load(folder))
    shown = by_method(found).loc["SNIP"]
    assert shown[0.9] == "missing"
    assert shown[0.8] == "96.50±0.71"
    write(found, tmp_path / "table", "caption")
    markdown = (tmp_path / "table.md").read_text()
    assert "| SNIP                     | 80 %       | 2 of 3 |" in markdown
    assert "| SNIP                     | 90 %       | 0 of 3 |" in markdown


def test_a_papers_table_has_its_layout_with_ours_beside(tmp_path: Path) -> None:
    printed = {("lenet_300_100", 0.0): 1.7, ("lenet_300_100", 0.95): 1.6, ("lenet_300_100", 0.98): 2.4}

    def level(cell: Cell) -> float:
        return 1 - printed.get((cell["model"]["name"], cell["sparsity"]), 5.0) / 100

    folder = write_experiment(tmp_path, "snip_table_1", noisy(level, 0.0005))
    compared = compare(LEE_1, {"snip_table_1": load(folder)})
    laid_out = layout(LEE_1, compared)
    assert list(laid_out.columns) == ["method", "sparsity", "LeNet-300-100", "LeNet-5-Caffe"]
    rows = {(row[0], row[1]): row[2:] for row in laid_out.to_numpy().tolist()}
    assert rows["OBD (LeCun 1990)", "92 %"] == ["2.00", "2.70"]
    assert re.fullmatch(r"1\.60 / 1\.6\d±0\.0\d =", rows["SNIP", "95 %"][0])
    assert rows["SNIP", "95 %"][1] == ""
    assert re.fullmatch(r"1\.10 / \d\.\d\d±0\.0\d ≠", rows["SNIP", "99 %"][1])
    assert details(compared)["n"].tolist() == ["20"] * 6
    write_comparison(LEE_1, compared, tmp_path)
    tex = (tmp_path / "lee_2019_table_1.tex").read_text()
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 2
    assert tex.isascii()
    assert pd.read_csv(tmp_path / "lee_2019_table_1.csv")["paper"].tolist() == compared["paper"].tolist()
