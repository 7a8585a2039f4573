"""Preprocessing on the CPU by the native code: one walk over an image's rows writes every target.

What the walk cannot take is decided here, before anything is written (`suits`, `takes`), and left to Pillow and torch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch.autograd.graph import increment_version

from fastnorm.backends.base import TargetJob
from fastnorm.backends.cpu import preprocessing
from fastnorm.backends.cpu.native import Engine
from fastnorm.backends.cpu.pillow import PilOrTensor
from fastnorm.runtime import threads
from fastnorm.spec.filters import Filter
from fastnorm.spec.geometry import Geometry
from fastnorm_native import arrow, resize
from fastnorm_native.normalize import DTYPES, prepared
from fastnorm_native.resize import Axis, Crop, Kernel, Output, Pixels

# An image of several memory blocks is copied in strips of this many bytes, which stay in a core's cache.
STRIP_BYTES = 1 << 20
# An image is cut into bands for several threads where each gets as many source pixels: half a millisecond of work,
# which is some times what it takes to start a thread.
BAND_PIXELS = 1 << 18


def suits(job: TargetJob) -> bool:
    """Whether the walk has a target's filter, and its way to crop and pad."""
    if not resize.has(kernel_of(job.resample)):
        return False
    return all(
        geometry.box is None and (geometry.pad.is_black or not geometry.is_padded) for geometry in job.geometries
    )


def takes(job: TargetJob, index: int) -> bool:
    """Whether the walk takes an image for a target that suits it."""
    geometry = job.geometries[index]
    return _can_resize(kernel_of(job.resample), *_axes(geometry), geometry.vertical_first) and _is_aligned(job.output)


def preprocess(engine: Engine, images: Sequence[PilOrTensor], jobs: Sequence[TargetJob]) -> None:
    """Write every job's output; arguments as for `fastnorm.backends.cpu.preprocessing.preprocess`."""
    others = [job for job in jobs if not suits(job)]
    if others:
        preprocessing.preprocess(images, others)
        jobs = [job for job in jobs if suits(job)]
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


def _walk(engine: Engine, images: Sequence[PilOrTensor], jobs: Sequence[TargetJob], indices: Sequence[int]) -> None:
    views = _shared(jobs)
    spare = torch.get_num_threads() // len(indices)  # threads for each image
    # The largest images first, so that no thread begins one when the others are done.
    by_size = sorted(indices, key=lambda index: math.prod(views[0].geometries[index].source), reverse=True)
    threads.run([work for index in by_size for work in _work(engine, images[index], views, index, spare)])
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


def _work(
    engine: Engine, image: PilOrTensor, views: Sequence[_View], index: int, spare: int
) -> list[Callable[[], None]]:
    """What there is to do for one image, for as many threads as it is worth."""
    bands = min(spare, math.prod(views[0].geometries[index].source) // BAND_PIXELS)
    bands = max(1, min(bands, *(view.geometries[index].rows.count for view in views)))
    if isinstance(image, torch.Tensor):
        height, width, _ = image.shape
        pixels = Pixels(image.data_ptr(), *_three(image.stride()), 0, height, 0, width)
        return [functools.partial(_write, engine, pixels, image, views, index, bands)]
    lent = arrow.lent_bytes(image)
    if lent is not None and lent.length == 4 * image.width * image.height:
        pixels = Pixels(lent.address, 4 * image.width, 4, 1, 0, image.height, 0, image.width)
        return [functools.partial(_write, engine, pixels, lent, views, index, bands)]
    return [functools.partial(_write_by_strips, engine, image, views, index, band, bands) for band in range(bands)]


def _write(engine: Engine, pixels: Pixels, owner: object, views: Sequence[_View], index: int, bands: int) -> None:
    del owner  # kept alive so long
    crops = [_crop(engine, view, index) for view in views]
    resize.resize(engine.library, engine.instructions, pixels, crops, bands)


def _write_by_strips(
    engine: Engine, image: Image.Image, views: Sequence[_View], index: int, band: int, bands: int
) -> None:
    """Write a band of every crop of an image whose memory is not to be had, but for copies of parts of it."""
    crops = [_crop(engine, view, index) for view in views]
    with resize.Walk(engine.library, engine.instructions, crops, band, bands) as walk:
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
                walk.take(Pixels(codes.ctypes.data, *_three(codes.strides), row, count, left, strip.width))


# --- records


def kernel_of(resample: Filter) -> Kernel:
    """A filter as the native code knows it."""
    return Kernel(resample.name, resample.arithmetic)


def _three(strides: Sequence[int]) -> tuple[int, int, int]:
    rows, columns, channels = strides
    return rows, columns, channels


def _crop(engine: Engine, view: _View, index: int) -> Crop:
    geometry, kernel = view.geometries[index], kernel_of(view.resample)
    rows, columns = geometry.rows, geometry.columns
    column_axis, row_axis = _axes(geometry)
    return Crop(
        resize.columns_table(engine.library, engine.instructions, kernel, column_axis, columns.mirrored),
        resize.rows_table(engine.library, engine.instructions, kernel, row_axis),
        geometry.vertical_first,
        rows.mirrored,
        rows.offset,
        rows.length,
        columns.offset,
        columns.length,
        [_output(engine, job, index) for job in view.jobs],
    )


def _output(engine: Engine, job: TargetJob, index: int) -> Output:
    dtype, size = DTYPES[job.output.dtype]
    image, channel, row, column = job.output.stride()
    first = index * image
    if job.is_bgr:  # from red, the last channel, backwards
        first, channel = first + 2 * channel, -channel
    normalization = prepared(engine.library, job.normalization.mean, job.normalization.std, job.normalization.order)
    return Output(job.output.data_ptr() + size * first, normalization, dtype, image, channel, row, column)


def _axes(geometry: Geometry) -> tuple[Axis, Axis]:
    """The columns and the rows."""
    source, resized, rows, columns = geometry.source, geometry.resized, geometry.rows, geometry.columns
    return (
        Axis(source.width, resized.width, columns.start, columns.count),
        Axis(source.height, resized.height, rows.start, rows.count),
    )


_can_resize = functools.lru_cache(maxsize=1024)(resize.can_resize)


def _is_aligned(output: torch.Tensor) -> bool:
    return output.data_ptr() % output.element_size() == 0
