"""Worker processes, one thread each. A worker that dies takes nothing with it but the work in its hands."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from study.config import Cluster
from study.execute import forkserver
from study.lineage import Node
from study.training.names import Point


class WorkerDied(Exception):
    """A worker process ended by itself: killed, or out of memory."""


@dataclass
class Worker:
    """One worker process. `reported` is a shared integer, the iterations done of its pack's trainings, summed."""

    process: BaseProcess
    connection: Connection
    reported: Any
    pack: list[Node] | None = None


@dataclass(frozen=True)
class Finished:
    """A pack that came back: the error that ended it, if one did, and what each of its failed trainings raised."""

    pack: list[Node]
    error: Exception | None = None
    failures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluated:
    """What was measured in trainings under way since they were last told of, by their ids."""

    points: Mapping[str, list[Point]]


class Pool:
    """A fixed number of workers, each given one pack at a time. Leaving the block ends them.

    Workers are forked from a server process (forkserver.py).
    """

    def __init__(self, workers: int, store: Path, cluster: Cluster) -> None:
        self._context = forkserver.context()
        self._store, self._cluster = store, cluster
        self._stopping = self._context.RawValue("b", 0)
        self._workers = [self._start(number) for number in range(workers)]

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._workers:
            one.process.kill()
        for one in self._workers:
            one.process.join()

    @property
    def room(self) -> int:
        """How many workers are free."""
        return sum(one.pack is None for one in self._workers)

    @property
    def busy(self) -> int:
        return sum(one.pack is not None for one in self._workers)

    @property
    def in_hand(self) -> list[tuple[list[Node], int]]:
        """The packs that were given out, each with the iterations done of its trainings, summed."""
        return [(one.pack, one.reported.value) for one in self._workers if one.pack is not None]

    def submit(self, pack: list[Node]) -> None:
        """Give a pack to a free worker. One that is dead is found out by `wait`."""
        one = next(one for one in self._workers if one.pack is None)
        one.pack = pack
        with suppress(ConnectionError):
            one.connection.send(pack)

    def stop(self) -> None:
        """Have the packs in hand checkpointed and come back unfinished."""
        self._stopping.value = 1

    @property
    def is_stopping(self) -> bool:
        return bool(self._stopping.value)

    def wait(self, seconds: float) -> list[Finished | Evaluated]:
        """The first to come within a time, of packs that are back and of evaluations in those that are not.

        Dead workers are replaced, their packs have a WorkerDied.
        """
        ready = wait([one.connection for one in self._workers if one.pack is not None], seconds)
        come: list[Finished | Evaluated] = []
        for index, one in enumerate(self._workers):
            if one.connection in ready and one.pack is not None:
                try:
                    message = one.connection.recv()
                    come.append(Evaluated(message) if isinstance(message, dict) else Finished(one.pack, *message))
                except (EOFError, ConnectionError):
                    one.process.join()
                    come.append(Finished(one.pack, WorkerDied(f"exit code {one.process.exitcode}")))
                    self._workers[index] = self._start(index)
                if isinstance(come[-1], Finished):
                    one.pack = None
        return come

    def _start(self, number: int) -> Worker:
        ours, theirs = self._context.Pipe()
        reported = self._context.RawValue("Q", 0)
        arguments = theirs, reported, self._stopping, self._store, self._cluster.of_worker(number)
        process = self._context.Process(target=forkserver.work, args=arguments, daemon=True)
        process.start()
        theirs.close()
        return Worker(process, ours, reported)
