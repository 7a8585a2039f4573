"""Offsets around 2^31 and past it: chosen programs of the compiled kernels, on memory that is mapped but never filled."""

import mmap

import numpy as np
import pytest
import torch

import fastnorm
from fastnorm import reference
from fastnorm_kernels.normalize import MOST_CODES, STRIDED_TILE, _parts, choose, plans_of
from helpers import assert_same_bits, random_pixels
from ptx import Fault, Memory, bridge

pytestmark = pytest.mark.compiled

MAP_NORESERVE = 0x4000  # Linux's; Python has a name for it from 3.13 on

TARGETS = (fastnorm.VAE, fastnorm.CLIP)


def lazy(*shape, dtype=torch.uint8):
    """Memory of which only the pages that are touched exist."""
    size = int(np.prod(shape)) * dtype.itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    return torch.frombuffer(mmap.mmap(-1, size, flags=flags), dtype=dtype).view(shape)


def add(memory, name, tensor, **options):
    for channel in range(3):  # which may lie gigabytes apart
        memory.add_tensor(f"{name}, channel {channel}", tensor[channel], **options)


def check(x, outputs, program, image, first, arch):
    """One program's tile of 1,024 pixels of an image, or what is left of it from `first` on; returns the launch."""
    (part,) = _parts(x, tuple(outputs))
    launch = choose(*part, plans_of([(t.mean, t.std) for t in TARGETS[: len(outputs)]]))
    tile = slice(first, first + STRIDED_TILE)
    pixels = x.flatten(2)[image, :, tile]
    pixels.copy_(random_pixels(*pixels.shape))
    values = [output.flatten(2)[image, :, tile] for output in outputs]
    memory = Memory()
    add(memory, "pixels", pixels)
    for index, value in enumerate(values):
        add(memory, f"output {index}", value, writable=True, due=True)
    bridge.run(launch, arch, memory, (launch.x, launch.outputs, *launch.sizes), programs=[program])
    memory.check_written()
    wanted = reference.eager(pixels.unsqueeze(1), TARGETS[: len(outputs)], [output.dtype for output in outputs])
    for value, want in zip(values, wanted, strict=True):
        assert_same_bits(value.contiguous(), want.squeeze(1))
    return launch


@pytest.mark.parametrize("frames", [517, 518, 1035, 1036])
def test_planes_of_a_long_video_lie_far_apart(frames, arch):
    """(3, T, H, W) seen as T images: 2^30 to 2^31 bytes, and more, from plane to plane."""
    video = lazy(3, frames, 1080, 1920)
    x = video[:, :2].permute(1, 0, 2, 3)
    assert x.stride(1) == frames * 1080 * 1920
    output = lazy(2, 3, 1080, 1920, dtype=torch.float32)
    last = 1080 * 1920 - 1024
    for image, first in ((0, 0), (1, 0), (1, last)):
        launch = check(x, [output], (image * (last + 1024) + first) // 1024, image, first, arch)
        assert launch.kernel.__name__ == "_normalize_strided_kernel"


@pytest.mark.parametrize("dtypes", [(torch.bfloat16,), (torch.bfloat16, torch.float32)], ids=["one", "two"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("side", [18919, 32768], ids=["planes of 358 million", "planes of 2^30"])
def test_one_image_of_more_than_two_to_the_thirty_codes(side, layout, dtypes, arch):
    pixels = side * side
    x = lazy(1, 3, side, side) if layout == "NCHW" else lazy(1, side, side, 3).permute(0, 3, 1, 2)
    outputs = [lazy(1, 3, side, side, dtype=dtype) for dtype in dtypes]
    for program in (0, pixels // 1024 // 2, -(-pixels // 1024) - 1):
        check(x, outputs, program, 0, 1024 * program, arch)


@pytest.mark.parametrize("width", [2**31 - 1024, 2**31 - 1023, 2**31 - 1])
def test_rows_of_nearly_two_to_the_thirty_first_pixels(width, arch):
    x, output = lazy(1, 3, 1, width), lazy(1, 3, 1, width, dtype=torch.bfloat16)
    for program in (0, width // 1024 // 2, -(-width // 1024) - 1):
        check(x, [output], program, 0, 1024 * program, arch)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_batch_of_nearly_two_to_the_thirty_first_codes(memory_format, dtype, arch):
    """The largest that the kernels of whole words take: its last programs."""
    n, h, w = MOST_CODES // (3 * 1024 * 1024), 1024, 1024
    x = lazy(n, h, w, 3).permute(0, 3, 1, 2)
    if memory_format is torch.contiguous_format:
        output = lazy(n, 3, h, w, dtype=dtype)
    else:
        output = lazy(n, h, w, 3, dtype=dtype).permute(0, 3, 1, 2)
    launch = choose(x, (output,), plans_of([(fastnorm.CLIP.mean, fastnorm.CLIP.std)]))
    assert launch.kernel.__name__ != "_normalize_strided_kernel"
    assert x.numel() > 2**31 - 2**22
    last = x[-1:, :, -8:]
    last.copy_(random_pixels(*last.shape))
    programs = np.arange(launch.grid[0])[-(last.numel() * launch.grid[0] // x.numel()) :]
    memory = Memory()
    add(memory, "pixels", last[0])
    add(memory, "output", output[-1, :, -8:], writable=True, due=True)
    bridge.run(launch, arch, memory, (launch.x, launch.outputs, *launch.sizes), programs=programs)
    memory.check_written()
    assert_same_bits(output[-1:, :, -8:].contiguous(), reference.eager(last, [fastnorm.CLIP], [dtype])[0])


def test_a_read_past_the_end_would_be_seen(arch):
    """What these tests rest on: only the tile that is registered may be touched."""
    x, output = lazy(1, 3, 1024, 1024), lazy(1, 3, 1024, 1024, dtype=torch.float32)
    with pytest.raises(Fault, match="out of bounds"):
        check(x[:, :, :, :1000], [output[:, :, :, :1000]], 0, 0, 3, arch)
