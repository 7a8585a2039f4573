"""The instructions' arithmetic on arrays, to the last bit."""

from __future__ import annotations

import numpy as np

from ptx.memory import Fault


def fma32(a, b, c):
    """a * b + c, rounded once to float32.

    The product is exact in float64. The sum is rounded to odd there, which leaves the last rounding, to float32, as if
    it were of the exact sum.
    """
    product, c = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
    total = product + c
    moved = total - product
    rest = (product - (total - moved)) + (c - moved)  # total + rest is the exact sum
    bits = total.view(np.int64)
    even = np.isfinite(rest) & (rest != 0) & (bits & 1 == 0)
    bits = np.where(even, bits + np.where((rest > 0) == (total > 0), 1, -1), bits)
    return bits.view(np.float64).astype(np.float32)


def bf16_bits(x):
    """float32 to the bits of bfloat16, to nearest even, in a uint32."""
    bits = x.view(np.uint32).astype(np.uint64)
    rounded = (bits + np.uint64(0x7FFF) + ((bits >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)
    return np.where(np.isnan(x), 0x7FFF, rounded).astype(np.uint32)


def fp16_bits(x):
    """float32 to the bits of float16, to nearest even, in a uint32."""
    return np.where(np.isnan(x), 0x7FFF, x.astype(np.float16).view(np.uint16)).astype(np.uint32)


def from_bf16_bits(bits):
    """The float32 that a bfloat16 is, from its bits in a uint16."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def from_fp16_bits(bits):
    """The float32 that a float16 is, from its bits in a uint16."""
    return bits.view(np.float16).astype(np.float32)


def to_integer(x, dtype):
    """What cvt.rzi does: truncates, saturates, and makes 0 of NaN."""
    limits = np.iinfo(dtype)
    x = np.trunc(x.astype(np.float64))
    inside = (x >= float(limits.min)) & (x < float(limits.max) + 1.0)
    clipped = np.where(x > 0, limits.max, np.where(x < 0, limits.min, 0)).astype(dtype)
    return np.where(inside, np.where(inside, x, 0).astype(dtype), clipped)


def not_negative(function):
    """What .relu makes of min and max."""
    return lambda a, b: np.maximum(function(a, b), a.dtype.type(0))


def divide(a, b):
    """Integers, towards zero."""
    if (b == 0).any():
        raise Fault("division of an integer by zero")
    if a.dtype.kind == "u":
        return a // b
    wide = np.int64 if a.dtype.itemsize < 8 else a.dtype
    quotient = np.abs(a.astype(wide)) // np.abs(b.astype(wide))
    return np.where((a < 0) != (b < 0), -quotient, quotient).astype(a.dtype)


def remainder(a, b):
    return a - divide(a, b) * b


def shift_left(a, by):
    bits = 8 * a.dtype.itemsize
    if by.max() < bits:
        return a << by.astype(a.dtype)
    return np.where(by >= bits, a.dtype.type(0), a << np.minimum(by, bits - 1).astype(a.dtype))


def shift_right(a, by):
    bits = 8 * a.dtype.itemsize
    if by.max() < bits:
        return a >> by.astype(a.dtype)
    shifted = a >> np.minimum(by, bits - 1).astype(a.dtype)
    return shifted if a.dtype.kind == "i" else np.where(by >= bits, a.dtype.type(0), shifted)


def multiply_wide(a, b):
    wide = np.dtype(f"{a.dtype.kind}{2 * a.dtype.itemsize}")
    return a.astype(wide) * b.astype(wide)


def multiply_high(a, b):
    """The upper half of the product."""
    product = multiply_wide(a, b)
    return (product >> product.dtype.type(8 * a.dtype.itemsize)).astype(a.dtype)


def field(a, at, length):
    """bfe: `length` bits of a 32-bit number from bit `at` on, with the sign of the field's top bit if it has one."""
    if a.dtype.kind == "u":
        mask = (np.uint64(1) << np.minimum(length & 255, 32).astype(np.uint64)) - np.uint64(1)
        return shift_right(a, at & 255) & mask.astype(np.uint32)
    if (length == 0).any() or (at + length > 32).any():
        raise Fault("a signed field outside of its number is not modelled")
    return (a << (32 - at - length)) >> (32 - length)


def permute(a, b, selector):
    """prmt: four of the eight bytes of two words, each with its sign spread if the selector says so."""
    chosen = np.uint32(0)
    for place in range(4):
        pick = (selector >> np.uint32(4 * place)) & np.uint32(15)
        byte = (np.where(pick & 4, b, a) >> (np.uint32(8) * (pick & np.uint32(3)))) & np.uint32(255)
        if (pick & 8).any():
            byte = np.where(pick & 8, np.where(byte & 128, np.uint32(255), np.uint32(0)), byte)
        chosen = chosen | (byte << np.uint32(8 * place))
    return chosen


def dot_bytes(a, b, total):
    """dp4a: four bytes of each word multiplied and summed; a's and b's dtypes say how their bytes are signed."""
    return _dot(a, 1, b, total)


def dot_halves(a, b, total):
    """dp2a: two halves of a word times the two lower bytes of another, likewise."""
    return _dot(a, 2, b, total)


def _dot(a, size, b, total):
    for place in range(4 // size):
        x = (a >> a.dtype.type(8 * size * place)).astype(f"{a.dtype.kind}{size}")
        y = (b >> b.dtype.type(8 * place)).astype(f"{b.dtype.kind}1")
        total = total + x.astype(total.dtype) * y.astype(total.dtype)
    return total


def pack_bytes(a, b, rest):
    """cvt.pack.sat.u8: b clipped to a byte, a in the next one, and above them the lower half of the rest."""
    low, high = (np.clip(word, 0, 255).astype(np.uint32) for word in (b, a))
    return low | (high << np.uint32(8)) | (rest << np.uint32(16))
