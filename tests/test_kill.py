"""A sweep that is killed at random moments, driver and workers, ends like one that was not."""

import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from study.files import TEMPORARY
from study.record import read_folder, reproducible
from tests.conftest import ROOT, Command, command, environment

KILLS = 10
GRID = ["-m", "method=dense,snip,magnitude,lottery_ticket", "sparsity=0.5,0.8", "seed=0,1", "name=trial"]
GRID += ["recipe.iterations=200", "recipe.evaluate_every=100", "recipe.batch_size=50", "wandb.mode=disabled"]


def workers_of(driver: int) -> list[int]:
    """Processes below a driver that hold a claim's work: the children of its fork server."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    return [worker for server in children.get(driver, []) for worker in children.get(server, [])]


def finished(output: Path) -> dict[str, int]:
    files = [*output.glob("store/trainings/*/weights.safetensors"), *output.glob("records/trial/*.json")]
    return {str(path): path.stat().st_mtime_ns for path in files}


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(arguments, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL)


def results(output: Path) -> list[dict[str, object]]:
    return [reproducible(record) for record in read_folder(output / "records" / "trial")]


def test_kills_at_random_moments_lose_and_repeat_nothing(tmp_path: Path, run_command: Command) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    assert run_command(*GRID, f"output={undisturbed}").returncode == 0
    expected = results(undisturbed)
    seed = int(time.time())
    print(f"moments chosen with seed {seed}")
    chance = random.Random(seed)
    arguments = command(*GRID, f"output={disturbed}")
    victims = ["driver", "worker"] * (KILLS // 2)
    chance.shuffle(victims)
    done: dict[str, int] = {}
    driver = start(arguments)
    while victims:
        time.sleep(chance.uniform(0.0, 4.0))
        workers = workers_of(driver.pid)
        if driver.poll() is not None:  # finished between two kills: as it must be, and once more from the start
            assert results(disturbed) == expected
            shutil.rmtree(disturbed)
            driver, done = start(arguments), {}
        elif victims[-1] == "driver":
            driver.kill()
            driver.wait()
            driver = start(arguments)
            victims.pop()
        elif workers:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
            victims.pop()
        now = finished(disturbed)
        assert {path: now[path] for path in done} == done, "something finished was run again"
        done = now
    driver.wait()
    assert run_command(*GRID, f"output={disturbed}").returncode == 0
    now = finished(disturbed)
    assert {path: now[path] for path in done} == done, "something finished was run again"
    assert results(disturbed) == expected
    stored = [{path.name for path in output.glob("store/trainings/*")} for output in (undisturbed, disturbed)]
    assert stored[0] <= stored[1]
    assert not [name for name in stored[1] - stored[0] if not name.startswith(TEMPORARY)]
