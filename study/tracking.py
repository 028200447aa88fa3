"""Weights & Biases: each cell's record mirrored as one run. The record is the truth; W&B may fail or be absent."""

import logging

from study.config import Run
from study.record import Record

log = logging.getLogger(__name__)


class Tracker:
    """Mirrors records once each. The first failure is reported and ends the mirroring, never the sweep."""

    def __init__(self, run: Run) -> None:
        self._settings, self._folder = run.wandb, run.output / "wandb"
        self._enabled = run.wandb.mode != "disabled"

    def mirror(self, record: Record) -> None:
        """Write a cell's settings, curves and summary as a W&B run with an id of its own, if not done before."""
        done = self._folder / "mirrored" / f"{record.experiment}-{record.cell}"
        if not self._enabled or done.exists():
            return
        try:
            self._write(record)
            done.parent.mkdir(parents=True, exist_ok=True)
            done.touch()
        except Exception as error:
            self._enabled = False
            log.warning("W&B failed (%s); records are complete, run again to mirror them", error)

    def _write(self, record: Record) -> None:
        import wandb

        self._folder.mkdir(parents=True, exist_ok=True)
        settings, results = record.settings, record.results
        method = settings["method"]["name"]
        run = wandb.init(
            project=self._settings.project,
            entity=self._settings.entity,
            group=record.experiment,
            job_type=method,
            tags=[method, settings["model"]["name"], settings["dataset"]["name"], f"seed {settings['seed']}"],
            name=f"{method} {settings['sparsity']:g} seed {settings['seed']}",
            id=f"{record.experiment}-{record.cell}",
            resume="allow",
            reinit="create_new",
            config=settings,
            mode=self._settings.mode,
            dir=self._folder.parent,
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, x_save_requirements=False),
        )
        names = [name for name in results.curves if name != "iteration"]
        for iteration, *values in zip(*(results.curves[name] for name in ("iteration", *names)), strict=True):
            point = {name: value for name, value in zip(names, values, strict=True) if value is not None}
            run.log(point, step=int(iteration or 0))
        run.summary.update(results.model_dump(mode="json", exclude={"curves", "prunable", "kept", "effective"}))
        run.summary["sparsity"] = record.sparsity
        run.summary["effective_sparsity"] = record.effective_sparsity
        run.summary["kept"] = results.kept
        run.finish()
