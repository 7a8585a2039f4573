"""The real thing, called with one image at a time: an image processor or any callable, and what came out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from fastnorm.spec.normalization import CHANNELS

KEY = "pixel_values"


class Original:
    """A processor as a function of one PIL image that returns a tensor (3, height, width) of any dtype.

    Args:
        processor: An image processor of transformers, or an object that holds one; diffusers' `VaeImageProcessor`; or
            any callable.

    Raises:
        TypeError: Something that cannot be called with an image.
    """

    def __init__(self, processor: object) -> None:
        held = getattr(processor, "image_processor", None)
        self.processor: Any = processor if held is None else held
        self.name = _name_of(self.processor)
        self._library = _library_of(self.processor)
        runs = getattr(self.processor, "preprocess", None) if self._library == "diffusers" else self.processor
        if isinstance(processor, type) or not callable(runs):
            raise TypeError(
                f"processor: got {_name_of(processor)}, expected an image processor, or a callable that takes a PIL "
                f"image and returns a tensor (3, height, width)"
            )

    def __call__(self, image: Image.Image, name: str) -> torch.Tensor:
        """What comes out for `image`; messages call it `name`."""
        if self._library == "diffusers":
            output = self.processor.preprocess(image)
        elif self._library == "transformers":
            output = self.processor(images=image, return_tensors="pt")
        else:
            output = self.processor(image)
        return self._planes(output, f"{name} (mode {image.mode})")

    def _planes(self, output: object, name: str) -> torch.Tensor:
        values = output
        if isinstance(values, Mapping) or hasattr(values, KEY):  # transformers' BatchFeature is a UserDict
            values = values.get(KEY) if isinstance(values, Mapping) else getattr(values, KEY)
            if values is None:
                raise TypeError(
                    f"{name}: {self.name} gave a {type(output).__name__} without {KEY!r}, expected a tensor, an array, "
                    f"or a dictionary with {KEY!r}"
                )
        if isinstance(values, Sequence) and not isinstance(values, str) and len(values) == 1:
            values = values[0]
        if isinstance(values, np.ndarray):
            values = torch.from_numpy(values)
        if not isinstance(values, torch.Tensor):
            what = f"a list of {len(values)}" if isinstance(values, list) else type(values).__name__
            raise TypeError(
                f"{name}: {self.name} gave {what}, expected a tensor or an array (3, height, width), or a dictionary "
                f"with {KEY!r}; wrap what makes one of it: lambda image: to_tensor(transform(image))"
            )
        shape = tuple(values.shape)
        if len(shape) == 4 and shape[0] == 1:
            values = values[0]
        if values.ndim != 3 or values.shape[0] != CHANNELS:
            raise ValueError(
                f"{name}: {self.name} gave shape {shape}, expected (3, height, width) or (1, 3, height, width); images "
                f"of other modes than RGB: lambda image: transform(image.convert('RGB')); channels last: "
                f"lambda image: transform(image).transpose(2, 0, 1)"
            )
        return values.detach().cpu()


def _name_of(processor: object) -> str:
    own = getattr(processor, "__name__", None)
    return own if isinstance(own, str) else type(processor).__name__


def _library_of(processor: object) -> str:
    """ "transformers" or "diffusers", whose processors are called in their own way; empty for all others."""
    libraries = {ancestor.__module__.partition(".")[0] for ancestor in type(processor).__mro__}
    return next((library for library in ("transformers", "diffusers") if library in libraries), "")
