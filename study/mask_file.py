"""The masks of an experiment's cells, in one file beside their records: which weights each keeps, a bit a weight.

masks.npz holds the bits of each cell's weights packed to bytes, layer after layer in the network's order, by the id of
the cell and a checksum of its curves: on another machine a cell may leave other numbers, and another mask. It takes
numpy alone to read.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from study.errors import StudyError
from study.files import checksum, write_atomically
from study.record import Record

NAME = "masks.npz"

Bits = npt.NDArray[np.bool_]
Packed = npt.NDArray[np.uint8]


def key(record: Record) -> str:
    """The name of a record's mask: of its cell, and of the training that ran under it."""
    return f"{record.cell}-{checksum(record.results.curves)[:16]}"


def pack(mask: Mapping[str, Bits]) -> Packed:
    """A mask's layers, boolean of any shape, as the bytes of their bits one after the other."""
    return np.packbits(np.concatenate([layer.ravel() for layer in mask.values()]))


def unpack(packed: Packed, prunable: Mapping[str, int]) -> dict[str, Bits]:
    """The layers of a packed mask, flat, from their numbers of weights in the network's order.

    Raises ValueError where the bytes are not of that many weights.
    """
    total = sum(prunable.values())
    if packed.dtype != np.uint8 or packed.shape != (-(-total // 8),):
        raise ValueError(f"{packed.size} bytes can't be the bits of {total} weights")
    bits = np.unpackbits(packed, count=total).astype(np.bool_)
    return dict(zip(prunable, np.split(bits, np.cumsum(list(prunable.values()))[:-1]), strict=True))


def write(path: Path, masks: Mapping[str, Packed]) -> None:
    """Write packed masks by key, whole or not at all. The same masks give the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **{name: masks[name] for name in sorted(masks)})
    write_atomically(path, buffer.getvalue())


def read(path: Path) -> dict[str, Packed]:
    """The packed masks by key; none where there is no file. Raises StudyError where it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        raise StudyError(f"{path} is damaged: restore it, or remove it and publish its experiment again") from None
