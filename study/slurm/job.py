"""What a job does on its node: run its cells as the command would."""

import sys
from typing import Any

from study import config
from study.execute import forkserver
from study.execute.sweep import open_sweep, run_here
from study.terminal import Display


def run(run_settings: dict[str, Any], cells: list[dict[str, Any]]) -> None:
    """Run cells, given with the settings of the run as JSON values. submitit calls it; its exit status is the job's."""
    forkserver.start()
    read = [config.validate({**run_settings, **cell}) for cell in cells]
    sweep = open_sweep([cell for cell, _ in read], read[0][1])
    run_here(sweep, Display())
    if sweep.failures:
        sys.exit(1)
