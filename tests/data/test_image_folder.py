"""Folders of images: classes, pixels, the shared cache, streaming, faults."""

import json
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from study import data
from study.data.arrays import Part, Shape
from study.data.encoded import Encoded, mapped
from study.data.image_folder import load, shape
from study.errors import StudyError
from tests.conftest import ROOT, command, environment


def noise(seed: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes, three images each to train on and two to test; PNG, so that pixels are exact."""
    monkeypatch.setenv("PRUNING_STUDY_DATA", str(tmp_path / "data"))
    root = tmp_path / "data" / "pets"
    for label, name in enumerate(["dog", "cat"]):
        for part, count in (("train", 3), ("test", 2)):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(noise(10 * label + i)).save(root / part / name / f"{i}.png")
    (root / "train" / "README.txt").write_text("not a class")
    (root / "train" / "dog" / "notes.txt").write_text("not an image")
    return root


def pixels(part: Part) -> torch.Tensor:
    return part.inputs[torch.arange(len(part))]


def test_images_come_by_class_in_order_with_their_pixels(pets: Path) -> None:
    arrays = load("pets", 8)
    assert shape("pets", 8) == data.shape("pets", 8) == Shape(torch.Size([3, 8, 8]), classes=2)
    assert arrays.training.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert arrays.test.labels.tolist() == [0, 0, 1, 1]
    expected = np.stack([noise(seed).transpose(2, 0, 1) for seed in (10, 11, 12, 0, 1, 2)])  # cat, dog
    assert pixels(arrays.training).numpy().tolist() == expected.tolist()


def test_the_shorter_side_is_resized_and_the_centre_cut_out(pets: Path) -> None:
    wide = np.zeros((4, 12, 3), dtype=np.uint8)
    wide[:, 4:8] = [10, 20, 30]
    wide[:, :4] = wide[:, 8:] = 255
    Image.fromarray(wide).resize((24, 8), Image.Resampling.NEAREST).save(pets / "test" / "cat" / "wide.png")
    image = load("pets", 4).test.inputs[torch.tensor([2])]
    assert image.shape == (1, 3, 4, 4)
    inner = image[0, :, :, 1:3]
    assert inner.flatten(1).unique(dim=1).flatten().tolist() == [10, 20, 30]


def test_grey_and_transparent_images_become_rgb(pets: Path) -> None:
    Image.new("L", (8, 8), 77).save(pets / "test" / "cat" / "2.jpg", quality=100)
    Image.new("RGBA", (8, 8), (1, 2, 3, 128)).save(pets / "test" / "cat" / "3.PNG")
    grey, transparent = load("pets", 8).test.inputs[torch.tensor([2, 3])]
    assert grey.unique().tolist() == [77]
    assert transparent.flatten(1).unique(dim=1).flatten().tolist() == [1, 2, 3]


def test_a_validation_folder_serves_where_there_is_no_test_folder(pets: Path) -> None:
    (pets / "test").rename(pets / "val")
    assert len(load("pets", 8).test) == 4


def test_images_are_decoded_once_until_the_folder_changes(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = pixels(load("pets", 8).training)
    with monkeypatch.context() as patch:
        patch.delattr(Encoded, "_decode")
        assert torch.equal(pixels(load("pets", 8).training), before)
    Image.fromarray(noise(99)).save(pets / "train" / "cat" / "0.png")
    after = pixels(load("pets", 8).training)
    assert after[0].tolist() == noise(99).transpose(2, 0, 1).tolist()
    assert torch.equal(after[1:], before[1:])


def test_what_does_not_fit_is_streamed_with_the_same_pixels(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.data.encoded.DISK_SHARE", 0.0)
    streamed = load("pets", 8).training
    assert isinstance(streamed.inputs, Encoded)
    assert not list((pets.parent / "cache").glob("*.npy"))
    monkeypatch.undo()
    monkeypatch.setenv("PRUNING_STUDY_DATA", str(pets.parent))
    cached = load("pets", 8).training
    assert isinstance(cached.inputs, torch.Tensor)
    indices = torch.tensor([5, 0, 3])
    cpu = torch.device("cpu")
    assert torch.equal(streamed.batch(indices, cpu).inputs, cached.batch(indices, cpu).inputs)
    assert streamed.inputs.shape == cached.inputs.shape


def test_those_who_come_at_the_same_time_decode_each_image_once(pets: Path) -> None:
    read: Counter[str] = Counter()

    def counting(name: str) -> bytes:
        read[name] += 1
        return (pets / name).read_bytes()

    names = [f"train/{kind}/{i}.png" for kind in ("cat", "dog") for i in range(3)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: mapped(Encoded(names, counting, 8), "key"), range(4)))
    assert set(read.values()) == {1}
    assert all(torch.equal(images[torch.arange(6)], found[0][torch.arange(6)]) for images in found)


def test_a_damaged_image_is_named_and_leaves_no_cache(pets: Path) -> None:
    (pets / "train" / "dog" / "1.png").write_bytes(b"no image")
    with pytest.raises(StudyError, match=r"train/dog/1\.png can't be decoded .*: replace or remove it"):
        load("pets", 8)
    assert [path.suffix for path in (pets.parent / "cache").iterdir()] == [".lock"]


def test_a_missing_folder_is_named(pets: Path) -> None:
    with pytest.raises(StudyError, match=r"data/birds/train has no folders of images: put or link them there"):
        shape("birds", 8)


def test_parts_must_have_the_same_classes(pets: Path) -> None:
    (pets / "test" / "cow").mkdir()
    with pytest.raises(StudyError, match="train and test have different classes"):
        load("pets", 8)


def test_a_part_without_images_is_named(pets: Path) -> None:
    for image in (pets / "test").rglob("*.png"):
        image.unlink()
    with pytest.raises(StudyError, match=r"pets/test has no images"):
        load("pets", 8)


def test_a_data_folder_that_cannot_be_written_is_named(pets: Path) -> None:
    (pets.parent / "cache").write_text("a file is in the way")
    with pytest.raises(StudyError, match=r"data/cache can't be written .*PRUNING_STUDY_DATA"):
        load("pets", 8)


def test_a_cell_runs_on_a_folder_of_images(pets: Path, tmp_path: Path) -> None:
    settings = ["dataset=image_folder", "dataset.name=pets", "dataset.size=8", "dataset.validation=2"]
    recipe = ["recipe.iterations=4", "recipe.batch_size=3", "recipe.drops=[]", "++recipe.augment=flip_crop"]
    words = command("method=snip", "method.scoring_examples=4", *settings, *recipe, f"output={tmp_path}/out")
    run = subprocess.run(
        [*words, "wandb.mode=disabled"], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    (path,) = (tmp_path / "out" / "records").rglob("*.json")
    record = json.loads(path.read_text())
    assert record["settings"]["dataset"] == {"name": "pets", "size": 8, "validation": 2}
    assert record["results"]["prunable"]["fc1.weight"] == 3 * 8 * 8 * 300
