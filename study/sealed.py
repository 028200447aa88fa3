"""Sealed files: tensors and a JSON value as safetensors, with a checksum of every byte."""

import hashlib
import json
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

Tensors = dict[str, Tensor]

SEAL = '"sha256":"%s"'
BLANK = "0" * 64


class BrokenSeal(Exception):
    """Not what was sealed."""


def seal(tensors: Tensors, content: Any = None) -> bytes:
    """The file: the SHA-256 of all of it, as it is with zeros in the checksum's place, stands in its metadata."""
    metadata = {"content": json.dumps(content, allow_nan=False), "sha256": BLANK}
    blank = safetensors.torch.save(tensors, metadata)
    return _with_checksum(blank, BLANK, hashlib.sha256(blank).hexdigest())


def unseal(blob: bytes) -> tuple[Tensors, Any]:
    """What was sealed. Raises BrokenSeal."""
    metadata = _metadata(blob)
    given = metadata.get("sha256", "")
    if hashlib.sha256(_with_checksum(blob, given, BLANK)).hexdigest() != given:
        raise BrokenSeal
    return safetensors.torch.load(blob), json.loads(metadata["content"])


def is_sealed(blob: bytes) -> bool:
    """Whether a file of tensors was sealed at all. Raises BrokenSeal for what is no such file."""
    return bool(_metadata(blob))


def _metadata(blob: bytes) -> dict[str, str]:
    try:
        length = int.from_bytes(blob[:8], "little")
        metadata: dict[str, str] = json.loads(blob[8 : 8 + length]).get("__metadata__", {})
        safetensors.torch.load(blob)
    except (ValueError, AttributeError, safetensors.SafetensorError):
        raise BrokenSeal from None
    return metadata


def _with_checksum(blob: bytes, old: str, new: str) -> bytes:
    return blob.replace((SEAL % old).encode(), (SEAL % new).encode(), 1)
