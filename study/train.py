"""The command: python -m study.train [-m] method=snip sparsity=0.95 seed=0, or experiment=quickstart."""

import os
import sys

# Before torch is imported: one thread a process, or processes fight for the cores.
os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from study.errors import CellsFailed, StudyError
from study.execute import forkserver
from study.execute.stopping import Stopped


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def application(configuration: DictConfig) -> float | None:
    """One cell. SystemExit passes through Hydra without its traceback."""
    from study.launch import run_cell

    try:
        return run_cell(configuration)
    except Stopped as stopped:
        sys.exit(_report_stop(stopped))
    except (StudyError, OSError) as error:
        sys.exit(_report(error))


def main() -> None:
    """Run the application; a mistake is one line on standard error and exit status 2, failed cells are 1."""
    forkserver.start()
    OmegaConf.register_new_resolver("cell_name", _cell_name)
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        application()
    except CellsFailed as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except Stopped as stopped:
        sys.exit(_report_stop(stopped))
    except (StudyError, OSError, HydraException, OmegaConfBaseException) as error:
        sys.exit(_report(error))
    except KeyboardInterrupt:
        print("interrupted: finished trainings and checkpoints are kept, the same command goes on", file=sys.stderr)
        sys.exit(130)


def _cell_name(*, _root_: DictConfig) -> str:
    """${cell_name:} in conf/config.yaml: the folder of a cell's job."""
    from study.config import read

    return read(_root_)[0].slug


def _report_stop(stopped: Stopped) -> int:
    print(stopped, file=sys.stderr)
    return 128 + stopped.signal_number


def _report(error: BaseException) -> int:
    print(f"error: {_one_line(error)}", file=sys.stderr)
    return 2


def _one_line(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, StudyError):
            return str(cause)
        if isinstance(cause, OSError) and not isinstance(cause, HydraException):
            return f"{cause.strerror}: {cause.filename}; make room there or choose another folder by output="
        cause = cause.__cause__ or cause.__context__
    from study.config import explain

    return explain(str(error))


if __name__ == "__main__":
    main()
