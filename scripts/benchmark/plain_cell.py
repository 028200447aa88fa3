"""The baseline of the benchmark `sweep`: one cell as one process, written the plain way for speed.

python -m scripts.benchmark.plain_cell method=snip sparsity=0.9 seed=0 hydra.run.dir=FOLDER

Configuration, data, network, mask and W&B's settings are those of the study; images are normalised once and lie in
memory, the optimiser is fused, evaluation is in large batches.
"""

import inspect
import os
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import hydra
import torch
import wandb
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from study import data, methods, models
from study.cell import Dataset, Model, Recipe
from study.data import Examples
from study.methods.masks import keep_top, kept_count
from study.models import prunable

EVALUATED_AT_ONCE = 1000


@hydra.main(version_base="1.3", config_path="../../conf", config_name="config")
def main(configuration: DictConfig) -> None:
    """Train a cell and log it."""
    torch.set_num_threads(1)
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True, x_save_requirements=False)
    folder = Path(HydraConfig.get().runtime.output_dir)
    content: Any = OmegaConf.to_container(configuration, resolve=True)
    with wandb.init(
        project=configuration.wandb.project, config=content, mode="offline", dir=folder, settings=settings
    ) as log:
        train(content, log)


def train(cell: dict[str, Any], log: wandb.Run) -> None:
    """Train the cell's network under its mask, which is applied after every step."""
    recipe, dataset, seed = Recipe(**cell["recipe"]), Dataset(**cell["dataset"]), cell["seed"]
    split, shape = data.split(dataset, seed), data.shape(dataset.name)
    network = models.build(Model(**cell["model"]), shape.inputs, shape.classes, seed)
    weights = prunable(network)
    masks = mask_of(cell, network, Examples(split, seed))
    everything, test = split.arrays.training, split.arrays.test
    whole = everything.batch(torch.arange(len(everything)), data.CPU)
    inputs, labels = whole.inputs[split.training], whole.labels[split.training]
    validation = whole.inputs[split.validation], whole.labels[split.validation]
    tested = test.batch(torch.arange(len(test)), data.CPU)

    def apply_masks() -> None:
        with torch.no_grad():
            for name, weight in weights.items():
                weight.mul_(masks[name])

    optimizer = torch.optim.Adam(network.parameters(), recipe.learning_rate, fused=True)
    apply_masks()
    left = torch.randperm(len(inputs))
    for iteration in range(recipe.iterations + 1):
        if iteration % recipe.evaluate_every == 0 or iteration == recipe.iterations:
            log.log(evaluate(network, "validation", *validation), step=iteration)
            log.log(evaluate(network, "test", tested.inputs, tested.labels), step=iteration)
        if len(left) < recipe.batch_size:
            left = torch.randperm(len(inputs))
        batch, left = left[: recipe.batch_size], left[recipe.batch_size :]
        loss = cross_entropy(network(inputs[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        apply_masks()


def mask_of(cell: dict[str, Any], network: nn.Module, examples: Examples) -> dict[str, Tensor]:
    """The mask that the cell's method finds at initialisation, as numbers."""
    weights = {name: weight.detach() for name, weight in prunable(network).items()}
    layers = {name: list(weight.shape) for name, weight in weights.items()}
    if cell["method"]["name"] == "magnitude_at_init":
        kept = kept_count(sum(weight.numel() for weight in weights.values()), cell["sparsity"])
        return {name: mask.float() for name, mask in keep_top({n: w.abs() for n, w in weights.items()}, kept).items()}
    method = inspect.unwrap(methods.load(cell["method"]["name"]))
    handles = {"network": network, "examples": examples, "layers": layers, **cell, **cell["method"]}
    found = method(**{name: handles[name] for name in inspect.signature(method).parameters if name in handles})
    return {name: mask.float() for name, mask in found.items()}


@torch.inference_mode()
def evaluate(network: nn.Module, name: str, inputs: Tensor, labels: Tensor) -> dict[str, float]:
    """Loss and accuracy."""
    outputs = torch.cat([network(part) for part in inputs.split(EVALUATED_AT_ONCE)])
    accuracy = (outputs.argmax(1) == labels).float().mean()
    return {f"{name}_loss": cross_entropy(outputs, labels).item(), f"{name}_accuracy": accuracy.item()}


if __name__ == "__main__":
    OmegaConf.register_new_resolver("cell_name", lambda: "cell")
    main()
