"""The records of src/fastnorm.h, field by field."""

from __future__ import annotations

import ctypes
import enum

CHANNELS = 3
CODES = 256


class Instructions(enum.IntEnum):
    """The instruction sets that the code is compiled for, from the least to the most."""

    PORTABLE = 0
    AVX2 = 1
    VNNI = 2


class NormalizationRecord(ctypes.Structure):
    """`fastnorm_normalization`."""

    _fields_ = (
        ("mean", ctypes.c_float * CHANNELS),
        ("scale", ctypes.c_float * CHANNELS),
        ("scale_rest", ctypes.c_float * CHANNELS),
        ("only_by_table", ctypes.c_int32),
        ("float32", ctypes.c_float * CODES * CHANNELS),
        ("float16", ctypes.c_uint16 * CODES * CHANNELS),
        ("bfloat16", ctypes.c_uint16 * CODES * CHANNELS),
    )


# In the order of the header's list.
RECORDS: tuple[type[ctypes.Structure], ...] = (NormalizationRecord,)
