"""Antialiasing filters as tables: which source pixels make an output pixel, and how much each counts.

`Image.resize` computes the weights in float64, divides them by their sum, and rounds them to 22-bit fixed point, once
for each axis. The same operations in the same order make the same integers; numpy takes one tap of every output pixel
at a time, so that each sum runs over its taps from the first to the last, as Pillow's does.

torch's antialiased `interpolate` of uint8 tensors on a CPU computes the same weights, and rounds them to int16 with as
many fraction bits, p, as the largest weight of the table leaves room for. Its output value is

    clip((2**(p - 1) + sum(source value * int16)) >> p, 0, 255)

in which all may be multiplied by 2**(22 - p): it is Pillow's arithmetic with coefficients of fewer bits, and nothing
but the table tells one from the other.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fastnorm.spec.options import Arithmetic

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int32]
Wide = npt.NDArray[np.int64]
Interval = tuple[float, float]  # of an axis, in pixels

FRACTION_BITS = 22  # 32 bits, less 8 for the value and 2 for the sign and the overshoot of filters that go below zero
ONE = 1 << FRACTION_BITS
HALF = ONE // 2
INT16_BITS = 15  # without the sign


@dataclass(frozen=True)
class Filter:
    """A filter: its weight at a distance from the centre, and the distance from which it is zero, in output pixels.

    The arithmetic says how its weights are rounded: as Pillow does, or torch.
    """

    name: str
    support: float
    weight: Callable[[Doubles], Doubles]
    arithmetic: Arithmetic = "pillow"


@dataclass(frozen=True, eq=False)
class Weights:
    """The float64 weights of one axis: pixel i is the sum over t < count[i] of weight[i, t] * source[first[i] + t].

    The columns from count[i] on hold zeros.
    """

    first: Integers  # (pixels,)
    count: Integers  # (pixels,)
    weight: Doubles  # (pixels, taps)


@dataclass(frozen=True, eq=False)
class Coefficients:
    """The table of one axis, as `Weights` but in fixed point: integers of which `ONE` is 1.0.

    An output value is `clip((HALF + sum) >> FRACTION_BITS, 0, 255)`. The sums stay below 1.4e9 in size, so int32 holds
    them, and the taps may be added up in any order. The arrays are shared and read-only.
    """

    first: Integers  # (pixels,)
    count: Integers  # (pixels,)
    fixed: Integers  # (pixels, taps)

    @property
    def taps(self) -> int:
        return int(self.fixed.shape[1])


@functools.lru_cache(maxsize=256)  # a table of 512 pixels by 33 taps takes 70 KB
def coefficients(source: int, resized: int, resample: Filter, box: Interval | None = None) -> Coefficients:
    """The table that resizes an axis from `source` to `resized` pixels, both at least 1.

    Example:
        >>> table = coefficients(4, 2, BILINEAR)
        >>> table.first.tolist(), table.count.tolist()
        ([0, 1], [3, 3])
        >>> table.fixed.tolist()  # 3/7, 3/7 and 1/7 of 2**22
        [[1797559, 1797559, 599186], [599186, 1797559, 1797559]]

    An axis that keeps its size gets the identity, exactly. A `box` is the part of the axis that is stretched; None is
    all of it.
    """
    if resample is NEAREST:
        first = _nearest(resized, box or (0.0, float(source)))
        table = Coefficients(first, np.ones_like(first), np.full((resized, 1), ONE, np.int32))
    else:
        exact = weights(source, resized, resample, box)
        rounded = fixed_point if resample.arithmetic == "pillow" else int16_fixed_point
        table = Coefficients(exact.first, exact.count, rounded(exact.weight))
    for array in (table.first, table.count, table.fixed):
        array.flags.writeable = False
    return table


def weights(source: int, resized: int, resample: Filter, box: Interval | None = None) -> Weights:
    """The weights before they are rounded to fixed point; arguments as in `coefficients`."""
    low, scale = (0.0, source / resized) if box is None else (box[0], _length(box) / resized)
    return weights_around(centres(low, scale, range(resized)), scale, source, resample)


def _length(box: Interval) -> float:
    """The length of a box whose ends float32 holds: Pillow subtracts them in float32."""
    return float(np.float32(box[1]) - np.float32(box[0]))


def _nearest(resized: int, box: Interval) -> Integers:
    """The source pixel under each pixel's centre, as Pillow finds it: by adding up steps, which rounds at each.

    Every rounding is off by at most source * 2**-53; up to 2**24 of them come to less than half a step, so that the
    last centre lies within the source.
    """
    step = _length(box) / resized
    steps = np.full(resized, step)
    steps[0] = box[0] + step * 0.5
    return np.add.accumulate(steps).astype(np.int32)


def centres(origin: float, scale: float, pixels: range) -> Doubles:
    """Where resized pixels have their centres in the source, if the first one begins at `origin`."""
    return origin + (np.arange(pixels.start, pixels.stop, dtype=np.float64) + 0.5) * scale


def source_window(centre: Doubles, scale: float, source: int, resample: Filter) -> tuple[Wide, Wide]:
    """The first source pixel that counts for each centre, and the one after the last."""
    support = resample.support * max(scale, 1.0)  # a filter widens when an image shrinks, not when it grows
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    return first, np.minimum((centre + support + 0.5).astype(np.int64), source)


def weights_around(centre: Doubles, scale: float, source: int, resample: Filter) -> Weights:
    """The weights of source pixels around each centre, where an axis shrinks by `scale`."""
    first, stop = source_window(centre, scale, source, resample)
    count = stop - first
    inverse = 1.0 / max(scale, 1.0)
    taps = np.arange(int(count.max()))
    distance = (taps + first[:, None] - centre[:, None] + 0.5) * inverse
    weight = np.where(taps < count[:, None], resample.weight(distance.ravel()).reshape(distance.shape), 0.0)
    total = np.add.accumulate(weight, axis=1)[:, -1:]  # tap by tap, as Pillow adds them: a sum would take them in pairs
    np.divide(weight, total, out=weight, where=total != 0)
    return Weights(first.astype(np.int32), count.astype(np.int32), weight)


def fixed_point(weight: Doubles, bits: int = FRACTION_BITS) -> Integers:
    """Rounded to integers of which 2**bits is 1.0."""
    return (np.where(weight < 0, -0.5, 0.5) + weight * (1 << bits)).astype(
        np.int32
    )  # truncates towards zero, as C does


def int16_fixed_point(weight: Doubles) -> Integers:
    """Rounded to int16 with torch's number of fraction bits, in the same units: integers of which `ONE` is 1.0."""
    bits = int16_precision(float(weight.max()))
    return fixed_point(weight, bits) << (FRACTION_BITS - bits)


def int16_precision(largest: float) -> int:
    """With how many fraction bits, 22 at most, torch rounds the weights of a table to int16."""
    bits = 0
    while bits < FRACTION_BITS and int(0.5 + largest * (1 << (bits + 1))) < 1 << INT16_BITS:
        bits += 1
    return bits


def _box(x: Doubles) -> Doubles:
    return np.where((x > -0.5) & (x <= 0.5), 1.0, 0.0)


def _bilinear(x: Doubles) -> Doubles:
    x = np.abs(x)
    return np.where(x < 1.0, 1.0 - x, 0.0)


# Single-precision constants, which widen to other doubles than 0.54 and 0.46.
_HAMMING_BASE = float(np.float32(0.54))
_HAMMING_SWING = float(np.float32(0.46))


def _hamming(x: Doubles) -> Doubles:
    x = np.abs(x)
    window = _HAMMING_BASE + _HAMMING_SWING * _libm(math.cos, x * math.pi)
    inside = np.where(x == 0.0, 1.0, _sinc(x) * window)  # the window itself is 1 + 2**-25 in the middle
    return np.where(x < 1.0, inside, 0.0)


def _bicubic(x: Doubles) -> Doubles:
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _lanczos(x: Doubles) -> Doubles:
    return np.where((x >= -3.0) & (x < 3.0), _sinc(x) * _sinc(x / 3.0), 0.0)


def _sinc(x: Doubles) -> Doubles:
    angle = x * math.pi
    return np.divide(_libm(math.sin, angle), angle, out=np.ones_like(angle), where=x != 0)


def _libm(function: Callable[[float], float], x: Doubles) -> Doubles:
    """The C library's own sine or cosine, as Pillow calls it; numpy's vector code may differ in the last place."""
    return np.array([function(value) for value in x.tolist()])


BOX = Filter("box", 0.5, _box)
BILINEAR = Filter("bilinear", 1.0, _bilinear)
HAMMING = Filter("hamming", 1.0, _hamming)
BICUBIC = Filter("bicubic", 2.0, _bicubic)
LANCZOS = Filter("lanczos", 3.0, _lanczos)

# No filter: a pixel of the source for each, and no antialiasing. Its tables are made apart.
NEAREST = Filter("nearest", 0.5, _box)

# Those that antialias.
FILTERS: Mapping[str, Filter] = {f.name: f for f in (BOX, BILINEAR, HAMMING, BICUBIC, LANCZOS)}

# torch has lanczos since 2.12. Its nearest pixels are others than Pillow's.
TORCH_FILTERS: Mapping[str, Filter] = {f.name: replace(f, arithmetic="torch") for f in (BILINEAR, BICUBIC, LANCZOS)}


def filter_of(name: str, arithmetic: Arithmetic = "pillow") -> Filter:
    """The filter of a name, which is one of `FILTER_NAMES`, and for torch's arithmetic one of `TORCH_FILTERS`."""
    if arithmetic == "torch":
        return TORCH_FILTERS[name]
    return NEAREST if name == NEAREST.name else FILTERS[name]
