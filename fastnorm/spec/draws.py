"""Random crops and mirrors, from the numbers that published training scripts draw, in their order.

| script | for each image in turn |
|---|---|
| diffusers' `train_text_to_image.py` (`flip="random"`) | `RandomCrop`: top, left; `RandomHorizontalFlip`: one number |
| its SDXL script (and `flip_before_crop=True`) | Python's `random.random()` says whether to mirror; a mirrored \
image takes one number of torch's, as `RandomHorizontalFlip(p=1.0)` draws before it mirrors; then top, left |

`RandomCrop` draws nothing for an image of exactly the crop's size. All numbers but that one come from torch's default
generator, so that `torch.manual_seed` and `random.seed` repeat a run. With a generator of the caller's all of them
come from that one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from fastnorm.spec.geometry import Size
from fastnorm.spec.steps import Position


def draw(
    resized: Sequence[Size],
    crop: Size | None,
    flips: Sequence[bool] | None,
    vertical_flips: Sequence[bool] | None,
    flip_before_crop: bool,
    generator: torch.Generator | None = None,
) -> tuple[list[Position], list[bool], list[bool]]:
    """Where the images of one target are cropped, and which are mirrored left to right, and upside down.

    Args:
        resized: The images' sizes before the crop.
        crop: The random crop's size; None draws no positions.
        flips: Which images are mirrored left to right; None draws that too.
        vertical_flips: Which are mirrored upside down; None draws that too: `RandomVerticalFlip` comes right behind
            `RandomHorizontalFlip`.
        flip_before_crop: Whether they are mirrored before they are cropped.
        generator: Where the numbers come from, on the CPU; None: torch's and Python's own.
    """
    positions, mirrored, upside_down = [], [], []
    for index, size in enumerate(resized):
        flip = None if flips is None else flips[index]
        vertical_flip = None if vertical_flips is None else vertical_flips[index]
        if flip_before_crop:
            if flip is None:
                flip = random.random() < 0.5 if generator is None else _is_half(generator)
            if flip:
                torch.rand(
                    1, device="cpu", generator=generator
                )  # RandomHorizontalFlip(p=1.0) compares one with its probability
            vertical_flip = _is_half(generator) if vertical_flip is None else vertical_flip
        if crop is not None:
            positions.append(position(size, crop, generator))
        mirrored.append(_is_half(generator) if flip is None else flip)
        upside_down.append(_is_half(generator) if vertical_flip is None else vertical_flip)
    return positions, mirrored, upside_down


def _is_half(generator: torch.Generator | None) -> bool:
    """What torchvision's mirrors draw."""
    return bool(torch.rand(1, device="cpu", generator=generator) < 0.5)


def position(resized: Size, crop: Size, generator: torch.Generator | None = None) -> Position:
    """One random position, from the numbers that torchvision's `RandomCrop(pad_if_needed=True)` would draw."""
    if resized == crop:
        return Position(0, 0)
    top, left = (
        min(margin, 0) + int(torch.randint(0, abs(margin) + 1, size=(1,), device="cpu", generator=generator))
        for margin in (resized.height - crop.height, resized.width - crop.width)
    )
    return Position(top, left)
