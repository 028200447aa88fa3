"""Composing the jobs of a multirun: Hydra's result, without composing anew what only differs in values."""

import copy
from collections.abc import Sequence
from functools import cache
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from study import config
from study.cell import Cell
from study.config import Run
from study.errors import StudyError

Content = dict[Any, Any]


class Composer:
    """Configurations of jobs. Hydra takes some 80 ms to compose one; here only each combination of groups does.

    Copying one takes OmegaConf some 5 ms: what a plan needs, `cell` finds without a copy.
    """

    def __init__(self, loader: ConfigLoader, sweep: DictConfig) -> None:
        self._loader, self._sweep = loader, sweep
        self._parse = cache(OverridesParser.create(config_loader=loader).parse_override)
        self._is_group = cache(loader.get_group_options)
        self._base = cache(self._compose)
        self._own = cache(self._own_content)

    def cell(self, overrides: Sequence[str]) -> tuple[Cell, Run]:
        """The cell of a job and how to run it. Raises StudyError."""
        groups, values = self._divide(overrides)
        content = self._own(groups)
        for override in values:
            content = content and _replaced(content, override.key_or_group.split("."), override.value())
        return config.validate(content) if content else config.read(self.compose(overrides, 0))

    def compose(self, overrides: Sequence[str], number: int) -> DictConfig:
        """The configuration of job `number`, Hydra's own part included. Raises StudyError for an unknown name."""
        groups, values = self._divide(overrides)
        job = copy.deepcopy(self._base(groups))
        for override in values:
            try:
                OmegaConf.update(job, override.key_or_group, override.value())
            except (OmegaConfBaseException, ValueError):
                raise StudyError(config.explain(f"Could not override '{override.key_or_group}'")) from None
        with open_dict(job):
            job.hydra.overrides.task = [o for o in overrides if not self._is_hydras(self._parse(o))]
            job.hydra.job.id, job.hydra.job.num = str(number), number
        return job

    def _divide(self, overrides: Sequence[str]) -> tuple[tuple[str, ...], list[Override]]:
        """The overrides that Hydra has to compose, and those that set a value."""
        values = {override: parsed for override in overrides if self._is_value(parsed := self._parse(override))}
        return tuple(override for override in overrides if override not in values), list(values.values())

    def _own_content(self, groups: tuple[str, ...]) -> Content | None:
        content = OmegaConf.to_container(config.own(self._base(groups)))
        return content if isinstance(content, dict) and _is_literal(content) else None

    def _compose(self, overrides: tuple[str, ...]) -> DictConfig:
        try:
            return self._loader.load_sweep_config(self._sweep, list(overrides))
        except (ValueError, TypeError) as error:
            raise StudyError(config.explain_overrides(overrides, str(error))) from None

    @staticmethod
    def _is_hydras(override: Override) -> bool:
        return override.key_or_group.startswith(("hydra.", "hydra/"))

    def _is_value(self, override: Override) -> bool:
        """Whether it sets one value of the study's own: Hydra applies such a one last, on the composed whole."""
        plain = override.type is OverrideType.CHANGE and override.package is None
        return plain and not self._is_hydras(override) and not self._is_group(override.key_or_group)


def _replaced(content: Content, names: Sequence[str], value: Any) -> Content | None:
    """The content with another value for one setting. None where there is none, or it takes OmegaConf to set it."""
    first, *rest = names
    old = content.get(first, {})
    if isinstance(old, dict) != bool(rest) or isinstance(value, dict) or not _is_literal(value):
        return None
    new = _replaced(old, rest, value) if rest else value
    return None if rest and new is None else {**content, first: new}


def _is_literal(value: Any) -> bool:
    """Whether no text in a value means something to OmegaConf."""
    return "${" not in str(value) and "???" not in str(value)
