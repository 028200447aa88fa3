"""Figures: which panels there are, and that a line looks the same in all of them."""

import itertools
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import seaborn as sns
from matplotlib.lines import Line2D

from study.analysis import figures
from study.analysis.drawing import ticks
from study.analysis.load import load, measured
from tests.analysis.synthetic import write_experiment


def cells_of(experiment: str, folder: Path) -> pd.DataFrame:
    write_experiment(folder, experiment, lambda cell: 0.97 - 0.1 * cell["sparsity"])
    return measured(load(folder / experiment))


def test_where_several_methods_have_controls_each_has_a_panel_and_a_control_one_look(tmp_path: Path) -> None:
    cells = cells_of("common_mnist_controls", tmp_path)
    panels = figures.accuracy(cells[cells["method"] != "SNIP, invert"])
    assert [panel.title for panel in panels] == ["SNIP", "GraSP", "SynFlow", "magnitude at init"]
    looks = []
    for panel in panels:
        _, axes = plt.subplots()
        panel.draw(axes)
        handles, labels = axes.get_legend_handles_labels()
        assert labels == ["no control", "absolute", "invert", "reinitialise", "shuffle"]
        drawn = [handle for handle in handles if isinstance(handle, Line2D)]
        looks.append([(line.get_color(), line.get_linestyle(), line.get_marker()) for line in drawn])
        plt.close()
    assert len(set(map(str, looks))) == 1
    assert len(set(map(str, looks[0]))) == 5


@pytest.mark.parametrize("experiment", ["lth_lenet", "quickstart"])
def test_controls_of_one_method_stand_beside_it(experiment: str, tmp_path: Path) -> None:
    assert [panel.title for panel in figures.accuracy(cells_of(experiment, tmp_path))] == [""]


def test_equal_factors_between_errors_are_equal_heights(tmp_path: Path) -> None:
    _, axes = plt.subplots()
    (panel,) = figures.accuracy(cells_of("quickstart", tmp_path))
    panel.draw(axes)
    heights = [axes.transData.transform((1, accuracy))[1] for accuracy in (90.0, 99.0, 99.9)]
    plt.close()
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1])


def test_a_caption_tells_the_fewest_and_the_most_seeds(tmp_path: Path) -> None:
    cells = cells_of("quickstart", tmp_path)
    assert figures.seeds(cells) == "3 seeds"
    assert figures.seeds(cells[(cells["method"] == "SNIP") & (cells["seed"] == 1)]) == "1 seed"
    assert figures.seeds(cells[(cells["method"] != "SNIP") | (cells["seed"] == 1)]) == "1 to 3 seeds"


def test_a_caption_tells_what_is_not_shown(tmp_path: Path) -> None:
    cells = cells_of("quickstart", tmp_path)
    assert figures.caption("All", cells) == "All; 3 seeds"
    gone = cells["status"].mask((cells["method"] == "SNIP") & (cells["seed"] == 1), "diverged")
    assert (
        figures.caption("All", cells.assign(status=gone)) == "All; 3 seeds; 4 of 63 cells diverged, and are not shown"
    )


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        ([20, 10, 5, 2, 1], [1, 2, 5, 10, 20]),
        ([90, 80, 70, 60, 50, 40, 30, 20, 10, 5, 1], [1, 5, 10, 20, 40, 80]),
        ([round(100 * 0.8**level, 1) for level in range(1, 26)], [0.4, 0.9, 1.8, 3.5, 6.9, 13.4, 26.2, 51.2]),
    ],
)
def test_measured_values_are_ticks_that_can_be_read_apart(values: list[float], chosen: list[float]) -> None:
    """In a column of a paper."""
    with sns.plotting_context("paper", font_scale=0.8):
        figure, axes = plt.subplots(figsize=(3.4, 2.6), layout="constrained")
    axes.set_xscale("log")
    axes.plot(values, values)
    ticks(axes, values)
    assert axes.get_xticks().tolist() == chosen
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    plt.close()
