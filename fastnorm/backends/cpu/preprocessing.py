"""Preprocessing on the CPU: Pillow or torch resizes, one job per image and resized size, and the CPU path normalises.

Between the two lies a batch of uint8 pixels, a quarter of what the float32 outputs take. Targets that show the same
pixels of every image share one, and so one resize.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch

from fastnorm.backends.base import TargetJob
from fastnorm.backends.cpu import pillow, torch_resize
from fastnorm.backends.cpu.normalization import normalize
from fastnorm.backends.cpu.pillow import PilOrTensor, take_steps
from fastnorm.backends.staging import fill_borders
from fastnorm.images.batch import Images
from fastnorm.memory import host_cache
from fastnorm.runtime import threads
from fastnorm.spec.filters import Filter
from fastnorm.spec.geometry import Geometry, Reduction, Stage

# The resized pixels, of all jobs together, that wait for normalisation. A larger batch is taken in groups of
# images, though never of fewer than there are threads.
MAX_WAITING = 64 << 20

_RESIZE_INTO = {"pillow": pillow.resize_into, "torch": torch_resize.resize_into}


def preprocess(images: Sequence[PilOrTensor], jobs: Sequence[TargetJob]) -> None:
    """Write every job's output.

    Args:
        images: Loaded Pillow images of mode "RGB", or uint8 CPU tensors (H, W, 3) with any strides.
        jobs: What becomes of them, with one geometry per image; outputs on the CPU, with any strides.
    """
    if not jobs:
        return
    shares: dict[tuple[Filter, tuple[Geometry, ...]], list[TargetJob]] = {}
    for job in jobs:
        shares.setdefault((job.resample, job.geometries), []).append(job)
    waiting = sum(_bytes_per_image(share[0]) for share in shares.values())
    group = max(torch.get_num_threads(), MAX_WAITING // max(1, waiting))
    for start in range(0, len(images), group):
        _preprocess_group(images, range(start, min(start + group, len(images))), list(shares.values()))
    for job in jobs:
        fill_borders(job)


def steps(images: Images, before: Sequence[Sequence[Stage | Reduction]]) -> list[PilOrTensor]:
    """What the steps before the last make of each image."""
    pairs = zip(images.views(), before, strict=True)
    return threads.run([functools.partial(take_steps, image, its) for image, its in pairs])


def _preprocess_group(images: Sequence[PilOrTensor], indices: range, shares: Sequence[Sequence[TargetJob]]) -> None:
    batches = [host_cache.empty((len(indices), *_output_size(share[0]), 3), torch.uint8) for share in shares]
    # The largest images first, so that no thread begins one when the others are done.
    by_size = sorted(indices, key=lambda index: math.prod(shares[0][0].geometries[index].source), reverse=True)
    threads.run(
        [
            functools.partial(
                _RESIZE_INTO[share[0].resample.arithmetic],
                codes.numpy()[index - indices.start],
                images[index],
                share[0].geometries[index],
                share[0].resample,
            )
            for index in by_size
            for share, codes in zip(shares, batches, strict=True)
        ]
    )
    for share, codes in zip(shares, batches, strict=True):
        outputs = [job.output[indices.start : indices.stop] for job in share]
        normalize(codes.permute(0, 3, 1, 2), [job.normalization for job in share], outputs)
        for job, output in zip(share, outputs, strict=True):
            if job.is_bgr:  # no view of a tensor has its channels in this order
                output.copy_(output.flip(1))


def _bytes_per_image(job: TargetJob) -> int:
    height, width = _output_size(job)
    return height * width * 3


def _output_size(job: TargetJob) -> tuple[int, int]:
    height, width = job.output.shape[-2:]
    return height, width
