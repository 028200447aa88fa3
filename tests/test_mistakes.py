"""Mistakes and faults: one line that names the fix, exit status 2, no traceback."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from study.record import read_folder
from tests.conftest import ROOT, SHORT, Command, command, environment, run_in

MISTAKES = {
    "sparsty=0.9": "sparsty is not known: did you mean sparsity?",
    "+sparsty=0.9": "sparsty is not known: did you mean sparsity?",
    "-m sparsty=0.8,0.9": "sparsty is not known: did you mean sparsity?",
    "recipe.lerning_rate=1": "did you mean recipe.learning_rate",
    "+method.temprature=3": "did you mean method.temperature",
    "xyz=1": "xyz is not known: choose from experiment, method,",
    "sparsity=1.0": "sparsity=1.0: Input should be less than 1",
    "sparsity=-1": "sparsity=-1: Input should be greater than or equal to 0",
    "-m sparsity=0.9,1.5": "sparsity=1.5: Input should be less than 1",
    "method=sniip": "method=sniip is not known: did you mean method=snip or method=snip_128?",
    "experiment=quikstart": "did you mean experiment=quickstart or experiment=quickstart_seeds?",
    "method.name=sniip": "method: there is no study/methods/sniip.py",
    "seed=a": "seed=a: Input should be a valid integer",
    "seed=-1": "seed=-1: Input should be greater than or equal to 0",
    "seed=1.5": "seed=1.5: Input should be a valid integer",
    "sparsity=[0.9": "no viable alternative at input '[0.9'",
    "method.scoring_examples=0": "set one of method.scoring_examples and method.examples_per_class",
    "method.scoring_examples=55001": "scoring wants 55001 examples, training has 55000: ask for fewer",
    "recipe.momentum=0.9": "recipe: momentum is for sgd, adam has its own: leave it at 0 or set recipe.optimizer=sgd",
    "method=lottery_ticket method.rate=1e-12 method.output_rate=1e-12": "raise the pruning rates",
    "method=dense control=shuffle": "control=shuffle means nothing to dense: choose control=none",
    "dataset=cifar10": "run `make data DATASET=cifar10`",
    "cluster.partition=x": "cluster.partition is a setting of cluster=slurm only",
    "cluster=slurm cluster.partitoin=x": "cluster.partitoin is not known: did you mean cluster.partition",
    "cluster=slurm cluster.workers=2": "cluster.workers is a setting of cluster=local only",
    "cluster=slurm +cluster.workers=2": "cluster.workers follows from cluster.gpus and cluster.cpus: leave it out",
    "cluster=slurm cluster.cpus=0": "cluster.cpus=0: Input should be greater than or equal to 1",
    "cluster=slurm cluster.wait=2": "cluster.wait=2: Input should be a valid boolean",
    "cluster=slurm cluster.time=2": "cluster.signal_seconds takes more than half of cluster.time",
    "cluster=slurm cluster.precision=bf16": "cluster.precision=bf16 is for GPUs: set float32",
    "cluster=slum": "did you mean cluster=slurm?",
    "cluster.name=slum": "cluster.name is one of local, local_gpus, slurm: choose by cluster=NAME",
    "recipe.drops.x=1": "recipe.drops.x is not known: did you mean recipe.drops",
    "+recipe.drops.x=1": "recipe.drops.x is not known: did you mean recipe.drops",
    "-m recipe.drops.x=1,2": "recipe.drops.x is not known: did you mean recipe.drops",
    "recipe=[1]": "can't be read (argument of type",
    "-m recipe=[1],[2]": "recipe=[1]: can't be read",
    "name=a/b": "name=a/b: String should match pattern",
}


def assert_one_line(done: subprocess.CompletedProcess[str], message: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert message in done.stderr


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake: str, tmp_path: Path, run_command: Command) -> None:
    assert_one_line(run_command(*mistake.split(), f"output={tmp_path}"), MISTAKES[mistake])


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("cluster=local_gpus", "cluster: torch finds no GPUs here: leave cluster=local"),
        ("cluster.device=cuda", "cluster: torch finds no GPU cuda here: leave out cluster.device"),
        ("cluster.device=cuda:1", "cluster: torch finds no GPU cuda:1 here: leave out cluster.device"),
    ],
)
def test_a_gpu_that_is_not_there_is_refused(setting: str, message: str, run_command: Command) -> None:
    assert_one_line(run_command(setting), message)


def test_without_slurm_its_cluster_is_refused(tmp_path: Path) -> None:
    words = command("cluster=slurm", f"output={tmp_path}")
    nowhere = environment() | {"PATH": str(tmp_path)}
    done = subprocess.run(words, cwd=ROOT, env=nowhere, capture_output=True, text=True, check=False)
    assert_one_line(done, "there is no sbatch here: run this where Slurm's commands are")


def test_without_submitit_slurm_is_refused(copied_tree: Path) -> None:
    (copied_tree / "submitit.py").write_text("raise ImportError('not installed')")
    assert_one_line(run_in(copied_tree, "cluster=slurm"), "cluster=slurm needs submitit: pip install")


@pytest.mark.parametrize("mode", [[], ["-m"]], ids=["one cell", "multirun"])
def test_an_output_folder_that_cannot_be_made(mode: list[str], run_command: Command) -> None:
    assert_one_line(run_command(*mode, "output=/dev/null/x"), "choose another folder by output=")


def test_seed_zero_is_a_seed_and_sparsity_zero_keeps_all(tmp_path: Path, run_command: Command) -> None:
    done = run_command("method=snip", "sparsity=0", "seed=0", "wandb.mode=disabled", *SHORT, f"output={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "266,200 of 266,200 weights kept" in done.stdout


def test_a_sparsity_that_empties_a_layer_is_said_and_recorded(tmp_path: Path, run_command: Command) -> None:
    ticket = ["method=lottery_ticket", "method.rate=0.9999", "method.output_rate=0.9999", "sparsity=0.9999"]
    done = run_command(*ticket, "wandb.mode=disabled", *SHORT, f"output={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "collapsed: lottery_ticket at sparsity 0.9999, seed 0 leaves no weight in output.weight" in done.stdout
    (record,) = read_folder(tmp_path / "records" / "adhoc")
    assert record.results.status == "collapsed"
    assert sum(record.results.kept.values()) == 27
    assert record.results.kept["output.weight"] == 0


def test_a_truncated_data_file(copied_tree: Path) -> None:
    images = copied_tree / "study" / "data" / "files" / "mnist" / "train-images-idx3-ubyte.gz"
    images.write_bytes(images.read_bytes()[:100_000])
    message = f"{images} is truncated or corrupt: restore it with `git checkout -- {images}`"
    assert_one_line(run_in(copied_tree, "method=dense"), message)


def test_a_cell_that_fails_does_not_stop_the_others(copied_tree: Path) -> None:
    broken = """
from study.lineage import mask_step

@mask_step
def broken(start, sparsity):
    raise RuntimeError("boom")
"""
    (copied_tree / "study" / "methods" / "broken.py").write_text(broken)
    (copied_tree / "conf" / "method" / "broken.yaml").write_text("name: broken\n")
    done = run_in(copied_tree, "-m", "method=broken,snip", "seed=0,1", "name=trial", "cluster.pack=4", *SHORT)
    assert done.returncode == 1
    assert done.stdout.count("RuntimeError: boom") == 2
    assert done.stderr.splitlines()[-1] == "error: 2 cells failed; run again to try only what failed"
    records = read_folder(copied_tree / "out" / "records" / "trial")
    assert [record.settings["method"]["name"] for record in records] == ["snip", "snip"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB: room for a few trainings and their records."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_loses_nothing_finished(small_disk: Path, run_command: Command) -> None:
    grid = ["-m", "method=random,snip", "sparsity=0.9", "seed=0,1,2", *SHORT, "wandb.mode=disabled"]
    full = run_command(*grid, f"output={small_disk}")
    assert_one_line(full, "No space left on device")
    kept = {path: path.stat().st_mtime_ns for path in small_disk.glob("records/*/*.json")}
    assert 0 < len(kept) < 6
    assert not list(small_disk.rglob(".tmp-*"))
    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
    again = run_command(*grid, f"output={small_disk}")
    assert again.returncode == 0, again.stderr
    assert len(read_folder(small_disk / "records" / "adhoc")) == 6
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_help_and_the_composed_configuration_are_hydras(run_command: Command) -> None:
    assert "method: dense, grasp, grasp_1x10, grasp_1x150, grasp_5x2, lottery_ticket" in run_command("--help").stdout
    composed = run_command("--cfg", "job", "method=grasp").stdout
    assert "temperature: 200.0" in composed


def test_tab_completion(tmp_path: Path) -> None:
    def complete(line: str) -> list[str]:
        script = f"""
            source scripts/completion.bash
            COMP_LINE={line!r}; read -ra COMP_WORDS <<< "$COMP_LINE"; COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
            _study_train; printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        words = ["bash", "-c", script]
        return subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True).stdout.split()

    assert complete(f"{sys.executable} -m study.train method=sn") == ["method=snip", "method=snip_128"]
    assert "recipe.iterations=" in complete(f"{sys.executable} -m study.train recipe.i")
    assert complete(f"{sys.executable} -m pip inst") == []
