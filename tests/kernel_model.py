"""How long the kernels take by a model, from what they execute: prints the tables of docs/kernel-model.md.

    PYTHONPATH=.:kernels:tests python tests/kernel_model.py

Instructions are those of the machine code, as often as the records of a launch say; sectors are counted while the same
code's PTX is executed. No GPU is needed, and none is measured.
"""

import collections
import dataclasses
import sys

import torch

import fastnorm
from fastnorm_kernels.inspection import compiling, machine_code
from fastnorm_kernels.inspection import resize as offline_resize
from fastnorm_kernels.launching import OPTIONS
from fastnorm_kernels.normalize import choose, plans_of
from ptx import Counts, Memory, bridge
from ptx.interpreter import SECTOR

SOME_PROGRAMS = range(64, 128)  # of a grid whose programs all do the same
FP32, BF16 = torch.float32, torch.bfloat16


@dataclasses.dataclass(frozen=True)
class Gpu:
    """Rates of one multiprocessor a cycle, of which there are so many; bandwidth of a copy."""

    name: str
    arch: str
    multiprocessors: int
    hertz: float
    bytes_a_second: float
    issue: float = 4  # warp instructions
    integer: float = 2  # of warp instructions on integers, logic, shifts and comparisons
    multiply: float = 2  # IMAD, and IDP: dot products run on the same unit
    single: float = 4  # FFMA, FMUL, FADD
    convert: float = 0.5  # I2F, and I2IP: at least that, since it is on this unit below sm_89
    sectors: float = 4  # of L1


GPUS = (
    Gpu("H200", "sm_90", 132, 1.755e9, 4.3e12),
    Gpu("A100", "sm_80", 108, 1.41e9, 1.75e12),
)

_UNITS = {"I2F": "convert", "I2FP": "convert", "I2IP": "convert", "F2F": "convert", "F2I": "convert", "MUFU": "convert"}
_ELSEWHERE = {
    "LDG",
    "STG",
    "LDS",
    "STS",
    "LDC",
    "ULDC",
    "BAR",
    "BRA",
    "EXIT",
    "S2R",
    "S2UR",
    "CS2R",
    "R2UR",
    "BSSY",
    "BSYNC",
}


def unit(operation):
    """What carries an operation out, as far as the model knows units; None for the others."""
    if operation in _UNITS:
        return _UNITS[operation]
    if operation in ("FFMA", "FMUL", "FADD"):
        return "single"
    if operation.startswith(("IMAD", "IDP")):
        return "multiply"
    return None if operation in _ELSEWHERE or operation.startswith("U") else "integer"


@dataclasses.dataclass
class Work:
    """What a call does: warps' operations, sectors asked of L1, and bytes that have to cross to DRAM."""

    operations: collections.Counter
    sectors: float
    traffic: float
    per_load: float
    per_store: float

    def microseconds(self, gpu):
        cycles = {
            "issue": self.operations.total() / gpu.issue,
            "integer": 0.0,
            "multiply": 0.0,
            "convert": 0.0,
            "L1": self.sectors / gpu.sectors,
        }
        for operation, times in self.operations.items():
            if unit(operation) in ("integer", "multiply", "convert"):
                cycles[unit(operation)] += times / getattr(gpu, unit(operation))
        times = {name: 1e6 * n / (gpu.multiprocessors * gpu.hertz) for name, n in cycles.items()}
        return times | {"DRAM": 1e6 * self.traffic / gpu.bytes_a_second}


def operations_of(launch, arch):
    return machine_code.operations(compiling.compile_launch(launch, compiling.ARCHS[arch]))


def sectors_a_request(counts, kind):
    entries = [access for (name, _), access in counts.accesses.items() if name == kind]
    return sum(access.sectors for access in entries) / sum(access.requests for access in entries)


def normalising(x, outputs, arch):
    launch = choose(x, outputs, plans_of([(target.mean, target.std) for target in (fastnorm.VAE, fastnorm.CLIP)]))
    counts, memory = Counts(), Memory()
    memory.add("x", x.untyped_storage().data_ptr(), x.untyped_storage().nbytes())
    for output in outputs:
        memory.add_tensor("output", output, writable=True)
    bridge.run(launch, arch, memory, (launch.x, launch.outputs, *launch.sizes), programs=SOME_PROGRAMS, counts=counts)
    scale = launch.grid[0] / len(SOME_PROGRAMS)
    sectors = scale * sum(access.sectors for access in counts.accesses.values())
    traffic = x.numel() + sum(output.numel() * output.element_size() for output in outputs)
    (found,) = operations_of(launch, arch)  # no loops
    warps = launch.grid[0] * OPTIONS["num_warps"]
    operations = collections.Counter({operation: count * warps for operation, count in found.items()})
    return Work(operations, sectors, traffic, sectors_a_request(counts, "ld"), sectors_a_request(counts, "st"))


def resizing(layout, dtype, arch):
    """The passes of one image of 1024 x 1024 to 512 and 224, in the order in which they are launched."""
    image = torch.zeros(3 * offline_resize.SIDE**2, dtype=torch.uint8)
    sources, targets = offline_resize.example_call(layout, dtype, address=image.data_ptr())
    for launch, counts in bridge.resized(sources, targets, arch):
        name = launch.kernel.__name__
        if name == "_tables_kernel":  # which takes the same time however large the batch
            continue
        sectors = sum(access.sectors for access in counts.accesses.values())
        first = name == "_along_lines_kernel"
        traffic = image.numel() if first else sum(b.output.numel() * b.output.element_size() for b in targets)
        operations = offline_resize.executed(launch, operations_of(launch, arch))
        per_load, per_store = (sectors_a_request(counts, kind) for kind in ("ld", "st"))
        yield ("first pass" if first else "second pass"), Work(operations, sectors, traffic, per_load, per_store)


def batch(layout, n, height, width, crop=0, dtype=torch.uint8):
    rows, columns = height + 2 * crop, width + 2 * crop
    if layout == "NHWC":
        whole = torch.zeros(n, rows, columns, 3, dtype=dtype).permute(0, 3, 1, 2)
    else:
        whole = torch.zeros(n, 3, rows, columns, dtype=dtype)
    return whole[:, :, crop : rows - crop, crop : columns - crop]


NORMALISING = [
    (layout, dtype, n, side, crop)
    for n, side, crop in ((16, 512, 0), (16, 225, 0), (16, 480, 16))
    for layout in ("NHWC", "NCHW")
    for dtype in (FP32, BF16)
]


def rows(gpu):
    for layout, dtype, n, side, crop in NORMALISING:
        x = batch(layout, n, side, side, crop)
        outputs = tuple(batch("NCHW", n, side, side, dtype=dtype) for _ in range(2))
        work = normalising(x, outputs, gpu.arch)
        what = f"{n} x {side} x {side}" + (f", a crop of {side + 2 * crop}" if crop else "")
        yield [what, layout, name_of(dtype), f"{32 * work.operations.total() / (2 * x.numel()):.1f}"], work
    for layout in ("NHWC", "NCHW"):
        for dtype in (FP32, BF16):
            for name, work in resizing(layout, dtype, gpu.arch):
                yield [f"1024 x 1024 to 512 and 224: {name}", layout, name_of(dtype), ""], work


def name_of(dtype):
    return {FP32: "fp32", BF16: "bf16"}[dtype]


def main():
    for gpu in GPUS:
        print(f"\n## {gpu.name} ({gpu.arch})\n")
        print("| what | from | to | instructions a value | sectors a load | a store | sectors |", end="")
        print(" issue | integer | multiply | convert | L1 | DRAM |")
        print("|" + "---|" * 3 + "---:|" * 10)
        for cells, work in rows(gpu):
            times = work.microseconds(gpu)
            slowest = max(times, key=times.get)
            least = work.traffic / SECTOR
            cells += [f"{work.per_load:.1f}", f"{work.per_store:.1f}", f"{work.sectors / least:.2f} x"]
            cells += [f"**{time:.2f}**" if name == slowest else f"{time:.2f}" for name, time in times.items()]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
