"""With what a result was made: code, libraries, machine."""

import os
import platform
import subprocess
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

LIBRARIES = ("torch", "numpy", "hydra-core", "omegaconf", "pydantic", "safetensors", "wandb")


@cache
def versions() -> dict[str, str]:
    """Python's version and those of the libraries that take part in a training."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@cache
def git() -> dict[str, Any]:
    """The commit and whether tracked files differ from it; None and None outside a git checkout."""

    def run(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": run("rev-parse", "HEAD"), "dirty": bool(run("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


@cache
def hardware(device: str) -> dict[str, Any]:
    """The machine, without its name or address."""
    described: dict[str, Any] = {"device": device, "system": platform.system(), "machine": platform.machine()}
    described |= {"cpu": _cpu_name(), "cores": os.cpu_count()}
    if device.startswith("cuda"):
        described["gpu"] = torch.cuda.get_device_name(device)
    return described


def _cpu_name() -> str:
    """The processor's name. Where Linux tells its family, model and stepping, these too: virtual machines may call
    unlike processors by one name."""
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        first = ""
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    name = told.get("model name") or platform.processor() or "unknown"
    numbers = {"family": "cpu family", "model": "model", "stepping": "stepping"}
    exactly = ", ".join(f"{label} {told[key]}" for label, key in numbers.items() if key in told)
    return f"{name} ({exactly})" if exactly else name
