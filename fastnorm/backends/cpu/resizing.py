"""Preprocessing on the CPU by the native code: one walk over an image's rows writes every target.

What the walk cannot take is decided here, before anything is written (`takes`), and left to Pillow and torch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from fastnorm_native import arrow, resize
from fastnorm_native.normalize import DTYPES, prepared
from fastnorm_native.resize import Axis, Crop, Output, Pixels
from PIL import Image
from torch.autograd.graph import increment_version

from fastnorm.backends.base import TargetJob
from fastnorm.backends.cpu import preprocessing
from fastnorm.backends.cpu.native import Engine
from fastnorm.backends.cpu.pillow import Picture
from fastnorm.runtime import threads
from fastnorm.spec.filters import Filter
from fastnorm.spec.geometry import Geometry, Span
from fastnorm.spec.normalization import CHANNELS

# An image of several memory blocks is copied in strips of this many bytes, which stay in a core's cache.
STRIP_BYTES = 1 << 20
# An image is cut into bands for several threads where each gets as many source pixels: half a millisecond of work, which
# is some times what it takes to start a thread.
BAND_PIXELS = 1 << 18


def takes(job: TargetJob, index: int) -> bool:
    """Whether the walk takes an image for this target."""
    geometry, output = job.geometries[index], job.output
    columns, rows = _axis(geometry.columns, geometry, "width"), _axis(geometry.rows, geometry, "height")
    return _can_resize(job.resample.name, columns, rows, geometry.vertical_first) and _is_aligned(output)


def preprocess(engine: Engine, images: Sequence[Picture], jobs: Sequence[TargetJob]) -> None:
    """Write every job's output; arguments as for `fastnorm.backends.cpu.preprocessing.preprocess`."""
    if not jobs:
        return
    left_out = [index for index in range(len(images)) if not all(takes(job, index) for job in jobs)]
    walked = [index for index in range(len(images)) if index not in left_out] if left_out else range(len(images))
    if walked:
        _walk(engine, images, jobs, walked)
    for index in left_out:
        preprocessing.preprocess([images[index]], [_only(job, index) for job in jobs])


def _only(job: TargetJob, index: int) -> TargetJob:
    return replace(job, geometries=job.geometries[index : index + 1], output=job.output[index : index + 1])


def _walk(engine: Engine, images: Sequence[Picture], jobs: Sequence[TargetJob], indices: Sequence[int]) -> None:
    views = _shared(jobs)
    parts = min(torch.get_num_threads() // max(1, len(indices)), 64)
    # The largest images first, so that no thread begins one when the others are done.
    by_size = sorted(indices, key=lambda index: math.prod(views[0].geometries[index].source), reverse=True)
    work: list[Callable[[], None]] = []
    for index in by_size:
        cuts = min(parts, math.prod(views[0].geometries[index].source) // BAND_PIXELS)
        cuts = min(cuts, *(view.geometries[index].rows.count for view in views))
        for band in range(max(1, cuts)):
            work.append(functools.partial(_write, engine, images[index], views, index, band, max(1, cuts)))
    threads.run(work)
    increment_version([job.output for job in jobs])  # autograd learns of writes that torch has not seen


@dataclass(frozen=True)
class _View:
    """Targets that show the same pixels of every image."""

    resample: Filter
    geometries: tuple[Geometry, ...]
    jobs: list[TargetJob]


def _shared(jobs: Sequence[TargetJob]) -> list[_View]:
    views: list[_View] = []
    for job in jobs:
        for view in views:
            if view.resample is job.resample and view.geometries == job.geometries:
                view.jobs.append(job)
                break
        else:
            views.append(_View(job.resample, job.geometries, [job]))
    return views


def _write(engine: Engine, image: Picture, views: Sequence[_View], index: int, band: int, bands: int) -> None:
    """Write band number `band` of one image's crops; each is cut into as many bands of rows."""
    crops = [_crop(engine, view, index, band, bands) for view in views]
    if isinstance(image, torch.Tensor):
        height, width, _ = image.shape
        pixels = Pixels(image.data_ptr(), *image.stride(), 0, height, 0, width)
        resize.resize(engine.library, engine.instructions, pixels, crops)
        return
    lent = arrow.lent_bytes(image)
    if lent is not None and lent.length == 4 * image.width * image.height:
        pixels = Pixels(lent.address, 4 * image.width, 4, 1, 0, image.height, 0, image.width)
        resize.resize(engine.library, engine.instructions, pixels, crops)
    else:
        _write_by_strips(engine, image, crops)


def _write_by_strips(engine: Engine, image: Image.Image, crops: Sequence[Crop]) -> None:
    with resize.Walk(engine.library, engine.instructions, crops) as walk:
        first, end, left, right = walk.extent
        rows = max(1, STRIP_BYTES // (4 * (right - left) * resize.STEP)) * resize.STEP
        strip = Image.new("RGB", (right - left, min(rows, end - first)), None)
        for row in range(first, min(end, image.height), rows):
            strip.paste(image, (-left, -row))
            count = min(strip.height, image.height - row)
            lent = arrow.lent_bytes(strip)
            if lent is not None:
                walk.take(Pixels(lent.address, 4 * strip.width, 4, 1, row, count, left, strip.width))
            else:  # always so with a Pillow that does not lend
                codes = np.asarray(strip)
                walk.take(Pixels(codes.ctypes.data, *codes.strides, row, count, left, strip.width))


# --- records


def _crop(engine: Engine, view: _View, index: int, band: int, bands: int) -> Crop:
    geometry, resample = view.geometries[index], view.resample.name
    rows, row = _band(geometry.rows, band, bands)
    columns = geometry.columns
    return Crop(
        resize.columns_table(
            engine.library,
            engine.instructions,
            resample,
            Axis(geometry.source.width, geometry.resized.width, columns.start, columns.count),
            columns.mirrored,
        ),
        resize.rows_table(
            engine.library,
            engine.instructions,
            resample,
            Axis(geometry.source.height, geometry.resized.height, rows.start, rows.count),
        ),
        geometry.vertical_first,
        rows.mirrored,
        rows.offset,
        rows.length,
        columns.offset,
        columns.length,
        [_output(engine, job, index, row) for job in view.jobs],
    )


def _output(engine: Engine, job: TargetJob, index: int, row: int) -> Output:
    """Image `index` of an output, from `row` on."""
    dtype, size = DTYPES[job.output.dtype]
    strides = job.output.stride()
    normalization = prepared(engine.library, job.normalization.mean, job.normalization.std)
    address = job.output.data_ptr() + size * (index * strides[0] + row * strides[2])
    return Output(address, normalization.address, dtype, *strides)


def _band(rows: Span, band: int, bands: int) -> tuple[Span, int]:
    """Band number `band` of the shown rows, counted as they are shown, and the crop's row that it begins with.

    Padding goes to the band beside it.
    """
    if bands == 1:
        return rows, 0
    low, high = rows.count * band // bands, rows.count * (band + 1) // bands
    start = rows.stop - high if rows.mirrored else rows.start + low
    begin = 0 if band == 0 else rows.offset + low
    end = rows.length if band == bands - 1 else rows.offset + high
    return Span(start, high - low, rows.offset + low - begin, end - begin, rows.mirrored), begin


def _axis(span: Span, geometry: Geometry, side: str) -> Axis:
    return Axis(getattr(geometry.source, side), getattr(geometry.resized, side), span.start, span.count)


_can_resize = functools.lru_cache(maxsize=1024)(resize.can_resize)


def _is_aligned(output: torch.Tensor) -> bool:
    return output.data_ptr() % output.element_size() == 0 and output.shape[-3] == CHANNELS
