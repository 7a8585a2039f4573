"""How each target's exact division is computed: the cheapest form that gives every one of its values correctly rounded.

A uint8 channel has 256 inputs, so exactness needs no error analysis: each form is tried on all of them, in exact
rational arithmetic, against the target's order of operations, each of which rounds to float32:

    "to_tensor"    (x / 255 - mean) / std
    "to_dtype"     (x * (1 / 255) - mean) / std
    "fused"        (x - mean * 255) / (std * 255)
    "scale_shift"  x / 127.5 - 1, whatever mean and std

On the GPU a multiplication costs one instruction, IEEE division about twenty and a slow-path call.
"""

from __future__ import annotations

import enum
import functools
import math
import struct
from dataclasses import dataclass
from fractions import Fraction

Triple = tuple[float, float, float]

CODES = range(256)
FULL_SCALE = 255


class Start(enum.IntEnum):
    """What a form begins with, q."""

    QUOTIENT = 0  # x / 255, in two instructions, which targets share
    PRODUCT = 1  # x * (1 / 255)
    CODE = 2  # x


class Form(enum.IntEnum):
    """What to compute from q; a, b, c are the plan's constants for the channel."""

    FMA = 0  # fma(q, a, b); exact where std is a power of two, such as 0.5
    RECIPROCAL = 1  # d = q - a; fma(d, b, d * c), where b + c is 1 / std to 48 bits
    DIVIDE = 2  # (q - a) / b by IEEE division


_STARTS = {"to_tensor": Start.QUOTIENT, "to_dtype": Start.PRODUCT, "fused": Start.CODE}


@dataclass(frozen=True)
class Plan:
    """What to begin with, a form, and its constants per channel as float32 values."""

    form: Form
    a: Triple
    b: Triple
    c: Triple = (0.0, 0.0, 0.0)
    start: Start = Start.QUOTIENT

    def flat(self) -> tuple[int | float, ...]:
        """The ten numbers that the kernels take, in the order in which they index them."""
        return (int(self.form) + len(Form) * int(self.start), *self.a, *self.b, *self.c)


@functools.lru_cache(maxsize=1024)
def plan(mean: Triple, std: Triple, order: str = "to_tensor") -> Plan:
    """The cheapest exact plan for one target; tens of milliseconds, once per target and process."""
    expected = values(mean, std, order)
    # The values of "scale_shift" are those of "to_tensor" for a mean and std of 0.5, as trying them shows.
    start = _STARTS["to_tensor" if order == "scale_shift" else order]
    means, stds = constants(mean, std, order) if order != "scale_shift" else ([0.5] * 3, [0.5] * 3)
    candidates = [
        Plan(
            Form.FMA,
            _triple([fp32(1 / Fraction(s)) for s in stds]),
            _triple([fp32(-Fraction(m) / Fraction(s)) for m, s in zip(means, stds, strict=True)]),
            start=start,
        ),
        Plan(
            Form.RECIPROCAL,
            _triple(means),
            _triple([reciprocal(s)[0] for s in stds]),
            _triple([reciprocal(s)[1] for s in stds]),
            start=start,
        ),
        Plan(Form.DIVIDE, _triple(means), _triple(stds), start=start),
    ]
    return next(candidate for candidate in candidates if _is_exact(candidate, expected))


def _is_exact(candidate: Plan, expected: list[list[float]]) -> bool:
    return all(
        _bits(evaluate(candidate, channel, code)) == _bits(value)
        for channel, of_channel in enumerate(expected)
        for code, value in zip(CODES, of_channel, strict=True)
    )


@functools.lru_cache(maxsize=256)
def values(mean: Triple, std: Triple, order: str = "to_tensor") -> list[list[float]]:
    """The contract: the value of each code of each channel, each operation rounded to float32. Do not modify."""
    if order == "scale_shift":
        shifted = [fp32(Fraction(fp32(Fraction(2 * code, FULL_SCALE))) - 1) for code in CODES]
        return [shifted] * 3
    means, stds = constants(mean, std, order)
    starts = [started(_STARTS[order], code) for code in CODES]
    differences = [[fp32(Fraction(q) - Fraction(m)) for q in starts] for m in means]
    return [
        [fp32(Fraction(d) / Fraction(s)) for d in of_channel] for of_channel, s in zip(differences, stds, strict=True)
    ]


def constants(mean: Triple, std: Triple, order: str) -> tuple[list[float], list[float]]:
    """What is subtracted and what is divided by, in float32."""
    means, stds = [fp32(Fraction(m)) for m in mean], [fp32(Fraction(s)) for s in std]
    if order == "fused":
        return [fp32(Fraction(m) * FULL_SCALE) for m in means], [fp32(Fraction(s) * FULL_SCALE) for s in stds]
    return means, stds


def started(start: Start, code: int) -> float:
    """What a form begins with."""
    if start is Start.CODE:
        return float(code)
    if start is Start.PRODUCT:
        return fp32(code * Fraction(fp32(Fraction(1, FULL_SCALE))))
    return fp32(Fraction(code, FULL_SCALE))


def evaluate(candidate: Plan, channel: int, code: int) -> float:
    """What the kernel computes for one code, operation by operation."""
    a, b, c = candidate.a[channel], candidate.b[channel], candidate.c[channel]
    if not all(map(math.isfinite, (a, b, c))):
        return math.nan
    q = started(candidate.start, code)
    if candidate.form is Form.FMA:
        return _fma(q, a, b)
    d = fp32(Fraction(q) - Fraction(a))
    if candidate.form is Form.RECIPROCAL:
        return _fma(d, b, fp32(Fraction(d) * Fraction(c)))
    return fp32(Fraction(d) / Fraction(b))


def reciprocal(value: float) -> tuple[float, float]:
    """1 / value as the sum of two float32 numbers."""
    high = fp32(1 / Fraction(value))
    if not math.isfinite(high):
        return high, 0.0
    return high, fp32(1 / Fraction(value) - Fraction(high))


def _fma(x: float, y: float, z: float) -> float:
    """x * y + z, rounded once, for finite x and y; a sum that is exactly zero is +0, as q and 1 / std are positive."""
    if math.isinf(z):
        return z
    return fp32(Fraction(x) * Fraction(y) + Fraction(z))


def _bits(value: float) -> bytes:
    """A float32 number's bits: equal bits, unlike equal numbers, tell 0 from -0."""
    return struct.pack("f", value)


def fp32(value: Fraction) -> float:
    """`value` rounded once to float32, to nearest even."""
    if value == 0:
        return 0.0
    exponent = max(math.frexp(abs(float(value)))[1] - 1, -126) if abs(value) < 2**128 else 128
    # The value as a whole number of units in float32's last place, and what is left over.
    shift = 23 - exponent
    numerator, denominator = abs(value.numerator), value.denominator
    if shift >= 0:
        numerator <<= shift
    else:
        denominator <<= -shift
    units, rest = divmod(numerator, denominator)
    if 2 * rest > denominator or (2 * rest == denominator and units % 2):
        units += 1
    rounded = math.ldexp(units, -shift)
    return math.copysign(rounded if rounded < 2**128 else math.inf, value)


def fp32_triple(values: Triple) -> Triple:
    """Three constants, each rounded to float32."""
    return _triple([fp32(Fraction(value)) for value in values])


def _triple(values: list[float]) -> Triple:
    r, g, b = values
    return r, g, b
