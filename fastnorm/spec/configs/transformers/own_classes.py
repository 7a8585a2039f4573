"""A class of a user's own: read as the class of transformers that it descends from, if it gives the same values.

That is tried on the spot, on images made here: what the class does beyond its ancestor shows in some of them, or is
not about pixels.
"""

from __future__ import annotations

import copy
from typing import Any, NoReturn

import numpy as np
from PIL import Image

# Lines, extreme proportions, smaller and larger than usual crops, margins that are 3 modulo 4.
_SIZES = ((1, 5), (61, 30), (227, 231), (90, 500), (301, 417))
_SEED = 20


def ancestor_of(processor: Any, name: str) -> Any:  # noqa: ANN401 - transformers has no types
    """The same settings as an object of the nearest ancestor among transformers' image processors.

    Raises:
        ValueError: No such ancestor, or another value in any image.
    """
    kind = type(processor)
    own = next((base for base in kind.__mro__ if base.__module__.startswith("transformers.models.")), None)
    if own is None:
        _refuse(name, kind, "which may do anything, expected one of transformers'")
    plain = copy.copy(processor)
    plain.__class__ = own
    compared = 0
    for image in _images():
        expected = _values(plain, image)
        if expected is None:  # too small for the class itself
            continue
        compared += 1
        found = _values(processor, image)
        if found is None or found.dtype != expected.dtype or not np.array_equal(found, expected):
            size = f"{image.height} x {image.width}"
            _refuse(name, kind, f"which gives other values than {own.__name__}, tried on an image of {size} pixels")
    if not compared:
        _refuse(name, kind, f"of which no image could be compared with {own.__name__}")
    return plain


def _images() -> list[Image.Image]:
    """Noise in colour, and one with every kind of transparency, and a gray one."""
    generator = np.random.default_rng(_SEED)
    shapes = [(*size, 3) for size in _SIZES] + [(60, 90, 4), (60, 90)]
    return [Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)) for shape in shapes]


def _values(processor: Any, image: Image.Image) -> Any:  # noqa: ANN401
    """`pixel_values`; None where the class refuses the image, with whatever error its code has for that."""
    try:
        return np.asarray(processor(image, return_tensors="np")["pixel_values"])
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):
        return None


def _refuse(name: str, kind: type, why: str) -> NoReturn:
    raise ValueError(
        f"{name}: got {kind.__module__}.{kind.__name__}, a class of your own, {why}; write a Target(...) and hold it "
        f"to the processor with fastnorm.verify"
    )
