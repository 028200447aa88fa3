"""Masks beside records: what is written is read, the same masks give the same bytes, damage is named."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study import mask_file
from study.errors import StudyError

Layers = list[list[bool]]


def mask(layers: Layers) -> dict[str, mask_file.Bits]:
    return {f"{i}.weight": np.asarray(layer, dtype=np.bool_) for i, layer in enumerate(layers)}


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=20), min_size=1, max_size=4))
def test_a_mask_is_unpacked_as_it_was_packed(layers: Layers) -> None:
    given = mask(layers)
    found = mask_file.unpack(mask_file.pack(given), {name: len(bits) for name, bits in given.items()})
    assert list(found) == list(given)
    assert all(np.array_equal(found[name], given[name]) for name in given)


def test_bytes_are_of_a_number_of_weights() -> None:
    packed = mask_file.pack(mask([[True] * 8]))
    assert packed.tolist() == [255]
    for total in (9, 16, 3000):
        with pytest.raises(ValueError, match="can't be the bits"):
            mask_file.unpack(packed, {"w": total})
    with pytest.raises(ValueError, match="can't be the bits"):
        mask_file.unpack(packed.astype(np.float32), {"w": 8})


def test_a_file_gives_back_its_masks_and_the_same_bytes_again(tmp_path: Path) -> None:
    masks = {name: mask_file.pack(mask([[True, False, bit]])) for name, bit in (("b", True), ("a", False))}
    for name in ("one", "two"):
        mask_file.write(tmp_path / name, masks if name == "one" else dict(reversed(masks.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    found = mask_file.read(tmp_path / "one")
    assert {name: packed.tolist() for name, packed in found.items()} == {"a": [128], "b": [160]}
    assert mask_file.read(tmp_path / "none") == {}


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / mask_file.NAME
    mask_file.write(path, {"a": np.arange(200, dtype=np.uint8)})
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[150] ^= 255
    for content in (b"", whole[:-30], b"text", bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(StudyError, match=r"masks\.npz is damaged: restore it"):
            mask_file.read(path)
    np.savez(path, a=np.array([{"an": "object"}], dtype=object), allow_pickle=True)
    with pytest.raises(StudyError, match="is damaged"):
        mask_file.read(path)
