"""Training accuracies of an experiment's networks at the end, in one file beside their records.

Trainings don't measure them; publishing does, from the weights in the store. training_accuracy.csv has a row a record:
its key (study/mask_file.py), and the fraction of the training examples, those held out excluded, that its network
classifies right.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from study.errors import StudyError
from study.files import write_atomically

NAME = "training_accuracy.csv"
COLUMNS = ["record", "training_accuracy"]

EXPERIMENTS = ("lth_lenet",)
"""The experiments of which a claim is about training accuracy."""


def write(path: Path, accuracies: Mapping[str, float]) -> None:
    """Write fractions by key, whole or not at all. The same fractions give the same bytes."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *sorted(accuracies.items())])
    write_atomically(path, text.getvalue().encode())


def read(path: Path) -> dict[str, float]:
    """The fractions by key; none where there is no file. Raises StudyError where it is damaged."""
    try:
        header, *rows = csv.reader(path.read_text().splitlines())
        found = {key: float(value) for key, value in rows}
    except FileNotFoundError:
        return {}
    except ValueError:
        header, found = [], {}
    if header != COLUMNS or not all(0 <= value <= 1 for value in found.values()):
        raise StudyError(f"{path} is damaged: restore it, or remove it and publish its experiment again")
    return found
