"""Run a sweep: share, pack and run its trainings, and write a record for every cell."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from study.cell import Cell
from study.config import Run
from study.errors import Damaged
from study.execute.pool import Pool
from study.execute.queue import Queue
from study.execute.stopping import Stop, Stopped
from study.files import remove_leftovers, set_aside
from study.lineage import Node
from study.plan import Plan, PlannedCell, iterations, plan_cell
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
    """Plan the cells, equal ones once, and read the records that are there, setting aside what is damaged.

    Raises StudyError.
    """
    unique = {cell.id: cell for cell in cells}
    paths = {cell.id: run.records / f"{cell.slug}.json" for cell in unique.values()}
    records = {cell: record for cell, path in paths.items() if (record := _sound_record(path))}
    return Sweep(run, Store(run.store), Plan([plan_cell(cell) for cell in unique.values()]), records)


def _sound_record(path: Path) -> Record | None:
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except Damaged:
        set_aside(path)
        return None


def execute(sweep: Sweep, display: Display, stop: Stop) -> None:
    """Run what is missing, write the records and mirror them to W&B.

    A cell that fails leaves its reason in `sweep.failures`, the others finish. Raises StudyError for what stops them
    all: a damaged data set, a full disk. Where `stop` asks, raises Stopped once what is in hand is checkpointed.
    """
    for folder in (sweep.run.store, sweep.run.records.parent):
        remove_leftovers(folder, LEFTOVER_SECONDS)
    sweep.store.remove_spent_checkpoints()
    while True:
        try:
            missing = sweep.missing
            recorder = Recorder(sweep, display, missing)
            if missing:
                _run(missing, sweep, display, recorder, stop)
            return
        except Damaged:
            continue  # it is missing now


def _run(missing: dict[str, Node], sweep: Sweep, display: Display, recorder: "Recorder", stop: Stop) -> None:
    """Run trainings. Raises Damaged and Stopped, both once the workers have checkpointed what they had in hand."""
    cluster = sweep.run.cluster
    queue = Queue(missing, sweep.store, cluster.pack)
    size = min(cluster.workers, len(missing))
    length = {training: iterations(node) for training, node in missing.items()}
    pool = Pool(size, sweep.run.store, cluster)
    with pool, display.progress(sum(length.values())) as show:
        damage: Damaged | None = None
        while pool.busy or (queue.has_work and not (damage or stop.is_asked)):
            if (stop.is_asked or damage) and not pool.is_stopping:
                display.note("stopping: what is under way is being checkpointed; Ctrl-C again stops at once")
                pool.stop()
            while not pool.is_stopping and pool.has_room and (pack := queue.next_pack()):
                pool.submit(pack)
            try:
                for returned in pool.wait(POLL_SECONDS):
                    for training in queue.settle(returned):
                        recorder.finished(training)
                for training in queue.finished_elsewhere():
                    recorder.finished(training)
            except Damaged as found:
                damage = found
            cells = f"{len(sweep.records)}/{len(sweep.plan.cells)} cells"
            caption = f"{cells}, {len(queue.finished)}/{len(missing)} trainings"
            show(sum(length[training] for training in queue.finished) + pool.iterations, caption)
    recorder.give_up(queue.failures)
    if damage:
        raise damage
    if stop.signal_number is not None and queue.has_work:
        done = f"{len(queue.finished)} of {len(missing)} trainings finished"
        raise Stopped(f"stopped: {done}, those under way checkpointed; the same command goes on", stop.signal_number)


class Recorder:
    """Writes a sweep's records as soon as all trainings that a cell rests on are there, and mirrors them."""

    def __init__(self, sweep: Sweep, display: Display, missing: Collection[str]) -> None:
        self._sweep, self._display, self._tracker = sweep, display, Tracker(sweep.run)
        self._by_training: dict[str, list[tuple[PlannedCell, set[str]]]] = defaultdict(list)
        for planned in sweep.plan.cells:
            if planned.cell.id in sweep.records:
                self._tracker.mirror(sweep.records[planned.cell.id])
                continue
            lacking = {node.id for node in planned.trainings if node.id in missing}
            for training in lacking:
                self._by_training[training].append((planned, lacking))
            if not lacking:
                self._record(planned)

    def finished(self, training: str) -> None:
        """Record the cells for which this training was the last."""
        for planned, lacking in self._by_training.pop(training, []):
            lacking.discard(training)
            if not lacking:
                self._record(planned)

    def give_up(self, failures: dict[str, str]) -> None:
        """Note for the cells that wait for a failed training which reason it gave."""
        for training, reason in failures.items():
            for planned, _ in self._by_training[training]:
                self._sweep.failures[planned.cell.id] = reason

    def _record(self, planned: PlannedCell) -> None:
        cell, run = planned.cell, self._sweep.run
        results = {node.id: self._sweep.store.result(node.id) for node in planned.trainings}
        record = summarise(run.name, cell.id, cell.model_dump(mode="json"), results)
        write(run.records / f"{cell.slug}.json", record)
        self._sweep.records[cell.id] = record
        self._display.recorded(record)
        self._tracker.mirror(record)
