"""The command: python -m study.publish EXPERIMENT. Copies its records, and the masks that figures need, to results/."""

import argparse
import shutil
import sys
from pathlib import Path

from study import mask_file, methods
from study.analysis.mask_figures import EXPERIMENTS, MOST_SEEDS
from study.cell import Cell
from study.errors import StudyError
from study.mask_file import Packed, pack
from study.plan import plan_cell
from study.record import Record, read_folder
from study.store import Store


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

    Of an experiment whose masks are drawn, those of the first seeds go along, of what the store has or has had when the
    same records were published before. Raises StudyError where there is nothing to publish or a record is damaged.
    """
    source, target = output / "records" / experiment, published / experiment
    records = read_folder(source)
    if not records:
        raise StudyError(f"no records of {experiment} in {source}: run `make sweep EXP={experiment}` first")
    masks: dict[str, Packed] = {}
    if experiment in EXPERIMENTS:
        known, store = mask_file.read(target / mask_file.NAME), Store(output / "store")
        for record in records:
            if record.settings["seed"] < MOST_SEEDS and record.sparsity > 0:
                key = mask_file.key(record)
                if (packed := _stored(record, store)) is not None:
                    masks[key] = packed
                elif key in known:
                    masks[key] = known[key]
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=lambda _, names: [name for name in names if not name.endswith(".json")])
    told = f"{len(records)} records"
    if masks:
        mask_file.write(target / mask_file.NAME, masks)
        told += f" and {len(masks)} masks"
    print(f"published {told} in {target}")


def _stored(record: Record, store: Store) -> Packed | None:
    """The mask that a record's own training ran under, or None where the store has it no more."""
    method = record.settings["method"]
    cell = Cell(**record.settings | {"method": methods.settings_schema(method["name"])(**method)})
    tensors = store.mask(plan_cell(cell).training.arguments["mask"].id)
    return None if tensors is None else pack({name: tensors[name].numpy() for name in record.results.prunable})


if __name__ == "__main__":
    main()
