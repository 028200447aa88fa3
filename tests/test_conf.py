"""Every configuration file composes to valid cells, and composing many jobs fast equals Hydra's own composing."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from study import config
from study.compose import Composer
from study.errors import StudyError

CONF = Path(__file__).parent.parent / "conf"


pytestmark = pytest.mark.usefixtures("hydra")


def composed(*overrides: str) -> DictConfig:
    return compose("config", overrides=list(overrides), return_hydra_config=True)


@pytest.mark.parametrize("group", ["method", "control", "model", "dataset", "recipe", "cluster"])
def test_every_choice_is_valid(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)  # cluster=local_gpus is of machines that have some
    for path in (CONF / group).glob("*.yaml"):
        config.read(composed(f"{group}={path.stem}"))


def test_the_quickstart_is_what_the_readme_says() -> None:
    params = composed("experiment=quickstart").hydra.sweeper.params
    assert set(params.method.split(",")) == {"dense", "random", "magnitude", "snip", "grasp", "lottery_ticket"}
    assert len(params.sparsity.split(",")) >= 4
    assert params.seed == "0,1,2"


@pytest.mark.parametrize(
    "overrides",
    [
        ["method=grasp", "sparsity=0.95", "seed=3"],
        ["experiment=quickstart", "recipe.iterations=7", "seed=0"],
        ["method.scoring_examples=10", "recipe.drops=[5,6]", "name=other"],
        ["seed=1", "recipe=quickstart", "+hydra.job.env_set.X=y", "output=/tmp/a b"],
        ["name=of_${seed}", "seed=2"],
        ["recipe={iterations:7,drops:[5]}", "method.scoring_examples=10", "cluster.device=null"],
    ],
)
def test_composing_by_parts_equals_hydras_composing(overrides: list[str]) -> None:
    sweep = composed()
    HydraConfig.instance().set_config(sweep)
    loader = GlobalHydra.instance().config_loader()
    ours = Composer(loader, sweep).compose(overrides, 3)
    theirs = loader.load_sweep_config(sweep, overrides)
    for key in theirs:
        if key != "hydra":
            assert ours[key] == theirs[key], key
    assert list(ours.hydra.overrides.task) == list(theirs.hydra.overrides.task)
    assert (ours.hydra.job.id, ours.hydra.job.num) == ("3", 3)
    assert Composer(loader, sweep).cell(overrides) == config.read(theirs)


@pytest.mark.parametrize("override", ["sparsty=0.5", "recipe.iteration=7", "sparsity.x=1"])
def test_an_unknown_setting_is_an_error(override: str) -> None:
    sweep = composed()
    with pytest.raises(StudyError, match="not known"):
        Composer(GlobalHydra.instance().config_loader(), sweep).cell([override])


@pytest.mark.parametrize("module", ["hydra_plugins.study", "study.train", "study.analysis.__main__"])
def test_what_must_start_fast_imports_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=CONF.parent, check=False).returncode == 0
