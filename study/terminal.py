"""What a person sees in the terminal: the plan, the progress, the result."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from study.energy.units import kwh
from study.record import Cost, Record
from study.standing import Standing

PLAIN_INTERVAL_SECONDS = 15.0


class Display:
    """Progress bars in a terminal, a line now and then in a log; `verbose`, a line for each cell."""

    def __init__(self, verbose: bool = False) -> None:
        self._verbose = verbose
        self.console = Console(highlight=False, soft_wrap=True)

    def plan(self, name: str, standing: Standing) -> None:
        """One line on the cells, one on the trainings, one on the time."""
        done, pending = standing.cells_recorded, standing.cells - standing.cells_recorded
        self.console.print(f"[bold]{name}[/bold]: {counted(standing.cells)}, {done} done, {pending} to do")
        saved = f"{standing.naive} if each cell ran alone, {standing.trainings} shared"
        self.console.print(f"trainings: {saved}; {standing.running} running, {standing.missing} missing")
        if standing.missing and standing.seconds_left is not None:
            where = f", from speeds of {standing.measured_on}" if standing.measured_on else ""
            self.console.print(f"time left: about {duration(standing.seconds_left)}{where}")
        elif standing.missing:
            self.console.print("time left: unknown until the first such training has run")
        if standing.joules_left is not None:
            least, middle, most = (f"{kwh(joules):.2g}" for joules in standing.joules_left)
            self.console.print(f"energy left: about {middle} kWh ({least} to {most}), of the computer alone")
        elif standing.missing:
            self.console.print(f"energy left: unknown; make estimate EXP={name} projects it")

    def note(self, text: str) -> None:
        self.console.print(text, markup=False)

    def trained(self, training: str, result: Mapping[str, Any]) -> None:
        """Say of a finished training, from its stored result, what it cost."""
        cost, kept = Cost(**result["cost"]), sum(result["kept"].values()) / sum(result["prunable"].values())
        took = f"{cost.iterations:,} iterations in {cost.wall:.1f} s by {cost.engine}"
        self.note(f"trained {training}: {kept:.1%} of the weights, {took}")

    def recorded(self, record: Record) -> None:
        """Say what is unusual about a finished cell."""
        results = record.results
        if self._verbose:
            self.note(f"recorded {_title(record)}: test accuracy {results.test_accuracy:.2%}")
        if results.status == "collapsed":
            empty = ", ".join(name for name, kept in results.kept.items() if kept == 0)
            where = f"no weight in {empty}" if empty else "no path from input to output"
            self.note(f"collapsed: {_title(record)} leaves {where}")
        elif results.status == "diverged":
            self.note(f"diverged: {_title(record)} at iteration {results.diverged_at}")

    def end(
        self, records: Collection[Record], failures: Mapping[str, str], todo: int, seconds: float, folder: Path
    ) -> None:
        """What became of a sweep."""
        for cell, reason in failures.items():
            self.note(f"failed: {cell}: {reason}")
        if len(records) == 1 and not failures:
            record = next(iter(records))
            results = record.results
            kept, total = sum(results.kept.values()), sum(results.prunable.values())
            self.note(f"{_title(record)}: {kept:,} of {total:,} weights kept")
            self.note(
                f"test accuracy {results.test_accuracy:.2%} at the end, {results.early_stop_test_accuracy:.2%} "
                f"at the lowest validation loss (iteration {results.early_stop_iteration})"
            )
        if todo == 0:
            self.note(f"nothing to do: {counted(len(records))} recorded in {folder}")
        else:
            self.note(f"{counted(len(records))} recorded in {folder}, after {duration(seconds)}")

    @contextmanager
    def progress(self, iterations: int) -> Iterator[Callable[[int, str, float | None], None]]:
        """Show how far `iterations` of training are done. The block is given a function to tell it, with a caption and
        the seconds left where they are known.
        """

        def told(caption: str, seconds: float | None) -> str:
            return caption if seconds is None else f"{caption}, {duration(seconds)} left"

        if self.console.is_terminal:
            with Progress(BarColumn(), TextColumn("{task.description}"), console=self.console) as bars:
                task = bars.add_task("starting", total=iterations)
                yield lambda done, caption, left: bars.update(task, completed=done, description=told(caption, left))
            return
        shown = time.monotonic()

        def line(done: int, caption: str, left: float | None) -> None:
            nonlocal shown
            if time.monotonic() - shown >= PLAIN_INTERVAL_SECONDS and done:
                shown = time.monotonic()
                self.note(told(caption, left))

        yield line


def _title(record: Record) -> str:
    settings = record.settings
    return f"{settings['method']['name']} at sparsity {settings['sparsity']:g}, seed {settings['seed']}"


def counted(number: int) -> str:
    """So many cells."""
    return "1 cell" if number == 1 else f"{number} cells"


def duration(seconds: float) -> str:
    """A time span in the two largest units that matter."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
