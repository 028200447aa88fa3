"""Data sets: one file each, with its SHAPE and the functions `fetch` and `load`; image_folder.py reads any other.

Nothing is downloaded but by `python -m study.data.fetch`.
"""

import hashlib
import importlib
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from study.cell import Dataset
from study.data import image_folder
from study.data.arrays import Arrays, Batch, Part, Shape
from study.data.remote import folder
from study.errors import StudyError
from study.seeding import stream

NAMES = ("mnist", "fashion_mnist", "cifar10", "cifar100", "tiny_imagenet")

CPU = torch.device("cpu")


def shape(name: str, size: int = 0) -> Shape:
    """The shape of a data set, without loading it; with a size, that of an image folder."""
    found: Shape = image_folder.shape(name, size) if size else module(name).SHAPE
    return found


@lru_cache(maxsize=1)
def load(name: str, size: int = 0) -> Arrays:
    """A whole data set, kept until another is asked for; with a size, an image folder at that size.

    Raises StudyError where a file is missing or not the published one.
    """
    if size:
        return image_folder.load(name, size)
    source = module(name)
    arrays: Arrays = mapped(name, source) if hasattr(source, "MEAN") else source.load()
    return arrays


def mapped(name: str, source: Any) -> Arrays:
    """A data set decoded once into the data folder's cache and mapped from there: processes share its memory.

    The file is named after digests of the module, which holds the checksums of what was decoded, and of its own
    content: one that is damaged is made anew. Where it can't be written the data set is in this process's memory alone.
    """
    cache, made_by = folder() / "cache", f"{name}-{_digest(Path(source.__file__).read_bytes())}"
    path = next((path for path in cache.glob(f"{made_by}-*.safetensors") if _is_intact(path)), None)
    if path is None:
        arrays: Arrays = source.load()
        parts = {"training": arrays.training, "test": arrays.test}
        tensors = {name: part.inputs.contiguous() for name, part in parts.items() if isinstance(part.inputs, Tensor)}
        tensors |= {f"{name}_labels": part.labels for name, part in parts.items()}
        content = safetensors.torch.save(tensors)
        path = cache / f"{made_by}-{_digest(content)}.safetensors"
        partial = path.with_suffix(f".{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            partial.replace(path)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            return arrays
    tensors = safetensors.torch.load_file(path)

    def part(which: str) -> Part:
        return Part(tensors[which], tensors[f"{which}_labels"], source.MEAN, source.STD)

    return Arrays(part("training"), part("test"))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _is_intact(path: Path) -> bool:
    return path.stem.endswith(_digest(path.read_bytes()))


def module(name: str) -> Any:
    """The module of one of NAMES. Raises StudyError for another."""
    if name not in NAMES:
        known = ", ".join(NAMES)
        raise StudyError(f"dataset.name={name} is not known: choose from {known}, or set dataset.size for a folder")
    return importlib.import_module(f"{__name__}.{name}")


@dataclass(frozen=True)
class Split:
    """A data set whose training examples are divided by a seed: indices to train on, and those held out."""

    arrays: Arrays
    training: Tensor
    validation: Tensor


@lru_cache(maxsize=4)
def split(dataset: Dataset, seed: int) -> Split:
    """Hold out `dataset.validation` training examples, chosen by the stream "split" of the seed."""
    arrays = load(dataset.name, dataset.size)
    if dataset.validation >= len(arrays.training):
        raise StudyError(f"dataset.validation={dataset.validation} leaves nothing to train on: lower it")
    shuffled = torch.randperm(len(arrays.training), generator=stream(seed, "split"))
    return Split(arrays, shuffled[dataset.validation :], shuffled[: dataset.validation])


@dataclass(frozen=True)
class Examples:
    """Training examples to score with, on a device, drawn from the stream "score" of a seed, not augmented."""

    split: Split
    seed: int
    device: torch.device = CPU

    def sample(self, count: int, of_class: int | None = None) -> Tensor:
        """Indices of `count` different examples at random, of all classes or of one."""
        chosen = self._shuffled
        if of_class is not None:
            chosen = chosen[self.split.arrays.training.labels[chosen] == of_class]
        if count > len(chosen):
            kind = "" if of_class is None else f" of class {of_class}"
            raise StudyError(f"scoring wants {count} examples{kind}, training has {len(chosen)}: ask for fewer")
        return chosen[:count]

    def balanced(self, per_class: int) -> Tensor:
        """Indices of `per_class` different examples at random of each class, sorted by class."""
        labels = self.split.arrays.training.labels[self._shuffled]
        chosen = [self._shuffled[labels == label][:per_class] for label in labels.unique()]
        if any(len(indices) < per_class for indices in chosen):
            raise StudyError(f"scoring wants {per_class} examples of each class, some have fewer: ask for fewer")
        return torch.cat(chosen)

    def batch(self, indices: Tensor) -> Batch:
        return self.split.arrays.training.batch(indices, self.device)

    @cached_property
    def _shuffled(self) -> Tensor:
        training = self.split.training
        return training[torch.randperm(len(training), generator=stream(self.seed, "score"))]
