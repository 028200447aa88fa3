"""What metering costs: readings of the meter and counting of operations, beside the training that they are of."""

import copy
import inspect
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

from torch.utils.flop_counter import FlopCounterMode

from scripts.benchmark.engines import composed, images, prepared
from scripts.benchmark.measure import Row, by_turns, cpu_seconds, write
from study.data import Examples
from study.energy import meter
from study.energy.cpu import Rapl
from study.energy.meter import Meter
from study.methods.snip import snip
from study.training.engines.engine import Task
from study.training.engines.sparse import Sparse
from study.training.loop import Snapshots, train

READINGS = 2000
SPARSITIES = (0.8, 0.98)
"""The quickstart's ends; at the second a training is shortest."""

CELLS = 12
"""Of a method in the quickstart."""


def run(output: Path, rounds: int) -> None:
    """Measure and write the table."""
    cell = composed("model=lenet_300_100", "recipe=quickstart")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        meters = {"estimate": Meter(rapl=_no_rapl), "RAPL": Meter(rapl=lambda: _rapl(Path(folder)))}
        for sparsity in SPARSITIES:
            task = prepared(cell, sparsity, images("mnist"))
            rows += _of_task(task, sparsity, meters, rounds)
    notes = [
        f"Medians of {rounds} rounds. A training is one of the quickstart's, 1,200 iterations with 7 evaluations, by "
        "the sparse engine, which is the fastest here: metering is the largest share of it.",
        f"A reading is the mean of {READINGS}. RAPL's counters are files in a temporary folder; NVML's not measured.",
        "Counting: SNIP's scoring of 100 examples with its operations counted, less the same without. A worker counts "
        f"once for all masks of a kind: twice for the {CELLS} cells of SNIP, by two workers.",
    ]
    write(output, "meter", "What metering costs", {"Metering": rows}, notes)


def _of_task(task: Task, sparsity: float, meters: dict[str, Meter], rounds: int) -> list[Row]:
    def trained() -> float:
        return cpu_seconds(lambda: train([replace(task, network=copy.deepcopy(task.network))], Sparse))

    def scored(counted: bool) -> float:
        score = partial(inspect.unwrap(snip), task.network, Examples(task.data, 0), sparsity)
        if not counted:
            return cpu_seconds(score)
        with FlopCounterMode(display=False):
            return cpu_seconds(score)

    def read(one: Meter) -> float:
        return cpu_seconds(lambda: [one.read() for _ in range(READINGS)]) / READINGS

    trained()
    found = by_turns(
        {
            "training": trained,
            "counted": partial(scored, True),
            "plain": partial(scored, False),
            **{name: partial(read, one) for name, one in meters.items()},
        },
        rounds,
    )
    middle = {name: median(values) for name, values in found.items()}
    counting = max(0.0, middle["counted"] - middle["plain"])
    readings = _readings(task)
    return [
        {
            "meter": name,
            "sparsity, %": round(100 * sparsity, 1),
            "training, CPU s": middle["training"],
            "readings": readings,
            "a reading, µs": 1e6 * middle[name],
            "readings, % of training": 100 * readings * middle[name] / middle["training"],
            "counting operations, ms": 1000 * counting,
            f"all, % of {CELLS} trainings": 100
            * (CELLS * readings * middle[name] + 2 * counting)
            / (CELLS * middle["training"]),
        }
        for name in meters
    ]


def _readings(task: Task) -> int:
    """How often a training reads the meter, as a worker runs it: at both ends of a phase, and at every report."""
    counted = 0
    read = meter.start().read

    def counting() -> meter.Spent:
        nonlocal counted
        counted += 1
        return read()

    meter.current().read = counting  # type: ignore[method-assign]

    def report(iteration: int, snapshots: Snapshots) -> None:
        counting()

    train([replace(task, network=copy.deepcopy(task.network))], Sparse, report)
    meter.start()
    return counted + 2


def _no_rapl() -> Rapl:
    raise FileNotFoundError


def _rapl(folder: Path) -> Rapl:
    """Two packages with memory."""
    for package in range(2):
        for name, domain in ((f"package-{package}", f"intel-rapl:{package}"), ("dram", f"intel-rapl:{package}:0")):
            (folder / domain).mkdir()
            for file, text in (("name", name), ("energy_uj", "1000000"), ("max_energy_range_uj", "262143328850")):
                (folder / domain / file).write_text(f"{text}\n")
    statistics = Path("/proc/stat")
    if not statistics.exists():
        statistics = folder / "stat"
        statistics.write_text("cpu  1000 0 200 9999 7 0 0 0 0 0\n")
    return Rapl(folder, statistics)
