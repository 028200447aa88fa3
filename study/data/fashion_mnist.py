"""Fashion-MNIST: 60,000 training and 10,000 test images of clothes in MNIST's format (Xiao, Rasul & Vollgraf 2017).

Debian's package dataset-fashion-mnist has it, compressed anew; elsewhere it is fetched.
"""

from pathlib import Path

import torch

from study.data.arrays import Arrays, Part, Shape
from study.data.idx import read_idx
from study.data.remote import Remote

SHAPE = Shape(torch.Size([1, 28, 28]), classes=10)

DEBIAN = Path("/usr/share/datasets/fashion-mnist")

URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"

# MD5 of the compressed files as published: not met yet, Debian compresses anew.
PUBLISHED_MD5 = {
    "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
}

# MD5 of the uncompressed files, computed from Debian's package 0.0~git20200523.55506a9-1.
MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}

# Mean and standard deviation of the training pixels, scaled to [0, 1].
MEAN, STD = (0.2860,), (0.3530,)


def fetch() -> Path:
    """Debian's folder where it is installed, else the one that the files are fetched to. Raises StudyError."""
    if DEBIAN.is_dir():
        return DEBIAN
    return {_remote(name).fetch().parent for name in PUBLISHED_MD5}.pop()


def load() -> Arrays:
    """All of Fashion-MNIST. Raises StudyError where a file is missing, truncated or altered."""

    def read(name: str) -> torch.Tensor:
        if DEBIAN.is_dir():
            return read_idx(DEBIAN / f"{name}.gz", MD5[name], "reinstall Debian's dataset-fashion-mnist")
        return read_idx(_remote(name).path, MD5[name], _remote(name).remedy)

    def part(prefix: str) -> Part:
        images, labels = read(f"{prefix}-images-idx3-ubyte"), read(f"{prefix}-labels-idx1-ubyte")
        return Part(images.unsqueeze(1), labels.long(), MEAN, STD)

    return Arrays(training=part("train"), test=part("t10k"))


def _remote(name: str) -> Remote:
    return Remote("fashion_mnist", f"{URL}/{name}.gz", PUBLISHED_MD5[name])
