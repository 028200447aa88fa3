"""The process that workers are forked from: it has imported what they need, so that a new one costs milliseconds."""

import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from typing import Any

# Counting operations imports torch._dynamo; kernels import numba.np.arraymath when they first run.
PRELOADED = ["study.execute.worker", "torch._dynamo", "numba.np.arraymath", "hydra"]


def start() -> None:
    """Start it now: it imports torch while the caller goes on."""
    context()
    forkserver.ensure_running()


def work(*arguments: Any) -> None:
    """A worker's life. Only its process imports what it takes."""
    from study.execute import worker

    worker.serve(*arguments)


def context() -> ForkServerContext:
    """What starts workers."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(PRELOADED)
    return found
