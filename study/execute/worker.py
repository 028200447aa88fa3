"""The worker's side: a process that makes the values of nodes and runs trainings, on one thread."""

import json
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import groupby
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from study import data, models, provenance
from study.cell import Dataset, Model, Recipe
from study.config import Cluster
from study.data import Examples
from study.energy import meter, work
from study.energy.meter import Spent
from study.errors import StudyError
from study.execute import checkpoint
from study.execute.checkpoint import Checkpoints, StopAsked
from study.lineage import Node, initial, step_function
from study.models import prunable
from study.models.flops import flops
from study.models.paths import effective
from study.plan import companions
from study.store import Store
from study.training import engines, memory
from study.training.engines.chain import sparse_layers
from study.training.engines.engine import Runner, Task
from study.training.engines.packed import Packed
from study.training.engines.sparse import Sparse, compile_kernels
from study.training.engines.streams import fastest
from study.training.loop import Outcome, Snapshot, Snapshots, timed, train
from study.training.names import Point

OUT_OF_MEMORY = "memory ran out with this training alone: lower cluster.workers, or choose a machine with more"

UNCOUNTED = ("seed", "sparsity", "kept", "spared")
"""Arguments of mask steps on which their operations do not depend."""


Points = dict[str, list[Point]]
"""What was measured of each training since it was last told."""


def serve(connection: Connection, reported: Any, stopping: Any, folder: Path, cluster: Cluster) -> None:
    """Run packs of trainings as they come; answer each with the error that ended it, if one did, and `run_pack`'s.

    What is measured on the way is told as it comes (`Points`).

    `reported` is a shared integer for the iterations done of the trainings in hand, summed; `stopping` one that is set
    for the worker to checkpoint them and give them back. A worker ends with its driver. Signals that a terminal or
    Slurm sends to all processes alike are the driver's to answer.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # Adam's moments of dead units become such, which slow processors down
    memory.keep()
    meter.start(cluster.device, cluster.core_watts, cluster.workers)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    driver = multiprocessing.parent_process()
    assert driver is not None, "workers are started by a driver"

    def end_with_driver() -> None:
        driver.join()
        os._exit(1)

    Thread(target=end_with_driver, daemon=True).start()
    while True:
        try:
            pack = connection.recv()
        except EOFError:
            return
        try:
            failures = run_pack(pack, Store(folder), cluster, reported, stopping, connection.send)
            connection.send((None, failures))
        except (StudyError, OSError) as error:
            connection.send((error, {}))


def run_pack(
    pack: list[Node],
    store: Store,
    cluster: Cluster,
    reported: Any,
    stopping: Any,
    tell: Callable[[Points], None] = lambda points: None,
) -> dict[str, str]:
    """Run trainings that need none of each other, and store them; those that somebody else runs are left out.

    Where memory runs out, half of them are run at a time. Gives what went wrong with those that failed. Raises
    StudyError and OSError, which concern all trainings alike.
    """
    failures: dict[str, str] = {}

    @contextmanager
    def failing(nodes: list[Node]) -> Iterator[None]:
        try:
            yield
        except (StudyError, OSError, StopAsked):
            raise
        except Exception as error:
            if memory.ran_out(error):
                raise
            failures.update(dict.fromkeys((node.id for node in nodes), traceback.format_exc()))

    def attempt(nodes: list[Node]) -> None:
        prepared = []
        for node in nodes:
            with failing([node]):
                prepared.append(_prepare(node, store, cluster))
        for runner, together in _side_by_side(prepared):
            with failing([one.node for one in together]):
                _run(runner, together, store, cluster, reported, stopping, tell)

    def run(nodes: list[Node]) -> None:
        left = [node for node in nodes if not (node.id in failures or store.has_training(node.id))]
        try:
            return attempt(left)
        except Exception as error:
            if not memory.ran_out(error):
                raise
        memory.give_back()  # here, where the error no longer holds what filled it
        if len(left) == 1:
            failures[left[0].id] = OUT_OF_MEMORY
            return None
        run(left[: len(left) // 2])
        return run(left[len(left) // 2 :])

    precision = engines.computing_in(cluster.precision, torch.device(cluster.device))
    with suppress(StopAsked), ExitStack() as leases, precision:
        run([node for node in pack if leases.enter_context(store.lease(node.id))])
    reported.value = 0
    return failures


@dataclass(frozen=True)
class Prepared:
    """A training that can begin or go on, and what its mask took."""

    node: Node
    task: Task
    engine: engines.AnyEngine
    masking: Spent
    saved: Snapshot | None

    @property
    def done(self) -> int:
        """The iteration after which it goes on."""
        return self.saved.iteration if self.saved else int(self.node.arguments.get("since", 0))


def _prepare(node: Node, store: Store, cluster: Cluster) -> Prepared:
    seed, recipe = node.arguments["seed"], Recipe(**node.arguments["recipe"])
    split = data.split(Dataset(**node.arguments["dataset"]), seed)
    device = torch.device(cluster.device)
    values, masking = Values(store, device), Spent()
    with timed([masking]):
        network = values.of(node.arguments["start"])
        with engines.computing_in("float32", device):
            mask = values.of(node.arguments["mask"])
    task = Task(network, mask, split, recipe, seed)
    masking.flops = values.operations
    engine = engines.choose(cluster.engine, task)
    saved = checkpoint.read(store, node.id, checkpoint.form(engine, cluster))
    if saved is None:
        return Prepared(node, task, engine, masking, None)
    return Prepared(node, task, engine, masking + saved.masking, saved.snapshot)


def _side_by_side(prepared: list[Prepared]) -> Iterator[tuple[Runner, list[Prepared]]]:
    """Those of one engine that go on from one iteration, as many together as train fastest so, or one by one."""

    def alike(one: Prepared) -> tuple[int, str]:
        return one.done, one.engine.__name__

    for _, found in groupby(sorted(prepared, key=alike), key=alike):
        group = list(found)
        engine: Runner = group[0].engine
        runner, size = _layout(group) if len(group) > 1 and engine is Packed else (engine, 1)
        yield from ((runner, group[i : i + size]) for i in range(0, len(group), size))


_layouts: dict[tuple[str, int], tuple[Runner, int]] = {}


def _layout(group: Sequence[Prepared]) -> tuple[Runner, int]:
    """How so many trainings of a kind run fastest, tried once in a process: a ladder asks at every level."""
    asked = companions(group[0].node), len(group)
    if asked not in _layouts:
        _layouts[asked] = fastest(group[0].task, len(group))
    return _layouts[asked]


def _run(
    runner: Runner,
    together: list[Prepared],
    store: Store,
    cluster: Cluster,
    reported: Any,
    stopping: Any,
    tell: Callable[[Points], None],
) -> None:
    """Train and store, checkpointing in between. Raises StopAsked."""
    arguments, engine, before = together[0].node.arguments, together[0].engine, reported.value
    if engine is Sparse:
        _compile_once(together[0])
    part = {name: arguments[name] for name in ("since", "until") if name in arguments}
    checkpoints = Checkpoints(
        store,
        [(one.node.id, one.masking) for one in together],
        checkpoint.form(engine, cluster),
        cluster.checkpoint,
        lambda: bool(stopping.value),
    )

    def after_stretch(iteration: int, snapshots: Snapshots) -> None:
        reported.value = before + len(together) * (iteration - part.get("since", 0))
        meter.current().read()  # counters wrap
        checkpoints.after_stretch(snapshots)

    told = [0] * len(together)

    def after_evaluation(outcomes: Sequence[Outcome]) -> None:
        points = [outcome.curves.points(count) for outcome, count in zip(outcomes, told, strict=True)]
        tell({one.node.id: new for one, new in zip(together, points, strict=True)})
        told[:] = [count + len(new) for count, new in zip(told, points, strict=True)]

    saved = [one.saved for one in together if one.saved]
    outcomes = train([one.task for one in together], runner, after_stretch, after_evaluation, saved=saved, **part)
    for one, outcome in zip(together, outcomes, strict=True):
        network = one.task.network
        weights = {name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}
        store.save_training(one.node.id, weights, _result(one, outcome, len(together)))
        store.remove_checkpoint(one.node.id)


_compiled: set[str] = set()


def _compile_once(one: Prepared) -> None:
    """Have kernels compiled before what takes them is metered, once in a process for each kind of training."""
    task = one.task
    held_sparse = sorted(sparse_layers(task.network, task.mask))
    what = json.dumps([companions(one.node), held_sparse])
    if what not in _compiled:
        compile_kernels(task)
        _compiled.add(what)


def _result(one: Prepared, outcome: Outcome, together: int) -> dict[str, Any]:
    network, split = one.task.network, one.task.data
    mask = {name: one.task.mask[name] for name in prunable(network)}  # in the network's order, which files do not keep
    inputs = split.arrays.training.inputs.shape[1:]
    sizes = {name: keep.numel() for name, keep in mask.items()}
    kept = {name: int(keep.sum()) for name, keep in mask.items()}
    operations, points = flops(network, inputs), outcome.curves.iteration
    iterations, forward = points[-1] - points[0], work.forward(operations, sizes, kept)
    trained = work.training(forward, iterations * one.task.recipe.batch_size)
    evaluated = forward * len(points) * (len(split.validation) + len(split.arrays.test))
    return {
        "prunable": sizes,
        "kept": kept,
        "effective": effective(network, mask, inputs),
        "flops": operations,
        "bytes": work.sizes(kept, sizes, {name: len(keep) for name, keep in mask.items()}),
        "diverged_at": outcome.diverged_at,
        "curves": asdict(outcome.curves),
        "cost": {
            "engine": one.engine.__name__.lower(),
            "together": together,
            "iterations": iterations,
            "mask": asdict(one.masking),
            "training": asdict(outcome.training) | {"flops": trained},
            "evaluation": asdict(outcome.evaluation) | {"flops": evaluated},
            "meter": meter.current().described(),
        },
        "circumstances": {
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "hardware": provenance.hardware(str(next(network.parameters()).device)),
            "versions": provenance.versions(),
            "git": provenance.git(),
        },
    }


class Values:
    """The values of nodes: networks and examples on a device, masks on the CPU. Masks are kept in the store.

    `operations` counts the floating-point operations of the masks that had to be made.
    """

    def __init__(self, store: Store, device: torch.device = data.CPU) -> None:
        self.store, self.device, self.operations = store, device, 0

    def of(self, argument: Any) -> Any:
        """The value of a node; anything else is its own value."""
        if not isinstance(argument, Node):
            return argument
        match argument.function:
            case "initialise":
                return self._initial_network(argument)
            case "train":
                network = self._initial_network(initial(argument))
                network.load_state_dict(self.store.weights(argument.id))
                return network
            case "examples":
                seed = argument.arguments["seed"]
                return Examples(data.split(Dataset(**argument.arguments["dataset"]), seed), seed, self.device)
            case path:
                return self._mask(path, argument)

    def _initial_network(self, node: Node) -> nn.Module:
        shape = data.shape(node.arguments["dataset"], node.arguments.get("size", 0))
        model, seed = Model(**node.arguments["model"]), node.arguments["seed"]
        draw = node.arguments.get("draw")
        return models.build(model, shape.inputs, shape.classes, f"{seed}/{draw}" if draw else seed).to(self.device)

    def _mask(self, path: str, node: Node) -> dict[str, Tensor]:
        mask: dict[str, Tensor] | None = self.store.mask(node.id)
        if mask is None:
            arguments = {name: self.of(value) for name, value in node.arguments.items()}
            with counted(node) as operations:
                mask = step_function(path)(**arguments)
            self.operations += operations()
            self.store.save_mask(node.id, mask)
        return mask


_counts: dict[str, int] = {}


@contextmanager
def counted(step: Node) -> Iterator[Callable[[], int]]:
    """Count the floating-point operations of a mask step, once in a process for all steps that do the same ones.

    They depend on the function, the network's kind, the data and the settings; not on a seed, nor on what is kept.
    """
    settings = {name: _kind(value) for name, value in step.arguments.items() if name not in UNCOUNTED}
    key = json.dumps([step.function, settings], sort_keys=True)
    if key in _counts:
        yield lambda: _counts[key]
        return
    with FlopCounterMode(display=False) as counter:
        yield lambda: _counts[key]
    _counts[key] = counter.get_total_flops()


def _kind(argument: Any) -> Any:
    if not isinstance(argument, Node):
        return argument
    known = initial(argument) if argument.function == "train" else argument
    kept = {name: known.arguments[name] for name in ("model", "dataset", "size") if name in known.arguments}
    return [argument.function, kept]
