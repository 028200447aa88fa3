import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from study import store as store_module
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


def test_a_claim_holds_while_its_owner_lives(store: Store) -> None:
    with store.claim("a") as mine:
        assert mine
        assert store.is_claimed("a")
        with store.claim("a") as second:
            assert not second
        assert store.is_claimed("a")
    assert not store.is_claimed("a")


def test_a_dead_owners_claim_is_void(store: Store) -> None:
    code = (
        "import sys, time; from pathlib import Path; from study.store import Store\n"
        "with Store(Path(sys.argv[1])).claim('a') as mine: print(mine, flush=True); time.sleep(60)"
    )
    root = Path(__file__).parent.parent
    owner = subprocess.Popen([sys.executable, "-c", code, store.folder], cwd=root, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "True\n"
    assert store.is_claimed("a")
    with store.claim("a") as mine:
        assert not mine
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert not store.is_claimed("a")
    with store.claim("a") as mine:
        assert mine


def test_a_later_process_with_the_same_number_is_not_the_owner(store: Store) -> None:
    claim = {"host": os.uname().nodename, "process": os.getpid(), "started": "long ago"}
    write_atomically(store.folder / "claims" / "a.json", json.dumps(claim).encode())
    assert not store.is_claimed("a")


def test_another_hosts_claim_expires_with_its_heartbeat(store: Store) -> None:
    path = store.folder / "claims" / "a.json"
    write_atomically(path, json.dumps({"host": "another", "process": 1, "started": "1"}).encode())
    assert store.is_claimed("a")
    past = time.time() - 2 * store_module.CLAIM_EXPIRES_SECONDS
    os.utime(path, (past, past))
    assert not store.is_claimed("a")


def _claim(folder: Path, barrier: object, results: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    with Store(folder).claim("a") as mine:
        results.put(mine)  # type: ignore[attr-defined]
        time.sleep(1.0)


def test_of_many_that_claim_at_once_one_gets_it(store: Store) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(8), context.Queue()
    for _ in range(8):
        context.Process(target=_claim, args=(store.folder, barrier, results)).start()
    assert sorted(results.get() for _ in range(8)) == [False] * 7 + [True]
    assert not any(p.name.startswith(TEMPORARY) for p in (store.folder / "claims").iterdir())
