"""A cell: one point of the study, and its identity."""

import re
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, field_validator, model_validator

from study.lineage import digest

Count = Annotated[int, Field(strict=True, ge=0)]
PositiveCount = Annotated[int, Field(strict=True, ge=1)]
Fraction = Annotated[float, Field(strict=True, ge=0, lt=1)]
NonNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


class Settings(BaseModel):
    """A group of settings: no unknown names, no change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def identity(self) -> dict[str, Any]:
        """The settings that define results: those that differ from their defaults, without labels."""
        return self.model_dump(mode="json", exclude_defaults=True, exclude={"label"})


Init = Literal[
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_normal_fan_out",
    "grasp",
    "variance_scaling",
    "glorot_truncated",
    "he_truncated",
    "standard_normal",
    "standard_truncated",
]
"""How initial weights are drawn: study/models/initialise.py."""


Augment = Literal["none", "flip_crop", "flip_shift"]
"""How images are augmented: flipped left to right and shifted, at random, where black (flip_crop) or the mean colour
(flip_shift) comes in."""


class Model(Settings):
    """A network: `name` in the module `family` of study/models, and how its weights are drawn."""

    name: str
    family: str
    init: Init = "glorot_normal"


class Dataset(Settings):
    """A data set: `name` in study/data; the number of training examples held out for validation.

    With a `size`, the name is that of a folder of images in the data folder, cut to squares of that side.
    """

    name: str
    size: Count = 0
    validation: PositiveCount = 5000

    @field_validator("name")
    @classmethod
    def _is_no_path(cls, name: str) -> str:
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise ValueError(
                "give a name, not a path: put or link a folder of images into the data folder under that name"
            )
        return name


class Recipe(Settings):
    """How a network is trained.

    The learning rate rises linearly over the first `warmup` iterations and is multiplied by `drop_factor` after each
    iteration of `drops`. Weight decay acts on all parameters, or on prunable weights alone, masked ones included.
    """

    label: str = ""
    optimizer: Literal["adam", "sgd"]
    learning_rate: Positive
    momentum: Fraction = 0.0
    weight_decay: NonNegative = 0.0
    decay: Literal["all", "weights"] = "all"
    warmup: Count = 0
    drops: tuple[PositiveCount, ...] = ()
    drop_factor: Positive = 0.1
    augment: Augment = "none"
    batch_size: PositiveCount
    iterations: PositiveCount
    evaluate_every: PositiveCount

    @model_validator(mode="after")
    def _momentum_is_for_sgd(self) -> "Recipe":
        if self.momentum and self.optimizer == "adam":
            raise ValueError("momentum is for sgd, adam has its own: leave it at 0 or set recipe.optimizer=sgd")
        return self


class Method(Settings):
    """A pruning method: `name` in study/methods. A subclass by method adds its settings."""

    name: str


class Control(Settings):
    """A change to what a method found: its mask shuffled within layers, its kept weights drawn anew, its scores
    inverted, or ranked by magnitude. `draw` counts independent shuffles or draws."""

    name: Literal["none", "shuffle", "reinitialise", "invert", "absolute"] = "none"
    draw: Count = 0


class Cell(Settings):
    """Method x sparsity x seed x model x data set x recipe. Where a method does not prune, the sparsity is 0."""

    method: SerializeAsAny[Method]
    control: Control = Control()
    sparsity: Fraction
    seed: Count
    model: Model
    dataset: Dataset
    recipe: Recipe

    @cached_property
    def id(self) -> str:
        parts: dict[str, Settings] = {
            "method": self.method,
            "model": self.model,
            "dataset": self.dataset,
            "recipe": self.recipe,
        }
        if self.control != Control():
            parts["control"] = self.control
        identity = {name: part.identity() for name, part in parts.items()}
        return digest({**identity, "sparsity": self.sparsity, "seed": self.seed})

    @property
    def slug(self) -> str:
        """A name for files and folders: readable and unique."""
        control = "" if self.control.name == "none" else f"-{self.control.name}"
        return f"{self.method.name}{control}-{self.sparsity:g}-seed{self.seed}-{self.id}"
