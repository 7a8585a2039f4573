"""What torchvision's transforms say, as the arguments of a Target: presets of weights, and a Compose of known steps.

timm and open_clip compose torchvision's steps with some of their own, which their modules read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

import torch

from fastnorm.spec.configs import open_clip, timm
from fastnorm.spec.configs.pipeline import Holds, Pipeline, Steps
from fastnorm.spec.configs.reading import Published, check_backend
from fastnorm.spec.padding import Pad
from fastnorm.spec.size import Size, pair, whole
from fastnorm.spec.sizes import Sides, SizeRule
from fastnorm.spec.steps import Border

_COMPOSED = "torchvision.transforms"
_PRESETS = "torchvision.transforms._presets"
_V2 = "torchvision.transforms.v2"

# What a PIL image becomes a tensor with. Where none is and a step wants a tensor, the images are tensors already.
_CONVERSIONS = ("ToTensor", "ToImage", "PILToTensor", "MaybeToTensor", "MaybePILToTensor")
_OF_TENSORS = ("ToDtype", "ConvertImageDtype", "Normalize")
# Functions in published pipelines: convert("RGB"), nothing for RGB images.
_TO_RGB = (("open_clip.transform", "_convert_to_rgb"), ("clip.clip", "_convert_image_to_rgb"))

_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_V1_RESIZE = "which torchvision.transforms computes in floats for tensors: other values than v2.Resize's"


def read(source: object, _name: str, backend: str | None) -> dict[str, Any]:
    """The arguments of `Target.from_config`, which documents the argument and the errors."""
    check_backend(backend, library="")
    kind = type(source)
    if not kind.__module__.startswith(_COMPOSED):
        raise TypeError(
            f"from_config: got {kind.__module__}.{kind.__qualname__}, expected a transform of torchvision's: "
            f"weights.transforms(), or transforms.Compose([...])"
        )
    steps = list(_flat(source))
    pipeline = Pipeline(kind.__name__, _first(steps, backend))
    for step in steps:
        _apply(pipeline, step)
    return pipeline.arguments()


def _flat(transform: Published) -> Iterator[object]:
    """The steps of a Compose, of those in it too."""
    if type(transform).__name__ == "Compose" and type(transform).__module__.startswith(_COMPOSED):
        for step in transform.transforms:
            yield from _flat(step)
    else:
        yield transform


def _first(steps: list[object], backend: str | None) -> Holds:
    """What a pipeline is given: PIL images, unless the call or the steps say tensors."""
    names = [type(step).__name__ for step in steps]
    only_tensors = any(name in _OF_TENSORS for name in names) and not any(name in _CONVERSIONS for name in names)
    if only_tensors and backend == "pil":
        raise ValueError(
            "backend: got 'pil' for a Compose that takes tensors alone, as nothing in it converts PIL images, expected "
            "'torchvision' or None"
        )
    return Holds.PIXELS if only_tensors or backend == "torchvision" else Holds.PIL


def _apply(pipeline: Pipeline, step: Published) -> None:
    if isinstance(step, FunctionType):
        if (step.__module__, step.__qualname__) not in _TO_RGB:
            raise pipeline.refuse(f"the function {step.__qualname__}", *_why_not(type(step)))
        return
    kind = type(step)
    readers = next((found for module, found in _READERS.items() if kind.__module__.startswith(module)), {})
    if kind.__name__ not in readers:
        raise pipeline.refuse(f"the step {kind.__module__}.{kind.__qualname__}", *_why_not(kind))
    readers[kind.__name__](pipeline, step)


def _why_not(kind: type) -> tuple[str, str]:
    if kind.__name__.startswith("Random") or any(base.__name__ == "_RandomApplyTransform" for base in kind.__mro__):
        return (
            "which draws at random, expected steps of an evaluation",
            "a random crop is Target(..., crop=Crop(224, 'random')), mirrors are fused_preprocess(..., flip='random')",
        )
    return (
        "which is not known to be reproduced",
        "apply it yourself to the uint8 images, or write what the transform does as a Target(...) and hold it to the "
        "original with fastnorm.verify",
    )


def _is_v2(step: object) -> bool:
    return type(step).__module__.startswith(_V2)


# --- steps


def _resize(pipeline: Pipeline, step: Published) -> None:
    if pipeline.holds is Holds.PIXELS and not step.antialias and _is_v2(step):
        raise pipeline.refuse(
            f"Resize(antialias={step.antialias}) of a uint8 tensor",
            "whose values are not reproduced, expected antialias=True",
            "resize PIL images, which are always antialiased",
        )
    size, least = _resized(pipeline, step.size, step.max_size)
    pipeline.resize(
        size, _resample(step.interpolation), least, what="Resize", of_pixels="" if _is_v2(step) else _V1_RESIZE
    )


def _resized(pipeline: Pipeline, size: Published, longest: int | None) -> tuple[int | Size | SizeRule, Size | None]:
    """The size of a Resize as a Target has it, and the least sides of what comes out, where they are known."""
    if size is None:
        return Sides(longest=longest), None
    short = whole(size)
    if short is None and len(size) == 1:
        (short,) = size
    if short is None:
        if longest is not None:
            raise pipeline.refuse(f"Resize({tuple(size)}, max_size={longest})", "expected either", "leave max_size out")
        exact = pair("size", size)
        return exact, exact
    if longest is not None:
        return Sides(shortest=short, longest=longest), None
    return short, Size(short, short)


def _resample(mode: Published) -> str | int:
    """An InterpolationMode, its word or Pillow's number, as a Target takes it. Of PIL images both nearests are one."""
    word: Published = getattr(mode, "value", mode)
    return "nearest" if word == "nearest-exact" else word


def _center_crop(pipeline: Pipeline, step: Published) -> None:
    pipeline.crop(_crop_size(step.size))


def _crop_size(size: Published) -> Size:
    return pair("crop", size[0] if whole(size) is None and len(size) == 1 else size)


def _pad(pipeline: Pipeline, step: Published) -> None:
    lines = [step.padding] if whole(step.padding) is not None else list(step.padding)
    left, top, right, bottom = {1: lines * 4, 2: lines * 2, 4: lines}[len(lines)]
    fill = step.fill
    if isinstance(fill, Mapping):
        raise pipeline.refuse(
            f"Pad(fill={fill!r})", "expected pixel values", "a fill for images alone is a number, or three"
        )
    if isinstance(fill, float) and fill.is_integer():
        fill = int(fill)
    mode = step.padding_mode
    around = Pad(0 if fill is None else fill) if mode == "constant" else Pad(mode=mode)
    pipeline.border(Border(top, left, bottom, right), around)


def _to_tensor(pipeline: Pipeline, step: Published) -> None:
    if pipeline.holds is not Holds.PIL:
        if _is_v2(step):
            return  # which leaves tensors alone
        raise pipeline.refuse(
            f"ToTensor of {pipeline.holds.value}", "expected a PIL image", "take backend='pil', or v2.ToImage"
        )
    pipeline.scale("to_tensor")


def _pil_to_tensor(pipeline: Pipeline, step: Published) -> None:
    if pipeline.holds is not Holds.PIL:
        if _is_v2(step):
            return
        raise pipeline.refuse(
            f"PILToTensor of {pipeline.holds.value}", "expected a PIL image", "take backend='pil', or v2.ToImage"
        )
    pipeline.to_pixels()


def _to_image(pipeline: Pipeline, _: Published) -> None:
    if pipeline.holds is Holds.PIL:
        pipeline.to_pixels()


def _convert(pipeline: Pipeline, step: Published) -> None:
    _to_float(pipeline, step, scale=True)


def _to_dtype(pipeline: Pipeline, step: Published) -> None:
    if isinstance(step.dtype, Mapping):
        raise pipeline.refuse(
            "ToDtype of a dictionary", "expected one dtype", "v2.ToDtype(torch.float32, scale=True) is for images"
        )
    _to_float(pipeline, step, scale=step.scale)


def _to_float(pipeline: Pipeline, step: Published, scale: bool) -> None:
    dtype, what = step.dtype, f"{type(step).__name__}({step.dtype})"
    if pipeline.holds is Holds.PIL:
        if _is_v2(step):
            return  # which leaves PIL images alone
        raise pipeline.refuse(f"{what} of a PIL image", "expected a tensor", "put PILToTensor() before it")
    if not pipeline.holds.is_uint8:
        if dtype not in _FLOATS:
            raise pipeline.refuse(f"{what} of floats", "expected float32, float16 or bfloat16", "omit it")
        pipeline.cast(dtype)
    elif dtype is torch.float32 and scale:
        pipeline.scale("to_dtype" if _is_v2(step) else "to_tensor")
    elif dtype is not torch.uint8:
        why = (
            "which computes every step in that type, expected torch.float32"
            if scale
            else "without scale=True, so that the mean is in pixel values, expected scale=True"
        )
        raise pipeline.refuse(
            f"{what} of a uint8 tensor",
            why,
            "take ToDtype(torch.float32, scale=True), a mean and std of 0 to 1, and dtype= for another type in the end",
        )


def _normalize(pipeline: Pipeline, step: Published) -> None:
    pipeline.normalize(step.mean, step.std)


def _nothing(_: Pipeline, __: Published) -> None:
    """Of RGB images."""


_OF_STEPS: Steps = {
    "Identity": _nothing,
    "RGB": _nothing,
    "ToPureTensor": _nothing,
    "Resize": _resize,
    "CenterCrop": _center_crop,
    "Pad": _pad,
    "ToTensor": _to_tensor,
    "PILToTensor": _pil_to_tensor,
    "ToImage": _to_image,
    "ConvertImageDtype": _convert,
    "ToDtype": _to_dtype,
    "Normalize": _normalize,
}


# --- presets


def _classification(pipeline: Pipeline, preset: Published) -> None:
    _preset_resize(pipeline, preset)
    pipeline.crop(_crop_size(preset.crop_size))
    _preset_normalize(pipeline, preset.mean, preset.std)


def _segmentation(pipeline: Pipeline, preset: Published) -> None:
    if preset.resize_size is not None:
        _preset_resize(pipeline, preset)
    _preset_normalize(pipeline, preset.mean, preset.std)


def _detection(pipeline: Pipeline, _: Published) -> None:
    pipeline.scale("to_tensor")


def _optical_flow(pipeline: Pipeline, _: Published) -> None:
    """Of each of the two images."""
    _preset_normalize(pipeline, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def _video(pipeline: Pipeline, _: Published) -> None:
    raise pipeline.refuse(
        "a preset of videos",
        "which resizes tensors without antialiasing, in floats: such values are not reproduced",
        "resize the frames as it does, and normalise them with fused_normalize",
    )


def _preset_resize(pipeline: Pipeline, preset: Published) -> None:
    size, least = _resized(pipeline, preset.resize_size, None)
    pipeline.resize(size, _resample(preset.interpolation), least, what="the preset's resize", of_pixels=_V1_RESIZE)


def _preset_normalize(pipeline: Pipeline, mean: object, std: object) -> None:
    pipeline.scale("to_tensor")
    pipeline.normalize(mean, std)


_OF_PRESETS: Steps = {
    "ImageClassification": _classification,
    "SemanticSegmentation": _segmentation,
    "ObjectDetection": _detection,
    "OpticalFlow": _optical_flow,
    "VideoClassification": _video,
}

# By the module that a step's class is from; the first that fits.
_READERS: Mapping[str, Steps] = {
    _PRESETS: _OF_PRESETS,
    _COMPOSED: _OF_STEPS,
    "timm.data.transforms": timm.STEPS,
    "open_clip.transform": open_clip.STEPS,
    "torch.nn.modules": {"Identity": _nothing},
}
