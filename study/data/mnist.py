"""MNIST, embedded: 60,000 training and 10,000 test images of handwritten digits (LeCun, Cortes & Burges 1998)."""

from pathlib import Path

import torch

from study.data.arrays import Arrays, Part, Shape
from study.data.idx import read_idx

SHAPE = Shape(torch.Size([1, 28, 28]), classes=10)

FOLDER = Path(__file__).parent / "files" / "mnist"

# MD5 of the uncompressed files, as published with the data set.
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}

# Mean and standard deviation of the training pixels, scaled to [0, 1].
MEAN, STD = (0.1307,), (0.3081,)


def fetch() -> Path:
    """Where it lies: it comes with the code."""
    return FOLDER


def load() -> Arrays:
    """All of MNIST. Raises StudyError where a file is missing, truncated or altered."""

    def part(prefix: str) -> Part:
        images, labels = (
            read_idx(path, MD5[path.stem], remedy=f"restore it with `git checkout -- {path}`")
            for path in (FOLDER / f"{prefix}-images-idx3-ubyte.gz", FOLDER / f"{prefix}-labels-idx1-ubyte.gz")
        )
        return Part(images.unsqueeze(1), labels.long(), MEAN, STD)

    return Arrays(training=part("train"), test=part("t10k"))
