"""What a kernel is, without a GPU: compile a launch for a named architecture and count its instructions.

    python -m fastnorm_kernels.offline --arch sm_90 gfx942 --dtypes bf16,bf16 --layout NHWC

prints one JSON line a variant. A launch is compiled exactly as it would be run: the launcher picks the variant from
the tensors (CPU or meta tensors do), and Triton specialises on them. Triton's interpreter must be off in this process.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import CompiledKernel

from fastnorm_kernels.launching import OPTIONS, Launch
from fastnorm_kernels.normalize import choose, plans_of

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
LAYOUTS = ("NHWC", "NCHW")

ARCHS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}

# An instruction of nvdisasm's listing: its address in a comment, a predicate, then the operation.
_SASS = re.compile(r"/\*[0-9a-f]{4,5}\*/\s+(?:@!?U?P\d+\s+)?([A-Z][A-Z0-9_.]*)")
_SASS_BITS = re.compile(r"\.(?:U|S)?(8|16|64|128)\b")

# Of PTX: flushing subnormal numbers to zero, approximations, full-range division (2 ulp), roundings other than nearest.
_INEXACT_PTX = re.compile(r"^\s+\S*\.(?:ftz|approx|full|rz|rm|rp|rna)\b.*$", re.MULTILINE)

# An instruction of AMD's assembly stands in a line of its own; a memory access names how many 32-bit words it moves.
_GCN = re.compile(r"^\s+([svdbgf][a-z]*_[a-z0-9_]+)", re.MULTILINE)
_GCN_ACCESS = re.compile(
    r"^(?:global|buffer|flat|scratch)_(load|store)_(?:d?word|dword|[us]?byte|[us]?short)(?:x(\d))?"
)


@dataclasses.dataclass(frozen=True)
class Report:
    """What a compiled variant holds.

    Loads and stores count the global ones by width in bits; `arithmetic` the float32 instructions by name (NVIDIA);
    `inexact` the instructions that would not round correctly: flushed, approximate or truncating ones (NVIDIA's PTX).
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
    inexact: int


class _OfflineDriver:
    """As much of a Triton driver as compiling needs: it names the target and never runs anything."""

    def __init__(self, target: GPUTarget) -> None:
        self._target = target

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> str:
        return f"offline-{self._target.backend}-{self._target.arch}"  # Triton keeps one cache of kernels per device

    def get_current_stream(self, device: object) -> int:
        del device
        return 0


@contextlib.contextmanager
def _target(target: GPUTarget) -> Iterator[None]:
    driver = triton.runtime.driver
    previous = driver._active
    driver.set_active(_OfflineDriver(target))
    try:
        yield
    finally:
        driver._active = previous


def compile_launch(launch: Launch, target: GPUTarget) -> CompiledKernel:
    """Compile what `launch` would run, for `target`, and return Triton's compiled kernel."""
    if triton.knobs.runtime.interpret:
        raise RuntimeError("offline compilation: Triton's interpreter is on; run without TRITON_INTERPRET=1")
    with _target(target):
        return launch.compile()


def report(launch: Launch, arch: str) -> Report:
    """Compile `launch` for one of ARCHS and count what its machine code holds."""
    compiled = compile_launch(launch, ARCHS[arch])
    threads = launch.grid[0] * OPTIONS["num_warps"] * ARCHS[arch].warp_size
    per_element = threads / launch.x.numel()
    count = _count_sass if ARCHS[arch].backend == "cuda" else _count_gcn
    counts = count(compiled)
    return Report(
        kernel=launch.kernel.__name__,
        arch=arch,
        instructions_per_element=counts["instructions"] * per_element,
        shared_bytes=compiled.metadata.shared,
        **counts,
    )


def _count_sass(compiled: CompiledKernel) -> dict[str, Any]:
    sass, usage = _disassemble(compiled.asm["cubin"])
    operations = collections.Counter(name for name in _SASS.findall(sass) if name != "NOP")
    kinds = collections.Counter[str]()
    widths: dict[str, collections.Counter[int]] = {"LDG": collections.Counter(), "STG": collections.Counter()}
    for name, n in operations.items():
        kind = name.split(".")[0]
        kinds[kind] += n
        if kind in widths:
            bits = _SASS_BITS.search(name)
            widths[kind][int(bits.group(1)) if bits else 32] += n
    used = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
    return {
        "instructions": operations.total(),
        "registers": used["REG"],
        "spills": used["STACK"] + used["LOCAL"] + kinds["LDL"] + kinds["STL"],
        "barriers": kinds["BAR"],
        "calls": kinds["CALL"],
        "loads": dict(widths["LDG"]),
        "stores": dict(widths["STG"]),
        "arithmetic": {kind: kinds[kind] for kind in ("FFMA", "FMUL", "FADD")},
        "inexact": len(_INEXACT_PTX.findall(compiled.asm["ptx"])),
    }


def _count_gcn(compiled: CompiledKernel) -> dict[str, Any]:
    assembly = compiled.asm["amdgcn"]
    operations = collections.Counter(name for name in _GCN.findall(assembly) if name != "s_nop")
    widths: dict[str, collections.Counter[int]] = {"load": collections.Counter(), "store": collections.Counter()}
    for name, n in operations.items():
        access = _GCN_ACCESS.match(name)
        if access:
            narrow = 8 if "byte" in name else 16 if "short" in name else 32
            widths[access.group(1)][narrow * int(access.group(2) or 1)] += n

    def noted(key: str) -> int:
        return int(re.search(rf"\.{key}:\s*(\d+)", assembly).group(1))  # type: ignore[union-attr]

    return {
        "instructions": operations.total(),
        "registers": noted("vgpr_count"),
        "spills": noted("vgpr_spill_count") + noted("sgpr_spill_count"),
        "barriers": operations["s_barrier"],
        "calls": operations["s_swappc_b64"],
        "loads": dict(widths["load"]),
        "stores": dict(widths["store"]),
        "arithmetic": {},
        "inexact": 0,
    }


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


def _disassemble(cubin: bytes) -> tuple[str, str]:
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        sass = subprocess.run([tools / "nvdisasm", "-c", path], capture_output=True, text=True, check=True)
        usage = subprocess.run([tools / "cuobjdump", "-res-usage", path], capture_output=True, text=True, check=True)
    return sass.stdout, usage.stdout + usage.stderr


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fastnorm_kernels.offline", description=__doc__)
    parser.add_argument("--arch", nargs="+", choices=ARCHS, default=list(ARCHS))
    parser.add_argument("--dtypes", nargs="+", default=["fp32,fp32", "bf16,bf16"], help="one dtype per target")
    parser.add_argument("--layout", nargs="+", choices=LAYOUTS, default=LAYOUTS)
    parser.add_argument("--size", type=int, nargs=3, metavar=("N", "H", "W"), default=(64, 512, 512))
    parser.add_argument(
        "--targets",
        default="[[[0.5,0.5,0.5],[0.5,0.5,0.5]],[[0.48145466,0.4578275,0.40821073],[0.26862954,0.26130258,0.27577711]]]",
        help="JSON: mean and std of each target; VAE and CLIP by default",
    )
    options = parser.parse_args()
    targets = tuple((tuple(mean), tuple(std)) for mean, std in json.loads(options.targets))
    for arch in options.arch:
        for layout in options.layout:
            for names in options.dtypes:
                dtypes = tuple(DTYPES[name] for name in names.split(","))
                launch = example(dtypes, layout, size=tuple(options.size), targets=targets, arch=arch)
                row = {"layout": layout, "dtypes": names, **dataclasses.asdict(report(launch, arch))}
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    sys.exit(_main())
