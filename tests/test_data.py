import gzip
import shutil
from pathlib import Path

import pytest
import torch

from study import data
from study.cell import Dataset
from study.data import mnist
from study.data.arrays import Arrays
from study.errors import StudyError

MNIST = Dataset(name="mnist")


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return data.load("mnist")


def test_mnist_is_complete_and_normalised(arrays: Arrays) -> None:
    assert arrays.training.inputs.shape == (60_000, 1, 28, 28)
    assert arrays.test.inputs.shape == (10_000, 1, 28, 28)
    assert arrays.training.inputs.shape[1:] == data.shape("mnist").inputs
    # Class counts as published for the data set.
    assert arrays.training.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert arrays.test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert arrays.training.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert abs(float(arrays.training.inputs.mean())) < 1e-3
    assert abs(float(arrays.training.inputs.std()) - 1) < 1e-3


def test_the_split_is_a_partition_chosen_by_the_seed(arrays: Arrays) -> None:
    first, again, other = (data.split(MNIST, seed) for seed in (0, 0, 1))
    assert len(first.training.unique()) == 55_000
    assert len(first.validation) == 5_000
    held_out = torch.ones(60_000, dtype=torch.bool)
    held_out[first.training] = False
    together = torch.cat([arrays.training.labels[held_out].bincount(), first.validation.labels.bincount()])
    assert together[:10].tolist() == together[10:].tolist()
    assert torch.equal(first.training, again.training)
    assert not torch.equal(first.training, other.training)


def test_scoring_examples_are_training_examples_of_the_seed() -> None:
    split = data.split(MNIST, 0)
    first, again, other = (data.Examples(split, seed).sample(64) for seed in (0, 0, 1))
    assert torch.equal(first.inputs, again.inputs)
    assert not torch.equal(first.inputs, other.inputs)
    smaller = data.Examples(split, 0).sample(10)
    assert torch.equal(smaller.inputs, first.inputs[:10])


def test_balanced_examples_have_as_many_of_each_class() -> None:
    batch = data.Examples(data.split(MNIST, 0), 0).balanced(7)
    assert batch.labels.bincount().tolist() == [7] * 10


def test_asking_for_more_examples_than_there_are_is_an_error() -> None:
    examples = data.Examples(data.split(MNIST, 0), 0)
    with pytest.raises(StudyError, match="ask for fewer"):
        examples.sample(55_001)
    with pytest.raises(StudyError, match="ask for fewer"):
        examples.balanced(6_000)


def test_holding_out_everything_is_an_error() -> None:
    with pytest.raises(StudyError, match="lower it"):
        data.split(Dataset(name="mnist", validation=60_000), 0)


@pytest.fixture
def copied_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mnist"
    shutil.copytree(mnist.FOLDER, folder)
    monkeypatch.setattr(mnist, "FOLDER", folder)
    return folder / "t10k-labels-idx1-ubyte.gz"


def test_a_truncated_file_is_named_with_the_way_to_restore_it(copied_mnist: Path) -> None:
    copied_mnist.write_bytes(copied_mnist.read_bytes()[:1000])
    with pytest.raises(StudyError, match=r"t10k-labels.*truncated or corrupt: restore it with `git checkout"):
        mnist.load()


def test_an_altered_file_is_found_by_its_checksum(copied_mnist: Path) -> None:
    content = bytearray(gzip.decompress(copied_mnist.read_bytes()))
    content[-1] ^= 1
    copied_mnist.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(StudyError, match="not the published file"):
        mnist.load()


def test_a_missing_file_is_named(copied_mnist: Path) -> None:
    copied_mnist.unlink()
    with pytest.raises(StudyError, match="is missing"):
        mnist.load()
