"""The steps of a composed transform, one after the other, and the arguments of the Target that they come to.

What a step computes depends on what it is given: `Resize` of a PIL image has Pillow's pixels, of a uint8 tensor
torch's; borders are pixel values first and normalised values last. So the pipeline knows what it holds.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

import torch

from fastnorm.spec.configs.reading import Published
from fastnorm.spec.normalization import Normalization
from fastnorm.spec.options import Arithmetic, Order
from fastnorm.spec.padding import BLACK_BORDERS, Pad
from fastnorm.spec.size import Size
from fastnorm.spec.sizes import SizeRule
from fastnorm.spec.steps import Border, Crop, Resize, Step, filter_name

_UNKNOWN_LEAST = Size(0, 0)


class Holds(enum.Enum):
    """What the steps so far have made."""

    PIL = "a PIL image"
    PIXELS = "a uint8 tensor"
    SCALED = "a tensor of 0 to 1"
    NORMALIZED = "a normalised tensor"

    @property
    def is_uint8(self) -> bool:
        return self in (Holds.PIL, Holds.PIXELS)


class Pipeline:
    """A transform while it is read: each method is a step that was met."""

    def __init__(self, source: str, holds: Holds) -> None:
        self.source = source
        self.holds = holds
        self._steps: list[Step] = []
        self._pads: list[Pad] = []  # what lies around, wherever that may show
        self._least = _UNKNOWN_LEAST  # no side is less than this
        self._arithmetic: Arithmetic = "pillow"
        self._order: Order = "to_tensor"
        self._constants: tuple[Any, Any] = (0.0, 1.0)
        self._dtype: torch.dtype | None = None

    def refuse(self, what: str, why: str, fix: str) -> ValueError:
        return ValueError(f"{self.source}: got {what}, {why}; {fix}")

    def resize(
        self,
        size: int | Size | SizeRule,
        resample: str | int | enum.Enum,
        least: Size | None,
        *,
        what: str,
        of_pixels: str = "",
    ) -> None:
        """A resize.

        Args:
            size, resample: As a Target's.
            least: The least height and width that come out; None: unknown.
            what: The step's name.
            of_pixels: Why the step is not reproduced for uint8 tensors; "" where it is.
        """
        arithmetic: Arithmetic = "pillow" if self.holds is Holds.PIL else "torch"
        if not self.holds.is_uint8:
            raise self.refuse(
                f"{what} of {self.holds.value}",
                "which resizes floats: other values than those of uint8 pixels, and others on another CPU",
                f"put {what} before the conversion to float, in training too",
            )
        if arithmetic == "torch" and of_pixels:
            raise self.refuse(f"{what} of {self.holds.value}", of_pixels, "resize PIL images, or take v2.Resize")
        if any(isinstance(step, Resize) for step in self._steps) and "torch" in (arithmetic, self._arithmetic):
            raise self.refuse(
                f"a second {what}, of {self.holds.value}",
                "expected one: steps that resize before the last are Pillow's, of PIL images",
                "resize PIL images",
            )
        self._steps.append(Resize(size, filter_name(resample)))
        self._arithmetic = arithmetic
        self._least = least or _UNKNOWN_LEAST

    def crop(self, size: Size, pad: Pad = BLACK_BORDERS) -> None:
        """A crop of the centre, as torchvision places it, with `pad` around images that are smaller."""
        if size.height > self._least.height or size.width > self._least.width:
            self._surround(pad)
        self._steps.append(Crop(size))
        self._least = size

    def border(self, border: Border, pad: Pad = BLACK_BORDERS) -> None:
        """Lines around the image, or off it."""
        sides = (border.top, border.left, border.bottom, border.right)
        if max(sides) > 0:
            if self.holds is Holds.NORMALIZED:
                raise self.refuse(
                    "Pad of a normalised tensor",
                    "expected it before Normalize",
                    "for a border of normalised values write Target(..., crop=Crop(size), pad=Pad(value=0.0))",
                )
            self._surround(pad)
        self._steps.append(border)
        self._least = Size(
            max(self._least.height + border.top + border.bottom, 0),
            max(self._least.width + border.left + border.right, 0),
        )

    def _surround(self, pad: Pad) -> None:
        if self.holds is Holds.NORMALIZED and pad.is_black:
            pad = Pad(value=0.0)
        elif not self.holds.is_uint8 and pad.mode == "constant" and not pad.is_black:
            raise self.refuse(
                f"a fill of {pad.fill} for {self.holds.value}",
                "which is in another unit than pixel values, expected 0",
                "pad before the conversion to float, with pixel values 0 to 255",
            )
        self._pads.append(pad)

    def to_pixels(self) -> None:
        """A conversion to a uint8 tensor."""
        self.holds = Holds.PIXELS

    def scale(self, order: Order) -> None:
        """A conversion to float32, 0 to 1: by division ("to_tensor") or by multiplication ("to_dtype")."""
        self._order = order
        self.holds = Holds.SCALED

    def cast(self, dtype: torch.dtype) -> None:
        """A conversion of what is float already."""
        if self._dtype not in (None, dtype):
            raise self.refuse(
                f"a conversion to {dtype} after one to {self._dtype}",
                "which rounds twice, expected one conversion in the end",
                "leave out the first",
            )
        self._dtype = None if dtype is torch.float32 else dtype

    def normalize(self, mean: object, std: object) -> None:
        if self.holds is not Holds.SCALED or self._dtype is not None:
            held = self.holds.value if self._dtype is None else f"{self.holds.value} in {self._dtype}"
            raise self.refuse(
                f"Normalize of {held}",
                "expected it after a conversion to float32, 0 to 1, and once",
                "ToTensor(), or v2.ToImage() with v2.ToDtype(torch.float32, scale=True), comes before Normalize",
            )
        self._constants = (_plain(mean), _plain(std))
        self.holds = Holds.NORMALIZED

    def arguments(self) -> dict[str, Any]:
        """Of a Target."""
        if self.holds.is_uint8:
            raise self.refuse(
                f"steps that end with {self.holds.value}",
                "expected a tensor of floats",
                "add ToTensor(), or v2.ToImage() and v2.ToDtype(torch.float32, scale=True)",
            )
        mean, std = self._constants
        found: dict[str, Any] = {"normalization": Normalization(mean, std, order=self._order)}
        if self._dtype is not None:
            found["dtype"] = self._dtype
        pads = list(dict.fromkeys(self._pads))
        if len(pads) > 1:
            raise self.refuse(
                f"borders of {len(pads)} kinds, {pads[0]} and {pads[1]}",
                "expected one: a Target has one pad for all its steps",
                "crop to no more than what is resized to, or use the same fill and padding_mode throughout",
            )
        if pads and not pads[0].is_black:
            found["pad"] = pads[0]
        return {**found, **self._geometry()}

    def _geometry(self) -> dict[str, Any]:
        """The last resize and a crop after it, if that is all there is; otherwise they are steps before the crop."""
        steps = list(self._steps)
        found: dict[str, Any] = {}
        if steps and isinstance(steps[-1], Crop):
            found["crop"] = steps.pop()
        last = steps[-1] if steps else None
        if isinstance(last, Resize):
            steps.pop()
            found |= {"size": last.size, "resample": last.resample}
        if self._arithmetic == "torch":
            found["arithmetic"] = "torch"
            if any(isinstance(step, Resize) for step in steps):
                raise self.refuse(
                    "several steps after a resize of uint8 tensors",
                    "expected at most one CenterCrop",
                    "resize PIL images",
                )
        if steps:
            found["before"] = tuple(steps)
        return found


def _plain(values: object) -> object:
    """float32 tensors as the shortest numbers that they are the nearest float32 of: 0.485, not 0.48500001430511475."""
    if isinstance(values, torch.Tensor) and values.dtype is torch.float32:
        return [float(str(number)) for number in values.reshape(-1).numpy()]
    return values


Steps = Mapping[str, Callable[[Pipeline, Published], None]]  # by the name of a step's class: how it is read
