"""W&B by its own reader: what is live, what goes on, what comes back. No server is reached."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import import_wandb
from study import provenance
from study.config import Cluster, Run, Wandb
from study.errors import StudyError
from study.record import Record, read
from study.tracking import RECORD, Tracker
from tests.conftest import ROOT, environment
from tests.test_plan import cell_of
from tests.wandb_server import serving

PATH = next((ROOT / "results" / "records" / "quickstart").glob("snip-0.95-seed0-*.json"))


@pytest.fixture
def record() -> Record:
    return read(PATH)


def tracker(output: Path, **settings: Any) -> Tracker:
    wandb = Wandb(project="test", mode="offline", **settings)
    cluster = Cluster(**yaml.safe_load((ROOT / "conf" / "cluster" / "local.yaml").read_text()))
    return Tracker(Run(name="quickstart", output=output, dry_run=False, cluster=cluster, wandb=wandb))


def points(record: Record) -> list[dict[str, Any]]:
    curves = record.results.curves
    return [dict(zip(curves, row, strict=True)) for row in zip(*curves.values(), strict=True)]


def entries(output: Path) -> list[dict[str, Any]]:
    """All that W&B's own reader finds in the transaction log of the only run."""
    (log,) = output.glob("wandb/offline-run-*/*.wandb")
    return inspected(log)


def inspected(log: Path) -> list[dict[str, Any]]:
    reader = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(log)]
    done = subprocess.run(reader, capture_output=True, text=True, check=True, env=environment())
    return [json.loads(line) for line in done.stdout.splitlines()]


def steps(output: Path) -> list[int]:
    return [entry["history"]["item"]["_step"] for entry in entries(output) if entry["type"] == "history"]


def test_curves_are_logged_as_they_come_and_once(record: Record, tmp_path: Path) -> None:
    tracked = tracker(tmp_path)
    tracked.log(cell_of(record), points(record)[:3])
    tracked.log(cell_of(record), points(record)[3:5])
    tracked.mirror(record, [PATH, PATH])
    tracked.close()
    assert steps(tmp_path) == record.results.curves["iteration"]
    exits = [entry["exit"] for entry in entries(tmp_path) if entry["type"] == "exit"]
    assert [end.get("exit_code", 0) for end in exits] == [0]


def test_a_stopped_sweep_goes_on_in_one_run(record: Record, tmp_path: Path) -> None:
    stopped = tracker(tmp_path)
    stopped.log(cell_of(record), points(record)[:3])
    stopped.close()
    assert steps(tmp_path) == record.results.curves["iteration"][:3]
    resumed = tracker(tmp_path)
    resumed.log(cell_of(record), points(record)[:4])
    resumed.mirror(record, [PATH, PATH])
    resumed.close()
    assert steps(tmp_path) == record.results.curves["iteration"]


def test_every_run_names_the_commit(record: Record, tmp_path: Path) -> None:
    other = next(PATH.parent.glob("snip-0.9-seed0-*.json"))
    tracked = tracker(tmp_path)
    tracked.mirror(record, [PATH, PATH])
    tracked.mirror(read(other), [other, other])
    tracked.close()
    logs = list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    runs = [entry["run"] for log in logs for entry in inspected(log) if entry["type"] == "run"]
    assert [run.get("git", {}).get("commit") for run in runs] == 2 * [provenance.git()["commit"]]


def test_the_machine_is_measured(record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_X_STATS_SAMPLING_INTERVAL", "0.1")
    tracked = tracker(tmp_path)
    tracked.log(cell_of(record), points(record)[:1])
    deadline = time.monotonic() + 60
    while not has_stats(tmp_path):
        assert time.monotonic() < deadline, "no sample of the machine"
        time.sleep(0.2)
    tracked.close()


def has_stats(output: Path) -> bool:
    """Whether a run under way has sampled the machine. Its log may end in the middle of an entry."""
    try:
        return any(entry["type"] == "stats" for entry in entries(output))
    except (ValueError, subprocess.CalledProcessError):
        return False


@pytest.mark.parametrize("wanted", [False, True])
def test_artifacts_where_they_are_asked_for(wanted: bool, record: Record, tmp_path: Path) -> None:
    mask = tmp_path / "mask.safetensors"
    mask.write_bytes(b"a mask")
    tracked = tracker(tmp_path, artifacts=wanted)
    tracked.mirror(record, [PATH, mask])
    tracked.close()
    assert not list(tmp_path.glob("wandb/mirrored/*")) or steps(tmp_path)
    kinds = [e["artifact"]["type"] for e in entries(tmp_path) if e["type"] == "artifact"]
    assert sorted(kinds) == (["mask", "record"] if wanted else [])


class OfflineRun:
    """A run as W&B's public API gives one, from an offline run's files."""

    def __init__(self, folder: Path) -> None:
        self.id, self._files = folder.name, folder / "files"

    def files(self, names: list[str]) -> Iterator["OfflineFile"]:
        return (OfflineFile(self._files / name) for name in names if (self._files / name).exists())


class OfflineFile:
    def __init__(self, path: Path) -> None:
        self.name, self._path = path.name, path

    def download(self, root: str, replace: bool) -> None:
        shutil.copy(self._path, root)


@pytest.fixture
def run(record: Record, tmp_path: Path) -> OfflineRun:
    tracked = tracker(tmp_path / "there")
    tracked.mirror(record, [PATH, PATH])
    tracked.close()
    (folder,) = (tmp_path / "there" / "wandb").glob("offline-run-*")
    return OfflineRun(folder)


def test_a_record_comes_back_whole(run: OfflineRun, tmp_path: Path) -> None:
    there = import_wandb.import_run(run, tmp_path)
    assert there == tmp_path / "records" / "quickstart" / PATH.name
    assert there.read_bytes() == PATH.read_bytes()
    assert import_wandb.import_run(run, tmp_path) == there


def test_a_record_that_differs_is_not_overwritten(run: OfflineRun, tmp_path: Path) -> None:
    there = import_wandb.import_run(run, tmp_path)
    assert there is not None
    other = read(next(path for path in PATH.parent.glob("snip-0.9-seed0-*.json")))
    shutil.copy(PATH.parent / f"{cell_of(other).slug}.json", there)
    before = there.read_bytes()
    with pytest.raises(StudyError, match="differs from the record in W&B"):
        import_wandb.import_run(run, tmp_path)
    assert there.read_bytes() == before


def test_a_damaged_record_is_said(run: OfflineRun, tmp_path: Path) -> None:
    record = run._files / RECORD
    record.write_bytes(record.read_bytes()[:100])
    with pytest.raises(StudyError, match="is damaged"):
        import_wandb.import_run(run, tmp_path)
    record.unlink()
    assert import_wandb.import_run(run, tmp_path) is None


def test_a_projects_records_are_read_by_wandbs_public_api(tmp_path: Path) -> None:
    """Against a stand-in for the server, on this machine."""
    paths = sorted(PATH.parent.glob("snip-*.json"))[:2]
    runs = {f"quickstart-{index}": path.read_bytes() for index, path in enumerate(paths)} | {"unfinished": None}
    words = [sys.executable, "-m", "scripts.import_wandb", "team/study", "--output", str(tmp_path)]
    with serving(runs) as address:
        known = environment() | {"WANDB_BASE_URL": address, "WANDB_API_KEY": 40 * "a"}
        done = subprocess.run(words, cwd=ROOT, env=known, capture_output=True, text=True, timeout=120)
        none = subprocess.run(
            [*words, "--experiment", "other"], cwd=ROOT, env=known, capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 0, done.stderr
    assert "2 records imported, 1 runs without one" in done.stdout
    assert {path.name for path in tmp_path.glob("records/quickstart/*")} == {path.name for path in paths}
    assert all((tmp_path / "records" / "quickstart" / path.name).read_bytes() == path.read_bytes() for path in paths)
    assert none.stderr == "error: no run of team/study has a record: look at the project's name and --experiment\n"
