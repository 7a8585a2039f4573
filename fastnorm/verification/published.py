"""The published pipelines for an image and two models: what values are compared with, and timed against."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import PIL
import torch
from PIL import Image

from fastnorm import reference
from fastnorm.runtime import threads
from fastnorm.spec.target import Target
from fastnorm.verification.pillow_chain import resize_and_crop, short_side_and_crop

Tensors = tuple[torch.Tensor, torch.Tensor]  # the VAE's and CLIP's


class Chain(NamedTuple):
    """One target's pipeline: a PIL image of mode "RGB" to a float32 tensor (3, height, width)."""

    name: str  # whose code runs
    steps: str
    missing: str  # why that is not the published code itself; empty where it is
    run: Callable[[Image.Image], torch.Tensor]


class Published:
    """The pipeline for both targets as a dataset runs it, one image at a time, for targets of any size.

    The VAE's is torchvision's, CLIP's that of transformers' Pillow backend, each where it can be
    imported (which takes seconds). Elsewhere Pillow and eager torch take the same steps; `name` says which it is.
    """

    def __init__(self, vae: Target, clip: Target) -> None:
        self.targets = vae, clip
        self.chains = vae_chain(vae), clip_chain(clip)
        self.name = " and ".join(dict.fromkeys(chain.name for chain in self.chains))
        self.missing = " and ".join(chain.missing for chain in self.chains if chain.missing)
        self.steps = " and ".join(dict.fromkeys(chain.steps for chain in self.chains))

    def serial(self, images: Sequence[Image.Image]) -> Tensors:
        """Both batches, one image after the other."""
        return self._batches([self._of(image) for image in images])

    def threaded(self, images: Sequence[Image.Image]) -> Tensors:
        """The same with one image per thread, on as many threads as torch uses."""
        return self._batches(threads.run([functools.partial(self._of, image) for image in images]))

    def _of(self, image: Image.Image) -> Tensors:
        vae, clip = self.chains
        return vae.run(image), clip.run(image)

    def _batches(self, samples: Sequence[Tensors]) -> Tensors:
        """The published float32, rounded once to each target's dtype."""
        vae, clip = (
            torch.stack(tensors).to(target.dtype or torch.float32)
            for tensors, target in zip(zip(*samples, strict=True), self.targets, strict=True)
        )
        return vae, clip


def vae_chain(target: Target) -> Chain:
    """torchvision's, as diffusers' training scripts compose it."""
    try:
        import torchvision
        from torchvision import transforms
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision built for another torch
        return _by_pillow(target, _why("torchvision", error))
    short, crop = short_side_and_crop(target)
    pipeline = transforms.Compose(
        [
            transforms.Resize(short, transforms.InterpolationMode[target.resample.upper()]),
            transforms.CenterCrop(crop),
            transforms.ToTensor(),
            transforms.Normalize(target.normalization.mean, target.normalization.std),
        ]
    )
    name = f"torchvision {torchvision.__version__.partition('+')[0]}"
    return Chain(name, "torchvision's Resize, CenterCrop, ToTensor, Normalize", "", pipeline)


def clip_chain(target: Target) -> Chain:
    """transformers', of which only the Pillow backend has Pillow's pixels."""
    try:
        import transformers
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    except (ImportError, RuntimeError) as error:
        return _by_pillow(target, _why("transformers", error))
    short, crop = short_side_and_crop(target)
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": short},
        crop_size=crop._asdict(),
        resample=Image.Resampling[target.resample.upper()],
        image_mean=list(target.normalization.mean),
        image_std=list(target.normalization.std),
    )

    def run(image: Image.Image) -> torch.Tensor:
        pixels: torch.Tensor = processor(images=image, return_tensors="pt").pixel_values[0]
        return pixels

    return Chain(f"transformers {transformers.__version__}", "transformers' CLIPImageProcessorPil", "", run)


def _by_pillow(target: Target, missing: str) -> Chain:
    def run(image: Image.Image) -> torch.Tensor:
        pixels = torch.from_numpy(np.array(resize_and_crop(image, target)))
        return reference.normalize(pixels, [target.normalization], layout="HWC")[0]

    name = f"Pillow {PIL.__version__}'s resize and the published formula in eager torch"
    return Chain(name, "Pillow's resize and crop, / 255, - mean, / std in eager torch", missing, run)


def _why(library: str, error: Exception) -> str:
    absent = isinstance(error, ModuleNotFoundError) and error.name == library
    return f"{library} is not installed" if absent else f"{library} cannot be imported"
