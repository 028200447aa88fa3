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


def test_clean_deletes_no_result(checkout: Path) -> None:
    assert make(checkout, "clean").returncode == 0
    assert not (checkout / ".venv").exists()
    assert all((checkout / name).read_text() == name for name in KEPT)
