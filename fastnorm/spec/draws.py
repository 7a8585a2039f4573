"""Random crops and mirrors, from the numbers that published training scripts draw, in their order.

| script | for each image in turn |
|---|---|
| diffusers' `train_text_to_image.py` (`flip="random"`) | `RandomCrop`: top, left; `RandomHorizontalFlip`: one number |
| its SDXL script (and `flip_before_crop=True`) | Python's `random.random()` says whether to mirror; a mirrored \
image takes one number of torch's, as `RandomHorizontalFlip(p=1.0)` draws before it mirrors; then top, left |

`RandomCrop` draws nothing for a image of exactly the crop's size. All numbers but that one come from torch's default
generator, so that `torch.manual_seed` and `random.seed` repeat a run.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from fastnorm.spec.geometry import Size
from fastnorm.spec.target import Position


def draw(
    resized: Sequence[Size], crop: Size | None, flips: Sequence[bool] | None, flip_before_crop: bool
) -> tuple[list[Position], list[bool]]:
    """Where the images of one target are cropped, and which are mirrored.

    Args:
        resized: The images' sizes before the crop.
        crop: The random crop's size; None draws no positions.
        flips: Which images are mirrored; None draws that too.
        flip_before_crop: Whether they are mirrored before they are cropped.
    """
    positions, mirrored = [], []
    for index, size in enumerate(resized):
        flip = None if flips is None else flips[index]
        if flip_before_crop:
            flip = random.random() < 0.5 if flip is None else flip
            if flip:
                torch.rand(1, device="cpu")  # RandomHorizontalFlip(p=1.0) compares one with its probability
        if crop is not None:
            positions.append(position(size, crop))
        if flip is None:
            flip = bool(torch.rand(1, device="cpu") < 0.5)
        mirrored.append(flip)
    return positions, mirrored


def position(resized: Size, crop: Size) -> Position:
    """One random position, from the numbers that torchvision's `RandomCrop(pad_if_needed=True)` would draw."""
    if resized == crop:
        return Position(0, 0)
    top, left = (
        min(margin, 0) + int(torch.randint(0, abs(margin) + 1, size=(1,), device="cpu"))
        for margin in (resized.height - crop.height, resized.width - crop.width)
    )
    return Position(top, left)
