"""`torch.ops.fastnorm.denormalize` and `.renormalize`: the way back for torch.compile, export, subclasses and autograd.

Like `torch.ops.fastnorm.normalize` they have one implementation for all devices and return new tensors. Calls whose
input requires grad go through them in eager mode too: the forward pass stays one kernel, and the gradients are those of
the definition in `fastnorm.backends.eager`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch

from fastnorm.backends import select
from fastnorm.backends.eager import channel_constants, pixels
from fastnorm.memory.outputs import empty
from fastnorm.spec.arguments import OUTPUT_DTYPES, PIXEL_DTYPES
from fastnorm.spec.normalization import CHANNELS, Normalization

_LIBRARY = torch.library.Library("fastnorm", "FRAGMENT")
_LIBRARY.define("denormalize(Tensor values, float[] mean, float[] std, ScalarType dtype) -> Tensor")
_LIBRARY.define(
    "renormalize(Tensor values, float[] mean, float[] std, float[] target_mean, float[] target_std, ScalarType dtype)"
    " -> Tensor"
)


def denormalize(values: torch.Tensor, source: Normalization, dtype: torch.dtype) -> torch.Tensor:
    """The operator on (..., 3, H, W) values."""
    pixels: torch.Tensor = torch.ops.fastnorm.denormalize(values, source.mean, source.std, dtype)
    return pixels


def renormalize(values: torch.Tensor, source: Normalization, target: Normalization, dtype: torch.dtype) -> torch.Tensor:
    """The operator on (..., 3, H, W) values."""
    numbers = (source.mean, source.std, target.mean, target.std)
    renormalized: torch.Tensor = torch.ops.fastnorm.renormalize(values, *numbers, dtype)
    return renormalized


def output_for(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """New memory shaped like the values, and channels_last where they are."""
    channels_last = values.movedim(-3, -1).is_contiguous() and not values.is_contiguous()
    return empty(values, dtype, torch.channels_last if channels_last else torch.contiguous_format)


def _denormalize(values: torch.Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype) -> torch.Tensor:
    output = _fake_denormalize(values, mean, std, dtype)
    select.denormalize(values, _normalization(tuple(mean), tuple(std)), output)
    return output


def _fake_denormalize(
    values: torch.Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype
) -> torch.Tensor:
    _check("denormalize", values, (mean, std), dtype, PIXEL_DTYPES)
    return output_for(values, dtype)


def _renormalize(
    values: torch.Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    target_mean: Sequence[float],
    target_std: Sequence[float],
    dtype: torch.dtype,
) -> torch.Tensor:
    output = _fake_renormalize(values, mean, std, target_mean, target_std, dtype)
    source, target = _normalization(tuple(mean), tuple(std)), _normalization(tuple(target_mean), tuple(target_std))
    select.renormalize(values, source, target, output)
    return output


def _fake_renormalize(
    values: torch.Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    target_mean: Sequence[float],
    target_std: Sequence[float],
    dtype: torch.dtype,
) -> torch.Tensor:
    _check("renormalize", values, (mean, std, target_mean, target_std), dtype, OUTPUT_DTYPES)
    return output_for(values, dtype)


def _check(
    name: str,
    values: torch.Tensor,
    numbers: Sequence[Sequence[float]],
    dtype: torch.dtype,
    dtypes: Sequence[torch.dtype],
) -> None:
    """What the public functions have made sure of, and an exported program or a direct call has not."""
    if values.dtype not in OUTPUT_DTYPES:
        raise TypeError(f"fastnorm::{name}: got {values.dtype} values, expected one of {_names(OUTPUT_DTYPES)}")
    if values.dim() < 3 or values.shape[-3] != CHANNELS:
        raise ValueError(f"fastnorm::{name}: got shape {tuple(values.shape)}, expected (..., {CHANNELS}, H, W)")
    if any(len(of_channels) != CHANNELS for of_channels in numbers):
        lengths = ", ".join(str(len(of_channels)) for of_channels in numbers)
        raise ValueError(f"fastnorm::{name}: got {lengths} means and stds, expected {CHANNELS} of each")
    if dtype not in dtypes:
        raise ValueError(f"fastnorm::{name}: got dtype {dtype}, expected one of {_names(dtypes)}")


def _names(dtypes: Sequence[torch.dtype]) -> str:
    return ", ".join(map(str, dtypes))


@functools.lru_cache(maxsize=256)
def _normalization(mean: tuple[float, ...], std: tuple[float, ...]) -> Normalization:
    return Normalization(mean, std, allow_unusual=True)


def _save_for_denormalize(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:  # noqa: ANN401
    del output
    values, mean, std, _ = inputs
    ctx.save_for_backward(values)
    ctx.source = _normalization(tuple(mean), tuple(std))


def _differentiate_denormalize(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
    """As through `clamp`: none where a pixel was outside of 0 to 1."""
    (values,) = ctx.saved_tensors
    p = pixels(values, ctx.source)
    inside = torch.where((p >= 0) & (p <= 1), gradient.to(torch.float32), 0.0)
    return (inside * channel_constants(ctx.source.std, values.device)).to(values.dtype), None, None, None


def _save_for_renormalize(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:  # noqa: ANN401
    del output
    values, mean, std, target_mean, target_std, _ = inputs
    ctx.dtype = values.dtype
    ctx.source = _normalization(tuple(mean), tuple(std))
    ctx.target = _normalization(tuple(target_mean), tuple(target_std))


def _differentiate_renormalize(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
    of_pixels = gradient.to(torch.float32) / channel_constants(ctx.target.std, gradient.device)
    of_values = of_pixels * channel_constants(ctx.source.std, gradient.device)
    return of_values.to(ctx.dtype), None, None, None, None, None


_LIBRARY.impl("denormalize", _denormalize, "CompositeExplicitAutograd")
_LIBRARY.impl("renormalize", _renormalize, "CompositeExplicitAutograd")
torch.library.register_fake("fastnorm::denormalize", _fake_denormalize, lib=_LIBRARY)
torch.library.register_fake("fastnorm::renormalize", _fake_renormalize, lib=_LIBRARY)
torch.library.register_autograd(
    "fastnorm::denormalize", _differentiate_denormalize, setup_context=_save_for_denormalize, lib=_LIBRARY
)
torch.library.register_autograd(
    "fastnorm::renormalize", _differentiate_renormalize, setup_context=_save_for_renormalize, lib=_LIBRARY
)
