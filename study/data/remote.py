"""Published files, and the folder where they lie on this machine."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import pooch

from study.errors import StudyError


def folder() -> Path:
    """The data folder: the environment's PRUNING_STUDY_DATA, else data/ where the command runs."""
    return Path(os.environ.get("PRUNING_STUDY_DATA") or "data")


@dataclass(frozen=True)
class Remote:
    """A file published at `url` with its MD5, kept in the data folder of its data set under its own name."""

    dataset: str
    url: str
    md5: str

    @property
    def path(self) -> Path:
        return folder() / self.dataset / self.url.rpartition("/")[2]

    @property
    def remedy(self) -> str:
        """What to do where the file is missing or damaged."""
        return f"run `make data DATASET={self.dataset}`, or put the file of {self.url} there"

    def verified(self) -> Path:
        """The file, once its checksum is compared. Raises StudyError where it is missing or another."""
        try:
            with self.path.open("rb") as file:
                md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        except FileNotFoundError:
            raise StudyError(f"{self.path} is missing: {self.remedy}") from None
        if md5 != self.md5:
            raise StudyError(f"{self.path} is not the published file, its MD5 differs: {self.remedy}")
        return self.path

    def fetch(self) -> Path:
        """The file, downloaded unless it is there with the right checksum. Raises StudyError."""
        try:
            pooch.retrieve(self.url, f"md5:{self.md5}", fname=self.path.name, path=self.path.parent)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise StudyError(
                f"{self.url} can't be fetched ({reason}): download it elsewhere and put it at {self.path}"
            ) from None
        except ValueError:
            raise StudyError(
                f"what came from {self.url} is not the published file, its MD5 differs: "
                f"try again, or put the published file at {self.path}"
            ) from None
        return self.path
