"""`Target.from_config`: finds which library a configuration comes from, and lets that library's module read it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

from fastnorm.spec.configs import diffusers, open_clip, timm, torchvision, transformers
from fastnorm.spec.constants import load_config

Backend = Literal["pil", "torchvision"]
Arguments = dict[str, Any]  # of Target: read here, checked there

_READERS: Mapping[str, Callable[[object, str, Backend | None], Arguments]] = {
    "transformers": transformers.read,
    "timm": timm.read,
    "open_clip": open_clip.read,
    "torchvision": torchvision.read,
    "diffusers": diffusers.read,
}
_OF_TRANSFORMERS = ("image_processor_type", "feature_extractor_type", "image_processor")


def read_target(source: object, backend: Backend | None) -> Arguments:
    """The arguments of `Target.from_config`, which documents the argument and the errors."""
    name = "config"
    if isinstance(source, (str, os.PathLike, Mapping)):
        source, name = load_config(source)
    library = _library_of(source)
    return _READERS[library](source, name, backend)


def _library_of(source: object) -> str:
    """Which module reads this: by the object's class, or by the keys of a dictionary."""
    if isinstance(source, Mapping):
        return _library_of_keys(source)
    # A subclass of a user's own is not what its base class is: its library's module decides.
    for ancestor in type(source).__mro__:
        library = ancestor.__module__.partition(".")[0]
        if library in _READERS:
            return library
    raise TypeError(
        f"from_config: got {type(source).__name__}, expected a path, a dict, or an image processor or transform of "
        f"{', '.join(_READERS)}; what else it may be, write as a Target(...) and hold it to the original with "
        f"fastnorm.verify"
    )


def _library_of_keys(values: Mapping[str, Any]) -> str:
    if any(key in values for key in _OF_TRANSFORMERS):  # some of which have timm's crop_pct too
        return "transformers"
    if "_class_name" in values or "_diffusers_version" in values:
        return "diffusers"
    if "preprocess_cfg" in values or "resize_mode" in values:
        return "open_clip"
    if "pretrained_cfg" in values or "input_size" in values or "crop_pct" in values:
        return "timm"
    if "vae_scale_factor" in values:  # a processor's config, which does not name the class
        return "diffusers"
    return "transformers"
