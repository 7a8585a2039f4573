"""What the resizing kernels are, without a GPU, and how many instructions an image takes.

    python -m fastnorm_kernels.inspection.resize --arch sm_90 --layout NHWC --dtype fp32

prints one JSON line a launch, for one image of 1024 x 1024 to the Stable Diffusion VAE's 512 (bilinear) and CLIP's 224
(bicubic). `thread_instructions` counts what all threads together execute: the straight part of the code, each loop and
what is skipped with it, as often as the launch's records say.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import signal
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch

from ..jobs import LineJob, OutputJob
from ..launching import OPTIONS
from ..planning import EIGHT, GROUP, LINES, PAIR, TILE, ResizeTarget, Source
from ..resize import PassLaunch, launches
from .arguments import DTYPES, Parser
from .compiling import ARCHS, LAYOUTS, compile_launch
from .machine_code import count, loops, operations

FILTERS = {"bilinear": 1.0, "bicubic": 2.0}  # support in pixels
VAE = (512, "bilinear", (0.5,) * 3, (0.5,) * 3)
CLIP = (224, "bicubic", (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
SIDE = 1024


def report(launch: PassLaunch, arch: str) -> dict[str, Any]:
    """Compile a launch: its code's counts, and for NVIDIA's ARCHS its loops and what its jobs execute of them."""
    compiled = compile_launch(launch, ARCHS[arch])
    counts, found = count(compiled), loops(compiled) if ARCHS[arch].backend == "cuda" else []
    row = {
        "kernel": launch.kernel.__name__,
        "arch": arch,
        "dtypes": [str(tensor.dtype).removeprefix("torch.") for tensor in launch.tensors],
        "constants": launch.constants,
        "shared_bytes": compiled.metadata.shared,
        **counts,
        "loops": [dataclasses.asdict(loop) for loop in found],
    }
    if found and launch.kernel.__name__ != "_tables_kernel":  # which takes the same time however large the batch
        row["thread_instructions"] = 32 * executed(launch, operations(compiled)).total()
    return row


def executed(launch: PassLaunch, found: list[collections.Counter[str]]) -> collections.Counter[str]:
    """What all warps execute of a first or second pass, except where a program finds that it has nothing to do."""
    total = collections.Counter[str]()
    for times, part in zip(repetitions(launch), found, strict=False):
        for operation, number in part.items():
            total[operation] += times * number * OPTIONS["num_warps"]
    return total


def repetitions(launch: PassLaunch) -> tuple[int, int, int, int, int]:
    """How often all programs together execute each part of the code, in the order of `machine_code.operations`."""
    straight = outer = around = inner = 0
    for record in launch.jobs.tolist():
        if launch.kernel.__name__ == "_along_lines_kernel":
            job = LineJob(*record)
            columns, blocks = job.pitch // TILE, -(-job.lines // LINES)
            straight += columns * min(launch.grid[1], blocks)
            outer += columns * blocks
            # By words, the first GROUP taps come before the loop.
            around += columns * blocks * (job.taps > GROUP)
            inner += columns * blocks * (job.taps - GROUP) // EIGHT
        else:
            output = OutputJob(*record)
            tiles = -(-output.along // TILE) * -(-output.across // TILE)
            straight += tiles
            outer += tiles * output.taps // PAIR
    return straight, straight, outer, around, inner


def example(layout: str, dtype: torch.dtype, images: int = 1) -> list[PassLaunch]:
    """The launches for images of 1024 x 1024 for the VAE and CLIP."""
    return list(launches(*example_call(layout, dtype, images), torch.device("cpu")))


def example_call(
    layout: str, dtype: torch.dtype, images: int = 1, address: int = 0
) -> tuple[list[Source], list[ResizeTarget]]:
    """The sources, all at one address, and the targets of that example."""
    strides = (3 * SIDE, 3, 1) if layout == "NHWC" else (SIDE, 1, SIDE * SIDE)
    targets = []
    for side, name, mean, std in (VAE, CLIP):
        span = SimpleNamespace(start=0, count=side, offset=0, length=side, mirrored=False)
        geometry = SimpleNamespace(
            source=(SIDE, SIDE),
            resized=(side, side),
            rows=span,
            columns=span,
            vertical_first=False,
            row_box=None,
            column_box=None,
            is_padded=False,
        )
        targets.append(
            ResizeTarget(
                filter=SimpleNamespace(name=name, support=FILTERS[name], arithmetic="pillow"),
                coefficients=_no_table,
                mean=mean,
                std=std,
                geometries=[geometry] * images,
                output=torch.empty(images, 3, side, side, dtype=dtype),
            )
        )
    return [Source(address, SIDE, SIDE, *strides)] * images, targets


def _no_table(source: int, resized: int) -> object:
    raise NotImplementedError(f"{source} to {resized}: the device makes the tables of both filters")


def _main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(prog="python -m fastnorm_kernels.inspection.resize", description=__doc__)
    nvidia = [arch for arch, target in ARCHS.items() if target.backend == "cuda"]
    parser.add_argument("--arch", nargs="+", choices=nvidia, default=nvidia)
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=["fp32", "bf16"])
    parser.add_argument("--layout", nargs="+", choices=LAYOUTS, default=LAYOUTS)
    options = parser.parse_args(argv)
    for arch in options.arch:
        for layout in options.layout:
            for name in options.dtype:
                for launch in example(layout, DTYPES[name]):
                    print(json.dumps({"layout": layout, **report(launch, arch)}), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it without a traceback
    _main()
