"""How cost grows: with sparsity, workers, cells planned and levels of a ladder; what sharing saves."""

import itertools
import json
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from scripts.benchmark import engines, figures
from scripts.benchmark.measure import Row, by_turns, write
from scripts.benchmark.sweep import cost_of, peak_memory, study
from study.analysis.grid import experiments
from study.estimate import plan_of

SPARSITIES = (None, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
WORKERS = (1, 2)
CELLS = (100, 1_000, 10_000)
WORKERS_GRID = ("method=snip,random", "sparsity=0.9,0.95,0.98", "seed=0,1")
SHORT = ("recipe=lth_lenet", "recipe.iterations=3000", "recipe.evaluate_every=750")
LADDER = ("recipe=lth_lenet", "recipe.iterations=300", "recipe.evaluate_every=150", "method=lottery_ticket")
DEEPEST = 0.995965
"""25 levels of a fifth, the papers' ladder for LeNet."""
ROUNDS = 3


def run(output: Path) -> None:
    """Measure all of it, write the tables and draw the figures."""
    tables = {
        "Sparsity": sparsities(),
        "Workers": workers(),
        "Cells planned": planning(),
        "Levels of a ladder": ladder(),
        "Trainings of every experiment": sharing(),
    }
    notes = [
        f"Medians: of 5 rounds for sparsity, of {ROUNDS} for workers and planning; the ladder ran once.",
        "Sparsity: LeNet-300-100, batch 60, Adam, masks by SNIP.",
        f"Workers: a sweep of 12 cells of 3,000 iterations ({' '.join(WORKERS_GRID)}), from nothing. Wall time is that "
        "of a machine under the load named above, which has no core to spare.",
        f"Cells planned: the command with dry_run=true, its start included: nearly all that {CELLS[0]} cells take.",
        "Levels: LeNet-300-100, 300 iterations a level; naive is every level's ladder by itself, summed, not run.",
    ]
    write(output, "growth", "How cost grows", tables, notes)
    frames = {caption: pd.DataFrame(rows) for caption, rows in tables.items()}
    figures.sparsity(frames["Sparsity"], output / "sparsity.png")
    figures.workers(frames["Workers"], output / "workers.png")
    figures.planning(frames["Cells planned"], output / "planning.png")
    figures.ladder(frames["Levels of a ladder"], output / "ladder.png")
    figures.sharing(frames["Trainings of every experiment"], output / "sharing.png")


def sparsities() -> list[Row]:
    """CPU time of an iteration at each sparsity, by engine."""
    cases = [replace(engines.CASES[0], sparsity=sparsity) for sparsity in SPARSITIES]
    return [row for case in cases for row in engines.measure(case, rounds=5, seconds=0.3, evaluated=15_000)]


def workers() -> list[Row]:
    """CPU and wall time of one sweep by numbers of workers."""
    walls: dict[int, list[float]] = {number: [] for number in WORKERS}

    def swept(number: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            words = (f"cluster.workers={number}", "wandb.mode=disabled", *SHORT, *WORKERS_GRID)
            cost = cost_of([study(Path(folder), *words)])
        walls[number].append(cost.wall)
        return cost.cpu

    found = by_turns({number: partial(swept, number) for number in WORKERS}, ROUNDS)
    return [
        {"workers": number, "CPU, s": sorted(cpu)[ROUNDS // 2], "wall, s": sorted(walls[number])[ROUNDS // 2]}
        for number, cpu in found.items()
    ]


def planning() -> list[Row]:
    """CPU time and peak memory of planning sweeps of many cells."""
    rows: list[Row] = []
    for cells in CELLS:
        grid = ("method=snip,random", "sparsity=0.5,0.8,0.9,0.95,0.98", f"seed=range(0,{cells // 10})")
        with tempfile.TemporaryDirectory() as folder:
            command = study(Path(folder), "dry_run=true", *grid)
            costs = [cost_of([command]) for _ in range(ROUNDS)]
            peak = peak_memory(command)
        middle = sorted(costs, key=lambda cost: cost.cpu)[ROUNDS // 2]
        rows.append({"cells": cells, "CPU, s": middle.cpu, "wall, s": middle.wall, "peak memory, MiB": peak})
    return rows


def ladder() -> list[Row]:
    """CPU time by level of one ladder, summed, and what the levels would cost that share nothing."""
    with tempfile.TemporaryDirectory() as folder:
        words = ("wandb.mode=disabled", f"sparsity={DEEPEST}", "seed=0", "cluster.workers=1", *LADDER)
        cost_of([study(Path(folder), *words)])
        (record,) = Path(folder, "records").glob("*/*.json")
        costs = json.loads(record.read_text())["run"]["costs"].values()
    cpu = [sum(cost[phase]["cpu"] for phase in ("mask", "training", "evaluation")) for cost in costs]
    shared = list(itertools.accumulate(cpu))
    naive = list(itertools.accumulate(shared))
    return [
        {"level": level, "this level, CPU s": own, "shared, CPU s": total, "naive, CPU s": alone}
        for level, (own, total, alone) in enumerate(zip(cpu, shared, naive, strict=True))
    ]


def sharing() -> list[Row]:
    """Trainings of every experiment: each cell alone, and shared."""
    rows: list[Row] = []
    for name in experiments():
        plan = plan_of(name)
        naive, shared = sum(len(cell.trainings) for cell in plan.cells), len(plan.trainings)
        named = {"experiment": name, "cells": len(plan.cells), "naive": naive, "shared": shared}
        rows.append({**named, "naive / shared": naive / shared})
    return rows
