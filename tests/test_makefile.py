"""What make must never do."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

KEPT = ["outputs/records/adhoc/a.json", "outputs/store/x", "results/records/quickstart/b.json", "data/cifar10/c"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in [*KEPT, ".venv/bin/python", "docs/build/index.html"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["EXP=e", "ARGS=cluster.wait=false"], "make status EXP=e tells"),
        (
            ["EXP=e", "OUTPUT=o", "ARGS=seed=0,1 cluster.wait=false cluster.partition=p sparsity=0.9"],
            "make status EXP=e OUTPUT=o ARGS='seed=0,1 sparsity=0.9' tells",
        ),
    ],
)
def test_after_sending_the_command_that_follows_it_is_told(words: list[str], expected: str) -> None:
    planned = make(ROOT, "--dry-run", "sweep", "CLUSTER=slurm", *words)
    assert f"next: {expected}" in planned.stdout


def test_clean_deletes_no_result(checkout: Path) -> None:
    assert make(checkout, "clean").returncode == 0
    assert not (checkout / ".venv").exists()
    assert all((checkout / name).read_text() == name for name in KEPT)
