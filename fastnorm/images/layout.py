"""The pixels that come in: any uint8 batch of three channels becomes a (..., 3, H, W) view, without a copy."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from fastnorm.runtime.torch_internals import is_batched
from fastnorm.spec.normalization import CHANNELS

# Where the channels are, counted from the last axis, for each spelling that is accepted.
_CHANNEL_AXIS = {"NHWC": -1, "HWC": -1, "NCHW": -3, "CHW": -3}


def as_planes(batch: object, layout: str = "auto", name: str = "batch") -> torch.Tensor:
    """View `batch` as (..., 3, H, W), whatever its layout and strides; `name` is what messages call it.

    Raises:
        TypeError: Not a tensor or array, or not uint8.
        ValueError: A wrong number of axes or channels, or a layout that is unknown, wrong or ambiguous.
    """
    check_layout(layout)
    tensor = _as_tensor(batch, name)
    if tensor.dtype is not torch.uint8:
        raise TypeError(_wrong_dtype(tensor, name))
    is_array = isinstance(batch, np.ndarray)
    if tensor.dim() < 3:
        raise ValueError(_too_few_axes(tensor, name, is_array))
    axis = _channel_axis(tensor, layout, name, is_array)
    if tensor.shape[axis] != CHANNELS:
        raise ValueError(_wrong_channels(tensor, layout, name, is_array))
    return tensor if axis == -3 else tensor.movedim(-1, -3)


def check_layout(layout: object) -> None:
    if not isinstance(layout, str):
        raise TypeError(f"layout: got {type(layout).__name__}, expected 'auto', 'NHWC' or 'NCHW'")
    if layout != "auto" and layout not in _CHANNEL_AXIS:
        raise ValueError(f"layout: got {layout!r}, expected 'auto', 'NHWC' or 'NCHW' (without a batch: 'HWC' or 'CHW')")


def is_pil_image(value: object) -> bool:
    """Whether it is a PIL image, judged by its methods, so that PIL need not be imported."""
    return hasattr(value, "convert") and hasattr(value, "getbands")


def file_hint(value: object, name: str) -> str:
    """How to make a image of what is none yet: a path, encoded bytes, a sample that holds a image among others."""
    if isinstance(value, (str, os.PathLike)):
        return f"; a path is not opened here: PIL.Image.open({name})"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"; encoded bytes are not decoded here: PIL.Image.open(io.BytesIO({name}))"
    if isinstance(value, Mapping):
        key = next((key for key in value if "image" in str(key) or "pixel" in str(key)), "image")
        return f"; pass the images in it, such as {name}[{key!r}]"
    return ""


def address_of(tensor: torch.Tensor) -> int:
    """Where its first element lies; 0 where it has no memory that could be asked for: traced, fake or meta tensors."""
    if torch.compiler.is_compiling():
        return 0
    try:
        # Fake tensors say that they are on some device; their storage is on "meta".
        return 0 if tensor.untyped_storage().device.type == "meta" else tensor.data_ptr()
    except (RuntimeError, NotImplementedError):
        return 0


def _channel_axis(tensor: torch.Tensor, layout: str, name: str, is_array: bool) -> int:
    if layout != "auto":
        return _CHANNEL_AXIS[layout]
    last, third = tensor.shape[-1] == CHANNELS, tensor.shape[-3] == CHANNELS
    if last and third:
        raise ValueError(
            f"{name}: got {_shown(tensor)}, which could be NHWC or NCHW (both axes have length 3); say which: "
            f"layout='NHWC' or layout='NCHW'"
        )
    if not last and not third:
        raise ValueError(_wrong_channels(tensor, layout, name, is_array))
    return -1 if last else -3


def _as_tensor(batch: object, name: str) -> torch.Tensor:
    if isinstance(batch, torch.Tensor):
        if batch.layout is not torch.strided or batch.is_nested:
            raise TypeError(f"{name}: got a {batch.layout} tensor, expected a strided one: {name}.to_dense()")
        if is_batched(batch):
            raise TypeError(
                f"{name}: got a tensor inside torch.vmap, expected the whole batch; call it outside: it takes any "
                "number of leading axes at once"
            )
        return batch
    if isinstance(batch, np.ndarray):
        if batch.dtype != np.uint8:
            raise TypeError(_wrong_array_dtype(batch, name))
        return _from_numpy(batch)
    if is_pil_image(batch):
        raise TypeError(f"{name}: got a PIL image, expected a tensor or array: numpy.asarray(image.convert('RGB'))")
    if isinstance(batch, (list, tuple)):
        raise TypeError(
            f"{name}: got a {type(batch).__name__}, expected one tensor; for images of one size call "
            f"torch.stack(images), for arrays numpy.stack(images)"
        )
    raise TypeError(
        f"{name}: got {type(batch).__name__}, expected a uint8 torch.Tensor or numpy.ndarray{file_hint(batch, name)}"
    )


class _WritableAlias:
    """The same memory as an array that is read-only, declared writable.

    torch.from_numpy warns about read-only arrays, which is what numpy.asarray(PIL image) and memory maps give. Nothing
    here writes to its input, and switching the warning off would not be thread safe.
    """

    def __init__(self, array: np.ndarray) -> None:
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}
        self.owner = array


def _from_numpy(array: np.ndarray) -> torch.Tensor:
    if any(stride < 0 for stride in array.strides):
        array = array.copy(order="C")  # torch has no negative strides: a mirrored view is copied, as uint8
    elif not array.flags.writeable:
        array = np.asarray(_WritableAlias(array))
    return torch.from_numpy(array)


def _shown(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


def _wrong_dtype(tensor: torch.Tensor, name: str) -> str:
    start = f"{name}: got {_shown(tensor)}, expected uint8 pixel values 0..255"
    if tensor.dtype.is_floating_point:
        to_unit = f"({name} * 255).round().to(torch.uint8)"
        to_symmetric = f"(({name} + 1) * 127.5).round().to(torch.uint8)"
        seen = _value_range(tensor)
        if seen is None:
            return f"{start}; already scaled? values in [0, 1] take {to_unit}, values in [-1, 1] take {to_symmetric}"
        low, high = seen
        if low >= 0 and high <= 1:
            return f"{start}; its values lie in [{low:.4g}, {high:.4g}]: already scaled to [0, 1]? {to_unit}"
        if low >= -1 and high <= 1:
            return f"{start}; its values lie in [{low:.4g}, {high:.4g}]: already scaled to [-1, 1]? {to_symmetric}"
        if low >= 0 and high <= 255:
            return f"{start}; its values lie in [{low:.4g}, {high:.4g}]: {name}.round().to(torch.uint8)"
        return f"{start}; its values lie in [{low:.4g}, {high:.4g}]: already normalised? pass the uint8 pixels instead"
    return f"{start}; {_integer_hint(str(tensor.dtype), f'{name}.to(torch.uint8)')}"


def _wrong_array_dtype(array: np.ndarray, name: str) -> str:
    if array.dtype in (np.float16, np.float32, np.float64):
        return _wrong_dtype(torch.from_numpy(np.ascontiguousarray(array)), name)
    if array.dtype == object:
        return (
            f"{name}: got an array of {len(array) if array.ndim else 1} objects, expected uint8 pixel values; for "
            f"arrays of one size: numpy.stack(list({name})); of several sizes: fused_preprocess(list({name}), targets)"
        )
    hint = _integer_hint(str(array.dtype), f"{name}.astype(numpy.uint8)")
    return f"{name}: got {array.dtype} of shape {array.shape}, expected uint8 pixel values 0..255; {hint}"


def _integer_hint(dtype: str, cast: str) -> str:
    if "16" in dtype:
        return "16-bit images take // 257 first, then a cast to uint8"
    if "bool" in dtype:
        return f"a mask takes {cast} * 255"
    return f"if the values are 0..255: {cast}"


def _value_range(tensor: torch.Tensor) -> tuple[float, float] | None:
    """The range of a refused float input, for its message; not looked at where looking would wait for a device."""
    if tensor.device.type != "cpu" or tensor.numel() == 0:
        return None
    low, high = tensor.detach().float().aminmax()
    return float(low), float(high)


def _too_few_axes(tensor: torch.Tensor, name: str, is_array: bool) -> str:
    start = f"{name}: got {_shown(tensor)}, expected (N, H, W, 3) or (N, 3, H, W), or one image without N"
    if tensor.dim() < 2:
        return start
    repeat = f"numpy.stack([{name}] * 3, axis=-1)" if is_array else f"{name}.unsqueeze(-1).expand(-1, -1, 3)"
    return f"{start}; a grayscale image takes {repeat}"


def _wrong_channels(tensor: torch.Tensor, layout: str, name: str, is_array: bool) -> str:
    start = f"{name}: got {_shown(tensor)}, expected 3 channels"
    if layout != "auto":
        axis = _CHANNEL_AXIS[layout]
        other_axis, other = (-3, "NCHW") if axis == -1 else (-1, "NHWC")
        start += f" on axis {axis} (layout={layout!r}) where there are {tensor.shape[axis]}"
        if tensor.shape[other_axis] == CHANNELS:
            return f"{start}; did you mean layout={other!r}?"
        axes = [axis]
    else:
        axes = [-1, -3]
    layouts = {-1: "NHWC", -3: "NCHW"}
    rgba = [axis for axis in axes if tensor.shape[axis] == 4]
    if rgba:
        cuts = {-1: f"{name}[..., :3]", -3: f"{name}[..., :3, :, :]"}
        return f"{start}; RGBA? drop the alpha: {_either(cuts, layouts, rgba)}, or blend it"
    gray = [axis for axis in axes if tensor.shape[axis] == 1]
    if gray:
        repeats = {axis: _repeat(tensor, name, axis, is_array) for axis in gray}
        return f"{start}; grayscale? repeat it: {_either(repeats, layouts, gray)}"
    return f"{start}, on the last axis (NHWC) or the third from last (NCHW)"


def _repeat(tensor: torch.Tensor, name: str, axis: int, is_array: bool) -> str:
    if is_array:
        return f"numpy.repeat({name}, 3, axis={axis})"
    sizes = ["-1"] * tensor.dim()
    sizes[axis] = str(CHANNELS)
    return f"{name}.expand({', '.join(sizes)})"


def _either(calls: Mapping[int, str], layouts: Mapping[int, str], axes: Sequence[int]) -> str:
    if len(axes) == 1:
        return calls[axes[0]]
    return " or ".join(f"{calls[axis]} ({layouts[axis]})" for axis in axes)
