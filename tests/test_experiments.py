"""Every experiment: its head says what its plan says, and its cells run, for two iterations on stand-in data."""

import itertools
import multiprocessing
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from study import config, data
from study.compose import Composer
from study.data.arrays import Arrays, Part
from study.execute.worker import run_pack
from study.plan import Plan, plan_cell
from study.store import Store

CONF = Path(__file__).parent.parent / "conf"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
TINY = ["recipe.iterations=2", "recipe.evaluate_every=1", "recipe.batch_size=4", "dataset.validation=4", "sparsity=0.1"]


@pytest.fixture(scope="module")
def class_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tells the classes of data sets that are folders of images."""
    root = tmp_path_factory.mktemp("data")
    for name, classes in {"imagenet": 1000, "cifar10-jpeg": 10}.items():
        for folder, label in itertools.product(("train", "test"), range(classes)):
            (root / name / folder / f"class{label:03}").mkdir(parents=True)
    return root


@pytest.fixture(autouse=True)
def stand_in(class_folders: Path, monkeypatch: pytest.MonkeyPatch, hydra: None) -> Iterator[None]:
    """A few random images of the true shape for every data set."""
    monkeypatch.setenv("PRUNING_STUDY_DATA", str(class_folders))

    def load(name: str, size: int = 0) -> Arrays:
        generator, shape = torch.Generator().manual_seed(0), data.shape(name, size)

        def part(count: int) -> Part:
            images = torch.randint(0, 256, (count, *shape.inputs), dtype=torch.uint8, generator=generator)
            channels = shape.inputs[0]
            return Part(images, torch.arange(count) % shape.classes, (0.5,) * channels, (0.25,) * channels)

        return Arrays(part(4 + 40), part(4))  # some of each of ten classes to train on

    monkeypatch.setattr(data, "load", load)
    data.split.cache_clear()
    yield
    data.split.cache_clear()


def composed(*overrides: str) -> DictConfig:
    return compose("config", overrides=list(overrides), return_hydra_config=True)


def grid(experiment: str) -> dict[str, list[str]]:
    params = composed(f"experiment={experiment}").hydra.sweeper.params
    return {key: [value.strip() for value in str(values).split(",")] for key, values in params.items()}


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_head_says_what_the_plan_says(experiment: str) -> None:
    whole = composed(f"experiment={experiment}")
    assert whole.name == experiment
    assert whole.hydra.mode.name == "MULTIRUN"
    values = [[f"{key}={value}" for value in choices] for key, choices in grid(experiment).items()]
    composer = Composer(GlobalHydra.instance().config_loader(), whole)
    jobs = (composer.compose([f"experiment={experiment}", *job], 0) for job in itertools.product(*values))
    cells = {cell.id: cell for cell, _ in map(config.read, jobs)}
    plan = Plan([plan_cell(cell) for cell in cells.values()])

    head = (CONF / "experiment" / f"{experiment}.yaml").read_text().partition("defaults:")[0]
    assert re.search(rf"# Command +make sweep( EXP={experiment})?\b", head)
    assert "# Expected   " in head
    cost = re.search(r"# Cost +([\d,]+) cells, ([\d,]+) trainings of ([\d,]+)", head)
    assert cost is not None
    iterations = next(iter(plan.trainings.values())).arguments["recipe"]["iterations"]
    assert [int(number.replace(",", "")) for number in cost.groups()] == [len(cells), len(plan.trainings), iterations]


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_its_cells_run(experiment: str, tmp_path: Path) -> None:
    """Every value of the grid is met in some cell, but for sparsities and seeds."""
    choices = {key: values for key, values in grid(experiment).items() if key not in ("sparsity", "seed")}
    scoring = {"snip": ["method.scoring_examples=1"], "synflow": ["method.rounds=2"]}
    scoring["grasp"] = ["method.scoring_examples=4", "method.examples_per_class=0", "method.batches=2"]
    for turn in range(max(map(len, choices.values()), default=1)):
        cell_of = [f"{key}={values[turn % len(values)]}" for key, values in choices.items()]
        method = composed(f"experiment={experiment}", *cell_of).method.name
        job = composed(f"experiment={experiment}", *cell_of, *TINY, *scoring.get(method, []))
        cell, run = config.read(job)
        planned = plan_cell(cell)
        store = Store(tmp_path / "store")
        reported, stopping = multiprocessing.RawValue("Q", 0), multiprocessing.RawValue("b", 0)
        for training in planned.trainings:
            assert run_pack([training], store, run.cluster, reported, stopping) == {}
        result = store.result(planned.training.id)
        assert result["curves"]["iteration"] == [0, 1, 2]
        sparsity = 0.0 if method == "dense" else 0.1
        weights, biases = sum(result["prunable"].values()), 0
        if getattr(cell.method, "biases", False):  # all are zero: they are the last to be kept
            biases = sum(tensor.numel() for tensor in store.weights(planned.training.id).values()) - weights
        kept = round((weights + biases) * (1 - sparsity))
        assert kept - biases <= sum(result["kept"].values()) <= kept
