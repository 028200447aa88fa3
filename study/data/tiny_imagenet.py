"""Tiny-ImageNet: 100,000 training and 10,000 validation images of 200 of ImageNet's classes at 64 x 64 pixels.

The published validation images serve as the test set: the labels of the test images were never published.
"""

import zipfile
from pathlib import Path

import torch

from study.data.arrays import Arrays, Part, Shape
from study.data.encoded import IMAGENET_MEAN, IMAGENET_STD, Encoded, mapped
from study.data.remote import Remote

SHAPE = Shape(torch.Size([3, 64, 64]), classes=200)

# The MD5 that public loaders agree on, not met yet.
ARCHIVE = Remote(
    "tiny_imagenet", "http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de"
)

ROOT = "tiny-imagenet-200"


def fetch() -> Path:
    """The archive, downloaded if it is missing. Raises StudyError."""
    return ARCHIVE.fetch()


def load() -> Arrays:
    """All of Tiny-ImageNet, read from its archive. Raises StudyError where that is missing or altered.

    Layout: wnids.txt lists the classes, train/WNID/images/*.JPEG; val/val_annotations.txt begins each line with the
    name of an image in val/images and its class, separated by tabs.
    """
    archive = zipfile.ZipFile(ARCHIVE.verified())

    def lines(name: str) -> list[str]:
        return archive.read(f"{ROOT}/{name}").decode().splitlines()

    labels = {wnid: label for label, wnid in enumerate(lines("wnids.txt"))}

    def part(name: str, images: list[tuple[str, str]]) -> Part:
        encoded = Encoded([image for image, _ in images], archive.read, SHAPE.inputs[-1])
        return Part(
            mapped(encoded, f"tiny_imagenet-{name}-{ARCHIVE.md5}"),
            torch.tensor([labels[wnid] for _, wnid in images]),
            IMAGENET_MEAN,
            IMAGENET_STD,
        )

    training = [
        (n, n.split("/")[2]) for n in archive.namelist() if n.startswith(f"{ROOT}/train/") and n.endswith(".JPEG")
    ]
    annotated = [line.split("\t")[:2] for line in lines("val/val_annotations.txt")]
    test = [(f"{ROOT}/val/images/{image}", wnid) for image, wnid in annotated]
    return Arrays(training=part("train", sorted(training)), test=part("val", test))
