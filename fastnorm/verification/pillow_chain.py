"""The published resizing and cropping with Pillow's own `Image.resize`, which shares nothing with this library's."""

from __future__ import annotations

from PIL import Image

from fastnorm.spec.geometry import Size
from fastnorm.spec.target import Target


def resize_and_crop(image: Image.Image, target: Target) -> Image.Image:
    """The uint8 pixels that the published pipeline of `target` normalises.

    Args:
        image: An image of mode "RGB".
        target: With a short side as its `size`, and a crop in the centre: torchvision's `Resize` and `CenterCrop`, or
            what transformers' Pillow-backend processors do.
    """
    short, crop = short_side_and_crop(target)
    width, height = (int(short * side / min(image.size)) for side in image.size)
    resized = image.resize((width, height), Image.Resampling[target.resample.upper()])
    rule = target.crop and target.crop.position
    left, top = _start(width - crop.width, rule), _start(height - crop.height, rule)
    return resized.crop((left, top, left + crop.width, top + crop.height))  # black where it reaches beyond


def short_side_and_crop(target: Target) -> tuple[int, Size]:
    if not isinstance(target.size, int) or target.crop_size is None:
        raise ValueError(f"got {target}, expected a target with a short side and a crop")
    return target.size, target.crop_size


def _start(margin: int, rule: object) -> int:
    """Where the crop begins on an axis; below zero where it begins with padding."""
    if rule == "transformers":
        return margin // 2
    return round(margin / 2) if margin > 0 else -(-margin // 2)
