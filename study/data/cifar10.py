"""CIFAR-10: 50,000 training and 10,000 test images of ten kinds of objects (Krizhevsky 2009)."""

from pathlib import Path

import torch

from study.data.arrays import Arrays, Part, Shape
from study.data.cifar import read_records
from study.data.remote import Remote

SHAPE = Shape(torch.Size([3, 32, 32]), classes=10)

# The published MD5, not met yet.
ARCHIVE = Remote(
    "cifar10", "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"
)

# Mean and standard deviation of the training pixels by channel, scaled to [0, 1], as commonly used.
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def fetch() -> Path:
    """The archive, downloaded if it is missing. Raises StudyError."""
    return ARCHIVE.fetch()


def load() -> Arrays:
    """All of CIFAR-10. Raises StudyError where the archive is missing or altered."""
    archive = ARCHIVE.verified()

    def part(*names: str) -> Part:
        members = [f"cifar-10-batches-bin/{name}.bin" for name in names]
        return Part(*read_records(archive, members, label_bytes=1), MEAN, STD)

    return Arrays(training=part(*(f"data_batch_{i}" for i in range(1, 6))), test=part("test_batch"))
