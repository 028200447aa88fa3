"""Rebuilding results/ from whatever records there are."""

import re
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
