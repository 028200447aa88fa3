"""Batches as the sparse engine takes them: the examples asked for, whatever the batch before has left behind."""

import numpy as np
import pytest
import torch

from study.data.arrays import Part
from study.training.engines.reader import Reader
from study.training.engines.transpose import transpose

GENERATOR = torch.Generator().manual_seed(0)
WIDTH = 64


def part(*shape: int) -> Part:
    pixels = torch.randint(256, (100, *shape), dtype=torch.uint8, generator=GENERATOR)
    return Part(pixels, torch.arange(100), (0.5,) * shape[0], (0.25,) * shape[0])


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 5, 5)])
@pytest.mark.parametrize("as_pixels", [True, False])
@pytest.mark.parametrize("count", [0, 1, 8, 60, 64])
def test_a_batch_is_its_examples_side_by_side(shape: tuple[int, ...], as_pixels: bool, count: int) -> None:
    examples = part(*shape)
    reader = Reader(examples, WIDTH, "float32", as_pixels)
    reader.read(torch.arange(WIDTH))
    indices = torch.randperm(100, generator=GENERATOR)[:count]
    x, labels = reader.read(indices)
    wanted = examples.inputs[indices] if as_pixels else examples.batch(indices, indices.device).inputs
    assert labels.tolist() == indices.tolist()
    assert np.array_equal(x[..., :count], wanted.movedim(0, -1).numpy())


def test_pixels_that_nobody_uses_may_be_left_out() -> None:
    examples = part(1, 28, 28)
    used = np.array([3, 17, 18, 783])
    x, _ = Reader(examples, WIDTH, "float32", True, used).read(torch.arange(WIDTH))
    assert np.array_equal(x.reshape(784, WIDTH)[used], examples.inputs[torch.arange(WIDTH)].flatten(1).T.numpy()[used])
    assert x.reshape(784, WIDTH).any(axis=1).sum() == 3 * 8  # of 3 words


@pytest.mark.parametrize("width", [16, 64, 448])
def test_batches_that_are_kept_are_not_overwritten(width: int) -> None:
    """One by one they are copied out; the last is not full."""
    examples = part(1, 28, 28)
    batches = list(Reader(examples, width, "float32", True).batches(torch.arange(100)))
    whole = np.concatenate([x[..., : len(labels)] for x, labels in batches], axis=-1)
    assert np.array_equal(whole, examples.inputs[torch.arange(100)].movedim(0, -1).numpy())
    assert all(x.ctypes.data % 64 == 0 for x, _ in batches)


def test_words_of_rows_far_apart_are_transposed() -> None:
    """Against numpy, from a large array, rows in any order and twice."""
    images = np.random.default_rng(0).integers(0, 256, (70_000, 24), np.uint8)
    indices, x = np.array([69_999, 0, 5, 5, 31_000]), np.zeros((24, 8), np.uint8)
    transpose(images.view(np.uint64), indices, np.array([2, 0]), x.view(np.uint64))
    assert np.array_equal(x[:, :5][[*range(8), *range(16, 24)]], images[indices].T[[*range(8), *range(16, 24)]])
    assert not x[8:16].any()
