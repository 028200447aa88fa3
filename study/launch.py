"""From Hydra to the executor: one cell, or a whole multirun."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig

from study import config
from study.cell import Cell
from study.compose import Composer
from study.config import Slurm
from study.errors import CellsFailed
from study.execute.stopping import on_signals
from study.execute.sweep import Sweep, open_sweep, run_here
from study.life import life
from study.slurm import sweep as slurm
from study.terminal import Display, counted


def run_cell(configuration: DictConfig) -> float | None:
    """Run the one cell of a configuration. Its test accuracy at the last iteration, None if not waited for."""
    cell, run = config.read(configuration)
    sweep = open_sweep([cell], run)
    return _accuracy(sweep, cell.id) if _run(sweep) else None


def launch(
    context: HydraContext, sweep_config: DictConfig, job_overrides: Sequence[Sequence[str]], first: int
) -> Sequence[JobReturn]:
    """Run all cells of a multirun together, then give each job its output folder and its JobReturn."""
    setup_globals()
    composer = Composer(context.config_loader, sweep_config)
    jobs = list(enumerate(job_overrides, start=first))
    with life(f"planning {len(jobs):,} cells"):
        cells = [composer.cell(overrides)[0] for overrides in job_overrides]
        sweep = open_sweep(cells, composer.cell(job_overrides[0])[1])
    recorded_before = {cell: record.results.test_accuracy for cell, record in sweep.records.items()}
    if not _run(sweep):
        return [JobReturn(overrides, status=JobStatus.COMPLETED) for overrides in job_overrides]

    def job_return(number: int, overrides: Sequence[str], cell: Cell) -> JobReturn:
        job = composer.compose(overrides, number)
        if cell.id in recorded_before and Path(job.hydra.sweep.dir, cell.slug).exists():
            return JobReturn(overrides, job, status=JobStatus.COMPLETED, _return_value=recorded_before[cell.id])
        return run_job(
            task_function=lambda _: _accuracy(sweep, cell.id),
            config=job,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=context,
            configure_logging=False,
        )

    with life(f"writing Hydra's folders of {len(jobs):,} jobs"):
        return [job_return(number, overrides, cell) for (number, overrides), cell in zip(jobs, cells, strict=True)]


def _run(sweep: Sweep) -> bool:
    """Run what is missing, here or on Slurm. False where that is not seen through: a dry run, jobs left to run."""
    display = Display(sweep.run.verbose)
    if sweep.run.dry_run:
        slurm.show(sweep, display)
        return False
    if isinstance(sweep.run.cluster, Slurm):
        return slurm.run(sweep, display)
    with on_signals() as stop:
        run_here(sweep, display, stop)
    return True


def _accuracy(sweep: Sweep, cell: str) -> float:
    if cell in sweep.failures:
        raise CellsFailed(f"{counted(len(sweep.failures))} failed; run again to try only what failed")
    return sweep.records[cell].results.test_accuracy
