"""Where pixels go: the size that an image is resized to, the crop's place in it, and which axis is resized first.

Integers only, and nothing but arithmetic. Every rule is one that a published pipeline follows, so that choosing a rule
is choosing whose pixels to reproduce.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fastnorm.spec.padding import BLACK_BORDERS, Pad, PadMode
from fastnorm.spec.size import Size

__all__ = ["Box", "CropRule", "Geometry", "PassOrder", "Reduction", "Size", "Span", "Stage", "geometry", "resized_size"]


@dataclass(frozen=True)
class Span:
    """What one axis of a cropped image shows: `count` pixels of the resized image, zeros before and after them.

    Crop pixel `offset + i` is resized pixel `start + i`; if `mirrored`, it is `start + count - 1 - i`.
    """

    start: int  # the first pixel that is shown, counted in the resized image
    count: int
    offset: int  # the number of zeros before the shown pixels
    length: int  # the crop's own length
    mirrored: bool = False

    @property
    def stop(self) -> int:
        return self.start + self.count

    @classmethod
    def at(cls, position: int, length: int, crop: int) -> Span:
        """The `crop` pixels from `position` on of an axis `length` pixels long, zeros where it has none."""
        start, stop = max(position, 0), min(position + crop, length)
        return cls(start, stop - start, start - position, crop)

    @property
    def position(self) -> int:
        """Where the crop begins in the resized image; negative where it begins with zeros."""
        offset = self.length - self.offset - self.count if self.mirrored else self.offset
        return self.start - offset

    def indices(self, length: int, mode: PadMode) -> npt.NDArray[np.int64]:
        """Which pixel of the resized axis, `length` pixels long, each pixel of the crop shows, in a mode of padding.

        As if all of the axis were padded, and the crop cut out of that: what is reflected may lie outside of the crop.
        """
        before, after = max(-self.position, 0), max(self.position + self.length - length, 0)
        padded = np.pad(np.arange(length), (before, after), mode=mode)
        crop: npt.NDArray[np.int64] = padded[self.position + before :][: self.length]
        return crop[::-1] if self.mirrored else crop

    def mirror(self) -> Span:
        """The same crop, mirrored."""
        return replace(self, offset=self.length - self.offset - self.count, mirrored=not self.mirrored)

    def of_mirrored(self, length: int) -> Span:
        """The same crop, cut out of the mirrored axis of `length` pixels."""
        return replace(self, start=length - self.stop, mirrored=not self.mirrored)


class CropRule(enum.Enum):
    """How a centre crop is placed: at half the margin n - c, which may be half a pixel, or below zero for padding.

    TORCHVISION: `CenterCrop`: rounded half to even in a larger image (a pixel further than by the others where the
        margin is 3 more than a multiple of 4), and towards zero around a smaller one, so that the odd row of padding
        comes last.
    TRANSFORMERS: the Pillow-backend image processors: rounded down, so that the odd row of padding comes first.
    TRANSFORMERS_TORCHVISION: the torchvision-backend image processors: rounded towards zero.
    """

    TORCHVISION = "torchvision"
    TRANSFORMERS = "transformers"
    TRANSFORMERS_TORCHVISION = "transformers_torchvision"

    def span(self, length: int, crop: int) -> Span:
        """The centre `crop` pixels of an axis `length` pixels long, zero-padded where it is shorter."""
        margin = length - crop
        position = margin // 2
        if self is not CropRule.TRANSFORMERS and margin < 0:
            position = -(-margin // 2)  # towards zero
        if self is CropRule.TORCHVISION and margin > 0 and margin % 4 == 3:
            position += 1  # = round(margin / 2), half to even
        return Span.at(position, length, crop)


class PassOrder(enum.Enum):
    """Which axis `Image.resize` filters first, a choice that changed between Pillow's versions.

    The order shows in the pixels, because they are rounded to uint8 between the two passes.
    """

    HORIZONTAL_FIRST = "up to 12.1"
    TALL_VERTICAL_FIRST = "12.2 and 12.3"
    LARGER_CUT_FIRST = "since 13.0"

    @classmethod
    def of_pillow(cls, version: str | None = None) -> PassOrder:
        """The order of a Pillow version such as "13.0.0"; None is the installed one. A missing minor number is 0.

        Versions after the newest that is known are taken to have kept its order.
        """
        named = _installed_pillow() if version is None else version
        found = re.match(r"\s*v?(\d+)(?:\.(\d+))?", named)
        if found is None:
            raise ValueError(
                f"pillow_version: got {named!r}, expected the version whose pixels to reproduce: '12' (the order of "
                f"all up to 12.1), '12.2' or '13', as pillow_version='13'; None takes the installed one's"
            )
        release = (int(found[1]), int(found[2] or 0))
        if release >= (13, 0):
            return cls.LARGER_CUT_FIRST
        return cls.TALL_VERTICAL_FIRST if release >= (12, 2) else cls.HORIZONTAL_FIRST

    def vertical_first(self, source: Size, resized: Size) -> bool:
        """Whether the columns are filtered before the rows; means nothing where either axis keeps its size."""
        cut = source.height - resized.height
        if self is PassOrder.LARGER_CUT_FIRST:
            return cut > 0 and cut > 2 * (source.width - resized.width)
        if self is PassOrder.TALL_VERTICAL_FIRST:
            return cut > 0 and source.height > 100 * source.width
        return False


class Gather(NamedTuple):
    """An axis of a crop that is padded with pixels of the image: those needed, and which of them goes where."""

    span: Span  # neither padded nor mirrored
    at: npt.NDArray[np.int64]  # for each pixel of the crop, its place in the span

    @classmethod
    def of(cls, span: Span, length: int, mode: PadMode) -> Gather:
        """For a crop of an axis of `length` pixels."""
        at = span.indices(length, mode)
        first = int(at.min())
        return cls(Span.at(first, length, int(at.max()) + 1 - first), at - first)


class Box(NamedTuple):
    """The part of an image that is stretched over the resized one, in pixels of the image, in Pillow's order.

    Numbers that float32 holds, as Pillow keeps them. Filters see the pixels around it too.
    """

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Geometry:
    """Everything about one resized and cropped image that does not depend on its pixels.

    `rows` and `columns` say what the output shows of the resized image, `pad` what lies around that. The steps of
    `before` come first, one after the other, and make the image of the size `source` that is resized.
    """

    source: Size
    resized: Size
    rows: Span
    columns: Span
    vertical_first: bool
    box: Box | None = None  # None: all of the source
    pad: Pad = BLACK_BORDERS
    before: tuple[Stage | Reduction, ...] = ()

    @property
    def output(self) -> Size:
        return Size(self.rows.length, self.columns.length)

    @property
    def row_box(self) -> tuple[float, float] | None:
        """The rows of the box; None where that is all of them."""
        return _interval(self.box and (self.box.top, self.box.bottom), self.source.height)

    @property
    def column_box(self) -> tuple[float, float] | None:
        """The columns of the box; None where that is all of them."""
        return _interval(self.box and (self.box.left, self.box.right), self.source.width)

    def gathers(self) -> tuple[Gather, Gather]:
        """How the rows and the columns of the output are put together where padding shows pixels of the image."""
        return (
            Gather.of(self.rows, self.resized.height, self.pad.mode),
            Gather.of(self.columns, self.resized.width, self.pad.mode),
        )

    @property
    def only_cuts(self) -> bool:
        """Whether the output is a part of the source as it is: a view will do."""
        is_mirrored = self.rows.mirrored or self.columns.mirrored
        return self.source == self.resized and self.box is None and not self.is_padded and not is_mirrored

    @property
    def is_padded(self) -> bool:
        """Whether the output shows anything but the resized image."""
        return (self.rows.count, self.columns.count) != self.output


@dataclass(frozen=True)
class Stage:
    """A step before the last: uint8 pixels resized, cropped and padded to uint8 pixels."""

    geometry: Geometry
    resample: str  # a filter's name

    @property
    def output(self) -> Size:
        return self.geometry.output


@dataclass(frozen=True)
class Reduction:
    """A step before the last: `Image.reduce`, which takes the mean of blocks of pixels.

    The last block of a row or column has what is left.
    """

    rows: range  # of the source's, what is reduced
    columns: range
    factor: Size  # the blocks' size

    @property
    def output(self) -> Size:
        return Size(-(-len(self.rows) // self.factor.height), -(-len(self.columns) // self.factor.width))


def geometry(source: Size, size: int | Size | None, crop: Size | None, rule: CropRule, order: PassOrder) -> Geometry:
    """Resize to `size` (as in `resized_size`), then cut the centre `crop` out; None leaves out either step."""
    resized = resized_size(source, size)
    length = resized if crop is None else crop
    rows, columns = rule.span(resized.height, length.height), rule.span(resized.width, length.width)
    return Geometry(source, resized, rows, columns, order.vertical_first(source, resized))


def resized_size(source: Size, size: int | Size | None) -> Size:
    """The size after resizing: the short side to an int, the long one in proportion; exactly a `Size`; None: as it is.

    torchvision and transformers alike truncate the long side, `int(size * long / short)` in float64. An integer
    quotient is the same as long as size * long is below 2**53.
    """
    if size is None:
        return source
    if isinstance(size, Size):
        return size
    if source.width <= source.height:
        return Size(size * source.height // source.width, size)
    return Size(size, size * source.width // source.height)


def _interval(box: tuple[float, float] | None, length: int) -> tuple[float, float] | None:
    return None if box is None or box == (0.0, float(length)) else box


def _installed_pillow() -> str:
    import PIL  # the library itself does without it until images are resized

    return PIL.__version__
