"""Which cells a job on Slurm takes, and workers on several GPUs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from study import config
from study.config import Cluster, LocalGpus, Slurm
from study.execute.queue import Queue
from study.plan import Plan
from study.slurm.groups import SECONDS_AN_ITERATION, Group, group
from study.store import Store
from tests.conftest import ROOT
from tests.test_plan import cell, plan

KIND = ("lenet_300_100", "mnist", 60)
SECOND = {KIND: {0.1: 0.1, 1.0: 0.1}}
"""A tenth of a second an iteration: a second for a training of ten."""


def settings(name: str, **changes: Any) -> Cluster:
    content = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "cluster" / f"{name}.yaml"))
    assert isinstance(content, dict)
    return config.CLUSTERS[name](**{**content, **changes})


def slurm(**changes: Any) -> Slurm:
    found = settings("slurm", **changes)
    assert isinstance(found, Slurm)
    return found


def groups(whole: Plan, cluster: Slurm, store: Store, speeds: Any = SECOND) -> list[Group]:
    return group(whole.cells, whole.missing(store, set()), speeds, cluster)


def slugs(found: list[Group]) -> list[list[str]]:
    return [[f"{cell.method.name} {cell.seed}" for cell in one.cells] for one in found]


def test_cells_that_share_a_training_go_to_one_job(tmp_path: Path) -> None:
    whole = plan(cell("snip"), cell("magnitude"), cell("snip", seed=1), cell("dense"), cell("magnitude", 0.5))
    found = groups(whole, slurm(job_minutes=0.001), Store(tmp_path))
    assert slugs(found) == [["snip 0"], ["magnitude 0", "dense 0", "magnitude 0"], ["snip 1"]]
    assert [one.trainings for one in found] == [1, 3, 1]
    dense_then_magnitude = found[1]
    assert dense_then_magnitude.total == pytest.approx(3.0)
    assert dense_then_magnitude.seconds(workers=1) == pytest.approx(3.0)
    assert dense_then_magnitude.seconds(workers=8) == pytest.approx(2.0)


def test_a_training_that_is_there_joins_nobody(tmp_path: Path) -> None:
    whole = plan(cell("dense"), cell("magnitude"), cell("magnitude", 0.5))
    dense = whole.cells[0].training
    missing = {training: node for training, node in whole.trainings.items() if training != dense.id}
    found = group(whole.cells[1:], missing, SECOND, slurm(job_minutes=0.001))
    assert slugs(found) == [["magnitude 0"], ["magnitude 0"]]


@pytest.mark.parametrize(("minutes", "sizes"), [(0.001, [1] * 7), (0.1, [2, 2, 2, 1]), (0.2, [4, 3]), (10.0, [7])])
def test_jobs_are_filled_to_their_time(minutes: float, sizes: list[int], tmp_path: Path) -> None:
    """Six seconds of two workers hold two cells of six seconds, twelve hold four."""
    whole = plan(*(cell("snip", seed=seed) for seed in range(7)))
    slower = {KIND: {0.1: 0.6}}
    found = groups(whole, slurm(job_minutes=minutes, cpus=2), Store(tmp_path), slower)
    assert [len(one.cells) for one in found] == sizes


def test_where_no_speed_is_known_one_is_assumed(tmp_path: Path) -> None:
    (alone,) = groups(plan(cell("snip")), slurm(), Store(tmp_path), speeds={})
    assert alone.total == pytest.approx(10 * SECONDS_AN_ITERATION)


def test_on_a_gpu_what_runs_side_by_side_stays_together(tmp_path: Path) -> None:
    whole = plan(*(cell("snip", seed=seed) for seed in range(6)), cell("dense"))
    found = groups(whole, slurm(gpus=1, pack=4, job_minutes=0.001), Store(tmp_path))
    assert [len(one.cells) for one in found] == [4, 3]


def test_a_slurm_job_has_a_worker_a_core_or_a_gpu() -> None:
    cpus, gpus = slurm(cpus=6), slurm(cpus=6, gpus=2)
    assert (cpus.device, cpus.workers, cpus.pack) == ("cpu", 6, 1)
    assert (gpus.device, gpus.workers, gpus.pack) == ("cuda", 2, 256)
    assert [gpus.of_worker(number).device for number in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert [gpus.of_worker(number).workers for number in range(3)] == [1, 1, 1]  # whose GPU's energy is its own
    assert cpus.of_worker(3) == cpus


def test_settings_survive_the_way_to_a_job() -> None:
    for cluster in slurm(gpus=2, options={"qos": "long"}), slurm(), settings("local", device="cpu", workers=3):
        run = config.Run(name="x", output="out", dry_run=False, cluster=cluster, wandb={"project": "p"})
        assert config.Run.model_validate(run.model_dump(mode="json")) == run


def test_local_gpus_takes_those_that_torch_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    every, two = settings("local_gpus"), settings("local_gpus", gpus=2)
    assert isinstance(every, LocalGpus)
    assert (every.gpus, every.workers, every.device, every.pack) == (3, 3, "cuda", 256)
    assert [two.of_worker(number).device for number in range(two.workers)] == ["cuda:0", "cuda:1"]
    with pytest.raises(ValueError, match=r"cluster\.gpus=4 are more than the 3"):
        settings("local_gpus", gpus=4)


def test_what_can_run_now_is_shared_out_among_free_workers(tmp_path: Path) -> None:
    whole = plan(*(cell("snip", seed=seed) for seed in range(7)))
    queue = Queue(whole.missing(Store(tmp_path), set()), Store(tmp_path), pack=256)
    assert [len(queue.next_pack(room)) for room in (3, 2, 1)] == [3, 2, 2]


def test_workers_on_a_node_are_the_cores_that_slurm_allots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "7")
    assert settings("local", device="cpu").workers == 7
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "5")
    assert settings("local", device="cpu").workers == 5
