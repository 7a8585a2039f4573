"""The definition of correct, in pure torch: what every other path in this library must equal bit for bit.

For every uint8 code x and channel c, in IEEE float32 with correctly rounded operations and in this order:

    q = x / 255;  d = q - mean[c];  y = d / std[c];  then one rounding to nearest even to the output's dtype

This is torchvision's `ToTensor` followed by `Normalize` on a CPU, and transformers' Pillow-backend image processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from fastnorm._arguments import check_normalizations, resolve_dtypes
from fastnorm._inputs import as_planes
from fastnorm._normalization import Normalization
from fastnorm._options import Layout
from fastnorm._target import Target, check_targets

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import Unpack

    from fastnorm._preprocess import Options, Pictures

FULL_SCALE = 255.0


def normalize(
    batch: torch.Tensor | np.ndarray,
    normalizations: Sequence[Normalization],
    *,
    dtype: torch.dtype | Sequence[torch.dtype] = torch.float32,
    layout: Layout = "auto",
) -> tuple[torch.Tensor, ...]:
    """Normalise `batch` once per target, one eager step at a time, on the device where it is.

    Example:
        >>> batch = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)  # NHWC
        >>> vae, clip = normalize(batch, [fastnorm.VAE, fastnorm.CLIP])
        >>> vae.shape
        torch.Size([2, 3, 4, 4])

    Arguments, results and errors are those of `fastnorm.fused_normalize`, without `out` and `memory_format`.
    """
    targets = check_normalizations(normalizations)
    dtypes = resolve_dtypes(dtype, len(targets))
    return eager(as_planes(batch, layout), targets, dtypes)


def eager(
    planes: torch.Tensor, targets: Sequence[Normalization], dtypes: Sequence[torch.dtype]
) -> tuple[torch.Tensor, ...]:
    """`normalize` for checked arguments; `planes` is a uint8 view (..., 3, H, W).

    The comments count the bytes that each line reads and writes per element (one channel of one pixel). For two
    float32 targets they add up to 45; one fused pass reads 1 and writes 8.
    """
    # On CUDA a division by a Python number becomes a multiplication by its reciprocal, which rounds differently:
    # every divisor is a tensor on the same device.
    full_scale = torch.tensor(FULL_SCALE, dtype=torch.float32, device=planes.device)
    x = planes.to(torch.float32, memory_format=torch.contiguous_format)  # reads 1, writes 4
    q = x / full_scale  # reads 4, writes 4
    outputs = []
    for target, dtype in zip(targets, dtypes, strict=True):
        mean = channel_constants(target.mean, planes.device)
        std = channel_constants(target.std, planes.device)
        d = q - mean  # reads 4, writes 4
        y = d / std  # reads 4, writes 4
        outputs.append(y.to(dtype))  # nothing for float32; else reads 4, writes 2
    return tuple(outputs)


def channel_constants(values: tuple[float, float, float], device: torch.device) -> torch.Tensor:
    """Three per-channel constants, rounded to float32, shaped to broadcast over (..., 3, H, W)."""
    return torch.tensor(values, dtype=torch.float32, device=device).view(3, 1, 1)


def preprocess(images: Pictures, targets: Sequence[Target], **options: Unpack[Options]) -> tuple[torch.Tensor, ...]:
    """Resize, crop and normalise in pure torch, one image and one eager step at a time, on the images' device.

    Example:
        >>> (clip,) = preprocess([torch.zeros(300, 400, 3, dtype=torch.uint8)], [fastnorm.CLIP_224])
        >>> clip.shape
        torch.Size([1, 3, 224, 224])

    Arguments, results and errors are those of `fastnorm.fused_preprocess`. Nothing of the installed Pillow takes part:
    `fastnorm._resize_reference` computes its pixels in integers.
    """
    from fastnorm import _backends, _preprocess  # both build on this module

    outputs, _ = _preprocess.run(images, check_targets(targets), _backends.preprocess_eagerly, **options)
    return outputs
