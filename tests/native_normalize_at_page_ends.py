"""Normalises images that begin and end where readable memory does; test_native_normalize runs it."""

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


def main():
    shapes = [(1, 3, 1, 1), (1, 3, 5, 7), (2, 3, 16, 16), (1, 3, 3, 67), (2, 3, 33, 31)]
    source, target = guarded(pages=2), guarded(pages=8)
    source.copy_(torch.randint(0, 256, source.shape, dtype=torch.uint8))
    protect(source.data_ptr(), len(source), PROT_READ)
    for shape, dtype in itertools.product(shapes, DTYPES):
        for pixels, output in itertools.product(at_ends(source, shape), at_ends(target.view(dtype), shape)):
            (expected,) = fastnorm.reference.normalize(pixels, [fastnorm.CLIP], dtype=dtype, layout="NCHW")
            for path in available_instructions():
                with cpu_path(path):
                    output.fill_(float("nan"))
                    fastnorm.fused_normalize(pixels, [fastnorm.CLIP], layout="NCHW", out=[output])
                print("same" if torch.equal(output, expected) else f"different: {shape} {dtype} {path}")


if __name__ == "__main__":
    sys.exit(main())
