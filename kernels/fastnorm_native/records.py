"""The records of src/fastnorm.h, field by field."""

from __future__ import annotations

import ctypes
import enum
import struct

CHANNELS = 3
CODES = 256
PATTERN = 18


class Instructions(enum.IntEnum):
    """The instruction sets that the code is compiled for, from the least to the most."""

    PORTABLE = 0
    AVX2 = 1
    VNNI = 2


class NormalizationRecord(ctypes.Structure):
    """`fastnorm_normalization`."""

    _fields_ = (
        ("mean", ctypes.c_float * PATTERN),
        ("scale", ctypes.c_float * PATTERN),
        ("scale_rest", ctypes.c_float * PATTERN),
        ("start", ctypes.c_float),
        ("start_rest", ctypes.c_float),
        ("only_by_table", ctypes.c_int32),
        ("float32", ctypes.c_float * CODES * CHANNELS),
        ("float16", ctypes.c_uint16 * CODES * CHANNELS),
        ("bfloat16", ctypes.c_uint16 * CODES * CHANNELS),
    )


# These are made anew for every call, which `struct` does in a microsecond; all fields are 64-bit integers but those
# that are called floats.
JOB_FIELDS = 12  # pixels, images, height, width, four strides, instructions, threads, streaming, outputs
OUTPUT_FIELDS = 7  # address, normalization, dtype, four strides
# values, dtype, four strides; output, dtype, four strides; images, height, width; instructions, threads, whether there
# is a target; as floats two means and standard deviations of three channels
INVERSE_JOB_FIELDS, INVERSE_JOB_FLOATS = 18, 12
WORD, FLOAT = struct.calcsize("=q"), struct.calcsize("=f")

# Their sizes in bytes, in the order of the header's list.
RECORD_SIZES = (
    ctypes.sizeof(NormalizationRecord),
    OUTPUT_FIELDS * WORD,
    JOB_FIELDS * WORD,
    INVERSE_JOB_FIELDS * WORD + INVERSE_JOB_FLOATS * FLOAT,
)
