"""What was sent to Slurm, and what became of it.

output/slurm/EXPERIMENT-TAG/   an array of jobs: what submitit writes, none but its owner may enter
    cells.json                 the cells of each job, written before Slurm is asked; the array has the folder's name
    A_submission.sh            what Slurm was given, A the array's number
    A_I_0_log.out              what job I printed
"""

import json
import re
import subprocess
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from study.config import Run
from study.errors import StudyError
from study.files import json_bytes, write_atomically
from study.slurm.groups import Group

COMMAND_SECONDS = 60.0
LOG_LINES = 8


class NoAnswer(StudyError):
    """Slurm does not answer."""


@dataclass(frozen=True)
class Queued:
    """A job in Slurm's queue: whether it runs, and where, or else why not."""

    running: bool
    note: str


@dataclass(frozen=True)
class Job:
    """A job: number `index` of the `count` of its array, its cells and its place in the queue, None when it ended."""

    folder: Path
    index: int
    count: int
    cells: tuple[str, ...]
    workers: int
    queued: Queued | None

    @property
    def state(self) -> Literal["queued", "running", "failed"]:
        """Its state, given that some of its cells have no record."""
        return "failed" if self.queued is None else "running" if self.queued.running else "queued"

    @property
    def lives(self) -> bool:
        return self.queued is not None

    @property
    def name(self) -> str:
        """As Slurm's commands take it."""
        numbers = [path.name.removesuffix("_submission.sh") for path in self.folder.glob("*_submission.sh")]
        number = numbers[0] if numbers else "?"
        return f"{number}_{self.index}" if self.count > 1 else number

    @property
    def ending(self) -> str:
        """How it ended, in Slurm's words, if Slurm still knows it."""
        try:
            shown = _answer("scontrol", "--oneliner", "show", "job", self.name)
        except NoAnswer:
            return "no longer known to Slurm"
        found = re.search(r"JobState=(\w+)", shown)
        return found[1] if found else "in no state"

    @property
    def log(self) -> tuple[Path, list[str]]:
        """What it printed, and the last lines of that."""
        path = self.folder / f"{self.name}_0_log.out"
        try:
            text = path.read_text(errors="replace")
        except FileNotFoundError:
            return path, []
        return path, [line for line in text.splitlines() if line.strip()][-LOG_LINES:]


def prepare(run: Run, groups: list[Group]) -> Path:
    """Make the folder of a submission, and write down what is about to be sent."""
    folder = run.submissions / f"{run.name}-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o700, parents=True)
    jobs = [[cell.id for cell in group.cells] for group in groups]
    content = {"submitted": time.time(), "workers": run.cluster.workers, "jobs": jobs}
    write_atomically(folder / "cells.json", json_bytes(content))
    return folder


def jobs(run: Run) -> dict[str, Job]:
    """The last job that each cell was sent with. Raises NoAnswer where there are some and Slurm is silent."""
    sent = []
    for path in run.submissions.glob(f"{run.name}-????????/cells.json"):
        content = json.loads(path.read_bytes())
        sent.append((content["submitted"], path.parent, content))
    queue = _queue() if sent else {}
    last: dict[str, Job] = {}
    for _, folder, content in sorted(sent, key=lambda one: one[:2]):
        for index, cells in enumerate(content["jobs"]):
            place = queue.get((folder.name, index))
            job = Job(folder, index, len(content["jobs"]), tuple(cells), content["workers"], place)
            last |= dict.fromkeys(cells, job)
    return last


def _queue() -> Mapping[tuple[str, int], Queued]:
    """This user's jobs that have not ended, by the name and the index that they were sent with."""
    found = {}
    for line in _answer("squeue", "--me", "--array", "--noheader", "--format=%j|%i|%T|%r|%N").splitlines():
        name, number, state, reason, nodes = line.strip().split("|", 4)
        index = int(number.partition("_")[2] or 0)
        running = state != "PENDING"
        found[name, index] = Queued(running, nodes if running else reason)
    return found


def _answer(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    except FileNotFoundError:
        raise NoAnswer(f"there is no {command[0]} here: run this where Slurm's commands are") from None
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"Slurm does not answer: {command[0]} took more than {COMMAND_SECONDS:g} s") from None
    if done.returncode:
        raise NoAnswer(f"Slurm does not answer: {' '.join(done.stderr.split())}")
    return done.stdout
