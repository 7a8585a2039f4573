"""Ask Linux to back large new outputs with 2 MiB pages.

First touches of fresh memory dominate a CPU call: 100 MB is 24 576 page faults of 4 KiB each. Where the system's
setting is `madvise` (the default of most distributions), a hint on the range cuts them to 48.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
from collections.abc import Callable

import torch

HUGE_PAGE = 2 << 20
# Below a few huge pages the unaligned ends, which the hint cannot cover, are most of the tensor.
_SMALLEST = 4 * HUGE_PAGE


def advise(tensor: torch.Tensor) -> None:
    """Hint that a newly made CPU tensor is large and soon written; a no-op wherever that means nothing."""
    if tensor.device.type != "cpu" or type(tensor) is not torch.Tensor:  # subclasses may have no memory of their own
        return
    size = tensor.numel() * tensor.element_size()
    if size < _SMALLEST:
        return
    madvise = _madvise()
    if madvise is None:
        return
    address = tensor.data_ptr()
    first = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (address + size) // mmap.PAGESIZE * mmap.PAGESIZE
    madvise(first, end - first, mmap.MADV_HUGEPAGE)  # advice: a kernel that refuses it changes nothing


@functools.cache
def _madvise() -> Callable[[int, int, int], int] | None:
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return None  # not Linux
    try:
        function = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    function.restype = ctypes.c_int
    return function
