"""What a normalisation can give: the range of its values, their codes, and the mistakes that give other ones.

A way of making values is affine: a pixel p, 0 to 1, becomes y = (p - offset) / scale in each channel. Published code
takes at most six roundings from a code to y (the constants' own, 1 / 255, a product, a difference, a quotient, the
output's dtype), each by a factor of at most 1 + u, u being the unit roundoff of the dtype that is computed in. So what
is computed is at most 6 u (|p| + |offset|) / scale from the exact y.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fastnorm.spec.normalization import PRESETS, Normalization

Triple = tuple[float, float, float]

MAX_CODE = 255
ROUNDINGS = 6


@dataclass(frozen=True)
class Making:
    """How values came about, and the call that fixes it."""

    what: str
    scale: Triple
    offset: Triple
    fix: str = ""

    @classmethod
    def of(cls, normalization: Normalization) -> Making:
        what = normalization.name or f"{normalization.mean}, {normalization.std}"
        return cls(what, normalization.std, normalization.mean)

    def limits(self, roundoff: float) -> list[tuple[float, float]]:
        """The smallest and the largest value of each channel, when computed with this unit roundoff."""
        slack = ROUNDINGS * roundoff
        return [
            ((0 - offset - slack * abs(offset)) / scale, (1 - offset + slack * (1 + abs(offset))) / scale)
            for scale, offset in zip(self.scale, self.offset, strict=True)
        ]

    def steps(self) -> list[float]:
        """From one code's value to the next, in each channel."""
        return [1 / (MAX_CODE * scale) for scale in self.scale]


def mistakes(expected: Normalization) -> list[Making]:
    """The known ways to other values than the expected ones."""
    one, nothing = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
    mean, std = expected.mean, expected.std
    full = float(MAX_CODE)
    made = [
        Making(
            "pixel values 0 to 255, neither scaled nor normalised",
            _times(one, 1 / full),
            nothing,
            "fastnorm.fused_normalize takes them as uint8",
        ),
        Making(
            "pixels scaled to [0, 1] and not normalised",
            one,
            nothing,
            "fastnorm.renormalize(tensor, fastnorm.Normalization(0.0, 1.0), normalization)",
        ),
        Making(
            "pixel values 0 to 255, normalised without being scaled to [0, 1] first",
            _times(std, 1 / full),
            _times(mean, 1 / full),
            "divide by 255 before, or do_rescale=True",
        ),
        Making(
            "pixels scaled by 1/255 twice, then normalised",
            _times(std, full),
            _times(mean, full),
            "do_rescale=False for a processor that is given values from 0 to 1",
        ),
        Making("pixels scaled by 1/255 twice and not normalised", _times(one, full), nothing, "scale once, normalise"),
        Making(
            "pixels normalised twice",
            _triple(s * s for s in std),
            _triple(m * s + m for m, s in zip(mean, std, strict=True)),
            "leave one of the two out",
        ),
    ]
    others: dict[Normalization, list[str]] = {}
    for name, preset in PRESETS.items():
        others.setdefault(preset, []).append(f"fastnorm.{name.upper()}")
    made += [
        Making(
            f"values of {' = '.join(names)}",
            preset.std,
            preset.mean,
            f"fastnorm.renormalize(tensor, {names[0]}, normalization)",
        )
        for preset, names in others.items()
    ]
    own = Making.of(expected)
    return [making for making in made if (making.scale, making.offset) != (own.scale, own.offset)]


def _times(values: Triple, factor: float) -> Triple:
    return _triple(value * factor for value in values)


def _triple(values: Iterable[float]) -> Triple:
    r, g, b = values
    return r, g, b
