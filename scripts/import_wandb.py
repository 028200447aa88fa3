"""Rebuild records from a W&B project, for teams that only kept W&B: python -m scripts.import_wandb ENTITY/PROJECT.

Each run of the study has its cell's record among its files. They are downloaded through W&B's public API, checked by
their checksums, and written to outputs/records/EXPERIMENT, where `make figures` finds them.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from study.errors import Damaged, StudyError
from study.files import write_atomically
from study.record import Record, read
from study.tracking import RECORD


class File(Protocol):
    """A run's file, as wandb.apis.public has it."""

    name: str

    def download(self, root: str, replace: bool) -> object: ...


class Run(Protocol):
    """A run, as wandb.apis.public has it."""

    id: str

    def files(self, names: list[str]) -> Iterable[File]: ...


def import_run(run: Run, output: Path) -> Path | None:
    """Write the record of one run to output/records/EXPERIMENT. None where it has none: the cell did not finish.

    Raises StudyError where the record is damaged, or another of the same cell is there.
    """
    for file in run.files([RECORD]):
        with tempfile.TemporaryDirectory() as folder:
            file.download(root=folder, replace=True)
            try:
                return _place(Path(folder) / RECORD, output)
            except Damaged:
                raise StudyError(f"the {RECORD} of run {run.id} is damaged: delete the run, or leave it out") from None
    return None


def _place(downloaded: Path, output: Path) -> Path:
    record = read(downloaded)
    path = output / "records" / record.experiment / f"{_slug(record)}.json"
    if path.exists():
        if read(path) != record:
            raise StudyError(f"{path} differs from the record in W&B: import into another folder by --output")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, downloaded.read_bytes())
    return path


def _slug(record: Record) -> str:
    """The file's name, as `Cell.slug`; the record's settings may be of another version than this code."""
    settings = record.settings
    control = "" if settings["control"]["name"] == "none" else f"-{settings['control']['name']}"
    name = f"{settings['method']['name']}{control}-{settings['sparsity']:g}-seed{settings['seed']}"
    return f"{name}-{record.cell}"


def main() -> None:
    """Import all runs of a project, or those of one experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", metavar="ENTITY/PROJECT")
    parser.add_argument("--experiment", help="only the runs of this group")
    parser.add_argument("--output", type=Path, default=Path("outputs"))
    arguments = parser.parse_args()
    import wandb

    filters = {"group": arguments.experiment} if arguments.experiment else {}
    imported, without = 0, 0
    try:
        for run in wandb.Api().runs(arguments.project, filters=filters):
            found = import_run(run, arguments.output)
            imported, without = imported + (found is not None), without + (found is None)
            print(f"\r{imported} records imported, {without} runs without one", end="", flush=True)
    except (StudyError, OSError, ValueError, wandb.Error) as error:
        sys.exit(f"\nerror: {error}")
    if not imported:
        sys.exit(f"error: no run of {arguments.project} has a record: look at the project's name and --experiment")
    print(f"\nnext: make figures, from {arguments.output}/records")


if __name__ == "__main__":
    main()
