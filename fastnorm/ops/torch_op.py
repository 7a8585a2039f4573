"""`torch.ops.fastnorm.normalize`: the same call as an operator, for torch.compile, export and tensor subclasses.

Eager calls do not go through it: the dispatcher costs more than the checks do. It has one implementation for all
devices, always returns new tensors, and a fake implementation that needs no data, so that tracing never looks inside.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch

from fastnorm.backends.select import normalize
from fastnorm.memory.outputs import empty
from fastnorm.spec.arguments import MEMORY_FORMATS, OUTPUT_DTYPES
from fastnorm.spec.normalization import CHANNELS, Normalization
from fastnorm.spec.options import ORDERS

_LIBRARY = torch.library.Library("fastnorm", "DEF")
_LIBRARY.define(
    "normalize(Tensor batch, int channel_axis, float[] mean, float[] std, int[] dtypes, int[] memory_formats,"
    " int[] orders=[]) -> Tensor[]"
)


def call(
    planes: torch.Tensor,
    targets: Sequence[Normalization],
    dtypes: Sequence[torch.dtype],
    memory_formats: Sequence[torch.memory_format],
) -> list[torch.Tensor]:
    """The operator on a (..., 3, H, W) view; dtypes, memory formats and orders travel as their positions."""
    outputs: list[torch.Tensor] = torch.ops.fastnorm.normalize(
        planes,
        -3,
        [value for target in targets for value in target.mean],
        [value for target in targets for value in target.std],
        [OUTPUT_DTYPES.index(dtype) for dtype in dtypes],
        [MEMORY_FORMATS.index(memory_format) for memory_format in memory_formats],
        [ORDERS.index(target.order) for target in targets],
    )
    return outputs


def _normalize(
    batch: torch.Tensor,
    channel_axis: int,
    mean: Sequence[float],
    std: Sequence[float],
    dtypes: Sequence[int],
    memory_formats: Sequence[int],
    orders: Sequence[int] = (),
) -> list[torch.Tensor]:
    outputs = _fake(batch, channel_axis, mean, std, dtypes, memory_formats, orders)
    normalize(batch.movedim(channel_axis, -3), _targets(tuple(mean), tuple(std), tuple(orders)), outputs)
    return outputs


def _fake(batch: torch.Tensor, channel_axis: int, *described: Sequence[Any]) -> list[torch.Tensor]:
    """The outputs, unwritten: their shapes, strides and dtypes are all that tracing needs."""
    mean, std, dtypes, memory_formats, *orders = described
    _check(batch, channel_axis, mean, std, dtypes, memory_formats, *orders)
    planes = batch.movedim(channel_axis, -3)
    return [
        empty(planes, OUTPUT_DTYPES[dtype], MEMORY_FORMATS[memory_format])
        for dtype, memory_format in zip(dtypes, memory_formats, strict=True)
    ]


def _check(
    batch: torch.Tensor,
    channel_axis: int,
    mean: Sequence[float],
    std: Sequence[float],
    dtypes: Sequence[int],
    memory_formats: Sequence[int],
    orders: Sequence[int] = (),
) -> None:
    """What the public functions have made sure of, and an exported program or a direct call has not."""
    name = "fastnorm::normalize"
    if batch.dtype is not torch.uint8:
        raise TypeError(f"{name}: got a {batch.dtype} batch, expected uint8: batch.to(torch.uint8) if it holds 0..255")
    if batch.dim() < 3 or channel_axis not in (-1, -3) or batch.shape[channel_axis] != CHANNELS:
        raise ValueError(
            f"{name}: got shape {tuple(batch.shape)} with channel_axis={channel_axis}, expected {CHANNELS} channels on "
            f"axis -1 (NHWC) or -3 (NCHW)"
        )
    targets = len(dtypes)
    if not len(mean) == len(std) == CHANNELS * targets or len(memory_formats) != targets:
        raise ValueError(
            f"{name}: got {len(mean)} means, {len(std)} stds and {len(memory_formats)} memory formats for {targets} "
            f"dtypes, expected {CHANNELS}, {CHANNELS} and 1 for each"
        )
    if orders and len(orders) != targets:
        raise ValueError(f"{name}: got {len(orders)} orders for {targets} dtypes, expected 1 for each, or none")
    for what, numbers, meanings in (
        ("orders", orders, ORDERS),
        ("dtypes", dtypes, OUTPUT_DTYPES),
        ("memory_formats", memory_formats, MEMORY_FORMATS),
    ):
        for number in numbers:
            if not 0 <= number < len(meanings):
                raise ValueError(
                    f"{name}: got {number} among {what}, expected 0 to {len(meanings) - 1}: "
                    f"{', '.join(map(str, meanings))}"
                )


@functools.lru_cache(maxsize=256)
def _targets(mean: tuple[float, ...], std: tuple[float, ...], orders: tuple[int, ...]) -> tuple[Normalization, ...]:
    count = len(mean) // CHANNELS
    return tuple(
        Normalization(
            mean[CHANNELS * i : CHANNELS * (i + 1)],
            std[CHANNELS * i : CHANNELS * (i + 1)],
            order=ORDERS[order],
            allow_unusual=True,
        )
        for i, order in zip(range(count), orders or (0,) * count, strict=True)
    )


_LIBRARY.impl("normalize", _normalize, "CompositeExplicitAutograd")
torch.library.register_fake("fastnorm::normalize", _fake, lib=_LIBRARY)
