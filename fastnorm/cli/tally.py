"""What the demo does with each batch, and what it keeps of them all."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from PIL import Image

import fastnorm
from fastnorm.cli import contact_sheet
from fastnorm.data.dataset import Batch
from fastnorm.spec.geometry import Size
from fastnorm.verify.oracle import bits
from fastnorm.verify.published import Published

MOST_ROWS = 8


class Tally:
    """What is kept of the batches that went through: counts and ranges of all, a few rows, and one batch to time."""

    def __init__(self, published: Published, device: torch.device) -> None:
        self.published = published
        self.device = device
        self.images = self.batches = self.values = self.differing = 0
        self.ranges = [(math.inf, -math.inf) for _ in published.targets]
        self.smallest: Size | None = None
        self.largest: Size | None = None
        self.rows: list[contact_sheet.Row] = []
        self.batch: fastnorm.PackedImages | None = None  # the one of the most pictures, on the CPU
        self.notes: list[tuple[str, str]] = []
        self.errors: list[str] = []

    def add(self, batch: Batch) -> None:
        self.notes += batch.notes
        self.errors += batch.errors
        if batch.pictures is None:
            return
        vae, clip = self.published.targets
        outputs = fastnorm.fused_dual_preprocess(
            batch.pictures.to(self.device, non_blocking=True), vae=vae, clip=clip, layout="HWC"
        )

        tensors = [output.cpu() for output in outputs]
        wanted = self.published.threaded(as_pil(batch.pictures))
        for index, (tensor, expected) in enumerate(zip(tensors, wanted, strict=True)):
            self.values += expected.numel()
            self.differing += int((bits(tensor) != bits(expected)).sum())
            low, high = self.ranges[index]
            self.ranges[index] = min(low, float(tensor.min())), max(high, float(tensor.max()))
        for index, path in enumerate(batch.paths[: MOST_ROWS - len(self.rows)]):
            row = contact_sheet.Row.of(Path(path).name, batch.pictures[index], [tensor[index] for tensor in tensors])
            self.rows.append(row)
        self.images += len(batch.paths)
        self.batches += 1
        sizes = [size for size in (self.smallest, self.largest, *batch.pictures.sizes) if size is not None]
        self.smallest, self.largest = min(sizes, key=math.prod), max(sizes, key=math.prod)
        if self.batch is None or len(batch.pictures) > len(self.batch):
            self.batch = batch.pictures


def as_pil(pictures: fastnorm.PackedImages) -> list[Image.Image]:
    """Copies for pipelines that begin with PIL images."""
    return [Image.fromarray(pictures[index].numpy()) for index in range(len(pictures))]
