"""The binary format of CIFAR-10 and CIFAR-100: tar archives of fixed-length records, parsed without unpickling."""

import tarfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

PIXELS = 3 * 32 * 32


def read_records(archive: Path, members: Sequence[str], label_bytes: int) -> tuple[Tensor, Tensor]:
    """Images (n, 3, 32, 32) uint8 and labels (n) int64 of a gzipped tar archive's members, read in memory.

    A record is its labels, of which the last is the class, then the red, green and blue values row by row.
    """
    with tarfile.open(archive, "r:gz") as tar:
        files = [tar.extractfile(member) for member in members]
        content = bytearray().join(file.read() for file in files if file)
    records = torch.frombuffer(content, dtype=torch.uint8).view(-1, label_bytes + PIXELS)
    return records[:, label_bytes:].reshape(-1, 3, 32, 32), records[:, label_bytes - 1].long()
