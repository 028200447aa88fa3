"""The benchmark runs and says what it should; its times are nobody's business here."""

import json
import subprocess
import sys
from pathlib import Path

from scripts.benchmark import readme
from tests.conftest import ROOT, environment


def test_engines(tmp_path: Path) -> None:
    small = ["--rounds", "1", "--seconds", "0.001", "--evaluated", "6"]
    command = [sys.executable, "-m", "scripts.benchmark", "engines", *small, "--output", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, check=True, timeout=300)
    content = json.loads((tmp_path / "engines.json").read_text())
    assert {"date", "hardware", "load average", "versions", "git"} <= content["circumstances"].keys()
    rows = content["tables"]["Engines"]
    assert {row["engine"] for row in rows} == {"dense", "sparse"}
    assert sum(row["chosen"] == "auto" for row in rows) == len(rows) / 2 == 13
    assert all(row[name] > 0 for row in rows for name in row if name.endswith(("ms", "/ training", "/ this")))
    assert "lenet_300_100" in (tmp_path / "engines.md").read_text()


def test_gpu_on_a_cpu(tmp_path: Path) -> None:
    small = ["--device", "cpu", "--seconds", "0.001", "--models", "lenet_300_100", "--replicas", "4"]
    command = [sys.executable, "-m", "scripts.benchmark", "gpu", *small, "--output", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, check=True, timeout=300)
    rows = json.loads((tmp_path / "gpu.json").read_text())["tables"]["Networks"]
    alone, side_by_side = [("plain loop", 1), ("eager", 1), ("graph", 1)], [("packed", 4), ("streams", 4)]
    assert [(row["as"], row["replicas"]) for row in rows] == alone + side_by_side
    assert all(row["replica-iterations / s"] > 0 for row in rows)
    assert all(row["J / replica-iteration"] is None for row in rows)


def test_the_readme_shows_what_was_measured() -> None:
    shown = readme.README.read_text().partition(readme.BEGIN)[2].partition(readme.END)[0]
    assert shown == readme.tables(ROOT / "results" / "benchmarks")
