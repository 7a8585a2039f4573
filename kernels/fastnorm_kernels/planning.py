"""Plans the resizing passes: the jobs of a set of images and targets, and the tables that they need.

A job is one image for one target. What its records say depends on sizes and strides alone, up to the addresses of
images and outputs, which each call adds.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from .division import Triple, values
from .jobs import LineJob, OutputJob, Pixels, TableJob, Weight

# What these classes of fastnorm's have to offer is what is used of them here; nothing of fastnorm's is imported.
Geometry = (
    Any  # source, resized, rows and columns (spans), vertical_first, row_box, column_box, is_padded, pad, gathers
)
Span = Any  # start, count, offset, length, mirrored
Filter = Any  # name, support, arithmetic
Coefficients = Any  # first, count, fixed

Words = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]  # of one class of job: its fields, each an int64

TILE = 32  # pixels along a line of any kernel's tile, and across in the second pass; tables and lines are whole tiles
MAX_JOBS = 65535  # per launch, on the last axis of its grid
MAX_PIXELS = 2**28  # of the intermediate, which is 1 GiB: jobs beyond them come in launches of their own

LINES = 16  # of a first-pass tile: a thread has four, for which it loads its coefficients once
ONE = 1 << 22  # a coefficient of 1.0, in either arithmetic
GROUP = 4  # taps that a first pass by words takes first
EIGHT = 2 * GROUP  # taps that it then takes at a time
PAIR = 2  # taps that the second pass takes at a time
SLACK = 2.0**-26  # pixels; more than float64 is off by, less than what makes a coefficient other than zero
WEIGHTS = {weight.name.lower(): weight for weight in Weight}


class Source(NamedTuple):
    """Where an image lies on the device; strides in bytes, and any."""

    address: int  # of its first byte
    height: int
    width: int
    row_stride: int
    pixel_stride: int
    channel_stride: int


@dataclass(frozen=True)
class ResizeTarget:
    """What becomes of all images for one target; `output[i]` is image i, of the size that all geometries give.

    What lies around an image is written where it is black or made of its pixels, and is otherwise left as it is.
    """

    filter: Filter
    coefficients: Callable[..., Coefficients]  # of (source, resized, box=), where the device does not make the table
    mean: Triple
    std: Triple
    geometries: Sequence[Geometry]  # one per image
    output: torch.Tensor  # (N, 3, height, width), float32, float16 or bfloat16; any strides without overlap
    order: str = "to_tensor"  # of normalising: see `division`
    is_bgr: bool = False  # whether the output's channels are B, G, R


class Axis(NamedTuple):
    """One axis of one job: what is resized, and what is shown of it."""

    source: int
    resized: int
    filter: str
    support: float
    start: int
    shown: int  # the span's count
    offset: int
    length: int
    mirrored: bool
    box: tuple[float, float] | None = None  # the part of the source that is stretched; None: all of it
    at: tuple[int, ...] | None = None  # for each pixel, which of the shown ones it is, if padding repeats some

    @property
    def is_given(self) -> bool:
        """Whether the host makes the table."""
        return self.filter not in WEIGHTS or self.box is not None or self.at is not None

    @property
    def last(self) -> int:
        return self.start + self.shown - 1


class Jobs:
    """The distinct jobs of a call, and the distinct tables that they need.

    A job's `table` is the table's number, its `values` the target's. To its `source` and its `intermediate` is yet to
    be added where the image and its part of the intermediate begin, to its `output` where the image's output does.
    """

    def __init__(self, targets: Sequence[ResizeTarget]) -> None:
        self.targets = targets
        self.strides = [target.output.stride() for target in targets]
        self.vectors = [vector_of(target.output) for target in targets]
        self.lines: list[LineJob] = []
        self.line_kinds: list[Pixels] = []
        self.outputs: list[OutputJob] = []
        self.output_kinds: list[int] = []  # indices of `stores`
        self.stores: list[tuple[torch.dtype, int]] = []  # kinds of output: dtype and vector
        self.pixels: list[int] = []  # of the intermediate
        self.tables: list[TableJob] = []  # those that the device makes
        self.given: dict[int, Words] = {}  # the others, by number
        self.table_words: list[int] = []  # of 64 bits, by number
        self._geometries: list[Geometry] = []  # which are told apart by their ids, and so have to stay
        self._templates: dict[tuple[int, ...], int] = {}
        self._numbers: dict[tuple[Axis, int, bool], int] = {}

    def number(self, index: int, source: Source, geometry: Geometry) -> int:
        """The number of the job that is this one but for its addresses."""
        key = (index, id(geometry), *source[1:])
        number = self._templates.get(key)
        if number is None:
            number = self._templates[key] = len(self.lines)
            self._geometries.append(geometry)
            self._add(index, source, geometry)
        return number

    def _add(self, index: int, source: Source, geometry: Geometry) -> None:
        target = self.targets[index]
        rows, columns = axes_of(geometry, target)
        output, begin = target.output, 0
        if _leaves_borders(geometry):
            begin = rows.offset * self.strides[index][2] + columns.offset * self.strides[index][3]
            rows, columns = (axis._replace(offset=0, length=axis.shown) for axis in (rows, columns))
        along, across = columns, rows
        step, line_step = source.pixel_stride, source.row_stride
        _, channel_step, across_step, along_step = self.strides[index]
        if target.is_bgr:  # from red, the last channel, backwards
            begin, channel_step = begin + 2 * channel_step, -channel_step
        vector = self.vectors[index]
        if begin % vector or columns.length % vector:
            vector = 1
        if geometry.vertical_first:
            along, across = rows, columns
            step, line_step = line_step, step
            along_step, across_step = across_step, along_step
            vector = 1
        store = (output.dtype, vector)
        if store not in self.stores:
            self.stores.append(store)

        taps = _taps(along, target)
        pitch = _round_up(along.length, TILE)
        across_taps = _round_up(_taps(across, target), PAIR)
        top = _start(across, across_taps, across.start, target)
        bottom = _start(across, across_taps, across.last, target) + across_taps
        lines = min(bottom, across.source) - top
        kind = Pixels.STRIDED if geometry.vertical_first else _pixels(source, lines, taps, pitch)
        if kind is not Pixels.STRIDED:
            taps = _word_taps(taps)
        self.line_kinds.append(kind)
        self.lines.append(
            LineJob(
                source=top * line_step,
                step=step,
                line_step=line_step,
                channel_step=source.channel_stride,
                lines=lines,
                table=self._table(along, taps, target, split=kind is not Pixels.STRIDED),
                taps=taps,
                pitch=pitch,
                intermediate=0,
            )
        )
        self.output_kinds.append(self.stores.index(store))
        self.outputs.append(
            OutputJob(
                intermediate=-top * pitch,
                pitch=pitch,
                table=self._table(across, across_taps, target, split=False),
                table_pitch=_round_up(across.length, TILE),
                taps=across_taps,
                values=index,
                output=begin * output.element_size(),
                along_step=along_step,
                across_step=across_step,
                channel_step=channel_step,
                along=along.length,
                across=across.length,
            )
        )
        # A pair of taps may reach past the image's last line; whatever is read there counts nothing.
        self.pixels.append((bottom - top) * pitch)

    def _table(self, axis: Axis, taps: int, target: ResizeTarget, split: bool) -> int:
        key = (axis, taps, split)
        number = self._numbers.get(key)
        if number is not None:
            return number
        number = self._numbers[key] = len(self._numbers)
        job = _table_job(number, axis, taps, split)
        self.table_words.append(table_bytes(job.pitch, taps, split) // 8)
        if axis.is_given:
            self.given[number] = _table(job, _coefficients(axis, target), axis.at)
        else:
            self.tables.append(job)
        return number


def axes_of(geometry: Geometry, target: ResizeTarget) -> tuple[Axis, Axis]:
    """The rows' axis and the columns'."""
    kernel = target.filter
    rows = _axis(geometry.source[0], geometry.resized[0], geometry.rows, kernel, geometry.row_box)
    columns = _axis(geometry.source[1], geometry.resized[1], geometry.columns, kernel, geometry.column_box)
    if geometry.is_padded and geometry.pad.mode != "constant":
        by_row, by_column = geometry.gathers()
        return _gathered(rows, *by_row), _gathered(columns, *by_column)
    return rows, columns


def _axis(source: int, resized: int, span: Span, kernel: Filter, box: tuple[float, float] | None = None) -> Axis:
    # An axis that keeps its size has one table, whatever the filter: the identity, which one tap makes.
    name, support = ("box", 0.5) if source == resized and box is None else (_name(kernel), kernel.support)
    return Axis(source, resized, name, support, span.start, span.count, span.offset, span.length, span.mirrored, box)


def _gathered(axis: Axis, span: Span, at: npt.NDArray[np.int64]) -> Axis:
    """The axis of a crop that is padded with pixels of the image."""
    plain = (span.start, span.count, 0, axis.length, False)
    return Axis(axis.source, axis.resized, axis.filter, axis.support, *plain, axis.box, tuple(at.tolist()))


def _leaves_borders(geometry: Geometry) -> bool:
    return bool(geometry.is_padded and geometry.pad.mode == "constant" and not geometry.pad.is_black)


def _name(kernel: Filter) -> str:
    """A filter's name, by which WEIGHTS finds it.

    torch's tables are the host's: how each weight is rounded depends on all of them.
    """
    return kernel.name if kernel.arithmetic == "pillow" else f"{kernel.arithmetic} {kernel.name}"


def _window(axis: Axis, pixel: int) -> tuple[int, int]:
    """The source pixels that count for a resized pixel, as Pillow finds them: the first, and that after the last."""
    low, high = axis.box or (0.0, float(axis.source))
    scale = (high - low) / axis.resized
    centre, support = low + (pixel + 0.5) * scale, axis.support * max(scale, 1.0)
    return max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), axis.source)


def _taps(axis: Axis, target: ResizeTarget) -> int:
    """How many source pixels in a row hold all of an output pixel's coefficients other than zero.

    For box that is every pixel of a window. The other filters go to zero continuously, so where a window holds a pixel
    more than its width has room for, by a rounding of its ends, the first or the last has no part in the result.
    """
    if axis.filter not in WEIGHTS or axis.box is not None:
        return int(_coefficients(axis, target).fixed.shape[1])
    width = 2.0 * axis.support * max(axis.source / axis.resized, 1.0)
    taps = math.floor(width + SLACK) + 1 if axis.filter == "box" else math.ceil(width - SLACK)
    return min(taps, axis.source)


def _coefficients(axis: Axis, target: ResizeTarget) -> Coefficients:
    """The table of an axis, from the host; of one that keeps its size with no more than the one tap."""
    if axis.source == axis.resized and axis.box is None:
        return SimpleNamespace(first=np.arange(axis.source), fixed=np.full((axis.source, 1), ONE, np.int32))
    return target.coefficients(axis.source, axis.resized, box=axis.box)


def _start(axis: Axis, taps: int, pixel: int, target: ResizeTarget) -> int:
    """The first tap of a resized pixel, pushed back from the end of the axis."""
    first = _window(axis, pixel)[0]
    if axis.filter not in WEIGHTS or axis.box is not None:
        first = int(_coefficients(axis, target).first[pixel])
    return min(first, max(axis.source - taps, 0))


def extent(axes: Sequence[Axis]) -> int:
    """The length of the smallest interval of source pixels that holds what several targets read of an axis."""
    starts, stops = zip(*((_window(a, a.start)[0], _window(a, a.last)[1]) for a in axes), strict=True)
    return int(max(stops) - min(starts))


def _table_job(number: int, axis: Axis, taps: int, split: bool) -> TableJob:
    return TableJob(
        table=number,
        pitch=_round_up(axis.length, TILE),
        taps=taps,
        source=axis.source,
        resized=axis.resized,
        kind=WEIGHTS.get(axis.filter, Weight.BOX),
        origin=axis.last + axis.offset if axis.mirrored else axis.start - axis.offset,
        direction=-1 if axis.mirrored else 1,
        low=axis.start,
        high=axis.last,
        split=split,
    )


def table_bytes(pitch: int, taps: int, split: bool) -> int:
    """The size of a table: the first taps, then the coefficients by eights or by pairs, as `_tables_kernel` says."""
    return 4 * pitch + (24 * pitch * (taps // EIGHT + 1) if split else 8 * pitch * -(-taps // PAIR))


def _table(job: TableJob, coefficients: Coefficients, repeated: Sequence[int] | None = None) -> Words:
    """The memory of the table that `_tables_kernel` would make of these coefficients, of repeated pixels or not."""
    memory = np.zeros(table_bytes(job.pitch, job.taps, job.split) // 8, dtype=np.int64)
    numbers = memory.view(np.int32)
    shown = job.origin + job.direction * np.arange(job.pitch)
    if repeated is not None:
        shown[: len(repeated)] = job.low + np.array(repeated)
    at = shown.clip(job.low, job.high)
    first = coefficients.first[at]
    start = np.minimum(first, max(job.source - job.taps, 0))
    numbers[: job.pitch] = start
    fixed = np.where((shown == at)[:, None], coefficients.fixed[at], 0)
    pixel, tap = np.nonzero(fixed)
    tap_of_start = tap + (first - start)[pixel]
    if job.split:
        eights = numbers[job.pitch :].view(np.uint8).reshape(-1, job.taps // EIGHT + 1, 3, 8 * TILE)
        low = eights[:, :, :2].view(np.uint16).reshape(*eights.shape[:2], 2, TILE, GROUP)
        high = eights[:, :, 2].reshape(*eights.shape[:2], TILE, EIGHT)
        tile, column = pixel // TILE, pixel % TILE
        slot = tap_of_start + GROUP
        low[tile, slot // EIGHT, slot % EIGHT // GROUP, column, slot % GROUP] = fixed[pixel, tap] & 0xFFFF
        high[tile, slot // EIGHT, column, slot % EIGHT] = fixed[pixel, tap] >> 16 & 0xFF
    else:
        pairs = numbers[job.pitch :].reshape(-1, job.pitch, PAIR)
        pairs[tap_of_start // PAIR, pixel, tap_of_start % PAIR] = fixed[pixel, tap]
    return memory


def _pixels(source: Source, lines: int, taps: int, pitch: int) -> Pixels:
    """How the first pass reads the rows of an image: by words, if lines fill a block and taps leave room for eights.

    Four times the steps between lines, of the image and of the intermediate, then have to fit into 32 bits.
    """
    fits = 0 <= source.row_stride < 2**29 and pitch < 2**27
    if fits and lines >= LINES and _word_taps(taps) <= source.width:
        if (source.pixel_stride, source.channel_stride) == (3, 1):
            return Pixels.INTERLEAVED
        if source.pixel_stride == 1:
            return Pixels.PLANAR
    return Pixels.STRIDED


def _word_taps(taps: int) -> int:
    """So many taps or more, as a first pass by words takes them."""
    return GROUP + _round_up(max(taps - GROUP, 0), EIGHT)


def vector_of(output: torch.Tensor) -> int:
    """How many pixels of a row one store takes: 16 bytes of them, or one."""
    vector = 16 // output.element_size()
    steps = (output.stride(0), output.stride(1), output.stride(2), output.shape[3])
    whole = output.stride(3) == 1 and output.data_ptr() % 16 == 0 and all(step % vector == 0 for step in steps)
    return vector if whole else 1


@functools.lru_cache(maxsize=256)  # of 1.5 or 3 KB
def values_of(mean: Triple, std: Triple, dtype: torch.dtype, order: str) -> Words:
    """The normalised value of each code of each channel, rounded to `dtype`."""
    exact = torch.tensor(values(mean, std, order), dtype=torch.float32, device="cpu")
    words: Words = exact.to(dtype).view(torch.uint8).numpy().view(np.int64).ravel()
    return words


def records_of(record: type[NamedTuple], jobs: Sequence[Any]) -> Records:
    return np.array(jobs, dtype=[(name, np.int64) for name in record._fields])


def chunks(pixels: Words) -> tuple[Words, Words, int]:
    """Each job's chunk, the place of its pixels in the intermediate, and how many pixels that has to have."""
    begin = np.cumsum(pixels) - pixels
    chunk = begin // MAX_PIXELS + np.arange(len(pixels)) // MAX_JOBS
    begin -= begin[np.searchsorted(chunk, chunk)]
    return chunk, begin, int((begin + pixels).max())


def runs(chunk: Words, kind: Words) -> tuple[Words, list[tuple[int, int, slice]]]:
    """The order of the jobs by chunk and kind, and where the jobs of one chunk and kind then lie."""
    order = np.lexsort((kind, chunk))
    chunk, kind = chunk[order], kind[order]
    changes = np.flatnonzero((np.diff(chunk) != 0) | (np.diff(kind) != 0)) + 1
    edges = itertools.pairwise([0, *changes.tolist(), len(order)])
    return order, [(int(chunk[first]), int(kind[first]), slice(first, last)) for first, last in edges]


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
