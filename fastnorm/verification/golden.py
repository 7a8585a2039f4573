"""Golden vectors: a file of pixels and outputs that a port in another language can hold itself to.

The file is numpy's `.npz`, a ZIP archive of `.npy` arrays:

| name | dtype and shape | holds |
|---|---|---|
| `description` | uint8 (n,) | JSON in UTF-8 |
| `input_0` | uint8 (H, W, 3) | the first image, R, G, B, upright and without alpha as the target has it |
| `resized_0` | uint8 (3, h, w) | its pixels after resizing and cropping, before they are normalised |
| `output_0` | float32 (3, h, w) | the normalised values |

and so on for every image. The JSON holds "format", "processor", "versions", "target" (`fastnorm.spec.describe.fields`),
"geometry" (the same in words) and "images", of which each has "name", "resized" (height and width before the crop),
"offset" (top and left of the crop, negative where it begins with padding) and "vertical_first" (which axis is resized
first).
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastnorm._version import __version__
from fastnorm.images import pil
from fastnorm.ops.preprocess import fused_preprocess
from fastnorm.spec.describe import fields, geometry_in_words
from fastnorm.spec.geometry import PassOrder, Size
from fastnorm.spec.lowering import lower
from fastnorm.spec.target import Target
from fastnorm.verification.changes import pixels
from fastnorm.verification.verifying import AnyImage, Verification, check_images

FORMAT = "fastnorm golden vectors 1"
_PACKAGES = ("torch", "torchvision", "pillow", "numpy", "transformers", "timm", "open_clip_torch", "diffusers")


def save_golden(
    file: str | os.PathLike[str], verification: Verification, images: Sequence[AnyImage] | AnyImage
) -> None:
    """Write what a verified processor gives for images, with the pixels on the way; the format is this module's.

    Example:
        >>> found = fastnorm.verify(processor, images)
        >>> save_golden("clip.npz", found, images)

    Args:
        file: Where to; the name ends in ".npz".
        verification: Of these images, identical.
        images: The images that were verified.

    Raises:
        ValueError: The verification found differences, or outputs are not float32.
    """
    target = dataclasses.replace(verification.target, dtype=torch.float32)
    if not verification.identical:
        raise ValueError(
            f"got a verification that found {verification.verdict}; expected an identical one: golden vectors are the "
            f"processor's own outputs"
        )
    if any(one.dtype != torch.float32 for one in verification.images):
        raise ValueError("got outputs that are not float32, expected float32: golden vectors hold unrounded values")
    arrays: dict[str, Any] = {}
    entries = []
    for index, named in enumerate(check_images(images)):
        image = pil.to_rgb(named.open(), target.alpha or "error", target.exif or "ignore")
        (output,), (offset,) = fused_preprocess([image], [target], return_offsets=True)
        lowered = lower(Size(image.height, image.width), target, PassOrder.of_pillow())
        arrays[f"input_{index}"] = np.asarray(image)
        arrays[f"resized_{index}"] = pixels(image, target).numpy()
        arrays[f"output_{index}"] = output[0].contiguous().numpy()
        entries.append(
            {
                "name": Path(named.name).name,
                "resized": list(lowered.resized),
                "offset": offset[0].tolist(),
                "vertical_first": lowered.vertical_first,
            }
        )
    text = json.dumps(_description(verification, target, entries), indent=1)
    np.savez(os.fspath(file), description=np.frombuffer(text.encode(), np.uint8), **arrays)


def _description(verification: Verification, target: Target, images: Sequence[object]) -> dict[str, object]:
    return {
        "format": FORMAT,
        "processor": verification.processor,
        "versions": {"fastnorm": __version__, **_installed()},
        "target": fields(target),
        "geometry": geometry_in_words(target),
        "images": images,
    }


def _installed() -> dict[str, str]:
    versions = {package: _version(package) for package in _PACKAGES}
    return {package: version for package, version in versions.items() if version is not None}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
