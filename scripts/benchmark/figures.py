"""Figures of the benchmark `growth`, in the style of the study's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from study.analysis.drawing import plain_decades, ticks


def sparsity(rows: pd.DataFrame, path: Path) -> None:
    """CPU time of an iteration and of an evaluation against weights remaining, a line an engine."""
    remaining = rows.assign(remaining=(100 - rows["sparsity, %"]).round(1))
    with _figure(path, 2) as (left, right):
        for axes, column in ((left, "iteration, ms"), (right, "evaluation, ms")):
            _lines(remaining, "remaining", column, "engine", axes)
            axes.set(xscale="log", yscale="log", xlabel="weights remaining, %", ylabel=f"CPU time of an {column}")
            axes.invert_xaxis()
            ticks(axes, list(remaining["remaining"].unique()))
            plain_decades(axes)


def workers(rows: pd.DataFrame, path: Path) -> None:
    """CPU and wall time of a sweep by number of workers."""
    long = rows.melt("workers", ["CPU, s", "wall, s"], "time", "seconds")
    with _figure(path, 1) as (axes,):
        sns.barplot(long, x="workers", y="seconds", hue="time", palette="colorblind", ax=axes)
        axes.set(xlabel="workers", ylabel="seconds of a sweep of 12 cells")
        axes.legend(title=None, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def planning(rows: pd.DataFrame, path: Path) -> None:
    """CPU time and peak memory against cells planned."""
    with _figure(path, 2) as (left, right):
        for axes, column in ((left, "CPU, s"), (right, "peak memory, MiB")):
            sns.lineplot(
                rows, x="cells", y=column, marker="o", markersize=7, color=sns.color_palette("colorblind")[0], ax=axes
            )
            axes.set(xscale="log", xlabel="cells planned", ylabel=column)
            axes.set_ylim(0, 1.15 * rows[column].max())
            ticks(axes, list(rows["cells"].unique()))


def ladder(rows: pd.DataFrame, path: Path) -> None:
    """CPU time of a lottery-ticket ladder against its length, naive and shared, and of each level."""
    long = rows.rename(columns={"naive, CPU s": "each level alone", "shared, CPU s": "shared"})
    long = long.melt("level", ["each level alone", "shared"], "levels", "seconds")
    with _figure(path, 2) as (left, right):
        _lines(long, "level", "seconds", "levels", left)
        left.set(xlabel="levels pruned", ylabel="CPU s of all levels so far", yscale="log")
        plain_decades(left)
        sns.lineplot(
            rows, x="level", y="this level, CPU s", marker="o", color=sns.color_palette("colorblind")[2], ax=right
        )
        right.set(xlabel="level", ylabel="CPU s of the level")
        right.set_ylim(0, None)


def sharing(rows: pd.DataFrame, path: Path) -> None:
    """Trainings of every experiment, naive and shared."""
    ordered = rows.sort_values("naive", ascending=False)
    with _figure(path, 1, height=7) as (axes,):
        axes.hlines(ordered["experiment"], ordered["shared"], ordered["naive"], color="0.7", linewidth=2, zorder=1)
        for column, marker, label, color in zip(
            ("naive", "shared"), "oX", ("each cell alone", "shared"), sns.color_palette("colorblind"), strict=False
        ):
            sns.scatterplot(
                ordered, x=column, y="experiment", marker=marker, s=55, color=color, label=label, ax=axes, zorder=2
            )
        axes.set(xscale="log", xlabel="trainings", ylabel=None)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.legend(title=None, frameon=False, loc="lower right")


@contextmanager
def _figure(path: Path, panels: int, height: float = 3.4) -> Iterator[list[Axes]]:
    with sns.axes_style("whitegrid"), sns.plotting_context("paper", font_scale=1.15):
        figure, axes = plt.subplots(1, panels, figsize=(4.6 * panels if panels > 1 else 6.8, height), squeeze=False)
        figure.set_layout_engine("constrained")
        yield list(axes[0])
        sns.despine(figure)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=200)
        plt.close(figure)


def _lines(rows: pd.DataFrame, x: str, y: str, by: str, axes: Axes) -> None:
    palette = sns.color_palette("colorblind", rows[by].nunique())
    sns.lineplot(rows, x=x, y=y, hue=by, style=by, markers=True, markersize=7, palette=palette, ax=axes)
    axes.legend(title=None, frameon=True, framealpha=1, edgecolor="none")
