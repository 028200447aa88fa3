"""Named random streams: everything random in a training comes from one of them."""

import hashlib

import torch

Seed = int | str
"""A cell's seed, or one derived from it by a suffix: "0/scored"."""


def stream(seed: Seed, name: str) -> torch.Generator:
    """A CPU generator for one use of randomness ("init/fc1.weight", "order", "mask", ...) of one seed.

    Streams are independent of each other and of who else runs: drawing more from one changes no other.
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
