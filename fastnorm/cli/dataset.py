"""A torch dataset of image files that loses no batch to a bad file: an error is a value, not an exception."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from fastnorm.cli._text import printable
from fastnorm.cli.images import ImageError, crop_square, read_rgb


class Sample(NamedTuple):
    """One file: its uint8 pixels (size, size, 3), or None and the line that says why."""

    path: str
    pixels: torch.Tensor | None
    notes: tuple[str, ...]
    error: str


class Batch(NamedTuple):
    """The usable images of a batch as uint8 NHWC (None where there are none), and what to say about all of them."""

    paths: list[str]
    pixels: torch.Tensor | None
    notes: list[tuple[str, str]]
    errors: list[str]

    @property
    def attempted(self) -> int:
        return len(self.paths) + len(self.errors)


class ImageFiles(Dataset[Sample]):
    """Image files as square uint8 crops of one size; see `fastnorm.cli.images` for what happens to each kind."""

    def __init__(self, files: Sequence[Path], size: int, alpha: str) -> None:
        self.files = list(files)
        self.size = size
        self.alpha = alpha

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        path = self.files[index]
        try:
            picture = read_rgb(path, self.alpha)
            image = crop_square(picture.image, self.size, path)
        except ImageError as error:
            return Sample(printable(str(path)), None, (), str(error))
        return Sample(printable(str(path)), torch.from_numpy(np.array(image)), picture.notes, "")


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack the images that could be read; the others leave their error lines."""
    pixels = [sample.pixels for sample in samples if sample.pixels is not None]
    return Batch(
        paths=[sample.path for sample in samples if sample.pixels is not None],
        pixels=torch.stack(pixels) if pixels else None,
        notes=[(sample.path, note) for sample in samples for note in sample.notes],
        errors=[sample.error for sample in samples if sample.pixels is None],
    )
