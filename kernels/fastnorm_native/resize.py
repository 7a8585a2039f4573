"""Resizing, cropping and normalising by the native code, with Pillow's pixels or torch's.

An axis becomes a `Table`, two of them a `Crop`, and `resize` writes all crops of an image in one walk over its rows.
Where only a part of the image can be had at a time, a `Walk` takes one part after the other.
"""

from __future__ import annotations

import ctypes
import functools
import math
import struct
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .loading import Library
from .normalize import PreparedNormalization
from .records import Instructions

# As src/resize.h numbers them, with the distance from which a filter is zero, in output pixels.
FILTERS = {"box": (0, 0.5), "bilinear": (1, 1.0), "hamming": (2, 1.0), "bicubic": (3, 2.0), "lanczos": (4, 3.0)}
# Whose way to round the weights.
ARITHMETICS = {"pillow": 0, "torch": 1}

# Rows that a walk takes in one step.
STEP = 4
# Axes of up to this many pixels: positions are 32-bit numbers.
MAX_SIDE = 1 << 24
# Rows between the two passes, as src/walk.c bounds them.
MAX_RING_BYTES = 64 << 20

# Tables up to this size are kept for later calls; larger ones are rare, and would fill memory.
KEPT_TABLE_BYTES = 1 << 18
KEPT_TABLES = 128

_COLUMNS, _ROWS = 0, 1
_DONE, _NO_MEMORY = 0, 1


class Kernel(NamedTuple):
    """How an axis is resized: one of `FILTERS`, and one of `ARITHMETICS`."""

    filter: str
    arithmetic: str


class Axis(NamedTuple):
    """Pixels `start` to `start + length` of an axis that is resized from `source` to `resized` pixels."""

    source: int
    resized: int
    start: int
    length: int


class Table:
    """Which source pixels make each pixel of an axis, and how much each counts, packed for an instruction set."""

    def __init__(
        self, library: Library, instructions: Instructions, kernel: Kernel, kind: int, axis: Axis, mirrored: bool
    ) -> None:
        self.address: int | None = None
        self._functions = _functions(library)
        status = ctypes.c_int32()
        numbers = (FILTERS[kernel.filter][0], ARITHMETICS[kernel.arithmetic])
        self.address = self._functions.fastnorm_table_new(
            kind, *numbers, *axis, mirrored, instructions, ctypes.byref(status)
        )
        if self.address is None:
            raise _error(status.value, f"a table for {axis}")

    def __del__(self) -> None:
        if self.address is not None:
            self._functions.fastnorm_table_free(self.address)

    def unpacked(self, width: int) -> npt.NDArray[np.int32]:
        """For each pixel, the weights of source pixels 0 to `width`, as integers with 22 bits behind the point."""
        fixed = np.empty((self._functions.fastnorm_table_count(self.address), width), np.int32)
        self._functions.fastnorm_table_unpack(self.address, width, fixed.ctypes.data)
        return fixed


class Pixels(NamedTuple):
    """Where the pixels of an image lie, or of a part of it; strides in bytes, rows and columns counted in the image."""

    address: int
    row_stride: int
    column_stride: int
    channel_stride: int
    first_row: int
    rows: int
    first_column: int
    columns: int


class Output(NamedTuple):
    """A tensor to write, of one image; strides in elements."""

    address: int
    normalization: PreparedNormalization  # not its address alone: a cache may drop it while an image is walked
    dtype: int
    image_stride: int  # not looked at
    channel_stride: int
    row_stride: int
    column_stride: int


class Crop(NamedTuple):
    """A resized and cropped image in a frame of zeros, and the tensors that show it."""

    columns: Table
    rows: Table
    vertical_first: bool
    rows_mirrored: bool
    row_offset: int  # zeros before the rows
    row_length: int
    column_offset: int
    column_length: int
    outputs: Sequence[Output]


class Extent(NamedTuple):
    """The part of an image that a walk reads; `end_row` may lie up to three rows behind the image's last."""

    first_row: int
    end_row: int
    first_column: int
    end_column: int


def columns_table(
    library: Library, instructions: Instructions, kernel: Kernel, axis: Axis, mirrored: bool = False
) -> Table:
    """The table of an image's columns, in reverse order if they are mirrored."""
    make = _kept_table if _about_bytes(kernel, axis) <= KEPT_TABLE_BYTES else Table
    return make(library, instructions, kernel, _COLUMNS, axis, mirrored)


def rows_table(library: Library, instructions: Instructions, kernel: Kernel, axis: Axis) -> Table:
    """The table of an image's rows."""
    make = _kept_table if _about_bytes(kernel, axis) <= KEPT_TABLE_BYTES else Table
    return make(library, instructions, kernel, _ROWS, axis, False)


def has(kernel: Kernel) -> bool:
    """Whether the native code has the filter, and the way to round its weights."""
    return kernel.filter in FILTERS and kernel.arithmetic in ARITHMETICS


def can_resize(kernel: Kernel, columns: Axis, rows: Axis, vertical_first: bool) -> bool:
    """Whether the native code takes an image: it has the kernel, and there is room for the rows between the passes."""
    if not has(kernel) or max(columns.source, columns.resized, rows.source, rows.resized) > MAX_SIDE:
        return False
    depth = 1 << (_most_groups(kernel, rows) - 1).bit_length()
    # Before the columns are resized, a row has those that the crop is made of, of up to 4 bytes.
    reach = math.ceil(columns.length * columns.source / columns.resized) + 4 * (_most_groups(kernel, columns) + 2)
    line = 4 * reach if vertical_first else 3 * (columns.length + 64)
    return 4 * depth * (line + 64) <= MAX_RING_BYTES


def resize(library: Library, instructions: Instructions, pixels: Pixels, crops: Sequence[Crop], bands: int = 1) -> None:
    """Fill all outputs from an image.

    Args:
        library: From `library()`.
        instructions: Those that the tables are packed for, at most `library.best`.
        pixels: The whole image.
        crops: At least one, for which `can_resize` holds.
        bands: Into how many bands of rows each crop is cut, with a thread for each; at most the rows of the shortest.

    Raises:
        MemoryError: Nothing has been written.
    """
    status = _functions(library).fastnorm_resize(
        _PIXELS.pack(*pixels), _packed(crops), len(crops), _packed_outputs(crops), bands, instructions
    )
    if status != _DONE:
        raise _error(status, "resizing")


class Walk:
    """The same, part by part, for all rows of the crops or one of several bands; a context manager.

    Example:
        with Walk(library, instructions, crops) as walk:
            for first_row in range(walk.extent.first_row, walk.extent.end_row, 64):
                walk.take(pixels_of(first_row, 64))
    """

    def __init__(
        self, library: Library, instructions: Instructions, crops: Sequence[Crop], band: int = 0, bands: int = 1
    ) -> None:
        self._functions = _functions(library)
        self._kept = (_packed(crops), _packed_outputs(crops), crops)  # C keeps pointers to them
        status = ctypes.c_int32()
        self._address = self._functions.fastnorm_walk_new(
            self._kept[0], len(crops), self._kept[1], band, bands, instructions, ctypes.byref(status)
        )
        if self._address is None:
            raise _error(status.value, "resizing")
        extent = (ctypes.c_int32 * 4)()
        self._functions.fastnorm_walk_extent(self._address, extent)
        self.extent = Extent(*extent)

    def __enter__(self) -> Walk:
        return self

    def take(self, pixels: Pixels) -> None:
        """Walk over rows: a multiple of `STEP` of them, or up to the image's end, from where the last call ended."""
        self._functions.fastnorm_walk_rows(self._address, _PIXELS.pack(*pixels))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._functions.fastnorm_walk_free(self._address)
        self._address = None


# --- records, whose fields are all 64-bit integers

_PIXELS = struct.Struct("=8q")
_CROP_FIELDS = 9  # columns, rows, vertical first, rows mirrored, two offsets and lengths, number of outputs
_OUTPUT_FIELDS = len(Output._fields)


@functools.cache
def _words(count: int) -> struct.Struct:
    return struct.Struct(f"={count}q")


def _packed(crops: Sequence[Crop]) -> bytes:
    words: list[int | None] = []
    for crop in crops:
        words += (crop.columns.address, crop.rows.address, *crop[2:8], len(crop.outputs))
    return _words(_CROP_FIELDS * len(crops)).pack(*words)


def _packed_outputs(crops: Iterable[Crop]) -> bytes:
    words: list[int] = []
    for crop in crops:
        for output in crop.outputs:
            words += (output.address, output.normalization.address, *output[2:])
    return _words(len(words)).pack(*words)


# --- the library


@functools.lru_cache(maxsize=8)
def _functions(library: Library) -> ctypes.CDLL:
    """The library's functions, told what they take."""
    functions = library.functions
    address, integer = ctypes.c_void_p, ctypes.c_int32
    functions.fastnorm_table_new.restype = address
    functions.fastnorm_table_new.argtypes = (*(integer,) * 9, address)
    functions.fastnorm_table_free.argtypes = (address,)
    functions.fastnorm_table_free.restype = None
    functions.fastnorm_table_count.argtypes = (address,)
    functions.fastnorm_table_unpack.argtypes = (address, integer, address)
    functions.fastnorm_table_unpack.restype = None
    functions.fastnorm_walk_new.restype = address
    functions.fastnorm_walk_new.argtypes = (address, integer, address, integer, integer, integer, address)
    functions.fastnorm_walk_extent.argtypes = (address, address)
    functions.fastnorm_walk_extent.restype = None
    functions.fastnorm_walk_rows.argtypes = (address, address)
    functions.fastnorm_walk_rows.restype = None
    functions.fastnorm_walk_free.argtypes = (address,)
    functions.fastnorm_walk_free.restype = None
    functions.fastnorm_resize.argtypes = (address, address, integer, address, integer, integer)
    return functions


def _error(status: int, what: str) -> Exception:
    if status == _NO_MEMORY:
        return MemoryError(f"no memory for {what}")
    return ValueError(f"{what}: the native code's bounds do not allow it (status {status}); can_resize() tells before")


_kept_table = functools.lru_cache(maxsize=KEPT_TABLES)(Table)


def _most_groups(kernel: Kernel, axis: Axis) -> int:
    """At least the number of groups of four that a window of the axis touches."""
    if axis.source == axis.resized:
        return 1
    taps = 2 * math.ceil(FILTERS[kernel.filter][1] * max(1.0, axis.source / axis.resized)) + 1
    return (taps + 3 + 3) // 4


def _about_bytes(kernel: Kernel, axis: Axis) -> int:
    return 12 * axis.length * _most_groups(kernel, axis)
