"""Compiles what test_offline_resize.py judges and prints the reports; run without Triton's interpreter."""

import concurrent.futures
import functools
import itertools
import json
import sys

import torch

from fastnorm.spec.filters import BICUBIC, BILINEAR, coefficients
from fastnorm.spec.geometry import CropRule, PassOrder, Size, geometry
from fastnorm_kernels.inspection import resize as offline_resize
from fastnorm_kernels.inspection.compiling import ARCHS, compile_launch
from fastnorm_kernels.resize import ResizeTarget, Source, launches

SIZE = Size(480, 640)
STRIDES = {"NHWC": (3 * 640, 3, 1), "NCHW": (640, 1, 480 * 640), "RGBX": (4 * 640, 4, 1)}
FP32, FP16, BF16 = torch.float32, torch.float16, torch.bfloat16
CHANNELS_LAST = torch.channels_last


def variant(layout, dtype, side=224, memory_format=torch.contiguous_format):
    plan = geometry(SIZE, side, Size(side, side), CropRule.TORCHVISION, PassOrder.LARGER_CUT_FIRST)
    return [
        launch
        for kernel in (BILINEAR, BICUBIC)
        for launch in launches(
            [Source(0, *SIZE, *STRIDES[layout])] * 3,
            [
                ResizeTarget(
                    kernel,
                    functools.partial(coefficients, resample=kernel),
                    (0.5,) * 3,
                    (0.5,) * 3,
                    [plan] * 3,
                    torch.empty(3, 3, side, side, dtype=dtype).contiguous(memory_format=memory_format),
                )
            ],
            torch.device("cpu"),
        )
    ]


VARIANTS = {
    "NHWC fp32": ("NHWC", FP32),
    "NHWC fp16": ("NHWC", FP16),
    "NHWC bf16": ("NHWC", BF16),
    "NCHW fp32": ("NCHW", FP32),
    "RGBX fp32": ("RGBX", FP32),
    "NHWC 225 bf16": ("NHWC", BF16, 225),
    "NHWC channels_last fp32": ("NHWC", FP32, 224, CHANNELS_LAST),
}


def rows(arch):
    """Every variant for one architecture; for sm_90, what an image takes in all."""
    found = {}
    for arguments in VARIANTS.values():
        for launch in variant(*arguments):
            key = (launch.kernel.__name__, *(tensor.dtype for tensor in launch.tensors), *launch.constants.values())
            if key not in found:
                found[key] = offline_resize.report(launch, arch)
    totals = []
    for layout, dtype in itertools.product(("NHWC", "NCHW"), (FP32, BF16)) if arch == "sm_90" else ():
        reports = [offline_resize.report(launch, arch) for launch in offline_resize.example(layout, dtype)]
        total = sum(report.get("thread_instructions", 0) for report in reports)
        totals.append({"arch": arch, "layout": layout, "dtype": str(dtype), "total": total})
    return [*found.values(), *totals]


def narrowed(arch):
    """How many stores of the second pass are given a 32-bit offset from an argument."""
    launch = offline_resize.example("NHWC", FP32)[-1]
    code = compile_launch(launch, ARCHS[arch]).asm["ttgir"]
    return {"arch": arch, "narrowed_stores": code.count("buffer_store"), "wide_stores": code.count("tt.store")}


def main(archs):
    # Here first: Triton reads all of itself for a cache key, which forked processes need not do again.
    compile_launch(offline_resize.example("NHWC", FP32)[0], ARCHS[archs[0]])
    with concurrent.futures.ProcessPoolExecutor() as processes:
        for found in processes.map(rows, archs):
            for row in found:
                print(json.dumps(row), flush=True)
        for row in processes.map(narrowed, [arch for arch in archs if ARCHS[arch].backend == "hip"]):
            print(json.dumps(row), flush=True)
    offline_resize._main(["--arch", "sm_90", "--dtype", "bf16", "--layout", "NHWC"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
