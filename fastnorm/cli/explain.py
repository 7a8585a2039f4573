"""`fastnorm explain`: what a preset or a model's configuration does to a pixel, in numbers."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence

import torch

from fastnorm.backends.select import path_name
from fastnorm.cli._devices import open_device, print_advice
from fastnorm.cli._errors import CommandError
from fastnorm.cli._targets import by_name, same_preset
from fastnorm.cli._text import paragraph, print_table
from fastnorm.spec.arguments import OUTPUT_DTYPES
from fastnorm.spec.configs.targets import Backend
from fastnorm.spec.describe import geometry_in_words, output_in_words
from fastnorm.spec.geometry import PassOrder, Size
from fastnorm.spec.lowering import lower, place, shown
from fastnorm.spec.normalization import PRESET_SOURCES, PRESETS, Normalization
from fastnorm.spec.options import Order
from fastnorm.spec.presets import TARGET_PRESETS, TARGET_SOURCES
from fastnorm.spec.sizes import SizeRule
from fastnorm.spec.target import Target
from fastnorm.verification import oracle

_CHANNELS = "RGB"
_CPU = torch.device("cpu")
_EXAMPLE_SIZES = (Size(480, 640), Size(1536, 1024), Size(200, 200))

# Whose order it is, and its three steps with their units.
_ORDERS: Mapping[Order, tuple[str, str, str, str]] = {
    "to_tensor": (
        "torchvision's ToTensor and Normalize, and transformers' Pillow-backend image processors",
        "q = x / 255        0 to 1",
        "d = q - mean       in the same unit, full scale",
        "y = d / std        in standard deviations",
    ),
    "to_dtype": (
        "torchvision's v2.ToDtype(torch.float32, scale=True) and v2.Normalize",
        "q = x * (1 / 255)  0 to 1, by the reciprocal in float32",
        "d = q - mean       in the same unit, full scale",
        "y = d / std        in standard deviations",
    ),
    "fused": (
        "transformers' torchvision-backend image processors, its default ones",
        "q = x              0 to 255",
        "d = q - m          in pixel values; m = mean * 255 in float32",
        "y = d / s          in standard deviations; s = std * 255 in float32",
    ),
    "scale_shift": (
        "x / 127.5 - 1, as it is written for pixels in [-1, 1]; the values are those of to_tensor",
        "q = x / 127.5      0 to 2",
        "d = q - 1          -1 to 1",
        "y = d              in standard deviations",
    ),
}

_ARITHMETICS = (
    "Arithmetic: whose resized pixels, on every device. pillow: Pillow's Image.resize. torch: antialiased interpolate "
    "of uint8 tensors on a CPU, which torchvision's Resize of tensors and transformers' default image processors call."
)


def run(args: argparse.Namespace) -> int:
    open_device(_CPU.type)
    if args.target is None:
        _print_presets()
    else:
        _print_one(_in_order(_print_geometry_of(args.target, args.backend), args.order), args.target, args.value)
    print(f"\nWithout a GPU, what computes here is: {path_name(_CPU)}")
    print_advice(_CPU)
    return 0


def _print_geometry_of(name: str, backend: Backend | None) -> Normalization:
    """What is known of the geometry of a preset or a configuration; returns its normalisation."""
    preset = TARGET_PRESETS.get(name.upper())
    if backend is not None and (preset or name.lower() in PRESETS):
        raise CommandError(
            f"--backend: got {backend!r} for the preset {name}, expected a configuration to read with it"
        )
    if preset is not None:
        print(paragraph(TARGET_SOURCES[name.upper()], f"{name.upper()}: ") + "\n")
        _print_geometry(preset)
        return preset.normalization
    if name.lower() in PRESETS:
        return by_name(name)
    try:
        target = Target.from_config(name, backend)
    except (ImportError, OSError, TypeError, ValueError) as error:
        normalization = by_name(name)  # says what is wrong with that
        print(paragraph(str(error), "Geometry: ") + "\n")
        return normalization
    _print_geometry(target)
    return target.normalization


def _in_order(target: Normalization, order: Order | None) -> Normalization:
    try:
        return target if order is None else dataclasses.replace(target, order=order)
    except ValueError as error:
        raise CommandError(f"--{error}") from None  # which names it


def _print_presets() -> None:
    print("Presets, in units of full scale (1.0 is pixel value 255), channels R G B:\n")
    rows = [("preset", "mean", "std", "outputs")]
    for name, preset in PRESETS.items():
        ends = oracle.table(preset, torch.float32)[:, [0, -1]]
        rows.append((name, _triple(preset.mean), _triple(preset.std), f"{ends.min():.4f} to {ends.max():.4f}"))
    print_table(rows, "llll")
    for name, source in PRESET_SOURCES.items():
        print(paragraph(source, f"{name:10}  "))
    print("\nTargets of fastnorm.fused_preprocess, and whose bits they give:\n")
    for name, source in TARGET_SOURCES.items():
        print(paragraph(source, f"{name:19}  "))
    print()
    targets = [("target", "size", "resample", "arithmetic", "crop", "order")]
    for name, target in TARGET_PRESETS.items():
        crop = "" if target.crop is None else f"{_size(target.crop_size)}, {target.crop.position}"
        order: str = target.normalization.order
        targets.append((name, _size(target.size), target.resample, target.arithmetic, crop, order))
    print_table(targets, "llllll")
    print(paragraph(_ARITHMETICS))
    print("\nMore about one of them, or about a model: fastnorm explain clip, fastnorm explain clip_224, fastnorm")
    print("explain FOLDER")


def _print_geometry(target: Target) -> None:
    """What a target does before it normalises, and what sizes images get on the way."""
    print("An image, in this order:\n")
    for number, line in enumerate(geometry_in_words(target), 1):
        print(paragraph(line, f"  {number}. "))
    print()
    rows = [("an image of", "is resized to", "and becomes, height x width")]
    rows += [(shown(size), *_sizes(size, target)) for size in _EXAMPLE_SIZES]
    print_table(rows, "lll")
    for line in output_in_words(target):
        print(paragraph(line))
    print()


def _sizes(size: Size, target: Target) -> tuple[str, str]:
    try:
        lowered = lower(size, target, PassOrder.of_pillow())
        return shown(lowered.resized), shown(place(lowered, target, None).output)
    except ValueError as error:
        return "refused", str(error)


def _print_one(target: Normalization, argument: str, pixels: Sequence[int]) -> None:
    preset = same_preset(target)
    is_preset = PRESETS.get(argument.lower()) == dataclasses.replace(target, order="to_tensor")
    if is_preset or argument.upper() in TARGET_PRESETS:
        print(paragraph(PRESET_SOURCES[target.name], f"{target.name}: "))
    else:
        same = f"; the same constants as the preset {preset}" if preset else ""
        print(paragraph(f"read from {argument}{same}", f"{target.name}: "))
    print("\nFor pixel value x (0..255) of a channel, each step correctly rounded to float32, in this order:\n")
    whose, *steps = _ORDERS[target.order]
    for step in steps:
        print(f"    {step}")
    print("    one rounding of y to nearest even, where the output is float16 or bfloat16\n")
    print(paragraph(f"{target.order}: {whose}", "Order ") + "\n")
    _print_constants(target)
    _print_steps(target, pixels)
    _print_outputs(target)


def _print_constants(target: Normalization) -> None:
    rows = [("channel", "mean", "mean in float32", "std", "std in float32")]
    for name, mean, std in zip(_CHANNELS, target.mean, target.std, strict=True):
        rows.append((name, repr(mean), _float32(mean), repr(std), _float32(std)))
    print_table(rows, "lrrrr")


def _print_steps(target: Normalization, pixels: Sequence[int]) -> None:
    tables = [oracle.table(target, dtype) for dtype in OUTPUT_DTYPES]
    _, first, second, _ = (step.partition("  ")[0] for step in _ORDERS[target.order])
    rows = [("pixel", "channel", first, second, *(f"y in {_name(d)}" for d in OUTPUT_DTYPES))]
    for pixel in pixels:
        for channel, name in enumerate(_CHANNELS):
            steps = oracle.steps(target, channel, pixel)
            values = [oracle.as_float(steps.q), oracle.as_float(steps.d)]
            values += [float(values_of[channel, pixel]) for values_of in tables]
            rows.append((str(pixel), name, *(f"{value:.9g}" for value in values)))
    print_table(rows, "rlrrrrr")


def _print_outputs(target: Normalization) -> None:
    rows = [("outputs", *(f"{name}, 0 to 255" for name in _CHANNELS), "distinct values")]
    for dtype in OUTPUT_DTYPES:
        values = oracle.table(target, dtype)
        ranges = [f"{float(row[0]):.6g} to {float(row[-1]):.6g}" for row in values]
        distinct = " ".join(str(len(row.unique())) for row in values)
        rows.append((_name(dtype), *ranges, distinct))
    print_table(rows, "llllr")
    print(paragraph("Distinct values: how many of the 256 pixel values a dtype tells apart, per channel."))


def _triple(values: tuple[float, float, float]) -> str:
    return repr(values[0]) if len(set(values)) == 1 else " ".join(map(repr, values))


def _size(size: int | Size | SizeRule | None) -> str:
    if size is None:
        return "as it is"
    if isinstance(size, int):
        return f"short side {size}"
    return shown(size) if isinstance(size, Size) else "by a rule"


def _float32(value: float) -> str:
    return repr(torch.tensor(value, dtype=torch.float32).item())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
