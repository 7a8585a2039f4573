"""What torch itself makes of pixels: its filters, on memory of each kind.

As a program, run by test_torch_arithmetic.py, it compares torch's instruction sets with the reference, and prints of
each how many values there were, how many of torch's differ, and how many of torchvision's.
"""

import functools
import multiprocessing
import os
import sys

import torch
from torchvision.transforms.v2.functional import resize

from fastnorm.backends.eager import resize_and_crop
from fastnorm.spec.filters import TORCH_FILTERS
from fastnorm.spec.geometry import Size
from helpers import noise, whole


@functools.cache
def torch_has(name):
    pixels = torch.zeros(1, 2, 2, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    try:
        torch.nn.functional.interpolate(pixels, (1, 2), mode=name, antialias=True)
    except ValueError:
        return False
    return True


def torchs_filters():
    return {name: kernel for name, kernel in TORCH_FILTERS.items() if torch_has(name)}


def interpolated(pixels, size, kernel, memory="NHWC"):
    """What torch makes of (H, W, 3) pixels."""
    batch = pixels.permute(2, 0, 1)[None]
    if memory == "NCHW":
        batch = batch.contiguous()
    elif memory == "a batch of NHWC":
        batch = torch.cat([batch.flip(2), batch]).contiguous(memory_format=torch.channels_last)
    elif memory == "a batch of NCHW":
        batch = torch.cat([batch.flip(2), batch]).contiguous()
    assert batch.is_contiguous(memory_format=torch.channels_last if "NHWC" in memory else torch.contiguous_format)
    return torch.nn.functional.interpolate(batch, size, mode=kernel.name, antialias=True)[-1].permute(1, 2, 0)


MEMORY = ("NHWC", "NCHW", "a batch of NHWC", "a batch of NCHW")


def compare(capability, cases):
    assert torch.backends.cpu.get_cpu_capability().lower() == capability, torch.backends.cpu.get_cpu_capability()
    draw = torch.Generator().manual_seed(0)
    values = differing = torchvisions = 0
    for case in range(cases):
        height, width, h, w = torch.randint(2, 400 if case % 2 else 90, (4,), generator=draw).tolist()
        pixels = noise((height, width), seed=case)
        for kernel in torchs_filters().values():
            ours = resize_and_crop(pixels, whole(Size(height, width), Size(h, w)), kernel)
            memory = MEMORY[case % len(MEMORY)]
            theirs = interpolated(pixels, (h, w), kernel, memory)
            values += ours.numel()
            differing += int((ours != theirs).sum())
            if kernel.name == "bilinear":
                torchvisions += int((resize(pixels.permute(2, 0, 1), [h, w]).permute(1, 2, 0) != ours).sum())
    print(values, differing, torchvisions, flush=True)


def main(cases, *capabilities):
    """Torch chooses its code at the first computation, which is after the fork."""
    for capability in capabilities:
        os.environ["ATEN_CPU_CAPABILITY"] = capability
        child = multiprocessing.get_context("fork").Process(target=compare, args=(capability, int(cases)))
        child.start()
        child.join()
        if child.exitcode:
            sys.exit(child.exitcode)


if __name__ == "__main__":
    main(*sys.argv[1:])
