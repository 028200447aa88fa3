"""Records as tidy tables, for notebooks."""

from pathlib import Path

import pandas as pd

from study.analysis.load import load
from study.errors import StudyError


def records(folder: str | Path) -> pd.DataFrame:
    """One row a cell of an experiment: settings and results, accuracies in percent.

    `folder` holds the experiment's records: "outputs/records/mine" or "results/records/quickstart". A cell of the
    experiment's grid that has not run has the status "missing", one whose training diverged "diverged" and no
    accuracies. Raises StudyError where there are no records, or they are damaged or of several kinds.
    """
    cells = _cells(folder)
    nested = [name for name in cells if cells[name].map(lambda value: isinstance(value, (dict, list))).any()]
    return cells.drop(columns=nested)


def curves(folder: str | Path) -> pd.DataFrame:
    """One row a cell and evaluation: settings, iteration, losses in nats, accuracies as fractions."""
    cells = _cells(folder)
    settings = list(cells.columns[: cells.columns.get_loc("status")])
    measured = cells[cells["curves"].notna()]
    parts = [pd.DataFrame(row["curves"]).assign(**{s: row[s] for s in settings}) for _, row in measured.iterrows()]
    return pd.concat(parts, ignore_index=True)[settings + list(parts[0].columns.difference(settings, sort=False))]


def _cells(folder: str | Path) -> pd.DataFrame:
    path = Path(folder).resolve()
    if not any(path.glob("*.json")):
        raise StudyError(f"no records in {path}: give an experiment's folder, as results/records/quickstart is one")
    return load(path)
