"""Publishing: records as they are, masks as the store has them, and nothing lost."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from study import data, mask_file, training_accuracy
from study.cell import Dataset
from study.errors import StudyError
from study.execute.worker import Values
from study.plan import plan_cell
from study.publish import publish
from study.record import read_folder
from study.store import Store
from tests.conftest import SHORT, Command
from tests.test_plan import cell_of


@pytest.fixture(scope="module")
def output(run_command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some cells under the name of an experiment whose masks are published, and some under another."""
    output = tmp_path_factory.mktemp("output")
    for name in ("quickstart", "mine"):
        cells = ["-m", "method=dense,snip,lottery_ticket", "sparsity=0.4", "seed=0,3", f"name={name}", *SHORT]
        done = run_command(*cells, f"output={output}", "wandb.mode=disabled")
        assert done.returncode == 0, done.stderr
    return output


def test_masks_are_those_that_trainings_ran_under(output: Path, tmp_path: Path) -> None:
    """Of the first seeds; a dense network has none."""
    publish("quickstart", output, tmp_path)
    records = read_folder(tmp_path / "quickstart")
    assert records == read_folder(output / "records" / "quickstart")
    masks = mask_file.read(tmp_path / "quickstart" / mask_file.NAME)
    masked = {mask_file.key(record): record for record in records if record.settings["seed"] == 0 and record.sparsity}
    assert masks.keys() == masked.keys()
    assert len(masks) == 2
    for key, record in masked.items():
        stored = Store(output / "store").mask(plan_cell(cell_of(record)).training.arguments["mask"].id)
        assert stored is not None
        found = mask_file.unpack(masks[key], record.results.prunable)
        assert all(np.array_equal(found[name], stored[name].numpy().ravel()) for name in stored)


def test_training_accuracies_are_those_of_the_stored_networks(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held against the networks' own answers, an example at a time; without the store they stay as they were."""
    monkeypatch.setattr(training_accuracy, "EXPERIMENTS", ("mine",))
    publish("mine", output, tmp_path)
    file = tmp_path / "mine" / training_accuracy.NAME
    published = training_accuracy.read(file)
    records = read_folder(tmp_path / "mine")
    assert published.keys() == {mask_file.key(record) for record in records}
    for record in records[:2]:
        training = plan_cell(cell_of(record)).training
        network = Values(Store(output / "store")).of(training).eval()
        split = data.split(Dataset(**training.arguments["dataset"]), record.settings["seed"])
        assert len(split.training) == 55_000
        examples = split.arrays.training.batch(split.training, data.CPU)
        pairs = zip(examples.inputs, examples.labels, strict=True)
        with torch.no_grad():
            right = sum(int(network(x[None]).argmax()) == int(label) for x, label in pairs)
        assert published[mask_file.key(record)] == right / 55_000
    before = file.read_bytes()
    shutil.copytree(output / "records", tmp_path / "emptied" / "records")
    publish("mine", tmp_path / "emptied", tmp_path)
    assert file.read_bytes() == before


def test_publishing_again_mends_a_mask_that_is_not_its_own(output: Path, tmp_path: Path) -> None:
    publish("quickstart", output, tmp_path)
    file = tmp_path / "quickstart" / mask_file.NAME
    right = file.read_bytes()
    mask_file.write(file, {key: mask ^ np.uint8(1) for key, mask in mask_file.read(file).items()})
    publish("quickstart", output, tmp_path)
    assert file.read_bytes() == right


def test_published_masks_outlive_the_store(output: Path, tmp_path: Path) -> None:
    publish("quickstart", output, tmp_path)
    before = (tmp_path / "quickstart" / mask_file.NAME).read_bytes()
    shutil.copytree(output / "records", tmp_path / "emptied" / "records")
    publish("quickstart", tmp_path / "emptied", tmp_path)
    assert (tmp_path / "quickstart" / mask_file.NAME).read_bytes() == before


def test_publishing_that_fails_changes_nothing(output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the disk is full once the records are copied."""
    publish("quickstart", output, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def fail(path: Path, masks: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(mask_file, "write", fail)
    with pytest.raises(OSError, match="No space left"):
        publish("quickstart", output, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_other_experiments_go_without_masks_and_old_records_go(output: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    shutil.copy(next((output / "records" / "mine").glob("*.json")), tmp_path / "mine" / "old.json")
    publish("mine", output, tmp_path)
    names = {path.name for path in (output / "records" / "mine").iterdir()}
    assert {path.name for path in (tmp_path / "mine").iterdir()} == names
    assert len(names) == 6


def test_nothing_to_publish_is_an_error_that_loses_nothing(output: Path, tmp_path: Path) -> None:
    (tmp_path / "absent").mkdir()
    kept = tmp_path / "absent" / "kept.json"
    kept.write_text("{}")
    with pytest.raises(StudyError, match=r"no records of absent in .* run `make sweep EXP=absent` first"):
        publish("absent", output, tmp_path)
    assert kept.exists()


def test_what_was_published_is_not_lost_to_a_folder_without_it(output: Path, tmp_path: Path) -> None:
    """As on another machine. The remedy that the error names is one."""
    target, source = tmp_path / "published" / "mine", tmp_path / "other" / "records" / "mine"
    publish("mine", output, target.parent)
    before = read_folder(target)
    source.mkdir(parents=True)
    shutil.copy(next(target.glob("*.json")), source)
    with pytest.raises(StudyError, match=f"{len(before) - 1} cells published in .* would be lost") as error:
        publish("mine", tmp_path / "other", target.parent)
    assert read_folder(target) == before
    subprocess.run(str(error.value).split("`")[1], shell=True, check=True)
    publish("mine", tmp_path / "other", target.parent)
    assert read_folder(target) == before
