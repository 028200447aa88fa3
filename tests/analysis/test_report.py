"""Everything rebuilt from records, twice the same; what `make verify` refuses; the report."""

import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from study.analysis.grid import Cell, expected
from study.analysis.report import to_run
from tests.analysis.synthetic import noisy, write_experiment
from tests.conftest import ROOT, environment

EXPERIMENTS = ["lth_lenet", "snip_figure_3", "snip_table_2_rnn", "quickstart"]


def analysis(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "study.analysis", *map(str, arguments)]
    return subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic records of four experiments, every seventh cell missing, and results/ rebuilt from them.

    GRU-s, dense, diverged whatever the seed.
    """

    def level(cell: Cell) -> float:
        return math.nan if cell["model"]["name"] == "gru_s" and not cell["sparsity"] else 0.97 - cell["sparsity"] / 50

    folder = tmp_path_factory.mktemp("whole")
    for name in EXPERIMENTS:
        records = write_experiment(folder / "records", name, noisy(level, 0.001))
        for path in sorted(records.glob("*.json"))[::7]:
            path.unlink()
    done = analysis("--records", folder / "records", "--results", folder / "results")
    assert done.returncode == 0, done.stderr
    return folder


def test_a_second_run_gives_the_same_bytes(folder: Path) -> None:
    verified = analysis("--records", folder / "records", "--results", folder / "results", "--verify")
    assert verified.returncode == 0, verified.stderr
    made = [path for path in (folder / "results").rglob("*") if path.is_file()]
    assert f"{len(made)} files" in verified.stdout


def test_verify_names_what_is_not_as_the_records_say(folder: Path, tmp_path: Path) -> None:
    """One of each kind: a number altered, a figure gone, a file too many, another text; and nothing else is named."""
    results = shutil.copytree(folder / "results", tmp_path / "results")
    table = results / "tables" / "lee_2019_table_2.csv"
    assert "1.88" in table.read_text()
    table.write_text(table.read_text().replace("1.88", "1.89"))
    (results / "figures" / "quickstart.svg").unlink()
    (results / "tables" / "stale.md").write_text("of an experiment that is gone")
    (results / "REPORT.md").write_text("Everything was reproduced.")
    verified = analysis("--records", folder / "records", "--results", results, "--verify")
    assert verified.returncode == 2
    named = "REPORT.md, figures/quickstart.svg, tables/lee_2019_table_2.csv, tables/stale.md"
    assert verified.stderr == f"error: {named} in {results} are not what the records give: run `make figures`\n"


def test_what_is_committed_is_what_the_records_give() -> None:
    verified = analysis("--records", "results/records", "--verify")
    assert verified.returncode == 0, verified.stderr


def test_figures_come_in_two_sizes_and_formats(folder: Path) -> None:
    names = {path.name for path in (folder / "results" / "figures").iterdir()}
    for figure in ("frankle_2019_figure_3", "frankle_2019_figure_4", "lee_2019_figure_3", "lth_lenet"):
        assert {f"{figure}{end}" for end in (".png", ".svg", "-slide.png", "-slide.svg")} <= names
    assert "snip_table_2_rnn.png" not in names  # a single sparsity makes no line
    assert "lee_2019_figure_1.png" not in names


def test_trainings_that_diverged_are_told(folder: Path) -> None:
    table = (folder / "results" / "tables" / "lee_2019_table_2.md").read_text()
    assert re.search(r"\| GRU-s +\| 95 % .* 1\.8\d / diverged", table)
    cells = (folder / "results" / "tables" / "snip_table_2_rnn.md").read_text()
    assert re.search(r"\| gru_s +\| dense +\| 0 % +\| 0 of 5 +\|.*\| [45] +\|$", cells, re.MULTILINE)
    assert re.search(r"; 6 of 40 cells are missing; [45] of 40 cells diverged$", cells.splitlines()[0])


def test_the_report_holds_together(folder: Path) -> None:
    report = (folder / "results" / "REPORT.md").read_text()
    total, *counts = map(int, re.findall(r"\d+", re.findall(r"Of \d+ claims: [^.]*", report)[0]))
    assert sum(counts) == total
    for link in re.findall(r"\]\(([^)]+)\)", report):
        home = ROOT if link.startswith("../") else folder
        assert (home / "results" / link).exists(), link
    assert re.search(r"\| lth_lenet +\| 75 of 520 cells +\| 520 cells, 520 trainings of 50,000", report)
    assert re.search(r"\| grasp_cifar10_vgg +\| 39 of 39 cells", report)


def test_core_hours_left_are_those_of_what_is_missing() -> None:
    """LeNet-5's: at 0.1 s an iteration at 90 %, of which a cell is there, 0.4 s at 99 %, of which two are, else 0.3 s.

    Those of LeNet-300-100, at 9 s, are all there.
    """
    cells = expected("snip_figure_1")
    frame = pd.DataFrame(
        [
            {
                "model": cell["model"]["name"],
                "batch_size": cell["recipe"]["batch_size"],
                "sparsity": cell["sparsity"],
                "seconds_per_iteration": 9.0,
            }
            for cell in cells
        ]
    )
    missing = frame["model"] == "lenet_5_caffe"
    for sparsity, count, seconds in ((0.9, 1, 0.1), (0.99, 2, 0.4)):
        there = frame.index[missing & (frame["sparsity"] == sparsity)][:count]
        missing[there] = False
        frame.loc[there, "seconds_per_iteration"] = seconds
    found = frame.assign(status=missing.map({True: "missing", False: "finished"}))
    seconds = found[missing]["sparsity"].map({0.9: 0.1, 0.99: 0.4}).fillna(0.3).sum()
    table = to_run({"snip_figure_1": found}).set_index("experiment")
    assert table.loc["snip_figure_1", "missing"] == f"{missing.sum()} of {len(cells)} cells"
    assert table.loc["snip_figure_1", "core-hours left"] == f"{100_000 * seconds / 3600:,.0f}"
    assert table.loc["grasp_cifar10_vgg", "core-hours left"] == "not known"


def test_claims_are_printed_with_their_numbers(folder: Path) -> None:
    printed = analysis("--records", folder / "records", "--claims")
    assert printed.returncode == 0, printed.stderr
    for verdict in ("reproduced", "not reproduced", "inconclusive", "not yet measured"):
        assert re.search(rf"^{verdict}: \d+ of \d+", printed.stdout, re.MULTILINE)
    assert "n = " in printed.stdout
