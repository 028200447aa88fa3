"""How long a sweep under way will yet take."""

from collections.abc import Collection, Mapping, Sequence

from study.lineage import Node
from study.plan import iterations, needs
from study.standing import Speeds, expected, spread

Pack = tuple[Sequence[Node], int]
"""Trainings in one worker's hands, and their iterations done, summed."""


class Forecast:
    """Goes by what has been done and how fast.

    Trainings in hand go on at their own pace, a dense one slower than a sparse one. What waits takes what is expected
    of it, by as much longer or shorter as the work so far did. Where some speed is not known, every iteration is
    expected to take the same.
    """

    def __init__(self, missing: Mapping[str, Node], speeds: Speeds, workers: int, now: float) -> None:
        """Speeds in seconds an iteration; times in seconds of one clock."""
        each = {training: expected(node, speeds) for training, node in missing.items()}
        known = {training: seconds for training, seconds in each.items() if seconds is not None}
        self._are_seconds = len(known) == len(missing)
        self._work = known if self._are_seconds else {t: float(iterations(node)) for t, node in missing.items()}
        self._waiting, self._workers = needs(missing), workers
        self._first: dict[str, tuple[float, int]] = {}
        self._found_done: dict[str, float] = {}
        self._busy, self._last = 0.0, now

    def seconds_left(self, finished: Collection[str], in_hand: Sequence[Pack], now: float) -> float | None:
        """By the clock, None where nothing is known yet."""
        self._busy += (now - self._last) * len(in_hand)
        self._last = now
        done = sum(self._work[training] * (1 - self._found_done.get(training, 0.0)) for training in finished)
        left = {training: work for training, work in self._work.items() if training not in finished}
        at_own_pace: list[tuple[Sequence[Node], float]] = []
        for pack, count in in_hand:
            total = sum(map(iterations, pack))
            since, before = self._first_report(pack, count, total, now)
            for node in pack:
                done += self._work[node.id] * (count - before) / total
                left[node.id] = self._work[node.id] * (1 - count / total)
            if count > before:
                at_own_pace.append((pack, (now - since) / (count - before) * (total - count)))
        rate = self._busy / done if self._busy and done else 1.0 if self._are_seconds else None
        if rate is None:
            return None
        each = {training: work * rate for training, work in left.items()}
        each |= {node.id: seconds / len(pack) for pack, seconds in at_own_pace for node in pack}
        return max([spread(self._waiting, each, self._workers), *(seconds for _, seconds in at_own_pace)])

    def _first_report(self, pack: Sequence[Node], count: int, total: int, now: float) -> tuple[float, int]:
        """When a worker first told how far it was, and how far: what it went on from is not its work."""
        if not count:
            return now, 0
        first = self._first.setdefault(pack[0].id, (now, count))
        for node in pack:
            self._found_done.setdefault(node.id, first[1] / total)
        return first
