"""Checkpoints of trainings under way, in the store: from them they go on, alone or in another pack."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from pydantic import TypeAdapter

from study.config import Cluster
from study.energy.meter import Spent
from study.store import Store
from study.training.engines.engine import STATE_FORM
from study.training.loop import Outcome, Snapshot, Snapshots


class StopAsked(Exception):
    """Training ends here, checkpointed: it was asked to."""


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds: a training after an iteration, and what its mask took."""

    snapshot: Snapshot
    masking: Spent


def form(engine: type, cluster: Cluster) -> dict[str, Any]:
    """What must agree for a training to go on: another engine, device or torch would end it otherwise."""
    return {
        "engine": engine.__name__.lower(),
        "device": torch.device(cluster.device).type,
        "precision": cluster.precision,
        "torch": torch.__version__,
        "state": STATE_FORM,
    }


def read(store: Store, training: str, wanted: dict[str, Any]) -> Saved | None:
    """The checkpoint of a training; None where there is none of the wanted form."""
    found = store.checkpoint(training)
    if found is None or found[1]["form"] != wanted:
        return None
    state, content = found
    outcome = TypeAdapter(Outcome).validate_python(content["outcome"])
    return Saved(Snapshot(content["iteration"], outcome, state), Spent(**content["masking"]))


class Checkpoints:
    """Writes those of trainings side by side every `seconds`, and once more when asked to stop."""

    def __init__(
        self,
        store: Store,
        trainings: Sequence[tuple[str, Spent]],
        form: dict[str, Any],
        seconds: float,
        is_stop_asked: Callable[[], bool],
    ) -> None:
        """`trainings`: the id of each, and what its mask took."""
        self._store, self._trainings, self._form = store, trainings, form
        self._seconds, self._is_stop_asked = seconds, is_stop_asked
        self._written = time.monotonic()

    def after_stretch(self, snapshots: Snapshots) -> None:
        """Raises StopAsked."""
        stop = self._is_stop_asked()
        if stop or time.monotonic() - self._written >= self._seconds:
            for (training, masking), snapshot in zip(self._trainings, snapshots(), strict=True):
                content = {
                    "form": self._form,
                    "iteration": snapshot.iteration,
                    "outcome": asdict(snapshot.outcome),
                    "masking": asdict(masking),
                }
                self._store.save_checkpoint(training, snapshot.state, content)
            self._written = time.monotonic()
        if stop:
            raise StopAsked
