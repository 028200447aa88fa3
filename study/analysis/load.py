"""Records as a table: one row a cell, measured or missing."""

import math
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from study import mask_file, training_accuracy
from study.analysis import cost as costs
from study.analysis.grid import Cell, expected
from study.errors import StudyError
from study.mask_file import Bits, Packed
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
ONE_SHOT, BY_LAYER = "one-shot ticket", "magnitude by layer"
VARIANTS = {("lottery_ticket", "one_shot", True): ONE_SHOT, ("magnitude", "scope", "layer"): BY_LAYER}
"""Values of settings under which a method has another name."""

PLAIN = [*METHODS.values(), BY_LAYER]
"""Labels of methods as they are: without a setting that varies, without a control."""

KEY = ["model", "recipe", "method", "sparsity", "seed", "draw"]
MISSING, DIVERGED = "missing", "diverged"
NO_CONTROL = "none"


def rank(label: str) -> tuple[int, str, float]:
    """Where a method's label stands in legends and tables: as in METHODS, then by the number that it ends with."""
    whole = label.replace(ONE_SHOT, METHODS["lottery_ticket"] + ", one-shot")
    name, _, rest = whole.replace(BY_LAYER, METHODS["magnitude"] + ", by layer").partition(", ")
    position = list(METHODS.values()).index(name) if name in METHODS.values() else len(METHODS)
    setting, _, number = rest.rpartition(" ")
    return (position, setting, float(number)) if number.isdigit() else (position, rest, 0.0)


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


def load(folder: Path, *others: Path) -> pd.DataFrame:
    """One row a cell: of each record in the folder, which an experiment names, and of each cell missing from its grid.

    A method whose settings or control vary is told apart by them: "SNIP, scoring_examples 10". Where nothing is pruned
    and nothing controlled, the method is "dense". Accuracies and errors are in percent; `kept` and `prunable` count
    weights by layer; costs are those of study/analysis/cost.py; `mask` has the flat bits of each layer, and
    `training_accuracy` a number, where the folder or one of the others has the cell's. A missing cell has the status
    "missing" and no values. One whose training diverged has the status "diverged", neither accuracies nor costs: its
    weights are no network's, and its training ended there.

    Raises StudyError for a file that is not a record; for records of another experiment or of several versions of
    torch; for one cell twice; and where settings under one name differ, among records or from the configuration.
    """
    records, grid = read_folder(folder), expected(folder.name)
    masks: dict[str, Packed] = {}
    fits: dict[str, float] = {}
    for place in (*others, folder):
        masks |= mask_file.read(place / mask_file.NAME)
        fits |= training_accuracy.read(place / training_accuracy.NAME)
    _validate(folder, records, grid)
    labels = _labels([record.settings for record in records] + grid)
    keys = [mask_file.key(record) if masks or fits else "" for record in records]
    found = pd.DataFrame(
        [
            {
                **_settings(record.settings, label),
                **_values(record),
                "training_accuracy": 100 * fits.get(key, math.nan),
                "mask": _mask(record, masks.get(key), folder),
            }
            for record, label, key in zip(records, labels, keys, strict=False)
        ]
    )
    found = found[~(found["method"].eq(METHODS["dense"]) & found.duplicated(KEY))].reset_index(drop=True)
    for row in found[found.duplicated(KEY)].to_dict("records"):
        cell = f"{row['method']} at sparsity {row['sparsity']:g} with seed {row['seed']}"
        raise StudyError(f"{folder} has two records of {cell}: give each grid a name of its own by name=")
    planned = pd.DataFrame(
        [_settings(cell, label) | {"status": MISSING} for cell, label in zip(grid, labels[len(records) :], strict=True)]
    )
    cells = pd.concat([found, planned], ignore_index=True) if grid else found
    return costs.relative(cells[~cells.duplicated(KEY)].reset_index(drop=True))


def measured(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells that are not missing."""
    return cells[cells["status"] != MISSING]


def _validate(folder: Path, records: list[Record], grid: list[Cell]) -> None:
    if foreign := {record.experiment for record in records} - {folder.name}:
        raise StudyError(f"{folder} has records of {', '.join(sorted(foreign))}: move them to a folder of that name")
    versions = {record.run.versions.get("torch", "unknown").partition("+")[0] for record in records}
    if len(versions) > 1:
        found = " and ".join(sorted(versions))
        raise StudyError(f"the records in {folder} were made with torch {found}: run its cells again with one of them")
    advice = "give each grid a name of its own by name="
    cells = grid + [record.settings for record in records]
    if len({cell["dataset"]["name"] for cell in cells}) > 1:
        raise StudyError(f"the records in {folder} differ in dataset: {advice}")
    for group, name in (("model", "name"), ("dataset", "name"), ("recipe", "label")):
        seen: dict[str, Cell] = {}
        for cell in cells:
            settings: Cell = cell[group]
            other = seen.setdefault(settings[name], settings)
            if any(settings[key] != other[key] for key in settings.keys() & other.keys()):
                raise StudyError(f"{folder} has two settings of {group} {settings[name]}: {advice}")


def _labels(cells: list[Cell]) -> list[str]:
    """A name for each cell's method, with those of its settings that vary among the cells, and its control."""
    values = defaultdict(set)
    for cell in cells:
        for setting, value in cell["method"].items():
            values[cell["method"]["name"], setting].add(value)

    def label(cell: Cell) -> str:
        method, control = cell["method"], cell["control"]["name"]
        name = method["name"]
        if cell["sparsity"] == 0 and control == NO_CONTROL:
            return METHODS["dense"]
        named = {setting: VARIANTS.get((name, setting, value)) for setting, value in method.items()}
        parts = [next(filter(None, named.values()), METHODS.get(name, name))]
        varying = [s for s in method if len(values[name, s]) > 1 and (name, s) not in {key[:2] for key in VARIANTS}]
        parts += [f"{setting} {method[setting]}" for setting in varying]
        return ", ".join(parts + ([] if control == NO_CONTROL else [control]))

    return [label(cell) for cell in cells]


def _settings(cell: Cell, label: str) -> dict[str, Any]:
    return {
        "method": label,
        "sparsity": cell["sparsity"],
        "remaining": round(100 * (1 - cell["sparsity"]), 1),
        "seed": cell["seed"],
        "control": cell["control"]["name"],
        "draw": cell["control"].get("draw", 0),
        "model": cell["model"]["name"],
        "dataset": cell["dataset"]["name"],
        "recipe": cell["recipe"]["label"],
        "batch_size": cell["recipe"]["batch_size"],
    }


def _core_seconds(record: Record) -> float:
    """What an iteration of the cell's own training took a core, evaluation included; unknown of one on a GPU."""
    cost = record.run.costs.get(record.trainings[-1])
    return math.nan if cost is None or record.on_gpu else (cost.training.cpu + cost.evaluation.cpu) / cost.iterations


def _values(record: Record) -> dict[str, Any]:
    results = record.results
    trained = {
        "test_accuracy": 100 * results.test_accuracy,
        "test_error": 100 - 100 * results.test_accuracy,
        "early_stop_test_accuracy": 100 * results.early_stop_test_accuracy,
        "early_stop_iteration": results.early_stop_iteration,
        "seconds_per_iteration": _core_seconds(record),
        **costs.of_record(record),
    }
    return {
        "status": results.status,
        "parameters": sum(results.kept.values()),
        "effective": 100 * (1 - record.effective_sparsity),
        "kept": results.kept,
        "prunable": results.prunable,
        "curves": results.curves,
        **(dict.fromkeys(trained, math.nan) if results.status == DIVERGED else trained),
    }


def _mask(record: Record, packed: Packed | None, folder: Path) -> dict[str, Bits] | None:
    """The mask of a record's cell, None where it was not published. Raises StudyError where it is of another cell."""
    if packed is None:
        return None
    with suppress(ValueError):
        mask = mask_file.unpack(packed, record.results.prunable)
        if {name: int(bits.sum()) for name, bits in mask.items()} == record.results.kept:
            return mask
    raise StudyError(f"{folder}: cell {record.cell} has a mask that is not its own: publish the experiment again")
