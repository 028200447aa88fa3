"""What a sweep needs, what it has, what it lacks. Planning trains nothing and computes no mask."""

import inspect
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

from study import data, methods, models
from study.cell import Cell
from study.errors import StudyError
from study.lineage import Node, Training, initial
from study.record import Record, read_folder
from study.store import Store

SPEED_SAMPLE = 50


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
    settings = {name: value for name, value in cell.method.items() if name != "name"}
    try:
        outcome = methods.call(cell.method["name"], handles, settings)
        if inspect.isgenerator(outcome):
            outcome = _drive(outcome, training)
    except ValueError as error:
        raise StudyError(f"{cell.name}: {error}") from None
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


@dataclass(frozen=True)
class Standing:
    """Where a sweep stands. `naive` counts every cell's trainings as if the cell were alone."""

    cells: int
    cells_recorded: int
    naive: int
    trainings: int
    running: int
    missing: int
    seconds_left: float | None
    measured_on: str | None


def standing(plan: Plan, store: Store, recorded: set[str], workers: int, published: Path) -> Standing:
    """Compare a plan with the store and the records.

    The time left is estimated from the trainings that the store has of the same networks, else from the records in
    `published`; it is None where neither has one.
    """
    missing = plan.missing(store, recorded)
    finished = [training for training in plan.trainings if store.has_training(training)]
    speeds = _stored_speeds(plan, store, finished)
    measured_on: str | None = "this machine's store"
    if missing and not speeds:
        speeds, measured_on = _published_speeds(read_folder(published))
    return Standing(
        cells=len(plan.cells),
        cells_recorded=len(recorded),
        naive=sum(len(planned.trainings) for planned in plan.cells),
        trainings=len(plan.trainings),
        running=sum(store.is_claimed(training) for training in missing),
        missing=len(missing),
        seconds_left=_seconds_left(missing, speeds, workers),
        measured_on=measured_on if missing else None,
    )


Kind = tuple[str, str, int]
"""The names of model and data set, the batch size."""

Speeds = Mapping[Kind, float]
"""Seconds an iteration, evaluation included."""


def kind(training: Node) -> Kind:
    """What trainings of one kind share: they run at the same speed and may run together."""
    model, recipe = initial(training).arguments["model"], training.arguments["recipe"]
    return model["name"], training.arguments["dataset"]["name"], recipe["batch_size"]


def _stored_speeds(plan: Plan, store: Store, finished: list[str]) -> Speeds:
    seconds: dict[Kind, list[float]] = defaultdict(list)
    for training in finished[-SPEED_SAMPLE:]:
        cost = store.result(training)["cost"]
        seconds[kind(plan.trainings[training])].append(cost["wall_seconds"] / cost["iterations"])
    return {of: mean(values) for of, values in seconds.items()}


def _published_speeds(records: list[Record]) -> tuple[Speeds, str | None]:
    seconds: dict[Kind, list[float]] = defaultdict(list)
    for record in records[:SPEED_SAMPLE]:
        model, dataset, recipe = (record.settings[group] for group in ("model", "dataset", "recipe"))
        costs = record.run.costs.values()
        seconds[model["name"], dataset["name"], recipe["batch_size"]] += [c.wall_seconds / c.iterations for c in costs]
    measured_on = f"the published records' machine ({records[0].run.hardware['cpu']})" if records else None
    return {of: mean(values) for of, values in seconds.items()}, measured_on


def _seconds_left(missing: Mapping[str, Node], speeds: Speeds, workers: int) -> float | None:
    """The larger of all work spread over the workers and the longest chain of trainings that wait for each other."""
    total = 0.0
    chains: dict[str, float] = {}
    for training, node in missing.items():
        if kind(node) not in speeds:
            return None
        seconds: float = speeds[kind(node)] * node.arguments["recipe"]["iterations"]
        before = (chains.get(earlier.id, 0.0) for earlier in node.trainings())
        chains[training] = seconds + max(before, default=0.0)
        total += seconds
    return max([total / workers, *chains.values()])
