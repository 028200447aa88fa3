import os
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from study.errors import Damaged
from study.files import TEMPORARY, new_folder, remove_leftovers, write_atomically
from study.store import Store

WEIGHTS = {"fc.weight": torch.arange(6.0).view(2, 3)}
RESULT = {"kept": {"fc.weight": 6}, "loss": None}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_what_is_saved_comes_back(store: Store) -> None:
    store.save_training("a", WEIGHTS, RESULT)
    store.save_mask("m", {"fc.weight": torch.tensor([True, False])})
    assert store.has_training("a")
    assert not store.has_training("b")
    assert store.result("a") == RESULT
    assert torch.equal(store.weights("a")["fc.weight"], WEIGHTS["fc.weight"])
    mask = store.mask("m")
    assert mask is not None
    assert mask["fc.weight"].tolist() == [True, False]
    assert store.mask("other") is None


def test_the_first_of_two_results_stays(store: Store) -> None:
    store.save_training("a", WEIGHTS, RESULT)
    store.save_training("a", WEIGHTS, {"other": 1})
    assert store.result("a") == RESULT
    assert [p.name for p in (store.folder / "trainings").iterdir()] == ["a"]


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("file", ["result.json", "weights.safetensors"])
@pytest.mark.parametrize("damage", [flip_a_bit, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_damaged_training_is_set_aside(
    store: Store, file: str, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    store.save_training("a", WEIGHTS, RESULT)
    damage(store.folder / "trainings" / "a" / file)
    with pytest.raises(Damaged, match="run again to make it anew"):
        store.weights("a")
    assert not store.has_training("a")
    (message,) = caplog.messages
    assert message == f"{store.folder}/trainings/a is damaged: set aside as a.damaged-1, to be made anew"
    store.save_training("a", WEIGHTS, RESULT)
    assert store.result("a") == RESULT


@pytest.mark.parametrize("damage", [flip_a_bit, lambda path: path.write_bytes(path.read_bytes()[:-3])])
def test_a_damaged_mask_is_set_aside(store: Store, damage: Callable[[Path], object]) -> None:
    store.save_mask("m", {"fc.weight": torch.ones(5, dtype=torch.bool)})
    damage(store.folder / "masks" / "m.safetensors")
    assert store.mask("m") is None
    assert [path.name for path in (store.folder / "masks").iterdir()] == ["m.safetensors.damaged-1"]


def test_masks_of_earlier_versions_have_no_checksum_and_stay_valid(store: Store) -> None:
    path = store.folder / "masks" / "m.safetensors"
    mask = {"fc.weight": torch.tensor([True, False])}
    write_atomically(path, safetensors.torch.save(mask))
    found = store.mask("m")
    assert found is not None
    assert torch.equal(found["fc.weight"], mask["fc.weight"])
    path.write_bytes(path.read_bytes()[:-1])
    assert store.mask("m") is None


def test_nothing_half_written_is_left_by_an_error(tmp_path: Path) -> None:
    def fail_half_way() -> None:
        with new_folder(tmp_path / "entry") as folder:
            (folder / "part").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    with pytest.raises(TypeError):
        write_atomically(tmp_path / "file", "text, not bytes")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_only_old_leftovers_are_removed(tmp_path: Path) -> None:
    old, new = tmp_path / "trainings" / f"{TEMPORARY}old", tmp_path / "masks" / f"{TEMPORARY}new"
    for leftover in (old, new):
        leftover.mkdir(parents=True)
    os.utime(old, (0, 0))
    remove_leftovers(tmp_path, older_than_seconds=60)
    assert not old.exists()
    assert new.exists()
