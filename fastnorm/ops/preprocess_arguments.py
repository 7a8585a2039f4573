"""Checks of a preprocess call's own arguments, each brought to one value per target or per image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from fastnorm.spec.arguments import resolve_dtypes
from fastnorm.spec.geometry import Box, PassOrder
from fastnorm.spec.plan import Given
from fastnorm.spec.size import Size, pair
from fastnorm.spec.steps import Position, checked_position
from fastnorm.spec.target import Target


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


def check_generator(generator: object) -> None:
    if generator is None:
        return
    if not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator: got {type(generator).__name__}, expected a torch.Generator: torch.Generator().manual_seed(0)"
        )
    if generator.device.type != "cpu":
        raise ValueError(f"generator: got one on {generator.device}, expected a CPU one: torch.Generator()")


def resolve_one_each(what: str, values: object, targets: Sequence[Target]) -> Sequence[Any]:
    """One value per target, each of which may be None; all None where there are no values."""
    if values is None:
        return [None] * len(targets)
    if isinstance(values, torch.Tensor) or not isinstance(values, Sequence) or isinstance(values, str):
        raise TypeError(f"{what}: got {type(values).__name__}, expected a list of {len(targets)}, one per target")
    if len(values) != len(targets):
        raise ValueError(f"{what}: got {len(values)} for {len(targets)} target(s), expected one per target, or None")
    return values


def resolve_out(out: object, targets: Sequence[Target]) -> Sequence[Any]:
    """The caller's tensors: one per target, or a list of one per image where it has no batch; or None."""
    values = resolve_one_each("out", out, targets)
    for index, (value, target) in enumerate(zip(values, targets, strict=True)):
        if value is None:
            continue
        if target.batch and not isinstance(value, torch.Tensor):
            raise TypeError(f"out[{index}]: got {type(value).__name__}, expected a torch.Tensor, or None")
        if not target.batch and (
            not isinstance(value, (list, tuple)) or not all(isinstance(one, torch.Tensor) for one in value)
        ):
            raise TypeError(
                f"out[{index}]: got {type(value).__name__} for a target with batch=False, expected a list of tensors, "
                f"one per image, or None"
            )
    return values


def resolve_target_dtypes(dtype: object, targets: Sequence[Target], out: Sequence[Any]) -> list[torch.dtype]:
    """The target's own dtype, else the call's, else that of the caller's tensor, else float32."""
    calls: Sequence[torch.dtype | None] = [None] * len(targets)
    if dtype is not None:
        calls = resolve_dtypes(dtype, len(targets))
    firsts = [next(iter(own), None) if isinstance(own, (list, tuple)) else own for own in out]
    owns = [torch.float32 if tensor is None else tensor.dtype for tensor in firsts]
    return list(
        resolve_dtypes(
            [target.dtype or call or own for target, call, own in zip(targets, calls, owns, strict=True)], len(targets)
        )
    )


def resolve_flips(flip: object, count: int, what: str = "flip") -> list[bool] | None:
    """Which images are mirrored; None if that is to be drawn."""
    if flip is None or isinstance(flip, bool):
        return [bool(flip)] * count
    if isinstance(flip, str) and flip == "random":
        return None
    values = flip.tolist() if hasattr(flip, "tolist") else flip
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise TypeError(f"{what}: got {type(flip).__name__}, expected True, False, 'random', or one bool per image")
    for value in values:
        if not isinstance(value, bool):
            raise TypeError(f"{what}: got {value!r} among them, expected True or False: torch.rand(n) < 0.5")
    if len(values) != count:
        raise ValueError(f"{what}: got {len(values)} values for {count} images, expected one per image")
    return list(values)


def resolve_given(
    positions: object, sizes: object, boxes: object, targets: Sequence[Target], count: int
) -> list[Given]:
    """Per target what the call says of each image: positions, sizes and boxes, or None."""
    return [
        Given(
            None if its is None else _positions(f"positions[{index}]", its, targets[index], count),
            None if size is None else _sizes(f"sizes[{index}]", size, count),
            None if box is None else _boxes(f"boxes[{index}]", box, targets[index], count),
        )
        for index, (its, size, box) in enumerate(
            zip(
                resolve_one_each("positions", positions, targets),
                resolve_one_each("sizes", sizes, targets),
                resolve_one_each("boxes", boxes, targets),
                strict=True,
            )
        )
    ]


def _sizes(what: str, given: object, count: int) -> list[Size]:
    values = _one_per_image(what, given, count, "(height, width)", "a tensor (N, 2)")
    return [pair(f"{what}[{index}]", value) for index, value in enumerate(values)]


def _boxes(what: str, given: object, target: Target, count: int) -> list[Box | None]:
    if target.arithmetic == "torch":
        raise ValueError(
            f"{what}: got boxes for a target with arithmetic='torch', expected None: torch stretches no part of an "
            f"image; Pillow does: Target(..., arithmetic='pillow')"
        )
    values = _one_per_image(what, given, count, "(left, top, right, bottom)", "a tensor (N, 4)")
    return [None if value is None else _box(f"{what}[{index}]", value) for index, value in enumerate(values)]


def _box(what: str, value: object) -> Box:
    numbers = value if isinstance(value, Sequence) and not isinstance(value, str) else []
    if len(numbers) != len(Box._fields) or any(
        isinstance(number, bool) or not isinstance(number, (int, float)) for number in numbers
    ):
        raise TypeError(f"{what}: got {value!r}, expected (left, top, right, bottom) in pixels, as Pillow's box=")
    return Box(*map(float, numbers))


def _one_per_image(what: str, given: object, count: int, each: str, example: str) -> Sequence[Any]:
    values = given.tolist() if hasattr(given, "tolist") else given
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise TypeError(f"{what}: got {type(given).__name__}, expected one {each} per image: {example}")
    if len(values) != count:
        raise ValueError(f"{what}: got {len(values)} for {count} images, expected one {each} per image")
    return values


def _positions(what: str, given: object, target: Target, count: int) -> list[Position]:
    if target.crop is None:
        raise ValueError(f"{what}: got positions for a target without a crop, expected None, or Target(crop=...)")
    values = given.tolist() if hasattr(given, "tolist") else given
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise TypeError(f"{what}: got {type(given).__name__}, expected one (top, left) per image: a tensor (N, 2)")
    if len(values) != count:
        raise ValueError(f"{what}: got {len(values)} positions for {count} images, expected one per image")
    return [checked_position(f"{what}[{index}]", value) for index, value in enumerate(values)]
