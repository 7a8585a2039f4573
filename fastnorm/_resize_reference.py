"""Resizing defined in pure torch: Pillow's `Image.resize` of a uint8 image, in integers, bit for bit.

Two passes, one along each axis. Each adds up integer code times integer coefficient, rounds, and stores uint8 again:

    code = clip((2**21 + sum(source code * coefficient)) >> 22, 0, 255)

An axis that keeps its size needs no pass: every filter's table is then the identity.
"""

from __future__ import annotations

import torch

from fastnorm._geometry import Geometry, Span
from fastnorm._resampling import FRACTION_BITS, HALF, Filter, coefficients

_ROWS, _COLUMNS = 0, 1


def resize_and_crop(image: torch.Tensor, geometry: Geometry, kernel: Filter) -> torch.Tensor:
    """The image resized, cropped and padded with zeros, on the device where it is.

    Args:
        image: uint8, (H, W, C), of the size `geometry.source`; any strides.
        geometry: From `fastnorm._geometry.geometry`.
        kernel: One of `fastnorm._resampling.FILTERS`.

    Returns:
        A new uint8 tensor (rows, columns, C) of the size `geometry.output`. Only what the crop shows is computed.
    """
    horizontal = (_COLUMNS, geometry.source.width, geometry.resized.width, geometry.columns)
    vertical = (_ROWS, geometry.source.height, geometry.resized.height, geometry.rows)
    first, second = (vertical, horizontal) if geometry.vertical_first else (horizontal, vertical)
    # The first pass runs over those lines alone that the second one reads.
    axis, source, resized, span = second
    read = source_range(source, resized, span, kernel)
    pixels = image.narrow(axis, read.start, len(read))
    pixels = _resize_axis(pixels, *first, kernel)
    pixels = _resize_axis(pixels, *second, kernel, origin=read.start)
    mirrored = [axis for axis, span in ((_ROWS, geometry.rows), (_COLUMNS, geometry.columns)) if span.mirrored]
    output = pixels.new_zeros(*geometry.output, pixels.shape[-1])
    output[_shown(geometry.rows), _shown(geometry.columns)] = pixels.flip(mirrored)
    return output


def source_range(source: int, resized: int, span: Span, kernel: Filter) -> range:
    """The source pixels of one axis that the resized pixels `span` are made of."""
    if source == resized:
        return range(span.start, span.stop)
    table, last = coefficients(source, resized, kernel), span.stop - 1
    return range(int(table.first[span.start]), int(table.first[last] + table.count[last]))


def _resize_axis(
    pixels: torch.Tensor, axis: int, source: int, resized: int, span: Span, kernel: Filter, origin: int = 0
) -> torch.Tensor:
    """The resized pixels `span` of one axis, from `pixels`, which on that axis begin at source pixel `origin`."""
    if source == resized:
        return pixels.narrow(axis, span.start - origin, span.count)
    table, shown = coefficients(source, resized, kernel), slice(span.start, span.stop)
    first = torch.tensor(table.first[shown] - origin, device=pixels.device)
    fixed = torch.tensor(table.fixed[shown], device=pixels.device)
    lines = pixels.movedim(axis, 0).to(torch.int32, memory_format=torch.contiguous_format)
    total = lines.new_full((span.count, *lines.shape[1:]), HALF)
    for tap in range(int(table.count[shown].max())):
        # Past a pixel's own last tap the coefficient is zero, and any line inside the image will do.
        index = (first + tap).clamp(max=lines.shape[0] - 1)
        total.addcmul_(lines[index], fixed[:, tap, None, None])
    return (total >> FRACTION_BITS).clamp(0, 255).to(torch.uint8).movedim(0, axis)


def _shown(span: Span) -> slice:
    return slice(span.offset, span.offset + span.count)
