"""The definition of correct, in pure torch: what every other path in this library must equal bit for bit.

For every uint8 pixel value x and channel c, in IEEE float32 with correctly rounded operations and in this order:

    q = x / 255;  d = q - mean[c];  y = d / std[c];  then one rounding to nearest even to the output's dtype

This is torchvision's `ToTensor` followed by `Normalize` on a CPU, and transformers' Pillow-backend image processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from fastnorm.backends import eager
from fastnorm.images.layout import as_planes
from fastnorm.images.values import check_values
from fastnorm.ops.preprocess import run
from fastnorm.spec.arguments import (
    OUTPUT_DTYPES,
    PIXEL_DTYPES,
    check_normalization,
    check_normalizations,
    resolve_dtype,
    resolve_dtypes,
)
from fastnorm.spec.normalization import Normalization
from fastnorm.spec.options import Layout
from fastnorm.spec.target import Target, check_targets

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import Unpack

    from fastnorm.ops.preprocess import AnyImages, Options


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
    return eager.normalized(as_planes(batch, layout), targets, dtypes)


def denormalize(
    tensor: torch.Tensor, normalization: Normalization, *, dtype: torch.dtype = torch.uint8
) -> torch.Tensor:
    """Pixels from normalised values, one eager step at a time, on the device where they are.

    Example:
        >>> denormalize(torch.zeros(3, 1, 1), fastnorm.VAE, dtype=torch.float32).flatten()
        tensor([0.5000, 0.5000, 0.5000])

    Arguments, results and errors are those of `fastnorm.denormalize`, without `out`.
    """
    values = check_values(tensor)
    check_normalization(normalization, "normalization")
    return eager.denormalized(values, normalization, resolve_dtype(dtype, PIXEL_DTYPES))


def renormalize(
    tensor: torch.Tensor, source: Normalization, target: Normalization, *, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Values of one normalisation from those of another, one eager step at a time, on the device where they are.

    Example:
        >>> renormalize(torch.ones(3, 1, 1), fastnorm.VAE, fastnorm.CLIP).flatten()
        tensor([1.9303, 2.0749, 2.1459])

    Arguments, results and errors are those of `fastnorm.renormalize`, without `out`.
    """
    values = check_values(tensor)
    check_normalization(source, "source")
    check_normalization(target, "target")
    return eager.renormalized(
        values, source, target, resolve_dtype(values.dtype if dtype is None else dtype, OUTPUT_DTYPES)
    )


def preprocess(images: AnyImages, targets: Sequence[Target], **options: Unpack[Options]) -> tuple[torch.Tensor, ...]:
    """Resize, crop and normalise in pure torch, one image and one eager step at a time, on the images' device.

    Example:
        >>> (clip,) = preprocess([torch.zeros(300, 400, 3, dtype=torch.uint8)], [fastnorm.CLIP_224])
        >>> clip.shape
        torch.Size([1, 3, 224, 224])

    Arguments, results and errors are those of `fastnorm.fused_preprocess`. Nothing of the installed Pillow takes part:
    `fastnorm.backends.eager` computes its pixels in integers.
    """
    outputs, _ = run(images, check_targets(targets), eager.preprocess, **options)
    return outputs
