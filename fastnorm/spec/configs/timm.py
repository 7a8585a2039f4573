"""What timm's configurations say, as the arguments of a Target: pretrained_cfg, and timm's own steps of a transform.

The transform is that of timm's evaluation, `create_transform(**resolve_data_config(pretrained_cfg=...))`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fastnorm.spec.configs.pipeline import Holds, Pipeline, Steps
from fastnorm.spec.configs.reading import Published, check_backend, check_keys
from fastnorm.spec.normalization import IMAGENET, Normalization
from fastnorm.spec.padding import Pad, PadMode
from fastnorm.spec.size import Size, pair, whole
from fastnorm.spec.sizes import Sides
from fastnorm.spec.steps import Border, Crop

_EVALUATION = ("input_size", "interpolation", "crop_pct", "crop_mode", "crop_border_pixels", "mean", "std")
# Of pretrained_cfg: what says nothing about the pixels, and the sizes that timm takes when it is asked for them alone.
_ABOUT_THE_MODEL = (
    "url",
    "file",
    "state_dict",
    "hf_hub_id",
    "hf_hub_filename",
    "source",
    "architecture",
    "tag",
    "custom_load",
    "min_input_size",
    "fixed_input_size",
    "num_classes",
    "label_offset",
    "label_names",
    "label_descriptions",
    "pool_size",
    "first_conv",
    "classifier",
    "license",
    "description",
    "origin_url",
    "paper_name",
    "paper_ids",
    "notes",
)
_OF_THE_TEST = ("test_input_size", "test_crop_pct", "test_pool_size")
_CROP_MODES = ("center", "squash", "border")
_CROP_PCT = 0.875
_CHANNELS = 3


def read(source: object, name: str, backend: str | None) -> dict[str, Any]:
    """The arguments of `Target.from_config`, which documents the argument and the errors."""
    check_backend(backend, "timm")
    values = _values(source)
    name = name if isinstance(source, Mapping) else type(source).__name__
    check_keys(values, (*_EVALUATION, *_ABOUT_THE_MODEL, *_OF_THE_TEST), name)
    height, width = size = _size(values.get("input_size"), name)
    crop_pct = values.get("crop_pct") or _CROP_PCT
    if isinstance(crop_pct, bool) or not isinstance(crop_pct, (int, float)) or not 0 < crop_pct < math.inf:
        raise ValueError(f"{name}: crop_pct is {crop_pct!r}, expected a number such as 0.875")
    scaled = Size(math.floor(height / crop_pct), math.floor(width / crop_pct))
    mean = values.get("mean") or IMAGENET.mean
    found: dict[str, Any] = {
        "normalization": Normalization(mean, values.get("std") or IMAGENET.std, values.get("architecture") or ""),
        "resample": _interpolation(values.get("interpolation"), name),
        "crop": Crop(size),
    }
    border = values.get("crop_border_pixels")
    if border:
        found["before"] = Border(-border)
    mode = values.get("crop_mode") or "center"
    if mode not in _CROP_MODES:
        raise ValueError(f"{name}: crop_mode is {mode!r}, expected one of {', '.join(map(repr, _CROP_MODES))}")
    if mode == "squash":
        found["size"] = scaled
    elif mode == "border":
        found["size"] = Sides(within=scaled, rule="timm")
        found["pad"] = Pad(fill=[round(255 * value) for value in mean])
    elif scaled.height == scaled.width:
        found["size"] = scaled.height
    else:
        found["size"] = Sides(covering=scaled, rule="timm")
    return found


def _values(source: object) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        nested = source.get("pretrained_cfg")  # a config.json as timm has it on the Hugging Face Hub
        return nested if isinstance(nested, Mapping) else source
    if type(source).__name__ != "PretrainedCfg":
        raise TypeError(
            f"from_config: got timm's {type(source).__name__}, expected a configuration: model.pretrained_cfg, "
            f"timm.data.resolve_model_data_config(model), or timm.data.create_transform(...)"
        )
    return vars(source)


def _size(given: object, name: str) -> Size:
    """(height, width), from that, from (channels, height, width) or from one number; None: timm's own."""
    if given is None:
        return Size(224, 224)
    if whole(given) is None and isinstance(given, (list, tuple)) and len(given) == 3:
        if given[0] != _CHANNELS:
            raise ValueError(f"{name}: input_size is {tuple(given)}, expected {_CHANNELS} channels, R, G, B")
        given = given[1:]
    return pair("input_size", given)


def _interpolation(word: object, name: str) -> object:
    if word is None:
        raise ValueError(
            f"{name}: got no interpolation, for which timm's functions have different defaults, expected one, such as "
            f"'bicubic'; timm.data.resolve_data_config(pretrained_cfg=...) fills it in"
        )
    if word == "random":
        raise ValueError(
            f"{name}: interpolation is 'random', which draws a filter for each image, expected one filter, as "
            f"{{**config, 'interpolation': 'bicubic'}}"
        )
    return word


# --- timm's own steps


def resize_keep_ratio(pipeline: Pipeline, step: Published) -> None:
    """`ResizeKeepRatio`, which open_clip has taken over."""
    if step.random_scale_prob or step.random_aspect_prob or isinstance(step.interpolation, (list, tuple)):
        raise pipeline.refuse(
            "ResizeKeepRatio with random sizes or filters", "expected neither", "take the transform of the evaluation"
        )
    size = pair("size", step.size)
    if step.longest not in (0.0, 1.0):
        raise pipeline.refuse(
            f"ResizeKeepRatio(longest={step.longest})", "expected 0 or 1", "write a size rule of your own"
        )
    rule = Sides(within=size, rule="timm") if step.longest else Sides(covering=size, rule="timm")
    why = "which it computes in floats for tensors"
    pipeline.resize(rule, step.interpolation, None if step.longest else size, what="ResizeKeepRatio", of_pixels=why)


def center_crop_or_pad(pipeline: Pipeline, step: Published) -> None:
    """`CenterCropOrPad`, which open_clip has taken over."""
    mode: PadMode = getattr(step, "padding_mode", "constant")
    pipeline.crop(pair("crop", step.size), Pad(step.fill) if mode == "constant" else Pad(mode=mode))


def _trim_border(pipeline: Pipeline, step: Published) -> None:
    pipeline.border(Border(-step.border_size))


def to_tensor(pipeline: Pipeline, _: Published) -> None:
    """`MaybeToTensor`, which open_clip has taken over; tensors stay what they are."""
    if pipeline.holds is Holds.PIL:
        pipeline.scale("to_tensor")


def _pil_to_tensor(pipeline: Pipeline, _: Published) -> None:
    if pipeline.holds is Holds.PIL:
        pipeline.to_pixels()


STEPS: Steps = {
    "ResizeKeepRatio": resize_keep_ratio,
    "CenterCropOrPad": center_crop_or_pad,
    "TrimBorder": _trim_border,
    "MaybeToTensor": to_tensor,
    "MaybePILToTensor": _pil_to_tensor,
}
