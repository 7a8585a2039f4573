"""What becomes of a pixel value: constants, their order, arithmetic, transparent pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastnorm.spec.configs.transformers.settings import HAND_WRITTEN, Arguments, Settings
from fastnorm.spec.constants import check_factor, float32
from fastnorm.spec.normalization import Normalization

_FULL_SCALE = 255
# Classes that do not convert pictures to RGB, whatever their do_convert_rgb says: it is for what comes with them.
_NEVER_CONVERTED = ("PromptDepthAnythingImageProcessor", "SegGptImageProcessor")


def pixels(settings: Settings, normalization: Normalization | None = None) -> Arguments:
    """Constants and their order, arithmetic, and what becomes of transparent pixels."""
    arguments: Arguments = {"normalization": normalization or _normalization(settings)}
    if settings.backend == "torchvision":
        arguments["arithmetic"] = "torch"
    if settings.on("do_convert_rgb") and settings.kind not in _NEVER_CONVERTED:
        arguments["alpha"] = "white"
    return arguments


def _normalization(settings: Settings) -> Normalization:
    rescale, normalize = settings.on("do_rescale"), settings.on("do_normalize")
    torchvision = settings.backend == "torchvision"
    factor = settings["rescale_factor"] if rescale else 1
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
