"""Controls: what is left of a method once its mask is shuffled, its weights drawn anew or its ranking turned round.

Frankle, Dziugaite, Roy & Carbin 2021 (arXiv 2009.08576), section 5. Inverted and absolute rankings are
`SignedRanking`s.
"""

import torch

from study.lineage import mask_step
from study.methods.masks import Mask
from study.seeding import stream


@mask_step
def shuffled(mask: Mask, seed: int, draw: int) -> Mask:
    """The same number of weights in each layer, at uniformly random places; `draw` counts independent shuffles."""

    def shuffle(name: str, kept: torch.Tensor) -> torch.Tensor:
        order = torch.randperm(kept.numel(), generator=stream(seed, f"shuffle/{draw}/{name}"))
        return kept.flatten()[order].view(kept.shape)

    return {name: shuffle(name, kept) for name, kept in mask.items()}
