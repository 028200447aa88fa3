"""Where a sweep stands: what is done, running and missing, and how long the rest will take."""

import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np

from study.errors import Damaged
from study.lineage import Node
from study.plan import Kind, Plan, density, iterations, kind, needs
from study.record import Cost, Record, read_folder
from study.store import Store

SPEED_SAMPLE = 50

Speeds = Mapping[Kind, Mapping[float, float]]
"""What an iteration takes, evaluation included, by density: seconds by the clock, or joules."""

Measured = list[tuple[Kind, float, Cost]]
"""Trainings that were run: their kinds, densities and costs."""


@dataclass(frozen=True)
class Standing:
    """Where a sweep stands. `naive` counts every cell's trainings as if the cell were alone.

    `joules_left` are the least, the mean and the most, by the trainings that were measured.
    """

    cells: int
    cells_recorded: int
    naive: int
    trainings: int
    running: int
    missing: int
    seconds_left: float | None
    joules_left: tuple[float, float, float] | None
    measured_on: str | None


def standing(plan: Plan, store: Store, recorded: set[str], workers: int, published: Path) -> Standing:
    """Compare a plan with the store and the records.

    The time left is estimated from the trainings that the store has of the same networks, else from the records in
    `published`, interpolated between the densities that were measured; it is None where neither has one.
    """
    missing = plan.missing(store, recorded)
    measured, measured_on = _known(plan, store, published) if missing else ([], None)
    speeds = _speeds(measured, lambda cost: cost.wall, mean)
    each = {training: expected(node, speeds) for training, node in missing.items()}
    known = {training: seconds for training, seconds in each.items() if seconds is not None}
    ends = [_work_left(missing, _speeds(measured, lambda cost: cost.joules, of)) for of in (min, mean, max)]
    return Standing(
        cells=len(plan.cells),
        cells_recorded=len(recorded),
        naive=sum(len(planned.trainings) for planned in plan.cells),
        trainings=len(plan.trainings),
        running=sum(store.is_leased(training) for training in missing),
        missing=len(missing),
        seconds_left=spread(needs(missing), known, workers) if len(known) == len(missing) else None,
        joules_left=None if ends[1] is None else (ends[0] or 0.0, ends[1], ends[2] or 0.0),
        measured_on=measured_on,
    )


def known_speeds(plan: Plan, store: Store, published: Path) -> Speeds:
    """Seconds an iteration of a plan's networks, from the store, else from the published records."""
    return _speeds(_known(plan, store, published)[0], lambda cost: cost.wall, mean)


def expected(training: Node, speeds: Speeds) -> float | None:
    """What a training takes in all, None where nothing like it was measured."""
    if kind(training) not in speeds:
        return None
    by_density = speeds[kind(training)]
    each = np.interp(density(training), list(by_density), list(by_density.values()))
    return float(each) * iterations(training)


def spread(waiting: Mapping[str, list[str]], each: Mapping[str, float], workers: int) -> float:
    """Seconds for all, given those for each: spread over the workers, no less than the longest chain of trainings that
    wait for each other. `waiting` lists each training after those it needs; one for which no seconds are given is done.
    """
    chains: dict[str, float] = {}
    for training, earlier in waiting.items():
        chains[training] = each.get(training, 0.0) + max((chains[one] for one in earlier), default=0.0)
    return max([sum(each.values()) / workers, *chains.values()])


def _known(plan: Plan, store: Store, published: Path) -> tuple[Measured, str | None]:
    finished = [training for training in plan.trainings if store.has_training(training)]
    measured = _stored(plan, store, finished)
    return (measured, "this machine's store") if measured else _published(read_folder(published))


def _stored(plan: Plan, store: Store, finished: list[str]) -> Measured:
    measured = []
    for training in random.Random(0).sample(finished, min(SPEED_SAMPLE, len(finished))):
        node = plan.trainings[training]
        with suppress(Damaged):
            measured.append((kind(node), density(node), Cost(**store.result(training)["cost"])))
    return measured


def _published(records: list[Record]) -> tuple[Measured, str | None]:
    measured = []
    for record in records:
        model, dataset, recipe = (record.settings[group] for group in ("model", "dataset", "recipe"))
        own = (model["name"], dataset["name"], recipe["batch_size"]), 1 - record.sparsity
        measured.append((*own, record.run.costs[record.trainings[-1]]))
    measured_on = f"the published records' machine ({records[0].run.hardware['cpu']})" if records else None
    return measured, measured_on


def _speeds(measured: Measured, taken: Callable[[Cost], float], of: Callable[[list[float]], float]) -> Speeds:
    """The least, the mean or the most of what an iteration took, by kind and density."""
    found: dict[Kind, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for what, at, cost in measured:
        found[what][at].append(taken(cost) / cost.iterations)
    return {what: {at: of(values) for at, values in sorted(by.items())} for what, by in found.items()}


def _work_left(missing: Mapping[str, Node], speeds: Speeds) -> float | None:
    """Of all missing trainings; None where one is of a kind that was not measured, or none is missing."""
    each = [expected(node, speeds) for node in missing.values()]
    return sum(filter(None, each)) if each and None not in each else None
