"""A sweep that is asked to stop checkpoints what is in hand, says how to go on, and goes on there."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.faults import workers_of
from study.execute.stopping import on_signals
from study.record import read_folder, reproducible
from study.store import Store
from tests.conftest import ROOT, Command, command, environment

LONG = ["-m", "method=dense,random", "sparsity=0.5", "seed=0", "name=trial", "wandb.mode=disabled"]
LONG += ["recipe.iterations=1500", "recipe.evaluate_every=1000", "recipe.batch_size=50", "cluster.workers=2"]


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Here and in what is started from here: a shell's background, where tests may run, ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def results(output: Path) -> list[dict[str, object]]:
    return [reproducible(record) for record in read_folder(output / "records" / "trial")]


def wait_for(path: Path, pattern: str, number: int, process: subprocess.Popen[str]) -> None:
    """Until so many files are there, or the process has ended."""
    while process.poll() is None and len(list(path.glob(pattern))) < number:
        time.sleep(0.05)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, run_command: Command) -> Path:
    output = tmp_path_factory.mktemp("undisturbed")
    done = run_command(*LONG, f"output={output}", timeout=400)
    assert done.returncode == 0, done.stderr
    assert not list(output.glob("store/checkpoints/*"))
    return output


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_all_processes_checkpoints_and_the_same_command_goes_on(
    number: signal.Signals, status: int, undisturbed: Path, tmp_path: Path, run_command: Command
) -> None:
    """As Ctrl-C in a terminal sends it, or a scheduler: to the driver, its workers and their fork server alike."""
    process = start(*LONG, f"output={tmp_path}")
    wait_for(tmp_path, "store/leases/*.json", 2, process)
    time.sleep(0.5)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == status
    assert errors.splitlines() == [
        "stopped: 0 of 2 trainings finished, those under way checkpointed; the same command goes on"
    ]
    store = Store(tmp_path / "store")
    checkpoints = {path.stem for path in (tmp_path / "store" / "checkpoints").iterdir()}
    assert len(checkpoints) == 2
    done = {}
    for training in checkpoints:
        found = store.checkpoint(training)
        assert found is not None
        done[training] = found[1]["iteration"]
        assert done[training] > 0
        assert not store.is_leased(training)
    again = run_command(*LONG, f"output={tmp_path}", timeout=400)
    assert again.returncode == 0, again.stderr
    assert results(tmp_path) == results(undisturbed)
    assert not list(tmp_path.glob("store/checkpoints/*"))


def test_no_more_than_the_interval_is_lost_by_a_kill(undisturbed: Path, tmp_path: Path, run_command: Command) -> None:
    process = start(*LONG, f"output={tmp_path}", "cluster.checkpoint=0.01")
    wait_for(tmp_path, "store/checkpoints/*.safetensors", 2, process)
    process.kill()
    process.communicate()
    training = next((tmp_path / "store" / "checkpoints").glob("*.safetensors")).stem
    found = Store(tmp_path / "store").checkpoint(training)
    assert found is not None
    spent = found[1]["outcome"]["training"]["cpu"]
    again = run_command(*LONG, f"output={tmp_path}", timeout=400)
    assert again.returncode == 0, again.stderr
    assert results(tmp_path) == results(undisturbed)
    assert Store(tmp_path / "store").result(training)["cost"]["training"]["cpu"] > spent > 0


def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    """Its workers are held up, so that it would wait for their checkpoints for ever."""
    process = start(*LONG, f"output={tmp_path}", "recipe.iterations=1000000", "recipe.evaluate_every=1000000")
    wait_for(tmp_path, "store/leases/*.json", 2, process)
    workers = workers_of(process.pid)
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert any(line.startswith("stopping: ") for line in process.stdout)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 130
    assert errors == "interrupted: finished trainings and checkpoints are kept, the same command goes on\n"
    assert len(workers) == 2
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


def test_signals_are_given_back_and_those_of_others_left_alone() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with on_signals() as stop:
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
            assert not stop.is_asked
            signal.raise_signal(signal.SIGINT)
            assert stop.signal_number == signal.SIGINT
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)
