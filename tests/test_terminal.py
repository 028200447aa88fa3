"""What a person sees: life in a terminal, plain lines in a log, more of them when asked."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, SHORT, Command, command, environment

GRID = ["-m", "method=dense,random", "sparsity=0.9", "wandb.mode=disabled", *SHORT]


def in_a_terminal(*words: str) -> str:
    """What a command shows in a terminal of its own."""
    ours, theirs = os.openpty()
    shown = b""
    with subprocess.Popen(words, cwd=ROOT, env=environment() | {"TERM": "xterm"}, stdout=theirs, stderr=theirs) as one:
        os.close(theirs)
        try:
            while piece := os.read(ours, 4096):
                shown += piece
        except OSError:  # Linux has no end of file here
            pass
        assert one.wait() == 0, shown.decode()
    os.close(ours)
    return shown.decode()


def test_a_long_step_shows_life_in_a_terminal_and_leaves_nothing() -> None:
    script = "import time\nfrom study.life import life\nwith life('planning'): time.sleep(1.5)"
    shown = in_a_terminal(sys.executable, "-c", script)
    assert "planning ... 1 s" in shown
    assert shown.endswith("\r\x1b[2K")
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_terminal_has_a_bar_with_cells_trainings_and_accuracy(tmp_path: Path) -> None:
    shown = in_a_terminal(*command(*GRID, f"output={tmp_path}"))
    assert re.search(r"2/2 cells, 2/2 trainings, latest test accuracy \d+\.\d%", shown)
    assert "2 cells recorded" in shown


def test_a_log_is_plain(tmp_path: Path, run_command: Command) -> None:
    done = run_command(*GRID, f"output={tmp_path}")
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    assert "trained" not in done.stdout


def test_verbose_tells_of_each_training_and_cell(tmp_path: Path, run_command: Command) -> None:
    done = run_command("-v", *GRID, f"output={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^trained [0-9a-f]{16}: 1?[01]0\.0% of the weights, 12 iterations", done.stdout, re.M)) == 2
    assert len(re.findall(r"^recorded \w+ at sparsity .*: test accuracy ", done.stdout, re.M)) == 2
