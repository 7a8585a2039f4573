"""The way back by the native code: normalised values in, pixels or values of another normalisation out."""

from __future__ import annotations

import struct
from typing import NamedTuple

import torch

from .loading import Library
from .normalize import BYTES_PER_THREAD, DTYPES, Triple
from .records import INVERSE_JOB_FIELDS, INVERSE_JOB_FLOATS, Instructions

# As src/fastnorm.h numbers them, with the sizes of their elements in bytes.
_OUTPUT_DTYPES = {**DTYPES, torch.uint8: (3, 1)}

_RECORD = struct.Struct(f"={INVERSE_JOB_FIELDS}q{INVERSE_JOB_FLOATS}f")


class Constants(NamedTuple):
    """What values are normalised by."""

    mean: Triple
    std: Triple


_NO_TARGET = Constants((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def can_invert(values: torch.Tensor, output: torch.Tensor) -> bool:
    """Whether `invert` takes these tensors: four axes, and elements that are aligned in memory."""
    return values.dim() == 4 and all(tensor.data_ptr() % tensor.element_size() == 0 for tensor in (values, output))


def invert(
    library: Library,
    instructions: Instructions,
    values: torch.Tensor,
    source: Constants,
    target: Constants | None,
    output: torch.Tensor,
    threads: int,
) -> None:
    """Fill the output.

    Args:
        library: From `library()`.
        instructions: At most `library.best`.
        values: float32, float16 or bfloat16, (N, 3, H, W) on the CPU, with any strides.
        source: What they are normalised by.
        target: What they shall be normalised by; None for pixels.
        output: Of the shape of `values`, with any strides whose elements do not share memory: float32, float16,
            bfloat16 or, for pixels, uint8.
        threads: How many to use at most; fewer where there is little to do.
    """
    images, _, height, width = values.shape
    dtype, size = DTYPES[values.dtype]
    output_dtype, output_size = _OUTPUT_DTYPES[output.dtype]
    moved = values.numel() * (size + output_size)
    job = _RECORD.pack(
        values.data_ptr(),
        dtype,
        *values.stride(),
        output.data_ptr(),
        output_dtype,
        *output.stride(),
        images,
        height,
        width,
        instructions,
        min(threads, max(1, moved // BYTES_PER_THREAD)),
        target is not None,
        *source.mean,
        *source.std,
        *(target or _NO_TARGET).mean,
        *(target or _NO_TARGET).std,
    )
    library.functions.fastnorm_inverse(job)
