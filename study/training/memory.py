"""Memory: kept for what comes next, and what to do when it runs out, a GPU's or the machine's."""

import ctypes
import errno
import gc
from contextlib import suppress

import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of glibc's malloc.h."""

SAID = ("DefaultCPUAllocator", "not enough memory", "bad_alloc", "ALLOC_FAILED")
"""What torch says in errors that have no class of their own."""


def keep() -> None:
    """Have this process keep what it frees for what it allocates next, where its C library is glibc.

    By default large tensors, such as a convolution makes of a batch, are asked of the system anew each time: a page
    fault every 4 KiB, which can take as long as the convolution.
    """
    _tell_malloc("mallopt", M_MMAP_MAX, 0)
    _tell_malloc("mallopt", M_TRIM_THRESHOLD, 2**31 - 1)


def ran_out(error: Exception) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    said = isinstance(error, RuntimeError) and any(words in str(error) for words in SAID)
    return said or isinstance(error, MemoryError | torch.OutOfMemoryError)


def give_back() -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    _tell_malloc("malloc_trim", 0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _tell_malloc(function: str, *arguments: int) -> None:
    with suppress(AttributeError, TypeError):  # another C library, or Windows
        getattr(ctypes.CDLL(None), function)(*arguments)
