"""Augmentation of whole batches on their device, as the papers' codes do for CIFAR and Tiny-ImageNet."""

from collections.abc import Callable

import torch
from torch import Tensor

from study.cell import Augment
from study.seeding import Seed, stream

SHIFT = 4


def augmentation(kind: Augment, black: Tensor, seed: Seed) -> Callable[[int, Tensor], Tensor]:
    """A function that augments a batch of normalised images, by the stream of a number.

    The streams are "augment/1", "augment/2" and so on of the seed, one for each iteration of a training, which can so
    begin at any, or for each scoring batch.

    flip_crop    flip with probability 1/2, then cut the image's size out of it at random, padded with `black`
                 (channels, 1, 1) by four pixels: GraSP's, and the lottery tickets' for residual networks
    flip_shift   flip with probability 1/2, then shift by up to four pixels each way, zeros coming in: SNIP's. Zero is
                 the mean colour, since images are normalised. (SNIP's code leaves out either at random.)

    Both are a flip and a uniform shift; they differ in what comes in from outside.
    """
    if kind == "none":
        return lambda number, images: images
    outside = black if kind == "flip_crop" else torch.zeros_like(black)

    def augment(number: int, images: Tensor) -> Tensor:
        return shift(images, outside, *draw(len(images), stream(seed, f"augment/{number}")))

    return augment


def draw(count: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """For each image: whether to flip it, boolean (n); the rows and columns to shift it by, -4 to 4, (n, 2)."""
    return torch.rand(count, generator=random) < 0.5, torch.randint(-SHIFT, SHIFT + 1, (count, 2), generator=random)


def shift(images: Tensor, outside: Tensor, flips: Tensor, shifts: Tensor) -> Tensor:
    """Flip images (n, channels, height, width) left to right where told, then move them down and right by `shifts`."""
    height, width = images.shape[2:]
    size = (*images.shape[:2], height + 2 * SHIFT, width + 2 * SHIFT)
    canvas = outside.to(images).expand(size).clone()
    flips, offsets = flips.to(images.device), (SHIFT - shifts).to(images.device)
    canvas[:, :, SHIFT:-SHIFT, SHIFT:-SHIFT] = torch.where(flips[:, None, None, None], images.flip(3), images)
    windows = canvas.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(images), device=images.device), :, offsets[:, 0], offsets[:, 1]]
