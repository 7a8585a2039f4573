"""A check for a run's first step: can these values have come from that normalisation?"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence

import torch

from fastnorm.images.layout import address_of
from fastnorm.images.values import check_tensor, check_values
from fastnorm.runtime.torch_internals import graph_break
from fastnorm.spec.arguments import check_normalization
from fastnorm.spec.normalization import CHANNELS, Normalization
from fastnorm.spec.ranges import MAX_CODE, ROUNDINGS, Making, mistakes

# Units roundoff: what one rounding to the dtype changes a value by at most, as a part of it.
_ROUNDOFFS = {torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}

_HALF_TYPES = (torch.float16, torch.bfloat16)

# Roundings in float32 between a code's exact value and the two that are compared: those of a chain, twice where it was
# applied twice, and four of the comparison's own.
_COMPARED = 2 * ROUNDINGS + 4

# So many different values that are a mistake's codes, where a rounding is less than a quarter of the step between
# codes, are no coincidence: of values that come from elsewhere, half types take at most every second for a code,
# float32 one in thousands.
_EVIDENCE = 32

_ELEMENTS_AT_ONCE = 1 << 22


def guard(tensor: torch.Tensor, normalization: Normalization) -> torch.Tensor:
    """Raise if a tensor cannot have come from a normalisation; else return it, so that it can stand in a chain.

    Example:
        >>> batch = torch.arange(192, dtype=torch.uint8).view(1, 3, 8, 8)
        >>> (clip,) = fastnorm.fused_normalize(batch, [fastnorm.CLIP])
        >>> guard(clip, fastnorm.CLIP) is clip
        True
        >>> guard(batch.float() / 127.5 - 1, fastnorm.CLIP)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: tensor: ... they are values of fastnorm.VAE = fastnorm.SIGLIP: fastnorm.renormalize(...)

    For a run's first step, before constants that were mixed up cost the run. Two tests:

    - The range. Pixels 0 to 1 give `(0 - mean) / std` to `(1 - mean) / std` in each channel. A value further out than
      six roundings in the tensor's dtype can take it is an error, and so are NaN and infinity. Six are what any
      published code makes between a uint8 code and its normalised value. A float32 tensor whose values are all numbers
      of float16 or bfloat16 is judged as one of that dtype.
    - The codes. Another model's values, or pixels that were scaled but not normalised, may lie within the range. It is
      an error if some value is not a uint8 code of this normalisation, computed in float32 or by one of the published
      orders of operations in a half type, while all are codes of a known mistake, and at least 32 different ones are
      where the dtype's rounding is less than a quarter of the step between codes. Images of few colours are judged by
      their range alone.

    No image of uint8 codes that was normalised by these constants raises: black, white and any constant included.
    Neither does one that was resized or blended as floats, as long as it stays within 0 to 1; bicubic and Lanczos
    resizing of floats overshoot, and so do a VAE's outputs: clamp those first. In half types scaling twice leaves too
    few values to be told from a black image: guard float32 tensors, before the cast.

    The tensor is read a dozen times in eager steps, and the device waited for: do not call it in every step.
    `torch.compile` breaks its graph here. A tensor without values (empty, meta or fake) is returned unseen.

    Args:
        tensor: What goes into the model, float32, float16 or bfloat16, shape (..., 3, H, W), any strides and device.
        normalization: What it should have been normalised by.

    Returns:
        The tensor itself.

    Raises:
        ValueError: Values that the normalisation cannot have given. The text names the mistake that would explain them:
            never scaled, scaled or normalised twice, another preset. An integer dtype, such as uint8, is one of them.
            Also a wrong shape.
        TypeError: Not a tensor, another dtype, or not a `Normalization`.
    """
    check_normalization(normalization, "normalization")
    if torch.compiler.is_compiling():
        return _guard_untraced(tensor, normalization)
    return _guard(tensor, normalization)


@graph_break
def _guard_untraced(tensor: torch.Tensor, normalization: Normalization) -> torch.Tensor:
    return _guard(tensor, normalization)


def _guard(tensor: torch.Tensor, normalization: Normalization) -> torch.Tensor:
    values = check_tensor(tensor)
    if not values.dtype.is_floating_point and not values.dtype.is_complex:
        raise ValueError(
            f"tensor: got {values.dtype}, expected normalised values; pixels that have not been normalised? "
            f"fastnorm.fused_normalize(tensor, [normalization])"
        )
    check_values(values)
    if values.numel() == 0 or address_of(values) == 0:
        return tensor
    values = values.detach()
    expected = Making.of(normalization)
    found = _range_of(values)
    if not all(math.isfinite(value) for limits in found for value in limits):
        raise ValueError(_not_finite(values))
    precisions = list(_precisions(values))
    in_range = any(_is_within(found, expected, precision) for precision in precisions)
    if in_range and any(_are_possible(values, normalization, precision) for precision in precisions):
        return tensor
    causes = [m for m in mistakes(normalization) if any(_is_within(found, m, precision) for precision in precisions)]
    proven = [m for m in causes if any(_is_proven(values, m, precision) for precision in precisions)]
    if in_range and not proven:
        return tensor
    raise ValueError(_message(found, expected, proven or causes))


def _range_of(values: torch.Tensor) -> list[tuple[float, float]]:
    """Each channel's smallest and largest value; waits for the device."""
    others = [axis for axis in range(values.dim()) if axis != values.dim() - 3]
    low, high = torch.stack([values.amin(others), values.amax(others)]).tolist()
    return list(zip(low, high, strict=True))


def _precisions(values: torch.Tensor) -> Iterator[torch.dtype]:
    """The dtypes that the values may have been computed in: their own, and each half type that holds all of them."""
    yield values.dtype
    for dtype in _HALF_TYPES:
        if dtype is not values.dtype and bool((values.to(dtype) == values).all()):
            yield dtype


def _is_within(found: Sequence[tuple[float, float]], making: Making, precision: torch.dtype) -> bool:
    limits = making.limits(_ROUNDOFFS[precision])
    return all(least <= low and high <= most for (low, high), (least, most) in zip(found, limits, strict=True))


def _are_possible(values: torch.Tensor, normalization: Normalization, precision: torch.dtype) -> bool:
    """Whether a normalisation can have given each value, computed in float32 or in a half type."""
    making, found = Making.of(normalization), []
    for images in _few_at_once(values):
        possible = _is_code(images, making, precision)
        if precision in _HALF_TYPES:
            table = _made_in_half(normalization, precision).to(values.device)
            codes = _bits(images.to(precision))
            possible |= torch.stack([table[channel][codes[:, channel]] for channel in range(CHANNELS)], dim=1)
        found.append(possible.all())
    return bool(torch.stack(found).all())


def _are_codes(values: torch.Tensor, making: Making, precision: torch.dtype) -> bool:
    """Whether each value is one of the 256 of its channel, computed in float32 and rounded to the precision."""
    return bool(torch.stack([_is_code(images, making, precision).all() for images in _few_at_once(values)]).all())


def _is_code(images: torch.Tensor, making: Making, precision: torch.dtype) -> torch.Tensor:
    scale, offset, slack = (_per_channel(n, images) for n in (making.scale, making.offset, _slacks(making)))
    y = images.to(torch.float32)
    code = ((y * scale + offset) * MAX_CODE).round().clamp(0, MAX_CODE)
    exact = (code / MAX_CODE - offset) / scale
    low, high = ((exact + shift).to(precision) for shift in (-slack, slack))
    return (low <= y) & (y <= high)


def _few_at_once(values: torch.Tensor) -> Sequence[torch.Tensor]:
    """Images (N, 3, H, W), so few that temporary tensors are small."""
    batch = values.flatten(0, -4) if values.dim() > 3 else values.unsqueeze(0)
    return torch.split(batch, max(1, _ELEMENTS_AT_ONCE // batch[0].numel()))


@functools.lru_cache(maxsize=64)
def _made_in_half(normalization: Normalization, precision: torch.dtype) -> torch.Tensor:
    """Which numbers of a half type, by their bits, the published orders give in each channel: shape (3, 65536)."""
    codes = torch.arange(MAX_CODE + 1, dtype=torch.float32)
    mean, std = (torch.tensor(n, dtype=torch.float32).view(-1, 1) for n in (normalization.mean, normalization.std))
    values = [values.to(precision) for dtype in _HALF_TYPES for values in _published(codes, mean, std, dtype)]
    table = torch.zeros(CHANNELS, 1 << 16, dtype=torch.bool)
    return table.scatter_(1, _bits(torch.cat(values, dim=1)), value=True)


def _published(x: torch.Tensor, mean: torch.Tensor, std: torch.Tensor, dtype: torch.dtype) -> list[torch.Tensor]:
    """The published orders of normalising pixel values, each operation rounded to a half type.

    Constants are multiplied by 255 in float32, or as they are in the half type.
    """
    wide, x, mean, std = (mean, std), x.to(dtype), mean.to(dtype), std.to(dtype)
    made = [
        (x / MAX_CODE - mean) / std,
        (x * (1 / MAX_CODE) - mean) / std,
        (x / MAX_CODE - mean) * (1 / std),
    ]
    for m, s in (wide, (mean, std)):
        scaled_mean, scaled_std = (m.float() * MAX_CODE).to(dtype), (s.float() * MAX_CODE).to(dtype)
        made += [(x - scaled_mean) / scaled_std, x * (1 / scaled_std) - mean / std]
    if bool((mean == 0.5).all() and (std == 0.5).all()):
        made += [each.expand(CHANNELS, -1) for each in (x / (MAX_CODE / 2) - 1, 2 * (x / MAX_CODE) - 1)]
    return made


def _bits(values: torch.Tensor) -> torch.Tensor:
    """The bits of a half type, as positions in a table."""
    return values.contiguous().view(torch.int16).to(torch.int64) & 0xFFFF


def _is_proven(values: torch.Tensor, making: Making, precision: torch.dtype) -> bool:
    """Whether all values are codes of it, and enough of them are where that says something."""
    if not _are_codes(values, making, precision):
        return False
    y = values.to(torch.float32)
    half_spacing = torch.ldexp(torch.full_like(y, _ROUNDOFFS[precision] / 2), torch.frexp(y).exponent)
    tells = half_spacing + _per_channel(_slacks(making), y) < _per_channel(making.steps(), y) / 4
    different: torch.Tensor = torch.unique(y[tells])
    return different.numel() >= _EVIDENCE


def _slacks(making: Making) -> list[float]:
    """How far from a code's exact value its float32 value may be, in each channel."""
    roundoff = _COMPARED * _ROUNDOFFS[torch.float32]
    return [roundoff * (1 + abs(offset)) / scale for scale, offset in zip(making.scale, making.offset, strict=True)]


def _per_channel(numbers: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float32, device=like.device).view(-1, 1, 1)


def _not_finite(values: torch.Tensor) -> str:
    nans, infinities = int(values.isnan().sum()), int(values.isinf().sum())
    return (
        f"tensor: got {nans} NaN and {infinities} infinite of {values.numel()} values, expected numbers; what comes "
        f"before divides by zero or overflows, as float16 does beyond 65504"
    )


def _message(found: Sequence[tuple[float, float]], expected: Making, causes: Sequence[Making]) -> str:
    start = f"tensor: got {_shown(found)}, expected values of {expected.what}: {_shown(expected.limits(0.0))}"
    if not causes:
        return f"{start}; no known mistake explains them: was it normalised by other constants?"
    if len(causes) == 1:
        return f"{start}; they are {causes[0].what}: {causes[0].fix}"
    return f"{start}; they may be {', or '.join(making.what for making in causes)}"


def _shown(limits: Sequence[tuple[float, float]]) -> str:
    return ", ".join(f"{name} {low:.4g} to {high:.4g}" for name, (low, high) in zip("RGB", limits, strict=True))
