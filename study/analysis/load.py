"""Records as a table: one row a cell."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd

from study.errors import StudyError
from study.record import Record, read_folder

# As the papers and the figures name them, in the order of the legends.
METHODS = {
    "dense": "dense",
    "lottery_ticket": "lottery ticket",
    "magnitude": "magnitude after training",
    "snip": "SNIP",
    "grasp": "GraSP",
    "synflow": "SynFlow",
    "magnitude_at_init": "magnitude at init",
    "random": "random",
}


def rank(label: str) -> tuple[int, str, float]:
    """Where a method's label stands in legends and tables: as in METHODS, then by the number that it ends with."""
    name, _, rest = label.partition(", ")
    position = list(METHODS.values()).index(name) if name in METHODS.values() else len(METHODS)
    words = rest.split()
    number = float(words[-1]) if words and words[-1].isdigit() else 0.0
    return position, " ".join(words[:-1]), number


def find(experiment: str, folders: list[Path]) -> Path:
    """The first of the folders that has records of an experiment. Raises StudyError where none has."""
    for folder in folders:
        if any((folder / experiment).glob("*.json")):
            return folder / experiment
    searched = " and ".join(map(str, folders))
    raise StudyError(f"no records of {experiment} in {searched}: run `make sweep EXP={experiment}` first")


def experiments(folders: list[Path]) -> list[str]:
    """The experiments that have records; single cells (adhoc) are none."""
    return sorted({path.parent.name for folder in folders for path in folder.glob("*/*.json")} - {"adhoc"})


def load(folder: Path) -> pd.DataFrame:
    """One row a record: settings, and accuracies in percent.

    A method whose settings or control vary among the records is told apart by them: "SNIP, scoring_examples 10".
    Raises StudyError for a file that is not a record, and where records differ in model, data set or recipe.
    """
    records = read_folder(folder)
    for group in ("model", "dataset", "recipe"):
        if any(record.settings[group] != records[0].settings[group] for record in records):
            raise StudyError(f"the records in {folder} differ in {group}: give each grid a name of its own by name=")
    labels = _labels([record.settings for record in records])
    return pd.DataFrame([_row(record, label) for record, label in zip(records, labels, strict=True)])


def _labels(cells: list[dict[str, Any]]) -> list[str]:
    """A name for each cell's method, with those of its settings that vary among the cells, and its control."""
    values = defaultdict(set)
    for cell in cells:
        for setting, value in cell["method"].items():
            values[cell["method"]["name"], setting].add(value)

    def label(cell: dict[str, Any]) -> str:
        method, control = cell["method"], cell["control"]["name"]
        name = method["name"]
        parts = [METHODS.get(name, name)]
        parts += [f"{setting} {value}" for setting, value in method.items() if len(values[name, setting]) > 1]
        return ", ".join(parts + ([] if control == "none" else [control]))

    return [label(cell) for cell in cells]


def _row(record: Record, label: str) -> dict[str, object]:
    settings, results = record.settings, record.results
    return {
        "method": label,
        "sparsity": settings["sparsity"],
        "remaining": 100 * (1 - record.sparsity),
        "effective": 100 * (1 - record.effective_sparsity),
        "seed": settings["seed"],
        "model": settings["model"]["name"],
        "dataset": settings["dataset"]["name"],
        "recipe": settings["recipe"]["label"],
        "status": results.status,
        "test_accuracy": 100 * results.test_accuracy,
        "early_stop_test_accuracy": 100 * results.early_stop_test_accuracy,
        "early_stop_iteration": results.early_stop_iteration,
    }
