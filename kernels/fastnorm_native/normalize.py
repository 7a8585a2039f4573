"""Normalising by the native code: uint8 tensors in, float tensors out."""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Sequence

import torch

from .loading import Library
from .records import CHANNELS, JOB_FIELDS, OUTPUT_FIELDS, Instructions, NormalizationRecord

Triple = tuple[float, float, float]

# As src/fastnorm.h numbers them, with the sizes of their elements in bytes.
DTYPES = {torch.float32: (0, 4), torch.float16: (1, 2), torch.bfloat16: (2, 2)}

# The orders of the steps, as src/fastnorm.h numbers them.
ORDERS = {"to_tensor": 0, "to_dtype": 1, "fused": 2, "scale_shift": 3}

# The least that a thread has to write: starting one takes about as long as writing a quarter of this.
BYTES_PER_THREAD = 2 << 20
# From this many output bytes on, stores go past the caches, which would not hold them until they are read.
STREAMING_BYTES = 16 << 20


class PreparedNormalization:
    """Constants and tables for one mean, standard deviation and order, where the native code finds them."""

    def __init__(self, library: Library, mean: Triple, std: Triple, order: str) -> None:
        self.record = NormalizationRecord()
        three = ctypes.c_float * CHANNELS
        library.functions.fastnorm_prepare(ctypes.byref(self.record), three(*mean), three(*std), ORDERS[order])
        self.address = ctypes.addressof(self.record)


@functools.lru_cache(maxsize=1024)
def prepared(library: Library, mean: Triple, std: Triple, order: str = "to_tensor") -> PreparedNormalization:
    """The prepared normalisation of these constants; some ten microseconds, once per process."""
    return PreparedNormalization(library, mean, std, order)


def can_normalize(planes: torch.Tensor, outputs: Sequence[torch.Tensor]) -> bool:
    """Whether `normalize` takes these tensors: four axes, and outputs whose elements are aligned in memory."""
    return planes.dim() == 4 and all(output.data_ptr() % DTYPES[output.dtype][1] == 0 for output in outputs)


def normalize(
    library: Library,
    instructions: Instructions,
    planes: torch.Tensor,
    targets: Sequence[PreparedNormalization],
    outputs: Sequence[torch.Tensor],
    threads: int,
) -> None:
    """Fill every output.

    Args:
        library: From `library()`.
        instructions: At most `library.best`.
        planes: uint8, (N, 3, H, W) on the CPU, with any strides.
        targets: One for each output.
        outputs: float32, float16 or bfloat16, of the shape of `planes`, with any strides whose elements do not share
            memory.
        threads: How many to use at most; fewer where there is little to do.
    """
    images, _, height, width = planes.shape
    words: list[int] = []
    written = 0
    for target, output in zip(targets, outputs, strict=True):
        dtype, size = DTYPES[output.dtype]
        words += (output.data_ptr(), target.address, dtype, *output.stride())
        written += size
    written *= images * CHANNELS * height * width
    job = _record(len(outputs)).pack(
        planes.data_ptr(),
        images,
        height,
        width,
        *planes.stride(),
        instructions,
        min(threads, max(1, written // BYTES_PER_THREAD)),
        written >= STREAMING_BYTES,
        len(outputs),
        *words,
    )
    library.functions.fastnorm_normalize(job)


@functools.cache
def _record(outputs: int) -> struct.Struct:
    return struct.Struct(f"={JOB_FIELDS + OUTPUT_FIELDS * outputs}q")
