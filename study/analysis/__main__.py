"""The command: python -m study.analysis [EXPERIMENT ...]. Tables and figures from records alone."""

import argparse
import sys
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from study.analysis import figures, tables
from study.analysis.load import experiments, find, load
from study.errors import StudyError

PUBLISHED = Path("results/records")
OWN = Path("outputs/records")


def main() -> None:
    """Rebuild what was asked for; a mistake is one line and exit status 2."""
    parser = argparse.ArgumentParser(prog="python -m study.analysis", description=__doc__)
    parser.add_argument("experiment", nargs="*", help="default: every experiment that has records")
    parser.add_argument("--records", type=Path, help=f"folder of records; default: {OWN}, else {PUBLISHED}")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder for tables/ and figures/")
    arguments = parser.parse_args()
    folders = [arguments.records] if arguments.records else [OWN, PUBLISHED]
    try:
        for experiment in arguments.experiment or experiments(folders):
            rebuild(experiment, find(experiment, folders), arguments.results)
    except (StudyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def rebuild(experiment: str, records: Path, results: Path) -> None:
    """Write an experiment's table and figure, and print the table."""
    cells = load(records)
    table = tables.aggregate(cells)
    caption = _caption(experiment, cells)
    tables.write(table, results / "tables" / experiment, caption)
    figures.accuracy_against_remaining(cells, results / "figures" / f"{experiment}.png", caption)
    _print(table, caption)
    print(f"from {len(cells)} records in {records}")
    print(f"wrote {results}/figures/{experiment}.png, {results}/tables/{experiment}.md and .csv")


def _caption(experiment: str, cells: pd.DataFrame) -> str:
    model, dataset, recipe = ("/".join(sorted(cells[name].unique())) for name in ("model", "dataset", "recipe"))
    seeds = cells["seed"].nunique()
    return f"{experiment}: {model} on {dataset}, recipe {recipe}; mean ± standard deviation, {seeds} seeds"


def _print(table: pd.DataFrame, caption: str) -> None:
    wide = tables.by_method(table)
    shown = Table("sparsity, %", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for sparsity in wide.columns:
        shown.add_column(f"{100 * sparsity:g}", justify="right", no_wrap=True)
    for method, row in wide.iterrows():
        shown.add_row(str(method), *row)
    console = Console(highlight=False)
    console.print(f"Test accuracy, %. {caption}", soft_wrap=True)
    console.print(shown)


if __name__ == "__main__":
    main()
