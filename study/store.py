"""The store: finished trainings and masks by their lineage. Any number of processes may share it.

trainings/ID/result.json           what the training measured, and the checksum of its weights
trainings/ID/weights.safetensors   the network at the end, buffers included
masks/ID.safetensors               a mask, boolean, by layer, sealed; not sealed by earlier versions
checkpoints/ID.safetensors         a training under way, sealed
leases/                            who is running a training now (leases.py)
"""

import hashlib
import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import safetensors.torch

from study.errors import Damaged
from study.files import checksum, json_bytes, new_folder, set_aside, write_atomically
from study.leases import Leases
from study.sealed import BrokenSeal, Tensors, seal, unseal, unseal_if_sealed


class Store:
    """Trainings and masks below one folder. An entry is there whole or not at all; a damaged one is set aside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._leases = Leases(folder / "leases")

    def has_training(self, training: str) -> bool:
        return self._training(training).is_dir()

    def save_training(self, training: str, weights: Tensors, result: dict[str, Any]) -> None:
        """Store a finished training. `result` is what `result()` gives back: JSON values."""
        blob = safetensors.torch.save(weights)
        entry = {"result": result, "weights_sha256": hashlib.sha256(blob).hexdigest()}
        with new_folder(self._training(training)) as folder:
            write_atomically(folder / "weights.safetensors", blob)
            write_atomically(folder / "result.json", json_bytes({**entry, "checksum": checksum(entry)}))

    def result(self, training: str) -> dict[str, Any]:
        """What a finished training measured. Raises Damaged."""
        result: dict[str, Any] = self._entry(training)["result"]
        return result

    def weights(self, training: str) -> Tensors:
        """The tensors of a finished training's network. Raises Damaged."""
        expected = self._entry(training)["weights_sha256"]
        try:
            blob = (self._training(training) / "weights.safetensors").read_bytes()
        except FileNotFoundError:
            blob = b""
        if hashlib.sha256(blob).hexdigest() != expected:
            raise self._damaged(training)
        return safetensors.torch.load(blob)

    def save_mask(self, mask: str, tensors: Tensors) -> None:
        write_atomically(self.mask_path(mask), seal(tensors))

    def mask(self, mask: str) -> Tensors | None:
        """A mask, or None where there is no sound one."""
        try:
            return unseal_if_sealed(self.mask_path(mask).read_bytes())
        except FileNotFoundError:
            return None
        except BrokenSeal:
            set_aside(self.mask_path(mask))
            return None

    def save_checkpoint(self, training: str, state: Tensors, content: dict[str, Any]) -> None:
        """Store a training under way in place of its earlier checkpoint. `content` are JSON values."""
        write_atomically(self._checkpoint(training), seal(state, content))

    def checkpoint(self, training: str) -> tuple[Tensors, dict[str, Any]] | None:
        """The last checkpoint of a training, or None where there is no sound one."""
        try:
            return unseal(self._checkpoint(training).read_bytes())
        except FileNotFoundError:
            return None
        except BrokenSeal:
            set_aside(self._checkpoint(training))
            return None

    def remove_checkpoint(self, training: str) -> None:
        self._checkpoint(training).unlink(missing_ok=True)

    def remove_spent_checkpoints(self) -> None:
        """Remove those of finished trainings, left where one was killed between its end and the removal."""
        for path in self.folder.glob("checkpoints/*.safetensors"):
            if self.has_training(path.stem):
                path.unlink(missing_ok=True)

    def lease(self, training: str) -> AbstractContextManager[bool]:
        """Try to be the one who runs a training, for as long as the block lasts; False where somebody else is."""
        return self._leases.lease(training)

    def is_leased(self, training: str) -> bool:
        """Whether a living process runs a training."""
        return self._leases.is_leased(training)

    def _entry(self, training: str) -> dict[str, Any]:
        try:
            entry: dict[str, Any] = json.loads((self._training(training) / "result.json").read_bytes())
            content = {"result": entry["result"], "weights_sha256": entry["weights_sha256"]}
            intact = checksum(content) == entry["checksum"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            intact = False
        if not intact:
            raise self._damaged(training)
        return entry

    def _training(self, training: str) -> Path:
        return self.folder / "trainings" / training

    def mask_path(self, mask: str) -> Path:
        """Where a mask lies, if it is there."""
        return self.folder / "masks" / f"{mask}.safetensors"

    def _checkpoint(self, training: str) -> Path:
        return self.folder / "checkpoints" / f"{training}.safetensors"

    def _damaged(self, training: str) -> Damaged:
        set_aside(self._training(training))
        return Damaged(f"{self._training(training)} was damaged: run again to make it anew")
