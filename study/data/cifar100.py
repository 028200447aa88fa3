"""CIFAR-100: 50,000 training and 10,000 test images of a hundred kinds of objects (Krizhevsky 2009)."""

from pathlib import Path

import torch

from study.data.arrays import Arrays, Part, Shape
from study.data.cifar import read_records
from study.data.remote import Remote

SHAPE = Shape(torch.Size([3, 32, 32]), classes=100)

# The published MD5, not met yet.
ARCHIVE = Remote(
    "cifar100", "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"
)

# Mean and standard deviation of the training pixels by channel, scaled to [0, 1], as commonly used.
MEAN, STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)


def fetch() -> Path:
    """The archive, downloaded if it is missing. Raises StudyError."""
    return ARCHIVE.fetch()


def load() -> Arrays:
    """All of CIFAR-100 with its fine labels. Raises StudyError where the archive is missing or altered."""
    archive = ARCHIVE.verified()

    def part(name: str) -> Part:
        return Part(*read_records(archive, [f"cifar-100-binary/{name}.bin"], label_bytes=2), MEAN, STD)

    return Arrays(training=part("train"), test=part("test"))
