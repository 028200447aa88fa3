"""Trainings that are stopped and gone on with, by every engine, end bit for bit as they would have ended."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from study import models
from study.cell import Model, Recipe
from study.energy.meter import Spent
from study.errors import StudyError
from study.execute import checkpoint
from study.execute.checkpoint import Checkpoints, Saved, StopAsked
from study.files import SET_ASIDE_MOST
from study.models import prunable
from study.models.blocks import sequential
from study.models.initialise import initialise
from study.sealed import BrokenSeal, seal, unseal
from study.seeding import stream
from study.store import Store
from study.training import loop
from study.training.engines.dense import Dense
from study.training.engines.engine import STATE_FORM, Task
from study.training.engines.packed import Packed
from study.training.engines.sparse import Sparse
from study.training.engines.streams import Streams, Together
from study.training.loop import Outcome, Snapshots, train
from tests.test_engines import ADAM, COLOUR, GREY, NETWORKS, PACKED, SGD, split, tasks_of

FORM = {"engine": "any"}
AUGMENTED = SGD.model_copy(update={"augment": "flip_crop"})


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that trainings can be interrupted anywhere: stretches of 1, 2, 2, ... iterations."""
    monkeypatch.setattr(loop, "STRETCH", 2)


def interrupted(tasks: list[Task], engine: Any, after: int, store: Store, saved: Sequence[Saved] = ()) -> list[Saved]:
    """Train, through the store, to the first stretch that ends at `after` or later; what is then in the store."""
    names = [str(number) for number in range(len(tasks))]

    def stop(iteration: int, snapshots: Snapshots) -> None:
        if iteration >= after:
            Checkpoints(store, [(name, Spent(1, 2)) for name in names], FORM, 60, lambda: True).after_stretch(snapshots)

    with pytest.raises(StopAsked):
        train(tasks, engine, stop, saved=[one.snapshot for one in saved])
    found = [checkpoint.read(store, name, FORM) for name in names]
    return [one for one in found if one is not None]


def assert_same(tasks: list[Task], outcomes: list[Outcome], others: list[Task], expected: list[Outcome]) -> None:
    for task, outcome, other, wanted in zip(tasks, outcomes, others, expected, strict=True):
        assert outcome.curves == wanted.curves
        assert outcome.diverged_at == wanted.diverged_at
        ours = task.network.state_dict()
        for name, tensor in other.network.state_dict().items():
            assert torch.equal(ours[name], tensor), name


def task_of(network: nn.Module, density: float, shape: tuple[int, ...], recipe: Recipe) -> Task:
    mask = {name: torch.rand(w.shape, generator=stream(1, name)) < density for name, w in prunable(network).items()}
    return Task(network, mask, split(shape, torch.float32), recipe, 0)


def built(model: Model, shape: tuple[int, ...]) -> nn.Module:
    return models.build(model, torch.Size(shape), 4, 0)


def chain_with_batch_norm(_: Model | None, __: tuple[int, ...]) -> nn.Module:
    """A chain of which the sparse engine leaves some layers to torch."""
    layers = {
        "conv1": nn.Conv2d(3, 6, 3, padding=1),
        "norm1": nn.BatchNorm2d(6),
        "relu1": nn.ReLU(),
        "flatten": nn.Flatten(),
        "fc1": nn.Linear(384, 30),
        "norm2": nn.BatchNorm1d(30),
        "output": nn.Linear(30, 4),
    }
    network = sequential(layers)
    initialise(network, "he_normal", 0)
    return network


RESIDUAL = Model(name="resnet_20", family="resnet")
SHORT = {"iterations": 10, "evaluate_every": 4, "drops": (6,)}
CASES: dict[str, tuple[Any, Any, Any, tuple[int, ...], Recipe]] = {
    "dense, adam": (Dense, built, *NETWORKS["linear, dense"][:2], ADAM),
    "dense, convolutions and momentum": (Dense, built, *NETWORKS["convolutions"][:2], SGD),
    "dense, no momentum": (Dense, built, *NETWORKS["convolutions"][:2], SGD.model_copy(update={"momentum": 0.0})),
    "dense, batch norm, augmented": (Dense, built, RESIDUAL, COLOUR, AUGMENTED),
    "dense, batch norm, adam": (Dense, built, RESIDUAL, COLOUR, ADAM),
    "sparse, adam": (Sparse, built, *NETWORKS["linear, sparse"][:2], ADAM),
    "sparse, convolutions and momentum": (Sparse, built, *NETWORKS["padded convolutions"][:2], AUGMENTED),
    "sparse, recurrent": (Sparse, built, *NETWORKS["GRU"][:2], ADAM),
    "sparse, batch norm": (Sparse, chain_with_batch_norm, None, COLOUR, AUGMENTED),
}


@pytest.mark.parametrize("after", [1, 4, 5])
@pytest.mark.parametrize("case", CASES)
def test_a_training_goes_on_to_the_same_bits(case: str, after: int, tmp_path: Path) -> None:
    """Stopped between two evaluations and at one, once more on the way, through the store each time."""
    engine, build, model, shape, recipe = CASES[case]
    recipe = recipe.model_copy(update=SHORT)

    def fresh() -> list[Task]:
        return [task_of(build(model, shape), 0.1, shape, recipe)]

    undisturbed, disturbed, again = fresh(), fresh(), fresh()
    expected = train(undisturbed, engine)
    store = Store(tmp_path)
    (saved,) = interrupted(disturbed, engine, after, store)
    assert 0 < saved.snapshot.iteration < recipe.iterations
    assert saved.masking == Spent(1, 2)
    (later,) = interrupted(fresh(), engine, saved.snapshot.iteration + 2, store, [saved])
    assert later.snapshot.iteration > saved.snapshot.iteration
    assert later.snapshot.outcome.training.wall > saved.snapshot.outcome.training.wall
    outcomes = train(again, engine, saved=[later.snapshot])
    assert_same(again, outcomes, undisturbed, expected)
    assert outcomes[0].training.wall > later.snapshot.outcome.training.wall


@pytest.mark.parametrize("recipe", [AUGMENTED, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("network", ["linear", "convolutions", "residual, batch norm"])
@pytest.mark.parametrize("engine", [Packed, Streams])
def test_a_pack_goes_on_to_the_same_bits(engine: Together, network: str, recipe: Recipe, tmp_path: Path) -> None:
    model, shape = PACKED[network]
    recipe = recipe.model_copy(update=SHORT)

    def fresh() -> list[Task]:
        return tasks_of(model, shape, recipe, torch.float32, (0.02, 1e30, 0.002))

    undisturbed, again = fresh(), fresh()
    expected = train(undisturbed, engine)
    saved = interrupted(fresh(), engine, 5, Store(tmp_path))
    outcomes = train(again, engine, saved=[one.snapshot for one in saved])
    assert [outcome.diverged_at for outcome in outcomes] == [outcome.diverged_at for outcome in expected]
    sound = [0, 2]
    assert_same(*([some[i] for i in sound] for some in (again, outcomes, undisturbed, expected)))  # type: ignore[arg-type]
    assert outcomes[1].curves == expected[1].curves


@pytest.mark.parametrize("network", PACKED)
def test_of_a_pack_each_goes_on_in_other_company(network: str, tmp_path: Path) -> None:
    """In float64, in which who is beside a training matters only by rounding."""
    model, shape = PACKED[network]
    recipe = AUGMENTED.model_copy(update=SHORT)

    def fresh() -> list[Task]:
        return tasks_of(model, shape, recipe, torch.float64, (0.02, 0.01, 0.002))

    undisturbed, again = fresh(), fresh()
    expected = train(undisturbed, Packed)
    saved = interrupted(fresh(), Packed, 5, Store(tmp_path))
    for engine, company in ((Streams, [2, 0]), (Packed, [1])):
        outcomes = train([again[i] for i in company], engine, saved=[saved[i].snapshot for i in company])
        for i, outcome in zip(company, outcomes, strict=True):
            assert outcome.curves.test_loss == pytest.approx(expected[i].curves.test_loss, rel=1e-10)
            for name, tensor in undisturbed[i].network.state_dict().items():
                torch.testing.assert_close(again[i].network.state_dict()[name], tensor, rtol=1e-10, atol=1e-10)


def test_a_checkpoint_of_another_form_is_not_gone_on_from(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (model, shape), recipe = NETWORKS["linear, dense"][:2], ADAM
    interrupted([task_of(models.build(model, torch.Size(shape), 4, 0), 0.5, shape, recipe)], Dense, 10, store)
    assert checkpoint.read(store, "0", FORM) is not None
    assert checkpoint.read(store, "0", {"engine": "another"}) is None


def test_states_have_the_form_that_is_written_beside_them() -> None:
    """Where this fails as a layout or a rule has changed, raise STATE_FORM with it: older checkpoints do not fit."""
    density = {"fc1.weight": 0.05, "fc2.weight": 0.7, "output.weight": 1.0}
    network = models.build(NETWORKS["linear, sparse"][0], torch.Size(GREY), 4, 0)
    mask = {
        name: torch.rand(w.shape, generator=stream(1, name)) < density[name] for name, w in prunable(network).items()
    }
    task = Task(network, mask, split(GREY, torch.float32), ADAM, 0)
    numbers = int(mask["fc1.weight"].sum()) + 300 + 300 * 100 + 100 + 100 * 4 + 4
    (state,) = Sparse([task]).states()
    assert STATE_FORM == 3
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {
        "values": (numbers,),
        "moments": (2, numbers),
        "counts": (2,),
    }


def test_checkpoints_are_written_no_more_often_than_wanted(tmp_path: Path) -> None:
    model, shape = NETWORKS["linear, dense"][:2]
    task = task_of(models.build(model, torch.Size(shape), 4, 0), 0.5, shape, ADAM)
    written: list[int | None] = []

    def count(seconds: float) -> int:
        store = Store(tmp_path / str(seconds))
        checkpoints = Checkpoints(store, [("0", Spent())], FORM, seconds, lambda: False)
        written.clear()
        path = store.folder / "checkpoints" / "0.safetensors"

        def look(iteration: int, snapshots: Snapshots) -> None:
            checkpoints.after_stretch(snapshots)
            written.append(path.stat().st_mtime_ns if path.exists() else None)

        train([replace(task)], Dense, look)
        return len(set(written) - {None})

    assert count(1000.0) == 0
    assert count(1e-9) == len(written)


def test_every_byte_is_sealed() -> None:
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([True, False])}
    blob = seal(tensors, {"iteration": 3, "loss": 0.1})
    found, content = unseal(blob)
    assert content == {"iteration": 3, "loss": 0.1}
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    for position in range(len(blob)):
        broken = bytearray(blob)
        broken[position] ^= 1 << (position % 8)
        with pytest.raises(BrokenSeal):
            unseal(bytes(broken))
    for length in range(len(blob)):
        with pytest.raises(BrokenSeal):
            unseal(blob[:length])


def test_a_damaged_checkpoint_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(tmp_path)
    path = tmp_path / "checkpoints" / "a.safetensors"
    for number in range(1, SET_ASIDE_MOST + 1):
        store.save_checkpoint("a", {"x": torch.zeros(3)}, {})
        path.write_bytes(path.read_bytes()[:-1])
        assert store.checkpoint("a") is None
        assert path.with_name(f"a.safetensors.damaged-{number}").exists()
        assert f"{path} is damaged: set aside" in caplog.messages[-1]
    store.save_checkpoint("a", {"x": torch.zeros(3)}, {})
    path.write_bytes(b"")
    with pytest.raises(StudyError, match="damaged 9 times: check the disk"):
        store.checkpoint("a")
