"""Compiles the variants that test_offline_resize.py judges and prints their reports; run without the interpreter."""

import functools
import json
import sys

import torch

from fastnorm.spec.filters import BICUBIC, BILINEAR, coefficients
from fastnorm.spec.geometry import CropRule, PassOrder, Size, geometry
from fastnorm_kernels import offline_resize
from fastnorm_kernels.offline import ARCHS
from fastnorm_kernels.resize import Branch, Source, launches

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
                Branch(
                    kernel,
                    functools.partial(coefficients, kernel=kernel),
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


def main():
    seen = set()
    for arch in (name for name, target in ARCHS.items() if target.backend == "cuda"):
        for arguments in VARIANTS.values():
            for launch in variant(*arguments):
                dtypes = (tensor.dtype for tensor in launch.tensors)
                key = (arch, launch.kernel.__name__, *dtypes, *launch.constants.values())
                if key not in seen:
                    seen.add(key)
                    print(json.dumps(offline_resize.report(launch, arch)), flush=True)
        for layout in ("NHWC", "NCHW"):
            for dtype in (FP32, BF16):
                rows = [offline_resize.report(launch, arch) for launch in offline_resize.example(layout, dtype)]
                total = sum(row.get("thread_instructions", 0) for row in rows)
                print(json.dumps({"arch": arch, "layout": layout, "dtype": str(dtype), "total": total}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
