"""What a cell cost: alone, with all trainings that it rests on, as joules and CPU seconds, by what it went to.

Energy is the recorded joules of CPU and GPU. Records from before there was a meter have CPU seconds alone: theirs is
an estimate made here, power of a busy core x CPU seconds, and called "derived".
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from study.energy.cpu import CORE_WATTS
from study.energy.work import evaluated, forward
from study.record import Cost, Record

MEASURED, HALF, ESTIMATE, DERIVED = "measured", "half measured", "estimate", "derived"
BASES = {
    MEASURED: "measured by counters",
    HALF: f"the GPU's measured by its counter, beside an estimate of {CORE_WATTS:g} W for each CPU second",
    ESTIMATE: f"estimate: {CORE_WATTS:g} W for each CPU second",
    DERIVED: f"estimate, derived from CPU seconds afterwards: {CORE_WATTS:g} W for each",
}
"""Where energies come from, the best first."""


def explained(bases: "pd.Series[str]") -> str:
    """Where some energies come from, in words."""
    return "; ".join(text for name, text in BASES.items() if name in set(bases))


PHASES = ("mask", "training", "evaluation")
GROUP = ["dataset", "model", "recipe"]


@dataclass(frozen=True)
class Spent:
    """Joules and CPU seconds."""

    joules: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.joules + other.joules, self.cpu + other.cpu)


def basis(costs: Iterable[Cost]) -> str:
    """Where the energy of some trainings comes from: of several, the worst."""
    found = {DERIVED if cost.meter is None else _of_meter(cost.meter.cpu, cost.meter.gpu) for cost in costs}
    return next((name for name in reversed(BASES) if name in found), DERIVED)


def _of_meter(cpu: str, gpu: str) -> str:
    if "estimate" not in (cpu, gpu):
        return MEASURED
    return ESTIMATE if gpu in ("estimate", "none") else HALF


def spent(cost: Cost, *phases: str) -> Spent:
    """What some phases of a training took, by default all."""
    found = [getattr(cost, name) for name in phases or PHASES]
    return Spent(sum(phase.joules for phase in found), sum(phase.cpu for phase in found))


def of_record(record: Record) -> dict[str, object]:
    """The columns of a cell: joules to find its network, to train it and to evaluate it once; CPU seconds likewise.

    Finding is all that comes before the cell's own training: earlier trainings, and all masks. What the cell's own
    evaluations took is divided by how many there were.
    """
    costs, hardware = record.run.costs, record.run.hardware
    if not set(record.trainings) <= set(costs):
        return {}
    *before, own = (costs[training] for training in record.trainings)
    finding = sum((spent(cost) for cost in before), Spent()) + spent(own, "mask")
    training, evaluation = spent(own, "training"), spent(own, "evaluation")
    points = len(record.results.curves["iteration"])
    return {
        "finding_joules": finding.joules,
        "finding_cpu": finding.cpu,
        "scoring_joules": spent(own, "mask").joules,
        "training_joules": training.joules,
        "training_cpu": training.cpu,
        "evaluation_joules": evaluation.joules / points,
        "evaluated": evaluated(record.settings["dataset"]),
        "total_joules": finding.joules + training.joules + evaluation.joules,
        "total_cpu": finding.cpu + training.cpu + evaluation.cpu,
        "trainings": len(record.trainings),
        "iterations": own.iterations,
        "engine": own.engine,
        "basis": basis(costs.values()),
        "commit": record.run.git["commit"],
        "costs": costs,
        "operations": _operations_left(record),
        "bytes": record.results.bytes,
        "processor": ", ".join(hardware[name] for name in ("gpu", "cpu") if name in hardware),
    }


def relative(cells: pd.DataFrame) -> pd.DataFrame:
    """The same cells, with costs in percent of the median dense training of their network and recipe, n seeds.

    `finding_cost` and `total_cost` are of the dense training with its evaluations; `training_cost` is the cell's own
    training, without evaluations, in percent of dense ones. The costs of a network and recipe are those on one
    processor, the one that most of its cells ran on: a cell that ran on another has none.
    """
    if "total_joules" not in cells:
        return cells.assign(finding_cost=float("nan"), training_cost=float("nan"), total_cost=float("nan"))
    commonest = cells.groupby(GROUP)["processor"].transform(lambda names: names.mode().get(0))
    spent_there = cells.filter(regex="_(joules|cpu)$").where(cells["processor"] == commonest)
    cells = cells.assign(**spent_there)
    dense = cells[cells["method"].eq("dense") & cells["total_joules"].notna()]
    columns = ["total_joules", "training_joules"]
    medians = dense.groupby(GROUP)[columns].median().rename(columns=lambda name: f"dense_{name}").reset_index()
    found = cells.merge(medians, on=GROUP, how="left")
    return found.assign(
        finding_cost=100 * found["finding_joules"] / found["dense_total_joules"],
        training_cost=100 * found["training_joules"] / found["dense_training_joules"],
        total_cost=100 * found["total_joules"] / found["dense_total_joules"],
    )


def shared(cells: pd.DataFrame) -> tuple[float, float]:
    """Joules of all cells: each as if it were alone, and with trainings that they share counted once."""
    known = cells[cells["costs"].notna()]
    trainings = {training: cost for costs in known["costs"] for training, cost in costs.items()}
    return float(known["total_joules"].sum()), sum(cost.joules for cost in trainings.values())


def _operations_left(record: Record) -> float:
    """The fraction of the dense network's operations that the mask leaves."""
    results = record.results
    return forward(results.flops, results.prunable, results.kept) / sum(results.flops.values())
