"""Training iterations of public codes beside ours, by turns, each in a process of its own."""

import subprocess
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from torch import Tensor

from scripts.benchmark import engines, peer
from scripts.benchmark.measure import Row, by_turns, of_rounds, summary, write

SPARSITIES = (None, 0.9, 0.95, 0.98, 0.99)


def run(output: Path, paths: list[Path], rounds: int, iterations: int) -> None:
    """Measure the checkouts and our engines under the same masks, dense and by our SNIP, and write the table."""
    named = {peer.recognise(path): path.resolve() for path in paths}
    for lacking, instead in peer.STOOD_IN.items():
        print(f"stood in for: {lacking}: {instead}")
    with ExitStack() as stack:

        def process(subject: str | Path) -> ProcessPoolExecutor:
            pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=peer.prepare, initargs=(subject,))
            return stack.enter_context(pool)

        pools = {name: process(name) for name in peer.OURS} | {name: process(path) for name, path in named.items()}
        rows: list[Row] = []
        for sparsity in SPARSITIES:
            rows += _measured(sparsity, pools, rounds, iterations)
            print(f"{rows[-1]['sparsity, %']:g} %: {', '.join(_line(row) for row in rows[-len(pools) :])}")
    notes = [
        of_rounds(rounds),
        f"LeNet-300-100 on MNIST, batch {peer.BATCH}, Adam at {peer.RATE:g}, the same masks: ones, and our SNIP's.",
        "Loading of batches is included everywhere, evaluation nowhere.",
        *(f"{name} at {_commit(path)}: {_first_line(peer.PEERS[name].__doc__)}" for name, path in named.items()),
        *(f"Stood in for: {lacking}: {instead}." for lacking, instead in peer.STOOD_IN.items()),
    ]
    title = "Public codes: CPU time of a training iteration, and how much more it is than ours"
    write(output, "peers", title, {"Iterations": rows}, notes)


def _measured(sparsity: float | None, pools: dict[str, ProcessPoolExecutor], rounds: int, iterations: int) -> list[Row]:
    masks = _masks(sparsity)

    def measured(name: str) -> float:
        # Ours takes as many iterations as last about as long as a peer's.
        count = 5 * iterations if name in peer.OURS else iterations
        return pools[name].submit(peer.measure, masks, count).result()

    found = by_turns({name: partial(measured, name) for name in pools}, rounds)
    rows: list[Row] = []
    for name, values in found.items():
        named = {"sparsity, %": 100 * (sparsity or 0.0), "code": name}
        rows.append({**named, **summary([1000 * value for value in values], "iteration, ms")})
    for row in rows:
        for ours, reference in zip(peer.OURS, rows, strict=False):
            row[f"this / {ours}"] = row["iteration, ms"] / reference["iteration, ms"]
    return rows


def _masks(sparsity: float | None) -> list[Tensor]:
    cell = engines.composed("model=lenet_300_100", "recipe=lth_lenet")
    return list(engines.prepared(cell, sparsity, engines.images("mnist")).mask.values())


def _commit(path: Path) -> str:
    command = ["git", "-C", str(path), "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "an unknown commit"


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]


def _line(row: Row) -> str:
    return f"{row['code']} {row['iteration, ms']:.3g} ms"
