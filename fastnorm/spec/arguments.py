"""Checks of the arguments that say what is expected: the targets, their dtypes, their memory formats."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fastnorm.spec.normalization import PRESETS, Normalization

OUTPUT_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
PIXEL_DTYPES = (torch.uint8, *OUTPUT_DTYPES)
MEMORY_FORMATS = (torch.contiguous_format, torch.channels_last)


def check_normalizations(normalizations: object) -> tuple[Normalization, ...]:
    """The targets as a tuple, or an error that shows the call to make."""
    if isinstance(normalizations, Normalization):
        raise TypeError("normalizations: got one Normalization, expected a list of them: fused_normalize(batch, [it])")
    if isinstance(normalizations, str) or not isinstance(normalizations, Sequence):
        raise TypeError(
            f"normalizations: got {type(normalizations).__name__}, expected a list: [fastnorm.VAE, fastnorm.CLIP]"
        )
    if not normalizations:
        raise ValueError("normalizations: got an empty list, expected at least one target, such as [fastnorm.VAE]")
    targets = tuple(normalizations)
    for target in targets:
        if not isinstance(target, Normalization):  # asked here, so that a right call builds no text
            check_normalization(target, f"normalizations[{targets.index(target)}]")
    return targets


def check_normalization(target: object, what: str) -> None:
    if isinstance(target, Normalization):
        return
    if isinstance(target, str):
        known = target.lower()
        hint = f"fastnorm.{known.upper()}" if known in PRESETS else "a preset such as fastnorm.CLIP"
        raise TypeError(f"{what}: got the string {target!r}, expected a Normalization: {hint}")
    raise TypeError(
        f"{what}: got {type(target).__name__}, expected a Normalization: fastnorm.Normalization(mean, std), or a "
        f"preset such as fastnorm.CLIP"
    )


def resolve_dtypes(dtype: object, count: int) -> tuple[torch.dtype, ...]:
    """One output dtype per target, from one dtype for all or a sequence of them."""
    dtypes = _one_each("dtype", dtype, count, torch.dtype, "torch.float32")
    for item in dtypes:
        if item not in OUTPUT_DTYPES:
            raise ValueError(f"dtype: got {item}, expected one of {_names(OUTPUT_DTYPES)}")
    return dtypes


def resolve_dtype(dtype: object, allowed: Sequence[torch.dtype]) -> torch.dtype:
    """The dtype of one output."""
    if not isinstance(dtype, torch.dtype):
        shown = repr(dtype) if isinstance(dtype, str) else type(dtype).__name__
        raise TypeError(f"dtype: got {shown}, expected a dtype such as torch.float32")
    if dtype not in allowed:
        raise ValueError(f"dtype: got {dtype}, expected one of {_names(allowed)}")
    return dtype


def resolve_memory_formats(memory_format: object, count: int) -> tuple[torch.memory_format, ...]:
    """One memory format per target, from one for all or a sequence of them."""
    formats = _one_each("memory_format", memory_format, count, torch.memory_format, "torch.channels_last")
    for item in formats:
        if item not in MEMORY_FORMATS:
            raise ValueError(f"memory_format: got {item}, expected one of {_names(MEMORY_FORMATS)}")
    return formats


def _one_each(what: str, value: object, count: int, kind: type, example: str) -> tuple:  # type: ignore[type-arg]
    if isinstance(value, kind):
        return (value,) * count
    if isinstance(value, str) or not isinstance(value, Sequence):
        shown = repr(value) if isinstance(value, str) else type(value).__name__
        raise TypeError(f"{what}: got {shown}, expected a {kind.__name__} such as {example}, or one per target")
    for item in value:
        if not isinstance(item, kind):
            raise TypeError(f"{what}: got {item!r} in the sequence, expected a {kind.__name__} such as {example}")
    if len(value) != count:
        raise ValueError(f"{what}: got {len(value)} of them for {count} target(s), expected one, or one per target")
    return tuple(value)


def _names(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
