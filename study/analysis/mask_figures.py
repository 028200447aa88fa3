"""Figures of masks: kept connections as an image, and how far the masks of methods and of seeds agree."""

import textwrap
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from study.analysis.drawing import Panel
from study.analysis.likeness import SIDE, Mask, pixels, scored_class
from study.analysis.load import rank
from study.analysis.reference import select

EXPERIMENTS = ("snip_figure_2", "snip_figure_2_fashion", "quickstart", "common_mnist")
"""The experiments whose masks are published: those that a figure here is made of."""

MOST_SEEDS = 3
"""Masks of seeds 0, 1 and 2 are published: more would say little more, and a mask takes kilobytes."""

DATASETS = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}
GAP = 2
TIMES = (1, 16)
"""Colours of the overlap over chance, light to dark: from as much as chance would have it to 16 times as much."""

DARK = 6
"""Times chance from where on a colour takes white letters."""

OVERLAP = (
    "weights that two masks of LeNet-300-100 both keep, of those that either keeps, and how many times what chance "
    "gives at the same counts by layer; on the diagonal between seeds, elsewhere between methods within a seed"
)


def snip_2(cells: pd.DataFrame) -> list[Panel]:
    """Of each input pixel the fraction of its connections that is kept: a column a class, a row a sparsity."""
    return [
        Panel(DATASETS[str(dataset)], partial(_mosaic, part), column=2.1, slide=3.2)
        for dataset, part in cells.groupby("dataset", sort=False)
    ]


def _mosaic(cells: pd.DataFrame, axes: Axes) -> None:
    """Images side by side, means over seeds, each row from no connection kept (black) to its brightest pixel."""
    scored = scored_class(cells)
    classes, sparsities = sorted(scored.unique()), sorted(cells["sparsity"].unique())
    step = SIDE + GAP
    whole = np.full((step * len(sparsities) - GAP, step * len(classes) - GAP), np.nan)
    for i, sparsity in enumerate(sparsities):
        row = cells[cells["sparsity"] == sparsity]
        images = {
            label: np.mean([pixels(mask) for mask in masks], axis=0) for label, masks in row["mask"].groupby(scored)
        }
        most = max(image.max() for image in images.values())
        for j, label in enumerate(classes):
            if label in images:
                whole[i * step : i * step + SIDE, j * step : j * step + SIDE] = images[label] / most
    axes.imshow(whole, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([j * step + SIDE / 2 for j in range(len(classes))], [str(label) for label in classes])
    axes.set_yticks([i * step + SIDE / 2 for i in range(len(sparsities))], [f"{100 * s:.4g}" for s in sparsities])
    axes.set(xlabel="class of the 100 examples scored", ylabel="weights removed, %")
    _bare(axes)


def overlaps(cells: pd.DataFrame) -> list[Panel]:
    """How far masks agree at the lowest and the highest sparsity, between methods and between seeds."""
    return [
        Panel(
            f"{100 * sparsity:.4g} % removed",
            partial(_overlaps, select(cells, sparsity=sparsity)),
            column=3.2,
            slide=4.8,
        )
        for sparsity in sorted({cells["sparsity"].min(), cells["sparsity"].max()})
    ]


def overlap(one: Mask, other: Mask) -> tuple[float, float]:
    """Weights that both masks keep among those that either keeps (Jaccard's index), and that over chance.

    Chance is the index that masks with the same counts by layer have where their places are independent.
    """
    both = sum(int((one[name] & other[name]).sum()) for name in one)
    kept = sum(int(mask[name].sum()) for mask in (one, other) for name in one)
    expected = sum(one[name].sum() * other[name].sum() / one[name].size for name in one)
    index = both / (kept - both)
    return index, float(index / (expected / (kept - expected)))


def pairs(cells: pd.DataFrame) -> pd.DataFrame:
    """Of each two methods the overlap of their masks within a seed, of each method that between its seeds; means."""
    rows = []
    for (_, one), (_, other) in combinations(cells.iterrows(), 2):
        if (one["method"] == other["method"]) != (one["seed"] == other["seed"]):
            index, times = overlap(one["mask"], other["mask"])
            rows += [
                {"method": a["method"], "other": b["method"], "index": index, "times": times}
                for a, b in ((one, other), (other, one))
            ]
    return pd.DataFrame(rows).groupby(["method", "other"], as_index=False).mean()


def _overlaps(cells: pd.DataFrame, axes: Axes) -> None:
    found = pairs(cells)
    order = sorted(found["method"].unique(), key=rank)
    index, times = (
        found.pivot(index="method", columns="other", values=value).loc[order, order].to_numpy()
        for value in ("index", "times")
    )
    axes.imshow(np.clip(times, *TIMES), cmap="Blues", norm=LogNorm(*TIMES), aspect="auto")
    for (i, j), value in np.ndenumerate(times):
        percent = 100 * index[i, j]
        text = f"{percent:.{0 if percent >= 10 else 1}f} %\n× {value:.1f}"
        color = "white" if value > DARK else "black"
        axes.text(j, i, text, ha="center", va="center", fontsize="x-small", color=color)
    labels = [textwrap.fill(label, 15) for label in order]
    axes.set_xticks(range(len(order)), order, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(order)), labels)
    axes.tick_params(labelsize="small")
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_linewidth(0)
