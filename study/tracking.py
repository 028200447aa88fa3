"""Weights & Biases: each cell is one run, its curves live. The record is the truth; W&B may fail, lag or be absent."""

import logging
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from study.cell import Cell
from study.config import Run
from study.record import Record
from study.training.names import Point

log = logging.getLogger(__name__)

RECORD = "record.json"
"""The record among a run's files: scripts/import_wandb.py brings it back."""

UNTOLD = {"curves", "prunable", "kept", "effective"}


class Tracker:
    """Mirrors cells as runs, in a thread of its own: no training waits for W&B.

    A cell's run has the cell's id, the experiment for its group and the method for its job type. The first failure is
    reported and ends the mirroring, never the sweep.
    """

    def __init__(self, run: Run) -> None:
        self._name, self._settings, self._folder = run.name, run.wandb, run.output / "wandb"
        self._enabled = run.wandb.mode != "disabled"
        self._thread = ThreadPoolExecutor(1, "wandb")
        self._open: dict[str, Any] = {}
        self._checkout: dict[str, Any] = {}

    def log(self, cell: Cell, points: Sequence[Point]) -> None:
        """Log what was measured in a cell's own training since it was last logged."""
        self._do(lambda: self._log(self._run(cell.id, cell.model_dump(mode="json")), points))

    def mirror(self, record: Record, files: Sequence[Path]) -> None:
        """Complete a cell's run, if not done before: what is missing of its curves, its summary, its record.

        `files` are the record's and the mask's, which are artifacts where settings say so.
        """
        if self._enabled and not self._mirrored(record.cell).exists():
            self._do(lambda: self._complete(record, files))

    def close(self) -> None:
        """Wait for W&B, and end the runs whose cells are not finished; they go on when the sweep does."""
        self._do(lambda: [run.finish(exit_code=1) for run in self._open.values()])
        self._thread.shutdown()

    def _do(self, action: Callable[[], object]) -> None:
        if self._enabled:
            self._thread.submit(self._attempt, action)

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            if self._enabled:
                action()
        except Exception as error:
            self._enabled = False
            log.warning("W&B failed (%s); records are complete, run again to mirror them", error)

    def _run(self, cell: str, settings: dict[str, Any]) -> Any:
        if cell not in self._open:
            self._open[cell] = self._start(cell, settings)
        return self._open[cell]

    def _start(self, cell: str, settings: dict[str, Any]) -> Any:
        import wandb

        identity = f"{self._name}-{cell}"
        for unfinished in self._folder.glob(f"offline-run-*-{identity}"):
            shutil.rmtree(unfinished)  # of a sweep that was stopped: the curves come again, whole
        self._folder.mkdir(parents=True, exist_ok=True)
        method = settings["method"]["name"]
        run = wandb.init(
            project=self._settings.project,
            entity=self._settings.entity,
            group=self._name,
            job_type=method,
            tags=[method, settings["model"]["name"], settings["dataset"]["name"], f"seed {settings['seed']}"],
            name=f"{method} {settings['sparsity']:g} seed {settings['seed']}",
            id=identity,
            resume="allow",
            reinit="create_new",
            config=settings,
            mode=self._settings.mode,
            dir=self._folder.parent,
            settings=wandb.Settings(silent=True, console="off", x_save_requirements=False, **self._checkout),
        )
        # The first run has asked git, which takes as long as all else in starting one.
        known = {name: getattr(run.settings, name) for name in ("git_root", "git_commit", "git_remote_url")}
        self._checkout = {"disable_git": True, **known}
        return run

    @staticmethod
    def _log(run: Any, points: Sequence[Point]) -> None:
        """What the run has already, of a sweep that was stopped, is left out."""
        for point in points:
            step = int(point["iteration"] or 0)
            if step >= run.step:
                values = {name: v for name, v in point.items() if name != "iteration" and v is not None}
                run.log(values, step=step, commit=True)

    def _complete(self, record: Record, files: Sequence[Path]) -> None:
        results, curves = record.results, record.results.curves
        run = self._run(record.cell, record.settings)
        self._log(run, [dict(zip(curves, row, strict=True)) for row in zip(*curves.values(), strict=True)])
        run.summary.update(results.model_dump(mode="json", exclude=UNTOLD, exclude_none=True))
        run.summary["sparsity"] = record.sparsity
        run.summary["effective_sparsity"] = record.effective_sparsity
        run.summary["kept"] = results.kept
        shutil.copyfile(files[0], Path(run.dir) / RECORD)
        run.save(str(Path(run.dir) / RECORD), base_path=run.dir, policy="now")
        if self._settings.artifacts:
            for path, kind in zip(files, ("record", "mask"), strict=True):
                if path.exists():
                    run.log_artifact(str(path), name=f"{kind}-{run.id}", type=kind)
        run.finish()
        del self._open[record.cell]
        self._mirrored(record.cell).parent.mkdir(parents=True, exist_ok=True)
        self._mirrored(record.cell).touch()

    def _mirrored(self, cell: str) -> Path:
        return self._folder / "mirrored" / f"{self._name}-{cell}"
