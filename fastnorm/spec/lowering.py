"""From one image's size and a target to what backends take: the steps one by one, every size and every refusal.

Errors here say what is wrong with the image, and leave it to their callers to name it: "{name} of 3 x 4 pixels ...".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastnorm.spec.filters import filter_of
from fastnorm.spec.geometry import Box, CropRule, Geometry, PassOrder, Reduction, Size, Span, Stage, resized_size
from fastnorm.spec.size import MAX_PIXELS
from fastnorm.spec.sizes import SizeRule, checked_size
from fastnorm.spec.steps import BATCH, CENTRES, Border, Crop, Halve, Position, Resize

if TYPE_CHECKING:  # a target asks this module for its sizes
    from fastnorm.spec.target import Target

# Pillow keeps the box that it resizes in float32, which holds all whole numbers up to this one.
MAX_SIDE = 2**24
# torch rounds the weights of so large a reduction so coarsely that their sum may go beyond int32.
MAX_TORCH_REDUCTION = 2**18


class Lowered(NamedTuple):
    """One image's way up to the crop: as `Geometry`, without the spans."""

    source: Size
    resized: Size
    vertical_first: bool
    box: Box | None
    before: tuple[Stage | Reduction, ...]
    crop: Size | None  # None: all of it, or the size of `Crop("batch")`

    def crop_size(self, batch: Size | None) -> Size:
        """The size of the crop; `batch` is that of `Crop("batch")`."""
        return self.crop or batch or self.resized


def lower(source: Size, target: Target, order: PassOrder, size: Size | None = None, box: Box | None = None) -> Lowered:
    """The steps of an image, up to the crop.

    Args:
        source: The image's size.
        target: What is to become of it.
        order: Which axis is resized first.
        size: What to resize it to, instead of the target's own size.
        box: The part of it that is resized, which lies within what the steps before that make.

    Raises:
        ValueError: What comes out is too large, or nothing; or smaller than the crop where `pad` is False.
    """
    current, stages = source, []
    for step in target.before:
        for stage in _stages(step, current, target, order):
            stages.append(stage)
            current = stage.output
    resized = size or _resized(current, target.size)
    if target.arithmetic == "torch":
        _check_reduction(current, resized)
    else:
        _check_sides(current, resized)
    if box is not None:
        _check_box(box, current)
    last = _Resizing.of(current, resized, target.resample, target.reducing_gap, box)
    stages += last.before
    crop = None
    if target.crop is not None and target.crop.size != BATCH:
        crop = target.crop_size or _size_of(target.crop, resized)
        if not target.pad:
            _check_covers(resized, crop)
    vertical_first = target.arithmetic == "pillow" and order.vertical_first(last.source, resized)
    return Lowered(last.source, resized, vertical_first, last.box, tuple(stages), crop)


def place(
    lowered: Lowered,
    target: Target,
    position: Position | None,
    batch: Size | None = None,
    flip: bool = False,
    vertical_flip: bool = False,
    flip_before_crop: bool = False,
) -> Geometry:
    """The geometry of an image whose crop lies at `position`; None: where the crop's rule says."""
    crop = lowered.crop_size(batch)
    rows, columns = _spans(
        lowered.resized, crop, target.crop.position if position is None and target.crop else position
    )
    if flip:
        columns = columns.of_mirrored(lowered.resized.width) if flip_before_crop else columns.mirror()
    if vertical_flip:
        rows = rows.of_mirrored(lowered.resized.height) if flip_before_crop else rows.mirror()
    return Geometry(
        lowered.source,
        lowered.resized,
        rows,
        columns,
        lowered.vertical_first,
        lowered.box,
        target.padding,
        lowered.before,
    )


def shown(size: Size) -> str:
    """A size, in messages."""
    return f"{size.height} x {size.width}"


def _stages(
    step: Crop | Border | Resize | Halve, source: Size, target: Target, order: PassOrder
) -> list[Stage | Reduction]:
    if isinstance(step, Resize):
        resized = _resized(source, step.size)
        _check_sides(source, resized)
        last = _Resizing.of(source, resized, step.resample, step.reducing_gap, None)
        return [*last.before, Stage(_whole(last.source, resized, order, last.box), step.resample)]
    if isinstance(step, Halve):
        halvings: list[Stage | Reduction] = []
        while min(source) >= 2 * step.shortest:
            half = Size(source.height // 2, source.width // 2)
            _check_sides(source, half)
            halvings.append(Stage(_whole(source, half, order), "box"))
            source = half
        return halvings
    if isinstance(step, Border):
        crop = Size(source.height + step.top + step.bottom, source.width + step.left + step.right)
        position: object = Position(-step.top, -step.left)
    else:
        crop, position = step.fixed_size or _size_of(step, source), step.position
    if min(crop) < 1:
        raise ValueError(f"of {shown(source)} pixels has none left after {step}, expected at least one on each side")
    _check_pixels(source, crop)
    if not target.pad:
        _check_covers(source, crop)
    rows, columns = _spans(source, crop, position)
    if min(rows.count, columns.count) < 1:
        raise ValueError(f"of {shown(source)} pixels has none inside of {step}, expected at least one")
    cut = Geometry(source, source, rows, columns, False, pad=target.padding)
    if cut.is_padded and target.padding.value is not None:
        raise ValueError(
            "is padded before it is resized, and Pad(value=...) is of the normalised output, expected Pad(fill=...)"
        )
    return [Stage(cut, "box")] if cut.output != source or rows.offset or columns.offset else []


def _spans(length: Size, crop: Size, position: object) -> tuple[Span, Span]:
    """What a crop at a position, or where a rule centres it, shows."""
    if isinstance(position, Position):
        top, left = position
        return Span.at(top, length.height, crop.height), Span.at(left, length.width, crop.width)
    rule = CropRule.TORCHVISION if position is None else CENTRES[str(position)]
    return rule.span(length.height, crop.height), rule.span(length.width, crop.width)


def _whole(source: Size, resized: Size, order: PassOrder, box: Box | None = None) -> Geometry:
    rows, columns = _spans(resized, resized, Position(0, 0))
    return Geometry(source, resized, rows, columns, order.vertical_first(source, resized), box)


class _Resizing(NamedTuple):
    """One call of `Image.resize`: what of which size is resized at last, and what `reducing_gap` does before."""

    source: Size
    box: Box | None
    before: tuple[Reduction, ...]

    @classmethod
    def of(cls, source: Size, resized: Size, resample: str, gap: float | None, box: Box | None) -> _Resizing:
        if gap is None and box is None:
            return cls(source, None, ())
        part = box or Box(0.0, 0.0, float(source.width), float(source.height))
        before: tuple[Reduction, ...] = ()
        if gap is not None and resample != "nearest" and (source != resized or box is not None):
            factor = Size(
                int((part.bottom - part.top) / resized.height / gap) or 1,
                int((part.right - part.left) / resized.width / gap) or 1,
            )
            if max(factor) > 1:
                rows, columns = _read(source, resized, filter_of(resample).support, part)
                reduction = Reduction(rows, columns, factor)
                before, source = (reduction,), reduction.output
                part = Box(
                    (part.left - columns.start) / factor.width,
                    (part.top - rows.start) / factor.height,
                    (part.right - columns.start) / factor.width,
                    (part.bottom - rows.start) / factor.height,
                )
        part = Box(*(float(np.float32(side)) for side in part))
        whole = part == (0.0, 0.0, source.width, source.height)
        return cls(source, None if whole else part, before)


def _read(source: Size, resized: Size, support: float, box: Box) -> tuple[range, range]:
    """What is reduced: the box, and the pixels around it that the filter may see, as Pillow reckons them."""
    reach_x = (support - 0.5) * ((box.right - box.left) / resized.width)
    reach_y = (support - 0.5) * ((box.bottom - box.top) / resized.height)
    rows = range(max(0, int(box.top - reach_y)), min(source.height, math.ceil(box.bottom + reach_y)))
    columns = range(max(0, int(box.left - reach_x)), min(source.width, math.ceil(box.right + reach_x)))
    return rows, columns


def _resized(source: Size, size: int | Size | SizeRule | None) -> Size:
    if size is None or isinstance(size, (int, Size)):
        return resized_size(source, size)
    return checked_size(size(*source), source)


def _size_of(crop: Crop, source: Size) -> Size:
    rule = crop.size
    assert callable(rule), "other sizes are fixed, or the batch's"
    size = checked_size(rule(*source), source)
    _check_pixels(source, size)
    _check_least(source, size)
    return size


def _check_pixels(source: Size, size: Size) -> None:
    if size.height * size.width > MAX_PIXELS:
        raise ValueError(
            f"of {shown(source)} pixels would become {shown(size)}, expected at most {MAX_PIXELS:,} pixels; "
            f"crop it first"
        )


def _check_sides(source: Size, resized: Size) -> None:
    _check_pixels(source, resized)
    _check_least(source, resized)
    if resized != source and max(*source, *resized) > MAX_SIDE:
        raise ValueError(
            f"of {shown(source)} pixels would become {shown(resized)}, expected at most {MAX_SIDE:,} pixels "
            f"on each side of what is resized: Pillow keeps sizes in float32, which has no exact larger ones; crop it "
            f"first"
        )


def _check_reduction(source: Size, resized: Size) -> None:
    _check_pixels(source, resized)
    _check_least(source, resized)
    if any(length > MAX_TORCH_REDUCTION * new for length, new in zip(source, resized, strict=True)):
        raise ValueError(
            f"of {shown(source)} pixels would become {shown(resized)}, expected at most {MAX_TORCH_REDUCTION:,} pixels "
            f"for one with arithmetic='torch', whose sums are int32; crop it first"
        )


def _check_least(source: Size, size: Size) -> None:
    if min(size) < 1:
        raise ValueError(f"of {shown(source)} pixels would become {shown(size)}, expected at least one on each side")


def _check_box(box: Box, source: Size) -> None:
    if 0 <= box.left < box.right <= source.width and 0 <= box.top < box.bottom <= source.height:
        return
    raise ValueError(
        f"of {shown(source)} pixels does not hold the box (left, top, right, bottom) = {tuple(box)}, expected "
        f"0 <= left < right <= width and 0 <= top < bottom <= height"
    )


def _check_covers(size: Size, crop: Size) -> None:
    if size.height < crop.height or size.width < crop.width:
        raise ValueError(f"becomes {shown(size)}, smaller than the crop of {shown(crop)}; pad=True adds black borders")
