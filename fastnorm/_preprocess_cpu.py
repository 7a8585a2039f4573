"""Preprocessing on the CPU: Pillow resizes, one job per image and resized size, and the CPU path normalises.

Between the two lies a batch of uint8 pixels, a quarter of what the float32 outputs take. Branches that show the same
pixels of every image share one, and so one resize.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch

from fastnorm import _cpu, _host_memory, _threads
from fastnorm._branch import Branch
from fastnorm._geometry import Geometry
from fastnorm._resampling import Filter
from fastnorm._resize_pillow import Picture, resize_into

# The resized pixels, of all branches together, that wait for normalisation. A larger batch is taken in groups of
# images, though never of fewer than there are threads.
MOST_WAITING = 64 << 20


def preprocess(images: Sequence[Picture], branches: Sequence[Branch]) -> None:
    """Write every branch's output.

    Args:
        images: Loaded Pillow images of mode "RGB", or uint8 CPU tensors (H, W, 3) with any strides.
        branches: What becomes of them, with one geometry per image; outputs on the CPU, with any strides.
    """
    if not branches:
        return
    shares: dict[tuple[Filter, tuple[Geometry, ...]], list[Branch]] = {}
    for branch in branches:
        shares.setdefault((branch.kernel, branch.geometries), []).append(branch)
    waiting = sum(_bytes_per_image(share[0]) for share in shares.values())
    group = max(torch.get_num_threads(), MOST_WAITING // max(1, waiting))
    for start in range(0, len(images), group):
        _preprocess_group(images, range(start, min(start + group, len(images))), list(shares.values()))


def _preprocess_group(images: Sequence[Picture], indices: range, shares: Sequence[Sequence[Branch]]) -> None:
    batches = [_host_memory.empty((len(indices), *_output_size(share[0]), 3), torch.uint8) for share in shares]
    # The largest images first, so that no thread begins one when the others are done.
    by_size = sorted(indices, key=lambda index: math.prod(shares[0][0].geometries[index].source), reverse=True)
    _threads.run(
        [
            functools.partial(
                resize_into,
                codes.numpy()[index - indices.start],
                images[index],
                share[0].geometries[index],
                share[0].kernel,
            )
            for index in by_size
            for share, codes in zip(shares, batches, strict=True)
        ]
    )
    for share, codes in zip(shares, batches, strict=True):
        outputs = [branch.output[indices.start : indices.stop] for branch in share]
        _cpu.normalize(codes.permute(0, 3, 1, 2), [branch.normalization for branch in share], outputs)


def _bytes_per_image(branch: Branch) -> int:
    height, width = _output_size(branch)
    return height * width * 3


def _output_size(branch: Branch) -> tuple[int, int]:
    height, width = branch.output.shape[-2:]
    return height, width
