"""The way back: pixels from normalised values, and values of one normalisation from those of another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from fastnorm.backends import eager, select
from fastnorm.images.values import check_values
from fastnorm.memory.outputs import check_memory, check_output
from fastnorm.ops import inverse_op
from fastnorm.runtime.torch_internals import is_followed_in_steps, is_observed
from fastnorm.spec.arguments import OUTPUT_DTYPES, PIXEL_DTYPES, check_normalization, resolve_dtype
from fastnorm.spec.normalization import Normalization


def denormalize(
    tensor: torch.Tensor,
    normalization: Normalization,
    *,
    dtype: torch.dtype | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Turn normalised values back into pixels: uint8 codes, or floats from 0 to 1.

    Example:
        >>> batch = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
        >>> (clip,) = fastnorm.fused_normalize(batch, [fastnorm.CLIP])
        >>> torch.equal(denormalize(clip, fastnorm.CLIP), batch)
        True
        >>> decoded = torch.randn(2, 3, 8, 8)  # a VAE's output, around [-1, 1]
        >>> denormalize(decoded, fastnorm.VAE, dtype=torch.float32).aminmax()
        torch.return_types.aminmax(
        min=tensor(0.),
        max=tensor(1.))

    Every value becomes `p = tensor * std + mean` in float32, two operations, each correctly rounded. As uint8 it is
    `p * 255`, rounded to the nearest of 0 to 255, halves to even. As floats it is `p`, clamped to 0 to 1 and rounded
    once to the dtype: what diffusers' `VaeImageProcessor.denormalize` gives for `fastnorm.VAE`. For values that are
    not clamped: `renormalize(tensor, normalization, fastnorm.Normalization(0.0, 1.0))`.

    float32 and float16 values of any of the presets give all 256 codes of every channel back; bfloat16 ones all but a
    single code, 253 of `fastnorm.CLIP`'s blue channel, which shares its value with 254.

    Args:
        tensor: Normalised values, float32, float16 or bfloat16, shape (N, 3, H, W), or (3, H, W) for one image, with
            more leading axes for video; any strides, on any device. NaN becomes 0 as uint8, and stays NaN as a float;
            infinity becomes black or white.
        normalization: What the values were normalised by: a preset such as `fastnorm.CLIP`, or
            `Normalization(mean, std)`.
        dtype: uint8 (the default), in pixel values 0 to 255; or float32, float16 or bfloat16, in units of full scale, 0
            to 1.
        out: A tensor to write into, of the tensor's shape and device and with memory of its own; any strides, such as
            those of `torch.empty(N, H, W, 3, dtype=torch.uint8).movedim(-1, -3)` for pixels as PIL takes them. Its
            dtype decides unless `dtype` is given too.

    Returns:
        The pixels, of the tensor's shape, contiguous, or channels_last where the tensor is; or `out`. Floats can be
        differentiated, like `clamp`: values outside of 0 to 1 have no gradient. uint8 cannot.

    Raises:
        TypeError: A wrong kind: not a tensor, not floats, not a `Normalization`.
        ValueError: A wrong value: a shape, a dtype, an `out` that does not fit, or `out` for a tensor that requires
            grad. Every check comes before any work.
    """
    values = check_values(tensor)
    check_normalization(normalization, "normalization")
    dtype, output = _resolve(values, dtype, out, torch.uint8, PIXEL_DTYPES)
    if dtype is torch.uint8:
        values = values.detach()  # integers have no gradients
    ways = _Ways(select.denormalize, inverse_op.denormalize, eager.denormalized)
    return _run(ways, values, (normalization,), dtype, output)


def renormalize(
    tensor: torch.Tensor,
    source: Normalization,
    target: Normalization,
    *,
    dtype: torch.dtype | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Turn values of one normalisation into those of another: a VAE's output into the input of CLIP or DINOv2.

    Example:
        >>> decoded = torch.zeros(2, 3, 8, 8, requires_grad=True)  # a VAE's output, around [-1, 1]
        >>> clip = renormalize(decoded, fastnorm.VAE, fastnorm.CLIP)
        >>> clip.shape, clip.requires_grad
        (torch.Size([2, 3, 8, 8]), True)

    Every value is `((tensor * source.std + source.mean) - target.mean) / target.std` in float32, each of the four
    operations correctly rounded, then rounded once to the dtype. From `fastnorm.VAE` these are the bits of
    torchvision's `Normalize(mean, std)((tensor + 1) / 2)` on a CPU, for every float32 value. Nothing is clamped:
    values outside of the range of pixels keep what lies beyond it, and their gradients.

    Args:
        tensor: As for `denormalize`. NaN stays NaN, infinity infinity.
        source: What the values are normalised by.
        target: What they shall be normalised by.
        dtype: float32, float16 or bfloat16; by default the tensor's, or that of `out`.
        out: A tensor to write into, as for `denormalize`.

    Returns:
        The values, of the tensor's shape, contiguous, or channels_last where the tensor is; or `out`. They can be
        differentiated: the gradient is `gradient / target.std * source.std`.

    Raises:
        TypeError, ValueError: As for `denormalize`.
    """
    values = check_values(tensor)
    check_normalization(source, "source")
    check_normalization(target, "target")
    dtype, output = _resolve(values, dtype, out, values.dtype, OUTPUT_DTYPES)
    ways = _Ways(select.renormalize, inverse_op.renormalize, eager.renormalized)
    return _run(ways, values, (source, target), dtype, output)


def _resolve(
    values: torch.Tensor, dtype: object, out: object, default: torch.dtype, dtypes: Sequence[torch.dtype]
) -> tuple[torch.dtype, torch.Tensor | None]:
    """The dtype, and `out` after its checks."""
    if out is None:
        return resolve_dtype(default if dtype is None else dtype, dtypes), None
    if not isinstance(out, torch.Tensor):
        raise TypeError(f"out: got {type(out).__name__}, expected a torch.Tensor, such as torch.empty_like(tensor)")
    resolved = resolve_dtype(out.dtype if dtype is None else dtype, dtypes)
    check_output("out", out, tuple(values.shape), values.device, resolved, None)
    check_memory({"out": out}, {"the tensor": values})
    if resolved is not torch.uint8 and _is_differentiated(values):
        raise ValueError(
            "out: got a tensor to write into where gradients are recorded, expected none; leave out= away, or pass "
            "tensor.detach()"
        )
    return resolved, out


class _Ways(NamedTuple):
    """Three ways to compute one thing from values and normalisations."""

    write: Callable[..., None]  # by the device's backend, into an output
    as_operator: Callable[..., torch.Tensor]  # for whoever watches torch's operations, and for gradients
    in_steps: Callable[..., torch.Tensor]  # in torch's own operations, where only these are followed


def _run(
    ways: _Ways,
    values: torch.Tensor,
    normalizations: tuple[Normalization, ...],
    dtype: torch.dtype,
    out: torch.Tensor | None,
) -> torch.Tensor:
    if is_observed(values) or _is_differentiated(values):
        compute = ways.in_steps if is_followed_in_steps(values) else ways.as_operator
        result = compute(values, *normalizations, dtype)
        return result if out is None else out.copy_(result)
    output = inverse_op.output_for(values, dtype) if out is None else out
    ways.write(values.resolve_neg(), *normalizations, output)
    return output


def _is_differentiated(values: torch.Tensor) -> bool:
    return (values.requires_grad and torch.is_grad_enabled()) or is_followed_in_steps(values)
