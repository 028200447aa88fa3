"""The command: python -m study.train [-m] method=snip sparsity=0.95 seed=0, or experiment=quickstart."""

import errno
import os
import sys
from traceback import walk_tb

# Before torch is imported: one thread a process, or processes fight for the cores.
os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from study.errors import CellsFailed, StudyError
from study.execute import forkserver
from study.execute.stopping import Stopped
from study.life import life


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def application(configuration: DictConfig) -> float | None:
    """One cell. SystemExit passes through Hydra without its traceback."""
    with life("importing torch"):
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
    os.environ["HYDRA_FULL_ERROR"] = "1"
    if {"-v", "--verbose"} & set(sys.argv):
        sys.argv = [word for word in sys.argv if word not in ("-v", "--verbose")] + ["verbose=true"]
    try:
        application()
    except CellsFailed as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except Stopped as stopped:
        sys.exit(_report_stop(stopped))
    except (StudyError, OSError, HydraException, OmegaConfBaseException) as error:
        sys.exit(_report(error))
    except (ValueError, TypeError) as error:
        if not _is_of_composition(error):
            raise
        sys.exit(_report(StudyError(_misfit(error))))
    except KeyboardInterrupt:
        print("interrupted: finished trainings and checkpoints are kept, the same command goes on", file=sys.stderr)
        sys.exit(130)


def _is_of_composition(error: BaseException) -> bool:
    """Whether Hydra or OmegaConf stumbled over an override, called by nothing of the study's but this module."""
    modules = [frame.f_globals["__name__"] for frame, _ in walk_tb(error.__traceback__)]
    return modules[-1].startswith(("hydra.", "omegaconf.")) and not any(name.startswith("study.") for name in modules)


def _misfit(error: BaseException) -> str:
    from study.config import explain_overrides

    return explain_overrides([word for word in sys.argv[1:] if "=" in word], str(error))


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
            remedy = "make room" if cause.errno in (errno.ENOSPC, errno.EDQUOT) else "allow writing"
            return f"{cause.strerror}: {cause.filename}; {remedy} there or choose another folder by output="
        cause = cause.__cause__ or cause.__context__
    from study.config import explain

    return explain(str(error))


if __name__ == "__main__":
    main()
