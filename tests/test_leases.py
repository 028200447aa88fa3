"""Leases under races, deaths, clocks that jump and file systems without links."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from study import leases as module
from study.files import TEMPORARY, write_atomically
from study.leases import EXPIRES_SECONDS, Leases
from tests.conftest import ROOT

EXPIRED = 2 * EXPIRES_SECONDS


@pytest.fixture
def leases(tmp_path: Path) -> Leases:
    return Leases(tmp_path)


def foreign(folder: Path, number: int, age: float = 0.0, content: bytes | None = None) -> Path:
    """A lease of another host whose last heartbeat is some seconds old."""
    path = folder / f"a.{number}.json"
    owner = {"host": "another", "process": 1, "started": "1", "token": "x"}
    write_atomically(path, json.dumps(owner).encode() if content is None else content)
    set_back(path, age)
    return path


def set_back(path: Path, age: float) -> None:
    moment = time.time() - age
    os.utime(path, (moment, moment))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_lease_holds_while_its_owner_lives(leases: Leases, tmp_path: Path) -> None:
    with leases.lease("a") as mine:
        assert mine
        assert leases.is_leased("a")
        assert not leases.is_leased("b")
        with leases.lease("a") as second:
            assert not second
        assert leases.is_leased("a")
    assert not leases.is_leased("a")
    assert names(tmp_path) == []


def test_a_dead_owners_lease_is_void(leases: Leases, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from study.leases import Leases\n"
        "with Leases(Path(sys.argv[1])).lease('a') as mine: print(mine, flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "True\n"
    assert leases.is_leased("a")
    with leases.lease("a") as mine:
        assert not mine
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert not leases.is_leased("a")
    with leases.lease("a") as mine:
        assert mine
        assert names(tmp_path) == ["a.0.json", "a.1.json"]
    assert names(tmp_path) == []


def test_a_later_process_with_the_same_number_is_not_the_owner(leases: Leases, tmp_path: Path) -> None:
    owner = {"host": module.host(), "process": os.getpid(), "started": "long ago", "token": "x"}
    foreign(tmp_path, 0, content=json.dumps(owner).encode())
    assert not leases.is_leased("a")


def test_another_hosts_lease_expires_with_its_heartbeat(leases: Leases, tmp_path: Path) -> None:
    path = foreign(tmp_path, 0, age=EXPIRES_SECONDS / 2)
    assert leases.is_leased("a")
    set_back(path, EXPIRED)
    assert not leases.is_leased("a")
    with leases.lease("a") as mine:
        assert mine
    assert names(tmp_path) == []


def test_a_host_of_the_same_name_that_is_another_is_judged_by_heartbeat(
    leases: Leases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Containers may share a name; their process numbers mean nothing to each other."""
    with leases.lease("a") as mine:
        assert mine
        monkeypatch.setattr(module, "host", lambda: "the same name, another boot")
        monkeypatch.setattr(module, "_started", lambda process: None)
        assert leases.is_leased("a")
        set_back(tmp_path / "a.0.json", EXPIRED)
        assert not leases.is_leased("a")


@pytest.mark.parametrize("error", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_links_a_lease_is_created_exclusively(
    leases: Leases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def link(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "link", link)
    with leases.lease("a") as mine:
        assert mine
        with leases.lease("a") as second:
            assert not second
    assert names(tmp_path) == []
    foreign(tmp_path, 0, content=b"")  # created, not yet written
    assert leases.is_leased("a")
    foreign(tmp_path, 0, content=b'{"host": 1}')  # damaged
    assert leases.is_leased("a")
    foreign(tmp_path, 0, content=b"", age=EXPIRED)  # its creator died before it could write
    assert not leases.is_leased("a")


def test_a_link_that_was_made_but_reported_as_there_already_counts(
    leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def repeated(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", repeated)
    with leases.lease("a") as mine:
        assert mine


def test_ages_are_measured_by_the_file_systems_clock(leases: Leases, tmp_path: Path, monkeypatch: Any) -> None:
    foreign(tmp_path, 0, age=EXPIRES_SECONDS / 2)
    for wrong in (-1e6, 1e6):
        monkeypatch.setattr(time, "time", lambda wrong=wrong: wrong)
        assert leases.is_leased("a")


def test_a_heartbeat_from_the_future_expires_all_the_same(leases: Leases, tmp_path: Path) -> None:
    path = foreign(tmp_path, 0, age=-1e6)
    assert leases.is_leased("a")
    assert path.stat().st_mtime < time.time() + EXPIRES_SECONDS
    set_back(path, EXPIRED)
    assert not leases.is_leased("a")


def test_the_heartbeat_keeps_a_lease_alive_and_does_not_bring_one_back(
    leases: Leases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.01)
    path = tmp_path / "a.0.json"
    with leases.lease("a"):
        set_back(path, EXPIRED)
        deadline = time.monotonic() + 10
        while path.stat().st_mtime < time.time() - EXPIRES_SECONDS and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > time.time() - EXPIRES_SECONDS
        path.unlink()
        time.sleep(0.1)
        assert not path.exists()


@contextmanager
def after_judging(monkeypatch: pytest.MonkeyPatch, happens: Any) -> Iterator[None]:
    """Something happens between a taker's look at a lease and its own lease."""
    judge = Leases._is_alive

    def slow(self: Leases, path: Path) -> bool:
        alive = judge(self, path)
        monkeypatch.setattr(Leases, "_is_alive", judge)
        happens()
        return alive

    monkeypatch.setattr(Leases, "_is_alive", slow)
    yield


def test_of_two_takers_of_an_expired_lease_the_second_gets_nothing(
    leases: Leases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign(tmp_path, 0, age=EXPIRED)
    other = Leases(tmp_path).lease("a")
    with after_judging(monkeypatch, lambda: other.__enter__()), leases.lease("a") as mine:
        assert not mine
    assert leases.is_leased("a")
    other.__exit__(None, None, None)
    assert names(tmp_path) == []


def test_a_lease_given_back_and_taken_anew_in_the_meantime_is_not_taken_over(
    leases: Leases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired, other = foreign(tmp_path, 0, age=EXPIRED), Leases(tmp_path).lease("a")

    def meantime() -> None:
        expired.unlink()
        assert other.__enter__()

    with after_judging(monkeypatch, meantime), leases.lease("a") as mine:
        assert not mine
    assert names(tmp_path) == ["a.0.json"]
    assert leases.is_leased("a")
    other.__exit__(None, None, None)


def test_a_lease_given_back_before_it_was_read_is_not_superseded(
    leases: Leases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its successor would stand beside a lease that was made anew from number 0."""
    given_back, other = foreign(tmp_path, 4), Leases(tmp_path).lease("a")
    numbers = Leases._numbers

    def slow(self: Leases, training: str) -> list[int]:
        found = numbers(self, training)
        monkeypatch.setattr(Leases, "_numbers", numbers)
        given_back.unlink()
        assert other.__enter__()
        return found

    monkeypatch.setattr(Leases, "_numbers", slow)
    with leases.lease("a") as mine:
        assert not mine
    assert names(tmp_path) == ["a.0.json"]
    other.__exit__(None, None, None)


def _compete(folder: Path, barrier: Any, results: Any, as_host: str) -> None:
    """Lease again and again; while it is ours, nobody else may be in the same place."""
    module.host = lambda: as_host  # type: ignore[assignment]
    held = 0
    barrier.wait()
    for _ in range(60):
        with Leases(folder / "leases").lease("a") as mine:
            if mine:
                held += 1
                (folder / "inside").mkdir()  # raises where somebody else is inside
                time.sleep(0.001)
                (folder / "inside").rmdir()
        time.sleep(0.001)
    results.put(held)


@pytest.mark.parametrize("start", ["nothing", "expired"])
def test_many_processes_of_several_hosts_are_never_two_at_once(start: str, tmp_path: Path) -> None:
    (tmp_path / "leases").mkdir()
    if start == "expired":
        foreign(tmp_path / "leases", 3, age=EXPIRED)
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(8), context.Queue()
    work = [context.Process(target=_compete, args=(tmp_path, barrier, results, f"host {n % 3}")) for n in range(8)]
    for process in work:
        process.start()
    held = [results.get(timeout=60) for _ in work]
    for process in work:
        process.join()
    assert [process.exitcode for process in work] == [0] * 8
    assert sum(held) > 8
    assert not [name for name in names(tmp_path / "leases") if not name.startswith(TEMPORARY)]


def _lease(folder: Path, barrier: Any, results: Any, release: Any) -> None:
    barrier.wait()
    with Leases(folder).lease("a") as mine:
        results.put(mine)
        release.wait()


@pytest.mark.parametrize("start", ["nothing", "expired"])
def test_of_many_that_lease_at_once_one_gets_it(start: str, tmp_path: Path) -> None:
    if start == "expired":
        foreign(tmp_path, 0, age=EXPIRED)
    context = multiprocessing.get_context("fork")
    barrier, results, release = context.Barrier(8), context.Queue(), context.Event()
    work = [context.Process(target=_lease, args=(tmp_path, barrier, results, release)) for _ in range(8)]
    for process in work:
        process.start()
    assert sorted(results.get(timeout=60) for _ in work) == [False] * 7 + [True]
    release.set()
    for process in work:
        process.join()
    assert names(tmp_path) == []
