"""Why two outputs differ: the one change of a target, or the few, that give what a processor gives."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from PIL import Image

from fastnorm.spec.geometry import Size
from fastnorm.spec.normalization import Normalization
from fastnorm.spec.target import Target
from fastnorm.verification.changes import Change, Kind, Way, changes
from fastnorm.verification.differences import Difference, difference, total

Explains = Literal["all", "all but rounding", "most"]

_FIRST_OF_PAIRS = 6  # how many of the best single changes are joined with every other one
_MAX_CHANGES = 4  # changes together


@dataclasses.dataclass(frozen=True)
class Cause:
    """What a processor does otherwise than a target.

    Attributes:
        kinds: Each change's kind: "arithmetic", "order", "crop", "filter", "exif", "alpha", "channels", "rescale",
            "normalize", "constants" or "size".
        texts: The same in words.
        explains: "all": with these changes, no value differs; "all but rounding": what is left is below 1e-5; "most":
            no change that was tried leaves less.
        left: The difference that is left.
        target: The target with these changes; None where no target does what the processor does.
    """

    kinds: tuple[Kind, ...]
    texts: tuple[str, ...]
    explains: Explains
    left: Difference
    target: Target | None

    def __str__(self) -> str:
        *first, last = self.texts
        does = f"the processor {', '.join(first)}{' and ' if first else ''}{last}"
        if self.explains == "all":
            return f"{does}; with that, no value differs"
        rest = "only rounding differs" if self.explains == "all but rounding" else "less differs, but not nothing"
        return f"{does}; with that, {rest}: {self.left}"


class Sample(NamedTuple):
    """An image, and what the processor makes of it."""

    image: Image.Image
    theirs: torch.Tensor


class _Tried(NamedTuple):
    """A way that was tried, and what is left."""

    parts: tuple[Change, ...]
    way: Way
    left: Difference

    @property
    def rank(self) -> tuple[float, int]:
        return self.left.mean, self.left.differing


def find_cause(
    target: Target, samples: Sequence[Sample], confirmed: Callable[[Way], Difference | None]
) -> Cause | None:
    """What gives what the processor gives: one change, or a few; else what leaves the least; None: nothing helps.

    Args:
        target: What does not give it.
        samples: Images that differ.
        confirmed: For a way that explains the samples, the difference over all images.
    """
    normalization = target.normalization
    base = Way(target)
    now = _left(base, samples[:1], normalization)
    shapes = {Size(*sample.theirs.shape[1:]) for sample in samples}
    possible = changes(target, shapes.pop() if len(shapes) == 1 else None)
    tried: dict[Way, _Tried] = {}
    for parts in _combinations(possible, tried, now):
        way = _applied(base, parts)
        if way is None or way in tried:
            continue
        # Ways are ranked by one image; the others are looked at where that is explained.
        left = _left(way, samples[:1], normalization)
        if not left.differing and not _left(way, samples[1:], normalization).differing:
            everywhere = confirmed(way)
            if everywhere is not None and not everywhere.differing:
                return _cause(parts, way, "all", everywhere)
        tried[way] = _Tried(parts, way, left)
    best = _best(list(tried.values()), now)
    if best is None:
        return None
    left = confirmed(best.way) or best.left
    return _cause(best.parts, best.way, "all but rounding" if left.is_rounding else "most", left)


def _combinations(
    possible: Sequence[Change], tried: Mapping[Way, _Tried], now: Difference
) -> Iterator[tuple[Change, ...]]:
    """Single changes, then pairs with one that helps; then the best pair with every third change, and so on."""
    yield from ((change,) for change in possible)
    helpful = sorted((one for one in tried.values() if one.left.mean < now.mean), key=lambda one: one.rank)
    place = {id(change): index for index, change in enumerate(possible)}
    for one in helpful[:_FIRST_OF_PAIRS]:
        for other in possible:
            if other.kind != one.parts[0].kind:
                yield _in_order(place, *one.parts, other)
    for count in range(3, _MAX_CHANGES + 1):
        best = _best(list(tried.values()), now)
        if best is None or len(best.parts) != count - 1:
            return
        kinds = {change.kind for change in best.parts}
        for other in possible:
            if other.kind not in kinds:
                yield _in_order(place, *best.parts, other)


def _in_order(place: Mapping[int, int], *parts: Change) -> tuple[Change, ...]:
    """The changes as they are listed, whichever was found first."""
    return tuple(sorted(parts, key=lambda change: place[id(change)]))


def _applied(way: Way, parts: Sequence[Change]) -> Way | None:
    for change in parts:
        try:
            changed = change.apply(way)
        except ValueError:  # a target that cannot be, such as torch's arithmetic with Pillow's box filter
            return None
        if changed is None:
            return None
        way = changed
    return way


def _left(way: Way, samples: Sequence[Sample], normalization: Normalization) -> Difference:
    """What `way` leaves; units are those of the target that was asked for, so that ways can be compared."""
    try:
        return total(
            difference(sample.theirs, way(sample.image, sample.theirs.dtype), normalization) for sample in samples
        )
    except ValueError:  # a size that one of the images cannot have
        values = sum(sample.theirs.numel() for sample in samples)
        return Difference(values, values, math.inf, math.inf, math.inf, math.inf, False)


def _best(tried: Sequence[_Tried], now: Difference) -> _Tried | None:
    """What leaves the least, if that is less than half; a second change has to halve it once more."""
    best: _Tried | None = None
    least = now.mean
    for one in sorted(tried, key=lambda one: (len(one.parts), *one.rank)):
        halves = one.left.mean < (least if math.isinf(least) else least / 2)
        if halves or (best is not None and len(one.parts) == len(best.parts) and one.rank < best.rank):
            best, least = one, one.left.mean
    return best


def _cause(parts: Sequence[Change], way: Way, explains: Explains, left: Difference) -> Cause:
    return Cause(
        tuple(change.kind for change in parts),
        tuple(change.text for change in parts),
        explains,
        left,
        way.target if way.is_target else None,
    )
