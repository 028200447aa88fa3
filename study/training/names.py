"""Names of the training's: for those who choose engines or pass on what was measured, without what engines import."""

from typing import Literal

Engine = Literal["auto", "dense", "sparse", "packed"]
"""What does a training's arithmetic; "auto" is what suits the device, the network and its mask."""

Precision = Literal["float32", "tf32", "bf16"]
"""Of products and convolutions; weights and sums are float32. tf32 and bf16 are for GPUs."""

Point = dict[str, int | float | None]
"""One evaluation, by the names of `study.training.loop.Curves`."""
