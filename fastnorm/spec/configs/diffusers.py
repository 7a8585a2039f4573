"""What diffusers' image processors say, as the arguments of a Target: `preprocess` of PIL images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastnorm.spec.configs.reading import check_backend, check_flag, check_keys
from fastnorm.spec.normalization import VAE, Normalization
from fastnorm.spec.size import at_least
from fastnorm.spec.sizes import Sides

# Classes whose preprocess is VaeImageProcessor's own, with their own default of vae_scale_factor.
_KNOWN = {
    "VaeImageProcessor": 8,
    "PixArtImageProcessor": 8,
    "VideoProcessor": 8,
    "Flux2ImageProcessor": 16,
    "HunyuanVideo15ImageProcessor": 16,
    "SanaWMImageProcessor": 32,
}
_WITH_A_MASK = "which prepares a mask or a depth map beside the image"
_OWN_STEPS = "which prepares images in steps of its own"
_OWN_SIZES = "which has a rule of its own for sizes"
_REFUSED = {
    "InpaintProcessor": _WITH_A_MASK,
    "VaeImageProcessorLDM3D": _WITH_A_MASK,
    "IPAdapterMaskProcessor": "which makes gray masks of 0 and 1",
    "Flux3ImageProcessor": _OWN_STEPS,
    "BriaFibo2ImageProcessor": _OWN_STEPS,
    "MarigoldImageProcessor": _OWN_STEPS,
    "VisualClozeProcessor": _OWN_STEPS,
    "LTX2VideoHDRProcessor": _OWN_STEPS,
    "JoyImageEditImageProcessor": _OWN_SIZES,
    "WanAnimateImageProcessor": _OWN_SIZES,
    "WanAnimate2VideoProcessor": _OWN_SIZES,
}
_KEYS = (
    "do_resize",
    "vae_scale_factor",
    "vae_latent_channels",  # tells latents from images, among tensors
    "resample",
    "reducing_gap",
    "do_normalize",
    "do_binarize",
    "do_convert_rgb",
    "do_convert_grayscale",
)
_FILTERS = {
    "linear": "bilinear",
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "lanczos": "lanczos",
    "nearest": "nearest",
}
_NO_NORMALIZATION = Normalization(0.0, 1.0)


def read(source: object, name: str, backend: str | None) -> dict[str, Any]:
    """The arguments of `Target.from_config`, which documents the argument and the errors."""
    check_backend(backend, "diffusers")
    kind, values = _values(source)
    name = name if isinstance(source, Mapping) else kind
    if kind not in _KNOWN:
        why = _REFUSED.get(kind, "which is not known to be reproduced")
        raise ValueError(
            f"{name}: got diffusers' {kind}, {why}, expected one of {', '.join(_KNOWN)}; write what it makes of the "
            f"image as a Target(...) and hold it to the original with fastnorm.verify"
        )
    check_keys(values, _KEYS, name)
    for key, what in (("do_binarize", "0 and 1"), ("do_convert_grayscale", "gray values")):
        if check_flag(values, key, False, name):
            raise ValueError(f"{name}: {key} is true, so that it makes {what}, expected false: images in R, G, B")
    check_flag(values, "do_convert_rgb", False, name)  # nothing, for RGB images
    # diffusers computes 2 * (x / 255) - 1 in float32: for all 256 values ((x / 255) - 0.5) / 0.5.
    normalizes = check_flag(values, "do_normalize", True, name)
    found: dict[str, Any] = {"normalization": VAE if normalizes else _NO_NORMALIZATION}
    if not check_flag(values, "do_resize", True, name):
        return found
    word = values.get("resample", "lanczos")
    if word not in _FILTERS:
        raise ValueError(f"{name}: resample is {word!r}, expected one of {', '.join(map(repr, _FILTERS))}")
    factor = at_least(f"{name}: vae_scale_factor", values.get("vae_scale_factor", _KNOWN[kind]), 1)
    if factor > 1:
        found["size"] = Sides(multiple_of=factor, multiple_rounding="floor")
    return {**found, "resample": _FILTERS[word], "reducing_gap": values.get("reducing_gap")}


def _values(source: object) -> tuple[str, Mapping[str, Any]]:
    """The class's name and its settings, without diffusers' own notes in them."""
    if isinstance(source, Mapping):
        kind, values = source.get("_class_name", "VaeImageProcessor"), source
    else:
        kind, values = type(source).__name__, getattr(source, "config", {})
    return str(kind), {key: value for key, value in values.items() if not str(key).startswith("_")}
