"""The launcher, the sweeper and the resolver of the study, for Hydra to find. The work is study.launch's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class StudyLauncher(Launcher):
    """Hands a whole multirun to the study's executor."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from study.launch import launch

        return launch(self.hydra_context, self.config, job_overrides, initial_job_idx)


class StudySweeper(BasicSweeper):
    """Hydra's grid, composed once a cell and not twice: the launcher reads all cells before it runs the first."""

    def __init__(self, params: dict[str, str] | None) -> None:
        super().__init__(max_batch_size=None, params=params)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        pass


@dataclass
class LauncherConfig:
    _target_: str = "hydra_plugins.study.StudyLauncher"


@dataclass
class SweeperConfig:
    _target_: str = "hydra_plugins.study.StudySweeper"
    params: Any = None


def cell_name(*, _root_: DictConfig) -> str:
    """${cell_name:} in conf/config.yaml: the folder of a cell's job."""
    from study.config import read

    return read(_root_)[0].slug


# Here, where every process looks that Hydra runs a job in, those of other launchers too.
OmegaConf.register_new_resolver("cell_name", cell_name, replace=True)

store = ConfigStore.instance()
store.store(group="hydra/launcher", name="study", node=LauncherConfig, provider="study")
store.store(group="hydra/sweeper", name="study", node=SweeperConfig, provider="study")
