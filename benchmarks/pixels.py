"""What benchmarks are fed: random batches, and the package's photographs in any size. Never zeros."""

from collections.abc import Sequence

import torch
from PIL import Image, ImageOps

from fastnorm.data.decode import read_rgb
from fastnorm.data.files import shipped_photographs


def batch(images: int, size: tuple[int, int], layout: str, device: torch.device | str, seed: int = 0) -> torch.Tensor:
    """Random uint8 pixels; "NCHW view" has the shape of NCHW and the memory of NHWC, as image decoders return."""
    generator = torch.Generator(device).manual_seed(seed)
    shape = (images, 3, *size) if layout == "NCHW" else (images, *size, 3)
    memory = torch.randint(0, 256, shape, dtype=torch.uint8, device=device, generator=generator)
    return memory.permute(0, 3, 1, 2) if layout == "NCHW view" else memory


def photographs(sizes: Sequence[tuple[int, int]]) -> list[Image.Image]:
    """One image per (height, width): the shipped photographs in turn, cropped to the shape and resized."""
    shipped = [read_rgb(path).image for path in shipped_photographs()]
    return [ImageOps.fit(shipped[index % len(shipped)], (w, h)) for index, (h, w) in enumerate(sizes)]
