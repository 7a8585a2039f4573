"""What a normalisation is: three means and three standard deviations, and the presets that models use."""

from __future__ import annotations

import functools
import json
import math
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHANNELS = 3

# Where published configurations keep their means and standard deviations: transformers, then timm and open_clip.
_CONFIG_KEYS = (("image_mean", "image_std"), ("mean", "std"))
_NESTED_CONFIGS = ("image_processor", "pretrained_cfg", "preprocess_cfg")
_CONFIG_FILES = ("preprocessor_config.json", "processor_config.json", "open_clip_config.json", "config.json")


@dataclass(frozen=True, init=False)
class Normalization:
    """Per-channel mean and standard deviation, applied to pixels already divided by 255.

    Example:
        >>> Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), name="imagenet")
        Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), name='imagenet')
        >>> Normalization([0.5], [0.5]) == VAE
        True

    Frozen, hashable and picklable. Two are equal when they compute the same thing: `name` is a label only.

    Args:
        mean: Three finite numbers in channel order R, G, B, in units of full scale (1.0 is code 255). One number
            stands for all three channels, as in torchvision's `Normalize([0.5], [0.5])`.
        std: Likewise, each greater than 0.
        name: A label for messages and reports.

    Raises:
        TypeError: A mean or std that is not a number or a sequence of numbers.
        ValueError: A wrong length, a value that is not finite, a std that is not positive, or a value that float32,
            in which the arithmetic is done, cannot hold.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    name: str = field(default="", compare=False)

    def __init__(self, mean: float | Iterable[float], std: float | Iterable[float], name: str = "") -> None:
        if not isinstance(name, str):
            raise TypeError(f"name: got {type(name).__name__}, wanted a string such as 'clip'")
        object.__setattr__(self, "mean", _three("mean", mean))
        object.__setattr__(self, "std", _three("std", std))
        object.__setattr__(self, "name", name)
        for channel, value in enumerate(self.std):
            if value <= 0:
                raise ValueError(
                    f"std: got {value} for channel {channel}, wanted a value > 0; a channel that needs no scaling "
                    f"takes std=1.0"
                )
            if _float32(value) == 0:
                raise ValueError(
                    f"std: got {value} for channel {channel}, which is 0 in float32, where the division is done; "
                    f"wanted at least 1e-45"
                )

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:  # made once: every call looks its targets up
        return hash((self.mean, self.std))

    @classmethod
    def from_config(cls, config: str | os.PathLike[str] | Mapping[str, Any] | object) -> Normalization:
        """Read a model's own preprocessing configuration.

        Example:
            >>> Normalization.from_config({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}) == SIGLIP
            True

        Args:
            config: A `preprocessor_config.json` (or the folder that holds it), its contents as a dict, or a loaded
                transformers image processor. timm's and open_clip's `mean` / `std` are understood too.

        Returns:
            The normalisation; mean 0 and std 1 where the configuration says `do_normalize: false`.

        Raises:
            FileNotFoundError: No such file, or a folder without a known configuration file.
            TypeError: Something else than a path, a mapping or a processor.
            ValueError: No mean and std, or a configuration that does not rescale by 1/255 first.
        """
        values, source = _load_config(config)
        return cls._from_mapping(values, source)

    @classmethod
    def _from_mapping(cls, values: Mapping[str, Any], source: str) -> Normalization:
        name = next((str(values[k]) for k in ("image_processor_type", "architecture") if values.get(k)), source)
        if values.get("do_rescale") is False:
            raise ValueError(
                f"{source}: do_rescale is false, so its mean and std apply to codes 0..255; wanted ones that apply "
                f"to 0..1: divide both by 255 and call Normalization(mean, std)"
            )
        factor = values.get("rescale_factor")
        # 1/255 is written with 6 to 17 digits in published files; 1/127.5, the other one in use, is far off.
        if factor is not None and not (
            isinstance(factor, (int, float)) and math.isclose(factor, 1 / 255, rel_tol=1e-4)
        ):
            raise ValueError(
                f"{source}: rescale_factor is {factor!r}, wanted 1/255; fold the difference into "
                f"Normalization(mean, std) yourself"
            )
        if values.get("do_normalize") is False:
            return cls(0.0, 1.0, name=name)
        for mean_key, std_key in _CONFIG_KEYS:
            if values.get(mean_key) is not None and values.get(std_key) is not None:
                return cls(values[mean_key], values[std_key], name=name)
        for key in _NESTED_CONFIGS:
            if isinstance(values.get(key), Mapping):
                return cls._from_mapping(values[key], source)
        raise ValueError(
            f"{source}: no image_mean and image_std (nor mean and std) among its keys {sorted(map(str, values))[:12]}; "
            f"name them yourself with Normalization(mean, std), or use a preset such as fastnorm.VAE"
        )


def _load_config(config: object) -> tuple[Mapping[str, Any], str]:
    if isinstance(config, Mapping):
        return config, "config"
    if isinstance(config, (str, os.PathLike)):
        path = Path(config)
        if path.is_dir():
            found = next((path / name for name in _CONFIG_FILES if (path / name).is_file()), None)
            if found is None:
                raise FileNotFoundError(f"{path}: wanted one of {', '.join(_CONFIG_FILES)} in this folder, found none")
            path = found
        elif not path.exists():
            raise FileNotFoundError(f"{path}: no such file; wanted a preprocessor_config.json or the folder with it")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: not JSON ({error}); wanted a preprocessor_config.json") from None
        if not isinstance(values, dict):
            raise ValueError(
                f"{path}: holds a {type(values).__name__}, wanted a JSON object with image_mean, image_std"
            )
        return values, str(path)
    processor = getattr(config, "image_processor", config)
    keys = ("image_mean", "image_std", "do_normalize", "do_rescale", "rescale_factor")
    values = {key: getattr(processor, key) for key in keys if hasattr(processor, key)}
    if not values:
        raise TypeError(
            f"from_config: got {type(config).__name__}, wanted a path, a dict or an image processor with image_mean "
            f"and image_std"
        )
    return values, type(processor).__name__


def _float32(value: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.inf


def _three(what: str, values: object) -> tuple[float, float, float]:
    if hasattr(values, "tolist"):  # numpy arrays and scalars, torch tensors
        values = values.tolist()
    items = [values] if isinstance(values, (int, float)) else values
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, Iterable):
        raise TypeError(f"{what}: got {type(values).__name__}, wanted {CHANNELS} numbers, or 1 for all channels")
    numbers = []
    for item in items:
        item = item.item() if hasattr(item, "item") else item
        if isinstance(item, bool) or not isinstance(item, (int, float)):
            raise TypeError(f"{what}: got an element of type {type(item).__name__}, wanted plain numbers")
        numbers.append(float(item))
    if len(numbers) not in (1, CHANNELS):
        raise ValueError(f"{what}: got {len(numbers)} values, wanted {CHANNELS} (R, G, B), or 1 for all channels")
    for number in numbers:
        if not math.isfinite(number) or not math.isfinite(_float32(number)):
            raise ValueError(f"{what}: got {number}, wanted finite float32 values such as 0.5")
    r, g, b = numbers * CHANNELS if len(numbers) == 1 else numbers
    return r, g, b


VAE = Normalization(0.5, 0.5, name="vae")
CLIP = Normalization(
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    name="clip",
)
IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), name="imagenet")
DINOV2 = Normalization(IMAGENET.mean, IMAGENET.std, name="dinov2")
SIGLIP = Normalization(0.5, 0.5, name="siglip")

PRESETS: Mapping[str, Normalization] = {p.name: p for p in (VAE, CLIP, IMAGENET, DINOV2, SIGLIP)}

# Where each preset's constants are published; `fastnorm explain` prints it.
PRESET_SOURCES: Mapping[str, str] = {
    "vae": "Stable Diffusion's VAE takes pixels in [-1, 1]: diffusers' VaeImageProcessor.normalize is 2 * x - 1, and "
    "its training examples write Normalize([0.5], [0.5])",
    "clip": "OpenAI CLIP, clip/clip.py; OPENAI_CLIP_MEAN and OPENAI_CLIP_STD in transformers",
    "imagenet": "ImageNet statistics as torchvision's pretrained models use them; IMAGENET_DEFAULT_MEAN and "
    "IMAGENET_DEFAULT_STD in timm and transformers",
    "dinov2": "DINOv2's make_normalize_transform takes the ImageNet statistics",
    "siglip": "SigLIP's preprocessor_config.json: image_mean and image_std all 0.5 (IMAGENET_STANDARD_MEAN and "
    "IMAGENET_STANDARD_STD in transformers)",
}
