"""What becomes of a pixel value: constants, their order, arithmetic, transparent pixels."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnorm.spec.configs.transformers.settings import HAND_WRITTEN, Arguments, Settings
from fastnorm.spec.constants import check_factor, float32
from fastnorm.spec.normalization import Normalization
from fastnorm.spec.options import Alpha

_FULL_SCALE = 255
# Classes with a conversion of their own, to white: as later versions have it, or rounded in another way.
_OWN_WHITE = {"Idefics2ImageProcessor": "white", "ChameleonImageProcessor": None}
# Classes that do not convert images to RGB, whatever their do_convert_rgb says: it is for what comes with them.
_NEVER_CONVERTED = ("PromptDepthAnythingImageProcessor", "SegGptImageProcessor")


def pixels(settings: Settings, normalization: Normalization | None = None) -> Arguments:
    """Constants and their order, arithmetic, and what becomes of transparent pixels."""
    arguments: Arguments = {"normalization": normalization or _normalization(settings)}
    if settings.backend == "torchvision":
        arguments["arithmetic"] = "torch"
    if settings.on("do_convert_rgb") and settings.kind not in _NEVER_CONVERTED:
        alpha = _alpha()
        arguments["alpha"] = _OWN_WHITE.get(settings.kind, alpha) if alpha == "drop" else alpha
    return arguments


@functools.cache
def _alpha() -> Alpha:
    """What the installed transformers makes of transparent pixels: up to 5.20 it dropped alpha, as `convert("RGB")`."""
    from PIL import Image
    from transformers.image_transforms import convert_to_rgb

    has_option = "return_numpy" in inspect.signature(convert_to_rgb).parameters
    options: dict[str, Any] = {"return_numpy": True} if has_option else {}
    shown = np.asarray(convert_to_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 0)), **options))
    return "white" if shown.max() else "drop"


def _normalization(settings: Settings) -> Normalization:
    rescale, normalize = settings.on("do_rescale"), settings.on("do_normalize")
    torchvision = settings.backend == "torchvision"
    factor = settings["rescale_factor"] if rescale else 1
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not factor > 0:
        settings.refuse("rescale_factor", "it scales by no number above 0", "give 1 / 255")
    if not normalize:
        return rescaled(settings)
    mean, std = settings["image_mean"], settings["image_std"]
    if torchvision or not rescale:
        return _fused(settings, mean, std, 1.0 / factor)
    check_factor(factor, settings.name)
    return Normalization(mean, std, settings.kind)


def _fused(settings: Settings, mean: Sequence[float], std: Sequence[float], scale: float) -> Normalization:
    """`(x - mean * scale) / (std * scale)`, the constants in float32."""
    if float32(scale) == _FULL_SCALE:
        return Normalization(mean, std, settings.kind, order="fused")
    means, stds = Normalization(mean, std, allow_unusual=True).mean, Normalization(mean, std, allow_unusual=True).std
    return Normalization(
        [_over_full_scale(settings, float32(float32(value) * float32(scale))) for value in means],
        [_over_full_scale(settings, float32(float32(value) * float32(scale))) for value in stds],
        settings.kind,
        order="fused",
    )


def _over_full_scale(settings: Settings, product: float) -> float:
    """The constant that gives this product when it is multiplied by 255 in float32."""
    near = np.float32(product / _FULL_SCALE)
    for candidate in (near, np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))):
        if float32(float(candidate) * _FULL_SCALE) == product:
            return float(candidate)
    return settings.refuse("rescale_factor", f"{product!r} is no float32 number times 255", HAND_WRITTEN)


def rescaled(settings: Settings) -> Normalization:
    """`ToTensor` alone, or what the torchvision backend computes for it."""
    if not settings.on("do_rescale"):
        settings.refuse("do_rescale", "its outputs are uint8", "set it to true")
    check_factor(settings["rescale_factor"], settings.name)
    return Normalization(
        0.0, 1.0, settings.kind, order="to_dtype" if settings.backend == "torchvision" else "to_tensor"
    )
