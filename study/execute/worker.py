"""The worker's side: a process that makes the values of nodes and runs trainings, on one thread."""

import multiprocessing
import os
import signal
import traceback
from dataclasses import asdict
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from torch import Tensor, nn

from study import data, models, provenance
from study.cell import Dataset, Model, Recipe
from study.data import Examples
from study.errors import StudyError
from study.lineage import Node, initial, step_function
from study.models.flops import flops
from study.models.paths import effective
from study.store import Store
from study.training import engines
from study.training.engines.engine import Task
from study.training.loop import Time, timed, train


def serve(connection: Connection, reported: Any, folder: Path, device: str, engine: engines.Name) -> None:
    """Run packs of trainings as they come; answer each with the error that ended it, if one did, and `run_pack`'s.

    `reported` is a shared integer for the iterations done of the training in hand. A worker ends with its driver.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
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
            failures = run_pack(pack, Store(folder), torch.device(device), engine, reported)
            connection.send((None, failures))
        except (StudyError, OSError) as error:
            connection.send((error, {}))


def run_pack(
    pack: list[Node], store: Store, device: torch.device, engine: engines.Name, reported: Any
) -> dict[str, str]:
    """Run trainings in turn, each stored as soon as it is finished; those that somebody else runs are left out.

    Gives what went wrong with those that failed. Raises StudyError and OSError, which concern all trainings alike.
    """
    failures = {}
    for node in pack:
        with store.claim(node.id) as mine:
            if mine and not store.has_training(node.id):
                try:
                    _run(node, store, device, engine, reported)
                except (StudyError, OSError):
                    raise
                except Exception:
                    failures[node.id] = traceback.format_exc()
        reported.value = 0
    return failures


def _run(node: Node, store: Store, device: torch.device, engine: engines.Name, reported: Any) -> None:
    seed, recipe = node.arguments["seed"], Recipe(**node.arguments["recipe"])
    split = data.split(Dataset(**node.arguments["dataset"]), seed)
    values, masking = Values(store), Time()
    with timed([masking]):
        network = values.of(node.arguments["start"]).to(device)
        mask = values.of(node.arguments["mask"])

    def report(iteration: int) -> None:
        reported.value = iteration

    part = {name: node.arguments[name] for name in ("since", "until") if name in node.arguments}
    task = Task(network, mask, split, seed)
    chosen = engines.choose(engine, task)
    (outcome,) = train([task], recipe, chosen, report, **part)
    inputs = split.arrays.training.inputs.shape[1:]
    result = {
        "prunable": {name: kept.numel() for name, kept in mask.items()},
        "kept": {name: int(kept.sum()) for name, kept in mask.items()},
        "effective": effective(network, mask, inputs),
        "flops": flops(network, inputs),
        "diverged_at": outcome.diverged_at,
        "curves": asdict(outcome.curves),
        "cost": {
            "engine": chosen.__name__.lower(),
            "iterations": outcome.curves.iteration[-1] - outcome.curves.iteration[0],
            "mask": asdict(masking),
            "training": asdict(outcome.training),
            "evaluation": asdict(outcome.evaluation),
        },
        "circumstances": {
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "hardware": provenance.hardware(str(device)),
            "versions": provenance.versions(),
            "git": provenance.git(),
        },
    }
    store.save_training(node.id, {k: v.contiguous().cpu() for k, v in network.state_dict().items()}, result)


class Values:
    """The values of nodes: networks, examples and masks. Masks are kept in the store."""

    def __init__(self, store: Store) -> None:
        self.store = store

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
                return Examples(data.split(Dataset(**argument.arguments["dataset"]), seed), seed)
            case path:
                return self._mask(path, argument)

    def _initial_network(self, node: Node) -> nn.Module:
        shape = data.shape(node.arguments["dataset"], node.arguments.get("size", 0))
        model, seed = Model(**node.arguments["model"]), node.arguments["seed"]
        draw = node.arguments.get("draw")
        return models.build(model, shape.inputs, shape.classes, f"{seed}/{draw}" if draw else seed)

    def _mask(self, path: str, node: Node) -> dict[str, Tensor]:
        mask: dict[str, Tensor] | None = self.store.mask(node.id)
        if mask is None:
            mask = step_function(path)(**{name: self.of(value) for name, value in node.arguments.items()})
            self.store.save_mask(node.id, mask)
        return mask
