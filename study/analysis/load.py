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
    "synflow": "SynFlow",
    "magnitude_at_init": "magnitude at init",
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
    """The experiments that have records; single cells (adhoc) are none."""
    return sorted({path.parent.name for folder in folders for path in folder.glob("*/*.json")} - {"adhoc"})


def load(folder: Path) -> pd.DataFrame:
    """One row a record: settings, and accuracies in percent.

    Raises StudyError for a file that is not a record, and where records differ in more than method, sparsity and seed.
    """
    records = read_folder(folder)
    for group in ("model", "dataset", "recipe"):
        if any(record.settings[group] != records[0].settings[group] for record in records):
            raise StudyError(f"the records in {folder} differ in {group}: give each grid a name of its own by name=")
    return pd.DataFrame([_row(record) for record in records])


def _row(record: Record) -> dict[str, object]:
    settings, results = record.settings, record.results
    name = settings["method"]["name"]
    return {
        "method": METHODS.get(name, name),
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
