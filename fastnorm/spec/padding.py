"""What lies around an image where a crop shows more than there is of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fastnorm.spec.size import whole

PadMode = Literal["constant", "edge", "reflect", "symmetric"]
Color = tuple[int, int, int]

BLACK: Color = (0, 0, 0)
_CHANNELS = 3


@dataclass(frozen=True, init=False)
class Pad:
    """What lies around an image where a crop shows more than there is of it; torchvision's `fill` and `padding_mode`.

    Example:
        >>> Pad(fill=[int(255 * mean) for mean in fastnorm.CLIP.mean]).fill
        (122, 116, 104)
        >>> Pad(mode="reflect")
        Pad(fill=(0, 0, 0), mode='reflect', value=None)

    Args:
        fill: Pixel values 0 to 255 of R, G, B before they are normalised, or one for all three.
        mode: "constant": `fill`; "edge": the nearest pixel; "reflect": mirrored at the edge's pixels, which are not
            repeated; "symmetric": mirrored at the edge, whose pixels are. As torchvision and numpy have them.
        value: Instead of `fill`, for "constant": what the output holds there, in its own unit, after normalising.
            transformers' processors that pad the normalised image have 0.0.

    Raises:
        TypeError, ValueError: Values that are none of these.
    """

    fill: Color
    mode: PadMode
    value: tuple[float, float, float] | None

    def __init__(
        self,
        fill: int | Sequence[int] = 0,
        mode: PadMode = "constant",
        value: float | Sequence[float] | None = None,
    ) -> None:
        if mode not in get_args(PadMode):
            raise ValueError(f"mode: got {mode!r}, expected one of {', '.join(map(repr, get_args(PadMode)))}")
        object.__setattr__(self, "fill", _color(fill))
        object.__setattr__(self, "mode", mode)
        object.__setattr__(self, "value", None if value is None else _values(value))
        if mode != "constant" and (self.fill != BLACK or value is not None):
            raise ValueError(f"Pad: got mode={mode!r} with a fill or value, expected them with mode='constant' alone")
        if value is not None and self.fill != BLACK:
            raise ValueError("Pad: got fill and value, expected one: pixel values, or values of the normalised output")

    @property
    def is_black(self) -> bool:
        """Whether it is as if nothing had been said: black pixels."""
        return self.mode == "constant" and self.fill == BLACK and self.value is None


def _color(fill: object) -> Color:
    given = fill.tolist() if hasattr(fill, "tolist") else fill
    values = given if isinstance(given, Sequence) and not isinstance(given, str) else [given] * _CHANNELS
    codes = [whole(value) for value in values]
    if len(codes) != _CHANNELS or None in codes:
        raise TypeError(
            f"fill: got {fill!r}, expected a pixel value, or three of them (R, G, B): "
            f"[int(255 * mean) for mean in fastnorm.CLIP.mean]"
        )
    red, green, blue = codes
    if not all(0 <= code <= 255 for code in codes if code is not None):
        raise ValueError(f"fill: got {fill!r}, expected pixel values from 0 to 255")
    return red, green, blue  # type: ignore[return-value]


def _values(value: object) -> tuple[float, float, float]:
    values: Sequence[Any] = [value] * _CHANNELS
    if isinstance(value, Sequence) and not isinstance(value, str):
        values = value
    if len(values) != _CHANNELS or any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in values):
        raise TypeError(f"value: got {value!r}, expected a number, or three of them (R, G, B)")
    if not all(math.isfinite(v) for v in values):
        raise ValueError(f"value: got {value!r}, expected finite numbers")
    red, green, blue = (float(v) for v in values)
    return red, green, blue


BLACK_BORDERS = Pad()
