"""The public functions: checks first, then the path that serves the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from fastnorm.backends import select
from fastnorm.backends.cuda import backend as cuda
from fastnorm.backends.cuda import launch_cache
from fastnorm.images.layout import as_planes
from fastnorm.memory.outputs import check_memory, named, prepare, resolve_outputs
from fastnorm.ops import torch_op
from fastnorm.runtime.torch_internals import is_observed
from fastnorm.spec.arguments import check_normalization, check_normalizations
from fastnorm.spec.normalization import CLIP, VAE, Normalization
from fastnorm.spec.options import Layout
from fastnorm.spec.target import DualOutput

if TYPE_CHECKING:
    import numpy as np


def fused_dual_normalize(
    batch: torch.Tensor | np.ndarray,
    *,
    vae: Normalization = VAE,
    clip: Normalization = CLIP,
    dtype: torch.dtype | Sequence[torch.dtype] | None = None,
    layout: Layout = "auto",
    memory_format: torch.memory_format | Sequence[torch.memory_format] | None = None,
    out: Sequence[torch.Tensor] | None = None,
) -> DualOutput:
    """Turn one uint8 batch into the VAE's tensor and the CLIP encoder's tensor, in one pass.

    Example:
        >>> batch = torch.zeros(8, 224, 224, 3, dtype=torch.uint8)  # NHWC, as images decode
        >>> vae, clip = fused_dual_normalize(batch, dtype=(torch.float32, torch.bfloat16))
        >>> vae.shape, clip.dtype
        (torch.Size([8, 3, 224, 224]), torch.bfloat16)

    Args:
        batch: As for `fused_normalize`.
        vae: The first target's normalisation; pixels in [-1, 1] by default.
        clip: The second target's; OpenAI CLIP's mean and std by default.
        dtype, layout, memory_format, out: As for `fused_normalize`, with two targets.

    Returns:
        A named tuple `(vae, clip)`.

    Raises:
        TypeError, ValueError: As for `fused_normalize`.
    """
    if not (isinstance(vae, Normalization) and isinstance(clip, Normalization)):
        check_normalization(vae, "vae")
        check_normalization(clip, "clip")
    return DualOutput(*_normalize(batch, (vae, clip), dtype, layout, memory_format, out))


def fused_normalize(
    batch: torch.Tensor | np.ndarray,
    normalizations: Sequence[Normalization],
    *,
    dtype: torch.dtype | Sequence[torch.dtype] | None = None,
    layout: Layout = "auto",
    memory_format: torch.memory_format | Sequence[torch.memory_format] | None = None,
    out: Sequence[torch.Tensor] | None = None,
) -> tuple[torch.Tensor, ...]:
    """Normalise one uint8 batch for any number of models, reading it once.

    Example:
        >>> batch = torch.zeros(8, 3, 224, 224, dtype=torch.uint8)  # NCHW
        >>> a, b, c = fused_normalize(batch, [fastnorm.VAE, fastnorm.CLIP, fastnorm.DINOV2])
        >>> a.shape
        torch.Size([8, 3, 224, 224])

    Every value is `((x / 255) - mean) / std` in float32, each operation correctly rounded, then rounded once to the
    output's dtype: the bits that torchvision's `ToTensor` + `Normalize` and transformers' Pillow-backend processors
    give. Tensors on CUDA take the Triton kernel, on their own device and its current stream, without synchronising;
    everything else takes a torch path with the same result.

    Args:
        batch: uint8 pixel values 0..255 in R, G, B order, shape (N, H, W, 3) or (N, 3, H, W), without N for one image,
            with more leading axes for video; any strides, on any device. A numpy array is read in place.
        normalizations: The targets, at least one: presets such as `fastnorm.CLIP`, or `Normalization(mean, std)`.
        dtype: float32 (the default), float16 or bfloat16, for all outputs or one for each.
        layout: "NHWC", "NCHW" (without a batch "HWC", "CHW"), or "auto", which looks for the axis of length 3.
        memory_format: `torch.contiguous_format` (the default) or `torch.channels_last`, for all outputs or one each.
        out: Tensors to write into, one per target, of shape (N, 3, H, W) on the batch's device; any strides whose
            elements do not share memory. Their dtypes decide unless `dtype` is given too.

    Returns:
        One tensor of shape (N, 3, H, W) per target; those of `out` if it was given.

    Raises:
        TypeError: A wrong kind: not a tensor or array, not uint8, not a `Normalization`.
        ValueError: A wrong value: channels, ranks, an ambiguous or unknown layout, a dtype, an `out` that does not fit.
            Every check comes before any work.
    """
    return _normalize(batch, check_normalizations(normalizations), dtype, layout, memory_format, out)


def _normalize(
    batch: object,
    targets: tuple[Normalization, ...],
    dtype: object,
    layout: str,
    memory_format: object,
    out: object,
) -> tuple[torch.Tensor, ...]:
    if is_observed(batch):
        return _as_operator(batch, targets, dtype, layout, memory_format, out)
    key = None
    if type(batch) is torch.Tensor and cuda.serves(batch.device):
        key = launch_cache.key_of(batch, targets, dtype, layout, memory_format, out)
        repeated = None if key is None else launch_cache.repeat(key, batch, out)  # type: ignore[arg-type]  # key_of has looked at it
        if repeated is not None:
            return repeated
    planes = as_planes(batch, layout)
    outputs = prepare(planes, len(targets), dtype, memory_format, out)
    select.normalize(planes, targets, outputs)
    if key is not None:
        launch_cache.remember(key, planes, targets, outputs)
    return outputs


def _as_operator(
    batch: object, targets: tuple[Normalization, ...], dtype: object, layout: str, memory_format: object, out: object
) -> tuple[torch.Tensor, ...]:
    """For tracing, modes and tensor subclasses: one opaque operator between the checks and the outputs."""
    planes = as_planes(batch, layout)
    dtypes, formats, given = resolve_outputs(planes, len(targets), dtype, memory_format, out)
    if given is not None:
        check_memory(named(given), {"the batch": planes})
    values = torch_op.call(planes, targets, dtypes, formats)
    if given is None:
        return tuple(values)
    for output, value in zip(given, values, strict=True):
        output.copy_(value)
    return given
