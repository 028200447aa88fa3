"""Composing the jobs of a multirun: Hydra's result, without composing anew what only differs in values."""

import copy
from collections.abc import Sequence
from functools import cache

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from study.config import explain
from study.errors import StudyError


class Composer:
    """Configurations of jobs. Hydra takes some 80 ms to compose one; here only each combination of groups does."""

    def __init__(self, loader: ConfigLoader, sweep: DictConfig) -> None:
        self._loader, self._sweep = loader, sweep
        self._parse = cache(OverridesParser.create(config_loader=loader).parse_override)
        self._is_group = cache(loader.get_group_options)
        self._base = cache(self._compose)

    def compose(self, overrides: Sequence[str], number: int) -> DictConfig:
        """The configuration of job `number`, Hydra's own part included. Raises StudyError for an unknown name."""
        parsed = [self._parse(override) for override in overrides]
        values = [override for override in parsed if self._is_value(override)]
        job = copy.deepcopy(self._base(tuple(str(o.input_line) for o in parsed if o not in values)))
        for override in values:
            try:
                OmegaConf.update(job, override.key_or_group, override.value())
            except OmegaConfBaseException:
                raise StudyError(explain(f"Could not override '{override.key_or_group}'")) from None
        with open_dict(job):
            job.hydra.overrides.task = [str(o.input_line) for o in parsed if not self._is_hydras(o)]
            job.hydra.job.id, job.hydra.job.num = str(number), number
        return job

    def _compose(self, overrides: tuple[str, ...]) -> DictConfig:
        return self._loader.load_sweep_config(self._sweep, list(overrides))

    @staticmethod
    def _is_hydras(override: Override) -> bool:
        return override.key_or_group.startswith(("hydra.", "hydra/"))

    def _is_value(self, override: Override) -> bool:
        """Whether it sets one value of the study's own: Hydra applies such a one last, on the composed whole."""
        plain = override.type is OverrideType.CHANGE and override.package is None
        return plain and not self._is_hydras(override) and not self._is_group(override.key_or_group)
