"""`fastnorm check`: every code, channel, preset, dtype and layout on this machine, and every resizing filter."""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import NamedTuple

import PIL
import torch

import fastnorm
from fastnorm.backends.select import path_name
from fastnorm.cli._devices import open_device
from fastnorm.cli._errors import CommandError
from fastnorm.cli._progress import progress
from fastnorm.cli._targets import from_config, from_numbers
from fastnorm.cli._text import paragraph, plural, table
from fastnorm.spec.arguments import MEMORY_FORMATS, OUTPUT_DTYPES
from fastnorm.spec.normalization import CHANNELS, PRESETS, Normalization
from fastnorm.spec.options import Layout
from fastnorm.verify import oracle, resizing

# (N, H, W): one image whose codes fill it exactly; odd sides, so that rows and images start unaligned; and several
# tiles of a kernel. Every one holds all codes in every channel.
SHAPES = ((1, 16, 16), (3, 15, 19), (2, 48, 64))
LAYOUTS: tuple[Layout, ...] = ("NHWC", "NCHW")
_SHOWN = 10


class Case(NamedTuple):
    """One call to make: several targets in it, or one."""

    targets: tuple[Normalization, ...]
    dtype: torch.dtype
    layout: Layout
    memory_format: torch.memory_format
    shape: tuple[int, int, int]

    def __str__(self) -> str:
        fmt = _short(self.memory_format)
        return f"{self.layout} {self.shape} to {fmt}, {plural(len(self.targets), 'target')} in the call"


class Wrong(NamedTuple):
    """The first wrong value of one output."""

    case: Case
    target: Normalization
    channel: int
    code: int
    got: float
    wanted: float

    def __str__(self) -> str:
        return (
            f"{self.target.name} {_short(self.case.dtype)}, channel {'RGB'[self.channel]}, code {self.code}: got "
            f"{self.got!r}, wanted {self.wanted!r} ({self.case})"
        )


def run(args: argparse.Namespace) -> int:
    targets = _targets(args)
    device = open_device(args.device)
    print(f"fastnorm {fastnorm.__version__} on {path_name(device)}; torch {torch.__version__}, {_triton_version()}")
    print(
        paragraph(
            f"Judge: {oracle.CODES} codes x {CHANNELS} channels from exact fractions, each step rounded to nearest "
            f"even by definition. For each row: {' and '.join(LAYOUTS)} input in {len(SHAPES)} shapes, contiguous and "
            f"channels_last outputs, alone and together with other targets in one call; compared bit for bit."
        ),
        end="\n\n",
    )
    normalised = check_normalizing(targets, device)
    print(
        paragraph(
            f"Judges of resizing: the installed Pillow {PIL.__version__}'s Image.resize, then the same exact values; "
            f"and fastnorm.reference on the CPU. For each row: pictures of many sizes in one call, in every way that "
            f"{device.type} takes them, and a batch of each size; compared bit for bit."
        ),
        end="\n\n",
    )
    resized = check_resizing(targets, device)
    values, differing = normalised.values + resized.values, normalised.differing + resized.differing
    print(f"{'FAILED' if differing else 'passed'}: {differing:,} of {values:,} values differ")
    return 1 if differing else 0


class Result(NamedTuple):
    """What one of the two parts found."""

    values: int
    differing: int


def check_normalizing(targets: Sequence[Normalization], device: torch.device) -> Result:
    compared: Counter[tuple[str, torch.dtype]] = Counter()
    differing: Counter[tuple[str, torch.dtype]] = Counter()
    wrong: list[Wrong] = []
    all_cases = list(cases(targets))
    with progress(len(all_cases), "checking", "call") as advance:
        for case in all_cases:
            for target, count, total, first in judge(case, device):
                compared[target.name, case.dtype] += total
                differing[target.name, case.dtype] += count
                if first is not None:
                    wrong.append(first)
            advance(1)
    rows = [("constants", "dtype", "compared", "differ")]
    names = dict.fromkeys(name for name, _ in compared)  # a preset that kept others company in a call is among them
    for name, dtype in itertools.product(names, OUTPUT_DTYPES):
        rows.append((name, _short(dtype), f"{compared[name, dtype]:,}", f"{differing[name, dtype]:,}"))
    print(table(rows, "llrr"), end="\n\n")
    _print_wrong(wrong)
    return Result(sum(compared.values()), sum(differing.values()))


def check_resizing(targets: Sequence[Normalization], device: torch.device) -> Result:
    compared: Counter[str] = Counter()
    differing: Counter[str] = Counter()
    wrong: list[resizing.Wrong] = []
    calls = [call for group in resizing.groups(targets) for call in resizing.calls(group, device)]
    with progress(len(calls), "resizing", "call") as advance:
        for call in calls:
            found = resizing.judge(call, device)
            compared[call.group.name] += found.values
            differing[call.group.name] += found.differing
            wrong += found.wrong
            advance(1)
    rows = [("resize", "compared", "differ")]
    rows += [(name, f"{compared[name]:,}", f"{differing[name]:,}") for name in compared]
    print(table(rows, "lrr"), end="\n\n")
    _print_wrong(wrong)
    return Result(sum(compared.values()), sum(differing.values()))


def cases(targets: Sequence[Normalization]) -> Iterator[Case]:
    """Every call to make: each target alone, then all of them together (one alone gets company)."""
    together = tuple(targets) if len(targets) > 1 else (*targets, fastnorm.VAE, fastnorm.CLIP)
    groups = [*((target,) for target in targets), together]
    for group, dtype, layout, fmt, shape in itertools.product(groups, OUTPUT_DTYPES, LAYOUTS, MEMORY_FORMATS, SHAPES):
        yield Case(group, dtype, layout, fmt, shape)


def judge(case: Case, device: torch.device) -> Iterator[tuple[Normalization, int, int, Wrong | None]]:
    """Make the call; per target: wrong values, values, and the first wrong one."""
    planes = codes(case.shape)
    batch = (planes if case.layout == "NCHW" else planes.permute(0, 2, 3, 1)).contiguous().to(device)
    outputs = fastnorm.fused_normalize(
        batch, case.targets, dtype=case.dtype, layout=case.layout, memory_format=case.memory_format
    )
    channels = torch.arange(CHANNELS).view(CHANNELS, 1, 1)
    for target, output in zip(case.targets, outputs, strict=True):
        got = output.cpu()
        wanted = oracle.table(target, case.dtype)[channels, planes.long()]
        unequal = oracle.bits(got) != oracle.bits(wanted)
        count = int(unequal.sum())
        first = None
        if count:
            place = tuple(unequal.nonzero()[0].tolist())
            first = Wrong(case, target, place[1], int(planes[place]), float(got[place]), float(wanted[place]))
        yield target, count, unequal.numel(), first


def codes(shape: tuple[int, int, int]) -> torch.Tensor:
    """uint8 (N, 3, H, W) with every code in every channel; the channels differ, so that mixing them up shows."""
    count, height, width = shape
    pixels = torch.arange(count * height * width).view(count, 1, height, width)
    shift = torch.tensor([0, 85, 170]).view(1, CHANNELS, 1, 1)
    return ((pixels + shift) % oracle.CODES).to(torch.uint8)


def _targets(args: argparse.Namespace) -> list[Normalization]:
    numbers = args.mean is not None or args.std is not None
    if args.config is not None and numbers:
        raise CommandError("got --config and --mean or --std, wanted one of the two; leave one out")
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


def _short(value: object) -> str:
    return str(value).removeprefix("torch.").removesuffix("_format")


def _triton_version() -> str:
    try:
        return f"triton {metadata.version('triton')}"
    except metadata.PackageNotFoundError:
        return "triton is not installed"
