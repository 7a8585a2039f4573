"""From images' sizes and targets to geometries: every decision about sizes, crops and mirrors, and every refusal."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch

from fastnorm.spec import draws
from fastnorm.spec.errors import PictureError
from fastnorm.spec.geometry import Box, Geometry, PassOrder, Size
from fastnorm.spec.lowering import MAX_SIDE, Lowered, lower, place, shown
from fastnorm.spec.steps import BATCH, RANDOM, Crop, Position
from fastnorm.spec.target import Target

__all__ = ["MAX_SIDE", "Given", "Plan", "Sources", "offsets", "output_sizes", "plan"]


class Sources(Protocol):
    """As much of the images as a plan needs."""

    @property
    def sizes(self) -> Sequence[Size]: ...

    def name(self, index: int) -> str:
        """What messages call an image."""

    def number(self, index: int) -> int | None:
        """Which of the call's images it is; None where it was given by itself."""


class Given(NamedTuple):
    """What a call says about one target's images, one of each per image, instead of the target itself."""

    positions: Sequence[Position] | None = None
    sizes: Sequence[Size] | None = None
    boxes: Sequence[Box | None] | None = None

    @property
    def is_nothing(self) -> bool:
        return self.positions is None and self.sizes is None and self.boxes is None


class Flips(NamedTuple):
    """Which images are mirrored left to right, and upside down; None: to be drawn."""

    horizontal: Sequence[bool] | None
    vertical: Sequence[bool] | None


class Plan(NamedTuple):
    """What becomes of the images: for each target, one geometry per image; and which images are mirrored."""

    geometries: list[tuple[Geometry, ...]]
    flips: Sequence[bool]
    vertical_flips: Sequence[bool]
    is_shared: list[bool]  # per target, whether a later plan of the same sizes will hold the same object


def plan(
    images: Sequence[Sources],
    targets: Sequence[Target],
    names: Sequence[str],
    order: PassOrder,
    flips: Flips,
    flip_before_crop: bool = False,
    given: Sequence[Given] | None = None,
    generator: torch.Generator | None = None,
) -> Plan:
    """Plan a call; messages call each target by its name. Random crops are drawn here, and mirrors where not given.

    Args:
        images: The images as each target sees them; all have as many.
        targets: What is to become of them.
        names: The targets', for messages.
        order: Which axis is resized first.
        flips: Which images are mirrored.
        flip_before_crop: Whether they are mirrored before they are cropped.
        given: What goes before the targets' own sizes and positions.
        generator: Where random numbers come from; None: torch's default generator.

    The first target that is cropped at random is drawn together with the mirrors, as published scripts do, and every
    other one after it.
    """
    given = given or [Given()] * len(targets)
    lowered = [_lowered(*one, order) for one in zip(images, targets, names, given, strict=True)]
    placed: dict[int, Sequence[Position | None]] = {
        index: its.positions for index, its in enumerate(given) if its.positions is not None
    }
    at_random = [index for index, target in enumerate(targets) if index not in placed and _is_random(target.crop)]
    if at_random:
        index = at_random[0]
        resized = [one.resized for one in lowered[index]]
        placed[index], *drawn = draws.draw(resized, targets[index].crop_size, *flips, flip_before_crop, generator)
        flips = Flips(*drawn)
    elif None in flips:
        _, *drawn = draws.draw(images[0].sizes, None, *flips, flip_before_crop, generator)
        flips = Flips(*drawn)
    horizontal, vertical = flips.horizontal or [], flips.vertical or []
    is_mirrored = any(horizontal) or any(vertical)
    is_shared = [
        its.is_nothing and not _is_random(target.crop) and not is_mirrored
        for target, its in zip(targets, given, strict=True)
    ]
    geometries = []
    for index, target in enumerate(targets):
        if index not in placed:
            placed[index] = _positions([one.resized for one in lowered[index]], target, generator)
        _check_positions(images[index], target, names[index], lowered[index], placed[index])
        if is_shared[index]:
            geometries.append(_shared_geometries(tuple(images[index].sizes), target, order))
        else:
            mirrors = Flips(horizontal, vertical)
            geometries.append(_geometries(target, lowered[index], placed[index], mirrors, flip_before_crop))
    return Plan(geometries, horizontal, vertical, is_shared)


@functools.lru_cache(maxsize=256)
def _shared_geometries(sizes: tuple[Size, ...], target: Target, order: PassOrder) -> tuple[Geometry, ...]:
    """The geometries of images that are not mirrored, for a target whose crop is the same in every call.

    Backends tell by the object that they have planned it before.
    """
    known: dict[Size, Geometry] = {}
    lowered = _known(sizes, target, order)
    batch = _batch_size(lowered, target)
    for source, one in zip(sizes, lowered, strict=True):
        if source not in known:
            (position,) = _positions([one.resized], target)
            known[source] = place(one, target, position, batch)
    return tuple([known[source] for source in sizes])


@functools.lru_cache(maxsize=256)
def _known(sizes: tuple[Size, ...], target: Target, order: PassOrder) -> list[Lowered]:
    lowered = {source: lower(source, target, order) for source in set(sizes)}
    return [lowered[source] for source in sizes]


def _lowered(images: Sources, target: Target, name: str, given: Given, order: PassOrder) -> list[Lowered]:
    """Each image's steps up to the crop, after every check of them."""
    if given.sizes is None and given.boxes is None:
        with contextlib.suppress(ValueError):  # which is raised again below, with the image's name
            return _known(tuple(images.sizes), target, order)
    known: dict[tuple[Size, Size | None, Box | None], Lowered] = {}
    nothing = [None] * len(images.sizes)
    keys = list(zip(images.sizes, given.sizes or nothing, given.boxes or nothing, strict=True))
    for index, key in enumerate(keys):
        if key not in known:
            source, size, box = key
            try:
                known[key] = lower(source, target, order, size, box)
            except ValueError as error:
                raise PictureError(f"{name}: {images.name(index)} {error}", images.number(index)) from None
    return [known[key] for key in keys]


def _geometries(
    target: Target,
    lowered: Sequence[Lowered],
    positions: Sequence[Position | None],
    flips: Flips,
    flip_before_crop: bool,
) -> tuple[Geometry, ...]:
    known: dict[tuple[int, Position | None, bool, bool], Geometry] = {}
    batch = _batch_size(lowered, target)
    found = []
    ways = zip(lowered, positions, flips.horizontal or [], flips.vertical or [], strict=True)
    for one, position, flip, vertical_flip in ways:
        key = (id(one), position, flip, vertical_flip)
        if key not in known:
            known[key] = place(one, target, position, batch, flip, vertical_flip, flip_before_crop)
        found.append(known[key])
    return tuple(found)


def output_sizes(images: Sources, target: Target, plans: Sequence[Geometry], name: str) -> list[Size]:
    """The size of the batch that all images go into; or, of a target without one, every image's own."""
    if not target.batch:
        return [geometry.output for geometry in plans]
    if target.fixed_size is not None:
        return [target.fixed_size]
    if not plans:
        raise ValueError(f"{name}: got no images, whose size would decide; expected a crop, or size=(height, width)")
    for index, geometry in enumerate(plans):
        if geometry is not plans[0] and geometry.output != plans[0].output:
            raise ValueError(
                f"{name}: {images.name(0)} becomes {shown(plans[0].output)} and {images.name(index)} "
                f"{shown(geometry.output)}, expected one size for a batch: crop=..., or size=(height, width), or "
                f"Target(..., batch=False) for a list of tensors"
            )
    return [plans[0].output]


def offsets(
    plans: Sequence[Geometry], flips: Sequence[bool], vertical_flips: Sequence[bool], flip_before_crop: bool
) -> torch.Tensor:
    """(top, left) of each crop in the resized image, which `flip_before_crop` has mirrored where it is to be."""
    pairs = []
    for geometry, flip, vertical_flip in zip(plans, flips, vertical_flips, strict=True):
        rows, columns = geometry.rows, geometry.columns
        if flip:
            columns = columns.of_mirrored(geometry.resized.width) if flip_before_crop else columns.mirror()
        if vertical_flip:
            rows = rows.of_mirrored(geometry.resized.height) if flip_before_crop else rows.mirror()
        pairs.append((rows.position, columns.position))
    return torch.tensor(pairs, dtype=torch.int64, device="cpu").view(-1, 2)


def _check_positions(
    images: Sources, target: Target, name: str, lowered: Sequence[Lowered], positions: Sequence[Position | None]
) -> None:
    """Refuse crops that show nothing of their images."""
    if not any(positions):
        return
    batch = _batch_size(lowered, target)
    for index, (one, position) in enumerate(zip(lowered, positions, strict=True)):
        if position is None:
            continue
        crop, resized = one.crop_size(batch), one.resized
        if not all(-length < at < whole for at, length, whole in zip(position, crop, resized, strict=True)):
            raise PictureError(
                f"{name}: {images.name(index)} becomes {shown(resized)}, and a crop of {shown(crop)} at (top, left) = "
                f"{tuple(position)} lies outside of it, expected one that shows at least a pixel",
                images.number(index),
            )


def _batch_size(lowered: Sequence[Lowered], target: Target) -> Size | None:
    """The size of `Crop("batch")`: what holds every image."""
    if target.crop is None or target.crop.size != BATCH or not lowered:
        return None
    return Size(max(one.resized.height for one in lowered), max(one.resized.width for one in lowered))


def _is_random(crop: Crop | None) -> bool:
    return crop is not None and crop.position == RANDOM


def _positions(
    resized: Sequence[Size], target: Target, generator: torch.Generator | None = None
) -> Sequence[Position | None]:
    """Where each crop lies; None where its centring rule says."""
    if target.crop is not None:
        if _is_random(target.crop) and target.crop_size is not None:
            return [draws.position(size, target.crop_size, generator) for size in resized]
        if isinstance(target.crop.position, Position):
            return [target.crop.position] * len(resized)
    return [None] * len(resized)
