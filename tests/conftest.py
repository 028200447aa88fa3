"""What tests share: the command as users run it, and small trainings on the real data."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from omegaconf import OmegaConf

ROOT = Path(__file__).parent.parent
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
os.environ |= ONE_THREAD  # a process a core: threads of all of them would wait for each other
SHORT = ["recipe.iterations=12", "recipe.evaluate_every=5", "recipe.drops=[8]", "recipe.batch_size=50"]
"""A recipe that exercises the loop: an evaluation off the grid at the end, a drop, several batches."""

Command = Callable[..., subprocess.CompletedProcess[str]]


def environment() -> dict[str, str]:
    """The environment of a user without an account: no W&B settings of the developer's, no thread limit of tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "HYDRA")) and k not in ONE_THREAD}
    return kept | {"COLUMNS": "100"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "study.train", *arguments]


@pytest.fixture(scope="session")
def run_command() -> Command:
    """Run `python -m study.train` in the repository and return what it printed."""

    def run(*arguments: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        words = command(*map(str, arguments))
        return subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=timeout)

    return run


@pytest.fixture
def hydra() -> Iterator[None]:
    """The configurations of conf/, for Hydra's `compose`."""
    OmegaConf.register_new_resolver("cell_name", lambda: "cell", replace=True)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


@pytest.fixture
def copied_tree(tmp_path: Path) -> Path:
    """A copy of what the command needs, to be damaged or added to."""
    for part in ("study", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run_in(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command of a copied tree, with its outputs there."""
    words = command(*arguments, f"output={tree}/out", "wandb.mode=disabled")
    return subprocess.run(words, cwd=tree, env=environment(), capture_output=True, text=True, check=False)
