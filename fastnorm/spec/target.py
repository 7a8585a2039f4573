"""What a target of a preprocess call asks for: how to resize, where to crop and how to normalise."""

from __future__ import annotations

import enum
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch

from fastnorm.spec.arguments import check_normalization, resolve_dtypes, resolve_memory_formats
from fastnorm.spec.filters import FILTERS, FILTERS_OF
from fastnorm.spec.geometry import CropRule, Size
from fastnorm.spec.normalization import Normalization
from fastnorm.spec.options import Alpha, Arithmetic, FilterName, Placement, check_alpha, check_arithmetic

RANDOM: Placement = "random"
CENTRES: Mapping[str, CropRule] = {rule.value: rule for rule in CropRule}

# Pillow's numbers of the filters, which transformers' configurations hold.
PILLOW_FILTERS: Mapping[int, FilterName] = {1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}

# Pillow refuses to decode files of more pixels than this, twice its `Image.MAX_IMAGE_PIXELS`.
MAX_PIXELS = 178_956_970


class Position(NamedTuple):
    """A crop's top left pixel in the resized image."""

    top: int
    left: int


@dataclass(frozen=True, init=False)
class Crop:
    """The part of a resized image that a target keeps.

    Example:
        >>> Crop(224, "transformers")
        Crop(size=Size(height=224, width=224), position='transformers')
        >>> Crop((768, 1024), "random").size
        Size(height=768, width=1024)

    Args:
        size: (height, width) in pixels, or one number for a square; None takes the target's own size, whatever it is
            changed to.
        position: Where the crop lies:
            "torchvision": in the centre, as `CenterCrop` places it: half the margin, rounded half to even;
            "transformers": in the centre, as the Pillow-backend image processors place it: half the margin, rounded
            down (a pixel further to the top or left where the margin is 3 modulo 4);
            "random": anywhere, drawn from torch's default generator with the numbers of torchvision's `RandomCrop`, for
            the images in turn; `fused_preprocess` says how mirrors are drawn with them;
            (top, left): there, in pixels of the resized image. For a position of its own for each image, see the
            `positions` of `fused_preprocess`.

    Where the image is smaller than the crop, the rest is black: the rule decides on which side an odd line goes, a
    random crop puts the image anywhere, and a given one where the position says (which may be negative).

    Raises:
        TypeError, ValueError: A size below 1 or too large, a `position` that is none of these.
    """

    size: Size | None
    position: Placement | Position

    def __init__(
        self, size: int | Sequence[int] | None = None, position: Placement | Sequence[int] = "torchvision"
    ) -> None:
        object.__setattr__(self, "size", None if size is None else _pair("crop", size))
        object.__setattr__(self, "position", _placement(position))


@dataclass(frozen=True, init=False)
class Target:
    """One target of a preprocess call: how to resize, crop and normalise.

    Example:
        >>> Target(fastnorm.DINOV2, size=256, resample="bicubic", crop=224, dtype=torch.bfloat16).crop
        Crop(size=Size(height=224, width=224), position='torchvision')
        >>> dataclasses.replace(fastnorm.VAE_512, size=768).crop_size
        Size(height=768, width=768)

    Frozen, hashable and picklable; equal where everything is equal. `dataclasses.replace` makes a variant.

    Args:
        normalization: What becomes of the resized uint8 pixels, such as `fastnorm.CLIP`.
        size: Resize the short side to this many pixels, the long side in proportion (rounded down), as
            `{"shortest_edge": 224}` in a transformers configuration; or to exactly (height, width); None: not at all.
        resample: Pillow's filter: "bilinear", "bicubic", "lanczos", "box" or "hamming", always antialiased. Pillow's
            `Image.Resampling`, its numbers (3 is bicubic) and torchvision's `InterpolationMode` are understood too.
        crop: What to keep: a `Crop`, or its size alone for torchvision's `CenterCrop`; None: everything.
        pad: Whether images that are smaller than the crop get black borders, as in both libraries; False refuses them.
        dtype: float32, float16 or bfloat16; None takes the call's.
        memory_format: `torch.contiguous_format` (the default) or `torch.channels_last`.
        alpha: What becomes of transparent pixels of PIL images in this target: "error", "drop" or "white", as for
            `fused_preprocess`; None takes the call's. Tensors, arrays and `PackedImages` have no alpha: it is ignored.
        arithmetic: Whose resized pixels, on every device: "pillow", those of `Image.resize`; or "torch", those of
            antialiased `torch.nn.functional.interpolate` of uint8 tensors on a CPU, which torchvision's `Resize` of
            tensors and transformers' default image processors call. torch has "bilinear", "bicubic" and "lanczos". The
            two differ by 1 in some pixel values.

    Raises:
        TypeError, ValueError: Before any image is looked at.
    """

    normalization: Normalization
    size: int | Size | None
    resample: FilterName
    crop: Crop | None
    pad: bool
    dtype: torch.dtype | None
    memory_format: torch.memory_format | None
    alpha: Alpha | None
    arithmetic: Arithmetic

    def __init__(
        self,
        normalization: Normalization,
        size: int | Sequence[int] | Mapping[str, int] | None = None,
        resample: FilterName | int | enum.Enum = "bilinear",  # torchvision has no types for its own enumeration
        crop: int | Sequence[int] | Crop | None = None,
        pad: bool = True,
        dtype: torch.dtype | None = None,
        memory_format: torch.memory_format | None = None,
        alpha: Alpha | None = None,
        *,
        arithmetic: Arithmetic = "pillow",
    ) -> None:
        check_normalization(normalization, "normalization")
        if not isinstance(pad, bool):
            raise TypeError(f"pad: got {type(pad).__name__}, expected True (black borders) or False (an error)")
        if dtype is not None:
            resolve_dtypes(dtype, 1)
        if memory_format is not None:
            resolve_memory_formats(memory_format, 1)
        if alpha is not None:
            check_alpha(alpha)
        check_arithmetic(arithmetic)
        values = {
            "normalization": normalization,
            "size": _resize(size),
            "resample": _filter_name(resample),
            "crop": _crop(crop),
            "pad": pad,
            "dtype": dtype,
            "memory_format": memory_format,
            "alpha": alpha,
            "arithmetic": arithmetic,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if self.resample not in FILTERS_OF[arithmetic]:
            raise ValueError(
                f"resample: got {self.resample!r} with arithmetic={arithmetic!r}, expected one of "
                f"{', '.join(map(repr, FILTERS_OF[arithmetic]))}, which torch has for uint8; Pillow has it: "
                f"Target(..., resample={self.resample!r}, arithmetic='pillow')"
            )
        if self.crop is not None and self.crop_size is None:
            raise ValueError("crop: got a Crop without a size for size=None, expected one of them: Crop(224)")

    @property
    def crop_size(self) -> Size | None:
        """The crop's size, its own or the target's; None without a crop."""
        if self.crop is None:
            return None
        if self.crop.size is not None:
            return self.crop.size
        return Size(self.size, self.size) if isinstance(self.size, int) else self.size


class DualOutput(NamedTuple):
    """What the dual functions return: the two tensors, by position or by name."""

    vae: torch.Tensor
    clip: torch.Tensor

    def __repr__(self) -> str:
        shown = (f"{name}={_summary(tensor)}" for name, tensor in zip(self._fields, self, strict=True))
        return f"DualOutput({', '.join(shown)})"


def _summary(tensor: torch.Tensor) -> str:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return f"{dtype} tensor of shape {tuple(tensor.shape)} on {tensor.device}"


def check_targets(targets: object) -> tuple[Target, ...]:
    """The targets as a tuple, or an error that shows the call to make."""
    if isinstance(targets, Target):
        raise TypeError("targets: got one Target, expected a list of them: fused_preprocess(images, [it])")
    if isinstance(targets, str) or not isinstance(targets, Sequence):
        raise TypeError(
            f"targets: got {type(targets).__name__}, expected a list such as [fastnorm.VAE_512, fastnorm.CLIP_224]"
        )
    if not targets:
        raise ValueError("targets: got an empty list, expected at least one target, such as [fastnorm.CLIP_224]")
    for index, target in enumerate(targets):
        check_target(target, f"targets[{index}]")
    return tuple(targets)


def check_target(target: object, what: str) -> None:
    if isinstance(target, Target):
        return
    if isinstance(target, Normalization):
        raise TypeError(
            f"{what}: got a Normalization, expected a Target, which says how to resize and crop too: "
            f"fastnorm.Target(it, size=224, resample='bicubic', crop=224)"
        )
    raise TypeError(f"{what}: got {type(target).__name__}, expected a fastnorm.Target, such as fastnorm.CLIP_224")


def _resize(size: object) -> int | Size | None:
    if size is None:
        return None
    if isinstance(size, Mapping):  # as transformers' configurations have it
        if set(size) == {"shortest_edge"}:
            return _resize(size["shortest_edge"])
        if set(size) == {"height", "width"}:
            return _pair("size", (size["height"], size["width"]))
        raise ValueError(
            f"size: got {dict(size)!r}, expected {{'shortest_edge': pixels}}, which is size=pixels, or {{'height': "
            f"rows, 'width': columns}}, which is size=(rows, columns)"
        )
    pair = _pair("size", size)
    return pair if _whole(size) is None else pair.height


def _pair(what: str, size: object) -> Size:
    side = _whole(size)
    if side is not None:
        pair = Size(side, side)
    elif isinstance(size, Sequence) and not isinstance(size, str) and len(size) == 2:
        sides = [_whole(side) for side in size]
        if None in sides:
            raise TypeError(f"{what}: got {size!r}, expected whole numbers of pixels: (height, width)")
        pair = Size(*sides)  # type: ignore[arg-type]
    else:
        raise TypeError(f"{what}: got {size!r}, expected a number of pixels, or (height, width)")
    if pair.height < 1 or pair.width < 1:
        raise ValueError(f"{what}: got {size!r}, expected at least one pixel on each side")
    if pair.height * pair.width > MAX_PIXELS:
        raise ValueError(f"{what}: got {size!r}, expected at most {MAX_PIXELS:,} pixels in all")
    return pair


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]  # integers of numpy and torch too
    except TypeError:
        return None


def _crop(crop: object) -> Crop | None:
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
    numbers = [_whole(v) for v in value] if isinstance(value, Sequence) and not isinstance(value, str) else []
    if len(numbers) != 2 or None in numbers:
        raise TypeError(f"{what}: got {value!r}, expected whole numbers of pixels: (top, left)")
    return Position(*numbers)  # type: ignore[arg-type]


def _filter_name(resample: object) -> FilterName:
    # Pillow's Resampling is an enumeration whose names are the filters'; so is torchvision's InterpolationMode.
    name = getattr(resample, "name", resample)
    number = _whole(name)
    name = name if number is None else PILLOW_FILTERS.get(number, str(number))
    known = ", ".join(map(repr, FILTERS))
    if not isinstance(name, str):
        raise TypeError(f"resample: got {resample!r}, expected one of {known}")
    if name.lower() not in FILTERS:
        raise ValueError(f"resample: got {name!r}, expected one of {known}")
    return cast(FilterName, name.lower())
