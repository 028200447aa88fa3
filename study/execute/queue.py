"""Which trainings can run now, and what becomes of those that come back."""

import heapq
import math
from collections import Counter
from graphlib import TopologicalSorter
from itertools import count

from study.errors import StudyError
from study.execute.pool import Finished, WorkerDied
from study.lineage import Node
from study.plan import companions, needs
from study.store import Store

LIVES = 3


class Queue:
    """The trainings of a sweep as they can run, first those for which the longest chain of others waits."""

    def __init__(self, missing: dict[str, Node], store: Store, pack: int) -> None:
        self.finished: set[str] = set()
        self.failures: dict[str, str] = {}
        self._missing, self._store, self._pack = missing, store, pack
        waiting = needs(missing)
        self._sorter = TopologicalSorter(waiting)
        self._sorter.prepare()
        self._height = _heights(waiting)
        self._ready: list[tuple[int, int, str]] = []
        self._elsewhere: list[str] = []
        self._deaths: Counter[str] = Counter()
        self._at_most: dict[str, int] = {}
        self._ticket = count()

    @property
    def has_work(self) -> bool:
        """Whether anything can be run, or waits for somebody else's run."""
        self._collect_ready()
        return bool(self._ready or self._elsewhere)

    def next_pack(self, room: int) -> list[Node]:
        """Trainings that can run now, and side by side, none where nothing can; a share for one of `room` workers."""
        self._collect_ready()
        pack: list[Node] = []
        skipped, size = [], min(self._pack, math.ceil(len(self._ready) / room))
        while self._ready and len(pack) < size:
            entry = heapq.heappop(self._ready)
            node = self._missing[entry[-1]]
            most = self._at_most.get(node.id, self._pack)
            if self._store.is_leased(node.id):
                self._elsewhere.append(node.id)
            elif not pack or (len(pack) < most and companions(node) == companions(pack[0])):
                pack.append(node)
                size = min(size, most)
            else:
                skipped.append(entry)
        for entry in skipped:
            heapq.heappush(self._ready, entry)
        return pack

    def settle(self, pack: Finished) -> list[str]:
        """Take back a pack: the trainings that are finished now. The rest waits, runs again, or has failed."""
        if isinstance(pack.error, StudyError | OSError):
            raise pack.error
        done = []
        for node in pack.pack:
            if self._store.has_training(node.id):
                done.append(node.id)
            elif isinstance(pack.error, WorkerDied):
                self._retry(node, len(pack.pack), pack.error)
            elif node.id in pack.failures:
                self.failures[node.id] = pack.failures[node.id]
            else:
                self._elsewhere.append(node.id)
        self._done(done)
        return done

    def finished_elsewhere(self) -> list[str]:
        """Trainings that somebody else has finished; those that somebody else gave up are to be run here."""
        done = [training for training in self._elsewhere if self._store.has_training(training)]
        free = [t for t in self._elsewhere if t not in done and not self._store.is_leased(t)]
        self._elsewhere = [t for t in self._elsewhere if t not in done and t not in free]
        for training in free:
            self._push(training)
        self._done(done)
        return done

    def _done(self, trainings: list[str]) -> None:
        self.finished.update(trainings)
        self._sorter.done(*trainings)

    def _retry(self, node: Node, together: int, death: WorkerDied) -> None:
        """Run a training again, in half the company: together they may have been too large for the memory."""
        self._at_most[node.id] = max(1, together // 2)
        self._deaths[node.id] += together == 1
        if self._deaths[node.id] < LIVES:
            self._push(node.id)
        else:
            reason = f"its worker died {LIVES} times, last with {death}; is the memory too small?"
            self.failures[node.id] = reason

    def _collect_ready(self) -> None:
        for training in self._sorter.get_ready():
            self._push(training)

    def _push(self, training: str) -> None:
        heapq.heappush(self._ready, (-self._height[training], next(self._ticket), training))


def _heights(waiting: dict[str, list[str]]) -> dict[str, int]:
    """How many trainings wait for each in a chain. `waiting` lists each training after those it needs."""
    height = dict.fromkeys(waiting, 0)
    for training, before in reversed(waiting.items()):
        for earlier in before:
            height[earlier] = max(height[earlier], height[training] + 1)
    return height
