"""Leases: who is running a training now, for any number of processes on any number of nodes that share a folder.

leases/ID.N.json    lease number N on a training; the one with the highest number counts

No locks and no clocks of nodes: files are created exclusively, and ages are measured by the file system's own clock.
To take over a dead owner's lease N is to create lease N + 1, which one process can. So that a lease which was given
back and taken anew in the meantime is not taken over, the taker then looks whether lease N is still the one it judged.
"""

import json
import math
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Event, Thread

from study.files import TEMPORARY, create_atomically, json_bytes

HEARTBEAT_SECONDS = 10.0
EXPIRES_SECONDS = 60.0
PROBE_SECONDS = 1.0


class Leases:
    """The leases in one folder. An owner is alive where its process is, on this host; elsewhere by its heartbeat."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._probed, self._ahead = -math.inf, 0.0

    @contextmanager
    def lease(self, training: str) -> Iterator[bool]:
        """Try to be the one who runs a training, for as long as the block lasts; False where somebody else is."""
        number = self._take(training)
        if number is None:
            yield False
            return
        stop, path = Event(), self._path(training, number)

        def beat() -> None:
            while not stop.wait(HEARTBEAT_SECONDS):
                with suppress(OSError):
                    os.utime(path)

        Thread(target=beat, daemon=True).start()
        try:
            yield True
        finally:
            stop.set()
            for earlier in self._numbers(training):
                if earlier <= number:
                    self._path(training, earlier).unlink(missing_ok=True)

    def is_leased(self, training: str) -> bool:
        """Whether a living process runs a training."""
        numbers = self._numbers(training)
        return bool(numbers) and self._is_alive(self._path(training, numbers[-1]))

    def _take(self, training: str) -> int | None:
        """The number of the lease that is ours now, or None."""
        before = self._numbers(training)
        judged = self._content(training, before[-1]) if before else None
        if before and (judged is None or self._is_alive(self._path(training, before[-1]))):
            return None  # where it was given back just now, others may have leased anew
        number = before[-1] + 1 if before else 0
        owner = {"host": host(), "process": os.getpid(), "started": _started(os.getpid()), "token": uuid.uuid4().hex}
        if not create_atomically(self._path(training, number), json_bytes(owner)):
            return None
        still = self._content(training, before[-1]) if before else None
        if still == judged and self._numbers(training)[-1] == number:
            return number
        self._path(training, number).unlink(missing_ok=True)
        return None

    def _is_alive(self, path: Path) -> bool:
        try:
            owner = json.loads(path.read_bytes())
            if owner["host"] == host():
                return bool(_started(owner["process"]) == owner["started"])
        except FileNotFoundError:
            return False
        except (ValueError, KeyError, TypeError):
            pass  # damaged, or not yet written: where links are missing, a lease is created before it has content
        try:
            age = self._now() - path.stat().st_mtime
            if age < -HEARTBEAT_SECONDS:
                os.utime(path)  # a clock was set back: the heartbeat would stay in the future for long
        except FileNotFoundError:
            return False
        return age < EXPIRES_SECONDS

    def _now(self) -> float:
        """The time by the file system's clock, asked by touching a file now and then."""
        if time.monotonic() - self._probed > PROBE_SECONDS:
            probe = self._folder / f"{TEMPORARY}{uuid.uuid4().hex}"
            try:
                probe.touch()
                self._probed = time.monotonic()
                self._ahead = probe.stat().st_mtime - self._probed
            finally:
                probe.unlink(missing_ok=True)
        return time.monotonic() + self._ahead

    def _content(self, training: str, number: int) -> bytes | None:
        try:
            return self._path(training, number).read_bytes()
        except FileNotFoundError:
            return None

    def _numbers(self, training: str) -> list[int]:
        return sorted(int(path.name.split(".")[1]) for path in self._folder.glob(f"{training}.*.json"))

    def _path(self, training: str, number: int) -> Path:
        return self._folder / f"{training}.{number}.json"


@cache
def host() -> str:
    """This host, in a form that tells it from others of the same name, and from itself after it was started anew."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _started(process: int) -> str | None:
    """When a process of this host started, in a form that tells it from a later one of the same number; None if dead.

    Outside Linux only whether it lives is known.
    """
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return "alive"
    fields = status.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]
