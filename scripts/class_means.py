"""The mean input of each class of MNIST and Fashion-MNIST, for results/reference: python -m scripts.class_means.

Inputs are standardised, as networks take them. An array a data set, (classes, height, width), float32.
"""

import numpy as np
import torch

from study.analysis.likeness import MEANS
from study.data import CPU, load

DATASETS = ("mnist", "fashion_mnist")


def class_means(dataset: str) -> torch.Tensor:
    """Over the whole training set, validation included."""
    part = load(dataset).training
    inputs = part.batch(torch.arange(len(part)), CPU).inputs[:, 0]
    return torch.stack([inputs[part.labels == label].double().mean(dim=0).float() for label in part.labels.unique()])


if __name__ == "__main__":
    np.savez_compressed(MEANS, allow_pickle=False, **{name: class_means(name).numpy() for name in DATASETS})
