"""Records as a table: one row a cell."""

from pathlib import Path

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
    "random": "random",
}


def find(experiment: str, folders: list[Path]) -> Path:
    """The first of the folders that has records of an experiment. Raises StudyError where none has."""
    for folder in folders:
        if any((folder / experiment).glob("*.json")):
            return folder / experiment
    searched = " and ".join(map(str, folders))
    raise StudyError(f"no records of {experiment} in {searched}: run `make sweep EXP={experiment}` first")


def experiments(folders: list[Path]) -> list[str]:
    """The experiments that have a folder of records."""
    return sorted({child.name for folder in folders if folder.is_dir() for child in folder.iterdir() if child.is_dir()})


def load(folder: Path) -> pd.DataFrame:
    """One row a record: settings, and accuracies in percent. Raises StudyError for a file that is not a record."""
    return pd.DataFrame([_row(record) for record in read_folder(folder)])


def _row(record: Record) -> dict[str, object]:
    settings, results = record.settings, record.results
    name = settings["method"]["name"]
    return {
        "method": METHODS.get(name, name),
        "sparsity": settings["sparsity"],
        "remaining": 100 * (1 - record.sparsity),
        "seed": settings["seed"],
        "model": settings["model"]["name"],
        "dataset": settings["dataset"]["name"],
        "recipe": settings["recipe"]["label"],
        "status": results.status,
        "test_accuracy": 100 * results.test_accuracy,
        "early_stop_test_accuracy": 100 * results.early_stop_test_accuracy,
        "early_stop_iteration": results.early_stop_iteration,
    }
