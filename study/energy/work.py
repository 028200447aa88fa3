"""Work and size of a pruned network, from counts by layer: what its mask leaves to be done and to be kept."""

from collections.abc import Mapping
from typing import Any

Counts = Mapping[str, int]
"""A number by prunable weight."""

BACKWARD = 2
"""A backward pass does each product of the forward pass twice: for the derivatives of weights and of inputs."""

TEST_EXAMPLES = {"imagenet": 50_000}
"""Of data sets that have not 10,000 of them."""

FLOAT_BYTES, INDEX_BYTES = 4, 4


def forward(flops: Counts, prunable: Counts, kept: Counts) -> int:
    """Floating-point operations of one example forward by the weights kept: `flops` counts all weights'."""
    return sum(flops[name] * kept[name] // prunable[name] for name in flops)


def training(forward_flops: int, examples: int) -> int:
    """Operations of training on so many examples: forward, and backward for twice that."""
    return (1 + BACKWARD) * forward_flops * examples


def evaluated(dataset: Mapping[str, Any]) -> int:
    """How many examples an evaluation goes over, of a data set as a record's settings or a lineage name it."""
    return int(dataset.get("validation", 5000)) + TEST_EXAMPLES.get(dataset["name"], 10_000)


def sizes(kept: Counts, prunable: Counts, rows: Counts) -> dict[str, int]:
    """Bytes of the prunable weights in 32-bit floats, stored in three ways.

    dense: all of them. bitmask: the kept ones and a bit for each. csr: the kept ones, with a column index each and a
    pointer for each of a layer's `rows` (its outputs) and one more, 32 bits each (compressed sparse rows).
    """
    total, left = sum(prunable.values()), sum(kept.values())
    return {
        "dense": FLOAT_BYTES * total,
        "bitmask": FLOAT_BYTES * left + sum(-(-count // 8) for count in prunable.values()),
        "csr": (FLOAT_BYTES + INDEX_BYTES) * left + INDEX_BYTES * sum(count + 1 for count in rows.values()),
    }
