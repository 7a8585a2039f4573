"""`fastnorm check`: `fastnorm.verification.check` on this machine, as tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import metadata

import PIL
import torch

import fastnorm
from fastnorm.backends.select import path_name
from fastnorm.cli._devices import open_device, print_advice
from fastnorm.cli._errors import CommandError
from fastnorm.cli._progress import progress
from fastnorm.cli._targets import from_config, from_numbers
from fastnorm.cli._text import paragraph, print_table
from fastnorm.spec.normalization import CHANNELS, PRESETS, Normalization
from fastnorm.verification import check, normalizing, oracle

_SHOWN = 10


def run(args: argparse.Namespace) -> int:
    targets = _targets(args)
    device = open_device(args.device)
    print(f"fastnorm {fastnorm.__version__} on {path_name(device)}; torch {torch.__version__}, {_triton_version()}")
    print_advice(device)
    print()
    with progress(None, "checking") as bar:
        report = check(targets, device, bar.show)

    _print_paragraph(
        f"Normalising, compared with exact fractions: {oracle.CODES} pixel values x {CHANNELS} channels, each step "
        f"rounded to nearest even by definition. For each row: {' and '.join(normalizing.LAYOUTS)} input in "
        f"{len(normalizing.SHAPES)} shapes, contiguous and channels_last outputs, alone and together with other "
        f"targets in one call; bit for bit."
    )
    lines = [
        (c.name, str(c.dtype).removeprefix("torch."), f"{c.values:,}", f"{c.differing:,}") for c in report.normalized
    ]
    print_table([("constants", "dtype", "compared", "differ"), *lines], "llrr")
    _print_wrong(report.wrong_normalized)

    _print_paragraph(
        f"Resizing, compared with the installed Pillow {PIL.__version__}'s Image.resize followed by the same exact "
        f"values, and with fastnorm.reference on the CPU. For each row: images of many sizes in one call, in every way "
        f"that {device.type} takes them, and a batch of each size; bit for bit."
    )
    rows = [(line.name, f"{line.values:,}", f"{line.differing:,}") for line in report.resized]
    print_table([("resize", "compared", "differ"), *rows], "lrr")
    _print_wrong(report.wrong_resized)
    print(f"{'passed' if report.passed else 'FAILED'}: {report.differing:,} of {report.values:,} values differ")
    return 0 if report.passed else 1


def _print_paragraph(text: str) -> None:
    print(paragraph(text), end="\n\n")


def _targets(args: argparse.Namespace) -> list[Normalization]:
    numbers = args.mean is not None or args.std is not None
    if args.config is not None and numbers:
        raise CommandError("got --config and --mean or --std, expected one of the two; leave one out")
    if args.config is not None:
        return [from_config(args.config)]
    if numbers:
        return [from_numbers(args.mean, args.std)]
    return list(PRESETS.values())


def _print_wrong(wrong: Sequence[object]) -> None:
    for item in wrong[:_SHOWN]:
        print(f"wrong: {item}")
    if len(wrong) > _SHOWN:
        print(f"and {len(wrong) - _SHOWN} more outputs with wrong values")
    if wrong:
        print()


def _triton_version() -> str:
    try:
        return f"triton {metadata.version('triton')}"
    except metadata.PackageNotFoundError:
        return "triton is not installed"
