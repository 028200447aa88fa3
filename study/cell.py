"""A cell: one point of the study, and its identity."""

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, model_validator

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


class Model(Settings):
    """A network: `name` in the module `family` of study/models, and how its weights are drawn."""

    name: str
    family: str
    init: Literal["glorot_normal"] = "glorot_normal"


class Dataset(Settings):
    """A data set: `name` in study/data; the number of training examples held out for validation."""

    name: str
    validation: PositiveCount = 5000


class Recipe(Settings):
    """How a network is trained. `drops` are iterations at which the learning rate is multiplied by `drop_factor`."""

    label: str = ""
    optimizer: Literal["adam", "sgd"]
    learning_rate: Positive
    momentum: Fraction = 0.0
    weight_decay: NonNegative = 0.0
    drops: tuple[PositiveCount, ...] = ()
    drop_factor: Positive = 0.1
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


class Cell(Settings):
    """Method x sparsity x seed x model x data set x recipe. Where a method does not prune, the sparsity is 0."""

    method: SerializeAsAny[Method]
    sparsity: Fraction
    seed: Count
    model: Model
    dataset: Dataset
    recipe: Recipe

    @cached_property
    def id(self) -> str:
        parts = {"method": self.method, "model": self.model, "dataset": self.dataset, "recipe": self.recipe}
        identity = {name: part.identity() for name, part in parts.items()}
        return digest({**identity, "sparsity": self.sparsity, "seed": self.seed})

    @property
    def slug(self) -> str:
        """A name for files and folders: readable and unique."""
        return f"{self.method.name}-{self.sparsity:g}-seed{self.seed}-{self.id}"
