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
of a uint8 tensor on a CPU is the same with other coefficients (see `fastnorm.spec.filters`), rows first. Steps before
the last one make uint8 images too, in Pillow's way or by block means. Padding that is given in pixel values is part of
the uint8 image; padding that is given as values of the output is written last. An output in the order B, G, R is that
in the order R, G, B with its channels the other way round.

The way back, for every normalised value y of whichever order, again in float32 and in this order:

    t = y * std[c];  p = t + mean[c]  the pixel, 1.0 being full scale

    as uint8:          v = p * 255, then the nearest of the integers 0 to 255, halves to even; NaN is 0
    as a float:        p within 0 to 1; NaN stays NaN
    renormalised:      d = p - target mean[c];  z = d / target std[c]

then one rounding to nearest even to the output's dtype. Renormalised values are not clipped.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from fastnorm.backends.base import TargetJob
from fastnorm.backends.staging import fill_borders, in_stages
from fastnorm.images.batch import Images
from fastnorm.spec.filters import FRACTION_BITS, HALF, Filter, Interval, coefficients, filter_of
from fastnorm.spec.geometry import Geometry, Reduction, Span, Stage
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
    in_stages(images, jobs, steps, _preprocess)


def _preprocess(images: Images, jobs: Sequence[TargetJob]) -> None:
    for job in jobs:
        for index, (image, geometry) in enumerate(zip(images.as_tensors(), job.geometries, strict=True)):
            planes = resize_and_crop(image, geometry, job.resample).movedim(-1, 0)
            (values,) = normalized(planes, [job.normalization], [job.output.dtype])
            job.output[index] = values.flip(0) if job.is_bgr else values
        fill_borders(job)


def steps(images: Images, before: Sequence[Sequence[Stage | Reduction]]) -> list[torch.Tensor]:
    """What the steps before the last make of each image, (H, W, 3)."""
    return [_stepped(image, its) for image, its in zip(images.as_tensors(), before, strict=True)]


def _stepped(image: torch.Tensor, before: Sequence[Stage | Reduction]) -> torch.Tensor:
    for step in before:
        if isinstance(step, Reduction):
            image = reduce(image, step)
        elif step.geometry.only_cuts:
            rows, columns = step.geometry.rows, step.geometry.columns
            image = image[rows.start : rows.stop, columns.start : columns.stop]
        else:
            image = resize_and_crop(image, step.geometry, filter_of(step.resample))
    return image


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


def channel_constants(values: tuple[float, float, float], device: torch.device) -> torch.Tensor:
    """Three per-channel constants, rounded to float32, shaped to broadcast over (..., 3, H, W)."""
    return torch.tensor(values, dtype=torch.float32, device=device).view(3, 1, 1)


def constants_of(normalization: Normalization, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """What is subtracted and what is divided by, as float32 shaped to broadcast over (..., 3, H, W)."""
    mean, std = channel_constants(normalization.mean, device), channel_constants(normalization.std, device)
    if normalization.order == "fused":
        return mean * FULL_SCALE, std * FULL_SCALE
    if normalization.order == "scale_shift":
        return torch.ones_like(mean), torch.ones_like(std)
    return mean, std


def denormalize(values: torch.Tensor, source: Normalization, output: torch.Tensor) -> None:
    """Fill a uint8 or float output from normalised values (..., 3, H, W)."""
    output.copy_(denormalized(values, source, output.dtype))


def renormalize(values: torch.Tensor, source: Normalization, target: Normalization, output: torch.Tensor) -> None:
    """Fill a float output from values (..., 3, H, W) of another normalisation."""
    output.copy_(renormalized(values, source, target, output.dtype))


def denormalized(values: torch.Tensor, source: Normalization, dtype: torch.dtype) -> torch.Tensor:
    """Pixels as a new tensor, on the device where the values are; a float dtype can be differentiated."""
    p = pixels(values, source)  # reads 4, writes 4, twice
    if dtype is not torch.uint8:
        return p.clamp(0, 1).to(dtype)
    v = p * FULL_SCALE  # reads 4, writes 4, as the next three do
    return v.nan_to_num(nan=0.0).clamp(0, FULL_SCALE).round().to(torch.uint8)


def renormalized(
    values: torch.Tensor, source: Normalization, target: Normalization, dtype: torch.dtype
) -> torch.Tensor:
    """What `target` gives where `source` gave `values`, as a new tensor; it can be differentiated."""
    d = pixels(values, source) - channel_constants(target.mean, values.device)
    return (d / channel_constants(target.std, values.device)).to(dtype)


def pixels(values: torch.Tensor, source: Normalization) -> torch.Tensor:
    """Normalised values in units of full scale, as float32."""
    return values.to(torch.float32) * channel_constants(source.std, values.device) + pixel_mean(source, values.device)


def pixel_mean(source: Normalization, device: torch.device) -> torch.Tensor:
    """The mean as it is added: 0.0 for -0.0, so that no sum is -0.0, of which a minimum may make either zero."""
    return channel_constants(source.mean, device) + 0.0


def resize_and_crop(image: torch.Tensor, geometry: Geometry, resample: Filter) -> torch.Tensor:
    """The image resized, cropped and padded, on the device where it is; the steps before are not taken.

    Args:
        image: uint8, (H, W, C), of the size `geometry.source`; any strides.
        geometry: From `fastnorm.spec.geometry.geometry`.
        resample: One of `fastnorm.spec.filters`.

    Returns:
        A new uint8 tensor (rows, columns, C) of the size `geometry.output`. Only what the crop shows is computed.
    """
    if geometry.is_padded and geometry.pad.mode != "constant":
        return _padded_by_pixels(image, geometry, resample)
    pixels = _resized(image, geometry, geometry.rows, geometry.columns, resample)
    mirrored = [axis for axis, span in ((_ROWS, geometry.rows), (_COLUMNS, geometry.columns)) if span.mirrored]
    output = pixels.new_empty(*geometry.output, pixels.shape[-1])
    if geometry.is_padded:
        output[:] = torch.tensor(geometry.pad.fill, dtype=torch.uint8, device=output.device)
    output[_shown(geometry.rows), _shown(geometry.columns)] = pixels.flip(mirrored)
    return output


def _padded_by_pixels(image: torch.Tensor, geometry: Geometry, resample: Filter) -> torch.Tensor:
    """The crop, with pixels of the resized image around it."""
    rows, columns = geometry.gathers()
    pixels = _resized(image, geometry, rows.span, columns.span, resample)
    at_row, at_column = (torch.tensor(axis.at.copy(), device=pixels.device) for axis in (rows, columns))
    return pixels[at_row[:, None], at_column[None, :]]


def _resized(image: torch.Tensor, geometry: Geometry, rows: Span, columns: Span, resample: Filter) -> torch.Tensor:
    """The pixels of the resized image that the spans show, neither padded nor mirrored."""
    source, resized = geometry.source, geometry.resized
    horizontal = (_COLUMNS, source.width, resized.width, columns, geometry.column_box)
    vertical = (_ROWS, source.height, resized.height, rows, geometry.row_box)
    first, second = (vertical, horizontal) if geometry.vertical_first else (horizontal, vertical)
    # The first pass runs over those lines alone that the second one reads.
    axis, length, new_length, span, box = second
    read = source_range(length, new_length, span, resample, box)
    pixels = image.narrow(axis, read.start, len(read))
    pixels = _resize_axis(pixels, *first, resample)
    return _resize_axis(pixels, *second, resample, origin=read.start)


def source_range(source: int, resized: int, span: Span, resample: Filter, box: Interval | None = None) -> range:
    """The source pixels of one axis that the resized pixels `span` are made of."""
    if source == resized and box is None:
        return range(span.start, span.stop)
    table, last = coefficients(source, resized, resample, box), span.stop - 1
    return range(int(table.first[span.start]), int(table.first[last] + table.count[last]))


def _resize_axis(
    pixels: torch.Tensor,
    axis: int,
    source: int,
    resized: int,
    span: Span,
    box: Interval | None,
    resample: Filter,
    origin: int = 0,
) -> torch.Tensor:
    """The resized pixels `span` of one axis, from `pixels`, which on that axis begin at source pixel `origin`."""
    if source == resized and box is None:
        return pixels.narrow(axis, span.start - origin, span.count)
    table, shown = coefficients(source, resized, resample, box), slice(span.start, span.stop)
    first = torch.tensor(table.first[shown] - origin, device=pixels.device)
    fixed = torch.tensor(table.fixed[shown], device=pixels.device)
    lines = pixels.movedim(axis, 0).to(torch.int32, memory_format=torch.contiguous_format)
    total = lines.new_full((span.count, *lines.shape[1:]), HALF)
    for tap in range(int(table.count[shown].max())):
        # Past a pixel's own last tap the coefficient is zero, and any line inside the image will do.
        index = (first + tap).clamp(max=lines.shape[0] - 1)
        total.addcmul_(lines[index], fixed[:, tap, None, None])
    return (total >> FRACTION_BITS).clamp(0, 255).to(torch.uint8).movedim(0, axis)


def reduce(image: torch.Tensor, step: Reduction) -> torch.Tensor:
    """Pillow's `Image.reduce`: the means of blocks, each a sum times a 24-bit reciprocal of the number of its pixels.

    Args:
        image: uint8, (H, W, C); any strides.
        step: What is reduced, and by how much.
    """
    pixels = image[step.rows.start : step.rows.stop, step.columns.start : step.columns.stop].to(torch.int64)
    sums = _block_sums(_block_sums(pixels, _ROWS, step.factor.height), _COLUMNS, step.factor.width)
    rows, columns = (
        _block_lengths(len(axis), factor)
        for axis, factor in ((step.rows, step.factor.height), (step.columns, step.factor.width))
    )
    counts = np.outer(rows, columns)
    # Pillow divides in float32, before it truncates.
    reciprocals = (np.float32(2**32) / (counts * 256).astype(np.float32)).astype(np.int64)
    count, reciprocal = (torch.tensor(table, device=image.device)[:, :, None] for table in (counts, reciprocals))
    return ((sums + count // 2) * reciprocal >> 24).to(torch.uint8)


def _block_sums(pixels: torch.Tensor, axis: int, factor: int) -> torch.Tensor:
    """Sums of `factor` lines each; the last block has what is left."""
    return torch.stack([block.sum(axis) for block in torch.split(pixels, factor, axis)], axis)


def _block_lengths(length: int, factor: int) -> npt.NDArray[np.int64]:
    return np.minimum(np.arange(0, length, factor) + factor, length) - np.arange(0, length, factor)


def _shown(span: Span) -> slice:
    return slice(span.offset, span.offset + span.count)
