"""From Hydra's configuration to a cell and a way to run it. A mistake is one line that names the fix."""

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import torch
from omegaconf import DictConfig, OmegaConf
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from study import methods
from study.cell import Cell, Control, Method, Positive, PositiveCount, Settings
from study.errors import StudyError
from study.training import names

ROOT = Path(__file__).parent.parent


class Cluster(Settings):
    """Where and how trainings run; what is null is found out.

    `device` is torch's name, null the GPU if there is one. `workers` are processes of one thread, null one for each
    core that this process may use, or one for a GPU. Each is given `pack` trainings at a time, null 1 on a CPU and 256
    on a GPU, where as many of them run side by side as is fastest. `engine` does the arithmetic
    (study/training/engines), "auto" the one that suits, in a `precision`. Trainings under way are checkpointed every
    `checkpoint` seconds. `core_watts` is what a busy core takes, where no counter can be read.
    """

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


class Wandb(Settings):
    """Weights & Biases. "offline" writes its files without an account, "online" uploads as well."""

    mode: Literal["offline", "online", "disabled"] = "offline"
    project: str
    entity: str | None = None


class Run(Settings):
    """How and where a sweep runs: nothing here changes a result. `name` is the experiment's."""

    name: str = Field(pattern=r"^[\w.-]+$")
    output: Path
    dry_run: bool = Field(strict=True)
    cluster: Cluster
    wandb: Wandb

    @property
    def store(self) -> Path:
        return self.output / "store"

    @property
    def records(self) -> Path:
        return self.output / "records" / self.name

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
    if match := re.search(r"Could not (?:override|delete from config\.?) '([^']+)'", message):
        return _unknown(match[1], _all_names())
    if match := re.search(r"Could not find '([^']+)/([^'/]+)'", message):
        group, choice = match.groups()
        known = sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))
        return _unknown(choice, known, prefix=f"{group}=")
    return " ".join(message.split())


def _explain_invalid(error: ValidationError) -> str:
    problem = error.errors()[0]
    name = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return _unknown(name, _all_names())
    if problem["type"] == "value_error":
        return ": ".join(filter(None, [name, str(problem["ctx"]["error"])]))
    return f"{name}={problem['input']}: {problem['msg']}"


def _unknown(name: str, known: list[str], prefix: str = "") -> str:
    near = get_close_matches(name, known, n=3, cutoff=0.6)
    advice = f"did you mean {' or '.join(prefix + n for n in near)}?" if near else f"choose from {', '.join(known)}"
    return f"{prefix}{name} is not known: {advice}"


def _all_names() -> list[str]:
    """All settings, with dots: those of the schema, those of every method, and Hydra's groups."""
    names = ["experiment"]
    for name, field in Configuration.model_fields.items():
        names.append(name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            names += [f"{name}.{inner}" for inner in field.annotation.model_fields]
    of_methods = {inner for method in methods.names() for inner in methods.settings_schema(method).model_fields}
    return names + [f"method.{inner}" for inner in sorted(of_methods)]
