"""The IDX format of MNIST and its relatives."""

import gzip
import hashlib
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

from study.errors import StudyError


def read_idx(path: Path, md5: str, remedy: str) -> Tensor:
    """The unsigned bytes of a gzipped IDX file, as a uint8 tensor of the shape that its header gives.

    Layout: two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension as a big-endian
    32-bit integer, then the values in C order. `md5` is that of the uncompressed file. Raises StudyError, which ends
    with the remedy, where the file is missing, truncated or altered.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise StudyError(f"{path} is missing: {remedy}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise StudyError(f"{path} is truncated or corrupt: {remedy}") from None
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise StudyError(f"{path} is not the published file, its MD5 differs: {remedy}")
    dimensions = content[3]
    shape = struct.unpack_from(f">{dimensions}I", content, offset=4)
    values = torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=4 + 4 * dimensions)
    return values.view(shape)
