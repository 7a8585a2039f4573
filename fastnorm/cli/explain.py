"""`fastnorm explain`: what a preset or a model's configuration does to a pixel, in numbers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

from fastnorm.cli._targets import by_name, same_preset
from fastnorm.cli._text import paragraph, print_table
from fastnorm.spec.arguments import OUTPUT_DTYPES
from fastnorm.spec.describe import geometry_in_words
from fastnorm.spec.geometry import PassOrder, Size
from fastnorm.spec.lowering import lower, place, shown
from fastnorm.spec.normalization import PRESET_SOURCES, PRESETS, Normalization
from fastnorm.spec.presets import TARGET_PRESETS, TARGET_SOURCES
from fastnorm.verify import oracle

_CHANNELS = "RGB"
_EXAMPLE_SIZES = (Size(480, 640), Size(1536, 1024), Size(200, 200))


def run(args: argparse.Namespace) -> int:
    if args.target is None:
        _print_presets()
    elif args.target.upper() in TARGET_PRESETS:
        _print_target(args.target.upper())
        _print_one(TARGET_PRESETS[args.target.upper()].normalization, args.target, args.value)
    else:
        _print_one(by_name(args.target), args.target, args.value)
    return 0


def _print_presets() -> None:
    print("Presets, in units of full scale (1.0 is pixel value 255), channels R G B:\n")
    rows = [("preset", "mean", "std", "outputs")]
    for name, preset in PRESETS.items():
        ends = oracle.table(preset, torch.float32)[:, [0, -1]]
        rows.append((name, _triple(preset.mean), _triple(preset.std), f"{ends.min():.4f} to {ends.max():.4f}"))
    print_table(rows, "llll")
    for name, source in PRESET_SOURCES.items():
        print(paragraph(source, f"{name:8}  "))
    print("\nTargets of fastnorm.fused_preprocess, and whose bits they give:\n")
    for name, source in TARGET_SOURCES.items():
        print(paragraph(source, f"{name:19}  "))
    print("\nMore about one of them, or about a model: fastnorm explain clip, fastnorm explain clip_224, fastnorm")
    print("explain FOLDER")


def _print_target(name: str) -> None:
    """What a target does before it normalises, and what sizes images get on the way."""
    target, order = TARGET_PRESETS[name], PassOrder.of_pillow()
    print(paragraph(TARGET_SOURCES[name], f"{name}: "))
    print("\nAn image, in this order:\n")
    for number, line in enumerate(geometry_in_words(target), 1):
        print(paragraph(line, f"  {number}. "))
    print()
    rows = [("an image of", "is resized to", "and becomes, height x width")]
    for size in _EXAMPLE_SIZES:
        lowered = lower(size, target, order)
        rows.append((shown(size), shown(lowered.resized), shown(place(lowered, target, None).output)))
    print_table(rows, "lll")


def _print_one(target: Normalization, argument: str, pixels: Sequence[int]) -> None:
    preset = same_preset(target)
    if PRESETS.get(argument.lower()) is target or argument.upper() in TARGET_PRESETS:
        print(paragraph(PRESET_SOURCES[target.name], f"{target.name}: "))
    else:
        same = f"; the same constants as the preset {preset}" if preset else ""
        print(paragraph(f"read from {argument}{same}", f"{target.name}: "))
    print("\nFor pixel value x (0..255) of a channel, each step correctly rounded to float32, in this order:\n")
    print("    q = x / 255        0 to 1")
    print("    d = q - mean       in the same unit, full scale")
    print("    y = d / std        in standard deviations")
    print("    one rounding of y to nearest even, where the output is float16 or bfloat16\n")
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
    rows = [("pixel", "channel", "q = x / 255", "d = q - mean", *(f"y in {_name(d)}" for d in OUTPUT_DTYPES))]
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


def _float32(value: float) -> str:
    return repr(torch.tensor(value, dtype=torch.float32).item())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
