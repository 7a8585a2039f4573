"""Means and standard deviations out of published configurations: files, dictionaries, loaded image processors.

Only what this library computes bit for bit is taken, `((x / 255) - mean) / std`; everything else is refused.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import reprlib
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fastnorm.spec.options import Order

# Where the constants are kept: transformers, then timm and open_clip.
_CONSTANTS = (("image_mean", "image_std"), ("mean", "std"))
_NESTED = ("image_processor", "pretrained_cfg", "preprocess_cfg")
_MAX_NESTED = 8
_PROCESSOR_FILE = "processor_config.json"
_FILES = ("preprocessor_config.json", _PROCESSOR_FILE, "open_clip_config.json", "config.json")
_HUB_NAME = r"[\w-][\w.-]*(/[\w-][\w.-]*)?"

_FULL_SCALE = 255
_NOT_NORMALIZED = (0.0, 1.0)  # mean and std

# What else may happen to the values of a transformers processor, and what to do instead of it.
OTHER_STEPS = {
    "do_flip_channel_order": (
        "its tensors hold B, G, R",
        "read all of it with Target.from_config, or set it to false here and flip the normalised tensor: "
        "output.flip(-3)",
    ),
    "include_top": (
        "it divides by image_std a second time",
        "set it to false here and divide the normalised tensor by image_std",
    ),
    "rescale_offset": (
        "it subtracts 1 before it normalises",
        "set it to false here and add 1 to image_mean, which may round differently",
    ),
    "do_grayscale": ("its tensors are gray", "set it to false here and convert the images before"),
}
_SWITCHES = ("do_rescale", "do_normalize", *OTHER_STEPS)
_KEYS = (*_SWITCHES, "rescale_factor", "image_mean", "image_std")

# What transformers' classes do where a configuration leaves it out, as far as it is not the usual: rescale by 1/255,
# normalise, and nothing else.
_CLASS_DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "Chameleon": {"rescale_factor": 0.0078},
    "EfficientLoFTR": {"do_grayscale": True},
    "EfficientNet": {"include_top": True},
    "GLPN": {"do_normalize": False},
    "Gemma4": {"do_normalize": False},
    "Kosmos2_5": {"do_rescale": False},
    "LayoutLMv2": {"do_rescale": False},
    "LightGlue": {"do_grayscale": True},
    "MobileViT": {"do_flip_channel_order": True},
    "Pix2Struct": {"do_rescale": False},
    "RTDetr": {"do_normalize": False},
    "SuperGlue": {"do_grayscale": True},
    "Tvp": {"do_flip_channel_order": True},
}
# Classes that do not normalise, whatever their do_normalize says.
_NEVER_NORMALIZES = ("EfficientLoFTR", "LightGlue", "MobileViT", "SuperGlue", "SuperPoint", "Swin2SR")


class Constants(NamedTuple):
    """What a configuration says, unchecked: `Normalization`'s arguments."""

    mean: Any
    std: Any
    name: str
    order: Order = "to_tensor"


def read_constants(config: object) -> Constants:
    """The constants of `Normalization.from_config`, which documents the argument and the errors."""
    values, source = load_config(config)
    torchvision = getattr(getattr(config, "image_processor", config), "backend", None) == "torchvision"
    for _ in range(_MAX_NESTED):  # a bound, as a dictionary may hold itself
        found = _constants(values, source)
        if found is not None:
            return found._replace(order=_torchvision_order(found)) if torchvision else found
        nested = next((values[key] for key in _NESTED if isinstance(values.get(key), Mapping)), None)
        if nested is None:
            break
        values = nested
    raise ValueError(
        f"{source}: no image_mean and image_std (nor mean and std) among its keys {sorted(map(str, values))[:12]}; "
        f"name them yourself with Normalization(mean, std), or use a preset such as fastnorm.VAE"
    )


def _torchvision_order(found: Constants) -> Order:
    """The order of a processor object of transformers' torchvision backend, which multiplies by the factor alone."""
    return "to_dtype" if (found.mean, found.std) == _NOT_NORMALIZED else "fused"


def _constants(values: Mapping[str, Any], source: str) -> Constants | None:
    """What this level of a configuration says; None where it says nothing of means."""
    names = (values.get(key) for key in ("image_processor_type", "architecture"))
    name = next((name for name in names if isinstance(name, str) and name), source)
    kind = re.sub(r"(ImageProcessor|FeatureExtractor)(Pil|Fast)?$", "", name)
    given = {key: value for key, value in values.items() if value is not None}  # null: the class's default
    settings = {**_CLASS_DEFAULTS.get(kind, {}), **given}
    switches = {key: _switch(settings, key, source) for key in _SWITCHES if key in settings}
    if switches.get("do_rescale") is False:
        raise ValueError(
            f"{source}: do_rescale is false, so its mean and std apply to pixel values 0..255; expected ones that "
            f"apply to 0..1: divide both by 255 and call Normalization(mean, std)"
        )
    for key, (reason, fix) in OTHER_STEPS.items():
        if switches.get(key):
            raise ValueError(f"{source}: {key} is true: {reason}; expected ((x / 255) - mean) / std alone; {fix}")
    if "rescale_factor" in settings:
        check_factor(settings["rescale_factor"], source)
    if switches.get("do_normalize") is False or kind in _NEVER_NORMALIZES:
        return Constants(*_NOT_NORMALIZED, name)
    for mean, std in _CONSTANTS:
        if mean in given and std in given:
            return Constants(given[mean], given[std], name)
    return None


def _switch(settings: Mapping[str, object], key: str, source: str) -> bool:
    value = settings[key]
    if not isinstance(value, bool):
        raise ValueError(f"{source}: {key} is {reprlib.repr(value)}, expected true or false")
    return value


def check_factor(factor: object, source: str) -> None:
    """Refuse a factor that scales any pixel value to another float32 than value / 255 is.

    transformers computes float32(code * factor), with the product in float64.
    """
    if isinstance(factor, bool) or not isinstance(factor, (int, float)):
        raise ValueError(f"{source}: rescale_factor is {reprlib.repr(factor)}, expected a number, 1/255")
    try:
        scale = float(factor)
    except OverflowError:  # an integer beyond float64
        scale = math.inf
    # A division of float32 numbers may be done in float64 and rounded once more: the result is the same.
    different = sum(float32(code * scale) != float32(code / _FULL_SCALE) for code in range(_FULL_SCALE + 1))
    if not different:
        return
    start = f"{source}: rescale_factor is {reprlib.repr(factor)}, expected 1/255 = {1 / _FULL_SCALE!r}"
    if math.isclose(scale, 1 / _FULL_SCALE, rel_tol=1e-3):
        raise ValueError(
            f"{start}: {different} of the 256 pixel values are scaled to other float32 values; to take 1/255 "
            f"all the same: Normalization.from_config({{**config, 'rescale_factor': 1 / 255}})"
        )
    raise ValueError(
        f"{start}; call Normalization(mean, std) with both divided by rescale_factor * 255 = "
        f"{scale * _FULL_SCALE!r}, which may round differently"
    )


def load_config(config: object) -> tuple[Mapping[str, Any], str]:
    if isinstance(config, Mapping):
        return config, "config"
    if isinstance(config, (str, os.PathLike)):
        return _load_file(Path(config))
    processor = getattr(config, "image_processor", config)
    values = {key: getattr(processor, key) for key in _KEYS if hasattr(processor, key)}
    if not values:
        raise TypeError(
            f"from_config: got {type(config).__name__}, expected a path, a dict or an image processor with image_mean "
            f"and image_std"
        )
    # A processor asks `if self.do_normalize`: its None is false, where in a file null is the class's default.
    values.update({key: False for key in _SWITCHES if key in values and values[key] is None})
    name = type(processor).__name__
    return {**values, "image_processor_type": name}, name


def _load_file(path: Path) -> tuple[Mapping[str, Any], str]:
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise ValueError(
            f"{str(path)[:40]}...: got a path of {len(str(path))} characters ({error.strerror}), expected a "
            f"preprocessor_config.json or the folder with it; for the file's contents: from_config(json.loads(text))"
        ) from None
    if is_folder:
        files = [path / name for name in _FILES if (path / name).is_file()]
        if not files:
            raise FileNotFoundError(f"{path}: expected one of {', '.join(_FILES)} in this folder, found none")
    elif exists:
        files = [path]
    else:
        files = cached(path.as_posix())
    # As transformers does: what a processor_config.json holds for images comes before the older file.
    holder = next((file for file in files if file.name == _PROCESSOR_FILE), None)
    if holder is not None and holder is not files[0]:
        values = _parse(holder)
        if isinstance(values.get("image_processor"), Mapping):
            return values, str(holder)
    return _parse(files[0]), str(files[0])


def cached(name: str) -> list[Path]:
    """The files of a model on the Hugging Face Hub, in the local cache; nothing is downloaded."""
    if not re.fullmatch(_HUB_NAME, name):
        raise FileNotFoundError(f"{name}: no such file; expected a preprocessor_config.json or the folder with it")
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        found = []
    else:
        found = [Path(file) for one in _FILES if isinstance(file := try_to_load_from_cache(name, one), str)]
    if not found:
        raise FileNotFoundError(
            f"{name}: no such file or folder, and no model of this name in the local Hugging Face cache, expected one "
            f"of them; download it once: huggingface_hub.hf_hub_download({name!r}, 'preprocessor_config.json')"
        )
    return found


def _parse(path: Path) -> Mapping[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); expected a preprocessor_config.json") from None
    except RecursionError:
        raise ValueError(f"{path}: got JSON nested too deep to be read, expected a preprocessor_config.json") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: holds a {type(values).__name__}, expected a JSON object with image_mean, image_std")
    return values


def float32(value: float) -> float:
    """The nearest float32 number; infinity for what lies beyond them."""
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.inf
