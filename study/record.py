"""Records: what a cell leaves. One JSON file each, written once and whole. They are the truth; W&B mirrors them.

results     what was measured: equal bit for bit whenever the same cell runs again on the same kind of machine
run         when, where, with what and how long: differs every time
"""

import json
import math
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from study.energy.cpu import CORE_WATTS
from study.errors import Damaged, StudyError
from study.files import TEMPORARY, checksum, json_bytes, write_atomically

Schema = Literal[3, 4]
SCHEMA: Schema = 4
"""Written; 3 is read too. It has neither energy nor sizes, and its times are of the same phases."""


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Results(Part):
    """Accuracies are fractions of the test set, losses mean cross-entropies in nats; None where not finite.

    Without a prefix they are those of the last iteration. "early stop" is the evaluation with the lowest validation
    loss, the first of equals, found afterwards.

    `prunable`, `kept` and `effective` count weights by layer: all, those that the mask keeps, and of these those on a
    path of kept weights from input to output. A cell is collapsed where a layer keeps none, or no path is left. `flops`
    are the floating-point operations that each layer's weights take for one example forward, before pruning, two for a
    multiply-add. `bytes` is what the prunable weights take, by the way to store them: study/energy/work.py.
    """

    status: Literal["finished", "collapsed", "diverged"]
    diverged_at: int | None
    prunable: dict[str, int]
    kept: dict[str, int]
    effective: dict[str, int]
    flops: dict[str, int]
    bytes: dict[str, int] | None = None
    test_accuracy: float
    test_loss: float | None
    validation_accuracy: float
    validation_loss: float | None
    early_stop_iteration: int
    early_stop_test_accuracy: float
    curves: dict[str, list[int | float | None]]


class Phase(Part):
    """What a phase of a training took: seconds by the clock, CPU seconds, joules of CPU and GPU, and operations.

    `flops` are the floating-point operations that the mask leaves; scoring's are counted as they are done. None is
    not metered, or no GPU.
    """

    wall: float
    cpu: float
    cpu_joules: float | None = None
    gpu_joules: float | None = None
    flops: int | None = None

    @property
    def joules(self) -> float:
        """Of CPU and GPU together; where there was no meter, an estimate from the CPU seconds."""
        if self.cpu_joules is None:
            return CORE_WATTS * self.cpu
        return self.cpu_joules + (self.gpu_joules or 0.0)


class Meter(Part):
    """Where the joules come from, of the CPU and of the GPU: a counter's name, "estimate" or "none"; whose they are."""

    cpu: str
    gpu: str
    scope: str
    note: str


class Cost(Part):
    """What one training took by phase, its share of those that ran `together`; the engine that did its arithmetic.

    Trainings that run together share by floating-point operations; each does the same.
    """

    engine: str
    together: int = 1
    iterations: int
    mask: Phase
    training: Phase
    evaluation: Phase
    meter: Meter | None = None

    @property
    def wall(self) -> float:
        """Seconds by the clock, of training and evaluation."""
        return self.training.wall + self.evaluation.wall

    @property
    def joules(self) -> float:
        """Of all phases."""
        return self.mask.joules + self.training.joules + self.evaluation.joules


class Run(Part):
    """Circumstances of the cell's own training; `costs` of all the trainings it rests on, whoever shared them."""

    finished: str
    hardware: dict[str, Any]
    versions: dict[str, str]
    git: dict[str, Any]
    costs: dict[str, Cost]


class Record(Part):
    """`cell` is the id, `settings` all of the cell's, `trainings` what it rests on, by lineage id, its own last."""

    schema_version: Schema = SCHEMA
    experiment: str
    cell: str
    settings: dict[str, Any]
    trainings: list[str]
    results: Results
    run: Run

    @property
    def sparsity(self) -> float:
        """The fraction of prunable weights that was removed in fact."""
        return 1 - sum(self.results.kept.values()) / sum(self.results.prunable.values())

    @property
    def on_gpu(self) -> bool:
        """Whether the cell's own training ran on a GPU: its CPU seconds then are not what it takes a core."""
        return "gpu" in self.run.hardware

    @property
    def effective_sparsity(self) -> float:
        """The fraction of prunable weights that are removed or lie on no path."""
        return 1 - sum(self.results.effective.values()) / sum(self.results.prunable.values())


def summarise(experiment: str, cell: str, settings: dict[str, Any], trainings: dict[str, dict[str, Any]]) -> Record:
    """The record of a cell, from the stored results of all the trainings that it rests on, its own last."""
    own = list(trainings.values())[-1]
    curves = own["curves"]
    losses = [math.inf if loss is None else loss for loss in curves["validation_loss"]]
    best = losses.index(min(losses))
    collapsed = min(own["kept"].values()) == 0 or sum(own["effective"].values()) == 0
    results = Results(
        status="diverged" if own["diverged_at"] is not None else "collapsed" if collapsed else "finished",
        diverged_at=own["diverged_at"],
        prunable=own["prunable"],
        kept=own["kept"],
        effective=own["effective"],
        flops=own["flops"],
        bytes=own.get("bytes"),
        test_accuracy=curves["test_accuracy"][-1],
        test_loss=curves["test_loss"][-1],
        validation_accuracy=curves["validation_accuracy"][-1],
        validation_loss=curves["validation_loss"][-1],
        early_stop_iteration=curves["iteration"][best],
        early_stop_test_accuracy=curves["test_accuracy"][best],
        curves=curves,
    )
    costs = {training: Cost(**result["cost"]) for training, result in trainings.items()}
    return Record(
        experiment=experiment,
        cell=cell,
        settings=settings,
        trainings=list(trainings),
        results=results,
        run=Run(**own["circumstances"], costs=costs),
    )


def reproducible(record: Record) -> dict[str, Any]:
    """The part of a record that an undisturbed and a disturbed run must agree on."""
    return record.model_dump(mode="json", exclude={"run"})


def write(path: Path, record: Record) -> None:
    """Write a record whole or not at all."""
    content = record.model_dump(mode="json")
    write_atomically(path, json_bytes({**content, "checksum": checksum(content)}))


def read(path: Path) -> Record:
    """Read a record. Raises StudyError, naming the file, where it is Damaged or of another schema."""
    try:
        content = json.loads(path.read_bytes())
        stored = content.pop("checksum")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise Damaged(f"{path} is not a whole record: delete it and run its cell again") from None
    if checksum(content) != stored:
        raise Damaged(f"{path} was altered after it was written: delete it and run its cell again")
    if content.get("schema_version") not in get_args(Schema):
        found = content.get("schema_version")
        raise StudyError(f"{path} has record schema {found}, not {SCHEMA}: read it with the version that wrote it")
    try:
        return Record.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise StudyError(f"{path} is not a record ({where}: {problem['msg']}): remove it from the folder") from None


def read_folder(folder: Path) -> list[Record]:
    """All records of a folder, by file name. Raises StudyError for a file that is none, and for a cell twice."""
    paths = sorted(path for path in folder.glob("*.json") if not path.name.startswith(TEMPORARY))
    records: dict[str, tuple[Path, Record]] = {}
    for path in paths:
        record = read(path)
        if record.cell in records:
            raise StudyError(f"{path} and {records[record.cell][0]} are the same cell: remove one")
        records[record.cell] = (path, record)
    return [record for _, record in records.values()]
