"""What a GPU would refuse, seen without one: torch's meta device stands for it, whose tensors have shapes alone."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import SGD
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from study import models
from study.cell import Model, Recipe
from study.data import Split
from study.data.arrays import Arrays, Part
from study.models import prunable
from study.training.engines import dense
from study.training.engines.dense import Dense
from study.training.engines.engine import Task
from study.training.engines.packed import WARM_UP_STEPS, Packed
from tests.conftest import ROOT, environment

GPU = torch.device("meta")

RECIPE = Recipe(optimizer="adam", learning_rate=0.1, batch_size=12, iterations=8, evaluate_every=4)

COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class NoHostNumbers(TorchFunctionMode):
    """Refuses tensors that are made of the host's numbers."""

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        assert function not in (torch.tensor, torch.as_tensor), "numbers are copied from the host"
        return function(*args, **(kwargs or {}))


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices, other than numbers, and copies between them unless they `may`."""

    def __init__(self, may_copy: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._may_copy = may_copy

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        tensors = [one for one in tree_leaves((args, kwargs, result)) if isinstance(one, Tensor) and one.dim()]
        if not (self._may_copy and function in COPIES):
            assert len({tensor.device for tensor in tensors}) < 2, f"{function} on two devices"
        return result


class AsCaptured(Packed):
    """The packed engine; from the steps on that a GPU captures, they are refused what a CUDA graph can't hold."""

    ran = 0

    def _step(self) -> None:
        self.ran += 1
        if self.ran <= WARM_UP_STEPS:
            return super()._step()
        with NoHostNumbers(), OneDevice(may_copy=False):
            return super()._step()


def tasks(model: Model, augment: str, dtype: torch.dtype) -> list[Task]:
    """Three replicas on the GPU, their data and masks on the host."""

    def part(n: int) -> Part:
        inputs, labels = torch.zeros(n, 3, 16, 16, dtype=dtype), torch.zeros(n, dtype=torch.int64)
        return Part(inputs, labels, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))

    data = Split(Arrays(part(60), part(30)), torch.arange(40), torch.arange(40, 60))

    def task(seed: int) -> Task:
        network = models.build(model, torch.Size((3, 16, 16)), 4, seed).to(GPU)
        mask = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in prunable(network).items()}
        return Task(network, mask, data, RECIPE.model_copy(update={"augment": augment}), seed)

    return [task(seed) for seed in range(3)]


MODELS = [Model(name="lenet_300_100", family="lenet"), Model(name="resnet_20", family="resnet")]
AUGMENTS = ["none", "flip_crop", "flip_shift"]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("augment", AUGMENTS)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_captured_step_reads_the_gpus_memory_alone(model: Model, augment: str, dtype: torch.dtype) -> None:
    engine = AsCaptured(tasks(model, augment, dtype))
    engine.advance(torch.zeros(WARM_UP_STEPS + 2, 3, 12, dtype=torch.int64), 0)
    assert engine.ran == WARM_UP_STEPS + 2


@pytest.mark.parametrize("augment", AUGMENTS)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_dense_step_mixes_no_devices(model: Model, augment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "_optimizer", lambda network, _: SGD(network.parameters()))  # fused ones refuse meta
    engine = Dense(tasks(model, augment, torch.uint8)[:1])
    with OneDevice(may_copy=True):
        engine.advance(torch.zeros(4, 1, 12, dtype=torch.int64), 0)


def test_what_workers_are_forked_from_asks_nothing_of_cuda() -> None:
    """A process that has, even whether there is a GPU, can't be forked to ones that use it."""
    code = """
import importlib, sys, torch
def refuse(*_):
    sys.exit("CUDA was asked for something")
for name in ("is_available", "device_count", "init", "_lazy_init", "current_device", "get_device_properties"):
    setattr(torch.cuda, name, refuse)
from study.execute.forkserver import PRELOADED
for name in PRELOADED:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
