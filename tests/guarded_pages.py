"""Memory that ends where it may be touched: what reads or writes one byte too far, dies."""

import ctypes
import mmap

import torch

PAGE = mmap.PAGESIZE
PROT_NONE, PROT_READ = 0, 1


def protect(address, length, how):
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    if mprotect(address, length, how):
        raise OSError(ctypes.get_errno(), "mprotect")


def guarded(pages):
    """Bytes between two pages that cannot be touched."""
    buffer = torch.frombuffer(mmap.mmap(-1, (pages + 2) * PAGE), dtype=torch.uint8)
    for first in (buffer.data_ptr(), buffer.data_ptr() + (pages + 1) * PAGE):
        protect(first, PAGE, PROT_NONE)
    return buffer[PAGE:-PAGE]
