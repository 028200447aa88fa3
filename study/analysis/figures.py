"""Figures, in the papers' axes: colour-blind safe, told apart by marker and dash as well as by colour."""

from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import seaborn as sns
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from study.analysis.load import rank

ACCURACY_TICKS = [10, 50, 70, 80, 90, 95, 97, 98, 99, 99.5, 99.8]


Values = npt.NDArray[np.float64]


def _log_error(accuracy: Values) -> Values:
    return np.asarray(-np.log(np.maximum(100 - accuracy, 1e-3)))


def _from_log_error(value: Values) -> Values:
    return np.asarray(100 - np.exp(-value))


def _accuracy_limits(cells: pd.DataFrame) -> tuple[float, float]:
    """From the lowest to the highest cell, with a margin."""
    low, high = (_log_error(np.asarray(cells["test_accuracy"].agg(end))) for end in ("min", "max"))
    margin = 0.06 * (high - low)
    return float(_from_log_error(low - margin)), float(_from_log_error(high + margin))


def accuracy_against_remaining(cells: pd.DataFrame, path: Path, caption: str) -> None:
    """Test accuracy at the last iteration against the percentage of weights remaining, a line a method.

    The horizontal axis is Frankle & Carbin's: logarithmic, fewer weights to the right. The vertical axis is
    logarithmic in the error, so that 98 against 97 % and 90 against 70 % both can be read. Markers are means over
    seeds, bands one standard deviation; the dense network is a horizontal line.
    """
    pruned, dense = cells[cells["sparsity"] > 0], cells[cells["sparsity"] == 0]["test_accuracy"]
    methods = sorted(pruned["method"].unique(), key=rank)
    with sns.axes_style("whitegrid"), sns.plotting_context("paper", font_scale=1.15):
        figure, axes = plt.subplots(figsize=(6.8, 4.2), layout="constrained")
        if len(dense):
            axes.axhline(dense.mean(), color="0.25", linestyle=(0, (5, 2)), linewidth=1.2, label="dense", zorder=1)
            axes.axhspan(dense.mean() - dense.std(), dense.mean() + dense.std(), color="0.25", alpha=0.12, linewidth=0)
        sns.lineplot(
            pruned,
            x="remaining",
            y="test_accuracy",
            hue="method",
            style="method",
            hue_order=methods,
            style_order=methods,
            palette=sns.color_palette("colorblind" if len(methods) <= 10 else "husl", len(methods)),
            markers=True,
            markersize=7,
            errorbar="sd",
            err_kws={"alpha": 0.15, "linewidth": 0},
            ax=axes,
        )
        axes.set_xscale("log")
        axes.invert_xaxis()
        axes.xaxis.set_major_locator(FixedLocator(sorted(pruned["remaining"].round(1).unique())))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_yscale("function", functions=(_log_error, _from_log_error))
        axes.set_ylim(*_accuracy_limits(cells))
        axes.yaxis.set_major_locator(FixedLocator(ACCURACY_TICKS))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set(xlabel="weights remaining, %", ylabel="test accuracy, %")
        axes.set_title(caption, fontsize="small", loc="left")
        axes.legend(title=None, frameon=True, framealpha=1, edgecolor="none", loc="lower left", handlelength=3)
        sns.despine(figure)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=200)
        plt.close(figure)
