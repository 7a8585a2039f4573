"""What open_clip's configurations say, as the arguments of a Target: PreprocessCfg, and open_clip's own steps.

The transform is that of its evaluation, `image_transform_v2(cfg, is_train=False)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastnorm.spec.configs.pipeline import Pipeline, Steps
from fastnorm.spec.configs.reading import Published, check_backend, check_keys
from fastnorm.spec.configs.timm import center_crop_or_pad, resize_keep_ratio, to_tensor
from fastnorm.spec.normalization import CLIP, Normalization
from fastnorm.spec.padding import Pad
from fastnorm.spec.size import pair
from fastnorm.spec.sizes import Sides
from fastnorm.spec.steps import Crop

_KEYS = ("size", "mode", "mean", "std", "interpolation", "resize_mode", "fill_color")
_ABOUT_THE_WEIGHTS = ("url", "hf_hub")
_RESIZE_MODES = ("shortest", "longest", "squash")
# By the evaluation; "random" is of the training.
_FILTERS = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}


def read(source: object, name: str, backend: str | None) -> dict[str, Any]:
    """The arguments of `Target.from_config`, which documents the argument and the errors."""
    check_backend(backend, "open_clip")
    values = _values(source)
    name = name if isinstance(source, Mapping) else type(source).__name__
    check_keys(values, (*_KEYS, *_ABOUT_THE_WEIGHTS), name)
    if values.get("size") is None:
        raise ValueError(
            f"{name}: got no size, which is that of the model's images, expected one: "
            f"from_config({{**config, 'size': 224}})"
        )
    if values.get("mode", "RGB") != "RGB":
        raise ValueError(f"{name}: mode is {values['mode']!r}, expected 'RGB'")
    word = values.get("interpolation") or "bicubic"
    if word not in _FILTERS:
        raise ValueError(f"{name}: interpolation is {word!r}, expected one of {', '.join(map(repr, _FILTERS))}")
    mode = values.get("resize_mode") or "shortest"
    if mode not in _RESIZE_MODES:
        raise ValueError(f"{name}: resize_mode is {mode!r}, expected one of {', '.join(map(repr, _RESIZE_MODES))}")
    size = pair("size", values["size"])
    found: dict[str, Any] = {
        "normalization": Normalization(values.get("mean") or CLIP.mean, values.get("std") or CLIP.std),
        "resample": _FILTERS[word],
    }
    if mode == "squash":
        return {**found, "size": size}
    if mode == "longest":
        fill = Pad(fill=values.get("fill_color") or 0)
        return {**found, "size": Sides(within=size, rule="timm"), "crop": Crop(size), "pad": fill}
    if size.height == size.width:
        return {**found, "size": size.height, "crop": Crop(size)}
    # open_clip hands no filter on here: its ResizeKeepRatio has bicubic.
    return {**found, "size": Sides(covering=size, rule="timm"), "resample": "bicubic", "crop": Crop(size)}


def _values(source: object) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        if "preprocess_cfg" not in source:
            return source
        values = dict(source["preprocess_cfg"])
        # An open_clip_config.json: the model's size replaces that of its preprocess_cfg.
        size = source.get("model_cfg", {}).get("vision_cfg", {}).get("image_size")
        return values if size is None else {**values, "size": size}
    if type(source).__name__ != "PreprocessCfg":
        raise TypeError(
            f"from_config: got open_clip's {type(source).__name__}, expected a PreprocessCfg, model.visual."
            f"preprocess_cfg, or the transform that create_model_and_transforms returns"
        )
    return vars(source)


def _convert_mode(pipeline: Pipeline, step: Published) -> None:
    """`MaybeConvertMode`: nothing, for RGB images."""
    if step.mode != "RGB":
        raise pipeline.refuse(f"MaybeConvertMode({step.mode!r})", "expected 'RGB'", "convert the images before")


STEPS: Steps = {
    "ResizeKeepRatio": resize_keep_ratio,
    "CenterCropOrPad": center_crop_or_pad,
    "MaybeConvertMode": _convert_mode,
    "MaybeToTensor": to_tensor,
}
