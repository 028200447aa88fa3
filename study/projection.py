"""What trainings would take on named hardware, from their floating-point operations: GPUs by published utilisation,
a core by what the benchmark of this study's engines measured on it."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import yaml
from pydantic import Field

from study.config import ROOT
from study.energy import work
from study.energy.carbon import Part, Range, Region

HARDWARE = ROOT / "conf" / "hardware"
BENCHMARKS = ROOT / "results" / "benchmarks"
EVALUATED = 15_000
"""Images of an evaluation in the benchmark."""

SMALL_STEP = 1e-3
"""Seconds below which a step of a GPU is more waiting than computing."""


class Hardware(Part):
    """A device of conf/hardware: thermal design power in W, peak in TFLOP/s (None: by benchmark), USD per hour."""

    name: str
    tdp: float = Field(gt=0)
    peak: float | None = None
    utilisation: Range | None = None
    price: Range
    sources: dict[str, str]


@dataclass(frozen=True)
class Task:
    """What a training asks for: examples to train on and to evaluate, operations of one forward through all weights."""

    network: str
    density: float
    forward: int
    trained: int
    evaluated: int

    @property
    def operations(self) -> int:
        """On kernels that do not skip pruned weights."""
        return work.training(self.forward, self.trained) + self.forward * self.evaluated


@dataclass(frozen=True)
class Speed:
    """Seconds an example, to train on it and to evaluate it, by density: first quartile, median, third quartile.

    `forward` are the operations of that example, as in Task.
    """

    forward: int
    training: Mapping[float, Range]
    evaluation: Mapping[float, Range]

    def seconds(self, task: Task, end: str) -> float:
        """CPU seconds of a task, at the quartile `end`: interpolated between densities, in proportion to operations."""
        as_measured = sum(
            count * float(np.interp(task.density, list(by), [getattr(one, end) for one in by.values()]))
            for count, by in ((task.trained, self.training), (task.evaluated, self.evaluation))
        )
        return as_measured * task.forward / self.forward


@dataclass(frozen=True)
class Benchmark:
    """Speeds of the networks that were measured, and for all others the rate of dense kernels on these, FLOP/s."""

    speeds: Mapping[str, Speed]
    rate: Range


def hardware() -> list[Hardware]:
    """All of conf/hardware."""
    return [Hardware.model_validate(yaml.safe_load(path.read_text())) for path in sorted(HARDWARE.glob("*.yaml"))]


def project(tasks: Sequence[Task], on: Hardware, measured: Benchmark) -> Range:
    """Device-seconds of tasks one after the other."""
    if on.peak is None or on.utilisation is None:
        ends = {end: sum(_on_a_core(task, measured, end) for task in tasks) for end in ("low", "mid", "high")}
    else:
        done = {end: 1e12 * on.peak * getattr(on.utilisation, end) for end in ("low", "mid", "high")}
        operations = sum(task.operations for task in tasks)
        ends = {"low": operations / done["high"], "mid": operations / done["mid"], "high": operations / done["low"]}
    return Range(**ends)


def _on_a_core(task: Task, measured: Benchmark, end: str) -> float:
    if task.network in measured.speeds:
        return measured.speeds[task.network].seconds(task, end)
    rate = {"low": measured.rate.high, "mid": measured.rate.mid, "high": measured.rate.low}[end]
    return task.operations / rate


def read_benchmark(forward: Callable[[str, str], int], folder: Path = BENCHMARKS) -> Benchmark:
    """The benchmark of the engines, by network and density, and the rates of its dense engine, one a network.

    Of each network the engine that the study takes counts ("auto"). One that was not measured dense has the dense
    engine there, whose speed owes nothing to a mask.
    """
    rows = [
        row
        for name, table in (("engines", "Engines"), ("growth", "Sparsity"))
        for row in json.loads((folder / f"{name}.json").read_text())["tables"][table]
    ]
    points: dict[str, dict[float, list[tuple[Range, Range]]]] = defaultdict(lambda: defaultdict(list))
    rates: dict[str, list[float]] = defaultdict(list)
    operations = {}
    for row in rows:
        each = _each(row, "iteration, ms", row["batch"]), _each(row, "evaluation, ms", EVALUATED)
        if row["chosen"]:
            points[row["network"]][1 - row["sparsity, %"] / 100].append(each)
        operations[row["network"]] = forward(row["network"], row["dataset"])
        if row["engine"] == "dense":
            rates[row["network"]].append(work.training(operations[row["network"]], 1) / each[0].mid)
            if row["sparsity, %"] > 0 and not _has_dense(rows, row["network"]):
                points[row["network"]][1.0].append(each)
    speeds = {}
    for network, by_density in points.items():
        by = {at: by_density[at] for at in sorted(by_density)}
        speeds[network] = Speed(
            operations[network],
            {at: _middle([training for training, _ in found]) for at, found in by.items()},
            {at: _middle([evaluation for _, evaluation in found]) for at, found in by.items()},
        )
    of_networks = [median(found) for found in rates.values()]
    return Benchmark(speeds, Range(low=min(of_networks), mid=median(of_networks), high=max(of_networks)))


def assumptions(region: Region) -> list[str]:
    """What an estimate rests on, a line each."""
    lines = [
        f"operations: torch's count, {1 + work.BACKWARD} forward passes a training step; evaluations are included, "
        "scoring and loading of data are not",
        "GPUs: dense kernels at the utilisation below, at thermal design power all the time; a network whose step is "
        f"shorter than {1000 * SMALL_STEP:g} ms at that rate waits on launches, and takes longer than told",
        "a core: what the benchmark measured of the same network at the same sparsity, larger images in proportion to "
        "operations; networks not in it at the median rate of its networks on the dense engine (low, high: fastest, "
        "slowest), whatever the sparsity",
    ]
    for one in hardware():
        sources = ", ".join(f"{what}: {source}" for what, source in one.sources.items())
        peak = (
            ""
            if one.peak is None or one.utilisation is None
            else (
                f", {one.peak:g} TFLOP/s x {one.utilisation.low:g} / {one.utilisation.mid:g} / {one.utilisation.high:g}"
            )
        )
        lines.append(f"{one.name}: {one.tdp:g} W{peak} ({sources})")
    for what, factor in (("PUE", region.pue), ("kg CO2e per kWh", region.intensity)):
        ends = f"{factor.low:g} / {factor.mid:g} / {factor.high:g}"
        lines.append(f"{region.region}, {what}: {ends} ({factor.year}; {factor.source})")
    return lines


def _has_dense(rows: Sequence[Mapping[str, object]], network: str) -> bool:
    return any(row["network"] == network and row["chosen"] and row["sparsity, %"] == 0 for row in rows)


def _each(row: Mapping[str, float], column: str, examples: float) -> Range:
    """Seconds an example from milliseconds of many."""
    low, mid, high = (row[name] / 1000 / examples for name in (f"{column} q1", column, f"{column} q3"))
    return Range(low=min(low, mid), mid=mid, high=max(mid, high))


def _middle(ranges: Sequence[Range]) -> Range:
    """The mean of several measurements."""
    count = len(ranges)
    return Range(**{end: sum(getattr(one, end) for one in ranges) / count for end in ("low", "mid", "high")})
