"""The records that tell the resizing kernels what to do: one per job, which is one image for one target.

Each field is an int64, in the order in which it stands here; the host packs records by these names, and the kernels
load them in this order. No Triton is needed.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Pixels(enum.IntEnum):
    """How a line's pixels lie in memory."""

    INTERLEAVED = 0  # three bytes a pixel, one pixel after the other
    PLANAR = 1  # one byte a pixel in each of three planes
    STRIDED = 2  # anything else


class Weight(enum.IntEnum):
    """The filters whose weights need no more than IEEE arithmetic."""

    BOX = 0
    BILINEAR = 1
    BICUBIC = 2


class LineJob(NamedTuple):
    """The first pass of one job."""

    source: int  # address of the first pixel of the first line that the second pass reads
    step: int  # bytes from pixel to pixel of a line
    line_step: int  # bytes from line to line
    channel_step: int  # bytes from channel to channel
    lines: int  # if read by words, LINES or more
    table: int  # address
    taps: int  # if read by words, GROUP and a multiple of EIGHT
    pitch: int  # pixels from line to line of the intermediate, and from pair to pair of the table
    intermediate: int  # where its lines begin in the intermediate, in pixels


class OutputJob(NamedTuple):
    """The second pass of one job."""

    intermediate: int  # where line 0 of the image is in the intermediate, or would be
    pitch: int
    table: int  # address
    table_pitch: int
    taps: int  # a multiple of PAIR
    values: int  # where the 3 x 256 normalised values begin, in elements of the output's dtype
    output: int  # address of the first element that is written, of the red channel
    along_step: int  # elements from pixel to pixel along the lines
    across_step: int  # elements from pixel to pixel across the lines
    channel_step: int  # elements from channel to channel
    along: int  # pixels
    across: int


class TableJob(NamedTuple):
    """One coefficient table that the device makes. Its pixel i is the resized axis's pixel origin + direction * i."""

    table: int  # address
    pitch: int
    taps: int
    source: int  # the axis's length
    resized: int
    kind: int  # a Weight
    origin: int
    direction: int  # 1, or -1 if mirrored
    low: int  # the first pixel that is not padding
    high: int  # the last
    split: bool  # whether coefficients are in two parts, as a first pass by words takes them
