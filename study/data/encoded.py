"""Encoded images (JPEG, PNG): decoded in parallel, once into a file that is mapped, or on demand."""

import fcntl
import io
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from study.data.arrays import Images
from study.data.remote import folder
from study.errors import StudyError

# Mean and standard deviation of ImageNet's training pixels by channel, scaled to [0, 1], as commonly used.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Decoded images may take this share of the free disk.
DISK_SHARE = 0.5
CHUNK = 256


@dataclass(frozen=True)
class Encoded:
    """Images by name, decoded when they are gathered: RGB, the shorter side resized to `size`, the centre cut out."""

    names: Sequence[str]
    read: Callable[[str], bytes]
    size: int

    @property
    def shape(self) -> torch.Size:
        return torch.Size([len(self.names), 3, self.size, self.size])

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        """uint8. Raises StudyError where an image can't be decoded."""
        with ThreadPoolExecutor() as pool:
            return torch.from_numpy(np.stack(list(pool.map(self._decode, indices.tolist()))))

    def _decode(self, index: int) -> np.ndarray:
        name = self.names[index]
        try:
            with Image.open(io.BytesIO(self.read(name))) as image:
                fitted = ImageOps.fit(image.convert("RGB"), (self.size, self.size), Image.Resampling.BILINEAR)
        except (OSError, SyntaxError) as error:
            raise StudyError(f"{name} can't be decoded ({error}): replace or remove it") from None
        return np.asarray(fitted).transpose(2, 0, 1)


def mapped(images: Encoded, key: str) -> Images:
    """The images decoded into the data folder's cache/KEY.npy and mapped from there, by whichever process is first.

    Where that would take more than DISK_SHARE of the free disk, they are given back to be decoded on demand.
    """
    path = folder() / "cache" / f"{key}.npy"
    try:
        if not path.exists() and not _write_once(images, path):
            return images
    except OSError as error:
        reason = f"{path.parent} can't be written ({error.strerror})"
        raise StudyError(f"{reason}: choose another data folder by PRUNING_STUDY_DATA") from None
    return torch.from_numpy(np.load(path, mmap_mode="c"))


def _write_once(images: Encoded, path: Path) -> bool:
    """Have one process at a time write, the others wait and find the file; False where it would be too large."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            if images.shape.numel() > DISK_SHARE * shutil.disk_usage(path.parent).free:
                return False
            _write(images, path)
    return True


def _write(images: Encoded, path: Path) -> None:
    """Decode all into a file beside, then rename. What a killed process left is written over."""
    partial = path.with_suffix(".partial")
    header = {"descr": "|u1", "fortran_order": False, "shape": tuple(images.shape)}
    try:
        with partial.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for indices in torch.arange(len(images.names)).split(CHUNK):
                file.write(images[indices].numpy().tobytes())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
