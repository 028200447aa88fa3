"""Memory that runs out: a GPU's, or the machine's."""

import errno
import gc

import torch

SAID = ("DefaultCPUAllocator", "not enough memory", "bad_alloc", "ALLOC_FAILED")
"""What torch says in errors that have no class of their own."""


def ran_out(error: Exception) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    said = isinstance(error, RuntimeError) and any(words in str(error) for words in SAID)
    return said or isinstance(error, MemoryError | torch.OutOfMemoryError)


def give_back() -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
