"""The images in a sample's dictionary, whatever a loader has put there, and the dictionary without some of them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fastnorm.images.batch import image_name
from fastnorm.images.layout import is_pil_image
from fastnorm.images.packed import PackedImages
from fastnorm.spec.errors import PictureError


@dataclass(frozen=True)
class Found:
    """The images under a key, as they came."""

    images: Any  # with len() and indices
    is_batch: bool

    @property
    def count(self) -> int:
        return len(self.images)

    def chosen(self, indices: Sequence[int]) -> Any:
        """Those images as `fused_preprocess` takes them; encoded files are opened, but not decoded.

        Raises:
            PictureError: A file that cannot be opened; `index` counts in `indices`.
        """
        if not self.is_batch:
            return opened(self.images[0])
        if not isinstance(self.images, list):
            return select(self.images, indices, self.count)
        return [opened(self.images[index], at) for at, index in enumerate(indices)]


def find_images(value: Any) -> Found:
    """What a sample holds under its key: a batch, or one image."""
    if isinstance(value, PackedImages):
        return Found(value, is_batch=True)
    if isinstance(value, (list, tuple)):
        return Found(list(value), is_batch=True)
    if isinstance(value, np.ndarray) and value.dtype == object:
        return Found(list(value.reshape(-1)), is_batch=True)
    if isinstance(value, (torch.Tensor, np.ndarray)) and value.ndim > 3:
        return Found(value, is_batch=True)
    return Found([value], is_batch=False)


def opened(image: Any, index: int | None = None) -> Any:
    """An image that `fused_preprocess` takes.

    Raises:
        PictureError: A file that cannot be opened, or nothing.
    """
    name = image_name(index)
    if image is None:
        raise PictureError(f"{name}: got None, expected an image", index)
    data = _encoded(image)
    if data is None:
        is_known = isinstance(image, (torch.Tensor, np.ndarray)) or is_pil_image(image)
        return image if is_known or not hasattr(image, "__array_interface__") else np.asarray(image)
    from PIL import Image, UnidentifiedImageError  # not needed by tensors

    try:
        return Image.open(data)
    except Exception as error:  # whatever a parser raises
        # Pillow's text for what it does not know shows the memory address of a file that is bytes.
        is_unknown = isinstance(error, UnidentifiedImageError)
        reason = "Pillow does not recognise it" if is_unknown else f"{type(error).__name__}: {error}"
        raise PictureError(
            f"{name}: got a file that cannot be opened ({reason}), expected an image such as JPEG, PNG or WebP", index
        ) from None


def _encoded(image: Any) -> io.BytesIO | str | None:
    """The bytes of an encoded file, or its path; None where it is no such thing."""
    if isinstance(image, Mapping) and "bytes" in image:  # an undecoded image of `datasets`, which may have but a path
        if image["bytes"] is None and image.get("path"):
            return str(image["path"])
        image = image["bytes"]
    if isinstance(image, (bytes, bytearray, memoryview)):
        return io.BytesIO(image)
    if isinstance(image, torch.Tensor) and image.dtype is torch.uint8 and image.ndim == 1:  # torchvision.io.read_file
        return io.BytesIO(image.numpy().tobytes())
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 1:
        return io.BytesIO(image.tobytes())
    return None


def without(sample: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in sample.items() if name != key}


def select(value: Any, kept: Sequence[int], count: int) -> Any:
    """The entries of the kept images, of what holds one entry per image; anything else as it is."""
    if len(kept) == count:
        return value
    if isinstance(value, PackedImages):
        return value[kept] if len(value) == count else value
    if isinstance(value, Mapping):
        return {name: select(one, kept, count) for name, one in value.items()}
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return value[list(kept)] if value.ndim and len(value) == count else value
    if isinstance(value, (list, tuple)) and len(value) == count:
        return type(value)([value[index] for index in kept]) if not hasattr(value, "_fields") else value
    return value
