"""60 cells as one process a cell with a plain torch loop, and as one multirun of the study."""

import ctypes
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmark.measure import Row, write
from study.config import ROOT

GRID = {
    "method": ["snip", "grasp", "random", "magnitude_at_init"],
    "sparsity": ["0.9", "0.95", "0.98"],
    "seed": ["0", "1", "2", "3", "4"],
}
RECIPE = ["model=lenet_300_100", "recipe=lth_lenet", "recipe.iterations=1000", "recipe.evaluate_every=250"]
AT_ONCE = 2


@dataclass(frozen=True)
class Cost:
    """Seconds: of CPU time, all descendants included, and by the clock."""

    cpu: float
    wall: float


def run(output: Path, cells: int) -> None:
    """Run both and write the comparison."""
    everything = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    some = everything[:: -(-len(everything) // cells)]
    with tempfile.TemporaryDirectory() as folder:
        plain_cells = [
            [sys.executable, "-m", "scripts.benchmark.plain_cell", *RECIPE, *(f"{k}={v}" for k, v in cell.items())]
            for cell in some
        ]
        commands = [[*words, f"hydra.run.dir={folder}/{i}"] for i, words in enumerate(plain_cells)]
        plain = cost_of(commands, AT_ONCE)
        ours = cost_of([study(Path(folder, "study"), *RECIPE, *(f"{k}={','.join(v)}" for k, v in GRID.items()))])
        recorded = len(list(Path(folder, "study").glob("records/*/*.json")))
    if recorded != len(everything):
        raise SystemExit(f"the multirun recorded {recorded} cells of {len(everything)}")
    scale = len(everything) / len(some)
    rows: list[Row] = [
        _row("a process a cell, plain loop", len(some), plain, scale),
        _row("one multirun of the study", len(everything), ours, 1.0),
    ]
    for row in rows:
        row |= {f"{what} / ours": row[f"{what}, s"] / rows[-1][f"{what}, s"] for what in ("CPU", "wall")}
    scaled = f"{len(some)} plain cells were run, their times multiplied by {scale:g}."
    notes = [
        f"{len(everything)} cells of 1,000 iterations: {', '.join(f'{len(v)} x {k}' for k, v in GRID.items())}; "
        "LeNet-300-100 on MNIST, batch 60, Adam, an evaluation every 250.",
        "Each ran once.",
        f"Plain cells: scripts/benchmark/plain_cell.py, {AT_ONCE} at a time. Ours: one process a core.",
        "CPU time includes all descendants. Wall time is that of a machine under the load named above.",
        *([scaled] if scale != 1 else []),
    ]
    title = "Sweep: 60 cells as a process each and as one multirun"
    write(output, "sweep", title, {"60 cells": rows}, notes)


def study(output: Path, *words: str) -> list[str]:
    """The command of a multirun of the study whose outputs go to a folder."""
    return [sys.executable, "-m", "study.train", "-m", f"output={output}", *words]


def cost_of(commands: Sequence[Sequence[str]], at_once: int = 1) -> Cost:
    """Run commands in the repository, so many at once; all must succeed.

    Processes that outlive their parents are waited for and counted too: this process adopts them, where Linux lets it.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    before, begun = _children(), time.perf_counter()
    left, running = list(commands), dict[int, subprocess.Popen[bytes]]()
    with tempfile.TemporaryFile() as log:
        while left or running:
            while left and len(running) < at_once:
                process = subprocess.Popen(left.pop(0), cwd=ROOT, stdout=log, stderr=log)
                running[process.pid] = process
            pid, status = os.wait()
            if ended := running.pop(pid, None):
                ended.returncode = os.waitstatus_to_exitcode(status)
                if ended.returncode:
                    log.seek(0)
                    raise SystemExit(f"{ended.args!r} failed:\n{log.read().decode()}")
        wall = time.perf_counter() - begun
        with suppress(ChildProcessError):
            while True:
                os.wait()
    return Cost(_children() - before, wall)


def peak_memory(command: Sequence[str]) -> float:
    """Mebibytes that a command takes at most. It is started by a small process: it would inherit this one's peak."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=2, check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    words = [sys.executable, "-c", code, *command]
    return int(subprocess.run(words, cwd=ROOT, capture_output=True, check=True).stdout) / 1024


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _row(name: str, run: int, cost: Cost, scale: float) -> Row:
    return {"as": name, "cells run": run, "CPU, s": cost.cpu * scale, "wall, s": cost.wall * scale}
