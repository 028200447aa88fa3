"""Replica-iterations a second on a GPU: eager, as CUDA graphs alone, stacked and on streams, beside a plain loop."""

import copy
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from scripts.benchmark.engines import composed, images, prepared
from scripts.benchmark.measure import Row, write
from study import data
from study.models.flops import flops
from study.training.engines import computing_in
from study.training.engines.dense import Dense
from study.training.engines.engine import STRETCH, Engine, Task
from study.training.engines.packed import Packed, can_stack
from study.training.engines.streams import Streams
from study.training.names import Precision

CASES = {
    "lenet_300_100": ("lth_lenet", "mnist", (1, 4, 16, 64, 256)),
    "lenet_5_caffe": ("snip_mnist", "mnist", (1, 4, 16, 64)),
    "gru_s": ("snip_mnist", "mnist", (1, 4, 16, 64)),
    "conv_2": ("lth_conv_2", "cifar10", (1, 2, 4, 8, 16)),
    "resnet_20": ("lth_resnet_18", "cifar10", (1, 2, 4, 8, 16)),
    "resnet_32_double": ("grasp_cifar_resnet", "cifar10", (1, 2, 4, 8)),
    "vgg_19": ("grasp_cifar_vgg", "cifar10", (1, 2, 4)),
}
"""Network -> recipe, data set (of CIFAR-10 only the shape), pack sizes."""

SPARSITY = 0.95
TRAINING_IS_FORWARD = 3
"""A backward pass takes twice a forward's operations."""


def run(output: Path, device: str, seconds: float, models: list[str] | None, replicas: int) -> None:
    """Measure every case and write the table."""
    rows = []
    for model in models or CASES:
        for row in measure(model, torch.device(device), seconds, replicas):
            rows.append(row)
            print(", ".join(f"{name} {value}" for name, value in row.items() if value is not None), flush=True)
    notes = [
        f"Measured for {seconds:g} s each, after a warm-up; evaluation is not included.",
        "The plain loop: a DataLoader with a process a core, a copy to the device for each batch, torch's optimizer, "
        "the mask applied after each step, one network, in the precision that torch takes unless told: on a GPU "
        "convolutions in tf32, all else in float32.",
        "Joules by NVML's counter for the whole GPU, its idle power included. Utilisation is NVML's, of time. Both "
        "move only every so often: of less than a second they are rough.",
        "The floor is the operations of torch's FlopCounterMode, dense, three times the forward ones, at the speed of "
        "a large matrix product in the same precision, measured in this run.",
    ]
    write(output, "gpu", "Replica-iterations a second on a GPU", {"Networks": rows}, notes, device)


def measure(model: str, device: torch.device, seconds: float, most: int) -> Iterator[Row]:
    """A row for the plain loop, and for each engine, pack size up to the most, and precision."""
    recipe, dataset, sizes = CASES[model]
    cell = composed(f"model={model}", f"recipe={recipe}", f"dataset={dataset}")
    task = prepared(cell, SPARSITY, images(dataset))
    operations = TRAINING_IS_FORWARD * sum(flops(task.network, data.shape(dataset).inputs).values())
    task.network.to(device)
    plain = _rate(_PlainLoop(task), 1, seconds, device)
    yield {"network": model, "as": "plain loop", "replicas": 1, "precision": "torch's own", **plain}
    for precision in get_args(Precision) if device.type == "cuda" else ("float32",):
        with computing_in(precision, device):
            floor = operations * task.recipe.batch_size / _operations_a_second(device)
            ways = [("eager", Dense, 1), ("graph", Packed, 1)]
            for size in (size for size in sizes[1:] if size <= most):
                ways += [("packed", Packed, size)] if can_stack(task.network) else []
                ways += [("streams", Streams, size)]
            for name, way, size in ways:
                with suppress(torch.OutOfMemoryError):
                    engine = way(_replicas(task, size))
                    found = _rate(lambda steps, engine=engine: _advance(engine, task, steps), size, seconds, device)
                    times = found["replica-iterations / s"] / plain["replica-iterations / s"]
                    row = {"network": model, "as": name, "replicas": size, "precision": precision, **found}
                    share = floor * found["replica-iterations / s"]
                    yield {**row, "this / plain loop": times, "share of the floor": share}


def _replicas(task: Task, size: int) -> list[Task]:
    return [replace(task, network=copy.deepcopy(task.network)) for _ in range(size)]


def _advance(engine: Engine, task: Task, steps: int) -> None:
    replicas = len(engine.losses())
    for begun in range(0, steps, STRETCH):
        count = min(STRETCH, steps - begun)
        chosen = torch.randint(len(task.data.training), (count, replicas, task.recipe.batch_size))
        engine.advance(task.data.training[chosen], begun)
    engine.losses()


class _PlainLoop:
    """A training as public codes write it; a call goes on for so many steps, the loader's processes once started."""

    def __init__(self, task: Task) -> None:
        part, recipe = task.data.arrays.training, task.recipe
        self._device = next(task.network.parameters()).device
        self._network = copy.deepcopy(task.network)
        whole = part.batch(task.data.training, torch.device("cpu"))
        loader = DataLoader(
            TensorDataset(whole.inputs, whole.labels),
            recipe.batch_size,
            shuffle=True,
            num_workers=os.cpu_count() or 1,
            pin_memory=self._device.type == "cuda",
            persistent_workers=True,
        )
        self._batches = _endless(loader)
        self._optimizer: torch.optim.Optimizer
        if recipe.optimizer == "adam":
            self._optimizer = torch.optim.Adam(self._network.parameters(), recipe.learning_rate)
        else:
            self._optimizer = torch.optim.SGD(self._network.parameters(), recipe.learning_rate, 0.9)
        self._masks = {name: mask.to(self._device) for name, mask in task.mask.items()}

    def __call__(self, steps: int) -> None:
        for inputs, labels in islice(self._batches, steps):
            loss = cross_entropy(self._network(inputs.to(self._device)), labels.to(self._device))
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            _apply(self._network, self._masks)


def _endless(loader: "DataLoader[Any]") -> Iterator[Any]:
    while True:
        yield from loader


def _apply(network: nn.Module, masks: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, mask in masks.items():
            network.get_parameter(name).mul_(mask)


def _rate(advance: Any, replicas: int, seconds: float, device: torch.device) -> Row:
    """Replica-iterations a second, joules for each, utilisation: over so many seconds, after a warm-up."""

    def timed(steps: int) -> float:
        begun = time.perf_counter()
        advance(steps)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    timed(3)
    steps = max(3, round(seconds / (timed(10) / 10)))
    meter = _Meter(device)
    taken = timed(steps)
    return {"replica-iterations / s": replicas * steps / taken, **meter.read(replicas * steps)}


@dataclass
class _Meter:
    """NVML's energy counter and utilisation of a GPU; nothing where there is none."""

    device: torch.device

    def __post_init__(self) -> None:
        self._handle = None
        if self.device.type == "cuda":
            with suppress(ImportError):
                import pynvml

                pynvml.nvmlInit()
                self._nvml, self._handle = pynvml, pynvml.nvmlDeviceGetHandleByIndex(torch.cuda.current_device())
                self._begun = pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)

    def read(self, iterations: int) -> Row:
        if self._handle is None:
            return {"J / replica-iteration": None, "utilisation, %": None}
        millijoules = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) - self._begun
        busy = self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu
        return {"J / replica-iteration": millijoules / 1000 / iterations, "utilisation, %": busy}


def _operations_a_second(device: torch.device) -> float:
    """Of a large matrix product in the precision that is set."""
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(side, side, device=device) for _ in range(2))

    def product(count: int) -> float:
        begun = time.perf_counter()
        for _ in range(count):
            a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    product(2)
    return 2 * side**3 * 10 / product(10)
