"""A torch dataset of image files, in which a bad file does not stop a batch: errors are values, not exceptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from fastnorm.data.decode import ImageError, read_rgb
from fastnorm.data.text import printable
from fastnorm.images.batch import read_images
from fastnorm.images.packed import PackedImages
from fastnorm.spec.geometry import PassOrder
from fastnorm.spec.plan import Flips, plan
from fastnorm.spec.target import Target


class Sample(NamedTuple):
    """One file: its decoded uint8 pixels (H, W, 3) in the image's own size, or None and an error line."""

    path: str
    pixels: torch.Tensor | None
    notes: tuple[str, ...]
    error: str


class Batch(NamedTuple):
    """The usable images of a batch in one buffer (None where there are none), and notes and errors about all."""

    paths: list[str]
    images: PackedImages | None
    notes: list[tuple[str, str]]
    errors: list[str]

    @property
    def attempted(self) -> int:
        return len(self.paths) + len(self.errors)


class ImageFiles(Dataset[Sample]):
    """Image files as decoded images of any sizes; see `fastnorm.data.decode` for what happens to each kind.

    Nothing is resized here: workers hand over uint8 pixels, and the main process turns them into the models' tensors.

    Args:
        files: What to read.
        alpha: What happens to transparent pixels: "error", "drop" or "white".
        exif: What happens to an EXIF orientation: "ignore", "apply" or "error".
        targets: By name, what the images are for. An image that a target refuses is an error of its file, because a
            call refuses its whole batch.
    """

    def __init__(self, files: Sequence[Path], alpha: str, exif: str, targets: Mapping[str, Target]) -> None:
        self.files = list(files)
        self.alpha = alpha
        self.exif = exif
        self.targets = dict(targets)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        path = self.files[index]
        name = printable(str(path))
        try:
            decoded = read_rgb(path, self.alpha, self.exif)
        except ImageError as error:
            return Sample(name, None, (), str(error))
        pixels = torch.from_numpy(np.array(decoded.image))
        try:
            check_targets(pixels, self.targets)
        except ValueError as error:
            return Sample(name, None, (), f"{name}: {error}")
        return Sample(name, pixels, decoded.notes, "")


def collate(samples: Sequence[Sample]) -> Batch:
    """Pack the images that could be read into one buffer; the others become error lines."""
    images = [sample.pixels for sample in samples if sample.pixels is not None]
    return Batch(
        paths=[sample.path for sample in samples if sample.pixels is not None],
        images=PackedImages.pack(images, layout="HWC") if images else None,
        notes=[(sample.path, note) for sample in samples for note in sample.notes],
        errors=[sample.error for sample in samples if sample.pixels is None],
    )


def check_targets(pixels: torch.Tensor, targets: Mapping[str, Target]) -> None:
    """Plan `fused_preprocess` of one image without doing it: raises the ValueError that the call would."""
    image = read_images(pixels, "HWC", "error", "ignore")
    images = [image] * len(targets)
    plan(images, list(targets.values()), list(targets), PassOrder.of_pillow(), Flips([False], [False]))
