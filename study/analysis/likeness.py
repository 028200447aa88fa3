"""Which class a mask draws: the connections kept of each pixel, beside the mean input of each class."""

from functools import cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from study.analysis.reference import FOLDER
from study.mask_file import Bits

MEANS = FOLDER / "class_means.npz"
"""By data set the mean standardised input of each class, (classes, height, width); from scripts/class_means.py."""

SIDE = 28
CLASS = ", scoring_class "

Image = npt.NDArray[np.float64]
Mask = dict[str, Bits]


def pixels(mask: Mask) -> Image:
    """Of each pixel the fraction of its connections to the first layer's units that is kept, as an image."""
    first = next(iter(mask.values()))
    kept: Image = first.reshape(-1, SIDE * SIDE).mean(axis=0).reshape(SIDE, SIDE)
    return kept


def scored_class(cells: pd.DataFrame) -> "pd.Series[int]":
    """The class whose examples each cell scored, by the name of its method."""
    return cells["method"].str.split(CLASS).str[-1].astype(int)


def drawn_class(mask: Mask, dataset: str) -> int:
    """The class whose mean input in absolute value correlates most, over pixels, with the connections kept.

    In absolute value since a weight's sensitivity is (Lee et al. 2019, equation 5), and that of a first-layer weight
    grows with its input: standardised, dark pixels are inputs too.
    """
    kept = pixels(mask).ravel()
    return int(np.argmax([np.corrcoef(kept, np.abs(mean).ravel())[0, 1] for mean in _means()[dataset]]))


@cache
def _means() -> dict[str, Image]:
    with np.load(MEANS, allow_pickle=False) as file:
        return {name: file[name].astype(np.float64) for name in file.files}
