"""Run a sweep: share, pack and run its trainings, and write a record for every cell."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from study.cell import Cell
from study.config import Run, workers
from study.files import remove_leftovers
from study.lineage import Node
from study.plan import Plan, PlannedCell, plan_cell
from study.pool import Pool
from study.queue import Queue
from study.record import Record, read, summarise, write
from study.store import Store
from study.terminal import Display
from study.tracking import Tracker

POLL_SECONDS = 0.25
LEFTOVER_SECONDS = 3600.0


@dataclass
class Sweep:
    """Cells of one experiment in one output folder: what they need, what is recorded, what has failed."""

    run: Run
    store: Store
    plan: Plan
    records: dict[str, Record]
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> dict[str, Node]:
        """The trainings still to be run, each after those it needs."""
        return self.plan.missing(self.store, set(self.records))


def open_sweep(cells: Iterable[Cell], run: Run) -> Sweep:
    """Plan the cells, equal ones once, and read the records that are there. Raises StudyError."""
    unique = {cell.id: cell for cell in cells}
    paths = {cell.id: run.records / f"{cell.name}.json" for cell in unique.values()}
    records = {cell: read(path) for cell, path in paths.items() if path.exists()}
    return Sweep(run, Store(run.store), Plan([plan_cell(cell) for cell in unique.values()]), records)


def execute(sweep: Sweep, display: Display) -> None:
    """Run what is missing, write the records and mirror them to W&B.

    A cell that fails leaves its reason in `sweep.failures`, the others finish. Raises StudyError for what stops them
    all: a damaged data set, a full disk.
    """
    for folder in (sweep.run.store, sweep.run.records.parent):
        remove_leftovers(folder, LEFTOVER_SECONDS)
    tracker = Tracker(sweep.run)
    for record in sweep.records.values():
        tracker.mirror(record)
    by_training = defaultdict(list)
    for planned in sweep.plan.cells:
        if planned.cell.id not in sweep.records:
            by_training[planned.training.id].append(planned)

    def record_cells(training: str) -> None:
        for planned in by_training.pop(training, []):
            record = _record(planned, sweep)
            write(sweep.run.records / f"{planned.cell.name}.json", record)
            sweep.records[planned.cell.id] = record
            display.recorded(record)
            tracker.mirror(record)

    missing = sweep.missing
    for planned in [p for cells in by_training.values() for p in cells[:1]]:
        if not any(node.id in missing for node in planned.trainings):
            record_cells(planned.training.id)
    if not missing:
        return

    queue = Queue(missing, sweep.store, sweep.run.cluster.pack)
    size = min(workers(sweep.run.cluster), len(missing))
    device = sweep.run.cluster.device or ("cuda" if torch.cuda.is_available() else "cpu")
    length = {training: node.arguments["recipe"]["iterations"] for training, node in missing.items()}
    with Pool(size, sweep.run.store, device) as pool, display.progress(sum(length.values())) as show:
        while queue.has_work or pool.busy:
            while pool.has_room and (pack := queue.next_pack()):
                pool.submit(pack)
            for finished in pool.wait(POLL_SECONDS):
                for training in queue.settle(finished):
                    record_cells(training)
            for training in queue.finished_elsewhere():
                record_cells(training)
            caption = (
                f"{len(sweep.records)}/{len(sweep.plan.cells)} cells, {len(queue.finished)}/{len(missing)} trainings"
            )
            show(sum(length[training] for training in queue.finished) + pool.iterations, caption)
    for unfinished in by_training.values():
        for planned in unfinished:
            reasons = [queue.failures[node.id] for node in planned.trainings if node.id in queue.failures]
            sweep.failures[planned.cell.id] = reasons[0]


def _record(planned: PlannedCell, sweep: Sweep) -> Record:
    results = {node.id: sweep.store.result(node.id) for node in planned.trainings}
    return summarise(sweep.run.name, planned.cell.id, planned.cell.model_dump(mode="json"), results)
