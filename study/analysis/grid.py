"""The cells that an experiment of conf/ is made of: its grid, read without Hydra, so that what is missing shows."""

import itertools
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CONF = Path(__file__).parents[2] / "conf"

Cell = dict[str, Any]
"""Settings of a cell as a record holds them: {"method": {"name": "snip", ...}, "sparsity": 0.9, "seed": 0, ...}."""


def experiments() -> list[str]:
    """The experiments of conf/."""
    return sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def expected(experiment: str) -> list[Cell]:
    """The settings of every cell of an experiment's grid; none where conf/experiment has no such file.

    Reads what the experiments use of Hydra's language: choices of groups, settings beneath them, and a sweep of
    comma-separated values. Equal cells are one, as in study.config: dense has no sparsity, and only a control that
    draws has a draw.
    """
    path = CONF / "experiment" / f"{experiment}.yaml"
    if not path.exists():
        return []
    content = _read(path)
    params = content["hydra"]["sweeper"]["params"]
    choices = _choices(_read(CONF / "config.yaml")) | _choices(content)
    sweep = [[(name, value.strip()) for value in str(values).split(",")] for name, values in params.items()]
    cells = (_compose(choices, content, dict(point)) for point in itertools.product(*sweep))
    return list({json.dumps(cell, sort_keys=True): cell for cell in cells}.values())


def head(experiment: str, field: str) -> str:
    """What the comment on top of an experiment's file says of a field: "Expected" or "Cost"."""
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text()
    return next(iter(re.findall(rf"^# {field} +(.+)$", text, re.MULTILINE)), "")


@cache
def _read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


@cache
def _value(text: str) -> Any:
    return yaml.safe_load(text)


def _choices(content: dict[str, Any]) -> dict[str, str]:
    """The files that a defaults list chooses, by group."""
    entries = [entry for entry in content["defaults"] if isinstance(entry, dict)]
    pairs = (next(iter(entry.items())) for entry in entries)
    return {name.removeprefix("override ").removeprefix("/"): choice for name, choice in pairs}


def _compose(choices: dict[str, str], content: dict[str, Any], point: dict[str, str]) -> Cell:
    """A cell: the chosen files, over them what the experiment sets, over that the sweep's values."""
    cell: Cell = {}
    for group in ("method", "control", "model", "dataset", "recipe"):
        cell[group] = _read(CONF / group / f"{point.get(group, choices[group])}.yaml") | content.get(group, {})
    for name, value in point.items():
        group, _, setting = name.partition(".")
        if setting:
            cell[group][setting] = _value(value)
        elif group not in cell:
            cell[name] = _value(value)
    if cell["method"]["name"] == "dense":
        cell["sparsity"] = 0.0
    if cell["control"]["name"] not in ("shuffle", "reinitialise"):
        cell["control"]["draw"] = 0
    return cell
