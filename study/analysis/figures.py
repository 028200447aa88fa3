"""The papers' figures and the study's, in the papers' axes: what each shows, and of which experiments."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from study.analysis import mask_figures
from study.analysis.drawing import Panel, lines, plain_decades, ticks
from study.analysis.load import DIVERGED, METHODS, NO_CONTROL, measured, rank
from study.analysis.reference import Study, select

DENSE, TICKET = METHODS["dense"], METHODS["lottery_ticket"]
REINITIALISED = f"{TICKET}, reinitialise"
EXAMPLES = ", scoring_examples "

ACCURACY_TICKS = [10, 50, 70, 80, 90, 95, 97, 98, 99, 99.5, 99.8]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PaperFigure:
    """A figure of a paper or of the study: its panels, from the cells of those experiments that have records."""

    name: str
    title: str
    experiments: tuple[str, ...]
    panels: Callable[[pd.DataFrame], list[Panel]]
    of_masks: bool = False

    def cells(self, study: Study) -> pd.DataFrame:
        """Measured cells of all its experiments, or those whose masks are known; empty where they make no panel."""
        found = [study[name] for name in self.experiments if name in study]
        cells = measured(pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["status", "mask"]))
        shown = cells[cells["mask"].notna()] if self.of_masks else cells
        return shown if shown.empty or self.panels(shown) else shown.iloc[:0]


def caption(title: str, cells: pd.DataFrame) -> str:
    """The title, how many seeds stand behind the figure's points, and how many cells have none as they diverged."""
    diverged = cells["status"].eq(DIVERGED)
    gone = [f"{diverged.sum()} of {len(cells)} cells diverged, and are not shown"] if diverged.any() else []
    return "; ".join([title, seeds(cells), *gone])


def seeds(cells: pd.DataFrame) -> str:
    """How many seeds measured cells have, from the fewest to the most: "3 to 20 seeds"."""
    counts = cells.groupby(["dataset", "model", "recipe", "method", "sparsity"])["seed"].nunique()
    low, high = counts.min(), counts.max()
    return f"{f'{low} to ' if low < high else ''}{high} seed{'s' if high > 1 else ''}"


def accuracy(cells: pd.DataFrame) -> list[Panel]:
    """Test accuracy at the last iteration against weights remaining: means, and one standard deviation as a band.

    A panel a method where several have controls; none where there is but one sparsity.
    """
    return [
        Panel(", ".join(filter(None, [title, method])), partial(_against_remaining, own, "test_accuracy", "sd", order))
        for title, part in _parts(cells)
        for method, own, order in _controlled(part)
        if own[own["sparsity"] > 0]["sparsity"].nunique() > 1
    ]


def early_stop(cells: pd.DataFrame) -> list[Panel]:
    """The iteration of the lowest validation loss against weights remaining."""
    return [
        Panel(title, partial(_against_remaining, part, "early_stop_iteration", "sd", _methods(part)))
        for title, part in _parts(cells)
    ]


def layers(cells: pd.DataFrame) -> list[Panel]:
    """What each method keeps of each layer, with one standard deviation, at the lowest and the highest sparsity."""
    pruned = cells[cells["sparsity"] > 0]
    return [
        Panel(f"{100 * sparsity:.4g} % removed", partial(_layers, select(pruned, sparsity=sparsity)))
        for sparsity in sorted({pruned["sparsity"].min(), pruned["sparsity"].max()})
    ]


def lth_3(cells: pd.DataFrame) -> list[Panel]:
    """Test accuracy as training goes on, for tickets of several sizes, and for masks on weights drawn anew."""
    tickets = {"100 %": (DENSE, 100.0)} | {f"{size:g} %": (TICKET, size) for size in (51.3, 21.1, 7.0, 3.6, 1.9)}
    anew = {f"{size:g} %, drawn anew": (REINITIALISED, size) for size in (51.3, 21.1)}
    curves = pd.concat(
        [
            _curve(cell, line)
            for line, (method, size) in (tickets | anew).items()
            for cell in select(cells, method=method, remaining=size).to_dict("records")
        ]
        or [pd.DataFrame(columns=["iteration", "test_accuracy", "line"])]
    )
    order = [line for line in tickets | anew if (curves["line"] == line).any()]
    return [
        Panel("tickets", partial(_curves, curves, order, list(tickets))),
        Panel("tickets, and drawn anew", partial(_curves, curves, order, ["100 %", "51.3 %", "21.1 %", *anew])),
    ]


def lth_4(cells: pd.DataFrame) -> list[Panel]:
    """Early stop, and accuracy there and at the end, against weights remaining; bars from least to most."""
    measures = {
        "early_stop_iteration": "early stop",
        "early_stop_test_accuracy": "accuracy at early stop",
        "test_accuracy": "accuracy at the end",
        "training_accuracy": "training accuracy at the end",
    }
    return [
        Panel(title, partial(_against_remaining, part, measure, "range", _methods(part)))
        for _, part in _parts(cells)
        for measure, title in measures.items()
        if part[measure].notna().any()
    ]


def lth_5(cells: pd.DataFrame) -> list[Panel]:
    """Early-stop iteration and accuracy there, of each convolutional network; bars from least to most."""
    return [
        Panel(f"{part['model'].iloc[0]}: {title}", partial(_against_remaining, part, measure, "range", _methods(part)))
        for _, part in _parts(cells)
        for measure, title in (("early_stop_iteration", "early stop"), ("early_stop_test_accuracy", "accuracy"))
    ]


def snip_1(cells: pd.DataFrame) -> list[Panel]:
    """Test error against the percentage of weights removed, of the two LeNets."""
    return [Panel("", partial(_error_against_sparsity, cells))]


def snip_3(cells: pd.DataFrame) -> list[Panel]:
    """Test error against the number of examples that are scored, a line a sparsity, a panel a method."""
    split = cells["method"].str.split(EXAMPLES, expand=True, regex=False)
    scored = cells.assign(method=split[0], examples=pd.to_numeric(split[1]))
    return [
        Panel(method, partial(_error_against_examples, select(scored, method=method)))
        for method in sorted(scored["method"].unique(), key=rank)
    ]


PAPER_FIGURES = [
    PaperFigure(
        "frankle_2019_figure_3",
        "Frankle & Carbin 2019, figure 3: LeNet-300-100 on MNIST, bands from least to most",
        ("lth_lenet",),
        lth_3,
    ),
    PaperFigure(
        "frankle_2019_figure_4",
        "Frankle & Carbin 2019, figure 4: LeNet-300-100 on MNIST, bars from least to most",
        ("lth_lenet", "lth_lenet_one_shot"),
        lth_4,
    ),
    PaperFigure(
        "frankle_2019_figure_5",
        "Frankle & Carbin 2019, figure 5: convolutional networks on CIFAR-10, bars from least to most",
        ("lth_conv_2", "lth_conv_4", "lth_conv_6"),
        lth_5,
    ),
    PaperFigure(
        "lee_2019_figure_1",
        "Lee et al. 2019, figure 1: LeNets on MNIST by SNIP, mean ± standard deviation",
        ("snip_figure_1",),
        snip_1,
    ),
    PaperFigure(
        "lee_2019_figure_2",
        "Lee et al. 2019, figure 2: kept connections of the first layer of LeNet-300-100, by the class that was scored",
        ("snip_figure_2", "snip_figure_2_fashion"),
        mask_figures.snip_2,
        of_masks=True,
    ),
    PaperFigure(
        "lee_2019_figure_3",
        "Lee et al. 2019, figure 3: LeNet-300-100 on MNIST, mean ± standard deviation",
        ("snip_figure_3",),
        snip_3,
    ),
    PaperFigure(
        "scoring_data_examples",
        "How much data scoring needs: LeNet-300-100 on MNIST, mean ± standard deviation",
        ("scoring_data",),
        snip_3,
    ),
    PaperFigure(
        "wang_2020_table_2",
        "Wang et al. 2020, table 2: accuracy on CIFAR, mean ± standard deviation",
        ("grasp_cifar10_vgg", "grasp_cifar10_resnet", "grasp_cifar100_vgg", "grasp_cifar100_resnet"),
        accuracy,
    ),
    PaperFigure(
        "wang_2020_table_2_jpeg",
        "Wang et al. 2020, table 2, on CIFAR-10 as JPEG files and after 400 of 62,500 iterations: ResNet-32 and VGG-19",
        ("resnet_32_jpeg", "vgg_19_jpeg"),
        accuracy,
    ),
    PaperFigure(
        "common_mnist_early_stop",
        "All methods on one recipe: LeNet-300-100 on MNIST, mean ± standard deviation",
        ("common_mnist",),
        early_stop,
    ),
    PaperFigure(
        "common_mnist_layers",
        "All methods on one recipe: weights remaining in each layer of LeNet-300-100, mean ± standard deviation",
        ("common_mnist",),
        layers,
    ),
    PaperFigure(
        "common_mnist_overlap",
        f"All methods on one recipe: {mask_figures.OVERLAP}",
        ("common_mnist",),
        mask_figures.overlaps,
        of_masks=True,
    ),
    PaperFigure(
        "quickstart_layers",
        "quickstart: weights remaining in each layer of LeNet-300-100, mean ± standard deviation",
        ("quickstart",),
        layers,
    ),
    PaperFigure(
        "quickstart_overlap",
        f"quickstart: {mask_figures.OVERLAP}",
        ("quickstart",),
        mask_figures.overlaps,
        of_masks=True,
    ),
]


def _parts(cells: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The cells of each data set, network and recipe, with a title that says what tells them apart."""
    names = [name for name in ("dataset", "model", "recipe") if cells[name].nunique() > 1]
    if not names:
        return [("", cells)]
    return [(", ".join(map(str, key)), part) for key, part in cells.groupby(names)]


def _controlled(cells: pd.DataFrame) -> list[tuple[str, pd.DataFrame, list[str]]]:
    """Where several methods have controls the cells of each, told apart by their controls; else all. And the lines."""
    labels = zip(cells["method"], cells["control"], strict=True)
    methods = pd.Series([label.removesuffix(f", {control}") for label, control in labels], index=cells.index)
    if methods[cells["control"] != NO_CONTROL].nunique() < 2:
        return [("", cells, _methods(cells))]
    by_control = cells.assign(method=cells["control"].replace(NO_CONTROL, "no control"))
    order = sorted(by_control["method"].unique(), key=lambda control: (control != "no control", control))
    return [(method, by_control[methods == method], order) for method in sorted(methods.unique(), key=rank)]


def _methods(cells: pd.DataFrame) -> list[str]:
    """The methods that prune, in the order of legends."""
    return sorted(cells[cells["sparsity"] > 0]["method"].unique(), key=rank)


def _dense(axes: Axes, dense: "pd.Series[float]", spread: str) -> None:
    if len(dense):
        low, high = dense.mean() - dense.std(), dense.mean() + dense.std()
        if spread == "range":
            low, high = dense.min(), dense.max()
        axes.axhline(dense.mean(), color="0.25", linestyle=(0, (5, 2)), linewidth=1.2, label=DENSE, zorder=1)
        axes.axhspan(low, high, color="0.25", alpha=0.12, linewidth=0)


def _against_remaining(cells: pd.DataFrame, measure: str, spread: str, order: list[str], axes: Axes) -> None:
    """A measure against weights remaining, on Frankle & Carbin's axis: logarithmic, fewer weights to the right."""
    pruned = cells[cells["sparsity"] > 0]
    _dense(axes, select(cells, method=DENSE)[measure].dropna(), spread)
    lines(axes, pruned, "remaining", measure, "method", order, spread)
    axes.set_xscale("log")
    axes.invert_xaxis()
    ticks(axes, list(pruned["remaining"].unique()))
    if measure.endswith("test_accuracy"):
        by_error(axes, cells[measure])


def by_error(axes: Axes, accuracies: "pd.Series[float]") -> None:
    """A vertical axis of accuracy, logarithmic in the error: 98 and 97 % can be told apart, and so can 90 and 70 %."""
    axes.set_yscale("function", functions=(_log_error, _from_log_error))
    low, high = _limits(accuracies)
    axes.set_ylim(low, high)
    round_ones = [tick for tick in ACCURACY_TICKS if low < tick < high]
    axes.yaxis.set_major_locator(FixedLocator(round_ones) if len(round_ones) > 2 else MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _error_against_sparsity(cells: pd.DataFrame, axes: Axes) -> None:
    percent = cells.assign(sparsity=100 * cells["sparsity"]).dropna(subset="test_error")
    lines(axes, percent, "sparsity", "test_error", "model", sorted(percent["model"].unique()), "sd")


def _error_against_examples(cells: pd.DataFrame, axes: Axes) -> None:
    removed = cells.assign(removed=[f"{100 * sparsity:.4g} % removed" for sparsity in cells["sparsity"]])
    order = list(removed.sort_values("sparsity")["removed"].unique())
    lines(axes, removed, "examples", "test_error", "removed", order, "sd")
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks(axes, list(cells["examples"].unique()))
    plain_decades(axes)


def _curve(cell: dict[Any, Any], line: str) -> pd.DataFrame:
    curves = cell["curves"]
    accuracy = 100 * np.asarray(curves["test_accuracy"])
    return pd.DataFrame({"iteration": curves["iteration"], "test_accuracy": accuracy, "line": line})


def _curves(curves: pd.DataFrame, order: list[str], shown: list[str], axes: Axes) -> None:
    """Means over trials, bands from least to most, from where the first tenth of the training is over."""
    lines(axes, curves[curves["line"].isin(shown)], "iteration", "test_accuracy", "line", order, "band")
    present = {name: handle for handle, name in zip(*axes.get_legend_handles_labels(), strict=True) if name in shown}
    axes.legend(present.values(), present.keys())
    later = curves[curves["iteration"] >= curves["iteration"].max() / 10]["test_accuracy"]
    if len(later):
        axes.set_ylim(later.min() - 0.2, later.max() + 0.1)


def _layers(cells: pd.DataFrame, axes: Axes) -> None:
    points = pd.DataFrame(
        [
            {"method": cell["method"], "layer": layer.removesuffix(".weight"), "kept": 100 * kept / total}
            for cell in cells.to_dict("records")
            for (layer, kept), total in zip(cell["kept"].items(), cell["prunable"].values(), strict=True)
        ]
    )
    order = sorted(points["method"].unique(), key=rank)
    lines(axes, points, "layer", "kept", "method", order, "sd")
    axes.set_yscale("log")
    plain_decades(axes)


def _log_error(accuracy: Values) -> Values:
    return np.asarray(-np.log(np.maximum(100 - accuracy, 1e-3)))


def _from_log_error(value: Values) -> Values:
    return np.asarray(100 - np.exp(-value))


def _limits(accuracies: "pd.Series[float]") -> tuple[float, float]:
    """From the lowest to the highest, with a margin."""
    low, high = (_log_error(np.asarray(end)) for end in (accuracies.min(), accuracies.max()))
    margin = 0.06 * (high - low)
    return float(_from_log_error(low - margin)), float(_from_log_error(high + margin))
