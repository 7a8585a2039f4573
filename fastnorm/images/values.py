"""Normalised values that come in: float tensors (..., 3, H, W), as models take them and VAEs decode them."""

from __future__ import annotations

import torch

from fastnorm.images.layout import is_pil_image
from fastnorm.runtime.torch_internals import is_batched
from fastnorm.spec.arguments import OUTPUT_DTYPES
from fastnorm.spec.normalization import CHANNELS


def check_tensor(tensor: object, name: str = "tensor") -> torch.Tensor:
    """A strided tensor of three channels on the third axis from the end, of any dtype.

    Raises:
        TypeError: Not a tensor, a sparse or nested one, or one inside `torch.vmap`.
        ValueError: A wrong number of axes or channels.
    """
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name}: got {type(tensor).__name__}, expected a torch.Tensor{_tensor_hint(tensor, name)}")
    if tensor.layout is not torch.strided or tensor.is_nested:
        raise TypeError(f"{name}: got a {tensor.layout} tensor, expected a strided one: {name}.to_dense()")
    if is_batched(tensor):
        raise TypeError(
            f"{name}: got a tensor inside torch.vmap, expected the whole batch; call it outside: it takes any number "
            f"of leading axes at once"
        )
    if tensor.dim() < 3 or tensor.shape[-3] != CHANNELS:
        raise ValueError(_wrong_shape(tensor, name))
    return tensor


def check_values(tensor: object, name: str = "tensor") -> torch.Tensor:
    """A tensor as `check_tensor` takes it, of float32, float16 or bfloat16.

    Raises:
        TypeError, ValueError: As `check_tensor` does; also a TypeError for another dtype.
    """
    values = check_tensor(tensor, name)
    if values.dtype in OUTPUT_DTYPES:
        return values
    hint = f": {name}.float()"
    if values.dtype is torch.uint8:
        hint = "; uint8 pixels have not been normalised: fastnorm.fused_normalize"
    expected = ", ".join(map(str, OUTPUT_DTYPES))
    raise TypeError(f"{name}: got {values.dtype}, expected normalised values in one of {expected}{hint}")


def _tensor_hint(value: object, name: str) -> str:
    if is_pil_image(value):
        return "; a PIL image has not been normalised: fastnorm.fused_preprocess"
    if isinstance(value, (list, tuple)):
        return f": torch.stack({name})"
    if hasattr(value, "__array_interface__"):
        return f": torch.from_numpy({name})"
    return ""


def _wrong_shape(tensor: torch.Tensor, name: str) -> str:
    start = f"{name}: got shape {tuple(tensor.shape)}, expected (N, 3, H, W), or (3, H, W) for one image"
    if tensor.dim() >= 3 and tensor.shape[-1] == CHANNELS:
        return f"{start}; channels last? {name}.movedim(-1, -3)"
    if tensor.dim() >= 3 and tensor.shape[-3] in (4, 16):
        return f"{start}; latents? decode them first"
    return start
