"""Rules that turn an image's size into another: what published processors compute before they resize, crop or pad.

A rule is called with (height, width) in pixels and returns (height, width). Any function of one's own will do; the
ones here are values, which compare, hash, print and pickle. Published code computes in float64, and where an exact
result lies on a boundary, `int(448 * (1 / 7))` and `int(448 * 1 / 7)` are different numbers. So a rule says whose order
of operations it follows, and that code's operations are what it computes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

from fastnorm.spec.size import Size, at_least, pair, whole

SizeRule = Callable[[int, int], Sequence[int]]
Rounding = Literal["floor", "round", "half_up", "ceil"]
RuleName = Literal["torchvision", "transformers", "timm", "pillow"]
Edge = Literal["shortest", "longest"]

_MAX_RATIO = 200  # of the sides, which smart_resize refuses

_TO_INT: Mapping[str, Callable[[float], int]] = {
    "floor": math.floor,
    "round": round,  # half to even
    "half_up": lambda side: math.floor(side + 0.5),
    "ceil": math.ceil,
}
_OWN_ROUNDING: Mapping[str, Rounding] = {
    "torchvision": "floor",
    "transformers": "floor",
    "timm": "round",
    "pillow": "round",
}


class _Shown:
    """The repr of the rules: what differs from the defaults."""

    def __repr__(self) -> str:
        given = [(field.name, getattr(self, field.name)) for field in fields(self) if field.init]  # type: ignore[arg-type]
        plain = _defaults(type(self))
        shown = [
            f"{name}={tuple(value) if isinstance(value, Size) else value!r}"
            for name, value in given
            if value != plain.get(name)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, init=False, repr=False)
class Sides(_Shown):
    """A size that keeps the image's proportions, then optionally a multiple of something.

    Example:
        >>> Sides(longest=1024)(600, 800)
        Size(height=768, width=1024)
        >>> Sides(shortest=800, longest=1333, rule="transformers")(480, 1600)  # as DETR
        Size(height=400, width=1333)
        >>> Sides(within=(1024, 1024), enlarge=False, rule="timm", rounding="floor", multiple_of=16)(500, 700)
        Size(height=512, width=704)
        >>> Sides(multiple_of=32, multiple_rounding="floor")(500, 700)  # nothing but that
        Size(height=480, width=672)

    Args:
        shortest: The short side becomes this many pixels; with `longest`, unless the long side would become longer.
        longest: The long side becomes this many pixels; with `shortest`, at most as many.
        within: The largest size that fits into (height, width): letterboxes.
        covering: The smallest size that covers (height, width): what is then cropped.
        enlarge: False: an image that would grow keeps its size.
        minimum: No side becomes less than this many pixels. With 0, an image of which a side comes to nothing is
            refused, as by Pillow.
        multiple_of: Both sides become multiples of this many pixels, after all of the above.
        multiple_rounding: To which: "ceil", "floor" or "round" (half to even).
        rule: Whose order of operations in float64; `t` is the size asked for on the one side that decides:
            "torchvision": `t * side / deciding side`; with `shortest` and `longest`, `Resize(max_size=longest)`;
            "transformers": `side * (t / deciding side)`; with `shortest` and `longest`, the rule of its DETR family;
            "timm": `side / (deciding side / t)`, as `ResizeKeepRatio`, and open_clip's;
            "pillow": `side / deciding side * t`, as `ImageOps.contain` and `cover`.
            By torchvision's and Pillow's the deciding side becomes exactly t.
        rounding: How sides become whole: "floor", "round" (half to even), "half_up" or "ceil"; None as the rule's own
            library: "floor" in torchvision and transformers, "round" in timm and Pillow.

    Raises:
        TypeError, ValueError: Values that are none of these, or do not go together.
    """

    shortest: int | None
    longest: int | None
    within: Size | None
    covering: Size | None
    enlarge: bool
    minimum: int
    multiple_of: int
    multiple_rounding: Rounding
    rule: RuleName
    rounding: Rounding | None  # None: the rule's own

    def __init__(
        self,
        *,
        shortest: int | None = None,
        longest: int | None = None,
        within: int | Sequence[int] | None = None,
        covering: int | Sequence[int] | None = None,
        enlarge: bool = True,
        minimum: int = 0,
        multiple_of: int = 1,
        multiple_rounding: Rounding = "ceil",
        rule: RuleName = "torchvision",
        rounding: Rounding | None = None,
    ) -> None:
        _check_word("rule", rule, get_args(RuleName))
        if rounding is not None:
            _check_word("rounding", rounding, get_args(Rounding))
        _check_word("multiple_rounding", multiple_rounding, ("ceil", "floor", "round"))
        if not isinstance(enlarge, bool):
            raise TypeError(f"enlarge: got {enlarge!r}, expected True or False")
        values = {
            "shortest": None if shortest is None else at_least("shortest", shortest, 1),
            "longest": None if longest is None else at_least("longest", longest, 1),
            "within": None if within is None else pair("within", within),
            "covering": None if covering is None else pair("covering", covering),
            "enlarge": enlarge,
            "minimum": at_least("minimum", minimum, 0),
            "multiple_of": at_least("multiple_of", multiple_of, 1),
            "multiple_rounding": multiple_rounding,
            "rule": rule,
            "rounding": None if rounding == _OWN_ROUNDING[rule] else rounding,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check_together()

    def _check_together(self) -> None:
        named = [name for name in ("shortest", "longest", "within", "covering") if getattr(self, name) is not None]
        if len(named) > 1 and named != ["shortest", "longest"]:
            raise ValueError(
                f"Sides: got {' and '.join(named)}, expected one of shortest, longest, within and covering, or "
                f"shortest with longest"
            )
        if not named and self.multiple_of == 1 and self.minimum == 0:
            raise ValueError(
                "Sides: got nothing to compute, expected shortest, longest, within, covering or multiple_of: "
                "Sides(shortest=224)"
            )
        if len(named) == 2:
            if self.rule not in ("torchvision", "transformers") or self.rounding is not None or not self.enlarge:
                raise ValueError(
                    f"Sides: got shortest and longest with rule={self.rule!r}, rounding={self.rounding!r} and "
                    f"enlarge={self.enlarge}, expected rule='torchvision' or 'transformers', whose own rounding it has"
                )
            if self.rule == "torchvision" and self.longest <= self.shortest:  # type: ignore[operator]
                raise ValueError(
                    f"Sides: got longest={self.longest} for shortest={self.shortest}, expected a larger one, as "
                    f"torchvision does of max_size; for a square, size=({self.longest}, {self.longest})"
                )

    def __call__(self, height: int, width: int) -> Size:
        """The size that an image of `height` x `width` pixels gets."""
        sides = [max(side, self.minimum) for side in self._scaled(Size(height, width))]
        return Size(*(_multiple(side, self.multiple_of, self.multiple_rounding) for side in sides))

    def _scaled(self, source: Size) -> Size:
        if self.shortest is not None and self.longest is not None:
            both = _max_size if self.rule == "torchvision" else _of_detr
            return both(source, self.shortest, self.longest)
        fits = self.shortest is None and self.covering is None
        if self.shortest is not None:
            target = Size(self.shortest, self.shortest)
        elif self.longest is not None:
            target = Size(self.longest, self.longest)
        else:
            found = self.within or self.covering
            if found is None:
                return source
            target = found
        height, width = source
        # The side that has farther to shrink decides what fits, the other one what covers.
        by_width = (width * target.height > height * target.width) is fits
        deciding, wanted = (width, target.width) if by_width else (height, target.height)
        if not self.enlarge and wanted >= deciding:
            return source
        sides = [self._side(side, wanted, deciding) for side in source]
        if fits:  # what is rounded up, too
            sides = [min(side, most) for side, most in zip(sides, target, strict=True)]
        return Size(*sides)

    def _side(self, side: int, wanted: int, deciding: int) -> int:
        if self.rule == "torchvision":
            exact = wanted * side / deciding
        elif self.rule == "transformers":
            exact = side * (wanted / deciding)
        elif self.rule == "timm":
            exact = side / (deciding / wanted)
        else:
            exact = side / deciding * wanted
        return _TO_INT[self.rounding or _OWN_ROUNDING[self.rule]](exact)


def _max_size(source: Size, shortest: int, longest: int) -> Size:
    """torchvision's `Resize(shortest, max_size=longest)`, which rounds twice where the limit bites."""
    short, long = min(source), max(source)
    new_short, new_long = shortest, int(shortest * long / short)
    if new_long > longest:
        new_short, new_long = int(longest * new_short / new_long), longest
    return Size(new_long, new_short) if source.width <= source.height else Size(new_short, new_long)


def _of_detr(source: Size, shortest: int, longest: int) -> Size:
    """transformers' size of {"shortest_edge", "longest_edge"}: a whole short side, and a long one of the exact one."""
    short, long = float(min(source)), float(max(source))
    exact: float = shortest
    if long / short * shortest > longest:
        exact = longest * short / long
    size = round(exact)
    if min(source) == size:
        return source
    other = int(exact * max(source) / min(source))
    return Size(other, size) if source.width < source.height else Size(size, other)


@dataclass(frozen=True, init=False, repr=False)
class Area(_Shown):
    """Both sides rounded to a multiple, and the number of pixels kept within limits: Qwen's `smart_resize`.

    Example:
        >>> Area(multiple_of=28, min_pixels=56 * 56, max_pixels=1_003_520)(600, 800)
        Size(height=588, width=812)
        >>> Area(multiple_of=28, min_pixels=56 * 56, max_pixels=1_003_520)(3000, 2000)
        Size(height=1204, width=812)

    Args:
        multiple_of: `factor`: patch size times merge size, 28 for Qwen2-VL and 32 for Qwen3-VL.
        min_pixels: An image that comes to less is enlarged, sides rounded up.
        max_pixels: An image that comes to more is shrunk, sides rounded down.

    Raises:
        TypeError, ValueError: At construction, of other than whole numbers; when called, of sides that are more than
            200 to 1, as `smart_resize` does.
    """

    multiple_of: int
    min_pixels: int
    max_pixels: int

    def __init__(self, multiple_of: int, *, min_pixels: int, max_pixels: int) -> None:
        object.__setattr__(self, "multiple_of", at_least("multiple_of", multiple_of, 1))
        object.__setattr__(self, "min_pixels", at_least("min_pixels", min_pixels, 1))
        object.__setattr__(self, "max_pixels", at_least("max_pixels", max_pixels, 1))
        if self.max_pixels < self.min_pixels:
            raise ValueError(f"max_pixels: got {max_pixels}, expected min_pixels = {min_pixels} or more")

    def __call__(self, height: int, width: int) -> Size:
        """The size that an image of `height` x `width` pixels gets."""
        if max(height, width) / min(height, width) > _MAX_RATIO:
            raise ValueError(
                f"got sides of {height} x {width} pixels, expected at most {_MAX_RATIO} to 1; crop it first"
            )
        factor = self.multiple_of
        new_height, new_width = round(height / factor) * factor, round(width / factor) * factor
        if new_height * new_width > self.max_pixels:
            shrink = math.sqrt((height * width) / self.max_pixels)
            new_height = max(factor, math.floor(height / shrink / factor) * factor)
            new_width = max(factor, math.floor(width / shrink / factor) * factor)
        elif new_height * new_width < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (height * width))
            new_height = math.ceil(height * grow / factor) * factor
            new_width = math.ceil(width * grow / factor) * factor
        return Size(new_height, new_width)


@dataclass(frozen=True, init=False, repr=False)
class Square(_Shown):
    """A square of the image's long or short side, or of a fraction of it, rounded down.

    Example:
        >>> Square("longest")(600, 800)  # padded to a square, as LLaVA does before it resizes
        Size(height=800, width=800)
        >>> Square("shortest", 224 / 256)(600, 800)  # the part that Perceiver crops before it resizes
        Size(height=525, width=525)

    Args:
        edge: "longest" or "shortest".
        fraction: Of it; above 0.

    Raises:
        TypeError, ValueError: Values that are none of these.
    """

    edge: Edge
    fraction: float

    def __init__(self, edge: Edge, fraction: float = 1.0) -> None:
        _check_word("edge", edge, get_args(Edge))
        if isinstance(fraction, bool) or not isinstance(fraction, (int, float)):
            raise TypeError(f"fraction: got {fraction!r}, expected a number such as 0.875")
        if not 0 < fraction < math.inf:
            raise ValueError(f"fraction: got {fraction}, expected a number above 0, such as 0.875")
        object.__setattr__(self, "edge", edge)
        object.__setattr__(self, "fraction", float(fraction))

    def __call__(self, height: int, width: int) -> Size:
        """The size of the square for an image of `height` x `width` pixels."""
        side = int(self.fraction * (max(height, width) if self.edge == "longest" else min(height, width)))
        return Size(side, side)


@dataclass(frozen=True, init=False, repr=False)
class Buckets(_Shown):
    """One of several sizes: that whose width / height comes closest to the image's, as in FLUX.1 Kontext.

    Example:
        >>> Buckets([(1024, 1024), (880, 1184), (1184, 880)])(600, 800)
        Size(height=880, width=1184)

    Of equally close ones, that of the smaller width, then of the smaller height.

    Args:
        sizes: (height, width) in pixels, each as it stands. Published lists often have (width, height).

    Raises:
        TypeError, ValueError: No sizes, or values that are none.
    """

    sizes: tuple[Size, ...]

    def __init__(self, sizes: Sequence[Sequence[int]]) -> None:
        if isinstance(sizes, str) or not isinstance(sizes, Sequence):
            raise TypeError(f"sizes: got {type(sizes).__name__}, expected a list of (height, width)")
        if not sizes:
            raise ValueError("sizes: got an empty list, expected at least one (height, width)")
        object.__setattr__(self, "sizes", tuple(pair(f"sizes[{index}]", size) for index, size in enumerate(sizes)))

    def __call__(self, height: int, width: int) -> Size:
        """The size that an image of `height` x `width` pixels gets."""
        return min(
            self.sizes, key=lambda size: (abs(width / height - size.width / size.height), size.width, size.height)
        )


def checked_size(found: object, source: Size) -> Size:
    """What a rule returned for an image of the size `source`, as a size, which may be of no pixels."""
    sides = [whole(side) for side in found] if isinstance(found, Sequence) else []
    if len(sides) != 2 or sides[0] is None or sides[1] is None:
        raise TypeError(
            f"an image of {source.height} x {source.width} pixels would become {found!r}, by the rule for its size, "
            f"expected (height, width) in whole pixels"
        )
    return Size(sides[0], sides[1])


def _multiple(side: int, of: int, rounding: str) -> int:
    if of == 1:
        return side
    if rounding == "round":
        return round(side / of) * of
    return side // of * of if rounding == "floor" else -(-side // of) * of


def _check_word(what: str, word: object, choices: Sequence[str]) -> None:
    if word not in choices:
        raise ValueError(f"{what}: got {word!r}, expected one of {', '.join(map(repr, choices))}")


def _defaults(kind: type) -> Mapping[str, object]:
    import inspect

    return {name: p.default for name, p in inspect.signature(kind).parameters.items() if p.default is not p.empty}
