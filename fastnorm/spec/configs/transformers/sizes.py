"""The size rules of single models, which `Sides` and `Area` do not have, each computed as transformers does.

Values like those of `fastnorm.spec.sizes`: called with (height, width), they return a `Size`.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from fastnorm.spec.size import Size
from fastnorm.spec.sizes import Area, Sides

_MAX_IDEFICS = 4096


@dataclass(frozen=True)
class ShortestDivided:
    """BridgeTower and ViLT: the short side, unless the long one becomes longer; then whole multiples, rounded down."""

    shortest: int
    multiple_of: int

    def __call__(self, height: int, width: int) -> Size:
        longest = int(1333 / 800 * self.shortest)
        scale = self.shortest / min(height, width)
        sides: tuple[float, float] = (self.shortest, scale * width)
        if height >= width:
            sides = (scale * height, self.shortest)
        if max(sides) > longest:
            scale = longest / max(sides)
            sides = (scale * sides[0], scale * sides[1])
        return Size(*(int(side + 0.5) // self.multiple_of * self.multiple_of for side in sides))


@dataclass(frozen=True)
class NearestScale:
    """DPT and its relatives with `keep_aspect_ratio`: of the two scales, the one nearer to 1; then multiples."""

    size: Size
    multiple_of: int
    keep_aspect_ratio: bool

    def __call__(self, height: int, width: int) -> Size:
        scales = [self.size.height / height, self.size.width / width]
        if self.keep_aspect_ratio:
            nearer = scales[1] if abs(1 - scales[1]) < abs(1 - scales[0]) else scales[0]
            scales = [nearer, nearer]
        return Size(
            *(_nearest_multiple(s * side, self.multiple_of) for s, side in zip(scales, (height, width), strict=True))
        )


def _nearest_multiple(side: float, multiple: int) -> int:
    return round(side / multiple) * multiple


@dataclass(frozen=True)
class LongestExactly:
    """Aria: the long side exactly, the short one in proportion, rounded down, but no less than `minimum`."""

    longest: int
    minimum: int

    def __call__(self, height: int, width: int) -> Size:
        scale = self.longest / max(height, width)
        if width >= height:
            return Size(max(int(height * scale), self.minimum), self.longest)
        return Size(self.longest, max(int(width * scale), self.minimum))


@dataclass(frozen=True)
class BetweenEdges:
    """Idefics2: a long side above the limit is cut to it, a short one below raised, whatever the proportions."""

    shortest: int
    longest: int

    def __call__(self, height: int, width: int) -> Size:
        ratio = width / height
        if width >= height and width > self.longest:
            height, width = int(self.longest / ratio), self.longest
        elif height > width and height > self.longest:
            height, width = self.longest, int(self.longest * ratio)
        return Size(max(height, self.shortest), max(width, self.shortest))


@dataclass(frozen=True)
class Yolos:
    """YOLOS: DETR's sizes, with a rounding of its own, cut down to whole multiples of 16."""

    shortest: int
    longest: int

    def __call__(self, height: int, width: int) -> Size:
        short, long = float(min(height, width)), float(max(height, width))
        exact: float = self.shortest
        if long / short * self.shortest > self.longest:
            exact = self.longest * short / long
        size = round(exact)
        if width < height:
            sides = int(exact * height / width), size
        elif height == size:
            sides = height, width
        else:
            sides = size, int(exact * width / height)
        return Size(*(side - side % 16 for side in sides))


@dataclass(frozen=True)
class AtLeastOneFactor:
    """GLM's and PaddleOCR's `smart_resize`: a side below the factor is enlarged to it first."""

    area: Area
    rounded: bool  # PaddleOCR: side by side, rounded; GLM: both at once, rounded down

    def __call__(self, height: int, width: int) -> Size:
        factor = self.area.multiple_of
        if not self.rounded:
            if min(height, width) < factor:
                scale = max(factor / height, factor / width)
                height, width = int(height * scale), int(width * scale)
            return self.area(height, width)
        if height < factor:
            height, width = factor, round(width * factor / height)
        if width < factor:
            height, width = round(height * factor / width), factor
        return self.area(height, width)


@dataclass(frozen=True)
class GlmImage:
    """GLM-Image's `smart_resize`, which halves the sides before it rounds them."""

    factor: int
    min_pixels: int
    max_pixels: int

    def __call__(self, height: int, width: int) -> Size:
        if min(height, width) < self.factor or max(height, width) / min(height, width) > 4:
            raise ValueError(
                f"got sides of {height} x {width} pixels, expected at least {self.factor} and at most 4 to 1"
            )
        shortest, longest = round(math.sqrt(self.min_pixels)), round(math.sqrt(self.max_pixels))
        scale = shortest / min(height, width) if min(height, width) < shortest else 1.0
        if max(height, width) * scale > longest:
            scale = longest / max(height, width)
        sides = [self._multiple(round(side // 2 * scale / self.factor)) for side in (height, width)]
        if max(sides) > longest:
            shrink = max(sides) / longest
            sides = [self._multiple(math.floor(side / shrink / self.factor)) for side in sides]
        return Size(*sides)

    def _multiple(self, count: int) -> int:
        return max(self.factor, count * self.factor)


@dataclass(frozen=True)
class NearestGrid:
    """Muse Glimmer: of the patch grids around the exact one, that whose proportions are nearest."""

    patch: int
    max_patches: int

    def __call__(self, height: int, width: int) -> Size:
        rows, columns = height / self.patch, width / self.patch
        ratio = columns / rows
        if rows * columns > self.max_patches:
            rows = (self.max_patches / ratio) ** 0.5
            columns = rows * ratio
        around = itertools.product((math.floor(rows), math.ceil(rows)), (math.floor(columns), math.ceil(columns)))
        # In transformers' order, which is a set's: of equally near ones, the first.
        grids = [grid for grid in set(around) if min(grid) >= 1 and grid[0] * grid[1] <= self.max_patches]
        grids = grids or [(max(1, round(rows)), max(1, round(columns)))]
        nearest = min(grids, key=lambda grid: abs(grid[0] / grid[1] - height / width))
        return Size(nearest[0] * self.patch, nearest[1] * self.patch)


@dataclass(frozen=True)
class PatchBudget:
    """Gemma 4: as many pixels as `max_patches` patches have, sides rounded down to whole pooling windows."""

    patch: int
    max_patches: int
    pooling: int

    def __call__(self, height: int, width: int) -> Size:
        budget, window = self.max_patches * self.patch**2, self.pooling * self.patch
        factor = math.sqrt(budget / (height * width))
        rows, columns = (math.floor(factor * side / window) * window for side in (height, width))
        most = self.max_patches // self.pooling**2 * window
        if not rows and not columns:
            raise ValueError(f"of {height} x {width} pixels becomes 0 x 0, expected {window} pixels or more a side")
        if not rows:
            rows, columns = window, min(math.floor(width / height) * window, most)
        elif not columns:
            rows, columns = min(math.floor(height / width) * window, most), window
        if rows * columns > budget:
            raise ValueError(
                f"of {height} x {width} pixels becomes {rows} x {columns}, expected {budget} pixels at most"
            )
        return Size(rows, columns)


@dataclass(frozen=True)
class NaFlex:
    """SigLIP 2 NaFlex: the largest scale, by bisection, at which the patches, rounded up, are no more than allowed."""

    patch: int
    max_patches: int

    def __call__(self, height: int, width: int) -> Size:
        epsilon = 1e-5
        low, high = epsilon / 10, 100.0
        while high - low >= epsilon:
            middle = (low + high) / 2
            rows, columns = self._scaled(middle, height, width)
            if (rows / self.patch) * (columns / self.patch) <= self.max_patches:
                low = middle
            else:
                high = middle
        return self._scaled(low, height, width)

    def _scaled(self, scale: float, height: int, width: int) -> Size:
        sides = (math.ceil(side * scale / self.patch) * self.patch for side in (height, width))
        return Size(*(max(self.patch, side) for side in sides))


@dataclass(frozen=True)
class NaViT:
    """Kimi K2.5: never enlarged, within a number of patches and a length of sides."""

    patch: int
    max_patches: int
    max_side: int  # in patches

    def __call__(self, height: int, width: int) -> Size:
        patches = max(1.0, height // self.patch) * max(1.0, width // self.patch)
        most = self.max_side * self.patch
        scale = min(1.0, math.sqrt(self.max_patches / patches), most / height, most / width)
        return Size(*(min(max(1, int(side * scale)), most) for side in (height, width)))


@dataclass(frozen=True)
class Thumbnail:
    """Donut: each side no longer than the size's, and where that cuts an image that is no square, in proportion."""

    size: Size

    def __call__(self, height: int, width: int) -> Size:
        rows, columns = min(height, self.size.height), min(width, self.size.width)
        if (rows, columns) != (height, width):
            if height > width:
                columns = int(width * rows / height)
            elif width > height:
                rows = int(height * columns / width)
        return Size(rows, columns)


@dataclass(frozen=True)
class EvenLongest:
    """Idefics3 and SmolVLM: the long side exactly, the short one even; and no side above 4096 pixels."""

    longest: int

    def __call__(self, height: int, width: int) -> Size:
        ratio = width / height
        if width >= height:
            height, width = int(self.longest / ratio), self.longest
            height += height % 2
        else:
            height, width = self.longest, int(self.longest * ratio)
            width += width % 2
        height, width = max(height, 1), max(width, 1)
        ratio = width / height
        if width >= height and width > _MAX_IDEFICS:
            height, width = int(_MAX_IDEFICS / ratio), _MAX_IDEFICS
        elif height > width and height > _MAX_IDEFICS:
            height, width = _MAX_IDEFICS, int(_MAX_IDEFICS * ratio)
        return Size(max(height, 1), max(width, 1))


@dataclass(frozen=True)
class TokenArea:
    """LFM2-VL: Qwen's `smart_resize` with at least one factor a side, and limits in tokens."""

    factor: int
    min_tokens: int
    max_tokens: int

    def __call__(self, height: int, width: int) -> Size:
        least, most = self.min_tokens * self.factor**2, self.max_tokens * self.factor**2
        sides = [max(self.factor, round(side / self.factor) * self.factor) for side in (height, width)]
        if sides[0] * sides[1] > most:
            shrink = math.sqrt(height * width / most)
            sides = [max(self.factor, self._down(side / shrink)) for side in (height, width)]
        elif sides[0] * sides[1] < least:
            grow = math.sqrt(least / (height * width))
            sides = [math.ceil(side * grow / self.factor) * self.factor for side in (height, width)]
        return Size(*sides)

    def _down(self, side: float) -> int:
        return math.floor(side / self.factor) * self.factor


@dataclass(frozen=True)
class SquareOfArea:
    """MiniCPM-V: as many pixels as a square has, in the image's proportions, then the nearest multiples."""

    side: int
    multiple_of: int

    def __call__(self, height: int, width: int) -> Size:
        ratio = width / height
        rows = int(self.side / math.sqrt(ratio))
        columns = int(rows * ratio)
        return Size(*(max(_nearest_multiple(side, self.multiple_of), self.multiple_of) for side in (rows, columns)))


@dataclass(frozen=True)
class NextMultiple:
    """Swin2SR: the next multiple above each side, also where the side is one."""

    multiple_of: int

    def __call__(self, height: int, width: int) -> Size:
        return Size(*((side // self.multiple_of + 1) * self.multiple_of for side in (height, width)))


def longest_of_janus(longest: int, minimum: int) -> Sides:
    """Janus, DeepSeek-VL: the long side, the short one rounded half to even, none below `minimum`."""
    return Sides(longest=longest, minimum=minimum, rule="transformers", rounding="round")
