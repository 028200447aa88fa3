"""Any folder of images, ImageNet included: train/CLASS/*.jpg and test/CLASS/*.jpg, or val/ for test/.

The folder lies in the data folder under the data set's name, or is linked there, so that the name identifies what it
holds wherever it lies: other images need another name.
"""

import hashlib
from pathlib import Path

import torch

from study.data.arrays import Arrays, Part, Shape
from study.data.encoded import IMAGENET_MEAN, IMAGENET_STD, Encoded, mapped
from study.data.remote import folder
from study.errors import StudyError

SUFFIXES = {".jpg", ".jpeg", ".png"}


def shape(name: str, size: int) -> Shape:
    """RGB of `size` x `size`; as many classes as train/ has folders. Raises StudyError where it has none."""
    return Shape(torch.Size([3, size, size]), len(_classes(folder() / name / "train")))


def load(name: str, size: int) -> Arrays:
    """All images at `size` x `size`, labelled by the order of their classes' names.

    Raises StudyError where a part is missing, or the parts differ in their classes.
    """
    root = folder() / name
    held_out = "test" if (root / "test").is_dir() else "val"
    if _classes(root / "train") != _classes(root / held_out):
        raise StudyError(f"{root}: train and {held_out} have different classes, make their folders the same")
    return Arrays(training=_part(root, "train", size), test=_part(root, held_out, size))


def _part(root: Path, part: str, size: int) -> Part:
    listing = [
        (str(path.relative_to(root)), label, path.stat().st_size, path.stat().st_mtime_ns)
        for label, name in enumerate(_classes(root / part))
        for path in sorted((root / part / name).iterdir())
        if path.suffix.lower() in SUFFIXES
    ]
    if not listing:
        raise StudyError(f"{root / part} has no images: put them in its folders, CLASS/*.jpg")
    fingerprint = hashlib.sha256(repr(listing).encode()).hexdigest()[:16]
    images = Encoded([name for name, *_ in listing], lambda name: (root / name).read_bytes(), size)
    labels = torch.tensor([label for _, label, *_ in listing])
    return Part(mapped(images, f"{root.name}-{part}-{size}-{fingerprint}"), labels, IMAGENET_MEAN, IMAGENET_STD)


def _classes(part: Path) -> list[str]:
    classes = sorted(path.name for path in part.iterdir() if path.is_dir()) if part.is_dir() else []
    if not classes:
        raise StudyError(f"{part} has no folders of images: put or link them there, CLASS/*.jpg")
    return classes
