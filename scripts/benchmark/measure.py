"""What the benchmarks share: CPU time by turns, the circumstances, results as JSON and as a table made from it."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from typing import Any, TypeVar

import pandas as pd
import torch

from study import provenance
from study.files import json_bytes, write_atomically

Row = dict[str, Any]
Name = TypeVar("Name")


def cpu_seconds(action: Callable[[], object]) -> float:
    """User and system time that an action takes in this process."""
    begun = time.process_time()
    action()
    return time.process_time() - begun


def by_turns(
    actions: Mapping[Name, Callable[[], float]], rounds: int, limit: float = float("inf")
) -> dict[Name, list[float]]:
    """What each action returns, round after round, at least once and until all have returned `limit` together."""
    found: dict[Name, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            found[name].append(action())
        if sum(map(sum, found.values())) > limit:
            break
    return found


def of_rounds(rounds: int) -> str:
    """How the numbers of a table came about."""
    return f"Medians of {rounds} rounds in which what is compared takes turns; quartiles are in the JSON file."


def summary(values: Sequence[float], name: str) -> Row:
    """Median and quartiles, named for a row."""
    low, median, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else (*values, *values, *values)
    return {name: median, f"{name} q1": low, f"{name} q3": high}


def circumstances(device: str = "cpu") -> Row:
    """The machine, its load, the versions, the commit, the date."""
    load = dict(zip(("1 min", "5 min", "15 min"), (round(minutes, 2) for minutes in os.getloadavg()), strict=True))
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": provenance.hardware(device),
        "load average": load,
        "threads": torch.get_num_threads(),
        "versions": provenance.versions(),
        "git": provenance.git(),
    }


def write(
    output: Path,
    name: str,
    title: str,
    tables: Mapping[str, list[Row]],
    notes: Sequence[str] = (),
    device: str = "cpu",
) -> None:
    """Write NAME.json, and NAME.md from it, and print the latter."""
    content = {
        "benchmark": name,
        "title": title,
        "circumstances": circumstances(device),
        "notes": list(notes),
        "tables": dict(tables),
    }
    write_atomically(output / f"{name}.json", json_bytes(content))
    text = markdown(content)
    write_atomically(output / f"{name}.md", text.encode())
    print(text)


def markdown(content: Row) -> str:
    """The tables of a benchmark for people, from its JSON file: without quartiles."""
    notes = "\n".join(f"- {note}" for note in content["notes"])
    parts = [f"# {content['title']}", _described(content["circumstances"]), notes]
    for caption, rows in content["tables"].items():
        table = pd.DataFrame(rows).map(shown)
        table = table[[column for column in table if not str(column).endswith((" q1", " q3"))]]
        parts += [f"## {caption}", table.to_markdown(index=False, disable_numparse=True)]
    return "\n\n".join(parts) + "\n"


def _described(around: Row) -> str:
    hardware, versions = around["hardware"], around["versions"]
    load = ", ".join(f"{value:g} ({span})" for span, value in around["load average"].items())
    timed = "CPU time (user and system), one thread a process" if hardware["device"] == "cpu" else "By the clock"
    gpu = f"{hardware['gpu']} and " if "gpu" in hardware else ""
    return (
        f"{timed}. {around['date']}, {gpu}"
        f"{hardware['cores']} cores of {hardware['cpu']}, load average at the end {load}; "
        f"Python {versions['python']}, torch {versions['torch']}, numpy {versions['numpy']}."
    )


def shown(value: Any) -> str:
    """A value as tables show it."""
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else str(value)
