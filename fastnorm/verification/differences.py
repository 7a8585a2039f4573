"""How far two outputs lie apart, in output units and in pixel values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from fastnorm.spec.arguments import OUTPUT_DTYPES
from fastnorm.spec.normalization import CHANNELS, Normalization
from fastnorm.verification.oracle import bits

FULL_SCALE = 255
# One pixel value is 0.0039 or more in output units for a std up to 1; orders of normalising lie 1e-6 apart.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Difference:
    """How far outputs lie apart.

    Attributes:
        values: How many values were compared.
        differing: How many of them differ, by bits. Outputs of another shape differ everywhere.
        largest: The largest absolute difference in output units; infinite where shapes differ.
        mean: The mean absolute difference of all values, in output units.
        largest_pixels: The largest in pixel values: |difference| * std * 255.
        mean_pixels: The mean in pixel values.
        is_rounding: Whether values differ, and each that does by less than 1e-5 or by one in the last place.
    """

    values: int
    differing: int
    largest: float
    mean: float
    largest_pixels: float
    mean_pixels: float
    is_rounding: bool

    def __str__(self) -> str:
        if not self.differing:
            return f"no value of {self.values:,} differs"
        start = f"{self.differing:,} of {self.values:,} values differ"
        if math.isinf(self.largest):
            return start
        by = f"by at most {self.largest:.3g}, {self.mean:.2g} on average"
        pixels = f"in pixel values {self.largest_pixels:.3g} and {self.mean_pixels:.2g}"
        return f"{start} {by}; {pixels}"


def difference(theirs: torch.Tensor, ours: torch.Tensor, normalization: Normalization) -> Difference:
    """Of two outputs (3, height, width)."""
    if theirs.shape != ours.shape:
        return Difference(theirs.numel(), theirs.numel(), math.inf, math.inf, math.inf, math.inf, False)
    unequal = unequal_values(theirs, ours)
    count = int(unequal.sum())
    if not count:
        return Difference(theirs.numel(), 0, 0.0, 0.0, 0.0, 0.0, False)
    apart = torch.nan_to_num((theirs.double() - ours.double()).abs(), nan=math.inf, posinf=math.inf)
    apart = torch.where(unequal, apart, 0.0)  # two infinities of one sign are equal
    to_pixels = torch.tensor(normalization.std, dtype=torch.float64).view(CHANNELS, 1, 1) * FULL_SCALE
    pixels = apart * to_pixels
    small = apart < ROUNDING
    if theirs.dtype == ours.dtype and theirs.dtype in OUTPUT_DTYPES:
        small |= (_rank(theirs) - _rank(ours)).abs() <= 1
    is_rounding = bool((small | ~unequal).all())
    return Difference(
        theirs.numel(),
        count,
        float(apart.max()),
        float(apart.mean()),
        float(pixels.max()),
        float(pixels.mean()),
        is_rounding,
    )


def total(differences: Iterable[Difference]) -> Difference:
    """Of several images together."""
    found = list(differences)
    values = sum(one.values for one in found)
    return Difference(
        values,
        sum(one.differing for one in found),
        max((one.largest for one in found), default=0.0),
        sum(one.mean * one.values for one in found) / max(values, 1),
        max((one.largest_pixels for one in found), default=0.0),
        sum(one.mean_pixels * one.values for one in found) / max(values, 1),
        any(one.is_rounding for one in found) and all(one.is_rounding or not one.differing for one in found),
    )


def unequal_values(theirs: torch.Tensor, ours: torch.Tensor) -> torch.Tensor:
    """Where two tensors of one shape differ: by bits where their dtypes are the same, else by value."""
    if theirs.dtype == ours.dtype and theirs.dtype in OUTPUT_DTYPES:
        return bits(theirs) != bits(ours)
    return theirs.double() != ours.double()


def _rank(tensor: torch.Tensor) -> torch.Tensor:
    """Each value's place among all of its dtype, so that neighbours are one apart; 0 and -0 share one."""
    words = bits(tensor).long()
    least = -(1 << (8 * tensor.element_size() - 1))
    return torch.where(words < 0, least - words, words)
