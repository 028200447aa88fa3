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
        self._parser = OverridesParser.create(config_loader=loader)
        self._parse = cache(self._parse_override)
        self._base = cache(self._compose)

    def compose(self, overrides: Sequence[str], number: int) -> DictConfig:
        """The configuration of job `number`, Hydra's own part included. Raises StudyError for an unknown name."""
        parsed = [self._parse(override) for override in overrides]
        job = copy.deepcopy(self._base(tuple(text for text, value in parsed if value is None)))
        for _, value in parsed:
            if value is not None:
                try:
                    OmegaConf.update(job, value.key_or_group, value.value())
                except OmegaConfBaseException:
                    raise StudyError(explain(f"Could not override '{value.key_or_group}'")) from None
        with open_dict(job):
            job.hydra.overrides.task = list(overrides)
            job.hydra.job.id, job.hydra.job.num = str(number), number
        return job

    def _compose(self, overrides: tuple[str, ...]) -> DictConfig:
        return self._loader.load_sweep_config(self._sweep, list(overrides))

    def _parse_override(self, override: str) -> tuple[str, Override | None]:
        """The override, and its parsed form where it sets one value of the study's own.

        Hydra applies such a one last, on the composed whole, and so does `compose`.
        """
        parsed = self._parser.parse_override(override)
        key = parsed.key_or_group
        plain = parsed.type is OverrideType.CHANGE and parsed.package is None
        is_value = plain and not key.startswith("hydra.") and not self._loader.get_group_options(key)
        return override, parsed if is_value else None
