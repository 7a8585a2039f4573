"""The published values from exact rational arithmetic, which shares nothing with torch's.

Every step of `y = ((x / 255) - mean) / std`, or of another order of normalising, is computed as a fraction without
error, then rounded to float32 by the definition of round-to-nearest-even; so is the last rounding to a narrower dtype.
Slow, and exact by construction.
"""

from __future__ import annotations

import functools
import struct
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch

from fastnorm.spec.normalization import Normalization
from fastnorm.spec.options import Order

CODES = 256


class Format(NamedTuple):
    """An IEEE binary format: the widths of its exponent and of its stored mantissa."""

    exponent: int
    mantissa: int

    @property
    def bias(self) -> int:
        return (1 << (self.exponent - 1)) - 1

    @property
    def infinity(self) -> int:
        """The bit pattern of +inf; every larger pattern without a sign is a NaN."""
        return ((1 << self.exponent) - 1) << self.mantissa

    @property
    def sign(self) -> int:
        return 1 << (self.exponent + self.mantissa)


FLOAT32 = Format(8, 23)
FORMATS = {torch.float32: FLOAT32, torch.float16: Format(5, 10), torch.bfloat16: Format(8, 7)}


class Steps(NamedTuple):
    """The float32 bit patterns of one pixel's way through the formula; `explain` has each order's words for them."""

    q: int
    d: int
    y: int


@functools.cache
def table(normalization: Normalization, dtype: torch.dtype) -> torch.Tensor:
    """The output of every pixel value, shape (3, 256): row c, column x is that of x in channel c. Do not modify."""
    form = FORMATS[dtype]
    patterns = [[_narrow(row.y, form) for row in channel] for channel in _float32_steps(normalization)]
    words = np.array(patterns, dtype=np.uint32 if form is FLOAT32 else np.uint16)
    return torch.from_numpy(words.view(np.int32 if form is FLOAT32 else np.int16)).view(dtype)


def steps(normalization: Normalization, channel: int, pixel: int) -> Steps:
    """The patterns of x / 255, of that minus mean, and of that divided by std, or another order's equals of them."""
    return _float32_steps(normalization)[channel][pixel]


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """A float tensor's bit patterns as integers: equal patterns, unlike equal values, tell 0 from -0."""
    return tensor.contiguous().view(torch.int32 if tensor.element_size() == 4 else torch.int16)


def encode(value: Fraction, form: Format, negative: bool) -> int:
    """The bit pattern of `value` rounded to nearest, ties to even; `negative` gives the sign of a result that is 0."""
    sign = form.sign if negative else 0
    magnitude = abs(value)
    if magnitude == 0:
        return sign
    # The spacing of the format's numbers around the value is 2 ** scale; subnormal numbers share the smallest.
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if magnitude < Fraction(2) ** exponent:
        exponent -= 1
    scale = max(exponent, 1 - form.bias) - form.mantissa
    units = round(magnitude / Fraction(2) ** scale)  # Fraction rounds ties to even
    # Patterns of one sign are in numeric order, so a carry out of the mantissa runs into the exponent by itself.
    pattern = units + ((scale + form.mantissa + form.bias - 1) << form.mantissa)
    return sign | min(pattern, form.infinity)


def decode(pattern: int, form: Format) -> Fraction:
    """The exact value of a finite bit pattern."""
    exponent, mantissa = divmod(pattern & (form.sign - 1), 1 << form.mantissa)
    units = mantissa + (1 << form.mantissa if exponent else 0)
    magnitude = units * Fraction(2) ** (max(exponent, 1) - form.bias - form.mantissa)
    return -magnitude if pattern & form.sign else magnitude


def as_float(pattern: int) -> float:
    """A float32 bit pattern as the Python number of the same value."""
    return float(struct.unpack("<f", struct.pack("<I", pattern))[0])


@functools.cache
def _float32_steps(normalization: Normalization) -> tuple[tuple[Steps, ...], ...]:
    return tuple(
        tuple(_steps_of(pixel, mean, std, normalization.order) for pixel in range(CODES))
        for mean, std in zip(normalization.mean, normalization.std, strict=True)
    )


def _steps_of(pixel: int, mean: float, std: float, order: Order) -> Steps:
    mean32, std32 = _rounded(Fraction(mean)), _rounded(Fraction(std))
    if order == "to_dtype":
        q = _rounded(pixel * _rounded(Fraction(1, 255)))
    elif order == "fused":
        q, mean32, std32 = Fraction(pixel), _rounded(mean32 * 255), _rounded(std32 * 255)
    elif order == "scale_shift":
        q, mean32, std32 = _rounded(pixel / Fraction("127.5")), Fraction(1), Fraction(1)
    else:
        q = _rounded(Fraction(pixel, 255))
    d = _round(q - mean32)
    y = _round(decode(d, FLOAT32) / std32)
    return Steps(_round(q), d, y)


def _rounded(value: Fraction) -> Fraction:
    return decode(_round(value), FLOAT32)


def _round(value: Fraction) -> int:
    # x - x is +0 in IEEE arithmetic, and 0 divided by a positive number keeps its sign; anything else that rounds to
    # 0 keeps the sign that it had.
    return encode(value, FLOAT32, negative=value < 0)


def _narrow(pattern: int, form: Format) -> int:
    negative = bool(pattern & FLOAT32.sign)
    if pattern & ~FLOAT32.sign == FLOAT32.infinity:
        return form.infinity | (form.sign if negative else 0)
    return encode(decode(pattern, FLOAT32), form, negative)
