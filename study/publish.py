"""The command: python -m study.publish EXPERIMENT. Copies its records to results/, with what else is shown of them.

That is the masks that figures draw, and the training accuracies that claims are about.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from study import data, mask_file, methods, training_accuracy
from study.analysis.mask_figures import EXPERIMENTS, MOST_SEEDS
from study.cell import Cell, Dataset
from study.errors import StudyError
from study.execute.worker import Values
from study.lineage import Node
from study.mask_file import Packed, pack
from study.plan import plan_cell
from study.record import Record, read_folder
from study.store import Store
from study.training.engines.dense import EVALUATION_BATCH, evaluate


def main() -> None:
    """Publish one experiment; a mistake is one line and exit status 2."""
    parser = argparse.ArgumentParser(prog="python -m study.publish", description=__doc__)
    parser.add_argument("experiment")
    parser.add_argument("--output", type=Path, default=Path("outputs"), help="the output folder of its sweep")
    parser.add_argument("--records", type=Path, default=Path("results/records"), help="where to publish")
    arguments = parser.parse_args()
    try:
        publish(arguments.experiment, arguments.output, arguments.records)
    except (StudyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def publish(experiment: str, output: Path, published: Path) -> None:
    """Replace an experiment's published records by those of an output folder; say what was done.

    Masks, of the first seeds, and training accuracies are of what the store has, or has had when the same records were
    published before. Raises StudyError where there is nothing to publish, a record is damaged, or a published cell is
    not in the output folder.
    """
    source, target, store = output / "records" / experiment, published / experiment, Store(output / "store")
    records = read_folder(source)
    if not records:
        raise StudyError(f"no records of {experiment} in {source}: run `make sweep EXP={experiment}` first")
    if lost := {record.cell for record in read_folder(target)} - {record.cell for record in records}:
        raise StudyError(
            f"{len(lost)} cells published in {target} are not in {source} and would be lost: keep them by "
            f"`cp -n {target}/*.json {source}`, or delete their records"
        )
    masks: dict[str, Packed] = {}
    if experiment in EXPERIMENTS:
        masked = [one for one in records if one.settings["seed"] < MOST_SEEDS and one.sparsity > 0]
        masks = _collect(masked, mask_file.read(target / mask_file.NAME), partial(_mask, store))
    fits: dict[str, float] = {}
    if experiment in training_accuracy.EXPERIMENTS:
        known = training_accuracy.read(target / training_accuracy.NAME)
        fits = _collect(records, known, partial(_training_accuracy, store))
    told = f"{len(records)} records"
    published.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", dir=published) as folder:
        new, old = Path(folder) / "new", Path(folder) / "old"
        shutil.copytree(source, new, ignore=lambda _, names: [name for name in names if not name.endswith(".json")])
        if masks:
            mask_file.write(new / mask_file.NAME, masks)
            told += f" and {len(masks)} masks"
        if fits:
            training_accuracy.write(new / training_accuracy.NAME, fits)
            told += f" and {len(fits)} training accuracies"
        if target.exists():
            target.rename(old)
        new.rename(target)
    print(f"published {told} in {target}")


Found = TypeVar("Found")


def _collect(
    records: Sequence[Record], known: Mapping[str, Found], find: Callable[[Record], Found | None]
) -> dict[str, Found]:
    """By a record's key what can be found or, where it can't any more, what was known."""
    collected = {}
    for record in records:
        key = mask_file.key(record)
        if (found := find(record)) is not None:
            collected[key] = found
        elif key in known:
            collected[key] = known[key]
    return collected


def _mask(store: Store, record: Record) -> Packed | None:
    """The mask that a record's own training ran under, or None where the store has it no more."""
    tensors = store.mask(_training(record).arguments["mask"].id)
    return None if tensors is None else pack({name: tensors[name].numpy() for name in record.results.prunable})


def _training_accuracy(store: Store, record: Record) -> float | None:
    """The training accuracy of a record's network, or None where the store has it no more."""
    training = _training(record)
    if not store.has_training(training.id):
        return None
    split = data.split(Dataset(**training.arguments["dataset"]), record.settings["seed"])
    batches = split.arrays.training.batches(split.training, EVALUATION_BATCH, data.CPU)
    return evaluate(Values(store).of(training), batches).accuracy


def _training(record: Record) -> Node:
    method = record.settings["method"]
    return plan_cell(Cell(**record.settings | {"method": methods.settings_schema(method["name"])(**method)})).training


if __name__ == "__main__":
    main()
