"""What all experiments would take on named hardware, and how such projections compare with what was run.

Read from what `python -m study.estimate --all` wrote: it needs the networks, which the analysis does not know.
"""

from functools import partial
from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from study.analysis import drawing
from study.analysis.drawing import Panel
from study.analysis.tables import markdown

BENCHMARKS = Path(__file__).parents[2] / "results" / "benchmarks"
HARDWARE = ("V100", "A100", "H100", "laptop core")
MARKERS = "o^sD"
TITLE = "Energy of every experiment, projected (hollow), and projections beside what was measured (filled)"


def read(name: str) -> pd.DataFrame:
    """The table "projections" or "validation"."""
    return pd.read_csv(BENCHMARKS / f"{name}.csv")


def panels() -> list[Panel]:
    """Projected kWh by experiment and hardware; predicted over measured CPU time of those that were run."""
    projected, validated = read("projections"), read("validation")
    return [
        Panel("projected, from low to high", partial(_projected, projected), *_heights(projected)),
        Panel("predicted over measured", partial(_validated, validated), *_heights(validated)),
    ]


def _heights(table: pd.DataFrame) -> tuple[float, float]:
    """For a line an experiment, in a column and on a slide."""
    lines = table["experiment"].nunique()
    return 0.1 * lines, 0.14 * lines


def section() -> list[str]:
    """What the report says of them, in Markdown."""
    table = read("projections")
    rows = []
    for experiment, part in table.groupby("experiment", sort=True):
        by = part.set_index("hardware")
        row = {"experiment": str(experiment), "trainings": f"{by['trainings'].iloc[0]:,}"}
        for name in HARDWARE:
            low, mid, high = (by[f"kwh_{end}"][name] for end in ("low", "mid", "high"))
            row[f"{name}, kWh"] = f"{mid:.2g} ({low:.2g} – {high:.2g})"
        hours, kilograms = by["hours_mid"]["A100"], by["kilograms_mid"]["A100"]
        rows.append(row | {"A100 hours": f"{hours:.3g}", "A100 kg CO2e": f"{kilograms:.2g}"})
    validated = pd.DataFrame(
        {
            "experiment": one["experiment"],
            "trainings": str(one["trainings"]),
            "predicted, CPU s": f"{one['predicted']:,.0f}",
            "measured, CPU s": f"{one['measured']:,.0f}",
            "predicted / measured": f"{one['ratio']:.2f}",
        }
        for one in read("validation").to_dict("records")
    )
    return [
        "Projected, by `python -m study.estimate --all`, for the world's grid: what every experiment would take, its "
        "trainings shared, at the data centre's meter. `make estimate EXP=...` prints one with all assumptions. Steps "
        "of small networks are shorter than a GPU's launches, so their figures on GPUs are lower bounds.",
        markdown(pd.DataFrame(rows)),
        "Predicted from the benchmark of the engines, for the trainings that the published records rest on, which "
        "earlier and slower engines ran in part: their ratio is then below 1. Networks that it lacks, as ResNet-32, "
        "are predicted at the rate of torch's dense kernels, whatever the sparsity.",
        markdown(validated),
    ]


def _projected(table: pd.DataFrame, axes: Axes) -> None:
    order = list(table[table["hardware"] == "A100"].sort_values("kwh_mid")["experiment"])
    colours = sns.color_palette("colorblind", len(HARDWARE))
    for name, colour, marker in zip(HARDWARE, colours, MARKERS, strict=True):
        part = table[table["hardware"] == name].set_index("experiment").loc[order]
        spread = [part["kwh_mid"] - part["kwh_low"], part["kwh_high"] - part["kwh_mid"]]
        axes.errorbar(
            part["kwh_mid"],
            range(len(order)),
            xerr=spread,
            linestyle="none",
            marker=marker,
            markerfacecolor="none",
            color=colour,
            elinewidth=0.8,
            markersize=4,
            label=f"{name}, projected",
        )
    axes.set_yticks(range(len(order)), order, fontsize="xx-small")
    axes.set(xlabel="kWh at the data centre's meter", xscale="log", ylim=(-0.5, len(order) - 0.5))


def _validated(table: pd.DataFrame, axes: Axes) -> None:
    axes.plot(table["ratio"], range(len(table)), "o", color="0.25", label="measured")
    axes.axvline(1, color="0.25", linestyle=(0, (5, 2)), linewidth=1.2)
    axes.set_yticks(range(len(table)), table["experiment"], fontsize="xx-small")
    axes.set(xlabel="predicted / measured CPU time", xscale="log", ylim=(-0.5, len(table) - 0.5))
    drawing.ticks(axes, [2.0**power for power in range(-2, 3)])
