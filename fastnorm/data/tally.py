"""Batches of image files, preprocessed and compared with the published pipelines: counts over all of them."""

from __future__ import annotations

import math

import torch
from PIL import Image

from fastnorm.data.dataset import Batch
from fastnorm.images.packed import PackedImages
from fastnorm.ops import preprocess
from fastnorm.spec.geometry import Size
from fastnorm.verification.oracle import bits
from fastnorm.verification.published import Published


class Tally:
    """Counts and ranges over all batches, and the batch of the most images, to be timed."""

    def __init__(self, published: Published, device: torch.device) -> None:
        self.published = published
        self.device = device
        self.images = self.batches = self.values = self.differing = 0
        self.ranges = [(math.inf, -math.inf) for _ in published.targets]
        self.smallest: Size | None = None
        self.largest: Size | None = None
        self.batch: PackedImages | None = None  # on the CPU
        self.notes: list[tuple[str, str]] = []
        self.errors: list[str] = []

    def add(self, batch: Batch) -> list[torch.Tensor]:
        """Preprocess a batch and compare it; its tensors on the CPU, none where no image could be used."""
        self.notes += batch.notes
        self.errors += batch.errors
        if batch.images is None:
            return []
        vae, clip = self.published.targets
        outputs = preprocess.fused_dual_preprocess(
            batch.images.to(self.device, non_blocking=True), vae=vae, clip=clip, layout="HWC"
        )
        tensors = [output.cpu() for output in outputs]
        published = self.published.threaded(as_pil(batch.images))
        for index, (tensor, expected) in enumerate(zip(tensors, published, strict=True)):
            self.values += expected.numel()
            self.differing += int((bits(tensor) != bits(expected)).sum())
            low, high = self.ranges[index]
            self.ranges[index] = min(low, float(tensor.min())), max(high, float(tensor.max()))
        self.images += len(batch.paths)
        self.batches += 1
        sizes = [size for size in (self.smallest, self.largest, *batch.images.sizes) if size is not None]
        self.smallest, self.largest = min(sizes, key=math.prod), max(sizes, key=math.prod)
        if self.batch is None or len(batch.images) > len(self.batch):
            self.batch = batch.images
        return tensors


def as_pil(images: PackedImages) -> list[Image.Image]:
    """Copies for pipelines that begin with PIL images."""
    return [Image.fromarray(images[index].numpy()) for index in range(len(images))]
