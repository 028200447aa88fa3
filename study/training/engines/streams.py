"""Packed trainings on a GPU's streams, each alone in a CUDA graph, and the choice between these and a stack of them."""

import copy
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from study.data.arrays import Arrays
from study.training import memory
from study.training.engines.engine import Evaluation, State, Task
from study.training.engines.packed import Packed, can_stack

os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")
"""As many streams as a GPU can run at the same time, where CUDA's default is eight; read when CUDA starts."""

TRIAL_STEPS = 10
WORTH_DOUBLING = 1.1
"""Twice as many trainings run together where that makes all of them faster by this factor."""

T = TypeVar("T")


class Streams:
    """A packed engine for each task, on a stream of its own. The tasks share their data set.

    For networks whose convolutions fill much of a GPU already, where stacked ones, which are grouped, train slowly, and
    for recurrent ones, which can't be stacked.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._device = next(tasks[0].network.parameters()).device
        arrays = tasks[0].data.arrays
        there = Arrays(arrays.training.on(self._device), arrays.test.on(self._device))
        on_gpu = self._device.type == "cuda"
        self._streams = [torch.cuda.Stream(self._device) for _ in tasks] if on_gpu else []
        sharing = [replace(task, data=replace(task.data, arrays=there)) for task in tasks]
        self._engines = self._side_by_side([partial(Packed, [task]) for task in sharing])

    def advance(self, batches: Tensor, since: int) -> None:
        own = batches.split(1, dim=1)
        self._of_each(lambda number, engine: engine.advance(own[number], since))

    def losses(self) -> list[float]:
        return [loss for (loss,) in self._of_each(lambda _, engine: engine.losses())]

    def evaluate(self) -> list[tuple[Evaluation, Evaluation]]:
        return [evaluations for (evaluations,) in self._of_each(lambda _, engine: engine.evaluate())]

    def states(self) -> list[State]:
        return [state for (state,) in self._of_each(lambda _, engine: engine.states())]

    def restore(self, states: Sequence[State]) -> None:
        self._of_each(lambda number, engine: engine.restore([states[number]]))

    def finish(self) -> None:
        self._of_each(lambda _, engine: engine.finish())

    def _of_each(self, act: Callable[[int, Packed], T]) -> list[T]:
        return self._side_by_side([partial(act, number, engine) for number, engine in enumerate(self._engines)])

    def _side_by_side(self, acts: Sequence[Callable[[], T]]) -> list[T]:
        """Do the n-th on the n-th stream, after all that came before and before all that comes."""
        if not self._streams:
            return [act() for act in acts]
        here, done = torch.cuda.current_stream(self._device), []
        for stream in self._streams:
            stream.wait_stream(here)
        for act, stream in zip(acts, self._streams, strict=True):
            with torch.cuda.stream(stream):
                done.append(act())
        for stream in self._streams:
            here.wait_stream(stream)
        return done


Together = type[Packed] | type[Streams]


def fastest(task: Task, limit: int) -> tuple[Together, int]:
    """How replicas of a task train fastest, and how many together: doubled while it helps and memory lasts."""
    on_cpu = next(task.network.parameters()).device.type == "cpu"
    of_many: list[Together] = [Packed] if can_stack(task.network) else []
    of_many += [] if on_cpu else [Streams]
    best: tuple[Together, int] = (Packed, 1)
    speed, size = 0.0, 1
    while size <= limit and (ways := [Packed] if size == 1 else of_many):
        speeds = {way: _speed(way, task, size) for way in ways}
        way = max(speeds, key=lambda way: speeds[way])
        if speeds[way] <= speed * WORTH_DOUBLING:
            return best
        best, speed, size = (way, size), speeds[way], 2 * size
    return best


def _speed(way: Together, task: Task, size: int) -> float:
    """Steps a second, all replicas' together; 0 where memory runs out."""
    try:
        return size / _seconds_per_step(way, task, size)
    except Exception as error:
        if not memory.ran_out(error):
            raise
    memory.give_back()  # here, where the error no longer holds what filled it
    return 0.0


def _seconds_per_step(way: Together, task: Task, size: int) -> float:
    engine = way([replace(task, network=copy.deepcopy(task.network)) for _ in range(size)])
    batches = task.data.training[: task.recipe.batch_size].expand(TRIAL_STEPS, size, -1)
    engine.evaluate()
    engine.advance(batches, 0)
    engine.losses()  # waits for the device
    begun = time.perf_counter()
    engine.advance(batches, 0)
    engine.losses()
    return (time.perf_counter() - begun) / TRIAL_STEPS
