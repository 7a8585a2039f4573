"""What can be done to an image before its pixels are normalised: crops, borders, resizes, as values.

A `Target` has one resize and one crop, and before them any number of these steps.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

from fastnorm.spec.geometry import CropRule, Size
from fastnorm.spec.options import FILTER_NAMES, FilterName, Placement
from fastnorm.spec.size import at_least, pair, whole
from fastnorm.spec.sizes import Sides, SizeRule

RANDOM: Placement = "random"
CENTRES: Mapping[str, CropRule] = {rule.value: rule for rule in CropRule}
BATCH: Literal["batch"] = "batch"

# Pillow's numbers of the filters, which transformers' configurations hold.
PILLOW_FILTERS: Mapping[int, FilterName] = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
    4: "box",
    5: "hamming",
}


class Position(NamedTuple):
    """A crop's top left pixel in the resized image."""

    top: int
    left: int


@dataclass(frozen=True, init=False)
class Crop:
    """The part of a resized image that a target keeps, which may be more than there is: see `Pad`.

    Example:
        >>> Crop(224, "transformers")
        Crop(size=Size(height=224, width=224), position='transformers')
        >>> Crop((768, 1024), "random").size
        Size(height=768, width=1024)
        >>> Crop(fastnorm.Square("longest"))  # padded to a square
        Crop(size=Square(edge='longest'), position='torchvision')

    Args:
        size: (height, width) in pixels, or one number for a square; None takes the target's own size, whatever it is
            changed to. A rule, such as `Square("longest")` or `Sides(multiple_of=16)`, is told the size of what is
            cropped; any function (height, width) -> (height, width) will do. "batch" is the largest height and the
            largest width of the call's images: with the position (0, 0), what detection models pad a batch to.
        position: Where the crop lies:
            "torchvision": in the centre, as `CenterCrop` places it: half the margin, rounded half to even;
            "transformers": in the centre, as the Pillow-backend image processors place it: half the margin, rounded
            down (a pixel further to the top or left where the margin is 3 modulo 4);
            "transformers_torchvision": in the centre, as the torchvision-backend image processors, the default ones,
            place it: the same in larger images, and around smaller ones the odd line of padding comes last, as
            torchvision has it;
            "random": anywhere, drawn from torch's default generator with the numbers of torchvision's `RandomCrop`, for
            the images in turn; `fused_preprocess` says how mirrors are drawn with them;
            (top, left): there, in pixels of the resized image. For a position of its own for each image, see the
            `positions` of `fused_preprocess`.

    Where the image is smaller than the crop, the rest is padding, black unless the target's `pad` says otherwise: the
    rule decides on which side an odd line goes, a random crop puts the image anywhere, and a given one where the
    position says (which may be negative).

    Raises:
        TypeError, ValueError: A size below 1 or too large, a `position` that is none of these.
    """

    size: Size | SizeRule | str | None
    position: Placement | Position

    def __init__(
        self,
        size: int | Sequence[int] | SizeRule | Literal["batch"] | None = None,
        position: Placement | Sequence[int] = "torchvision",
    ) -> None:
        object.__setattr__(self, "size", _crop_size(size))
        object.__setattr__(self, "position", _placement(position))
        if self.position == RANDOM and self.size is not None and self.fixed_size is None:
            raise ValueError(
                f"Crop: got a size that depends on the image, {size!r}, for a random position, expected pixels: "
                f"Crop(224, 'random')"
            )

    @property
    def fixed_size(self) -> Size | None:
        """The size, where it is the same for every image."""
        return self.size if isinstance(self.size, Size) else None


@dataclass(frozen=True, init=False)
class Border:
    """Lines around an image, added (see `Pad`) or, where negative, taken away, as torchvision's `Pad` does.

    Example:
        >>> Border(4)
        Border(top=4, left=4, bottom=4, right=4)

    Args:
        top, left, bottom, right: Pixels. One number is for all four sides.

    Raises:
        TypeError, ValueError: Other than whole numbers.
    """

    top: int
    left: int
    bottom: int
    right: int

    def __init__(self, top: int, left: int | None = None, bottom: int | None = None, right: int | None = None) -> None:
        for name, value in (("top", top), ("left", left), ("bottom", bottom), ("right", right)):
            number = whole(top if value is None else value)
            if number is None:
                raise TypeError(f"{name}: got {value!r}, expected a whole number of pixels")
            object.__setattr__(self, name, number)


@dataclass(frozen=True, init=False)
class Resize:
    """A resize before the last.

    Example:
        >>> Resize(Sides(longest=2048, enlarge=False), "lanczos")
        Resize(size=Sides(longest=2048, enlarge=False), resample='lanczos', reducing_gap=None)

    Args:
        size: As a `Target`'s: the short side in pixels, or (height, width), or a rule.
        resample: As a `Target`'s.
        reducing_gap: As a `Target`'s.

    Raises:
        TypeError, ValueError: As a `Target`'s.
    """

    size: int | Size | SizeRule
    resample: FilterName
    reducing_gap: float | None

    def __init__(
        self,
        size: int | Sequence[int] | Mapping[str, int] | SizeRule,
        resample: FilterName | int | enum.Enum = "bilinear",
        reducing_gap: float | None = None,
    ) -> None:
        found = resize_size(size)
        if found is None:
            raise TypeError("size: got None, expected pixels or a rule: Resize(256)")
        object.__setattr__(self, "size", found)
        object.__setattr__(self, "resample", filter_name(resample))
        object.__setattr__(self, "reducing_gap", checked_gap(reducing_gap))


@dataclass(frozen=True, init=False)
class Halve:
    """Halves an image with box filters for as long as its short side is twice `shortest` or more.

    As `center_crop_arr` of the ADM code base does first; then come its resize and crop. An odd side is rounded down.

    Example:
        >>> rule = Sides(shortest=256, rule="transformers", rounding="round")
        >>> adm = fastnorm.Target(fastnorm.VAE, rule, "bicubic", Crop(256, "transformers"), before=Halve(256))
        >>> adm.before
        (Halve(shortest=256),)

    Args:
        shortest: In pixels.

    Raises:
        TypeError, ValueError: Other than a whole number above 0.
    """

    shortest: int

    def __init__(self, shortest: int) -> None:
        object.__setattr__(self, "shortest", at_least("shortest", shortest, 1))


Step = Crop | Border | Resize | Halve


def checked_steps(before: object) -> tuple[Step, ...]:
    """The steps as a tuple, or an error that shows what they are."""
    steps = (before,) if isinstance(before, (Crop, Border, Resize, Halve)) else before
    if isinstance(steps, str) or not isinstance(steps, Sequence):
        raise TypeError(f"before: got {type(before).__name__}, expected a Crop, Border, Resize or Halve, or several")
    for index, step in enumerate(steps):
        if not isinstance(step, (Crop, Border, Resize, Halve)):
            raise TypeError(f"before[{index}]: got {type(step).__name__}, expected a Crop, Border, Resize or Halve")
        if isinstance(step, Crop) and (step.size in (None, BATCH) or step.position == RANDOM):
            raise ValueError(
                f"before[{index}]: got {step}, expected a size and a position that one image decides: "
                f"Crop(Square('shortest'))"
            )
    return tuple(steps)


def checked_gap(gap: object) -> float | None:
    if gap is None:
        return None
    if isinstance(gap, bool) or not isinstance(gap, (int, float)):
        raise TypeError(f"reducing_gap: got {gap!r}, expected a number such as 2.0, or None")
    if not 1 <= gap < math.inf:
        raise ValueError(f"reducing_gap: got {gap}, expected 1.0 or more, as Image.resize does")
    return float(gap)


def resize_size(size: object) -> int | Size | SizeRule | None:
    """What an image is resized to: pixels of its short side, a size, a rule, or None."""
    if size is None:
        return None
    if isinstance(size, Mapping):  # as transformers' configurations have it
        return _of_mapping(size)
    if callable(size):
        return _rule("size", size)
    found = pair("size", size)
    return found if whole(size) is None else found.height


def _of_mapping(size: Mapping[str, int]) -> int | Size | SizeRule | None:
    keys = set(size)
    if keys == {"shortest_edge"}:
        return resize_size(size["shortest_edge"])
    if keys == {"height", "width"}:
        return pair("size", (size["height"], size["width"]))
    if keys == {"shortest_edge", "longest_edge"}:
        return Sides(shortest=size["shortest_edge"], longest=size["longest_edge"], rule="transformers")
    if keys == {"max_height", "max_width"}:
        return Sides(within=(size["max_height"], size["max_width"]), rule="transformers")
    raise ValueError(
        f"size: got {dict(size)!r}, expected {{'shortest_edge': pixels}}, which is size=pixels, or {{'height': rows, "
        f"'width': columns}}, which is size=(rows, columns); {{'longest_edge': pixels}} differs from class to class: "
        f"Sides(longest=pixels, rule=...)"
    )


def _rule(what: str, rule: object) -> SizeRule:
    try:
        hash(rule)
    except TypeError:
        raise TypeError(f"{what}: got {rule!r}, which cannot be hashed, expected a rule that can: a function") from None
    if isinstance(rule, type):
        raise TypeError(
            f"{what}: got the class {rule.__name__}, expected one of its objects, such as Square('longest')"
        )
    return cast(SizeRule, rule)


def _crop_size(size: object) -> Size | SizeRule | str | None:
    if size is None or size == BATCH:
        return size
    if callable(size):
        return _rule("crop", size)
    if isinstance(size, str):
        raise ValueError(f"crop: got {size!r}, expected pixels, a rule such as Square('longest'), or 'batch'")
    return pair("crop", size)


def checked_crop(crop: object) -> Crop | None:
    if crop is None or isinstance(crop, Crop):
        return crop
    if isinstance(crop, Mapping):
        raise TypeError(
            f"crop: got {dict(crop)!r}, as in a transformers configuration, expected a Crop, which says where it lies: "
            f"Crop({(crop.get('height'), crop.get('width'))}, 'transformers')"
        )
    return Crop(crop)  # type: ignore[arg-type]  # which checks it


def _placement(position: object) -> Placement | Position:
    choices = (*CENTRES, RANDOM)
    expected = f"one of {', '.join(map(repr, choices))}, or (top, left)"
    if isinstance(position, str):
        if position not in choices:
            raise ValueError(f"position: got {position!r}, expected {expected}")
        return cast(Placement, position)
    values = position.tolist() if hasattr(position, "tolist") else position
    if not isinstance(values, Sequence):
        raise TypeError(f"position: got {type(position).__name__}, expected {expected}")
    if any(isinstance(value, Sequence) for value in values):
        raise TypeError(
            f"position: got {len(values)} positions, expected {expected}; one for each image is an argument of the "
            f"call: fused_preprocess(images, [target], positions=[{type(position).__name__}])"
        )
    return checked_position("position", values)


def checked_position(what: str, value: object) -> Position:
    numbers = [whole(v) for v in value] if isinstance(value, Sequence) and not isinstance(value, str) else []
    if len(numbers) != 2 or None in numbers:
        raise TypeError(f"{what}: got {value!r}, expected whole numbers of pixels: (top, left)")
    return Position(*numbers)  # type: ignore[arg-type]


def filter_name(resample: object) -> FilterName:
    # Pillow's Resampling is an enumeration whose names are the filters'; so is torchvision's InterpolationMode.
    name = getattr(resample, "name", resample)
    number = whole(name)
    name = name if number is None else PILLOW_FILTERS.get(number, str(number))
    known = ", ".join(map(repr, FILTER_NAMES))
    if not isinstance(name, str):
        raise TypeError(f"resample: got {resample!r}, expected one of {known}")
    if name.lower() not in FILTER_NAMES:
        raise ValueError(f"resample: got {name!r}, expected one of {known}")
    return cast(FilterName, name.lower())
