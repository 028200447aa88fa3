"""How the study's figures are drawn: panels in two sizes, lines by method, ticks that can be read.

Colour-blind safe, and told apart by marker and dash as well as by colour. The same data give the same bytes.
"""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

MOST_TICKS = 8
LABELS = {
    "remaining": "weights remaining, %",
    "sparsity": "weights removed, %",
    "examples": "examples scored",
    "iteration": "training iterations",
    "layer": "layer, from input to output",
    "kept": "weights remaining, %",
    "test_accuracy": "test accuracy, %",
    "training_accuracy": "training accuracy, %",
    "early_stop_test_accuracy": "accuracy at early stop, %",
    "early_stop_iteration": "early-stop iteration",
    "test_error": "test error, %",
}


@dataclass(frozen=True)
class Panel:
    """A pair of axes: its title, what draws it, and its height in inches, in a column of a paper and on a slide."""

    title: str
    draw: Callable[[Axes], None]
    column: float = 2.2
    slide: float = 4.0


def save(panels: list[Panel], path: Path, caption: str) -> None:
    """Write PATH.png, PATH.svg and the same for a slide, with one legend for all panels.

    In a column of a paper panels stand one above the other, on a slide (PATH-slide) side by side.
    """
    with sns.plotting_context("paper", font_scale=0.8):
        _draw(panels, path, caption, 3.4, 0.4, [panel.column for panel in panels])
    with sns.plotting_context("notebook"):
        slide = path.with_name(f"{path.name}-slide")
        rows = -(-len(panels) // 3)
        _draw(panels, slide, caption, 10.0, 0.6, rows * [max(panel.slide for panel in panels)])


def _draw(panels: list[Panel], path: Path, caption: str, width: float, extra: float, heights: list[float]) -> None:
    """In rows of these heights; all in inches, `extra` what the caption takes."""
    shape = len(heights), -(-len(panels) // len(heights))
    size = width, extra + sum(heights)
    with sns.axes_style("whitegrid"), matplotlib.rc_context({"svg.hashsalt": path.name}):
        figure, grid = plt.subplots(*shape, figsize=size, layout="constrained", squeeze=False, height_ratios=heights)
        entries: dict[str, Any] = {}
        for panel, axes in zip(panels, grid.flat, strict=False):
            panel.draw(axes)
            axes.set_title(panel.title, fontsize="medium")
            handles, labels = axes.get_legend_handles_labels()
            entries |= dict(zip(labels, handles, strict=True))
            if legend := axes.get_legend():
                legend.remove()
        for unused in grid.flat[len(panels) :]:
            unused.set_axis_off()
        _legend(figure, entries)
        letters = int(width * 130 / plt.rcParams["font.size"])
        figure.suptitle(textwrap.fill(caption, letters), fontsize="medium", x=0.01, ha="left")
        sns.despine(figure)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path.with_name(f"{path.name}.png"), dpi=200)
        figure.set_layout_engine("none")  # as laid out above; savefig would lay it out anew, and draw it twice
        canvas = FigureCanvasSVG(figure)
        canvas.print_svg(path.with_name(f"{path.name}.svg"), metadata={"Date": None})  # type: ignore[no-untyped-call]
        plt.close(figure)


def _legend(figure: Figure, entries: dict[str, Any]) -> None:
    """One legend below all panels, in as many columns as fit; the figure grows by its height."""
    for columns in range(len(entries), 0, -1):
        legend = figure.legend(
            entries.values(), entries.keys(), loc="outside lower center", ncols=columns, frameon=False, handlelength=3
        )
        box = legend.get_window_extent()
        if box.width < figure.bbox.width or columns == 1:
            figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)
            return
        legend.remove()


def lines(axes: Axes, cells: pd.DataFrame, x: str, y: str, hue: str, order: list[Any], spread: str) -> None:
    """Means over seeds: one standard deviation as a band ("sd"), or bars ("range") or a band from least to most."""
    look: dict[str, Any] = {"err_kws": {"alpha": 0.15, "linewidth": 0}, "errorbar": "sd", "markers": True}
    if spread == "range":
        bars = {"linewidth": 0.8, "capsize": 1.5}
        look = {"err_kws": bars, "errorbar": ("pi", 100), "err_style": "bars", "markers": True}
    elif spread == "band":
        look = {"err_kws": {"alpha": 0.12, "linewidth": 0}, "errorbar": ("pi", 100)}
    sns.lineplot(
        cells,
        x=x,
        y=y,
        hue=hue,
        style=hue,
        hue_order=order,
        style_order=order,
        palette=sns.color_palette("colorblind" if len(order) <= 10 else "husl", len(order)),
        ax=axes,
        **look,
    )
    axes.set(xlabel=LABELS[x], ylabel=LABELS[y])


def ticks(axes: Axes, values: list[float]) -> None:
    """Ticks on a logarithmic horizontal axis at measured values, from the least on, as many as can be read apart."""
    apart = (max(values) / min(values)) ** (1 / MOST_TICKS)
    chosen: list[float] = []
    for value in sorted(values):
        if not chosen or value > 0.999 * apart * chosen[-1]:
            chosen.append(value)
    axes.xaxis.set_major_locator(FixedLocator(chosen))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def plain_decades(axes: Axes) -> None:
    """Plain numbers on a logarithmic vertical axis, at 1, 2 and 5 times the powers of ten."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
