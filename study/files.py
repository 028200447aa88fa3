"""Writing files so that they are there whole or not at all."""

import errno
import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from study.errors import StudyError

TEMPORARY = ".tmp-"
SET_ASIDE_MOST = 9
NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK}

log = logging.getLogger(__name__)


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside `path`, then rename: readers see the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def create_atomically(path: Path, content: bytes) -> bool:
    """Create `path` with its content; False, and nothing done, where it exists.

    Where the file system has no links, others may for a moment find it without content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    try:
        temporary.write_bytes(content)
        os.link(temporary, path)
        return True
    except FileExistsError:
        return temporary.stat().st_nlink == 2  # over NFS, a link that was made may be reported as there already
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _create_exclusively(path, content)
    finally:
        temporary.unlink(missing_ok=True)


def _create_exclusively(path: Path, content: bytes) -> bool:
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well. Where `path` exists already, it stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    temporary.mkdir()
    try:
        yield temporary
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def set_aside(path: Path) -> None:
    """Rename a damaged file or folder to NAME.damaged-1, -2 and so on beside it, and say so.

    Raises StudyError where one was damaged again and again.
    """
    others = (path.with_name(f"{path.name}.damaged-{number}") for number in range(1, SET_ASIDE_MOST + 1))
    aside = next((other for other in others if not other.exists()), None)
    if aside is None:
        raise StudyError(
            f"{path} was damaged {SET_ASIDE_MOST} times: check the disk, then delete {path.name}.damaged-*"
        )
    with suppress(FileNotFoundError):  # somebody else was first
        path.rename(aside)
        log.warning("%s is damaged: set aside as %s, to be made anew", path, aside.name)


def remove_leftovers(folder: Path, older_than_seconds: float) -> None:
    """Remove temporary files and folders that killed processes left, once nobody can be writing them any more."""
    for leftover in folder.glob(f"*/{TEMPORARY}*"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > older_than_seconds:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def json_bytes(content: Any) -> bytes:
    """JSON for people: one key a line, lists of numbers on one line. NaN is refused."""
    return (_layout(content, "") + "\n").encode()


def checksum(content: Any) -> str:
    """SHA-256 of a JSON value, independent of layout and of the order of keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _layout(content: Any, indent: str) -> str:
    deeper = indent + "  "
    if isinstance(content, dict) and content:
        lines = [f"{deeper}{json.dumps(key)}: {_layout(value, deeper)}" for key, value in content.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(content, list) and any(isinstance(item, dict | list) for item in content):
        return "[\n" + ",\n".join(deeper + _layout(item, deeper) for item in content) + f"\n{indent}]"
    return json.dumps(content, allow_nan=False)
