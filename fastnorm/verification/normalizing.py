"""The part of `check` that normalises: every pixel value, channel, dtype and layout, against exact fractions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from fastnorm.ops import normalize
from fastnorm.spec.arguments import MEMORY_FORMATS, OUTPUT_DTYPES
from fastnorm.spec.normalization import CHANNELS, CLIP, VAE, Normalization
from fastnorm.spec.options import Layout
from fastnorm.verification import oracle

# (N, H, W): one image that holds each pixel value once; odd sides, so that rows and images start unaligned; and several
# tiles of a kernel. Each holds all pixel values in every channel.
SHAPES = ((1, 16, 16), (3, 15, 19), (2, 48, 64))
LAYOUTS: tuple[Layout, ...] = ("NHWC", "NCHW")


class Case(NamedTuple):
    """One call to make: several targets in it, or one."""

    targets: tuple[Normalization, ...]
    dtype: torch.dtype
    layout: Layout
    memory_format: torch.memory_format
    shape: tuple[int, int, int]

    def __str__(self) -> str:
        fmt = _short(self.memory_format)
        count = len(self.targets)
        return f"{self.layout} {self.shape} to {fmt}, {count} {'target' if count == 1 else 'targets'} in the call"


class Wrong(NamedTuple):
    """The first wrong value of one output."""

    case: Case
    target: Normalization
    channel: int
    pixel: int
    got: float
    expected: float

    def __str__(self) -> str:
        return (
            f"{self.target.name} {_short(self.case.dtype)}, channel {'RGB'[self.channel]}, pixel value {self.pixel}: "
            f"got {self.got!r}, expected {self.expected!r} ({self.case})"
        )


def cases(targets: Sequence[Normalization]) -> Iterator[Case]:
    """Every call to make: each target alone, then all of them together (a single one is joined by VAE and CLIP)."""
    together = tuple(targets) if len(targets) > 1 else (*targets, VAE, CLIP)
    groups = [*((target,) for target in targets), together]
    for group, dtype, layout, fmt, shape in itertools.product(groups, OUTPUT_DTYPES, LAYOUTS, MEMORY_FORMATS, SHAPES):
        yield Case(group, dtype, layout, fmt, shape)


def compare(case: Case, device: torch.device) -> Iterator[tuple[Normalization, int, int, Wrong | None]]:
    """Make the call; per target: wrong values, values, and the first wrong one."""
    planes = pixels(case.shape)
    batch = (planes if case.layout == "NCHW" else planes.permute(0, 2, 3, 1)).contiguous().to(device)
    outputs = normalize.fused_normalize(
        batch, case.targets, dtype=case.dtype, layout=case.layout, memory_format=case.memory_format
    )
    channels = torch.arange(CHANNELS).view(CHANNELS, 1, 1)
    for target, output in zip(case.targets, outputs, strict=True):
        got = output.cpu()
        expected = oracle.table(target, case.dtype)[channels, planes.long()]
        unequal = oracle.bits(got) != oracle.bits(expected)
        count = int(unequal.sum())
        first = None
        if count:
            place = tuple(unequal.nonzero()[0].tolist())
            first = Wrong(case, target, place[1], int(planes[place]), float(got[place]), float(expected[place]))
        yield target, count, unequal.numel(), first


def pixels(shape: tuple[int, int, int]) -> torch.Tensor:
    """uint8 (N, 3, H, W) with every pixel value in every channel; the channels differ, so that a mix-up shows."""
    count, height, width = shape
    values = torch.arange(count * height * width).view(count, 1, height, width)
    shift = torch.tensor([0, 85, 170]).view(1, CHANNELS, 1, 1)
    return ((values + shift) % oracle.CODES).to(torch.uint8)


def _short(value: object) -> str:
    return str(value).removeprefix("torch.").removesuffix("_format")
