"""Figures of masks, on masks worked by hand; and which mask belongs to which record."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study import mask_file
from study.analysis.load import load
from study.analysis.mask_figures import overlap, pairs
from study.errors import StudyError
from study.mask_file import Bits
from study.record import read_folder
from tests.analysis.synthetic import PRUNABLE, write_experiment


def bits(text: str) -> Bits:
    return np.array([letter == "1" for letter in text])


def test_overlap_and_what_chance_gives() -> None:
    """3 weights in both of 7 in either. By chance 2·3/4 + 2·3/6 = 2.5 of 10 − 2.5: a third."""
    one = {"a": bits("1100"), "b": bits("111000")}
    other = {"a": bits("1110"), "b": bits("100001")}
    index, times = overlap(one, other)
    assert index == pytest.approx(3 / 7)
    assert times == pytest.approx((3 / 7) / (2.5 / 7.5))
    assert overlap(one, other) == overlap(other, one)
    assert overlap(one, one)[0] == 1


def test_masks_of_a_layer_each_at_random_overlap_as_chance_has_it() -> None:
    generator = np.random.default_rng(0)
    one, other = ({"a": generator.random(100_000) < 0.1, "b": generator.random(50_000) < 0.6} for _ in range(2))
    assert overlap(one, other)[1] == pytest.approx(1, abs=0.02)


def test_methods_are_compared_within_a_seed_and_seeds_within_a_method() -> None:
    masks = {("SNIP", 0): "1100", ("SNIP", 1): "0110", ("random", 0): "1010", ("random", 1): "0110"}
    cells = pd.DataFrame(
        [{"method": method, "seed": seed, "mask": {"w": bits(mask)}} for (method, seed), mask in masks.items()]
    )
    found = {(row["method"], row["other"]): row["index"] for row in pairs(cells).to_dict("records")}
    assert found == {
        ("SNIP", "SNIP"): pytest.approx(1 / 3),
        ("random", "random"): pytest.approx(1 / 3),
        ("SNIP", "random"): pytest.approx((1 / 3 + 1) / 2),
        ("random", "SNIP"): pytest.approx((1 / 3 + 1) / 2),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_experiment(tmp_path, "snip_figure_2", lambda cell: 0.9)


def published(folder: Path, shift: int = 0) -> dict[str, mask_file.Packed]:
    """A mask for each record of a folder, as many weights as it counts from place `shift` of each layer on."""
    return {
        mask_file.key(record): mask_file.pack(
            {name: np.roll(np.arange(total) < record.results.kept[name], shift) for name, total in PRUNABLE.items()}
        )
        for record in read_folder(folder)
    }


def test_masks_are_loaded_with_their_records_or_from_another_folder(folder: Path, tmp_path: Path) -> None:
    assert load(folder)["mask"].isna().all()
    mask_file.write(tmp_path / "other" / mask_file.NAME, published(folder))
    for cells in (load(folder, tmp_path / "other"), load(folder, tmp_path / "other", folder)):
        counts = [{name: int(bits.sum()) for name, bits in mask.items()} for mask in cells["mask"]]
        assert counts == cells["kept"].tolist()
    mask_file.write(folder / mask_file.NAME, published(folder, shift=1))
    assert not load(folder, tmp_path / "other")["mask"].iloc[0]["fc1.weight"][0]  # its own come first


def test_a_mask_of_another_training_is_not_taken(folder: Path) -> None:
    mask_file.write(folder / mask_file.NAME, {f"{key[:-1]}x": mask for key, mask in published(folder).items()})
    assert load(folder)["mask"].isna().all()


def test_a_mask_that_does_not_fit_its_record_is_refused(folder: Path) -> None:
    masks = published(folder)
    first, second = list(masks)[:2]
    for wrong in (masks[first][:-1], masks[first] ^ np.uint8(1)):
        mask_file.write(folder / mask_file.NAME, masks | {second: wrong})
        with pytest.raises(StudyError, match="has a mask that is not its own: publish the experiment again"):
            load(folder)
