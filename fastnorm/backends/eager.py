"""The definition of correct, in eager torch: what every other backend must equal bit for bit.

For every uint8 pixel value x and channel c, in IEEE float32 with correctly rounded operations and in this order:

    q = x / 255;  d = q - mean[c];  y = d / std[c];  then one rounding to nearest even to the output's dtype

So it is in the order "to_tensor". Every order is (started value - subtrahend) / divisor:

| order | started value | subtrahend | divisor |
|---|---|---|---|
| "to_tensor" | x / 255 | mean | std |
| "to_dtype" | x * (1 / 255) | mean | std |
| "fused" | x | mean * 255 | std * 255 |
| "scale_shift" | x / 127.5 | 1 | 1 |

Resizing is Pillow's `Image.resize` of a uint8 image, in integers. Two passes, one along each axis. Each adds up integer
pixel value times integer coefficient, rounds, and stores uint8 again:

    clip((2**21 + sum(source value * coefficient)) >> 22, 0, 255)

An axis that keeps its size needs no pass: every filter's table is then the identity. torch's antialiased `interpolate`
of a uint8 tensor on a CPU is the same with other coefficients (see `fastnorm.spec.filters`), rows first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fastnorm.backends.base import TargetJob
from fastnorm.images.batch import Images
from fastnorm.spec.filters import FRACTION_BITS, HALF, Filter, coefficients
from fastnorm.spec.geometry import Geometry, Span
from fastnorm.spec.normalization import Normalization
from fastnorm.spec.options import Order

FULL_SCALE = 255.0
INVERSE_FULL_SCALE = 1 / 255
HALF_SCALE = 127.5

_ROWS, _COLUMNS = 0, 1


def normalize(planes: torch.Tensor, normalizations: Sequence[Normalization], outputs: Sequence[torch.Tensor]) -> None:
    """Fill every output from a uint8 view (..., 3, H, W)."""
    results = normalized(planes, normalizations, [output.dtype for output in outputs])
    for output, result in zip(outputs, results, strict=True):
        output.copy_(result)


def preprocess(images: Images, jobs: Sequence[TargetJob]) -> None:
    """Fill every job's output, one image after the other."""
    for job in jobs:
        for index, (image, geometry) in enumerate(zip(images.as_tensors(), job.geometries, strict=True)):
            planes = resize_and_crop(image, geometry, job.resample).movedim(-1, 0)
            normalize(planes, [job.normalization], [job.output[index]])


def normalized(
    planes: torch.Tensor, normalizations: Sequence[Normalization], dtypes: Sequence[torch.dtype]
) -> tuple[torch.Tensor, ...]:
    """One new tensor per normalisation from a uint8 view (..., 3, H, W), on the device where it is.

    The comments count the bytes that each line reads and writes per element (one channel of one pixel). For two
    float32 targets they add up to 45; one fused pass reads 1 and writes 8.
    """
    x = planes.to(torch.float32, memory_format=torch.contiguous_format)  # reads 1, writes 4
    started: dict[Order, torch.Tensor] = {}
    outputs = []
    for normalization, dtype in zip(normalizations, dtypes, strict=True):
        order = normalization.order
        if order not in started:
            started[order] = _started(x, order)  # reads 4, writes 4
        subtrahend, divisor = constants_of(normalization, planes.device)
        d = started[order] - subtrahend  # reads 4, writes 4
        y = d / divisor  # reads 4, writes 4
        outputs.append(y.to(dtype))  # nothing for float32; else reads 4, writes 2
    return tuple(outputs)


def _started(x: torch.Tensor, order: Order) -> torch.Tensor:
    if order == "fused":
        return x
    if order == "to_dtype":
        return x * INVERSE_FULL_SCALE  # a Python number, which torch rounds to float32 here
    # On CUDA a division by a Python number becomes a multiplication by its reciprocal, which rounds differently:
    # every divisor is a tensor on the same device.
    divisor = HALF_SCALE if order == "scale_shift" else FULL_SCALE
    return x / torch.tensor(divisor, dtype=torch.float32, device=x.device)


def constants_of(normalization: Normalization, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """What is subtracted and what is divided by, as float32 shaped to broadcast over (..., 3, H, W)."""
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=device).view(3, 1, 1)
        for values in (normalization.mean, normalization.std)
    )
    if normalization.order == "fused":
        return mean * FULL_SCALE, std * FULL_SCALE
    if normalization.order == "scale_shift":
        return torch.ones_like(mean), torch.ones_like(std)
    return mean, std


def resize_and_crop(image: torch.Tensor, geometry: Geometry, resample: Filter) -> torch.Tensor:
    """The image resized, cropped and padded with zeros, on the device where it is.

    Args:
        image: uint8, (H, W, C), of the size `geometry.source`; any strides.
        geometry: From `fastnorm.spec.geometry.geometry`.
        resample: One of `fastnorm.spec.filters.FILTERS`.

    Returns:
        A new uint8 tensor (rows, columns, C) of the size `geometry.output`. Only what the crop shows is computed.
    """
    horizontal = (_COLUMNS, geometry.source.width, geometry.resized.width, geometry.columns)
    vertical = (_ROWS, geometry.source.height, geometry.resized.height, geometry.rows)
    first, second = (vertical, horizontal) if geometry.vertical_first else (horizontal, vertical)
    # The first pass runs over those lines alone that the second one reads.
    axis, source, resized, span = second
    read = source_range(source, resized, span, resample)
    pixels = image.narrow(axis, read.start, len(read))
    pixels = _resize_axis(pixels, *first, resample)
    pixels = _resize_axis(pixels, *second, resample, origin=read.start)
    mirrored = [axis for axis, span in ((_ROWS, geometry.rows), (_COLUMNS, geometry.columns)) if span.mirrored]
    output = pixels.new_zeros(*geometry.output, pixels.shape[-1])
    output[_shown(geometry.rows), _shown(geometry.columns)] = pixels.flip(mirrored)
    return output


def source_range(source: int, resized: int, span: Span, resample: Filter) -> range:
    """The source pixels of one axis that the resized pixels `span` are made of."""
    if source == resized:
        return range(span.start, span.stop)
    table, last = coefficients(source, resized, resample), span.stop - 1
    return range(int(table.first[span.start]), int(table.first[last] + table.count[last]))


def _resize_axis(
    pixels: torch.Tensor, axis: int, source: int, resized: int, span: Span, resample: Filter, origin: int = 0
) -> torch.Tensor:
    """The resized pixels `span` of one axis, from `pixels`, which on that axis begin at source pixel `origin`."""
    if source == resized:
        return pixels.narrow(axis, span.start - origin, span.count)
    table, shown = coefficients(source, resized, resample), slice(span.start, span.stop)
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
