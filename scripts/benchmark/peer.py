"""One subject of the benchmark `peers`, in a process of its own: a public code at a path, or an engine of ours.

A public code runs its own training loop on its own loader, network, masks and optimiser. What it imports and this
environment lacks is stood in for by `STOOD_IN`.
"""

import functools
import importlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import Tensor, library, nn

from scripts.benchmark import engines
from study import data
from study.training import names
from study.training.engines import choose

BATCH, RATE, PIXELS = 60, 1.2e-3, 28 * 28
WARM_UP = 5

TORCHVISION = find_spec("torchvision") is not None

STOOD_IN = {
    "torchvision.datasets.MNIST": "our MNIST files; an item is a PIL image, transformed, and an int, as in torchvision",
    **(
        {"torchvision's compiled operators": "their names alone, so that it is imported without them"}
        if TORCHVISION
        else {
            "torchvision.transforms": "Compose, ToTensor, Normalize with its results but not its checks: cheaper",
            "torchvision.models, CIFAR10": "empty classes, of which the code derives others that are not used here",
        }
    ),
    "torch's DistributedDataParallel": "nn.Module while OpenLTH is imported: torch's can't be derived from as it does",
    "tqdm": "passes its argument on",
    "np.product": "np.prod, its name since NumPy 2",
}

OPEN_LTH, SYNAPTIC_FLOW = "OpenLTH", "Synaptic-Flow"

OPEN_LTH_MODULES = (
    "foundations.hparams",
    "platforms.platform",
    "platforms.local",
    "models.registry",
    "pruning.mask",
    "pruning.pruned_model",
    "datasets.registry",
    "training.train",
    "foundations.step",
)

Masks = Sequence[Tensor]
"""A mask by layer, in order; ones for dense."""

_measure: Callable[[Masks, int], float]


def prepare(subject: str | Path) -> None:
    """Make this process that of a subject: the name of one of our engines, or a checkout."""
    global _measure
    torch.set_num_threads(1)
    _measure = OURS[subject] if isinstance(subject, str) else PEERS[recognise(subject)](subject)


def measure(masks: Masks, iterations: int) -> float:
    """CPU seconds of an iteration."""
    return _measure(masks, iterations)


def recognise(path: Path) -> str:
    """Which code a checkout is of."""
    marks = {OPEN_LTH: "lottery/runner.py", SYNAPTIC_FLOW: "Pruners/pruners.py"}
    found = [name for name, mark in marks.items() if (path / mark).is_file()]
    if not found:
        raise SystemExit(f"{path} is a checkout neither of {' nor of '.join(marks)}")
    return found[0]


def open_lth(path: Path) -> Callable[[Masks, int], float]:
    """Its training.train.train with its mnist_lenet_300_100, PrunedModel and loader, between two callbacks."""
    _import_from(path)
    with patch.object(torch.nn.parallel, "DistributedDataParallel", nn.Module):
        hparams, platform, local, models, mask, pruned, datasets, training, step = map(
            importlib.import_module, OPEN_LTH_MODULES
        )
    platform._PLATFORM = local.Platform(num_workers=0)  # type: ignore[attr-defined]
    loader = datasets.get(hparams.DatasetHparams("mnist", BATCH), train=True)
    adam = hparams.TrainingHparams("adam", RATE, "1ep")

    def timed(masks: Masks, iterations: int) -> float:
        network = models.get(hparams.ModelHparams("mnist_lenet_300_100", "kaiming_normal", "uniform"))
        if not all(layer.all() for layer in masks):
            names = network.prunable_layer_names
            network = pruned.PrunedModel(network, mask.Mask(dict(zip(names, masks, strict=True))))
        times = {}

        def clock(location: Any, now: Any, *_: object) -> None:
            if now.iteration in (WARM_UP, WARM_UP + iterations):
                times[now.iteration] = time.process_time()

        end = step.Step.from_iteration(WARM_UP + iterations, loader.iterations_per_epoch)
        with tempfile.TemporaryDirectory() as folder:
            training.train(adam, network, loader, folder, [clock], end_step=end)
        return (times[WARM_UP + iterations] - times[WARM_UP]) / iterations

    return timed


def synaptic_flow(path: Path) -> Callable[[Masks, int], float]:
    """Its train.train and loader; its fc has layers of one width, so LeNet-300-100 is put together of its layers."""
    _import_from(path)
    load, layers, generator, training = map(
        importlib.import_module, ("Utils.load", "Layers.layers", "Utils.generator", "train")
    )
    optimizer, settings = load.optimizer("adam")

    def timed(masks: Masks, iterations: int) -> float:
        linear = [layers.Linear(*sizes) for sizes in ((PIXELS, 300), (300, 100), (100, 10))]
        network = nn.Sequential(nn.Flatten(), linear[0], nn.ReLU(), linear[1], nn.ReLU(), linear[2])
        for layer, kept in zip(linear, masks, strict=True):
            layer.weight_mask.copy_(kept)
        adam = optimizer(generator.parameters(network), lr=RATE, **settings)

        def epoch(batches: int) -> float:
            loader = load.dataloader("mnist", BATCH, True, 0, length=batches * BATCH)
            begun = time.process_time()
            training.train(network, nn.CrossEntropyLoss(), adam, loader, torch.device("cpu"), 0, False)
            return time.process_time() - begun

        epoch(WARM_UP)
        return epoch(iterations) / iterations

    return timed


def ours(name: names.Engine, masks: Masks, iterations: int) -> float:
    """An engine of the study, driven as by the benchmark `engines`."""
    cell = engines.composed("model=lenet_300_100", "recipe=lth_lenet")
    task = engines.prepared(cell, None, engines.images("mnist"))
    for kept, mask in zip(masks, task.mask.values(), strict=True):
        mask.copy_(kept)
    running = engines.start(choose(name, task), task)
    engines.seconds_an_iteration(running, task, WARM_UP)
    return engines.seconds_an_iteration(running, task, iterations)


PEERS: Mapping[str, Callable[[Path], Callable[[Masks, int], float]]] = {
    OPEN_LTH: open_lth,
    SYNAPTIC_FLOW: synaptic_flow,
}
OURS: Mapping[str, Callable[[Masks, int], float]] = {
    "ours, auto": functools.partial(ours, "auto"),
    "ours, dense engine": functools.partial(ours, "dense"),
}


class MNIST:
    """torchvision.datasets.MNIST on our files."""

    def __init__(
        self, root: str, train: bool = True, download: bool = False, transform: Callable[[Any], Any] | None = None
    ) -> None:
        arrays = data.load("mnist")
        part = arrays.training if train else arrays.test
        self.data, self.targets = part.inputs[torch.arange(len(part))].squeeze(1), part.labels
        self._transform = transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = Image.fromarray(self.data[index].numpy(), mode="L")
        return self._transform(image) if self._transform else image, int(self.targets[index])


class Compose:
    """One transform after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self._transforms = transforms

    def __call__(self, image: Any) -> Any:
        for transform in self._transforms:
            image = transform(image)
        return image


class ToTensor:
    """A grey PIL image as float32 (1, height, width) in [0, 1]."""

    def __call__(self, image: Image.Image) -> Tensor:
        return torch.from_numpy(np.array(image, np.uint8)).unsqueeze(0).contiguous().to(torch.float32).div(255)


class Normalize:
    """A copy, less the mean and by the deviation of each channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self._mean, self._std = mean, std

    def __call__(self, image: Tensor) -> Tensor:
        mean, std = torch.as_tensor(self._mean), torch.as_tensor(self._std)
        return image.clone().sub_(mean.view(-1, 1, 1)).div_(std.view(-1, 1, 1))


def _import_from(path: Path) -> None:
    """Let a checkout's modules be imported, and what they import."""
    if TORCHVISION:
        _declare("nms", "qnms")
        importlib.import_module("torchvision").datasets.MNIST = MNIST
    else:
        torchvision: Any = _module("torchvision")
        torchvision.datasets = SimpleNamespace(MNIST=MNIST, CIFAR10=type("CIFAR10", (), {}))
        torchvision.transforms = SimpleNamespace(Compose=Compose, ToTensor=ToTensor, Normalize=Normalize)
        torchvision.models = SimpleNamespace(ResNet=nn.Module)
        sys.modules["torchvision"] = torchvision
    tqdm: Any = _module("tqdm")
    tqdm.tqdm = _same
    sys.modules["tqdm"] = tqdm
    np.product = np.prod  # type: ignore[attr-defined]
    sys.path.insert(0, str(path))


def _declare(*operators: str) -> None:
    """Let torch know operators of torchvision by name, where its wheel is for another build of torch."""
    for operator in operators:
        if not hasattr(torch.ops.torchvision, operator):
            _OPERATORS.define(f"{operator}(Tensor x) -> Tensor")


_OPERATORS = library.Library("torchvision", "FRAGMENT")


def _module(name: str) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)  # torch looks for it
    return module


def _same(items: Iterator[Any]) -> Iterator[Any]:
    return items
