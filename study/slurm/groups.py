"""Which cells go to one job: those that share trainings, or can run side by side on a GPU, as many as fill its time."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from study.cell import Cell
from study.config import Slurm
from study.lineage import Node
from study.plan import PlannedCell, companions, iterations
from study.standing import Speeds, expected

SECONDS_AN_ITERATION = 0.02
"""What is assumed where no speed is known."""


@dataclass(frozen=True)
class Group:
    """Cells of one job. `total` is the estimated seconds of their trainings, `longest` those of the longest chain."""

    cells: tuple[Cell, ...]
    trainings: int
    total: float
    longest: float

    def __add__(self, other: "Group") -> "Group":
        """Both together, which share no training."""
        trainings, total = self.trainings + other.trainings, self.total + other.total
        return Group(self.cells + other.cells, trainings, total, max(self.longest, other.longest))

    def seconds(self, workers: int) -> float:
        """By the clock, spread over workers."""
        return max(self.total / workers, self.longest)


def group(cells: Sequence[PlannedCell], missing: Mapping[str, Node], speeds: Speeds, cluster: Slurm) -> list[Group]:
    """Divide cells among jobs. Those that share a missing training are never parted, however long they take.

    On a GPU, neither are those that can run side by side, up to a pack of trainings.
    """
    estimates = {training: _estimate(node, speeds) for training, node in missing.items()}
    alike: dict[str, list[Group]] = defaultdict(list)
    for part in _sharing(cells, missing):
        alike[companions(part[0].training)].append(_group(part, estimates))
    parts = [_fill(same, lambda g: g.trainings <= cluster.pack) if cluster.gpus else same for same in alike.values()]
    return _fill(chain.from_iterable(parts), lambda g: g.seconds(cluster.workers) <= cluster.job_minutes * 60)


def _sharing(cells: Sequence[PlannedCell], missing: Mapping[str, Node]) -> list[list[PlannedCell]]:
    """The cells in parts that share no missing training."""
    from scipy.cluster.hierarchy import DisjointSet  # here: it takes long to import

    sets = DisjointSet(planned.cell.id for planned in cells)
    for planned in cells:
        for node in planned.trainings:
            if node.id in missing:
                sets.add(node.id)
                sets.merge(planned.cell.id, node.id)
    parts: dict[str, list[PlannedCell]] = defaultdict(list)
    for planned in cells:
        parts[sets[planned.cell.id]].append(planned)
    return list(parts.values())


def _group(part: list[PlannedCell], estimates: Mapping[str, float]) -> Group:
    nodes = {node.id: node for planned in part for node in planned.trainings if node.id in estimates}
    ends: dict[str, float] = {}
    for training, node in nodes.items():
        before = max((ends.get(earlier.id, 0.0) for earlier in node.trainings()), default=0.0)
        ends[training] = before + estimates[training]
    total, longest = sum(estimates[training] for training in nodes), max(ends.values(), default=0.0)
    return Group(tuple(planned.cell for planned in part), len(nodes), total, longest)


def _estimate(node: Node, speeds: Speeds) -> float:
    known = expected(node, speeds)
    return iterations(node) * SECONDS_AN_ITERATION if known is None else known


def _fill(groups: Iterable[Group], fits: Callable[[Group], bool]) -> list[Group]:
    """Join successive groups for as long as what results fits."""
    joined: list[Group] = []
    for one in groups:
        if joined and fits(joined[-1] + one):
            joined[-1] += one
        else:
            joined.append(one)
    return joined
