"""Estimates by hand, and that every experiment has one, with no data at hand."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from study import projection
from study.analysis.grid import experiments
from study.energy.carbon import Range
from study.estimate import benchmark, plan_of, tasks_of
from study.projection import Benchmark, Hardware, Speed, Task, project, read_benchmark
from study.record import read_folder
from tests.conftest import ROOT, environment

NONE = Benchmark({}, Range(low=1e9, mid=2e9, high=4e9))
TASK = Task("net", 0.1, forward=1000, trained=10_000, evaluated=30_000)
FREE = Range(low=0, mid=0, high=0)


def every(value: float) -> Range:
    return Range(low=value, mid=value, high=value)


def test_a_gpu_takes_operations_by_peak_and_utilisation() -> None:
    """3 x 10,000 + 30,000 forward passes of 1,000 operations: 6e7, at a tenth of 6 GFLOP/s a tenth of a second."""
    gpu = Hardware(
        name="toy", tdp=100, peak=0.006, utilisation=Range(low=0.05, mid=0.1, high=0.2), price=FREE, sources={}
    )
    found = project([TASK], gpu, NONE)
    assert [found.low, found.mid, found.high] == pytest.approx([0.05, 0.1, 0.2])
    assert project([TASK, TASK], gpu, NONE).mid == pytest.approx(0.2)


def test_a_core_goes_by_the_benchmark_between_densities() -> None:
    """Halfway between 1 and 3 microseconds an example of training, and between none and 2 of evaluation; the task's
    examples take half the operations of the benchmark's in the second case."""
    core = Hardware(name="core", tdp=4, price=FREE, sources={})
    by_density = {0.0: every(1e-6), 0.2: every(3e-6)}, {0.0: every(0), 0.2: every(2e-6)}
    for forward, seconds in ((TASK.forward, 0.02 + 0.03), (2 * TASK.forward, 0.025)):
        measured = Benchmark({"net": Speed(forward, *by_density)}, NONE.rate)
        assert project([TASK], core, measured).mid == pytest.approx(seconds)
    assert project([TASK], core, NONE).mid == pytest.approx(6e7 / 2e9)
    assert project([TASK], core, NONE).low == pytest.approx(6e7 / 4e9)


def test_the_benchmark_is_read_as_it_was_written(tmp_path: Path) -> None:
    def row(sparsity: float, engine: str, chosen: str, milliseconds: float, network: str = "net") -> dict[str, Any]:
        named = {"network": network, "dataset": "mnist", "batch": 10}
        named |= {"sparsity, %": sparsity, "engine": engine, "chosen": chosen}
        times = {f"iteration, ms{end}": milliseconds for end in ("", " q1", " q3")}
        return named | times | {f"evaluation, ms{end}": 15.0 for end in ("", " q1", " q3")}

    rows = [row(90, "dense", "", 30.0), row(90, "sparse", "auto", 10.0)]
    rows += [row(98, "dense", "auto", 15.0, "other"), row(98, "dense", "auto", 7.5, "third")]
    (tmp_path / "engines.json").write_text(json.dumps({"tables": {"Engines": rows}}))
    (tmp_path / "growth.json").write_text(json.dumps({"tables": {"Sparsity": []}}))
    found = read_benchmark(lambda network, dataset: 1000, tmp_path)
    training = {round(at, 3): one.mid for at, one in found.speeds["net"].training.items()}
    assert training == pytest.approx({0.1: 1e-3, 1.0: 3e-3})  # an example of ten; dense by the dense engine
    assert found.speeds["net"].forward == 1000
    assert found.speeds["net"].evaluation[1.0].mid == pytest.approx(1e-6)
    assert [found.rate.low, found.rate.mid, found.rate.high] == pytest.approx([1e6, 2e6, 4e6])


def test_the_quickstart_s_work_by_hand() -> None:
    """1,200 iterations of 100 examples; 7 evaluations of 15,000; LeNet-300-100 has 266,200 weights."""
    tasks = list(tasks_of(plan_of("quickstart").trainings.values()))
    assert len(tasks) == 114
    assert {(task.trained, task.evaluated, task.forward) for task in tasks} == {(120_000, 105_000, 532_400)}
    assert sum(task.density == 1.0 for task in tasks) == 3


@pytest.mark.parametrize("experiment", ["grasp_imagenet", "lth_resnet_18", "snip_table_2_rnn"])
def test_large_networks_need_neither_memory_nor_data(experiment: str) -> None:
    for task in tasks_of(list(plan_of(experiment).trainings.values())[:2]):
        assert task.forward > 10**6
    for hardware in projection.hardware():
        seconds = project([task], hardware, benchmark())
        assert 0 < seconds.low <= seconds.mid <= seconds.high


def estimate(*arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "study.estimate", *arguments]
    return subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)


def test_the_command_prints_figures_and_assumptions() -> None:
    done = estimate("quickstart", "--energy", "france")
    assert done.returncode == 0, done.stderr
    for told in ("114 trainings", "V100", "A100", "H100", "laptop core", "France", "validated: quickstart"):
        assert told in done.stdout
    wrong = estimate("quick")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("error: give one of ")


def test_every_experiment_is_projected_in_the_results() -> None:
    lines = (ROOT / "results" / "benchmarks" / "projections.csv").read_text().splitlines()[1:]
    assert {line.split(",")[0] for line in lines} == set(experiments())


def test_what_ran_on_gpus_says_nothing_of_cores() -> None:
    lines = (ROOT / "results" / "benchmarks" / "validation.csv").read_text().splitlines()[1:]
    records = {folder.name: read_folder(folder) for folder in (ROOT / "results" / "records").iterdir()}
    on_cores = {name for name, found in records.items() if not all(record.on_gpu for record in found)}
    assert {line.split(",")[0] for line in lines} == on_cores < set(records)
