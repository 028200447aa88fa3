"""What a sweep needs, what it has, what it lacks. Planning trains nothing and computes no mask."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from study import data, methods, models
from study.cell import Cell, Control, Init
from study.errors import StudyError
from study.lineage import Node, Training, digest, initial
from study.methods.controls import shuffled
from study.methods.masks import sizes
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
    """Ask the cell's method what it needs. Raises StudyError where the method can't meet the settings.

    Where nothing is pruned and nothing controlled every method is dense, and all share one training.
    """
    shape = data.shape(cell.dataset.name, cell.dataset.size)
    split = {"dataset": cell.dataset.identity(), "seed": cell.seed}

    def initial_network(draw: str = "", init: Init | None = None) -> Node:
        model = cell.model.model_copy(update={"init": init}) if init else cell.model
        arguments = {"model": model.identity(), "dataset": cell.dataset.name, "seed": cell.seed}
        arguments |= {"size": cell.dataset.size} if cell.dataset.size else {}
        return Node("initialise", arguments | ({"draw": draw} if draw else {}))

    def training(request: Training) -> Node:
        if request.since >= cell.recipe.iterations:
            raise ValueError(
                f"nothing is left to train after iteration {request.since} of {cell.recipe.iterations}: "
                "lower method.rewind, or raise recipe.iterations"
            )
        part = {"since": request.since} if request.since else {}
        part |= {"until": request.until} if request.until else {}
        arguments = {"start": request.start, "mask": request.mask, "recipe": cell.recipe.identity(), **split}
        return Node("train", arguments | part)

    start = initial_network()
    name, settings = cell.method.name, cell.method.model_dump(exclude={"name"})
    if cell.sparsity == 0 and cell.control.name == "none":
        name, settings = "dense", {}
    scored = settings.get("scored", "trained")
    handles = {
        "start": start,
        "network": start if scored == "trained" else initial_network("scored", None if scored == "redrawn" else scored),
        "examples": Node("examples", split),
        "inputs": list(shape.inputs),
        "layers": models.layers(cell.model, shape.inputs, shape.classes),
        "sparsity": cell.sparsity,
        "seed": cell.seed,
        "ranking": methods.ranking(name, cell.control.name),
    }
    try:
        request = methods.ask(name, handles, settings, training)
    except ValueError as error:
        raise StudyError(f"{cell.slug}: {error}") from None
    match cell.control:
        case Control(name="shuffle", draw=draw):
            request = replace(request, mask=shuffled(request.mask, cell.seed, draw))
        case Control(name="reinitialise", draw=draw):
            request = replace(request, start=initial_network(f"reinitialised {draw}"))
    return PlannedCell(cell, training(request))


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


def needs(missing: Mapping[str, Node]) -> dict[str, list[str]]:
    """For each of some trainings, those among the others that it waits for."""
    return {
        training: [earlier.id for earlier in node.trainings() if earlier.id in missing and earlier.id != training]
        for training, node in missing.items()
    }


Kind = tuple[str, str, int]
"""The names of model and data set, the batch size."""


def iterations(training: Node) -> int:
    """How many iterations a training runs."""
    whole: int = training.arguments["recipe"]["iterations"]
    return int(training.arguments.get("until", whole)) - int(training.arguments.get("since", 0))


def kind(training: Node) -> Kind:
    """What trainings of one kind share: at equal densities they run at the same speed."""
    model, recipe = initial(training).arguments["model"], training.arguments["recipe"]
    return model["name"], training.arguments["dataset"]["name"], recipe["batch_size"]


def companions(training: Node) -> str:
    """Equal for trainings that may run side by side: all but seeds, masks and learning rates agree."""
    arguments, model = training.arguments, initial(training).arguments["model"]
    rates = ("learning_rate", "drops", "drop_factor", "warmup")
    recipe = {name: value for name, value in arguments["recipe"].items() if name not in rates}
    shared = {name: arguments.get(name) for name in ("dataset", "since", "until")}
    return digest({"model": {**model, "init": None}, "recipe": recipe, **shared})


def density(training: Node) -> float:
    """The fraction of the prunable weights that a training keeps, from how its mask will be made."""
    mask = training.arguments["mask"]
    while "sparsity" not in mask.arguments and "kept" not in mask.arguments and "mask" in mask.arguments:
        mask = mask.arguments["mask"]
    if "sparsity" in mask.arguments:
        return 1 - float(mask.arguments["sparsity"])
    if "kept" not in mask.arguments:
        return 1.0
    kept, before = mask.arguments["kept"], mask
    while "layers" not in before.arguments:
        before = before.arguments["mask"]
    total = sizes(before.arguments["layers"])
    spared = sum(total[name] for name in mask.arguments.get("spared", ()))
    return (sum(kept.values()) if isinstance(kept, dict) else kept + spared) / sum(total.values())
