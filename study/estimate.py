"""The command: python -m study.estimate EXPERIMENT. Time, energy, carbon and money of an experiment on named hardware.

From floating-point operations, counted on torch's meta device, so that no network needs memory; from published
utilisation of GPUs, or from what this study's benchmark measured on a core. It runs nothing and needs no data.
"""

import argparse
import itertools
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from rich.console import Console

from study import data, models, projection
from study.analysis.grid import experiments
from study.cell import Model
from study.compose import Composer
from study.config import ROOT
from study.energy import work
from study.energy.carbon import Region, footprint, read_region
from study.errors import StudyError
from study.files import write_atomically
from study.lineage import Node, initial
from study.models.flops import flops
from study.plan import Plan, density, iterations, plan_cell
from study.projection import Benchmark, Task, project
from study.record import read_folder

IMAGE_FOLDERS = {"imagenet": 1000, "cifar10-jpeg": 10}
"""Classes of the image folders that experiments name, for when they are not there."""

RESULTS = ROOT / "results" / "benchmarks"
RECORDS = ROOT / "results" / "records"


def main() -> None:
    """Print an experiment's estimate, or write all; a mistake is one line and exit status 2."""
    parser = argparse.ArgumentParser(prog="python -m study.estimate", description=__doc__)
    parser.add_argument("experiment", nargs="?", help="of conf/experiment")
    parser.add_argument("--all", action="store_true", help="write all experiments' and their validation")
    parser.add_argument("--energy", default="world", help="the grid, of conf/energy")
    parser.add_argument("--factor", action="append", default=[], metavar="NAME=VALUE", help="an own figure in it")
    arguments = parser.parse_args()
    try:
        region = read_region(arguments.energy, arguments.factor)
        if arguments.all:
            _write("projections", [row for name in experiments() for row in estimates(name, region)])
            _write("validation", validation())
        elif arguments.experiment in experiments():
            show(arguments.experiment, region)
        else:
            raise StudyError(f"give one of {', '.join(experiments())}")
    except (StudyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def show(experiment: str, region: Region) -> None:
    """Print the estimate on every hardware, its assumptions, and how such estimates compare with what was run."""
    console = Console(highlight=False, soft_wrap=True)
    table = pd.DataFrame(estimates(experiment, region))
    first = table.iloc[0]
    console.print(
        f"[bold]{experiment}[/bold]: {first['trainings']:,} trainings, {first['exaflops']:.3g} EFLOP on dense kernels; "
        "projected, mid (low – high)"
    )
    columns = {"hours": "device-hours", "kwh": "kWh", "kilograms": "kg CO2e", "rent": "USD rent"}
    texts = {name: [_range(row, column) for row in table.to_dict("records")] for column, name in columns.items()}
    console.print(pd.DataFrame({"on": table["hardware"], **texts}).to_string(index=False, justify="left"))
    for line in projection.assumptions(region):
        console.print(f"- {line}", markup=False)
    for one in validation():
        told = f"{one['experiment']}, predicted over measured CPU time {one['ratio']:.2f}, {one['trainings']} trainings"
        console.print(f"- validated: {told}", markup=False)


def estimates(experiment: str, region: Region) -> list[dict[str, object]]:
    """A row a hardware: what all trainings of an experiment take, shared."""
    tasks = list(tasks_of(plan_of(experiment).trainings.values()))
    operations = sum(task.operations for task in tasks)
    rows = []
    for hardware in projection.hardware():
        seconds = project(tasks, hardware, benchmark())
        prints = {end: footprint(getattr(seconds, end) * hardware.tdp, region) for end in ("low", "mid", "high")}
        row: dict[str, object] = {"experiment": experiment, "trainings": len(tasks), "exaflops": operations / 1e18}
        row["hardware"] = hardware.name
        for end, one in prints.items():
            hours = getattr(seconds, end) / 3600
            row[f"rent_{end}"] = hours * getattr(hardware.price, end)
            row[f"hours_{end}"], row[f"kwh_{end}"] = hours, getattr(one.metered_kwh, end)
            row[f"kilograms_{end}"] = getattr(one.kilograms, end)
        rows.append(row)
    return rows


def validation() -> list[dict[str, object]]:
    """Predicted beside measured CPU seconds of the trainings in the published records, a row an experiment.

    Predicted from the benchmark of engines, which was measured apart from the records. Trainings that diverged, and so
    ended early, and those on GPUs are left out.
    """
    core = next(hardware for hardware in projection.hardware() if hardware.peak is None)
    found: list[dict[str, object]] = []
    for folder in sorted(path for path in RECORDS.iterdir() if path.name in experiments()):
        measured = {
            training: cost.training.cpu + cost.evaluation.cpu
            for record in read_folder(folder)
            if record.results.diverged_at is None and not record.on_gpu
            for training, cost in record.run.costs.items()
        }
        nodes = [node for training, node in plan_of(folder.name).trainings.items() if training in measured]
        if not nodes:
            continue
        predicted = project(list(tasks_of(nodes)), core, benchmark()).mid
        taken = sum(measured[node.id] for node in nodes)
        row = {"experiment": folder.name, "trainings": len(nodes), "predicted": predicted, "measured": taken}
        found.append({**row, "ratio": predicted / taken})
    return found


@cache
def benchmark() -> Benchmark:
    """What the benchmark measured on a core."""
    return projection.read_benchmark(_network_flops)


def tasks_of(trainings: Iterable[Node]) -> Iterator[Task]:
    """What each training asks of a machine."""
    for node in trainings:
        start, recipe = initial(node).arguments, node.arguments["recipe"]
        steps = iterations(node)
        yield Task(
            network=start["model"]["name"],
            density=density(node),
            forward=_forward(start["model"]["name"], start["model"]["family"], start["dataset"], start.get("size", 0)),
            trained=steps * recipe["batch_size"],
            evaluated=(-(-steps // recipe["evaluate_every"]) + 1) * work.evaluated(node.arguments["dataset"]),
        )


@cache
def _forward(name: str, family: str, dataset: str, size: int) -> int:
    """Operations of one example forward, dense."""
    with _image_folders():
        shape = data.shape(dataset, size)
    network = models.weightless(Model(name=name, family=family), shape.inputs, shape.classes)
    return sum(flops(network, shape.inputs).values())


def _network_flops(network: str, dataset: str) -> int:
    """The same for a network of the benchmark, on the data that it runs on."""
    family = OmegaConf.load(ROOT / "conf" / "model" / f"{network}.yaml").family
    return _forward(network, family, dataset, 0)


def plan_of(experiment: str) -> Plan:
    """The plan of an experiment's whole grid, its data there or not."""
    OmegaConf.register_new_resolver("cell_name", lambda: "cell", replace=True)
    GlobalHydra.instance().clear()
    with _image_folders(), initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        whole = compose("config", overrides=[f"experiment={experiment}"], return_hydra_config=True)
        composer = Composer(GlobalHydra.instance().config_loader(), whole)
        grid = [
            [f"{key}={value.strip()}" for value in str(values).split(",")]
            for key, values in whole.hydra.sweeper.params.items()
        ]
        jobs = itertools.product([f"experiment={experiment}"], *grid)
        cells = {cell.id: cell for cell, _ in map(composer.cell, jobs)}
        return Plan([plan_cell(cell) for cell in cells.values()])


@contextmanager
def _image_folders() -> Iterator[None]:
    """A data folder with the classes of the image folders that experiments name, and no images."""
    before = os.environ.get("PRUNING_STUDY_DATA")
    os.environ["PRUNING_STUDY_DATA"] = _classes().name
    try:
        yield
    finally:
        os.environ.pop("PRUNING_STUDY_DATA")
        if before is not None:
            os.environ["PRUNING_STUDY_DATA"] = before


@cache
def _classes() -> "tempfile.TemporaryDirectory[str]":
    folder = tempfile.TemporaryDirectory()
    for name, classes in IMAGE_FOLDERS.items():
        for label in range(classes):
            Path(folder.name, name, "train", f"class{label:03}").mkdir(parents=True)
    return folder


def _write(name: str, rows: list[dict[str, object]]) -> None:
    path = RESULTS / f"{name}.csv"
    write_atomically(path, pd.DataFrame(rows).to_csv(index=False, float_format="%.6g").encode())
    print(f"wrote {path}")


def _range(row: Mapping[Any, Any], column: str) -> str:
    low, mid, high = (_figure(row[f"{column}_{end}"]) for end in ("low", "mid", "high"))
    return f"{mid} ({low} – {high})"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
