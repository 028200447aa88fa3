"""Data sets: one file each, with its SHAPE and a function `load`."""

import importlib
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from study.cell import Dataset
from study.data.arrays import Arrays, Part, Shape
from study.errors import StudyError
from study.seeding import stream


def shape(name: str) -> Shape:
    """The shape of a data set, without loading it."""
    found: Shape = importlib.import_module(f"{__name__}.{name}").SHAPE
    return found


@lru_cache(maxsize=1)
def load(name: str) -> Arrays:
    """A whole data set, kept in memory until another is asked for."""
    arrays: Arrays = importlib.import_module(f"{__name__}.{name}").load()
    return arrays


@dataclass(frozen=True)
class Split:
    """A data set divided by a seed: `training` are indices into `arrays.training`, `validation` the other examples."""

    arrays: Arrays
    training: Tensor
    validation: Part


@lru_cache(maxsize=4)
def split(dataset: Dataset, seed: int) -> Split:
    """Hold out `dataset.validation` training examples, chosen by the stream "split" of the seed."""
    arrays = load(dataset.name)
    if dataset.validation >= len(arrays.training):
        raise StudyError(f"dataset.validation={dataset.validation} leaves nothing to train on: lower it")
    shuffled = torch.randperm(len(arrays.training), generator=stream(seed, "split"))
    held_out, training = shuffled[: dataset.validation], shuffled[dataset.validation :]
    return Split(arrays, training, arrays.training.take(held_out))


@dataclass(frozen=True)
class Examples:
    """Training examples to score with, drawn from the stream "score" of a seed, never augmented."""

    split: Split
    seed: int

    def sample(self, count: int) -> Part:
        """`count` different examples at random."""
        if count > len(self._shuffled):
            raise StudyError(f"scoring wants {count} examples, training has {len(self._shuffled)}: ask for fewer")
        return self.split.arrays.training.take(self._shuffled[:count])

    def balanced(self, per_class: int) -> Part:
        """`per_class` different examples at random of each class, sorted by class."""
        labels = self.split.arrays.training.labels[self._shuffled]
        chosen = [self._shuffled[labels == label][:per_class] for label in labels.unique()]
        if any(len(indices) < per_class for indices in chosen):
            raise StudyError(f"scoring wants {per_class} examples of each class, some have fewer: ask for fewer")
        return self.split.arrays.training.take(torch.cat(chosen))

    @cached_property
    def _shuffled(self) -> Tensor:
        training = self.split.training
        return training[torch.randperm(len(training), generator=stream(self.seed, "score"))]
