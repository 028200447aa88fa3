"""Where a sweep stands: what is done, running and missing, and how long the rest will take."""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np

from study.errors import Damaged
from study.lineage import Node
from study.plan import Kind, Plan, density, iterations, kind
from study.record import Cost, Record, read_folder
from study.store import Store

SPEED_SAMPLE = 50

Speeds = Mapping[Kind, Mapping[float, float]]
"""Seconds an iteration, evaluation included, by density."""


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
    `published`, interpolated between the densities that were measured; it is None where neither has one.
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


def _stored_speeds(plan: Plan, store: Store, finished: list[str]) -> Speeds:
    measured = []
    for training in random.Random(0).sample(finished, min(SPEED_SAMPLE, len(finished))):
        node = plan.trainings[training]
        with suppress(Damaged):
            measured.append((kind(node), density(node), Cost(**store.result(training)["cost"])))
    return _means(measured)


def _published_speeds(records: list[Record]) -> tuple[Speeds, str | None]:
    measured = []
    for record in records:
        model, dataset, recipe = (record.settings[group] for group in ("model", "dataset", "recipe"))
        own = (model["name"], dataset["name"], recipe["batch_size"]), 1 - record.sparsity
        measured.append((*own, record.run.costs[record.trainings[-1]]))
    measured_on = f"the published records' machine ({records[0].run.hardware['cpu']})" if records else None
    return _means(measured), measured_on


def _means(measured: Iterable[tuple[Kind, float, Cost]]) -> Speeds:
    seconds: dict[Kind, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for of, at, cost in measured:
        seconds[of][at].append(cost.wall / cost.iterations)
    return {of: {at: mean(values) for at, values in sorted(by.items())} for of, by in seconds.items()}


def _seconds_left(missing: Mapping[str, Node], speeds: Speeds, workers: int) -> float | None:
    """The larger of all work spread over the workers and the longest chain of trainings that wait for each other."""
    total = 0.0
    chains: dict[str, float] = {}
    for training, node in missing.items():
        if kind(node) not in speeds:
            return None
        by_density = speeds[kind(node)]
        each = np.interp(density(node), list(by_density), list(by_density.values()))
        seconds = float(each) * iterations(node)
        before = (chains.get(earlier.id, 0.0) for earlier in node.trainings())
        chains[training] = seconds + max(before, default=0.0)
        total += seconds
    return max([total / workers, *chains.values()])
