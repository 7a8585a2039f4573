"""The words that options are chosen from: for type checkers, and for the checks before any work."""

from __future__ import annotations

from typing import Literal, get_args

Alpha = Literal["error", "drop", "white"]
Exif = Literal["ignore", "apply", "error"]
Layout = Literal["auto", "NHWC", "NCHW", "HWC", "CHW"]
Arithmetic = Literal["pillow", "torch"]
FilterName = Literal["bilinear", "bicubic", "lanczos", "box", "hamming", "nearest"]
Order = Literal["to_tensor", "to_dtype", "fused", "scale_shift"]
Placement = Literal["torchvision", "transformers", "transformers_torchvision", "random"]
ChannelOrder = Literal["RGB", "BGR"]

ALPHA_CHOICES: tuple[Alpha, ...] = get_args(Alpha)
ARITHMETICS: tuple[Arithmetic, ...] = get_args(Arithmetic)
ORDERS: tuple[Order, ...] = get_args(Order)
FILTER_NAMES: tuple[FilterName, ...] = get_args(FilterName)
EXIF_CHOICES: tuple[Exif, ...] = get_args(Exif)
CHANNEL_ORDERS: tuple[ChannelOrder, ...] = get_args(ChannelOrder)


def check_alpha(alpha: object) -> None:
    if alpha not in ALPHA_CHOICES:
        raise ValueError(
            f"alpha: got {alpha!r}, expected 'error', 'drop' (as torchvision pipelines, which call convert('RGB')) or "
            f"'white' (as transformers' image processors)"
        )


def check_arithmetic(arithmetic: object) -> None:
    if arithmetic not in ARITHMETICS:
        raise ValueError(
            f"arithmetic: got {arithmetic!r}, expected 'pillow' (Image.resize) or 'torch' (antialiased interpolate of "
            f"uint8 tensors on a CPU); what resizes floats, as DINOv3's processor does, gives other values on another "
            f"CPU: it is not reproduced"
        )


def check_order(order: object) -> None:
    if order not in ORDERS:
        raise ValueError(
            f"order: got {order!r}, expected 'to_tensor' (torchvision's ToTensor, Normalize), 'to_dtype' (its v2: "
            f"ToDtype(torch.float32, scale=True), Normalize), 'fused' (transformers' torchvision backend) or "
            f"'scale_shift' (x / 127.5 - 1)"
        )


def check_exif(exif: object) -> None:
    if exif not in EXIF_CHOICES:
        raise ValueError(f"exif: got {exif!r}, expected 'ignore' (as published pipelines), 'apply' or 'error'")


def check_channel_order(channel_order: object) -> None:
    if channel_order not in CHANNEL_ORDERS:
        raise ValueError(
            f"channel_order: got {channel_order!r}, expected 'RGB' or 'BGR', for the output's channels; images are "
            f"R, G, B"
        )


def check_bool(what: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{what}: got {value!r}, expected True or False")
