"""What benchmarks are fed: random batches, and the package's photographs in any size. Never zeros."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image

from fastnorm.data.files import shipped_photographs


def batch(images: int, size: tuple[int, int], layout: str, device: torch.device | str, seed: int = 0) -> torch.Tensor:
    """Random uint8 pixels; "NCHW view" has the shape of NCHW and the memory of NHWC, as image decoders return."""
    generator = torch.Generator(device).manual_seed(seed)
    shape = (images, 3, *size) if layout == "NCHW" else (images, *size, 3)
    memory = torch.randint(0, 256, shape, dtype=torch.uint8, device=device, generator=generator)
    return memory.permute(0, 3, 1, 2) if layout == "NCHW view" else memory


def pictures(sizes: Sequence[tuple[int, int]]) -> list[Image.Image]:
    """One photograph per (height, width): the shipped ones in turn, cropped to the shape and resized."""
    photographs = [Image.open(path).convert("RGB") for path in shipped_photographs()]
    return [fitted(photographs[index % len(photographs)], size) for index, size in enumerate(sizes)]


def fitted(photograph: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The largest centred part of the wanted shape, resized to (height, width)."""
    height, width = size
    scale = min(photograph.width / width, photograph.height / height)
    left, top = ((whole - part * scale) / 2 for whole, part in ((photograph.width, width), (photograph.height, height)))
    box = (left, top, left + width * scale, top + height * scale)
    return photograph.resize((width, height), Image.Resampling.BICUBIC, box=box)
