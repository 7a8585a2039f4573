"""How each target's exact division is computed: the cheapest form that gives every one of its values correctly rounded.

A uint8 channel has 256 inputs, so exactness needs no error analysis: each form is tried on all of them, in exact
rational arithmetic, against (x / 255 - mean) / std rounded after each operation. On the GPU a multiplication costs one
instruction, IEEE division about twenty and a slow-path call.
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


class Form(enum.IntEnum):
    """What to compute from q = x / 255; a, b, c are the plan's constants for the channel."""

    FMA = 0  # fma(q, a, b); exact where std is a power of two, such as 0.5
    RECIPROCAL = 1  # d = q - a; fma(d, b, d * c), where b + c is 1 / std to 48 bits
    DIVIDE = 2  # (q - a) / b by IEEE division


@dataclass(frozen=True)
class Plan:
    """A form, and its constants per channel as float32 values."""

    form: Form
    a: Triple
    b: Triple
    c: Triple = (0.0, 0.0, 0.0)

    def flat(self) -> tuple[int | float, ...]:
        """The ten numbers that the kernels take, in the order in which they index them."""
        return (int(self.form), *self.a, *self.b, *self.c)


@functools.lru_cache(maxsize=1024)
def plan(mean: Triple, std: Triple) -> Plan:
    """The cheapest exact plan for one target; tens of milliseconds, once per target and process."""
    means, stds = [fp32(Fraction(m)) for m in mean], [fp32(Fraction(s)) for s in std]
    expected = [[quotient(x, m, s) for x in CODES] for m, s in zip(means, stds, strict=True)]

    candidates = [
        Plan(
            Form.FMA,
            _triple([fp32(1 / Fraction(s)) for s in stds]),
            _triple([fp32(-Fraction(m) / Fraction(s)) for m, s in zip(means, stds, strict=True)]),
        ),
        Plan(
            Form.RECIPROCAL,
            _triple(means),
            _triple([reciprocal(s)[0] for s in stds]),
            _triple([reciprocal(s)[1] for s in stds]),
        ),
    ]
    for candidate in candidates:
        if all(
            _bits(evaluate(candidate, channel, x)) == _bits(expected[channel][x])
            for channel in range(len(expected))
            for x in CODES
        ):
            return candidate
    return Plan(Form.DIVIDE, _triple(means), _triple(stds))


def quotient(code: int, mean: float, std: float) -> float:
    """The contract: (code / 255 - mean) / std, each operation rounded to float32."""
    q = fp32(Fraction(code, FULL_SCALE))
    d = fp32(Fraction(q) - Fraction(mean))
    return fp32(Fraction(d) / Fraction(std))


def evaluate(candidate: Plan, channel: int, code: int) -> float:
    """What the kernel computes for one code, operation by operation."""
    a, b, c = candidate.a[channel], candidate.b[channel], candidate.c[channel]
    if not all(map(math.isfinite, (a, b, c))):
        return math.nan
    q = fp32(Fraction(code, FULL_SCALE))
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
