"""Handing groups of cells to Slurm."""

import io
import shlex
import shutil
from contextlib import redirect_stderr
from pathlib import Path

from study.config import ROOT, Run, Slurm
from study.errors import StudyError
from study.slurm import job
from study.slurm.groups import Group
from study.slurm.submissions import prepare

ARRAY_SIZE = 1000
"""Slurm's own default for the largest array, less one."""


def send(run: Run, groups: list[Group]) -> list[Path]:
    """Send a job for each group, in arrays; their folders. Raises StudyError where Slurm refuses."""
    assert isinstance(run.cluster, Slurm)
    return [_send(run, run.cluster, groups[i : i + ARRAY_SIZE]) for i in range(0, len(groups), ARRAY_SIZE)]


def _send(run: Run, cluster: Slurm, groups: list[Group]) -> Path:
    try:
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError
    except ImportError:
        raise StudyError("cluster=slurm needs submitit: pip install hydra-submitit-launcher") from None
    if not shutil.which("sbatch") or not shutil.which("srun"):
        raise StudyError("there is no sbatch here: run this where Slurm's commands are, or leave cluster=local")
    # Whoever waits mirrors to W&B, and only then: jobs may have no way to it, and two would mirror twice.
    settings = run.model_dump(mode="json") | {"output": str(run.output.resolve())}
    settings["wandb"]["mode"] = "disabled"
    cells = [[cell.model_dump(mode="json") for cell in group.cells] for group in groups]
    folder = prepare(run, groups)
    executor = SlurmExecutor(folder, python=cluster.python and shlex.quote(cluster.python))
    executor.update_parameters(**_parameters(cluster, folder.name))
    try:
        with redirect_stderr(io.StringIO()):  # what sbatch says is in the error too
            executor.map_array(job.run, [settings] * len(cells), cells)
    except (FailedJobError, FailedSubmissionError) as error:
        shutil.rmtree(folder)
        reason = " ".join(str(error).split())
        raise StudyError(f"Slurm takes no jobs: {reason}; conf/cluster/slurm.yaml has what is asked of it") from None
    return folder


def _parameters(cluster: Slurm, name: str) -> dict[str, object]:
    """As submitit names them. Since Slurm 22.05, srun does not ask for the job's cores by itself."""
    return {
        "job_name": name,
        "partition": cluster.partition,
        "account": cluster.account,
        "gpus_per_node": cluster.gpus or None,
        "cpus_per_task": cluster.cpus,
        "mem": f"{cluster.memory_gb}GB",
        "time": cluster.time,
        "array_parallelism": cluster.array_parallelism,
        "signal_delay_s": cluster.signal_seconds,
        "stderr_to_stdout": True,
        "srun_args": [f"--cpus-per-task={cluster.cpus}"],
        "setup": [
            "export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1",
            *(f"module load {shlex.quote(module)} || exit 1" for module in cluster.modules),
            *cluster.setup,
        ],
        "additional_parameters": {"chdir": str(ROOT), "requeue": True, **cluster.options},
    }
