"""Resizing by Pillow itself, one axis a call, so that any version's pixels come out of the installed one.

Pillow chooses the order of its two passes, and that choice has changed between its versions; a call that resizes one
axis leaves it no choice. Resizing one axis at a time also allows cropping early: only the part of each axis that the
crop keeps is computed, wherever Pillow's table for that part equals the same part of its table for the whole axis.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from fastnorm.spec.filters import (
    NEAREST,
    Filter,
    Integers,
    centres,
    coefficients,
    filter_of,
    fixed_point,
    source_window,
    weights_around,
)
from fastnorm.spec.geometry import Geometry, Reduction, Span, Stage

Codes = npt.NDArray[np.uint8]
PilOrTensor = Image.Image | torch.Tensor

_COLUMNS, _ROWS = 0, 1  # in Pillow's order


@dataclass(frozen=True)
class Window:
    """One call of Pillow for one axis, whose output pixels `shown` are the ones that are needed.

    Pillow is given the source pixels `extent` and stretches `box`, counted from their start, over the output pixels
    `computed`. The expected ones are made of the source pixels `read` alone; the others may hold anything.
    """

    read: range
    extent: range
    box: tuple[float, float]
    computed: range
    shown: range

    @property
    def is_identity(self) -> bool:
        return self.box == (0.0, len(self.computed))


def resize_into(output: Codes, image: PilOrTensor, geometry: Geometry, resample: Filter) -> None:
    """Write all of `output`, (rows, columns, 3): what `fastnorm.backends.eager.resize_and_crop` returns.

    Args:
        output: uint8, of the size `geometry.output`.
        image: A loaded Pillow image of mode "RGB", or a uint8 CPU tensor (H, W, 3) with any strides.
        geometry: From `fastnorm.spec.geometry`; its order of the passes is kept, whatever the installed Pillow's.
        resample: One of `fastnorm.spec.filters`.
    """
    place(output, geometry, lambda rows, columns: _resize_and_cut(image, geometry, rows, columns, resample))


def place(output: Codes, geometry: Geometry, cut: Callable[[Span, Span], Codes]) -> None:
    """Write all of `output`: padding, and the pixels that `cut` gives of rows and columns, or their mirror image."""
    if geometry.is_padded and geometry.pad.mode != "constant":
        down, right = geometry.gathers()
        output[...] = cut(down.span, right.span)[down.at[:, None], right.at[None, :]]
        return
    rows, columns = geometry.rows, geometry.columns
    if geometry.is_padded:
        output[...] = geometry.pad.fill
    shown = output[_shown(rows), _shown(columns)]
    shown[_direction(rows), _direction(columns)] = cut(rows, columns)


def take_steps(image: PilOrTensor, before: Sequence[Stage | Reduction]) -> PilOrTensor:
    """What the steps before the last make of an image: a Pillow image, or a tensor where they only cut."""
    for step in before:
        if isinstance(step, Reduction):
            whole = _as_pil(image, range(_size(image)[1]), range(_size(image)[0]))
            box = step.columns.start, step.rows.start, step.columns.stop, step.rows.stop
            image = whole.reduce((step.factor.width, step.factor.height), box)
            continue
        plan = step.geometry
        if plan.only_cuts:
            rows, columns = (range(span.start, span.stop) for span in (plan.rows, plan.columns))
            image = (
                image[_slice(rows), _slice(columns)] if isinstance(image, torch.Tensor) else _cut(image, columns, rows)
            )
            continue
        codes = np.empty((*step.output, 3), np.uint8)
        resize_into(codes, image, plan, filter_of(step.resample))
        image = torch.from_numpy(codes)
    return image


def _size(image: PilOrTensor) -> tuple[int, int]:
    """Its height and width."""
    return (image.shape[0], image.shape[1]) if isinstance(image, torch.Tensor) else (image.height, image.width)


def _shown(span: Span) -> slice:
    return slice(span.offset, span.offset + span.count)


def _direction(span: Span) -> slice:
    return slice(None, None, -1 if span.mirrored else 1)


def _stretch(image: PilOrTensor, geometry: Geometry, resample: Filter) -> Codes:
    """All of the resized image, of a box or with the nearest pixels: by as many calls as there are passes."""
    pil_image = _as_pil(image, range(geometry.source.width), range(geometry.source.height))
    boxes = {_COLUMNS: geometry.column_box, _ROWS: geometry.row_box}
    resized = {_COLUMNS: geometry.resized.width, _ROWS: geometry.resized.height}
    for axis in (_ROWS, _COLUMNS) if geometry.vertical_first else (_COLUMNS, _ROWS):
        size = [pil_image.width, pil_image.height]
        box = [0.0, 0.0, float(pil_image.width), float(pil_image.height)]
        if boxes[axis] is None and size[axis] == resized[axis]:
            continue
        box[axis], box[axis + 2] = boxes[axis] or (0.0, float(size[axis]))
        size[axis] = resized[axis]
        pillows = Image.Resampling[resample.name.upper()]
        pil_image = pil_image.resize((size[0], size[1]), pillows, (box[0], box[1], box[2], box[3]))
    return np.asarray(pil_image)


def _resize_and_cut(image: PilOrTensor, geometry: Geometry, rows: Span, columns: Span, resample: Filter) -> Codes:
    """The pixels that the spans show, neither padded nor mirrored."""
    if geometry.box is not None or resample is NEAREST:
        return _stretch(image, geometry, resample)[rows.start : rows.stop, columns.start : columns.stop]
    spans = {_COLUMNS: columns, _ROWS: rows}
    sources = {_COLUMNS: geometry.source.width, _ROWS: geometry.source.height}
    resized = {_COLUMNS: geometry.resized.width, _ROWS: geometry.resized.height}
    first, second = (_ROWS, _COLUMNS) if geometry.vertical_first else (_COLUMNS, _ROWS)
    # A tensor has to be copied into a Pillow image, so that less of it costs less. An image is there already, and only
    # lines that a whole pass can do without are worth a copy of the others.
    cut = {first: isinstance(image, torch.Tensor), second: True}
    windows = {
        axis: window(sources[axis], resized[axis], spans[axis].start, spans[axis].stop, resample, cut[axis])
        for axis in (first, second)
    }
    before, after = windows[first], windows[second]
    taken = {first: before.extent, second: after.read}
    if before.is_identity and after.is_identity:
        return _codes(image, taken[_COLUMNS], taken[_ROWS])
    pil_image = _as_pil(image, taken[_COLUMNS], taken[_ROWS])
    pil_image = _resize_axis(pil_image, first, before, resample)
    kept = {first: _within(before.computed, before.shown), second: _within(after.read, after.extent)}
    pil_image = _cut(pil_image, kept[_COLUMNS], kept[_ROWS])
    pil_image = _resize_axis(pil_image, second, after, resample)
    kept = {first: range(len(before.shown)), second: _within(after.computed, after.shown)}
    return np.asarray(pil_image)[_slice(kept[_ROWS]), _slice(kept[_COLUMNS])]


def _resize_axis(pil_image: Image.Image, axis: int, part: Window, resample: Filter) -> Image.Image:
    if part.is_identity:
        return pil_image
    size = [pil_image.width, pil_image.height]
    box = [0.0, 0.0, float(pil_image.width), float(pil_image.height)]
    size[axis] = len(part.computed)
    box[axis], box[axis + 2] = part.box
    pillows = Image.Resampling[resample.name.upper()]
    return pil_image.resize((size[0], size[1]), pillows, (box[0], box[1], box[2], box[3]))


# --- pixels in and out of Pillow


def _codes(image: PilOrTensor, columns: range, rows: range) -> Codes:
    if isinstance(image, torch.Tensor):
        codes: Codes = image.numpy()[_slice(rows), _slice(columns)]
        return codes
    return np.asarray(_cut(image, columns, rows))


def _as_pil(image: PilOrTensor, columns: range, rows: range) -> Image.Image:
    """A part of the image for Pillow, in one copy or none."""
    if isinstance(image, Image.Image):
        return _cut(image, columns, rows)
    part = image[_slice(rows), _slice(columns)]
    height, width, _ = part.shape
    if part.stride(1) == 1:
        # Planes, which Pillow reads where they are and interleaves as it takes them in.
        planes = (np.ascontiguousarray(part[:, :, channel].numpy()) for channel in range(3))
        return Image.merge("RGB", [Image.fromarray(plane) for plane in planes])
    if part.stride(2) != 1 or part.stride(1) != 3 or part.stride(0) < 3 * width:
        part = part.contiguous()
    stride = part.stride(0) if height > 1 else 3 * width
    lines = part.as_strided(((height - 1) * stride + 3 * width,), (1,))  # with what lies between the rows
    return Image.frombuffer("RGB", (width, height), lines.numpy(), "raw", "RGB", stride, 1)


def _cut(pil_image: Image.Image, columns: range, rows: range) -> Image.Image:
    """The columns and rows of an image; what lies outside of it is uninitialised.

    As `Image.crop`, which takes the result for a newly opened file and refuses it, or warns, if it is large.
    """
    if columns == range(pil_image.width) and rows == range(pil_image.height):
        return pil_image
    part = Image.new("RGB", (len(columns), len(rows)), None)
    part.paste(pil_image, (-columns.start, -rows.start))
    return part


def _slice(pixels: range) -> slice:
    return slice(pixels.start, pixels.stop)


def _within(outer: range, inner: range) -> range:
    return range(inner.start - outer.start, inner.stop - outer.start)


# --- windows


@functools.lru_cache(maxsize=4096)
def window(source: int, resized: int, start: int, stop: int, resample: Filter, cut: bool) -> Window:
    """The smallest call of Pillow known to return the pixels `start` to `stop` of an axis as resizing all of it does.

    Args:
        source: The axis in pixels before it is resized, and after: `resized`.
        start: The first expected pixel, counted in the resized axis; `stop`: the one after the last.
        resample: The filter.
        cut: Whether Pillow gets the part of the source that it needs for this, or the whole axis.

    A window from `a` to `b` is stretched from the box a * source / resized to b * source / resized. Pillow keeps boxes
    in float32, so only those bounds will do that float32 holds exactly. It then computes, in float64, each output
    pixel's centre as box + (i + 0.5) * scale, where for the whole axis it computes (a + i + 0.5) * scale. Both are the
    same if the scale is a binary fraction, since all of this is then exact, and if the box begins at 0; otherwise the
    two are rounded differently, and the tables have to be compared.
    """
    shown = range(start, stop)
    if source == resized:
        return Window(read=shown, extent=shown, box=(0.0, float(len(shown))), computed=shown, shown=shown)
    read = read_range(source, resized, shown, resample)
    scale = Fraction(source, resized)
    step = scale.denominator // (scale.denominator & -scale.denominator)  # a * scale is a binary fraction every `step`
    end = -(-stop // step) * step
    for begin in sorted({start // step * step, 0}, reverse=True):
        low, high = begin * scale, end * scale
        extent = range(min(read.start, int(low)), max(read.stop, -int(-high // 1))) if cut else range(source)
        low, high = low - extent.start, high - extent.start
        if not (_fits_float32(low) and _fits_float32(high) and _fits_float32(high - low)):
            continue
        found = Window(read, extent, (float(low), float(high)), range(begin, end), shown)
        if step == 1 or begin == 0 or _same_table(found, source, resized, resample):
            return found
    return Window(read, range(source), (0.0, float(source)), range(resized), shown)


def read_range(source: int, resized: int, shown: range, resample: Filter) -> range:
    """The source pixels that the resized pixels `shown` are made of, found without making the table."""
    first, stop = source_window(centres(0.0, source / resized, shown), source / resized, source, resample)
    return range(int(first[0]), int(stop[-1]))


def _fits_float32(value: Fraction) -> bool:
    return Fraction(float(np.float32(float(value)))) == value


def _same_table(part: Window, source: int, resized: int, resample: Filter) -> bool:
    """Whether Pillow's fixed-point table for the window is that of the whole axis, on the expected pixels."""
    whole, wanted = coefficients(source, resized, resample), slice(part.shown.start, part.shown.stop)
    first, fixed = box_table(part, resample)
    ours, theirs = part.extent.start + first, whole.first[wanted]
    start = np.minimum(ours, theirs)  # a tap more at either end makes no difference if its coefficient is 0
    shift = max(int((ours - start).max()), int((theirs - start).max()))
    width = shift + max(fixed.shape[1], whole.taps)
    return np.array_equal(_shifted(fixed, ours - start, width), _shifted(whole.fixed[wanted], theirs - start, width))


def box_table(part: Window, resample: Filter) -> tuple[Integers, Integers]:
    """Pillow's table for a window's box: first source pixel, counted in the extent, and coefficients of each pixel."""
    low, high = part.box
    scale = (high - low) / len(part.computed)
    centre = centres(low, scale, _within(part.computed, part.shown))
    exact = weights_around(centre, scale, len(part.extent), resample)
    return exact.first, fixed_point(exact.weight)


def _shifted(fixed: Integers, shift: Integers, width: int) -> Integers:
    """Each pixel's coefficients after `shift` zeros, and zeros up to `width`."""
    table = np.zeros((len(fixed), width), np.int32)
    np.put_along_axis(table, shift[:, None] + np.arange(fixed.shape[1]), fixed, axis=1)
    return table
