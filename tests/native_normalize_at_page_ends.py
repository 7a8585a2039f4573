"""Normalises images that begin and end where readable memory does; test_native_normalize runs it."""

import ctypes
import itertools
import mmap
import sys

import torch

import fastnorm
from helpers import DTYPES, available_instructions, cpu_path

PAGE = mmap.PAGESIZE
PROT_NONE, PROT_READ, PROT_WRITE = 0, 1, 2


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


def at_ends(memory, shape):
    """Contiguous and channels_last tensors of this shape at both ends of the memory."""
    images, channels, height, width = shape
    count = images * channels * height * width
    for flat in (memory[:count], memory[-count:]):
        yield flat.view(shape)
        yield flat.view(images, height, width, channels).permute(0, 3, 1, 2)


def main():
    shapes = [(1, 3, 1, 1), (1, 3, 5, 7), (2, 3, 16, 16), (1, 3, 3, 67), (2, 3, 33, 31)]
    source, target = guarded(pages=2), guarded(pages=8)
    source.copy_(torch.randint(0, 256, source.shape, dtype=torch.uint8))
    protect(source.data_ptr(), len(source), PROT_READ)
    for shape, dtype in itertools.product(shapes, DTYPES):
        for pixels, output in itertools.product(at_ends(source, shape), at_ends(target.view(dtype), shape)):
            (expected,) = fastnorm.reference.normalize(pixels, [fastnorm.CLIP], dtype=dtype, layout="NCHW")
            for path in available_instructions():
                with cpu_path(path):
                    output.fill_(float("nan"))
                    fastnorm.fused_normalize(pixels, [fastnorm.CLIP], layout="NCHW", out=[output])
                print("same" if torch.equal(output, expected) else f"different: {shape} {dtype} {path}")


if __name__ == "__main__":
    sys.exit(main())
