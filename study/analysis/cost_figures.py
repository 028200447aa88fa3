"""What it costs, as figures: filled markers are measured, hollow ones with dots theoretical or projected."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from study.analysis.cost import BASES
from study.analysis.cost_tables import known, summary
from study.analysis.drawing import Panel, ticks
from study.analysis.figures import EXAMPLES, by_error, seeds
from study.analysis.load import METHODS, PLAIN, rank

MARKERS = "osD^vPX<>p*h"
Look = dict[str, dict[str, Any]]
"""Colour and marker of each method."""

THEORETICAL = "theoretical: operations left"


def panels(cells: pd.DataFrame) -> list[Panel]:
    """To find, accuracy against energy, savings, break-even, where there are dense cells and several sparsities; where
    the number of examples that are scored varies, scoring instead; else none.

    Of an experiment with several networks the first that has all of these, by name.
    """
    if known(cells).empty:
        return []
    table = summary(cells)
    table = table[table["finding"].notna() & table["method"].isin(PLAIN)]
    for (_, model, _), part in table.groupby(["dataset", "model", "recipe"]):
        if part[part["sparsity"] > 0]["sparsity"].nunique() > 1:
            look, name = _look(part), f"{model}: " if table["model"].nunique() > 1 else ""
            return [
                Panel(f"{name}to find the network", partial(_finding, part, look)),
                Panel(f"{name}accuracy against energy", partial(_pareto, part, look)),
                Panel(f"{name}to train the network found", partial(_savings, part, look)),
                Panel(f"{name}until it has paid", partial(_break_even, part, look)),
            ]
    scored = cells[cells["method"].str.contains(EXAMPLES, regex=False)]
    if scored.empty:
        return []
    split = scored["method"].str.split(EXAMPLES, expand=True, regex=False)
    scored = scored.assign(method=split[0], examples=pd.to_numeric(split[1]))
    return [
        Panel(method, partial(_scoring, scored[scored["method"] == method]))
        for method in sorted(scored["method"].unique(), key=rank)
    ]


def caption(experiment: str, cells: pd.DataFrame) -> str:
    """What is shown, of how many seeds, and where its energy comes from."""
    bases = "; ".join(text for name, text in BASES.items() if name in set(cells["basis"]))
    return f"{experiment}: what networks cost, medians over {seeds(cells)}. Energy: {bases}"


def _look(table: pd.DataFrame) -> Look:
    """The colours that methods have in the other figures, where dense is a line."""
    dense = METHODS["dense"]
    names = sorted(set(table["method"]) - {dense}, key=rank)
    colours = sns.color_palette("colorblind", len(names))
    looks = zip(names, colours, MARKERS, strict=False)
    return {dense: {"color": "0.25", "marker": "*"}} | {n: {"color": c, "marker": m} for n, c, m in looks}


def _finding(table: pd.DataFrame, look: Look, axes: Axes) -> None:
    for method, part in table[table["sparsity"] > 0].groupby("method", sort=False):
        spread = [part["finding"] - part["finding_least"], part["finding_most"] - part["finding"]]
        axes.errorbar(part["remaining"], part["finding"], spread, label=method, capsize=2, **look[str(method)])
    axes.axhline(100, color="0.25", linestyle=(0, (5, 2)), linewidth=1.2, label="a dense training", zorder=1)
    _against_remaining(axes, table)
    axes.set(ylabel="energy to find, % of a dense training")
    axes.set_yscale("log")
    _plain(axes.yaxis)


def _pareto(table: pd.DataFrame, look: Look, axes: Axes) -> None:
    for method, part in table.groupby("method", sort=False):
        axes.plot(part["joules"], part["accuracy"], label=method, **look[str(method)])
    front = table.sort_values("joules")
    front = front[front["accuracy"] > front["accuracy"].shift().cummax().fillna(-np.inf)]
    axes.plot(
        front["joules"], front["accuracy"], color="0.4", drawstyle="steps-post", linestyle=":", label="Pareto front"
    )
    by_error(axes, table["accuracy"])
    axes.set(xlabel="energy in all, J", ylabel="test accuracy, %", xscale="log")
    _plain(axes.xaxis)


def _savings(table: pd.DataFrame, look: Look, axes: Axes) -> None:
    pruned = table[table["sparsity"] > 0]
    for method, part in pruned.groupby("method", sort=False):
        spread = [part["training"] - part["training_least"], part["training_most"] - part["training"]]
        axes.errorbar(part["remaining"], part["training"], spread, label=method, capsize=2, **look[str(method)])
    theory = pruned.groupby("remaining")["operations"].mean()
    axes.plot(theory.index, 100 * theory, "o:", color="0.25", markerfacecolor="none", label=THEORETICAL)
    _against_remaining(axes, table)
    axes.set(ylabel="energy to train, % of dense")
    axes.set_yscale("log")
    _plain(axes.yaxis)


def _break_even(table: pd.DataFrame, look: Look, axes: Axes) -> None:
    paying = table[(table["sparsity"] > 0) & np.isfinite(table["trainings_to_pay"])]
    for method, part in paying.groupby("method", sort=False):
        axes.plot(part["remaining"], np.ceil(part["trainings_to_pay"]), label=method, **look[str(method)])
    _against_remaining(axes, table)
    axes.set(ylabel="trainings until cheaper than dense")
    axes.set_yscale("log")
    _plain(axes.yaxis)


def _scoring(cells: pd.DataFrame, axes: Axes) -> None:
    means = cells.groupby(["sparsity", "examples"], as_index=False)[["scoring_joules", "test_accuracy"]].agg(
        {"scoring_joules": "median", "test_accuracy": "mean"}
    )
    colours = sns.color_palette("colorblind", means["sparsity"].nunique())
    for sparsity, colour, marker in zip(sorted(means["sparsity"].unique()), colours, MARKERS, strict=False):
        part = means[means["sparsity"] == sparsity]
        label = f"{100 * sparsity:.4g} % removed"
        axes.plot(part["scoring_joules"], part["test_accuracy"], color=colour, marker=marker, label=label)
    top, last = means[means["sparsity"] == means["sparsity"].min()], 0.0
    for row in top.to_dict("records"):
        if row["scoring_joules"] > 1.3 * last:
            place = (row["scoring_joules"], row["test_accuracy"])
            look: dict[str, Any] = {
                "textcoords": "offset points",
                "xytext": (0, 6),
                "ha": "center",
                "fontsize": "x-small",
            }
            axes.annotate(f"{row['examples']:,.0f}", place, **look)
            last = row["scoring_joules"]
    axes.set(xlabel="energy of scoring, J (numbers: examples)", ylabel="test accuracy, %", xscale="log")
    _plain(axes.xaxis)


def _against_remaining(axes: Axes, table: pd.DataFrame) -> None:
    axes.set(xlabel="weights remaining, %", xscale="log")
    axes.invert_xaxis()
    ticks(axes, list(table[table["sparsity"] > 0]["remaining"].unique()))


def _plain(axis: Axis) -> None:
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 3)) if high > 9 * low else MaxNLocator(4))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
