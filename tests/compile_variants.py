"""Compiles what test_offline.py judges and prints the reports; run without Triton's interpreter."""

import concurrent.futures
import dataclasses
import json
import sys

import torch

from fastnorm_kernels.inspection import normalize as offline
from fastnorm_kernels.launching import OPTIONS
from fastnorm_kernels.normalize import choose, plans_of

VAE = ((0.5,) * 3, (0.5,) * 3)
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NEEDS_DIVISION = ((0.1, 0.2, 0.3), (1e-44, 1e-3, 2.0))

FP32, FP16, BF16 = torch.float32, torch.float16, torch.bfloat16


def memory(layout, size, dtype=torch.uint8):
    """An (N, 3, H, W) view of dense memory that exists in name only."""
    n, h, w = size
    if layout == "NHWC":
        return torch.empty((n, h, w, 3), dtype=dtype, device="meta").permute(0, 3, 1, 2)
    return torch.empty((n, 3, h, w), dtype=dtype, device="meta")


def variant(layout, dtypes, targets=(VAE, CLIP), out="NCHW", size=(64, 512, 512), crop=None):
    x = memory(layout, size)
    if crop:
        x = x[:, :, crop:-crop, crop:-crop]
        size = (size[0], *x.shape[-2:])
    return x, tuple(memory(out, size, dtype) for dtype in dtypes), targets


VARIANTS = {
    **{
        f"{layout} {name} pair": variant(layout, (dtype, dtype))
        for layout in ("NHWC", "NCHW")
        for name, dtype in (("fp32", FP32), ("fp16", FP16), ("bf16", BF16))
    },
    **{
        f"NHWC to channels_last {name} pair": variant("NHWC", (dtype, dtype), out="NHWC")
        for name, dtype in (("fp32", FP32), ("bf16", BF16))
    },
    "NHWC fp32 and bf16": variant("NHWC", (FP32, BF16)),
    "NHWC 1x224 bf16 pair": variant("NHWC", (BF16, BF16), size=(1, 224, 224)),
    "NHWC one-row images bf16 pair": variant("NHWC", (BF16, BF16), size=(64, 1, 8)),
    "NHWC VAE": variant("NHWC", (BF16,), (VAE,)),
    "NHWC CLIP": variant("NHWC", (BF16,), (CLIP,)),
    "NHWC VAE twice": variant("NHWC", (BF16,) * 2, (VAE, VAE)),
    "NHWC CLIP twice": variant("NHWC", (BF16,) * 2, (CLIP, CLIP)),
    "NHWC CLIP in fp32 and bf16": variant("NHWC", (FP32, BF16), (CLIP, CLIP)),
    "NHWC six targets": variant("NHWC", (BF16,) * 6, (VAE, CLIP, IMAGENET) * 2),
    "NHWC true division": variant("NHWC", (FP32,), (NEEDS_DIVISION,)),
    "NHWC 225x225 bf16 pair": variant("NHWC", (BF16,) * 2, size=(64, 225, 225)),
    "NCHW 225x225 bf16 pair": variant("NCHW", (BF16,) * 2, size=(64, 225, 225)),
    "NHWC crop bf16 pair": variant("NHWC", (BF16,) * 2, crop=16),
    "NCHW crop fp32 pair": variant("NCHW", (FP32,) * 2, crop=16),
    "NHWC nearly 2^31 codes bf16 pair": variant("NHWC", (BF16,) * 2, size=(650, 1024, 1024)),
    "NHWC one image of more than 2^31 codes": variant("NHWC", (BF16,) * 2, size=(1, 32768, 32768)),
}

EVERYWHERE = [name for name in VARIANTS if name.endswith("pair")]


def row(job):
    arch, name = job
    x, outputs, targets = VARIANTS[name]
    threads = OPTIONS["num_warps"] * offline.ARCHS[arch].warp_size
    launch = choose(x, outputs, plans_of(targets), threads=threads)
    return {"variant": name, **dataclasses.asdict(offline.report(launch, arch))}


def main(archs):
    jobs = [(arch, name) for arch in archs for name in (VARIANTS if arch == "sm_90" else EVERYWHERE)]
    # Here first: Triton reads all of itself for a cache key, which forked processes need not do again.
    print(json.dumps(row(jobs[0])), flush=True)
    with concurrent.futures.ProcessPoolExecutor() as processes:
        for found in processes.map(row, jobs[1:]):
            print(json.dumps(found), flush=True)
    offline._main(["--arch", "sm_90", "--dtypes", "bf16,bf16", "--layout", "NHWC", "--size", "2", "64", "64"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
