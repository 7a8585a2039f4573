"""What a normalisation is: three means and three standard deviations, and the presets that models use."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from fastnorm.spec.constants import float32, read_constants
from fastnorm.spec.options import Order, check_order

CHANNELS = 3

# What pixels in units of full scale, 0 to 1, can need. A mean further away lies a whole range off every pixel. Half
# black and half white has the largest standard deviation, 0.5; 1 stands for pixels that are not scaled, and 2 leaves
# room for scales such as x / 256. Constants for pixel values 0 to 255 lie far beyond both.
MIN_MEAN, MAX_MEAN = -1.0, 2.0
MAX_STD = 2.0


@dataclass(frozen=True, init=False)
class Normalization:
    """Per-channel mean and standard deviation of pixels in units of full scale, and in which order they are applied.

    Example:
        >>> Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), name="imagenet")
        Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), name='imagenet')
        >>> Normalization([0.5], [0.5]) == VAE
        True
        >>> dataclasses.replace(CLIP, order="fused").order  # as CLIPImageProcessor computes it
        'fused'

    Frozen, hashable and picklable. Two are equal when mean, std and order are: `name` is a label only.

    Args:
        mean: Three finite numbers in channel order R, G, B, in units of full scale (1.0 is 255). One number
            stands for all three channels, as in torchvision's `Normalize([0.5], [0.5])`.
        std: Likewise, each greater than 0.
        name: A label for messages and reports.
        order: The steps from pixel value x to output y, each of which rounds to float32:
            "to_tensor": `y = (x / 255 - mean) / std`: torchvision's `ToTensor` and `Normalize`, transformers'
            Pillow-backend image processors;
            "to_dtype": `y = (x * (1 / 255) - mean) / std`: torchvision's `v2.ToDtype(torch.float32, scale=True)` and
            `v2.Normalize`;
            "fused": `y = (x - mean * 255) / (std * 255)`: transformers' torchvision-backend image processors, which are
            its default ones;
            "scale_shift": `y = x / 127.5 - 1`, for mean 0.5 and std 0.5 alone: the values of "to_tensor" for these.
            The orders differ in the last bits of some values, by at most 1e-6 for the presets. Outputs of float16 and
            bfloat16 are the float32 values rounded once, as `.to(dtype)` after the published steps does; steps that
            compute in these types, such as `v2.ToDtype(torch.bfloat16, scale=True)`, round more often.
        allow_unusual: Take a mean outside -1 to 2 or a std above 2, which are refused because they are nearly always
            in units of 0..255; `Normalization([123.675], [58.395])` is `Normalization([0.485], [0.229])`.

    Raises:
        TypeError: A mean or std that is not a number or an ordered collection of numbers.
        ValueError: A wrong length, a value that is not finite, a std that is not positive, a value that float32, in
            which the arithmetic is done, cannot hold, a value that no image needs (see `allow_unusual`), an unknown
            order or one that is not for this mean and std.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    name: str = field(default="", compare=False)
    order: Order = field(default="to_tensor", kw_only=True)
    allow_unusual: bool = field(default=False, compare=False, kw_only=True)  # kept for dataclasses.replace

    def __init__(
        self,
        mean: float | Iterable[float],
        std: float | Iterable[float],
        name: str = "",
        *,
        order: Order = "to_tensor",
        allow_unusual: bool = False,
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name: got {type(name).__name__}, expected a string such as 'clip'")
        if not isinstance(allow_unusual, bool):
            raise TypeError(f"allow_unusual: got {type(allow_unusual).__name__}, expected True or False")
        check_order(order)
        object.__setattr__(self, "mean", _three("mean", mean))
        object.__setattr__(self, "std", _three("std", std))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "order", order)
        object.__setattr__(self, "allow_unusual", allow_unusual)
        for channel, value in enumerate(self.std):
            if value <= 0:
                raise ValueError(
                    f"std: got {value} for channel {channel}, expected a value > 0; a channel that needs no scaling "
                    f"takes std=1.0"
                )
            if float32(value) == 0:
                raise ValueError(
                    f"std: got {value} for channel {channel}, which is 0 in float32, where the division is done; "
                    f"expected at least 1e-45"
                )
        if not allow_unusual:
            _check_units("mean", self.mean, MIN_MEAN, MAX_MEAN)
            _check_units("std", self.std, 0.0, MAX_STD)
        if order == "scale_shift" and {*self.mean, *self.std} != {0.5}:
            raise ValueError(
                f"order: got 'scale_shift', which is x / 127.5 - 1, with mean {self.mean} and std {self.std}, expected "
                f"Normalization(0.5, 0.5, order='scale_shift'), or another order"
            )
        if order == "fused" and not all(math.isfinite(float32(value * 255)) for value in (*self.mean, *self.std)):
            raise ValueError(
                f"order: got 'fused', which multiplies by 255, with mean {self.mean} and std {self.std}, expected "
                f"products that float32 can hold, or order='to_tensor'"
            )

    def __repr__(self) -> str:
        order = "" if self.order == "to_tensor" else f", order={self.order!r}"
        unusual = ", allow_unusual=True" if self.allow_unusual else ""
        return f"Normalization(mean={self.mean}, std={self.std}, name={self.name!r}{order}{unusual})"

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:  # made once: every call looks its targets up
        return hash((self.mean, self.std, self.order))

    def __getstate__(self) -> dict[str, Any]:
        """All but the hash: a string's is another in every process."""
        return {name: value for name, value in self.__dict__.items() if name != "_hash"}

    @classmethod
    def from_config(cls, config: str | os.PathLike[str] | Mapping[str, Any] | object) -> Normalization:
        """Read a model's own preprocessing configuration.

        Example:
            >>> Normalization.from_config({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}) == SIGLIP
            True

        Args:
            config: A `preprocessor_config.json` (or the folder that holds it), its contents as a dict, or a loaded
                transformers image processor. timm's and open_clip's `mean` / `std` are understood too. A model's name
                on the Hugging Face Hub is looked up in the local cache, never downloaded.

        Returns:
            The normalisation, with the order "to_tensor"; mean 0 and std 1 where the configuration says `do_normalize:
            false`. Of a processor object of transformers' torchvision backend, with its order, "fused" ("to_dtype"
            without normalising).

        Raises:
            FileNotFoundError: No such file, nothing of that name in the cache, or a folder without a known file.
            TypeError: Something else than a path, a mapping or a processor.
            ValueError: No mean and std, or a configuration that computes something else: one that does not rescale by
                1/255 first (a rounded factor such as 0.0039215686 gives other bits), that reverses the channels, or
                that normalises twice.
        """
        mean, std, name, order = read_constants(config)
        return cls(mean, std, name, order=order)


def _three(what: str, values: object) -> tuple[float, float, float]:
    if hasattr(values, "tolist"):  # numpy arrays and scalars, torch tensors
        values = values.tolist()
    items = [values] if isinstance(values, (int, float)) else values
    if isinstance(items, (str, bytes, Mapping, Set)) or not isinstance(items, Iterable):
        order = f", in a list: {type(values).__name__}s have no order" if isinstance(items, Set) else ""
        raise TypeError(f"{what}: got {type(values).__name__}, expected {CHANNELS} numbers, or 1 for all{order}")
    numbers = []
    for item in items:
        item = item.item() if hasattr(item, "item") else item
        if isinstance(item, bool) or not isinstance(item, (int, float)):
            raise TypeError(f"{what}: got an element of type {type(item).__name__}, expected plain numbers")
        try:
            numbers.append(float(item))
        except OverflowError:  # an integer beyond float64
            numbers.append(math.inf if item > 0 else -math.inf)
    if len(numbers) not in (1, CHANNELS):
        raise ValueError(f"{what}: got {len(numbers)} values, expected {CHANNELS} (R, G, B), or 1 for all channels")
    for number in numbers:
        if not math.isfinite(number) or not math.isfinite(float32(number)):
            raise ValueError(f"{what}: got {number}, expected finite float32 values such as 0.5")
    r, g, b = numbers * CHANNELS if len(numbers) == 1 else numbers
    return r, g, b


def _check_units(what: str, values: tuple[float, float, float], least: float, most: float) -> None:
    for channel, value in enumerate(values):
        if not least <= value <= most:
            raise ValueError(
                f"{what}: got {value} for channel {channel}, expected {least:g} to {most:g}, in units of full scale "
                f"(1.0 is 255); constants for pixel values 0..255: divide by 255, mean and std alike; if it is meant: "
                f"Normalization(mean, std, allow_unusual=True)"
            )


VAE = Normalization(0.5, 0.5, name="vae")
CLIP = Normalization(
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    name="clip",
)
IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), name="imagenet")
DINOV2 = Normalization(IMAGENET.mean, IMAGENET.std, name="dinov2")
DINOV3_SAT = Normalization(mean=(0.430, 0.411, 0.296), std=(0.213, 0.156, 0.143), name="dinov3_sat")
SIGLIP = Normalization(0.5, 0.5, name="siglip")

PRESETS: Mapping[str, Normalization] = {p.name: p for p in (VAE, CLIP, IMAGENET, DINOV2, DINOV3_SAT, SIGLIP)}

# Where each preset's constants are published; `fastnorm explain` prints it.
PRESET_SOURCES: Mapping[str, str] = {
    "vae": "Stable Diffusion's VAE takes pixels in [-1, 1]: diffusers' VaeImageProcessor.normalize is 2 * x - 1, and "
    "its training examples write Normalize([0.5], [0.5])",
    "clip": "OpenAI CLIP, clip/clip.py; OPENAI_CLIP_MEAN and OPENAI_CLIP_STD in transformers",
    "imagenet": "ImageNet statistics as torchvision's pretrained models use them; IMAGENET_DEFAULT_MEAN and "
    "IMAGENET_DEFAULT_STD in timm and transformers",
    "dinov2": "DINOv2's make_normalize_transform takes the ImageNet statistics",
    "dinov3_sat": "DINOv3's models of satellite images (SAT-493M), as its README has them; so timm's "
    "vit_large_patch16_dinov3.sat493m; DINOv3's other models take the ImageNet statistics",
    "siglip": "SigLIP's preprocessor_config.json: image_mean and image_std all 0.5 (IMAGENET_STANDARD_MEAN and "
    "IMAGENET_STANDARD_STD in transformers)",
}
