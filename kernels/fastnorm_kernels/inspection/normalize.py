"""What a kernel is, without a GPU: compile a launch for a named architecture and count its instructions.

    python -m fastnorm_kernels.inspection.normalize --arch sm_90 gfx942 --dtypes bf16,bf16 --layout NHWC

prints one JSON line a variant. A launch is compiled exactly as it would be run: the launcher picks the variant from
the tensors (CPU or meta tensors do), and Triton specialises on them. Triton's interpreter must be off in this process.
"""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Sequence

import torch

from ..launching import OPTIONS, Launch
from ..normalize import choose, plans_of
from .arguments import DTYPES, Parser, dtype_names, positive
from .arguments import targets as targets_of
from .compiling import ARCHS, LAYOUTS, compile_launch
from .machine_code import count


@dataclasses.dataclass(frozen=True)
class Report:
    """What a compiled variant holds.

    Loads and stores count the global ones by width in bits; `arithmetic` the float32 instructions by name (NVIDIA);
    `float64` those of float64 (of PTX, or of LLVM's code for AMD); `inexact` what need not round correctly: flushed,
    approximate or truncating operations (PTX), or ones that may be merged or approximated (LLVM).
    """

    kernel: str
    arch: str
    instructions: int
    instructions_per_element: float
    registers: int
    spills: int
    shared_bytes: int
    barriers: int
    calls: int
    loads: dict[int, int]
    stores: dict[int, int]
    arithmetic: dict[str, int]
    float64: dict[str, int]
    inexact: int


def report(launch: Launch, arch: str) -> Report:
    """Compile `launch` for one of ARCHS and count what its machine code holds."""
    compiled = compile_launch(launch, ARCHS[arch])
    threads = launch.grid[0] * OPTIONS["num_warps"] * ARCHS[arch].warp_size
    per_element = threads / launch.x.numel()
    counts = count(compiled)
    return Report(
        kernel=launch.kernel.__name__,
        arch=arch,
        instructions_per_element=counts["instructions"] * per_element,
        shared_bytes=compiled.metadata.shared,
        **counts,
    )


def example(
    dtypes: tuple[torch.dtype, ...],
    layout: str,
    *,
    size: tuple[int, int, int] = (64, 512, 512),
    targets: tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...],
    arch: str = "sm_90",
) -> Launch:
    """The launch for a dense batch of N, H, W in `layout`, with one output per dtype."""
    n, height, width = size
    if layout == "NHWC":
        x = torch.empty((n, height, width, 3), dtype=torch.uint8, device="meta").permute(0, 3, 1, 2)
    else:
        x = torch.empty((n, 3, height, width), dtype=torch.uint8, device="meta")
    outputs = tuple(torch.empty((n, 3, height, width), dtype=dtype, device="meta") for dtype in dtypes)
    return choose(x, outputs, plans_of(targets), threads=OPTIONS["num_warps"] * ARCHS[arch].warp_size)


def _main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(prog="python -m fastnorm_kernels.inspection.normalize", description=__doc__)
    parser.add_argument("--arch", nargs="+", choices=ARCHS, default=list(ARCHS))
    parser.add_argument(
        "--dtypes",
        nargs="+",
        type=dtype_names,
        default=[["fp32", "fp32"], ["bf16", "bf16"]],
        help="one dtype per target (default: fp32,fp32 bf16,bf16)",
    )
    parser.add_argument("--layout", nargs="+", choices=LAYOUTS, default=LAYOUTS)
    parser.add_argument("--size", type=positive, nargs=3, metavar=("N", "H", "W"), default=(64, 512, 512))
    parser.add_argument(
        "--targets",
        type=targets_of,
        default="[[[0.5,0.5,0.5],[0.5,0.5,0.5]],[[0.48145466,0.4578275,0.40821073],[0.26862954,0.26130258,0.27577711]]]",
        help="JSON: mean and std of each target; VAE and CLIP by default",
    )
    options = parser.parse_args(argv)
    targets = options.targets
    for names in options.dtypes:
        if len(names) != len(targets):
            parser.error(
                f"argument --dtypes: got {','.join(names)!r} for {len(targets)} targets, expected one dtype per target"
            )
    for arch in options.arch:
        for layout in options.layout:
            for names in options.dtypes:
                dtypes = tuple(DTYPES[name] for name in names)
                launch = example(dtypes, layout, size=tuple(options.size), targets=targets, arch=arch)
                row = {"layout": layout, "dtypes": ",".join(names), **dataclasses.asdict(report(launch, arch))}
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it without a traceback
    _main()
