"""What a sweep needs, what it has, what it lacks. Planning trains nothing and computes no mask."""

import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from study import data, methods, models
from study.cell import Cell
from study.errors import StudyError
from study.lineage import Node, Training, initial
from study.store import Store


@dataclass(frozen=True)
class PlannedCell:
    """A cell and the training whose result is the cell's."""

    cell: Cell
    training: Node

    @cached_property
    def trainings(self) -> list[Node]:
        """All trainings that it rests on, each after those it needs, its own last."""
        return self.training.trainings()


def plan_cell(cell: Cell) -> PlannedCell:
    """Ask the cell's method what it needs. Raises StudyError where the method can't meet the settings."""
    shape = data.shape(cell.dataset.name)
    start = Node("initialise", {"model": cell.model.identity(), "dataset": cell.dataset.name, "seed": cell.seed})
    split = {"dataset": cell.dataset.identity(), "seed": cell.seed}

    def training(request: Training) -> Node:
        return Node("train", {"start": request.start, "mask": request.mask, "recipe": cell.recipe.identity(), **split})

    handles = {
        "start": start,
        "examples": Node("examples", split),
        "layers": models.layers(cell.model, shape.inputs, shape.classes),
        "sparsity": cell.sparsity,
        "seed": cell.seed,
    }
    settings = cell.method.model_dump(exclude={"name"})
    try:
        outcome = methods.call(cell.method.name, handles, settings)
        if inspect.isgenerator(outcome):
            outcome = _drive(outcome, training)
    except ValueError as error:
        raise StudyError(f"{cell.slug}: {error}") from None
    request = Training(*outcome) if isinstance(outcome, tuple) else Training(start, outcome)
    return PlannedCell(cell, training(request))


def _drive(method: Any, training: Any) -> Any:
    """Answer every training that a method asks for with the node of its result; give what the method returns."""
    trained = None
    while True:
        try:
            trained = training(method.send(trained))
        except StopIteration as stop:
            return stop.value


@dataclass(frozen=True)
class Plan:
    """A sweep's cells and the trainings that they share."""

    cells: list[PlannedCell]

    @cached_property
    def trainings(self) -> dict[str, Node]:
        """All trainings by id, each after those it needs."""
        return {node.id: node for planned in self.cells for node in planned.trainings}

    def missing(self, store: Store, recorded: set[str]) -> dict[str, Node]:
        """The trainings that unrecorded cells rest on and the store lacks, each after those it needs."""
        wanted = {node.id: node for p in self.cells if p.cell.id not in recorded for node in p.trainings}
        return {training: node for training, node in wanted.items() if not store.has_training(training)}


Kind = tuple[str, str, int]
"""The names of model and data set, the batch size."""


def kind(training: Node) -> Kind:
    """What trainings of one kind share: they run at the same speed and may run together."""
    model, recipe = initial(training).arguments["model"], training.arguments["recipe"]
    return model["name"], training.arguments["dataset"]["name"], recipe["batch_size"]
