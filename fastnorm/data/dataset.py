"""A torch dataset of image files that loses no batch to a bad file: an error is a value, not an exception."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

import fastnorm
from fastnorm.cli._text import printable
from fastnorm.data.decode import ImageError, read_rgb
from fastnorm.images.batch import read_images
from fastnorm.spec.geometry import PassOrder
from fastnorm.spec.plan import plan


class Sample(NamedTuple):
    """One file: its decoded uint8 pixels (H, W, 3) in the picture's own size, or None and the line that says why."""

    path: str
    pixels: torch.Tensor | None
    notes: tuple[str, ...]
    error: str


class Batch(NamedTuple):
    """The usable pictures of a batch in one buffer (None where there are none), and what to say about all of them."""

    paths: list[str]
    pictures: fastnorm.PackedImages | None
    notes: list[tuple[str, str]]
    errors: list[str]

    @property
    def attempted(self) -> int:
        return len(self.paths) + len(self.errors)


class ImageFiles(Dataset[Sample]):
    """Image files as decoded pictures of any sizes; see `fastnorm.data.decode` for what happens to each kind.

    Nothing is resized here: workers hand over uint8 pixels, and the main process makes the models' tensors of them.

    Args:
        files: What to read.
        alpha: What becomes of transparent pixels: "error", "drop" or "white".
        exif: What becomes of an EXIF orientation: "ignore", "apply" or "error".
        targets: By name, what the pictures are for. One that a target refuses is an error of its file, because the
            call that prepares a batch refuses it whole.
    """

    def __init__(self, files: Sequence[Path], alpha: str, exif: str, targets: Mapping[str, fastnorm.Target]) -> None:
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
            picture = read_rgb(path, self.alpha, self.exif)
        except ImageError as error:
            return Sample(name, None, (), str(error))
        pixels = torch.from_numpy(np.array(picture.image))
        try:
            check_targets(pixels, self.targets)
        except ValueError as error:
            return Sample(name, None, (), f"{name}: {error}")
        return Sample(name, pixels, picture.notes, "")


def collate(samples: Sequence[Sample]) -> Batch:
    """Pack the pictures that could be read into one buffer; the others leave their error lines."""
    pictures = [sample.pixels for sample in samples if sample.pixels is not None]
    return Batch(
        paths=[sample.path for sample in samples if sample.pixels is not None],
        pictures=fastnorm.PackedImages.pack(pictures, layout="HWC") if pictures else None,
        notes=[(sample.path, note) for sample in samples for note in sample.notes],
        errors=[sample.error for sample in samples if sample.pixels is None],
    )


def check_targets(pixels: torch.Tensor, targets: Mapping[str, fastnorm.Target]) -> None:
    """Plan `fused_preprocess` of one picture without doing it: raises the ValueError that the call would."""
    picture = read_images(pixels, "HWC", "error", "ignore")
    plan(picture, list(targets.values()), list(targets), PassOrder.of_pillow(), [False], False)
