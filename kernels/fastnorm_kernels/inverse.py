"""Launches the kernels that lead back from normalised values: which one serves which tensors, and with what."""

from __future__ import annotations

import math

import torch
import triton

from . import _inverse_kernels as kernels
from .division import Triple, fp32_triple
from .launching import Launch
from .normalize import LARGEST_INT32, STRIDED_TILE, _is_channels_last, _on_device_of, _parts, _reach, _threads

Pair = tuple[Triple, Triple]  # mean and std of the three channels, in units of full scale
Numbers = tuple[float, ...]


def denormalize(values: torch.Tensor, source: Pair, output: torch.Tensor) -> None:
    """Write the pixels that were normalised by `source`: codes into a uint8 output, 0 to 1 into one of floats.

    Example:
        >>> y = torch.zeros(2, 3, 8, 8, device="cuda")
        >>> x = torch.empty(2, 3, 8, 8, dtype=torch.uint8, device="cuda")
        >>> denormalize(y, ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), x)

    Args:
        values: float32, float16 or bfloat16, (..., 3, H, W), any strides.
        source: Mean and std that the values were normalised by.
        output: uint8, float32, float16 or bfloat16, of the same shape and device, any strides without overlap.

    Nothing is checked here; launches go to the current stream of the tensors' device.
    """
    _run(values, output, source, None)


def renormalize(values: torch.Tensor, source: Pair, target: Pair, output: torch.Tensor) -> None:
    """Write the values that `target` would have given where `source` gave `values`; as for `denormalize`, of floats."""
    _run(values, output, source, target)


def _run(values: torch.Tensor, output: torch.Tensor, source: Pair, target: Pair | None) -> None:
    if values.numel() == 0:
        return
    with _on_device_of(values):
        for part, (result,) in _parts(values, (output,)):
            choose(part, result, source, target).run()


def choose(
    x: torch.Tensor, output: torch.Tensor, source: Pair, target: Pair | None = None, threads: int | None = None
) -> Launch:
    """The launch for (N, 3, H, W) tensors: one plain run through memory where both are dense, else any strides."""
    constants = {"SOURCE": _source_numbers(*source), "TARGET": None if target is None else _target_numbers(*target)}
    if x.is_contiguous() and output.is_contiguous():
        return _dense(x, output, x.shape[-2] * x.shape[-1], threads, INTERLEAVED=False, **constants)
    if _is_channels_last(x) and _is_channels_last(output):
        return _dense(x, output, x.numel(), threads, INTERLEAVED=True, **constants)
    return _strided(x, output, **constants)


def _dense(x: torch.Tensor, output: torch.Tensor, length: int, threads: int | None, **constants: object) -> Launch:
    # 16 bytes of the wider dtype for each thread: with more, its accesses would lie apart.
    block = (threads or _threads()) * (16 // max(x.element_size(), output.element_size()))
    blocks = triton.cdiv(length, block)
    return Launch(
        kernels._inverse_dense_kernel,
        (x.numel() // length * blocks,),
        x,
        (output,),
        (length, blocks),
        {**constants, "BLOCK": block},
    )


def _strided(x: torch.Tensor, output: torch.Tensor, **constants: object) -> Launch:
    n, _, height, width = x.shape
    if all(tensor.stride(2) == width * tensor.stride(3) for tensor in (x, output)):
        height, width = 1, height * width  # rows follow each other in both: an image is one long row
    cols = min(STRIDED_TILE, triton.next_power_of_2(width))
    rows = STRIDED_TILE // cols
    wide = any(_reach(tensor) > LARGEST_INT32 for tensor in (x, output))
    return Launch(
        kernels._inverse_strided_kernel,
        (triton.cdiv(n * height, rows) * triton.cdiv(width, cols),),
        x,
        (output,),
        (n * height, height, width, x.stride(), output.stride()),
        {**constants, "ROWS": rows, "COLS": cols, "WIDE": wide},
    )


def _source_numbers(mean: Triple, std: Triple) -> Numbers:
    return (*fp32_triple(mean), *fp32_triple(std))


def _target_numbers(mean: Triple, std: Triple) -> Numbers:
    """Whether to multiply, three means, and three divisors or factors.

    Dividing by a power of two and multiplying by its reciprocal round the same number once. Other divisors would need
    a proof for all float32 values, which no normalised code bounds: they are divided by.
    """
    means, stds = fp32_triple(mean), fp32_triple(std)
    reciprocals = fp32_triple((1 / stds[0], 1 / stds[1], 1 / stds[2]))
    if all(math.frexp(s)[0] == 0.5 and 0 < r < math.inf for s, r in zip(stds, reciprocals, strict=True)):
        return (True, *means, *reciprocals)
    return (False, *means, *stds)
