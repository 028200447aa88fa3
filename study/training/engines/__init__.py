"""Engines: what does a training's arithmetic. All compute the same; the loop knows them by engine.py alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from study.errors import StudyError
from study.training import names
from study.training.engines.chain import is_chain, is_worth_it
from study.training.engines.dense import Dense
from study.training.engines.engine import Task
from study.training.engines.packed import Packed, can_pack
from study.training.engines.sparse import Sparse

AnyEngine = type[Dense] | type[Sparse] | type[Packed]


def choose(name: names.Engine, task: Task) -> AnyEngine:
    """The engine of a name, or for "auto" the one that suits. Raises StudyError where it can't run the task."""
    on_cpu = next(task.network.parameters()).device.type == "cpu"
    packs = can_pack(task.network) and task.data.arrays.training.are_in_memory
    match name:
        case "auto" if on_cpu:
            return Sparse if is_worth_it(task.network, task.mask) else Dense
        case "auto":
            return Packed if packs else Dense
        case "sparse" if not (on_cpu and is_chain(task.network)):
            raise StudyError("cluster.engine=sparse runs chains of layers on a CPU: set cluster.engine=auto")
        case "packed" if not packs:
            raise StudyError(
                "cluster.engine=packed runs no recurrent layers, nor data sets larger than memory: set auto"
            )
    known: dict[str, AnyEngine] = {"dense": Dense, "sparse": Sparse, "packed": Packed}
    return known[name]


@contextmanager
def computing_in(precision: names.Precision, device: torch.device) -> Iterator[None]:
    """Compute in a precision for a while."""
    matmul, convolutions = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, convolutions
