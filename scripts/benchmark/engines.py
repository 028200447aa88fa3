"""Training iterations and evaluations of each engine, network by network."""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from torch import Tensor

from scripts.benchmark.measure import Row, by_turns, cpu_seconds, of_rounds, summary, write
from study import config, data, models
from study.cell import Cell
from study.data import Examples, Split
from study.data.arrays import Arrays, Part
from study.methods.snip import snip
from study.models import prunable
from study.training import memory
from study.training.engines import AnyEngine, choose
from study.training.engines.chain import is_chain
from study.training.engines.dense import Dense
from study.training.engines.engine import Engine, Task
from study.training.engines.sparse import Sparse

BETWEEN_EVALUATIONS = 100
WARM_UP = 3
EVALUATION_LIMIT = 60.0
"""CPU seconds after which an evaluation is measured no more."""


@dataclass(frozen=True)
class Case:
    """A network with its recipe, as names in conf/, at a sparsity by SNIP; None is dense."""

    model: str
    recipe: str
    sparsity: float | None
    dataset: str = "mnist"


CASES = [
    *(Case("lenet_300_100", "lth_lenet", sparsity) for sparsity in (None, 0.9, 0.95, 0.98, 0.99)),
    Case("lenet_5_caffe", "snip_mnist", 0.98),
    *(Case(conv, f"lth_{conv}", 0.95, "cifar10") for conv in ("conv_2", "conv_4", "conv_6")),
    Case("resnet_20", "grasp_cifar_resnet", 0.98, "cifar10"),
    Case("vgg_19", "grasp_cifar_vgg", 0.98, "cifar10"),
    Case("gru_s", "snip_mnist", 0.95),
    Case("lstm_s", "snip_mnist", 0.95),
]


def run(output: Path, rounds: int, seconds: float, evaluated: int) -> None:
    """Measure every case and write the table."""
    rows = []
    for case in CASES:
        rows += measure(case, rounds, seconds, evaluated)
        print(
            f"{case.model} at {_percent(case.sparsity)}: {', '.join(_line(row) for row in rows if _is_of(row, case))}"
        )
    notes = [
        of_rounds(rounds),
        f"An evaluation is of {evaluated:,} images, a third for validation and two for test; its share is of the "
        f"training between two, {BETWEEN_EVALUATIONS} iterations.",
        'Drawing of batches is included. "auto" marks the engine that cluster.engine=auto takes.',
        "What trains on cifar10 has random pixels of its shape.",
    ]
    write(output, "engines", "Engines: CPU time of a training iteration and of an evaluation", {"Engines": rows}, notes)


def measure(case: Case, rounds: int, seconds: float, evaluated: int) -> list[Row]:
    """A row for each engine: each measurement trains for so many CPU seconds."""
    memory.keep()
    cell = composed(f"model={case.model}", f"recipe={case.recipe}", f"dataset={case.dataset}")
    task = prepared(cell, case.sparsity, images(case.dataset, evaluated))
    auto = choose("auto", task)
    running = {engine: start(engine, task) for engine in ((Dense, Sparse) if is_chain(task.network) else (Dense,))}
    steps: dict[type[Engine], Callable[[], float]] = {}
    for engine, one in running.items():
        advance = partial(seconds_an_iteration, one, task)
        advance(WARM_UP)
        steps[engine] = partial(advance, max(1, round(seconds / advance(WARM_UP))))
        one.evaluate()
    trainings = by_turns(steps, rounds)
    scorings = {engine: partial(cpu_seconds, one.evaluate) for engine, one in running.items()}
    evaluations = by_turns(scorings, rounds, EVALUATION_LIMIT)
    rows = []
    for engine in running:
        iteration = summary([1000 * value for value in trainings[engine]], "iteration, ms")
        evaluation = summary([1000 * value for value in evaluations[engine]], "evaluation, ms")
        share = evaluation["evaluation, ms"] / (BETWEEN_EVALUATIONS * iteration["iteration, ms"])
        named = {
            "network": case.model,
            "dataset": case.dataset,
            "batch": cell.recipe.batch_size,
            "optimizer": cell.recipe.optimizer,
            "sparsity, %": _percent(case.sparsity),
            "engine": engine.__name__.lower(),
            "chosen": "auto" if engine is auto else "",
        }
        rows.append({**named, **iteration, **evaluation, "evaluation / training": share})
    for row in rows:
        row["dense engine / this"] = rows[0]["iteration, ms"] / row["iteration, ms"]
    return rows


def composed(*overrides: str) -> Cell:
    """The cell of a composed configuration."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config.ROOT / "conf"), version_base="1.3"):
        return config.read(compose("config", overrides=list(overrides)))[0]


@cache
def images(dataset: str, evaluated: int = 15_000) -> Split:
    """MNIST, or random pixels of another data set's shape; a third of `evaluated` is held out for validation."""
    validation, test = evaluated // 3, evaluated - evaluated // 3
    arrays = data.load("mnist") if dataset == "mnist" else _noise(data.shape(dataset).inputs, 10_000 + validation, test)
    shuffled = torch.randperm(len(arrays.training), generator=torch.Generator().manual_seed(0))
    part = arrays.test
    part = replace(part, inputs=part.inputs[torch.arange(test)], labels=part.labels[:test])
    return Split(Arrays(arrays.training, part), shuffled[validation:], shuffled[:validation])


def prepared(cell: Cell, sparsity: float | None, split: Split) -> Task:
    """The cell's network at its initial weights under the mask that SNIP finds."""
    shape = data.shape(cell.dataset.name)
    network = models.build(cell.model, shape.inputs, shape.classes, 0)
    if sparsity is None:
        mask = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(network).items()}
    else:
        mask = inspect.unwrap(snip)(network, Examples(split, 0), sparsity)
    return Task(network, mask, split, cell.recipe, 0)


def start(engine: AnyEngine, task: Task) -> Engine:
    """An engine of its own for a task, whose network it leaves alone."""
    return engine([replace(task, network=copy.deepcopy(task.network))])


def seconds_an_iteration(engine: Engine, task: Task, iterations: int) -> float:
    """CPU seconds of an iteration, the drawing of its batch included."""
    return cpu_seconds(lambda: _train(engine, task.data.training, task.recipe.batch_size, iterations)) / iterations


def _train(engine: Engine, indices: Tensor, batch_size: int, iterations: int) -> None:
    epochs = -(-iterations * batch_size // len(indices))
    order = torch.cat([indices[torch.randperm(len(indices))] for _ in range(epochs)])
    engine.advance(order[: iterations * batch_size].view(iterations, 1, batch_size), 0)


def _noise(shape: torch.Size, training: int, test: int) -> Arrays:
    generator = torch.Generator().manual_seed(0)

    def part(count: int) -> Part:
        pixels = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=generator)
        return Part(pixels, torch.arange(count) % 10, (0.5,) * shape[0], (0.25,) * shape[0])

    return Arrays(part(training), part(test))


def _percent(sparsity: float | None) -> float:
    return 0.0 if sparsity is None else round(100 * sparsity, 1)


def _is_of(row: Row, case: Case) -> bool:
    return bool(row["network"] == case.model and row["sparsity, %"] == _percent(case.sparsity))


def _line(row: Row) -> str:
    return f"{row['engine']} {row['iteration, ms']:.3g} ms, evaluation {row['evaluation, ms']:.3g} ms"
