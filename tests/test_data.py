import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from study import data
from study.cell import Dataset
from study.data import mnist
from study.data.arrays import Arrays, Part
from study.errors import StudyError

MNIST = Dataset(name="mnist")


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return data.load("mnist")


CPU = torch.device("cpu")


def test_mnist_is_complete(arrays: Arrays) -> None:
    assert arrays.training.inputs.shape == (60_000, 1, 28, 28)
    assert arrays.test.inputs.shape == (10_000, 1, 28, 28)
    assert arrays.training.inputs.shape[1:] == data.shape("mnist").inputs
    # Class counts as published for the data set.
    assert arrays.training.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert arrays.test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert arrays.training.labels[:5].tolist() == [5, 0, 4, 1, 9]


def test_batches_of_mnist_are_normalised_as_published(arrays: Arrays) -> None:
    indices = torch.arange(59_999, 0, -7)
    batch = arrays.training.batch(indices, CPU)
    assert isinstance(arrays.training.inputs, torch.Tensor)
    pixels = arrays.training.inputs[indices]
    assert torch.equal(batch.inputs, pixels.float().div(255).sub(0.1307).div(0.3081))
    assert torch.equal(batch.labels, arrays.training.labels[indices])
    assert abs(float(batch.inputs.mean())) < 1e-2
    assert abs(float(batch.inputs.std()) - 1) < 1e-2


def test_each_channel_is_normalised_by_its_own_mean_and_deviation() -> None:
    pixels = torch.tensor([51, 255], dtype=torch.uint8).view(1, 2, 1, 1).expand(3, 2, 4, 4)  # 0.2 and 1
    part = Part(pixels, torch.arange(3), mean=(0.1, 0.5), std=(0.2, 0.25))
    expected = torch.tensor([0.5, 2.0]).view(2, 1, 1).expand(1, 2, 4, 4)
    torch.testing.assert_close(part.batch(torch.tensor([1]), CPU).inputs, expected)
    torch.testing.assert_close(part.black(), torch.tensor([-0.5, -2.0]).view(2, 1, 1))


def test_floating_point_inputs_are_taken_as_they_are() -> None:
    part = Part(torch.randn(5, 3, dtype=torch.float64), torch.arange(5), mean=(0.5,), std=(0.5,))
    assert torch.equal(part.batch(torch.tensor([4, 0]), CPU).inputs, part.inputs[torch.tensor([4, 0])])


@pytest.mark.parametrize("kept_bytes", [0, 2**30])
def test_batches_can_be_gone_through_again_whether_kept_or_not(
    arrays: Arrays, kept_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.data.arrays.KEPT_BYTES", kept_bytes)
    indices = torch.arange(100, 0, -1)
    batches = arrays.test.batches(indices, 30, CPU)
    assert isinstance(batches, list) == bool(kept_bytes)
    for _ in range(2):
        assert [len(batch.labels) for batch in batches] == [30, 30, 30, 10]
        together = torch.cat([batch.inputs for batch in batches])
        assert torch.equal(together, arrays.test.batch(indices, CPU).inputs)


def test_unknown_data_sets_are_named_with_the_known_ones() -> None:
    for name in ("cifar", "arrays", "image_folder"):
        with pytest.raises(StudyError, match=f"{name} is not known: choose from mnist, .*cifar10"):
            data.shape(name)


def test_ids_depend_on_the_size_only_where_there_is_one() -> None:
    assert MNIST.identity() == {"name": "mnist"}
    assert Dataset(name="flowers", size=64).identity() == {"name": "flowers", "size": 64}
    with pytest.raises(ValueError, match="put or link a folder"):
        Dataset(name="/tmp/flowers", size=64)


def test_the_split_is_a_partition_chosen_by_the_seed() -> None:
    first, again, other = (data.split(MNIST, seed) for seed in (0, 0, 1))
    assert len(first.training.unique()) == 55_000
    assert len(first.validation) == 5_000
    assert torch.equal(torch.cat([first.training, first.validation]).sort().values, torch.arange(60_000))
    assert torch.equal(first.training, again.training)
    assert torch.equal(first.validation, again.validation)
    assert not torch.equal(first.training, other.training)


def test_scoring_examples_are_training_examples_of_the_seed() -> None:
    split = data.split(MNIST, 0)
    first, again, other = (data.Examples(split, seed).sample(64) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert set(first.tolist()) <= set(split.training.tolist())
    assert torch.equal(data.Examples(split, 0).sample(10), first[:10])


def test_balanced_examples_have_as_many_of_each_class() -> None:
    examples = data.Examples(data.split(MNIST, 0), 0)
    batch = examples.batch(examples.balanced(7))
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


@pytest.fixture
def forgotten() -> Iterator[None]:
    """What was loaded is loaded anew, before and after."""
    data.load.cache_clear()
    yield
    data.load.cache_clear()


def test_a_data_set_is_decoded_once_and_mapped_by_whoever_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: None, arrays: Arrays
) -> None:
    monkeypatch.setenv("PRUNING_STUDY_DATA", str(tmp_path))
    data.load("mnist")
    (cached,) = (tmp_path / "cache").iterdir()
    data.load.cache_clear()
    monkeypatch.setattr(mnist, "FOLDER", tmp_path / "gone")
    again = data.load("mnist")
    assert str(cached) in Path("/proc/self/maps").read_text()
    for part, expected in ((again.training, arrays.training), (again.test, arrays.test)):
        assert isinstance(part.inputs, torch.Tensor)
        assert isinstance(expected.inputs, torch.Tensor)
        assert torch.equal(part.inputs, expected.inputs)
        assert torch.equal(part.labels, expected.labels)
        assert (part.mean, part.std) == (expected.mean, expected.std)


def test_a_damaged_cache_of_a_data_set_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: None, arrays: Arrays
) -> None:
    monkeypatch.setenv("PRUNING_STUDY_DATA", str(tmp_path))
    data.load("mnist")
    (cached,) = (tmp_path / "cache").iterdir()
    content = bytearray(cached.read_bytes())
    content[-1000] ^= 1
    cached.write_bytes(content)
    data.load.cache_clear()
    again = data.load("mnist")
    assert torch.equal(torch.as_tensor(again.training.inputs), torch.as_tensor(arrays.training.inputs))
    assert torch.equal(torch.as_tensor(again.test.inputs), torch.as_tensor(arrays.test.inputs))
    content[-1000] ^= 1
    assert cached.read_bytes() == content


def test_a_data_set_loads_where_its_cache_cannot_be_written(monkeypatch: pytest.MonkeyPatch, forgotten: None) -> None:
    monkeypatch.setenv("PRUNING_STUDY_DATA", "/dev/null/data")
    assert len(data.load("mnist").test) == 10_000
