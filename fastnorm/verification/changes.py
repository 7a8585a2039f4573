"""What a processor may do otherwise than a target: each as a change of how its output is computed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from PIL import Image

from fastnorm.ops.denormalize import denormalize
from fastnorm.ops.preprocess import fused_preprocess
from fastnorm.spec.arguments import OUTPUT_DTYPES
from fastnorm.spec.geometry import Size
from fastnorm.spec.lowering import shown
from fastnorm.spec.normalization import CHANNELS, PRESETS, Normalization
from fastnorm.spec.options import FILTER_NAMES, ORDERS, Alpha, Arithmetic, ChannelOrder, Exif, Order
from fastnorm.spec.sizes import Sides, SizeRule
from fastnorm.spec.steps import CENTRES, Crop
from fastnorm.spec.target import Target

Kind = Literal[
    "arithmetic",
    "order",
    "crop",
    "filter",
    "exif",
    "alpha",
    "channels",
    "rescale",
    "normalize",
    "constants",
    "size",
]

_FULL_SCALE = 255
_ARITHMETICS: Mapping[Arithmetic, str] = {"pillow": "Pillow's", "torch": "torch's"}
_UNIT = Normalization(0.0, 1.0)
_OTHER_ALPHA: Mapping[Alpha, Alpha] = {"drop": "white", "white": "drop"}
_OTHER_EXIF: Mapping[Exif, Exif] = {"ignore": "apply", "apply": "ignore"}

# From pixel values 0..255 in float32, mean and std to outputs, all of shape (3, height, width) or (3, 1, 1).
Steps = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to compute an output: a target, and what no target does.

    Attributes:
        target: Geometry and normalisation.
        steps: What becomes of resized pixel values, instead of the target's normalisation.
    """

    target: Target
    steps: Steps | None = None

    @property
    def is_target(self) -> bool:
        """Whether a target alone computes it."""
        return self.steps is None

    def __call__(self, image: Image.Image, dtype: torch.dtype) -> torch.Tensor:
        """The output (3, height, width) for one image, in the target's dtype, `dtype` where it has none."""
        target = self.target
        dtype = target.dtype or (dtype if dtype in OUTPUT_DTYPES else torch.float32)
        if self.steps is None:
            return _output(image, target, dtype)
        mean, std = (
            torch.tensor(constants, dtype=torch.float32).view(CHANNELS, 1, 1)
            for constants in (target.normalization.mean, target.normalization.std)
        )
        output = self.steps(pixels(image, target).float(), mean, std).to(dtype)
        return output.flip(0) if target.channel_order == "BGR" else output


@dataclasses.dataclass(frozen=True)
class Change:
    """One thing that a processor does otherwise.

    Attributes:
        kind: Which of the things that pipelines differ in.
        text: What the processor does, as a sentence without its subject.
        apply: The same way with this change; None where it would change nothing, ValueError where it cannot be.
    """

    kind: Kind
    text: str
    apply: Callable[[Way], Way | None] = dataclasses.field(repr=False, compare=False)


def pixels(image: Image.Image, target: Target) -> torch.Tensor:
    """The uint8 pixels (3, height, width) that `target` normalises, R, G, B."""
    pad = target.pad if target.padding.value is None else True  # which is not of pixels
    plain = dataclasses.replace(target, normalization=_UNIT, pad=pad, channel_order="RGB")
    return denormalize(_output(image, plain, torch.float32), _UNIT)


def changes(target: Target, shape: Size | None) -> list[Change]:
    """Every single change, the likeliest first.

    Args:
        target: What is taken for the processor's.
        shape: (height, width) of all outputs of the processor, where it is the same for all images.
    """
    return [
        *_arithmetics(target),
        *_orders(),
        *_crops(target),
        *_filters(target),
        *_exif(target),
        *_alpha(target),
        *_constants(),
        *_channels(target),  # after the constants, which they may put into another order
        *_rescales(),
        *_normalizes(),
        *_sizes(target, shape),
    ]


def _output(image: Image.Image, target: Target, dtype: torch.dtype) -> torch.Tensor:
    (output,) = fused_preprocess([image], [dataclasses.replace(target, dtype=dtype, memory_format=None)])
    return output[0]


class _Replace:
    """Other arguments of the target."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self.arguments = arguments

    def __call__(self, way: Way) -> Way | None:
        target = dataclasses.replace(way.target, **self.arguments)
        return None if target == way.target else dataclasses.replace(way, target=target)


def _arithmetics(target: Target) -> Iterator[Change]:
    for arithmetic, whose in _ARITHMETICS.items():
        if arithmetic != target.arithmetic:
            text = f"resizes with {whose} arithmetic instead of {_ARITHMETICS[target.arithmetic]}"
            yield Change("arithmetic", text, _Replace({"arithmetic": arithmetic}))


def _crops(target: Target) -> Iterator[Change]:
    crop = target.crop
    if crop is None or crop.position not in CENTRES:
        return
    for rule in CENTRES:
        if rule != crop.position:
            text = f"places the crop as {rule} does instead of as {crop.position}"
            yield Change("crop", text, _Replace({"crop": Crop(crop.size, rule)}))  # type: ignore[arg-type]


def _filters(target: Target) -> Iterator[Change]:
    for name in FILTER_NAMES:
        if name != target.resample:
            yield Change("filter", f"resizes with {name} instead of {target.resample}", _Replace({"resample": name}))


def _exif(target: Target) -> Iterator[Change]:
    other = _OTHER_EXIF.get(target.exif or "ignore")
    if other is not None:
        does = "applies" if other == "apply" else "ignores"
        yield Change("exif", f"{does} the EXIF orientation", _Replace({"exif": other}))


def _alpha(target: Target) -> Iterator[Change]:
    other = _OTHER_ALPHA.get(target.alpha or "error")
    if other is not None:
        does = "puts transparent pixels on white" if other == "white" else "drops alpha, so that hidden colours show"
        yield Change("alpha", does, _Replace({"alpha": other}))


def _channels(target: Target) -> Iterator[Change]:
    other: ChannelOrder = "RGB" if target.channel_order == "BGR" else "BGR"
    text = f"has its channels in the order {', '.join(other)}"
    yield Change("channels", text, _Replace({"channel_order": other}))

    def apply(way: Way) -> Way | None:
        own = way.target.normalization
        normalization = dataclasses.replace(own, name="", mean=own.mean[::-1], std=own.std[::-1])
        if normalization == own:
            return None
        changed = dataclasses.replace(way.target, channel_order=other, normalization=normalization)
        return dataclasses.replace(way, target=changed)

    yield Change("channels", f"{text}, while mean and std keep theirs", apply)


def _orders() -> Iterator[Change]:
    for order in ORDERS:

        def apply(way: Way, order: Order = order) -> Way | None:
            if way.target.normalization.order == order or way.steps is not None:
                return None
            return _with_normalization(way, dataclasses.replace(way.target.normalization, order=order))

        yield Change("order", f"normalises in the order {order!r}", apply)


def _constants() -> Iterator[Change]:
    for preset in dict.fromkeys(PRESETS.values()):
        names = " or ".join(name for name, its in PRESETS.items() if its == preset)

        def apply(way: Way, preset: Normalization = preset) -> Way | None:
            own = way.target.normalization
            if (own.mean, own.std) == (preset.mean, preset.std):
                return None
            order = "to_tensor" if own.order == "scale_shift" else own.order
            return _with_normalization(way, dataclasses.replace(preset, order=order))

        yield Change("constants", f"normalises with the mean and std of {names}", apply)


def _with_normalization(way: Way, normalization: Normalization) -> Way:
    return dataclasses.replace(way, target=dataclasses.replace(way.target, normalization=normalization))


def _rescales() -> Iterator[Change]:
    twice, never = "divides by 255 twice", "does not divide by 255"
    yield from (_stepped("rescale", twice, steps) for steps in (_rescaled_twice, _rescaled_twice_64, _fused_of_unit))
    yield _stepped("rescale", never, lambda x, mean, std: (x - mean) / std)
    yield _stepped("rescale", f"{never} and does not normalise", lambda x, _mean, _std: x)


def _normalizes() -> Iterator[Change]:
    never = "does not subtract the mean and divide by the std"
    yield _stepped("normalize", never, lambda x, _mean, _std: x / _FULL_SCALE)
    yield _stepped("normalize", never, lambda x, _mean, _std: x * (1 / _FULL_SCALE))
    twice = "normalises twice"
    yield _stepped("normalize", twice, lambda x, mean, std: (_usual(x, mean, std) - mean) / std)
    yield _stepped("normalize", twice, lambda x, mean, std: (_fused(x, mean, std) - mean) / std)
    both = "divides by 255 and normalises, both twice"
    yield _stepped("normalize", both, lambda x, mean, std: _usual(_usual(x, mean, std), mean, std))
    yield _stepped("normalize", both, lambda x, mean, std: _fused(_fused(x, mean, std), mean, std))
    yield _stepped("normalize", both, lambda x, mean, std: _fused(_usual(x, mean, std), mean, std))


def _stepped(kind: Kind, text: str, steps: Steps) -> Change:
    return Change(kind, text, lambda way: None if way.steps is not None else dataclasses.replace(way, steps=steps))


def _usual(x: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    return (x / _FULL_SCALE - mean) / std


def _fused(x: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    return (x - mean * _FULL_SCALE) / (std * _FULL_SCALE)


def _rescaled_twice(x: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    return _usual(x / _FULL_SCALE, mean, std)


def _rescaled_twice_64(x: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """As transformers' Pillow backend rescales float32: in float64, rounded to float32."""
    return (((x / _FULL_SCALE).double() * (1 / _FULL_SCALE)).float() - mean) / std


def _fused_of_unit(x: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    return _fused(x / _FULL_SCALE, mean, std)


def _sizes(target: Target, shape: Size | None) -> Iterator[Change]:
    """Other rules for the size, alone and with a crop of the size that came out."""
    for arguments in _size_arguments(target, shape):
        size, crop = arguments.get("size", target.size), arguments.get("crop", target.crop)
        cut = "" if crop is None else f", crops to {_side_by_side(crop.size or target.crop_size)}"
        yield Change("size", f"{_shown(size)}{cut}", _Replace(arguments))


def _size_arguments(target: Target, shape: Size | None) -> Iterator[dict[str, Any]]:
    size, crop_size = target.size, target.crop_size
    position: Any = target.crop.position if target.crop is not None else "torchvision"
    if shape is not None:
        yield {"size": shape, "crop": None}
        yield {"size": min(shape), "crop": Crop(shape, position)}
        yield {"crop": Crop(shape, position)}
        for fraction in (0.875, 0.9, 0.95, 0.96):
            yield {"size": math.floor(min(shape) / fraction), "crop": Crop(shape, position)}
    if isinstance(size, int):
        yield {"size": (size, size)}
        yield {"size": Sides(longest=size)}
        yield from ({"size": rule} for rule in _by_rules(Sides(shortest=size)))
    if isinstance(size, Size):
        yield {"size": min(size), "crop": Crop(size, position)}
        yield from ({"size": rule} for rule in _by_rules(Sides(within=size)))
        yield from ({"size": rule, "crop": Crop(size, position)} for rule in _by_rules(Sides(covering=size)))
    if isinstance(size, Sides):
        yield from ({"size": rule} for rule in _by_rules(size))
    if target.crop is not None:
        yield {"crop": None}
    yield {"size": None, "crop": None if target.crop is None else Crop(crop_size, position)}


_RULES: Sequence[tuple[Any, Any]] = [
    (rule, rounding)
    for rule in ("torchvision", "transformers", "timm", "pillow")
    for rounding in ("floor", "round", "half_up", "ceil")
]


def _by_rules(size: Sides) -> Iterator[Sides]:
    for rule, rounding in _RULES:
        yield dataclasses.replace(size, rule=rule, rounding=rounding)


def _shown(size: int | Sequence[int] | SizeRule | None) -> str:
    if size is None:
        return "does not resize"
    return f"resizes the short side to {size}" if isinstance(size, int) else f"resizes to {_side_by_side(size)}"


def _side_by_side(size: object) -> str:
    return shown(size) if isinstance(size, Size) else f"the size of {size!r}"
