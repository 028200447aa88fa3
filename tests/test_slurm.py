"""Sweeps on a real Slurm, that of scripts/slurm_local.sh: sent, left, waited for, disturbed; as on one machine."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from study.record import read_folder, reproducible
from tests.conftest import ROOT, Command, command, environment

pytestmark = pytest.mark.slurm
FOLDER = Path(os.environ.get("SLURM_LOCAL", "/tmp/slurm-local"))
PATIENCE_SECONDS = 200.0

GRID = ["-m", "method=dense,snip,magnitude", "sparsity=0.8", "seed=0,1", "name=trial"]
GRID += ["recipe.iterations=2000", "recipe.evaluate_every=1000"]
JOBS = 4  # magnitude goes with the dense cell of its seed, whose training it needs; SNIP goes alone
SLURM = ["cluster=slurm", "cluster.cpus=1", "cluster.job_minutes=0.01", "cluster.checkpoint=0.5"]
LONG = ["method=snip", "name=long", "recipe.iterations=15000", "recipe.evaluate_every=5000", "wandb.mode=disabled"]


@pytest.fixture(scope="module", autouse=True)
def slurm() -> Iterator[None]:
    """The local Slurm, for the commands that tests run."""
    if not shutil.which("sbatch"):
        pytest.skip("Slurm is not installed here: apt-get install slurm-wlm munge, then scripts/slurm_local.sh start")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(FOLDER / "slurm.conf"))
        ping = ["scontrol", "ping"]
        if not (FOLDER / "slurm.conf").exists() or subprocess.run(ping, capture_output=True, timeout=60).returncode:
            pytest.skip("the local Slurm does not run: scripts/slurm_local.sh start")
        yield


@pytest.fixture(autouse=True)
def empty_queue(slurm: None) -> Iterator[None]:
    """No job outlives its test."""
    yield
    ask("scancel", "--me")
    until(lambda: not ask("squeue", "--me", "--noheader"), "an empty queue")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, run_command: Command) -> Path:
    """What the grid leaves when it is run on this machine."""
    output = tmp_path_factory.mktemp("here") / "out"
    done = run_command(*GRID, f"output={output}", timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr
    return output


def ask(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout


def cluster(*words: str) -> None:
    subprocess.run([ROOT / "scripts" / "slurm_local.sh", *words], timeout=120, check=True)


def until(condition: Callable[[], Any], what: str) -> Any:
    """What the condition gives once it is true."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < end, f"{what}: not in {PATIENCE_SECONDS:g} s"
        time.sleep(0.1)
    return found


def running() -> list[str]:
    return ask("squeue", "--me", "--array", "--noheader", "--states=RUNNING", "--format=%i").split()


def results(output: Path, name: str = "trial") -> list[dict[str, Any]]:
    return [reproducible(record) for record in read_folder(output / "records" / name)]


def sent(output: Path) -> list[list[str]]:
    """The cells of every job that was sent."""
    return [cells for path in output.glob("slurm/*/cells.json") for cells in json.loads(path.read_text())["jobs"]]


def files(output: Path) -> set[str]:
    """Everything below an output folder but Slurm's own and the files that W&B names by the time."""
    paths = (str(path.relative_to(output)) for path in output.rglob("*") if path.is_file())
    dated = re.compile(r"\d{8}_\d{6}")
    return {dated.sub("DATE", path) for path in paths if not path.startswith("slurm/")}


def test_a_whole_quickstart_equals_the_local_one(tmp_path: Path, run_command: Command) -> None:
    quickstart = ["experiment=quickstart", "recipe.iterations=8", "recipe.evaluate_every=8", "wandb.mode=disabled"]
    on_slurm = ["cluster=slurm", "cluster.cpus=2", "cluster.job_minutes=0.001"]
    for output, where in (tmp_path / "here", []), (tmp_path / "slurm", on_slurm):
        done = run_command(*quickstart, *where, f"output={output}", timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
    ours = results(tmp_path / "slurm", "quickstart")
    assert len(ours) == 63
    assert ours == results(tmp_path / "here", "quickstart")
    jobs = sent(tmp_path / "slurm")
    assert len(jobs) > 1
    assert sorted(cell for cells in jobs for cell in cells) == sorted(record["cell"] for record in ours)
    finished = [{path.name for path in (tmp_path / where).glob("store/trainings/*")} for where in ("here", "slurm")]
    assert finished[0] == finished[1]
    assert len(finished[0]) == 114


def test_daemons_killed_under_running_jobs_change_nothing_on_disk(here: Path, tmp_path: Path) -> None:
    """The controller and the nodes' daemons are killed and come back while the command waits."""
    words = command(*GRID, *SLURM, f"output={tmp_path}")
    driver = subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
    until(lambda: list(tmp_path.glob("store/leases/*")), "a training under way")
    assert running()
    for what in "stop", "start":
        cluster(what, "slurmctld")
        cluster(what, "slurmd")
    said, _ = driver.communicate(timeout=PATIENCE_SECONDS)
    assert driver.returncode == 0, said
    assert f"{JOBS} jobs sent" in said
    assert len(sent(tmp_path)) == JOBS
    assert results(tmp_path) == results(here)
    assert files(tmp_path) == files(here)
    for folder in tmp_path.glob("slurm/*"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_left_alone_and_cancelled_in_part(here: Path, tmp_path: Path, run_command: Command) -> None:
    """Sent and left, held; told of; one job cancelled, and only that one sent again."""
    grid = [*GRID, *SLURM, f"output={tmp_path}"]

    def submit(*more: str) -> str:
        done = run_command(*grid, *more, timeout=PATIENCE_SECONDS)
        assert done.returncode == 0, done.stderr
        return done.stdout

    leave = ["cluster.wait=false", "+cluster.options.hold=true"]
    assert f"Slurm: {JOBS} jobs sent" in submit(*leave)
    assert not list(tmp_path.glob("runs/trial/*/.hydra"))
    (array,) = {number.partition("_")[0] for number in ask("squeue", "--me", "--noheader", "--format=%F").split()}
    ask("scancel", f"{array}_2")
    (cancelled,) = [cells for index, cells in enumerate(sent(tmp_path)) if index == 2]
    status = run_command(*GRID, "dry_run=true", f"output={tmp_path}").stdout
    assert f"Slurm: 0 jobs running, {JOBS - 1} queued (JobHeldUser), 1 failed" in status
    assert re.search(rf"failed: job {array}_2 \(.*\), before it printed anything", status)
    again = submit(*leave)
    assert "Slurm: 1 job sent" in again
    assert f"0 jobs running, {JOBS} queued (JobHeldUser), 0 failed" in again
    assert sorted(sent(tmp_path)).count(cancelled) == 2
    assert "sent" not in submit(*leave)
    ask("scontrol", "release", *ask("squeue", "--me", "--noheader", "--array", "--format=%i").split())
    assert "sent" not in submit()
    assert results(tmp_path) == results(here)
    assert files(tmp_path) == files(here)


def test_a_job_that_fails_is_told_of_with_its_log(tmp_path: Path, run_command: Command) -> None:
    one = ["method=dense", "name=trial", "wandb.mode=disabled", *SLURM, f"output={tmp_path}"]
    done = run_command(*one, 'cluster.setup=["echo no such module; exit 1"]')
    assert done.returncode == 1
    assert re.search(r"failed: job \d+ \(FAILED\); the end of .*_0_log\.out:\n +no such module", done.stdout)
    assert "ended without it" in done.stdout


def test_requeued_and_out_of_time_in_mid_training_it_ends_with_the_same_bits(
    tmp_path: Path, run_command: Command
) -> None:
    here, there = tmp_path / "here", tmp_path / "slurm"
    leave = run_command(*LONG, *SLURM, "cluster.wait=false", f"output={there}")
    assert leave.returncode == 0, leave.stderr
    (job,) = ask("squeue", "--me", "--noheader", "--format=%i").split()
    log: Path = until(lambda: next(there.glob("slurm/*/*_0_log.out"), None), "a log")

    def leased() -> int | None:
        """The process that trains."""
        leases = [json.loads(path.read_text()) for path in there.glob("store/leases/*.json")]
        return leases[0]["process"] if leases else None

    def stopped(times: int) -> bool:
        return log.read_text(errors="replace").count("those under way checkpointed") == times

    until(lambda: list(there.glob("store/checkpoints/*.safetensors")), "a checkpoint")
    ask("scontrol", "requeue", job)
    until(lambda: stopped(1), "a stop for the requeueing")
    worker = until(leased, "a worker that goes on")
    os.kill(worker, signal.SIGSTOP)  # Slurm looks at time limits every 30 s; the training is not to end before
    ask("scontrol", "update", f"JobId={job}", "TimeLimit=2")  # no more than cluster.signal_seconds
    until(lambda: log.read_text().count("stopping:") == 2, "Slurm's signal")
    with suppress(ProcessLookupError):
        os.kill(worker, signal.SIGCONT)  # Slurm may have, with its own signal, and the worker be done
    until(lambda: stopped(2), "a stop for the time limit")
    ask("scontrol", "update", f"JobId={job}", "TimeLimit=60")
    done = run_command(*LONG, *SLURM, f"output={there}", timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sent" not in done.stdout
    assert log.read_text().count("Starting with") == 3
    assert run_command(*LONG, f"output={here}", timeout=PATIENCE_SECONDS).returncode == 0
    assert results(there, "long") == results(here, "long")
    (ours,), (theirs,) = (list(output.glob("store/trainings/*/weights.safetensors")) for output in (here, there))
    assert ours.read_bytes() == theirs.read_bytes()


def test_hydras_own_slurm_launcher_shares_through_the_store(here: Path, tmp_path: Path, run_command: Command) -> None:
    """A cell a job; the dense training that both cells need is run once, by whichever job comes first."""
    cells = [word.replace("dense,snip,magnitude", "dense,magnitude").replace("seed=0,1", "seed=0") for word in GRID]
    launcher = ["hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.timeout_min=5"]
    done = run_command(*cells, *launcher, f"output={tmp_path}", timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr
    found = results(tmp_path)
    assert len(found) == 2
    assert all(record in results(here) for record in found)
    assert len(list(tmp_path.glob("store/trainings/*"))) == 2


def test_what_slurm_refuses_is_one_line(tmp_path: Path, run_command: Command) -> None:
    done = run_command("cluster=slurm", "cluster.partition=nowhere", f"output={tmp_path}")
    assert done.returncode == 2
    assert done.stderr.startswith("error: Slurm takes no jobs: ")
    assert len(done.stderr.splitlines()) == 1
    assert "invalid partition specified: nowhere" in done.stderr
    assert not list(tmp_path.glob("slurm/*"))
