"""Sizes, and the whole numbers that they are made of as callers write them: Python's, numpy's or torch's."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import NamedTuple

# Pillow refuses to decode files of more pixels than this, twice its `Image.MAX_IMAGE_PIXELS`.
MAX_PIXELS = 178_956_970


class Size(NamedTuple):
    """An image's extent in pixels, in torch's order; Pillow's `Image.size` is the other way round."""

    height: int
    width: int


def whole(value: object) -> int | None:
    """The number, or None where it is not a whole one."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]  # integers of numpy and torch too
    except TypeError:
        return None


def at_least(what: str, value: object, least: int) -> int:
    """A whole number of `least` or more."""
    number = whole(value)
    if number is None:
        raise TypeError(f"{what}: got {value!r}, expected a whole number")
    if number < least:
        raise ValueError(f"{what}: got {number}, expected {least} or more")
    return number


def pair(what: str, size: object) -> Size:
    """(height, width), from that or from one number for both."""
    side = whole(size)
    if side is not None:
        found = Size(side, side)
    elif isinstance(size, Sequence) and not isinstance(size, str) and len(size) == 2:
        sides = [whole(side) for side in size]
        if None in sides:
            raise TypeError(f"{what}: got {size!r}, expected whole numbers of pixels: (height, width)")
        found = Size(*sides)  # type: ignore[arg-type]
    else:
        raise TypeError(f"{what}: got {size!r}, expected a number of pixels, or (height, width)")
    if found.height < 1 or found.width < 1:
        raise ValueError(f"{what}: got {size!r}, expected at least one pixel on each side")
    if found.height * found.width > MAX_PIXELS:
        raise ValueError(f"{what}: got {size!r}, expected at most {MAX_PIXELS:,} pixels in all")
    return found
