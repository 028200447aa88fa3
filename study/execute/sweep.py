"""Run a sweep: share, pack and run its trainings, and write a record for every cell."""

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from study.cell import Cell
from study.config import Run
from study.errors import Damaged, StudyError
from study.execute.forecast import Forecast
from study.execute.pool import Evaluated, Pool
from study.execute.queue import Queue
from study.execute.stopping import Stop, Stopped
from study.files import remove_leftovers, set_aside
from study.lineage import Node
from study.plan import Plan, PlannedCell, iterations, plan_cell
from study.record import Record, read, summarise, write
from study.standing import Standing, known_speeds, standing
from study.store import Store
from study.terminal import Display
from study.tracking import Tracker
from study.training.names import Point

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

    @property
    def unrecorded(self) -> list[PlannedCell]:
        """The cells that have no record."""
        return [planned for planned in self.plan.cells if planned.cell.id not in self.records]

    def standing(self, workers: int) -> Standing:
        """Where it stands, and how long `workers` will take."""
        return standing(self.plan, self.store, set(self.records), workers, self.run.published)


def open_sweep(cells: Iterable[Cell], run: Run) -> Sweep:
    """Plan the cells, equal ones once, and read the records that are there, setting aside what is damaged.

    Raises StudyError.
    """
    unique = {cell.id: cell for cell in cells}
    paths = {cell.id: run.records / f"{cell.slug}.json" for cell in unique.values()}
    records = {cell: record for cell, path in paths.items() if (record := _sound_record(path))}
    return Sweep(run, Store(run.store), Plan([plan_cell(cell) for cell in unique.values()]), records)


def run_here(sweep: Sweep, display: Display, stop: Stop) -> None:
    """Say what there is to do, do it on this machine, and say what came of it. Raises StudyError and Stopped."""
    begun, todo = time.monotonic(), len(sweep.unrecorded)
    display.plan(sweep.run.name, sweep.standing(sweep.run.cluster.workers))
    execute(sweep, display, stop)
    seconds = time.monotonic() - begun
    display.end(sweep.records.values(), sweep.failures, todo, seconds, sweep.run.records)


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
            with Recorder(sweep, display) as recorder:
                recorder.begin(missing)
                if missing:
                    _run(missing, sweep, display, recorder, stop)
            return
        except Damaged:
            continue  # it is missing now


def _run(missing: dict[str, Node], sweep: Sweep, display: Display, recorder: "Recorder", stop: Stop) -> None:
    """Run trainings. Raises StudyError, OSError and Stopped once the workers have checkpointed what they had."""
    cluster = sweep.run.cluster
    queue = Queue(missing, sweep.store, cluster.pack)
    size = min(cluster.workers, len(missing))
    length = {training: iterations(node) for training, node in missing.items()}
    speeds = known_speeds(sweep.plan, sweep.store, sweep.run.published)
    forecast = Forecast(missing, speeds, size, time.monotonic())
    pool = Pool(size, sweep.run.store, cluster)
    with pool, display.progress(sum(length.values())) as show:
        trouble: StudyError | OSError | None = None
        while pool.busy or (queue.has_work and not (trouble or stop.is_asked)):
            if (stop.is_asked or trouble) and not pool.is_stopping:
                if stop.is_asked:
                    display.note("stopping: what is under way is being checkpointed; Ctrl-C again stops at once")
                pool.stop()
            while not pool.is_stopping and pool.room and (pack := queue.next_pack(pool.room)):
                pool.submit(pack)
            try:
                for come in pool.wait(POLL_SECONDS):
                    if isinstance(come, Evaluated):
                        recorder.evaluated(come.points)
                        continue
                    for training in queue.settle(come):
                        recorder.finished(training)
                for training in queue.finished_elsewhere():
                    recorder.finished(training)
            except (StudyError, OSError) as found:
                trouble = trouble or found
            cells = f"{len(sweep.records)}/{len(sweep.plan.cells)} cells"
            caption = f"{cells}, {len(queue.finished)}/{len(missing)} trainings{recorder.latest}"
            in_hand = pool.in_hand
            run = sum(length[training] for training in queue.finished) + sum(count for _, count in in_hand)
            show(run, caption, forecast.seconds_left(queue.finished, in_hand, time.monotonic()))
    recorder.give_up(queue.failures)
    if trouble:
        raise trouble
    if stop.signal_number is not None and queue.has_work:
        done = f"{len(queue.finished)} of {len(missing)} trainings finished"
        raise Stopped(f"stopped: {done}, those under way checkpointed; the same command goes on", stop.signal_number)


class Recorder(AbstractContextManager["Recorder"]):
    """Writes a sweep's records as soon as all trainings that a cell rests on are there, and mirrors them.

    `latest` is the last accuracy that was measured, for the display. Leaving the block waits for W&B.
    """

    def __init__(self, sweep: Sweep, display: Display) -> None:
        self._sweep, self._display, self._tracker = sweep, display, Tracker(sweep.run)
        self._by_training: dict[str, list[tuple[PlannedCell, set[str]]]] = defaultdict(list)
        self._own: dict[str, list[Cell]] = defaultdict(list)
        self.latest = ""

    def begin(self, missing: Collection[str]) -> None:
        """Mirror what is recorded, record what needs no training, and note what the other cells wait for."""
        records = self._sweep.records
        for planned in self._sweep.plan.cells:
            if planned.cell.id in records:
                self._tracker.mirror(records[planned.cell.id], self._files(planned))
                continue
            self._own[planned.training.id].append(planned.cell)
            lacking = {node.id for node in planned.trainings if node.id in missing}
            for training in lacking:
                self._by_training[training].append((planned, lacking))
            if not lacking:
                self._record(planned)

    def __exit__(self, *_: object) -> None:
        self._tracker.close()

    def evaluated(self, points: Mapping[str, list[Point]]) -> None:
        """Show the latest accuracy, and log what was measured to the cells whose own training it is."""
        for training, new in points.items():
            for cell in self._own[training]:
                self._tracker.log(cell, new)
            if new:
                self.latest = f", latest test accuracy {new[-1]['test_accuracy']:.1%}"

    def finished(self, training: str) -> None:
        """Record the cells for which this training was the last."""
        if self._sweep.run.verbose:
            self._display.trained(training, self._sweep.store.result(training))
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
        path = run.records / f"{cell.slug}.json"
        record = _sound_record(path)  # another driver may have been first
        if record is None:
            results = {node.id: self._sweep.store.result(node.id) for node in planned.trainings}
            record = summarise(run.name, cell.id, cell.model_dump(mode="json"), results)
            write(path, record)
        self._sweep.records[cell.id] = record
        self._display.recorded(record)
        self._tracker.mirror(record, self._files(planned))

    def _files(self, planned: PlannedCell) -> list[Path]:
        """The cell's record and mask."""
        record = self._sweep.run.records / f"{planned.cell.slug}.json"
        return [record, self._sweep.store.mask_path(planned.training.arguments["mask"].id)]
