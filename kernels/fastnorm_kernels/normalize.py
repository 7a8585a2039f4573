"""Launches the normalising kernels: which one serves which tensors, and with what."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import triton

from fastnorm_kernels import _normalize_kernels as kernels
from fastnorm_kernels.division import Triple, plan

# Contractions are placed by hand (see _normalize_kernels); four warps keep 32 to 40 registers a thread resident.
OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}

DENSE_BLOCK = 128  # one group of pixels per thread: a second would only add registers
STRIDED_TILE = 1024  # pixels per program

_LARGEST_INT32 = 2**31 - 1


@dataclass(frozen=True)
class Launch:
    """One launch: the kernel, its grid, and its arguments in order."""

    kernel: Any
    grid: tuple[int]
    arguments: tuple[Any, ...]
    constants: dict[str, Any]

    def run(self) -> None:
        self.kernel[self.grid](*self.arguments, **self.constants, **OPTIONS)


def normalize(planes: torch.Tensor, targets: Sequence[tuple[Triple, Triple]], outputs: Sequence[torch.Tensor]) -> None:
    """Write (planes / 255 - mean) / std into every target's output, reading the pixels once.

    Example:
        >>> x = torch.zeros(2, 3, 8, 8, dtype=torch.uint8, device="cuda")
        >>> y = torch.empty(2, 3, 8, 8, device="cuda")
        >>> normalize(x, [((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))], [y])

    Args:
        planes: uint8, (..., 3, H, W), any strides.
        targets: Mean and std of the three channels, in units of full scale, for each output.
        outputs: float32, float16 or bfloat16 tensors of the same shape and device, any strides without overlap.

    Nothing is checked here; launches go to the current stream of the tensors' device.
    """
    if planes.numel() == 0:
        return
    plans = tuple(number for mean, std in targets for number in plan(mean, std).flat())
    device = torch.cuda.device(planes.device) if planes.is_cuda else contextlib.nullcontext()
    with device:
        for images, results in _as_four_axes(planes, tuple(outputs)):
            choose(images, results, plans).run()


def choose(x: torch.Tensor, outputs: tuple[torch.Tensor, ...], plans: tuple[int | float, ...]) -> Launch:
    """The launch for (N, 3, H, W) tensors: dense where all accesses are whole words, else strided."""
    group, interleaved = dense_group(x, outputs)
    if group:
        return dense(x, outputs, plans, group, interleaved)
    return strided(x, outputs, plans)


def dense_group(x: torch.Tensor, outputs: tuple[torch.Tensor, ...]) -> tuple[int, bool]:
    """How many pixels a thread takes in the dense kernel, 0 if it cannot serve, and whether the pixels interleave."""
    interleaved = x.permute(0, 2, 3, 1).is_contiguous()
    if not (interleaved or x.is_contiguous()) or not all(output.is_contiguous() for output in outputs):
        return 0, interleaved
    if any(output.data_ptr() % 16 for output in outputs):
        return 0, interleaved
    plane = x.shape[-2] * x.shape[-1]
    # Pixels that fill the 16 bytes of a store; with a float32 output among them, 8 would make threads swap values.
    preferred = (4,) if any(output.element_size() == 4 for output in outputs) else (8, 4)
    for group in preferred:
        if plane % group == 0 and x.data_ptr() % group == 0:
            return group, interleaved
    return 0, interleaved


def dense(
    x: torch.Tensor, outputs: tuple[torch.Tensor, ...], plans: tuple[int | float, ...], group: int, interleaved: bool
) -> Launch:
    pixels = x.numel() // 3
    groups = pixels // group
    return Launch(
        kernels._normalize_dense_kernel,
        (triton.cdiv(groups, DENSE_BLOCK),),
        (x, outputs, groups, x.shape[-2] * x.shape[-1] // group),
        {
            "PLANS": plans,
            "INTERLEAVED": interleaved,
            "GROUP": group,
            "BLOCK": DENSE_BLOCK,
            "WIDE": pixels + DENSE_BLOCK * group > _LARGEST_INT32,
        },
    )


def strided(x: torch.Tensor, outputs: tuple[torch.Tensor, ...], plans: tuple[int | float, ...]) -> Launch:
    n, _, height, width = x.shape
    tensors = (x, *outputs)
    if all(t.stride(2) == width * t.stride(3) for t in tensors):
        height, width = 1, height * width  # rows follow each other everywhere: an image is one long row
    cols = min(STRIDED_TILE, triton.next_power_of_2(width))
    rows = STRIDED_TILE // cols
    return Launch(
        kernels._normalize_strided_kernel,
        (triton.cdiv(n * height, rows) * triton.cdiv(width, cols),),
        (x, outputs, n * height, height, width, x.stride(), sum((o.stride() for o in outputs), ())),
        {"PLANS": plans, "ROWS": rows, "COLS": cols},
    )


def _as_four_axes(
    planes: torch.Tensor, outputs: tuple[torch.Tensor, ...]
) -> list[tuple[torch.Tensor, tuple[torch.Tensor, ...]]]:
    """The same memory as (N, 3, H, W) tensors; several of them where the leading axes cannot be one axis."""
    if planes.dim() == 4:
        return [(planes, outputs)]
    shape = (-1, *planes.shape[-3:])
    try:
        return [(planes.view(shape), tuple(output.view(shape) for output in outputs))]
    except RuntimeError:
        return [
            part
            for index in range(planes.shape[0])
            for part in _as_four_axes(planes[index], tuple(output[index] for output in outputs))
        ]
