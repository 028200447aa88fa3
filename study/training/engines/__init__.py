"""Engines: what does a training's arithmetic. All compute the same; the loop knows them by engine.py alone."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_pre_hook

from study.errors import StudyError
from study.training import names
from study.training.engines.chain import is_chain, is_worth_it
from study.training.engines.dense import Dense
from study.training.engines.engine import Task
from study.training.engines.packed import Packed
from study.training.engines.sparse import Sparse

AnyEngine = type[Dense] | type[Sparse] | type[Packed]


def choose(name: names.Engine, task: Task) -> AnyEngine:
    """The engine of a name, or for "auto" the one that suits. Raises StudyError where it can't run the task."""
    on_cpu = next(task.network.parameters()).device.type == "cpu"
    packs = task.data.arrays.training.are_in_memory
    match name:
        case "auto" if on_cpu:
            return Sparse if is_worth_it(task.network, task.mask) else Dense
        case "auto":
            return Packed if packs else Dense
        case "sparse" if not (on_cpu and is_chain(task.network)):
            raise StudyError("cluster.engine=sparse runs chains of layers on a CPU: set cluster.engine=auto")
        case "packed" if not packs:
            raise StudyError("cluster.engine=packed holds data sets in memory, this one is too large: set auto")
    known: dict[str, AnyEngine] = {"dense": Dense, "sparse": Sparse, "packed": Packed}
    return known[name]


@contextmanager
def computing_in(precision: names.Precision, device: torch.device) -> Iterator[None]:
    """Compute in a precision for a while. In bf16, torch's autocast, batch norm is left in float32."""
    matmul, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, convolutions.allow_tf32
    matmul.allow_tf32 = convolutions.allow_tf32 = precision == "tf32"
    in_float32: Any = _in_float32  # torch's annotation has hooks give nothing
    hook = register_module_forward_pre_hook(in_float32) if precision == "bf16" else nullcontext()
    try:
        # Autocast would keep bf16 copies of the weights for as long as it lasts, whatever an optimiser does to them.
        with hook, torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
            yield
    finally:
        matmul.allow_tf32, convolutions.allow_tf32 = before


def _in_float32(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Under vmap batch norm takes no inputs of another precision than its statistics'."""
    if not isinstance(module, _BatchNorm):
        return inputs
    return tuple(tensor.float() if tensor.dtype == torch.bfloat16 else tensor for tensor in inputs)
