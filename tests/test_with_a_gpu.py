"""On a real GPU, where there is one: engines, masks and checkpoints equal a CPU's in float64; a sweep runs on it."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn

from study import models
from study.cell import Model, Recipe
from study.data import Examples
from study.energy.gpu import Gpu
from study.execute.checkpoint import StopAsked
from study.methods.grasp import grasp
from study.methods.masks import Mask, prune_smallest
from study.methods.snip import snip
from study.methods.synflow import synflow
from study.models import prunable
from study.record import read_folder
from study.training.engines import choose, computing_in
from study.training.engines.dense import Dense
from study.training.engines.engine import Runner, Task
from study.training.engines.packed import Packed, can_stack
from study.training.engines.streams import Streams, fastest
from study.training.loop import Outcome, Snapshot, Snapshots, train
from study.training.names import Precision
from tests.conftest import Command
from tests.test_engines import ADAM, GREY, PACKED, ROWS, SGD, split, tasks_of
from tests.test_engines import NETWORKS as CHAINS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

GPU = torch.device("cuda")
NETWORKS = PACKED | {name: CHAINS[name][:2] for name in ("LSTM", "GRU")}
AUGMENTED = {"augment": "flip_crop", "iterations": 60, "drops": (30, 45)}


def tasks(model: Model, shape: tuple[int, ...], recipe: Recipe, on: str, rates: tuple[float, ...]) -> list[Task]:
    """In float64, a replica for each rate."""
    made = tasks_of(model, shape, recipe, torch.float64, rates)
    for task in made:
        task.network.to(on)
    return made


def assert_same(found: Task, outcome: Outcome, task: Task, expected: Outcome) -> None:
    """To the rounding of float64, which other kernels' sums do not share."""
    for name, tensor in task.network.state_dict().items():
        ours = found.network.state_dict()[name].cpu()
        torch.testing.assert_close(ours, tensor, rtol=1e-7, atol=1e-8, msg=name)
    for name, values in vars(expected.curves).items():
        assert vars(outcome.curves)[name][1:] == pytest.approx(values[1:], rel=1e-6), name
    for name, keep in found.mask.items():
        assert (found.network.get_parameter(name).cpu()[~keep] == 0).all(), name


@pytest.mark.parametrize("recipe", [SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("engine", [Dense, Packed, Streams])
@pytest.mark.parametrize("network", NETWORKS)
def test_it_trains_as_a_cpu_does(network: str, engine: Any, recipe: Recipe) -> None:
    model, shape = NETWORKS[network]
    recipe = recipe.model_copy(update=AUGMENTED if shape != ROWS else {"iterations": 60})
    rates = (recipe.learning_rate, recipe.learning_rate / 3, recipe.learning_rate / 10)
    (first, *_), there = (tasks(model, shape, recipe, on, rates) for on in ("cpu", "cuda"))
    stackable = can_stack(first.network)
    together = there if engine is Streams or (engine is Packed and stackable) else there[:1]
    outcomes = train(together, engine)
    for one, outcome, alone in zip(together, outcomes, tasks(model, shape, recipe, "cpu", rates), strict=False):
        (expected,) = train([alone], Dense)
        assert_same(one, outcome, alone, expected)


@pytest.mark.parametrize("engine", [Packed, Streams])
def test_one_that_diverges_changes_nothing_for_the_others(engine: Runner) -> None:
    model, shape = PACKED["residual, batch norm"]
    recipe = SGD.model_copy(update={"iterations": 30, "evaluate_every": 10})
    (alone, _), (sound, sick) = (tasks(model, shape, recipe, on, (0.02, 1e300)) for on in ("cpu", "cuda"))
    (expected,) = train([alone], Dense)
    found, diverged = train([sound, sick], engine)
    assert (found.diverged_at, diverged.diverged_at) == (None, 10)
    assert_same(sound, found, alone, expected)


@pytest.mark.parametrize("engine", [Dense, Packed, Streams])
@pytest.mark.parametrize("network", ["residual, batch norm", "GRU"])
def test_it_goes_on_from_a_checkpoint(network: str, engine: Any) -> None:
    model, shape = NETWORKS[network]
    recipe = ADAM.model_copy(update={"iterations": 60, "drops": (30,)})
    rates = (2e-3, 1e-3) if engine is Streams else (2e-3,)
    saved: list[Snapshot] = []

    def stop(iteration: int, snapshots: Snapshots) -> None:
        if iteration > 20:
            saved.extend(snapshots())
            raise StopAsked

    with pytest.raises(StopAsked):
        train(tasks(model, shape, recipe, "cuda", rates), engine, stop)
    again, undisturbed = (tasks(model, shape, recipe, on, rates) for on in ("cuda", "cpu"))
    for one, outcome, alone in zip(again, train(again, engine, saved=saved), undisturbed, strict=True):
        (expected,) = train([alone], Dense)
        assert_same(one, outcome, alone, expected)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("network", PACKED)
def test_in_less_precision_training_goes_the_same_way(network: str, precision: Precision) -> None:
    model, shape = PACKED[network]
    recipe = ADAM.model_copy(update={"iterations": 60})

    def losses(precision: Precision) -> list[float | None]:
        made = tasks(model, shape, recipe, "cuda", (2e-3, 1e-3))
        data = split(shape, torch.float32)
        single = [replace(one, network=one.network.float(), data=replace(one.data, arrays=data.arrays)) for one in made]
        with computing_in(precision, GPU):
            outcomes = train(single, Packed)
        return [loss for outcome in outcomes for loss in outcome.curves.train_loss[1:]]

    full, rounded = losses("float32"), losses(precision)
    assert rounded != full
    assert rounded == pytest.approx(full, rel=0.1, abs=0.03)


@pytest.mark.parametrize("method", ["snip", "grasp", "synflow", "magnitude"])
@pytest.mark.parametrize("network", NETWORKS)
def test_masks_are_those_of_a_cpu(network: str, method: str) -> None:
    model, shape = NETWORKS[network]

    def mask_of(step: Callable[..., Any]) -> Callable[..., Mask]:
        unwrapped: Callable[..., Mask] = inspect.unwrap(step)
        return unwrapped

    def mask(device: torch.device) -> Mask:
        built = models.build(model, torch.Size(shape), 4, 0).double().to(device)
        examples = Examples(split(shape, torch.float64), 0, device)
        match method:
            case "snip":
                return mask_of(snip)(built, examples, 0.9, augment="flip_crop")
            case "grasp":
                return mask_of(grasp)(built, examples, 0.9, 0, temperature=1.0, redraw="linear")
            case "synflow":
                return mask_of(synflow)(built, shape, 0.9, rounds=10)
        full = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in prunable(built).items()}
        return mask_of(prune_smallest)(built, full, 100)

    ours, expected = mask(GPU), mask(torch.device("cpu"))
    assert all(tensor.device.type == "cpu" for tensor in ours.values())
    assert {name: int((ours[name] != keep).sum()) for name, keep in expected.items()} == dict.fromkeys(expected, 0)


def test_a_trial_lays_trainings_out_and_survives_memory_that_runs_out() -> None:
    model, shape = PACKED["convolutions"]
    (task,) = tasks(model, shape, SGD, "cuda", (0.02,))
    assert choose("auto", task) is Packed
    way, size = fastest(task, 16)
    assert way in (Packed, Streams)
    assert size in (1, 2, 4, 8, 16)
    a_tenth = torch.cuda.mem_get_info()[0] // 10 // (256 * 4)
    wide = nn.Sequential(nn.Flatten(), nn.Linear(256, a_tenth), nn.Linear(a_tenth, 4)).to(GPU)
    mask = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in prunable(wide).items()}
    large = replace(task, network=wide, mask=mask, data=split(GREY, torch.float32))
    try:
        torch.cuda.set_per_process_memory_fraction(0.5)
        assert fastest(large, 16) == (Packed, 1)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert fastest(task, 2)[1] in (1, 2)


def test_energy_is_read_from_the_board() -> None:
    meter = Gpu("cuda")
    before = meter.joules(0.0)
    a = torch.randn(4096, 4096, device=GPU)
    for _ in range(500):
        a @ a
    torch.cuda.synchronize()
    spent = meter.joules(1.0) - before
    assert meter.kind == "NVML"
    assert spent > 0


@pytest.mark.parametrize("precision", get_args(Precision))
def test_a_sweep_runs_on_it(precision: str, tmp_path: Path, run_command: Command) -> None:
    grid = ["-m", "model=lenet_300_100,lenet_5_caffe,gru_s", "method=dense,snip,grasp", "sparsity=0.9", "seed=0,1"]
    recipe = ["recipe=snip_mnist", "recipe.iterations=300", "recipe.evaluate_every=100", "recipe.learning_rate=0.01"]
    words = [*grid, *recipe, f"cluster.precision={precision}", "name=trial", "wandb.mode=disabled"]
    done = run_command(*words, f"output={tmp_path}", timeout=300)
    assert done.returncode == 0, done.stderr
    records = read_folder(tmp_path / "records" / "trial")
    assert len(records) == 18
    joules = 0.0  # of all: NVML's counter does not move within a phase of some hundredths of a second
    for record in records:
        assert record.results.test_accuracy > (0.12 if record.settings["model"]["name"] == "gru_s" else 0.5)
        (cost,) = record.run.costs.values()
        assert cost.engine == "packed"
        assert cost.meter
        assert cost.meter.gpu == "NVML"
        assert record.run.hardware["gpu"] == torch.cuda.get_device_name()
        joules += sum(phase.gpu_joules or 0.0 for phase in (cost.mask, cost.training, cost.evaluation))
    assert joules > 0
