"""From Hydra's configuration to a cell and a way to run it. A mistake is one line that names the fix."""

import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import torch
from omegaconf import DictConfig, OmegaConf
from pydantic import Field, SerializeAsAny, ValidationError, ValidationInfo, field_validator, model_validator

from study import methods
from study.cell import Cell, Control, Count, Method, Positive, PositiveCount, Settings
from study.errors import StudyError
from study.training import names

ROOT = Path(__file__).parent.parent


class Cluster(Settings):
    """Where and how trainings run, on this machine or, in a subclass, elsewhere; what is null is found out.

    `device` is torch's name, null the GPU if there is one. `workers` are processes of one thread, null one for each
    core that this process may use, or one for a GPU. Each is given `pack` trainings at a time, null 1 on a CPU and 256
    on a GPU, where as many of them run side by side as is fastest. `engine` does the arithmetic
    (study/training/engines), "auto" the one that suits, in a `precision`. Trainings under way are checkpointed every
    `checkpoint` seconds. `core_watts` is what a busy core takes, where no counter can be read.
    """

    name: str
    device: str = Field(pattern=r"^(cpu|cuda(:\d+)?)$")
    workers: PositiveCount
    pack: PositiveCount
    engine: names.Engine
    precision: names.Precision
    checkpoint: Positive
    core_watts: Positive

    @field_validator("device", mode="before")
    @classmethod
    def _gpu_if_there_is_one(cls, device: object) -> object:
        return device or ("cuda" if torch.cuda.is_available() else "cpu")

    @field_validator("workers", mode="before")
    @classmethod
    def _one_a_core(cls, workers: object, info: ValidationInfo) -> object:
        if workers is not None:
            return workers
        if info.data.get("device") != "cpu":
            return 1
        for allotted in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
            if os.environ.get(allotted, "").isdecimal():
                return int(os.environ[allotted])
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    @field_validator("pack", mode="before")
    @classmethod
    def _more_than_one_on_a_gpu(cls, pack: object, info: ValidationInfo) -> object:
        return pack if pack is not None else 1 if info.data.get("device") == "cpu" else 256

    @model_validator(mode="after")
    def _precision_is_for_gpus(self) -> "Cluster":
        if self.device == "cpu" and self.precision != "float32":
            raise ValueError(f"cluster.precision={self.precision} is for GPUs: set float32")
        return self

    def of_worker(self, number: int) -> "Cluster":
        """The settings that one of the workers is to run by."""
        return self


class Local(Cluster):
    """This machine."""

    @model_validator(mode="after")
    def _device_is_there(self) -> "Local":
        kind, _, ordinal = self.device.partition(":")
        if kind == "cuda" and int(ordinal or 0) >= torch.cuda.device_count():
            raise ValueError(f"torch finds no GPU {self.device} here: leave out cluster.device")
        return self


class ManyGpus(Cluster):
    """Workers that have a GPU each, where there are `gpus`."""

    gpus: Count

    def of_worker(self, number: int) -> Cluster:
        """With a GPU, as the only worker on it."""
        own = {"device": f"cuda:{number % self.gpus}", "workers": 1} if self.gpus else {}
        return self.model_copy(update=own)


class LocalGpus(ManyGpus):
    """`gpus` of this machine, null all, with a worker each."""

    @model_validator(mode="before")
    @classmethod
    def _one_worker_a_gpu(cls, content: dict[str, Any]) -> dict[str, Any]:
        found = torch.cuda.device_count()
        if not found:
            raise ValueError("torch finds no GPUs here: leave cluster=local")
        gpus = content.get("gpus") or found
        if isinstance(gpus, int) and gpus > found:
            raise ValueError(f"cluster.gpus={gpus} are more than the {found} that torch finds here")
        return _derived({**content, "gpus": gpus}, device="cuda", workers=gpus)


class Slurm(ManyGpus):
    """A Slurm cluster. conf/cluster/slurm.yaml says what each setting is."""

    cpus: PositiveCount
    memory_gb: PositiveCount
    time: PositiveCount
    job_minutes: Positive
    array_parallelism: PositiveCount
    signal_seconds: PositiveCount
    partition: str | None
    account: str | None
    modules: tuple[str, ...]
    setup: tuple[str, ...]
    options: dict[str, str | int | bool]
    python: str | None
    wait: bool = Field(strict=True)

    @model_validator(mode="before")
    @classmethod
    def _as_a_node_will_find_it(cls, content: dict[str, Any]) -> dict[str, Any]:
        """The device and the workers of a job: the machine that submits it may have neither."""
        gpus = content.get("gpus")
        return _derived(content, device="cuda" if gpus else "cpu", workers=gpus or content.get("cpus") or 1)

    @model_validator(mode="after")
    def _starts_before_it_is_signalled(self) -> "Slurm":
        if self.signal_seconds > 60 * self.time / 2:
            raise ValueError(
                "cluster.signal_seconds takes more than half of cluster.time: lower it, or ask for more time"
            )
        return self


def _derived(content: dict[str, Any], **settings: Any) -> dict[str, Any]:
    for name, value in settings.items():
        if content.get(name) not in (None, value):
            raise ValueError(f"cluster.{name} follows from cluster.gpus and cluster.cpus: leave it out")
    return {**content, **settings}


CLUSTERS: dict[str, type[Cluster]] = {"local": Local, "local_gpus": LocalGpus, "slurm": Slurm}


class Wandb(Settings):
    """Weights & Biases. "offline" writes its files without an account, "online" uploads as well.

    With `artifacts`, each cell's record and mask are artifacts of its run.
    """

    mode: Literal["offline", "online", "disabled"] = "offline"
    project: str
    entity: str | None = None
    artifacts: bool = Field(default=False, strict=True)


class Run(Settings):
    """How and where a sweep runs: nothing here changes a result. `name` is the experiment's."""

    name: str = Field(pattern=r"^[\w.-]+$")
    output: Path
    dry_run: bool = Field(strict=True)
    verbose: bool = Field(default=False, strict=True)
    cluster: SerializeAsAny[Cluster]
    wandb: Wandb

    @field_validator("cluster", mode="before")
    @classmethod
    def _of_its_kind(cls, cluster: Any) -> Any:
        if not isinstance(cluster, dict):
            return cluster
        if cluster.get("name") not in CLUSTERS:
            raise ValueError(f"cluster.name is one of {', '.join(CLUSTERS)}: choose by cluster=NAME")
        return CLUSTERS[cluster["name"]](**cluster)

    @property
    def store(self) -> Path:
        return self.output / "store"

    @property
    def records(self) -> Path:
        return self.output / "records" / self.name

    @property
    def submissions(self) -> Path:
        """Where what was sent to Slurm is kept, and what it said."""
        return self.output / "slurm"

    @property
    def published(self) -> Path:
        """Where the repository keeps the records that it publishes of the same experiment."""
        return ROOT / "results" / "records" / self.name


class Configuration(Run, Cell):
    """All settings, as Hydra composes them."""

    @field_validator("method", mode="before")
    @classmethod
    def _with_its_own_settings(cls, method: dict[str, Any]) -> Method:
        name = method.get("name")
        if name not in methods.names():
            raise ValueError(f"there is no study/methods/{name}.py")
        return methods.settings_schema(name)(**method)

    @model_validator(mode="after")
    def _control_has_a_hold(self) -> "Configuration":
        needs = {"shuffle": "sparsity", "reinitialise": "sparsity", "invert": "ranking", "absolute": "ranking"}
        needed = needs.get(self.control.name)
        if needed and not methods.takes(self.method.name, needed):
            raise ValueError(f"control={self.control.name} means nothing to {self.method.name}: choose control=none")
        return self


def read(config: DictConfig) -> tuple[Cell, Run]:
    """The cell of a composed configuration and how to run it. Raises StudyError."""
    return validate(OmegaConf.to_container(own(config), resolve=True, throw_on_missing=True))


def own(config: DictConfig) -> DictConfig:
    """A composed configuration without Hydra's part."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def validate(content: Any) -> tuple[Cell, Run]:
    """The cell and how to run it, from the study's own part of a configuration as plain values. Raises StudyError."""
    try:
        settings = Configuration.model_validate(content)
    except ValidationError as error:
        raise StudyError(_explain_invalid(error)) from None
    run = Run(**{name: getattr(settings, name) for name in Run.model_fields})
    cell = {name: getattr(settings, name) for name in Cell.model_fields}
    if not methods.takes(settings.method.name, "sparsity"):
        cell["sparsity"] = 0.0
    if settings.control.name not in ("shuffle", "reinitialise"):
        cell["control"] = Control(name=settings.control.name)
    return Cell(**cell), run


def explain(message: str) -> str:
    """One line for an error of Hydra's, with the nearest names for one that it does not know."""
    if match := re.search(r"(?:Could not (?:override|delete from config\.?) '|merging override \+*)([^'=]+)", message):
        return _unknown_setting(match[1])
    if match := re.search(r"Could not find '([^']+)/([^'/]+)'", message):
        group, choice = match.groups()
        known = sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))
        return _unknown(choice, known, prefix=f"{group}=")
    return " ".join(message.split())


def explain_overrides(overrides: Sequence[str], message: str) -> str:
    """One line for overrides that Hydra does not take, with its message where all their names are known."""
    known = _all_names()
    for override in overrides:
        name = override.lstrip("+~").partition("=")[0]
        if name not in known and "/" not in name and not name.startswith("hydra"):
            return _unknown(name, known)
    return f"{' '.join(overrides)}: can't be read ({message}); python -m study.train --help lists all settings"


def _explain_invalid(error: ValidationError) -> str:
    problem = error.errors()[0]
    name = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return _unknown_setting(name)
    if problem["type"] == "value_error":
        return ": ".join(filter(None, [name, str(problem["ctx"]["error"])]))
    return f"{name}={problem['input']}: {problem['msg']}"


def _unknown_setting(name: str) -> str:
    clusters = [cluster for cluster in CLUSTERS if name in _settings_of(cluster)]
    if clusters:
        return f"{name} is a setting of cluster={' and of cluster='.join(clusters)} only"
    return _unknown(name, _all_names())


def _settings_of(cluster: str) -> list[str]:
    choice = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "cluster" / f"{cluster}.yaml"))
    return [f"cluster.{name!s}" for name in choice] if isinstance(choice, dict) else []


def _unknown(name: str, known: list[str], prefix: str = "") -> str:
    near = get_close_matches(name, known, n=3, cutoff=0.6)
    advice = f"did you mean {' or '.join(prefix + n for n in near)}?" if near else f"choose from {', '.join(known)}"
    return f"{prefix}{name} is not known: {advice}"


def _all_names() -> list[str]:
    """All settings, with dots: those of the schema, those of every method, and Hydra's groups."""
    names = ["experiment"]
    for name, field in Configuration.model_fields.items():
        names.append(name)
        if name != "cluster" and isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            names += [f"{name}.{inner}" for inner in field.annotation.model_fields]
    names += [name for cluster in CLUSTERS for name in _settings_of(cluster)]
    of_methods = {inner for method in methods.names() for inner in methods.settings_schema(method).model_fields}
    return list(dict.fromkeys(names)) + [f"method.{inner}" for inner in sorted(of_methods - {"name"})]
