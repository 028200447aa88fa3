"""The command: python -m scripts.benchmark engines, peers, sweep, growth, meter, gpu or readme, from the root."""

import argparse
import importlib
import os
from pathlib import Path

# Before torch is imported, here and in every process that is started: one thread.
os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def main() -> None:
    """Run one benchmark and write its results."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--output", type=Path, default=Path("results/benchmarks"), help="where NAME.json and NAME.md go"
    )
    parser = argparse.ArgumentParser(
        prog="python -m scripts.benchmark",
        description="Costs in CPU time (user and system) of one thread, medians of rounds in which what is compared "
        "takes turns; on a GPU in time by the clock. Each benchmark writes NAME.json and NAME.md.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, parents=[common], help=text, description=text)

    engines = add("engines", "Training iterations and evaluations of the dense and the sparse engine, by network.")
    engines.add_argument("--rounds", type=int, default=7, help="measurements of each (default 7)")
    engines.add_argument("--seconds", type=float, default=0.4, help="CPU time of one measurement (default 0.4)")
    engines.add_argument("--evaluated", type=int, default=15_000, help="images of an evaluation (default 15000)")

    peers = add("peers", "Training iterations of OpenLTH and Synaptic-Flow beside ours: LeNet-300-100, batch 60, Adam.")
    peers.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a checkout of one of them")
    peers.add_argument("--rounds", type=int, default=5, help="measurements of each (default 5)")
    peers.add_argument("--iterations", type=int, default=100, help="iterations of one measurement (default 100)")

    sweep = add("sweep", "60 cells as one process a cell with a plain torch loop, and as one multirun of the study.")
    sweep.add_argument(
        "--cells", type=int, default=60, help="run so many of the plain cells, scaled to 60 (default 60)"
    )

    add("growth", "How cost grows: with sparsity, workers, cells planned, levels of a ladder; what sharing saves.")

    meter = add("meter", "What metering energy and counting operations cost, beside the training that they are of.")
    meter.add_argument("--rounds", type=int, default=7, help="measurements of each (default 7)")

    gpu = add("gpu", "Trainings a second on a GPU: eager, as CUDA graphs, in each precision; a plain loop.")
    gpu.add_argument("--device", default="cuda", help="torch's name (default cuda)")
    gpu.add_argument("--seconds", type=float, default=2.0, help="time of one measurement (default 2)")
    gpu.add_argument("--models", nargs="*", help="of the cases' (default all)")
    gpu.add_argument("--replicas", type=int, default=256, help="at most so many side by side (default 256)")

    add("readme", "The README's tables of speeds, from results/benchmarks.")

    options = vars(parser.parse_args())
    benchmark = importlib.import_module(f"scripts.benchmark.{options.pop('command')}")
    benchmark.run(**options)


if __name__ == "__main__":
    main()
