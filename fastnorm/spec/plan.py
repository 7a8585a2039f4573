"""From images' sizes and targets to geometries: every decision about sizes, crops and mirrors, and every refusal."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch

from fastnorm.spec import draws
from fastnorm.spec.geometry import Geometry, PassOrder, Size, Span, resized_size
from fastnorm.spec.target import CENTRES, MAX_PIXELS, RANDOM, Crop, Position, Target

# Pillow keeps the box that it resizes in float32, which holds all whole numbers up to this one.
MAX_SIDE = 2**24
# torch rounds the weights of so large a reduction so coarsely that their sum may go beyond int32.
MAX_TORCH_REDUCTION = 2**18


class Sources(Protocol):
    """As much of the images as a plan needs."""

    @property
    def sizes(self) -> Sequence[Size]: ...

    def name(self, index: int) -> str:
        """What messages call an image."""


class Plan(NamedTuple):
    """What becomes of the images: for each target, one geometry per image; and which images are mirrored."""

    geometries: list[tuple[Geometry, ...]]
    flips: Sequence[bool]
    is_shared: list[bool]  # per target, whether a later plan of the same sizes will hold the same object


def plan(
    images: Sources,
    targets: Sequence[Target],
    names: Sequence[str],
    order: PassOrder,
    flips: Sequence[bool] | None = None,
    flip_before_crop: bool = False,
    positions: Sequence[Sequence[Position] | None] | None = None,
) -> Plan:
    """Plan a call; messages call each target by its name. Random crops are drawn here, and mirrors if `flips` is None.

    `positions`, one per image, go before a target's own crop position.

    The first target that is cropped at random is drawn together with the mirrors, as published scripts do, and every
    other one after it.
    """
    resized = [_resized_sizes(images, target, name) for target, name in zip(targets, names, strict=True)]
    placed: dict[int, Sequence[Position | None]] = {
        index: given for index, given in enumerate(positions or []) if given is not None
    }
    at_random = [index for index, target in enumerate(targets) if index not in placed and _is_random(target.crop)]
    if at_random:
        index = at_random[0]
        placed[index], flips = draws.draw(resized[index], targets[index].crop_size, flips, flip_before_crop)
    elif flips is None:
        _, flips = draws.draw(images.sizes, None, None, flip_before_crop)
    is_shared = [
        index not in placed and not _is_random(target.crop) and not any(flips) for index, target in enumerate(targets)
    ]
    geometries = [
        _shared_geometries(tuple(images.sizes), target, order)
        if is_shared[index]
        else _geometries(
            images,
            target,
            name,
            resized[index],
            placed[index] if index in placed else _positions(resized[index], target),
            order,
            flips,
            flip_before_crop,
        )
        for index, (target, name) in enumerate(zip(targets, names, strict=True))
    ]
    return Plan(geometries, flips, is_shared)


@functools.lru_cache(maxsize=256)
def _shared_geometries(sizes: tuple[Size, ...], target: Target, order: PassOrder) -> tuple[Geometry, ...]:
    """The geometries of images that are not mirrored, for a target whose crop is the same in every call.

    Backends tell by the object that they have planned it before.
    """
    known = {}
    for source in sizes:
        if source not in known:
            resized = resized_size(source, target.size)
            (position,) = _positions([resized], target)
            known[source] = _geometry(source, resized, target, position, order, False, False)
    return tuple([known[source] for source in sizes])


def _resized_sizes(images: Sources, target: Target, name: str) -> list[Size]:
    resized: dict[Size, Size] = {}
    for index, source in enumerate(images.sizes):
        if source not in resized:
            resized[source] = _resized(source, target, f"{name}: {images.name(index)}")
    return [resized[source] for source in images.sizes]


def _geometries(
    images: Sources,
    target: Target,
    name: str,
    resized: Sequence[Size],
    positions: Sequence[Position | None],
    order: PassOrder,
    flips: Sequence[bool],
    flip_before_crop: bool,
) -> tuple[Geometry, ...]:
    known: dict[tuple[Size, Size, Position | None, bool], Geometry] = {}
    keys = list(zip(images.sizes, resized, positions, flips, strict=True))
    for index, key in enumerate(keys):
        if key not in known:
            source, size, position, flip = key
            if target.crop_size is not None and position is not None:
                _check_position(position, target.crop_size, size, f"{name}: {images.name(index)}")
            known[key] = _geometry(source, size, target, position, order, flip, flip_before_crop)
    return tuple([known[key] for key in keys])


def output_size(images: Sources, target: Target, plans: Sequence[Geometry], name: str) -> Size:
    """The size that all images become; they go into one batch."""
    if target.crop_size is not None:
        return target.crop_size
    if isinstance(target.size, Size):
        return target.size
    if not plans:
        raise ValueError(f"{name}: got no images, whose size would decide; expected a crop, or size=(height, width)")
    for index, geometry in enumerate(plans):
        if geometry is not plans[0] and geometry.output != plans[0].output:
            raise ValueError(
                f"{name}: {images.name(0)} becomes {_shown(plans[0].output)} and {images.name(index)} "
                f"{_shown(geometry.output)}, expected one size for a batch: crop=..., or size=(height, width)"
            )
    return plans[0].output


def offsets(plans: Sequence[Geometry], flips: Sequence[bool], flip_before_crop: bool) -> torch.Tensor:
    """(top, left) of each crop in the resized image, which `flip_before_crop` has mirrored where it is to be."""
    pairs = []
    for geometry, flip in zip(plans, flips, strict=True):
        columns = geometry.columns
        if flip:
            columns = columns.of_mirrored(geometry.resized.width) if flip_before_crop else columns.mirror()
        pairs.append((geometry.rows.position, columns.position))
    return torch.tensor(pairs, dtype=torch.int64, device="cpu").view(-1, 2)


def _resized(source: Size, target: Target, name: str) -> Size:
    resized = resized_size(source, target.size)
    if resized.height * resized.width > MAX_PIXELS:
        raise ValueError(
            f"{name} of {_shown(source)} pixels would become {_shown(resized)}, expected at most {MAX_PIXELS:,} "
            f"pixels; crop it first"
        )
    if target.arithmetic == "torch":
        if any(length > MAX_TORCH_REDUCTION * new for length, new in zip(source, resized, strict=True)):
            raise ValueError(
                f"{name} of {_shown(source)} pixels would become {_shown(resized)}, expected at most "
                f"{MAX_TORCH_REDUCTION:,} pixels for one with arithmetic='torch', whose sums are int32; crop it first"
            )
    elif resized != source and max(*source, *resized) > MAX_SIDE:
        raise ValueError(
            f"{name} of {_shown(source)} pixels would become {_shown(resized)}, expected at most {MAX_SIDE:,} pixels "
            f"on each side of what is resized: Pillow keeps sizes in float32, which has no exact larger ones; crop it "
            f"first"
        )
    crop = target.crop_size
    if crop and not target.pad and (resized.height < crop.height or resized.width < crop.width):
        raise ValueError(
            f"{name} becomes {_shown(resized)}, smaller than the crop of {_shown(crop)}; pad=True adds black borders"
        )
    return resized


def _check_position(position: Position, crop: Size, resized: Size, name: str) -> None:
    if all(-length < at < whole for at, length, whole in zip(position, crop, resized, strict=True)):
        return
    raise ValueError(
        f"{name} becomes {_shown(resized)}, and a crop of {_shown(crop)} at (top, left) = {tuple(position)} lies "
        f"outside of it, expected one that shows at least a pixel"
    )


def _is_random(crop: Crop | None) -> bool:
    return crop is not None and crop.position == RANDOM


def _positions(resized: Sequence[Size], target: Target) -> Sequence[Position | None]:
    """Where each crop lies; None where its centring rule says."""
    if target.crop is not None and target.crop_size is not None:
        if _is_random(target.crop):
            return [draws.position(size, target.crop_size) for size in resized]
        if isinstance(target.crop.position, Position):
            return [target.crop.position] * len(resized)
    return [None] * len(resized)


def _geometry(
    source: Size,
    resized: Size,
    target: Target,
    position: Position | None,
    order: PassOrder,
    flip: bool,
    flip_before_crop: bool,
) -> Geometry:
    crop = target.crop_size
    if target.crop is None or crop is None:
        rows, columns = Span.at(0, resized.height, resized.height), Span.at(0, resized.width, resized.width)
    elif position is not None:
        top, left = position
        rows, columns = Span.at(top, resized.height, crop.height), Span.at(left, resized.width, crop.width)
    else:
        rule = CENTRES[str(target.crop.position)]
        rows, columns = rule.span(resized.height, crop.height), rule.span(resized.width, crop.width)
    if flip:
        columns = columns.of_mirrored(resized.width) if flip_before_crop else columns.mirror()
    vertical_first = target.arithmetic == "pillow" and order.vertical_first(source, resized)
    return Geometry(source, resized, rows, columns, vertical_first)


def _shown(size: Size) -> str:
    return f"{size.height} x {size.width}"
