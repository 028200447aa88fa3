"""What a job does on its node: run its cells as the command would, until Slurm wants it to stop."""

import os
import signal
import subprocess
import sys
from typing import Any

from study import config
from study.errors import StudyError
from study.execute import forkserver
from study.execute.stopping import Stop, Stopped
from study.execute.sweep import open_sweep, run_here
from study.terminal import Display

TIME_IS_UP, KILLED = signal.SIGUSR2, signal.SIGTERM
"""What Slurm sends some time before the limit, as it was asked to, and what when a job is preempted or cancelled."""

REQUEUE_SECONDS = 60.0


def run(settings: dict[str, Any], cells: list[dict[str, Any]]) -> None:
    """Run cells, given with the settings of the run as JSON values. submitit calls it; it ends the process on failure.

    On either signal it checkpoints what is under way; when only its time is up, it has Slurm queue it again.
    """
    stop = _stop_on_signals()
    try:
        read = [config.validate({**settings, **cell}) for cell in cells]
        sweep = open_sweep([cell for cell, _ in read], read[0][1])
        run_here(sweep, Display(), stop)
    except Stopped as stopped:
        print(stopped)
        if stopped.signal_number == TIME_IS_UP:
            _queue_again()
        sys.exit(128 + stopped.signal_number)
    except (StudyError, OSError) as error:
        sys.exit(f"error: {error}")
    if sweep.failures:
        sys.exit(1)


def _stop_on_signals() -> Stop:
    """Slurm signals all processes of a job. The fork server is started deaf to that, as its workers are."""
    stop = Stop()

    def ask(number: int, _: Any) -> None:
        if not stop.is_asked:
            stop.ask(number)

    for number in (TIME_IS_UP, KILLED):
        signal.signal(number, signal.SIG_IGN)
    forkserver.start()
    for number in (TIME_IS_UP, KILLED):
        signal.signal(number, ask)
    return stop


def _queue_again() -> None:
    command = ["scontrol", "requeue", os.environ["SLURM_JOB_ID"]]
    try:
        subprocess.run(command, timeout=REQUEUE_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"not queued again ({error}): the command that sent this job sends another for what is left")
