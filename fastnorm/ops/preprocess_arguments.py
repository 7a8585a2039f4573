"""Checks of a preprocess call's own arguments, each brought to one value per target or per image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from fastnorm.spec.arguments import resolve_dtypes
from fastnorm.spec.geometry import PassOrder
from fastnorm.spec.target import Position, Target, checked_position


def resolve_pass_order(pillow_version: object) -> PassOrder:
    if pillow_version is not None and not isinstance(pillow_version, str):
        raise TypeError(
            f"pillow_version: got {type(pillow_version).__name__}, expected a version such as '13', or None"
        )
    return PassOrder.of_pillow(pillow_version)


def resolve_device(device: object) -> torch.device | None:
    """The device with its index; None where the images' own is meant."""
    if device is None:
        return None
    if not isinstance(device, (str, torch.device)):
        raise TypeError(f"device: got {type(device).__name__}, expected a torch.device or a string such as 'cuda'")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"device: got {device!r} ({reason}), expected a device of this machine") from None


def resolve_one_each(what: str, values: object, targets: Sequence[Target]) -> Sequence[Any]:
    """One value per target, each of which may be None; all None where there are no values."""
    if values is None:
        return [None] * len(targets)
    if isinstance(values, torch.Tensor) or not isinstance(values, Sequence) or isinstance(values, str):
        raise TypeError(f"{what}: got {type(values).__name__}, expected a list of {len(targets)}, one per target")
    if len(values) != len(targets):
        raise ValueError(f"{what}: got {len(values)} for {len(targets)} target(s), expected one per target, or None")
    return values


def resolve_target_dtypes(
    dtype: object, targets: Sequence[Target], out: Sequence[torch.Tensor | None]
) -> list[torch.dtype]:
    """The target's own dtype, else the call's, else that of the caller's tensor, else float32."""
    for index, tensor in enumerate(out):
        if tensor is not None and not isinstance(tensor, torch.Tensor):
            raise TypeError(f"out[{index}]: got {type(tensor).__name__}, expected a torch.Tensor, or None")
    calls: Sequence[torch.dtype | None] = [None] * len(targets)
    if dtype is not None:
        calls = resolve_dtypes(dtype, len(targets))
    owns = [torch.float32 if tensor is None else tensor.dtype for tensor in out]
    return list(
        resolve_dtypes(
            [target.dtype or call or own for target, call, own in zip(targets, calls, owns, strict=True)], len(targets)
        )
    )


def resolve_flips(flip: object, count: int) -> list[bool] | None:
    """Which images are mirrored; None if that is to be drawn."""
    if flip is None or isinstance(flip, bool):
        return [bool(flip)] * count
    if isinstance(flip, str) and flip == "random":
        return None
    values = flip.tolist() if hasattr(flip, "tolist") else flip
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise TypeError(f"flip: got {type(flip).__name__}, expected True, False, 'random', or one bool per image")
    for value in values:
        if not isinstance(value, bool):
            raise TypeError(f"flip: got {value!r} among them, expected True or False: torch.rand(n) < 0.5")
    if len(values) != count:
        raise ValueError(f"flip: got {len(values)} values for {count} images, expected one per image")
    return list(values)


def resolve_positions(positions: object, targets: Sequence[Target], count: int) -> list[list[Position] | None]:
    """Per target one position per image, or None where the target's own decides."""
    return [
        None if given is None else _positions(f"positions[{index}]", given, targets[index], count)
        for index, given in enumerate(resolve_one_each("positions", positions, targets))
    ]


def _positions(what: str, given: object, target: Target, count: int) -> list[Position]:
    if target.crop is None:
        raise ValueError(f"{what}: got positions for a target without a crop, expected None, or Target(crop=...)")
    values = given.tolist() if hasattr(given, "tolist") else given
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise TypeError(f"{what}: got {type(given).__name__}, expected one (top, left) per image: a tensor (N, 2)")
    if len(values) != count:
        raise ValueError(f"{what}: got {len(values)} positions for {count} images, expected one per image")
    return [checked_position(f"{what}[{index}]", value) for index, value in enumerate(values)]
