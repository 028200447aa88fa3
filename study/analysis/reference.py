"""The papers' tables, beside ours: which of our cells measure a printed figure, and whether the two agree."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from study.analysis import statistics
from study.analysis.load import DIVERGED, measured
from study.analysis.statistics import Evidence, Values, Verdict

FOLDER = Path(__file__).parents[2] / "results" / "reference"

MARGIN = 0.3
"""Percentage points within which a figure counts as equal to the paper's, where the paper prints no spread."""

COUNT_MARGIN = 0.01
"""The same for numbers of parameters, as a fraction: the papers round them, and count biases too."""

PARAMETERS = "parameters"
"""The metric that is counted, not measured."""

MEASURES = {
    "test_error": "test_error",
    "test_error_change": "test_error",
    "test_acc": "test_accuracy",
    "top1_acc": "test_accuracy",
    "top1_acc_change": "test_accuracy",
    PARAMETERS: "parameters",
}
"""The papers' metrics by the names of results/reference, and the columns of cells that measure them."""

METHODS = {
    "dense reference": "dense",
    "dense baseline": "dense",
    "SNIP": "SNIP",
    "SNIP minus dense": "SNIP",
    "GraSP": "GraSP",
    "GraSP minus dense": "GraSP",
    "LT (original init)": "lottery ticket",
    "SNIP, init for scoring: random normal (RN)": "SNIP, scored standard_normal",
    "SNIP, init for scoring: truncated normal (TN)": "SNIP, scored standard_truncated",
    "SNIP, init for scoring: variance scaling Glorot (VS-X)": "SNIP, scored glorot_truncated",
    "SNIP, init for scoring: variance scaling He (VS-H)": "SNIP, scored he_truncated",
    "SNIP, mini-batch for scoring |Db|=1": "SNIP, scoring_examples 1",
    "SNIP, mini-batch for scoring |Db|=10": "SNIP, scoring_examples 10",
    "SNIP, mini-batch for scoring |Db|=100": "SNIP, scoring_examples 100",
    "SNIP, mini-batch for scoring |Db|=1000": "SNIP, scoring_examples 1000",
    "SNIP, mini-batch for scoring |Db|=10000": "SNIP, scoring_examples 10000",
}
"""The papers' names of the methods that are run here, and ours. The tables show all others as the papers cite them."""

Study = Mapping[str, pd.DataFrame]
"""The cells of each experiment that has records, by its name."""


class Network(NamedTuple):
    """A network of a paper's table, and the experiment and model that measure it."""

    dataset: str
    name: str
    experiment: str
    model: str


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper, or the figures read from one of its plots, laid out as there.

    `rows` and `columns` name those columns of `compare` that the paper's rows and columns tell apart.
    """

    name: str
    title: str
    file: str
    table: str
    networks: tuple[Network, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]


MNIST, BY_ROW, CIFAR_10, CIFAR_100, TINY = (
    "MNIST",
    "sequential MNIST (row by row)",
    "CIFAR-10",
    "CIFAR-100",
    "Tiny-ImageNet",
)
RESNET = "ResNet32 (2x width)"

PAPER_TABLES = [
    PaperTable(
        "lee_2019_table_1",
        "Lee, Ajanthan & Torr 2019 (SNIP), Table 1: test error of the LeNets on MNIST, %",
        "snip",
        "Table 1",
        (
            Network(MNIST, "LeNet-300-100", "snip_table_1", "lenet_300_100"),
            Network(MNIST, "LeNet-5-Caffe", "snip_table_1", "lenet_5_caffe"),
        ),
        rows=("method", "sparsity"),
        columns=("network",),
    ),
    PaperTable(
        "lee_2019_table_2",
        "Lee, Ajanthan & Torr 2019 (SNIP), Table 2: parameters, and test error in %, of dense networks and by SNIP",
        "snip",
        "Table 2",
        (
            Network(CIFAR_10, "AlexNet-s", "snip_table_2_alexnet", "alexnet_s"),
            Network(CIFAR_10, "AlexNet-b", "snip_table_2_alexnet", "alexnet_b"),
            Network(CIFAR_10, "VGG-C", "snip_table_2_vgg", "vgg_c"),
            Network(CIFAR_10, "VGG-D", "snip_table_2_vgg", "vgg_d"),
            Network(CIFAR_10, "VGG-like", "snip_table_2_vgg_like", "vgg_like"),
            Network(CIFAR_10, "WRN-16-8", "snip_table_2_wrn", "wrn_16_8"),
            Network(CIFAR_10, "WRN-16-10", "snip_table_2_wrn", "wrn_16_10"),
            Network(CIFAR_10, "WRN-22-8", "snip_table_2_wrn", "wrn_22_8"),
            Network(BY_ROW, "LSTM-s", "snip_table_2_rnn", "lstm_s"),
            Network(BY_ROW, "LSTM-b", "snip_table_2_rnn", "lstm_b"),
            Network(BY_ROW, "GRU-s", "snip_table_2_rnn", "gru_s"),
            Network(BY_ROW, "GRU-b", "snip_table_2_rnn", "gru_b"),
        ),
        rows=("network", "pruned"),
        columns=("metric", "method"),
    ),
    PaperTable(
        "lee_2019_table_3",
        "Lee, Ajanthan & Torr 2019 (SNIP), Table 3: test error in % at 90 %, by the initialisation that is scored",
        "snip",
        "Table 3",
        (
            Network(MNIST, "LeNet-300-100", "snip_table_3", "lenet_300_100"),
            Network(MNIST, "LeNet-5-Caffe", "snip_table_3", "lenet_5_caffe"),
            Network(BY_ROW, "LSTM-s", "snip_table_3", "lstm_s"),
            Network(BY_ROW, "GRU-s", "snip_table_3", "gru_s"),
        ),
        rows=("method",),
        columns=("network",),
    ),
    PaperTable(
        "lee_2019_figure_3",
        "Lee, Ajanthan & Torr 2019 (SNIP), Figure 3: test error in % at 90 %, by the number of examples scored",
        "snip",
        "Figure 3",
        (Network(MNIST, "LeNet-300-100", "snip_figure_3", "lenet_300_100"),),
        rows=("method",),
        columns=("network", "sparsity"),
    ),
    PaperTable(
        "lee_2019_tiny_imagenet",
        "Lee, Ajanthan & Torr 2019 (SNIP), appendix: test error on Tiny-ImageNet, %",
        "snip",
        "Appendix (Tiny-ImageNet table)",
        (
            Network(TINY, "VGG-C", "snip_tiny_imagenet", "vgg_c"),
            Network(TINY, "VGG-D", "snip_tiny_imagenet", "vgg_d"),
        ),
        rows=("network", "pruned"),
        columns=("method",),
    ),
    PaperTable(
        "wang_2020_table_2_vgg_19",
        "Wang, Zhang & Grosse 2020 (GraSP), Table 2: test accuracy of VGG-19, %",
        "grasp",
        "CIFAR table (Table 2)",
        (
            Network(CIFAR_10, "VGG19", "grasp_cifar10_vgg", "vgg_19"),
            Network(CIFAR_100, "VGG19", "grasp_cifar100_vgg", "vgg_19"),
        ),
        rows=("method",),
        columns=("dataset", "sparsity"),
    ),
    PaperTable(
        "wang_2020_table_2_resnet_32",
        "Wang, Zhang & Grosse 2020 (GraSP), Table 2: test accuracy of ResNet-32 of double width, %",
        "grasp",
        "CIFAR table (Table 2)",
        (
            Network(CIFAR_10, RESNET, "grasp_cifar10_resnet", "resnet_32_double"),
            Network(CIFAR_100, RESNET, "grasp_cifar100_resnet", "resnet_32_double"),
        ),
        rows=("method",),
        columns=("dataset", "sparsity"),
    ),
    PaperTable(
        "wang_2020_tiny_imagenet",
        "Wang, Zhang & Grosse 2020 (GraSP): test accuracy on Tiny-ImageNet, %",
        "grasp",
        "Tiny-ImageNet table",
        (
            Network(TINY, "VGG19", "grasp_tiny_imagenet_vgg", "vgg_19"),
            Network(TINY, RESNET, "grasp_tiny_imagenet_resnet", "resnet_32_double"),
        ),
        rows=("method",),
        columns=("network", "sparsity"),
    ),
    PaperTable(
        "wang_2020_imagenet",
        "Wang, Zhang & Grosse 2020 (GraSP), abstract: top-1 accuracy on ImageNet, points",
        "grasp",
        "Abstract",
        (Network("ImageNet", "VGG-16", "grasp_imagenet", "vgg_16_imagenet"),),
        rows=("method",),
        columns=("network", "sparsity"),
    ),
]


def select(cells: pd.DataFrame, **columns: object) -> pd.DataFrame:
    """The cells, missing ones among them, that have these values."""
    chosen = pd.Series(True, index=cells.index)
    for name, value in columns.items():
        chosen &= cells[name] == value
    return cells[chosen]


def by_seed(cells: pd.DataFrame, measure: str) -> Values:
    """A measure's value for each seed, the mean over a control's draws, so that seeds are independent of each other."""
    return cells.groupby("seed")[measure].mean().dropna()


def diverged(cells: pd.DataFrame, measure: str) -> "pd.Series[bool]":
    """Of each seed that has run, whether a measure lacks since a training diverged."""
    ran = measured(cells)
    return (ran["status"].eq(DIVERGED) & ran[measure].isna()).groupby(ran["seed"]).any()


def compare(table: PaperTable, study: Study) -> pd.DataFrame:
    """One row a printed figure: the paper's, ours (mean, sample standard deviation, n, interval), and the verdict.

    `difference` is ours minus the paper's. `margin` is what counts as equal: the paper's own standard deviation, or
    else MARGIN points, and for parameters COUNT_MARGIN. `planned` counts the seeds that n would be of, `needed` those
    that would decide at the mean and spread found, `diverged` those that have no value since a training diverged: where
    there are any, a figure is not reproduced if they are the most, by an exact test, and else inconclusive. Verdicts
    hold for the table as a whole (Holm). There is none on a figure that was recalled, not read, nor on a method that is
    not run here.
    """
    networks = {(network.dataset, network.name): network for network in table.networks}
    printed = _printed(table.file)
    printed = printed[(printed["table"] == table.table) & printed["metric"].isin(MEASURES)]
    figures = [
        figure for figure in printed.to_dict("records") if (figure["dataset"], figure["architecture"]) in networks
    ]
    compared = [_Compared(figure, networks[figure["dataset"], figure["architecture"]], study) for figure in figures]
    judged = [one for one in compared if one.decides and (len(one.values) or any(one.diverged))]
    verdicts = dict(zip(map(id, judged), statistics.verdicts([one.evidence for one in judged]), strict=True))
    rows = []
    for one in compared:
        verdict = verdicts.get(id(one), Verdict.NOT_MEASURED if one.decides else "")
        rows.append(one.row() | {"verdict": str(verdict)})
    found = pd.DataFrame(rows)
    return found.assign(pruned=found.groupby(["dataset", "network"])["sparsity"].transform("max"))


@cache
def _printed(file: str) -> pd.DataFrame:
    """The printed figures of a paper, which several of its tables are taken from."""
    return pd.read_csv(FOLDER / f"{file}.csv")


class _Compared:
    """A printed figure and the values by seed that measure it."""

    def __init__(self, figure: dict[Any, Any], network: Network, study: Study) -> None:
        self.figure, self.network = figure, network
        self.values, self.planned = pd.Series(dtype=float), 0
        self.diverged: list[bool] = []
        self.margin = float(figure["std"]) if figure["std"] > 0 else MARGIN
        if figure["metric"] == PARAMETERS:
            self.margin = COUNT_MARGIN * figure["value"]
        if figure["method"] in METHODS and network.experiment in study:
            self._measure(select(study[network.experiment], model=network.model))

    def _measure(self, cells: pd.DataFrame) -> None:
        label, measure = METHODS[self.figure["method"]], MEASURES[self.figure["metric"]]
        of = select(cells, method=label, sparsity=self.figure["sparsity"])
        self.values, self.planned = by_seed(of, measure), of["seed"].nunique()
        lost = diverged(of, measure)
        if self.figure["metric"].endswith("_change"):
            dense = select(cells, method="dense")
            self.values = statistics.paired(self.values, by_seed(dense, measure))
            lost |= diverged(dense, measure).reindex(lost.index, fill_value=False)
        self.diverged = lost.tolist()

    @property
    def decides(self) -> bool:
        """Whether there is to be a verdict."""
        return self.figure["confidence"] == "read" and self.figure["method"] in METHODS

    @property
    def differences(self) -> Values:
        return self.values.sub(float(self.figure["value"]))

    @property
    def evidence(self) -> Evidence:
        if any(self.diverged):
            return Evidence(holds=1.0, fails=statistics.mostly(self.diverged).holds)
        if self.figure["metric"] != PARAMETERS:
            return statistics.within(self.differences, self.margin)
        agrees = bool((self.differences.abs() <= self.margin).all())
        return Evidence(holds=float(not agrees), fails=float(agrees))

    def row(self) -> dict[str, Any]:
        low, high = statistics.interval(self.values)
        return {
            "dataset": self.figure["dataset"],
            "network": self.figure["architecture"],
            "method": self.figure["method"],
            "sparsity": self.figure["sparsity"],
            "metric": self.figure["metric"],
            "paper": self.figure["value"],
            "paper_std": self.figure["std"],
            "recalled": self.figure["confidence"] != "read",
            "mean": self.values.mean(),
            "std": self.values.std(),
            "n": len(self.values),
            "planned": self.planned,
            "diverged": sum(self.diverged),
            "low": low,
            "high": high,
            "difference": self.differences.mean(),
            "margin": self.margin,
            "needed": statistics.seeds_to_show_within(self.differences, self.margin),
        }
