"""Synthetic records of whole experiments, for tests alone: every cell of a grid, with made-up accuracies."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from study.analysis.grid import Cell, expected
from study.record import Record, Results, Run, write

PRUNABLE = {"fc1.weight": 235200, "fc2.weight": 30000, "output.weight": 1000}
RUN = Run(
    finished="2026-01-01T00:00:00+00:00",
    hardware={"cpu": "abacus"},
    versions={"torch": "2"},
    git={"commit": None, "dirty": None},
    costs={},
)

Accuracy = Callable[[Cell], float]


def synthetic(experiment: str, number: int, cell: Cell, accuracy: float, early_stop: int = 2000) -> Record:
    """A record with this accuracy at the end, a point less at early stop, and a made-up curve towards it.

    NaN is the accuracy of a training that diverged: its record has that of chance.
    """
    diverged = math.isnan(accuracy)
    accuracy = 0.1 if diverged else accuracy
    kept = {name: round(count * (1 - cell["sparsity"])) for name, count in PRUNABLE.items()}
    iterations = list(range(0, 50_001, 2500))
    curves: dict[str, list[Any]] = {
        "iteration": iterations,
        "test_accuracy": [accuracy - 0.9 * 0.1 ** (iteration / 5000) for iteration in iterations],
    }
    results = Results(
        status="diverged" if diverged else "finished",
        diverged_at=50_000 if diverged else None,
        prunable=PRUNABLE,
        kept=kept,
        effective=kept,
        flops={name: 2 * count for name, count in PRUNABLE.items()},
        test_accuracy=accuracy,
        test_loss=0.2,
        validation_accuracy=accuracy,
        validation_loss=0.2,
        early_stop_iteration=early_stop,
        early_stop_test_accuracy=accuracy - 0.01,
        curves=curves,
    )
    name = f"cell{number:04}"
    return Record(experiment=experiment, cell=name, settings=cell, trainings=[name], results=results, run=RUN)


def write_experiment(folder: Path, experiment: str, accuracy: Accuracy, early_stop: Accuracy | None = None) -> Path:
    """Records of all cells of an experiment's grid, in a folder of its name."""
    for number, cell in enumerate(expected(experiment)):
        stop = 2000 if early_stop is None else round(early_stop(cell))
        record = synthetic(experiment, number, cell, accuracy(cell), stop)
        write(folder / experiment / f"{record.cell}.json", record)
    return folder / experiment


def noisy(level: Accuracy, spread: float) -> Accuracy:
    """The level with normal noise of this standard deviation, the same for a cell whenever it is asked for."""

    def accuracy(cell: Cell) -> float:
        name = f"{cell['method']}{cell['control']}{cell['model']}{cell['sparsity']}{cell['seed']}"
        generator = np.random.default_rng(list(name.encode()))
        return level(cell) + spread * float(generator.normal())

    return accuracy
