"""A Hydra callback for tests: writes down what each job returned."""

import json
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback


class JobReturns(Callback):
    """Appends a line to `path` for each job."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_job_end(self, config: Any, job_return: JobReturn, **kwargs: Any) -> None:
        line = {
            "overrides": list(job_return.overrides or []),
            "status": job_return.status.name,
            "value": job_return._return_value,
            "folder": config.hydra.runtime.output_dir,
        }
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
