"""Resizing by torch itself, one axis a call: the pixels of antialiased `interpolate` of uint8 tensors.

Where there is no native code, and for what the native code does not take.
"""

from __future__ import annotations

import functools
import platform

import numpy as np
import torch

from fastnorm.backends import eager
from fastnorm.backends.cpu.pillow import Codes, PilOrTensor, place
from fastnorm.spec.filters import TORCH_FILTERS, Filter
from fastnorm.spec.geometry import Geometry, Span

# Where torch's pixels have been compared with the reference's, which is slower.
_COMPARED = ("x86_64", "AMD64")


def resize_into(output: Codes, image: PilOrTensor, geometry: Geometry, resample: Filter) -> None:
    """Write all of `output`, as `fastnorm.backends.cpu.pillow.resize_into` does.

    Args:
        output: uint8, of the size `geometry.output`.
        image: A loaded Pillow image of mode "RGB", or a uint8 CPU tensor (H, W, 3) with any strides.
        geometry: From `fastnorm.spec.plan`; horizontal pass first, as in torch.
        resample: One of `fastnorm.spec.filters.TORCH_FILTERS`.
    """
    pixels = image if isinstance(image, torch.Tensor) else torch.from_numpy(np.array(image))
    if not _has(resample.name):
        output[...] = eager.resize_and_crop(pixels, geometry, resample).numpy()
        return
    place(output, geometry, lambda rows, columns: _resize_and_cut(pixels, geometry, rows, columns, resample))


def _resize_and_cut(pixels: torch.Tensor, geometry: Geometry, rows: Span, columns: Span, resample: Filter) -> Codes:
    """The pixels that the spans show, neither padded nor mirrored, as (rows, columns, 3).

    torch resizes no part of an axis. But the horizontal pass can leave out the rows that are not needed, and the
    vertical one the columns; it is given all rows, of which those that are not needed hold anything.
    """
    source, resized = geometry.source, geometry.resized
    read = eager.source_range(source.height, resized.height, rows, resample)
    lines = _interpolated(pixels[read.start : read.stop], len(read), resized.width, resample)
    lines = lines[:, columns.start : columns.stop]
    if source.height == resized.height:
        return lines.numpy()
    whole = torch.empty((source.height, columns.count, lines.shape[2]), dtype=torch.uint8, device="cpu")
    whole[read.start : read.stop] = lines
    return _interpolated(whole, resized.height, columns.count, resample)[rows.start : rows.stop].numpy()


def _interpolated(pixels: torch.Tensor, height: int, width: int, resample: Filter) -> torch.Tensor:
    """All of (H, W, 3) resized to this size.

    Several rows of planes to a single pixel, which torch's vector code fails on, do not come here: the vertical pass is
    given interleaved pixels.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    batch = pixels.permute(2, 0, 1).unsqueeze(0)
    resized = torch.nn.functional.interpolate(batch, (height, width), mode=resample.name, antialias=True)
    return resized[0].permute(1, 2, 0)


@functools.cache
def _has(name: str) -> bool:
    """Whether this machine's torch has the filter, with the reference's pixels."""
    if platform.machine() not in _COMPARED:
        return False
    try:
        _interpolated(torch.zeros((2, 2, 3), dtype=torch.uint8, device="cpu"), 2, 1, TORCH_FILTERS[name])
    except ValueError:  # lanczos, before 2.12
        return False
    return True
