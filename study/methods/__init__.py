"""Pruning methods: one file each, with a function of the file's name.

A method takes what it names among

    start      the network at its initial weights (a node)
    network    the network to score: start, or the other draw of it that the setting `scored` asks for (a node)
    examples   training examples to score with (a node)
    inputs     the shape of one example
    layers     the prunable layers: name -> shape, in order, the output layer last
    sparsity   the fraction of prunable weights to remove
    seed       the cell's seed, for a random stream of its own
    ranking    which scores to keep: the highest, unless a control turns it round (a `Ranking`, or a `SignedRanking`
               where scores have signs)

and, as keyword-only arguments with defaults, its settings, which conf/method/NAME.yaml repeats. It returns a mask,
or a `Training` where that does not start from the initial weights. To have a network trained on the way it yields a
`Training` and is handed the trained network. All of these are nodes (study/lineage.py): work on
their values belongs in a `@mask_step`.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import create_model

from study.cell import Method
from study.lineage import Node, Training
from study.methods.masks import SignedRanking

CONTROLLED: Mapping[str, SignedRanking] = {"invert": "inverted", "absolute": "absolute"}
"""The rankings that controls ask for."""


def names() -> list[str]:
    """All methods, by their files."""
    shared = {"__init__", "controls", "masks", "scoring"}
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in shared)


@cache
def load(name: str) -> Callable[..., Any]:
    """The function of a method."""
    method: Callable[..., Any] = getattr(importlib.import_module(f"{__name__}.{name}"), name)
    return method


def takes(name: str, handle: str) -> bool:
    """Whether the method names a handle: one without sparsity does not prune, one without ranking has no scores."""
    return handle in inspect.signature(load(name)).parameters


def ranking(name: str, control: str) -> SignedRanking:
    """Which scores a method keeps under a control: the highest where its ranking knows nothing of it."""
    asked: SignedRanking = CONTROLLED.get(control, "score")
    known = inspect.signature(load(name)).parameters.get("ranking")
    return asked if known and asked in get_args(known.annotation) else "score"


@cache
def settings_schema(name: str) -> type[Method]:
    """The method's name and settings with their types and defaults, from its signature."""
    parameters = inspect.signature(load(name)).parameters.values()
    fields: Any = {p.name: (p.annotation, p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}
    return create_model(f"{name} settings", __base__=Method, **fields)


def call(name: str, handles: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    """Call a method with the handles that it names."""
    method = load(name)
    wanted = inspect.signature(method).parameters
    return method(**{k: v for k, v in handles.items() if k in wanted}, **settings)


def ask(
    name: str, handles: Mapping[str, Any], settings: Mapping[str, Any], training: Callable[[Training], Node]
) -> Training:
    """Call a method and give the training that it ends with.

    Every training that it asks for on the way is answered with the node that `training` makes of it. Raises ValueError
    where the method can't meet the settings.
    """
    found = call(name, handles, settings)
    if inspect.isgenerator(found):
        found = _drive(found, training)
    return found if isinstance(found, Training) else Training(handles["start"], found)


def _drive(method: Any, training: Callable[[Training], Node]) -> Any:
    trained = None
    while True:
        try:
            trained = training(method.send(trained))
        except StopIteration as stop:
            return stop.value
