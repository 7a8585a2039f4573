"""Pixels of an image where they are, through the Arrow C data interface, which Pillow offers since 11.2."""

from __future__ import annotations

import ctypes
from typing import NamedTuple


class _ArrowArray(ctypes.Structure):
    """https://arrow.apache.org/docs/format/CDataInterface.html"""


_ArrowArray._fields_ = (
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_ArrowArray))),
    ("dictionary", ctypes.c_void_p),
    ("release", ctypes.c_void_p),
    ("private_data", ctypes.c_void_p),
)

# A function object of its own: the one that is an attribute of ctypes.pythonapi belongs to all libraries.
_pointer_of = ctypes.PYFUNCTYPE(ctypes.POINTER(_ArrowArray), ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


class Lent(NamedTuple):
    """Bytes of another library, readable as long as `owner` lives."""

    address: int
    length: int
    owner: object


def lent_bytes(image: object) -> Lent | None:
    """The bytes of an image that lies in one block of memory, 4 a pixel; None of others, and without this interface."""
    try:
        _, capsule = image.__arrow_c_array__()  # type: ignore[attr-defined]
    except (AttributeError, ValueError):  # an older Pillow; several blocks
        return None
    pixels = _pointer_of(capsule, b"arrow_array").contents
    if pixels.n_children != 1 or pixels.offset != 0:
        return None
    values = pixels.children[0].contents
    if values.n_buffers != 2 or values.offset != 0 or values.length != 4 * pixels.length:
        return None
    return Lent(values.buffers[1], values.length, capsule)
