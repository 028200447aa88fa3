"""What the engines and precisions are called: for those who choose them, without what the engines import."""

from typing import Literal

Engine = Literal["auto", "dense", "sparse", "packed"]
"""What does a training's arithmetic; "auto" is what suits the device, the network and its mask."""

Precision = Literal["float32", "tf32", "bf16"]
"""Of products and convolutions; weights and sums are float32. tf32 and bf16 are for GPUs."""
