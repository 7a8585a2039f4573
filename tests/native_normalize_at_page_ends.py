"""Normalises images that begin and end where readable memory does, and goes back; test_native_normalize runs it."""

import functools
import itertools
import sys

import torch

import fastnorm
from guarded_pages import PROT_READ, guarded, protect
from helpers import DTYPES, available_instructions, cpu_path


def at_ends(memory, shape):
    """Contiguous and channels_last tensors of this shape at both ends of the memory."""
    images, channels, height, width = shape
    count = images * channels * height * width
    for flat in (memory[:count], memory[-count:]):
        yield flat.view(shape)
        yield flat.view(images, height, width, channels).permute(0, 3, 1, 2)


def calls(codes, floats, target, shape, dtype):
    """Every way to lie in memory: what to call with `out=`, the output, and what it should hold."""
    for pixels, output in itertools.product(at_ends(codes, shape), at_ends(target.view(dtype), shape)):
        (expected,) = fastnorm.reference.normalize(pixels, [fastnorm.CLIP], dtype=dtype, layout="NCHW")
        yield (
            lambda p=pixels, o=output: fastnorm.fused_normalize(p, [fastnorm.CLIP], layout="NCHW", out=[o]),
            output,
            expected,
        )
    for back in (torch.uint8, dtype):
        for values, output in itertools.product(at_ends(floats, shape), at_ends(target.view(back), shape)):
            expected = fastnorm.reference.denormalize(values, fastnorm.CLIP, dtype=back)
            yield functools.partial(fastnorm.denormalize, values, fastnorm.CLIP, out=output), output, expected


def read_only(memory, contents):
    memory.copy_(contents)
    protect(memory.data_ptr(), memory.nbytes, PROT_READ)
    return memory


def main():
    shapes = [(1, 3, 1, 1), (1, 3, 5, 7), (2, 3, 16, 16), (1, 3, 3, 67), (2, 3, 33, 31)]
    codes, target = guarded(pages=2), guarded(pages=8)
    read_only(codes, torch.randint(0, 256, codes.shape, dtype=torch.uint8))
    for dtype in DTYPES:
        floats = guarded(pages=8).view(dtype)
        read_only(floats, torch.randn(floats.shape))
        for shape in shapes:
            for call, output, expected in calls(codes, floats, target, shape, dtype):
                for path in available_instructions():
                    output.fill_(77)  # neither a value nor a code that is common
                    with cpu_path(path):
                        call()
                    print("same" if torch.equal(output, expected) else f"different: {shape} {dtype} {path}")


if __name__ == "__main__":
    sys.exit(main())
