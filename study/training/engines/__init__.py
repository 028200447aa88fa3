"""Engines: what does a training's arithmetic. All compute the same; the loop knows them by engine.py alone."""

from typing import Literal

from study.errors import StudyError
from study.training.engines.chain import is_chain, is_worth_it
from study.training.engines.dense import Dense
from study.training.engines.engine import Task
from study.training.engines.sparse import Sparse

Name = Literal["auto", "dense", "sparse"]


def choose(name: Name, task: Task) -> type[Dense] | type[Sparse]:
    """The engine of a name, or for "auto" the faster one. Raises StudyError where it can't run the task."""
    on_cpu = next(task.network.parameters()).device.type == "cpu"
    if name == "auto":
        return Sparse if on_cpu and is_worth_it(task.network, task.mask) else Dense
    if name == "sparse" and not (on_cpu and is_chain(task.network)):
        raise StudyError("cluster.engine=sparse runs chains of layers on a CPU: set cluster.engine=auto")
    return Sparse if name == "sparse" else Dense
