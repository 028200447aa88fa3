"""Rebuilding results/ from whatever records there are."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from study.analysis.load import load
from study.analysis.rebuild import REPORT, rebuild_papers
from study.energy.carbon import read_region
from tests.conftest import ROOT


def test_a_papers_figure_of_which_one_sparsity_has_run_is_left_out(tmp_path: Path) -> None:
    cells = load(ROOT / "results" / "records" / "vgg_19_jpeg")
    rebuild_papers({"vgg_19_jpeg": cells[cells["sparsity"] == 0.98]}, tmp_path, read_region("world"))
    assert not list((tmp_path / "figures").glob("wang_2020_table_2_jpeg*"))
    linked = re.findall(r"\(figures/(\w+)-slide\.png\)", (tmp_path / REPORT).read_text())
    assert "wang_2020_table_2_jpeg" not in linked


def test_a_broken_record_among_several_experiments_is_one_error_and_writes_nothing(tmp_path: Path) -> None:
    for experiment in ("quickstart", "vgg_19_jpeg"):
        shutil.copytree(ROOT / "results" / "records" / experiment, tmp_path / "records" / experiment)
    broken = min((tmp_path / "records" / "quickstart").glob("*.json"))
    broken.write_text(broken.read_text()[:100])
    words = ["-m", "study.analysis", "--records", str(tmp_path / "records"), "--results", str(tmp_path / "results")]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"error: {broken} is not a whole record: delete it and run its cell again\n"
    assert not (tmp_path / "results").exists()
