"""Values known by how they are made, before they are made.

A method is called while a sweep is planned, when nothing has been trained yet. What it handles are nodes: a node
names a function and its arguments, and its id, the hash of both, is known at once and owes nothing to floating
point. Two cells that need the same mask or training hold equal nodes, so sharing is equality of ids.
"""

import hashlib
import importlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any

# Part of every id. Raise it when a change to the code changes results of trainings or masks by more than rounding.
GENERATION = 2


def digest(content: Any) -> str:
    """Sixteen hexadecimal digits that identify a JSON value, independent of the order of keys."""
    canonical = json.dumps([GENERATION, content], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False, repr=False)
class Node:
    """A value to be made by `function`, a name that the worker knows or the path "module:name" of a mask step.

    Arguments are JSON values or other nodes.
    """

    function: str
    arguments: Mapping[str, Any]

    @cached_property
    def id(self) -> str:
        arguments = {k: {"node": v.id} if isinstance(v, Node) else v for k, v in self.arguments.items()}
        return digest({"function": self.function.rpartition(":")[2], "arguments": arguments})

    def __repr__(self) -> str:
        return f"<{self.function} {self.id}>"  # not its arguments: they repeat all that it is made from

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def parents(self) -> Iterator["Node"]:
        """The nodes among its arguments."""
        return (value for value in self.arguments.values() if isinstance(value, Node))

    def trainings(self) -> list["Node"]:
        """All trainings that it rests on, each once and after those it needs, itself last if it is one."""
        seen: set[str] = set()
        found = []
        stack = [(self, False)]
        while stack:
            node, parents_done = stack.pop()
            if parents_done and node.function == "train":
                found.append(node)
            elif not parents_done and node.id not in seen:
                seen.add(node.id)
                stack.append((node, True))
                stack.extend((parent, False) for parent in node.parents())
        return found


def initial(training: Node) -> Node:
    """The initial weights that a training goes back to, through the trainings it may continue."""
    node = training
    while node.function == "train":
        node = node.arguments["start"]
    return node


@dataclass(frozen=True)
class Training:
    """What a method asks for: a run of the cell's recipe from the weights of `start` under `mask`.

    It runs from iteration `since` of the schedule and the data order to iteration `until`, by default all of them.
    """

    start: Node
    mask: Node
    since: int = 0
    until: int | None = None


def mask_step(function: Callable[..., Any]) -> Callable[..., Node]:
    """Turn a function that computes a mask from networks, examples and masks into one that plans to.

    Calling it gives a node; a worker later calls the function itself, with the arguments' values. Arguments that
    equal their defaults are left out of the identity, so that a new option keeps old ids.
    """
    signature = inspect.signature(function)
    path = f"{function.__module__}:{function.__name__}"

    @wraps(function)
    def plan(*args: Any, **kwargs: Any) -> Node:
        given = signature.bind(*args, **kwargs).arguments
        defaults = {name: p.default for name, p in signature.parameters.items()}
        return Node(path, {k: v for k, v in given.items() if isinstance(v, Node) or v != defaults[k]})

    return plan


def step_function(path: str) -> Callable[..., Any]:
    """The function behind a mask step, from its node's path."""
    module, _, name = path.partition(":")
    function: Callable[..., Any] = inspect.unwrap(getattr(importlib.import_module(module), name))
    return function
