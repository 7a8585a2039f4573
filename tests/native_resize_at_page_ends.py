"""Resizes images that begin and end where readable memory does, into outputs that do; test_native_resize runs it."""

import itertools
import sys

import torch

import fastnorm
import fastnorm_native
from fastnorm import reference
from fastnorm.backends.base import TargetJob
from fastnorm.backends.cpu import native, resizing
from fastnorm.backends.eager import resize_and_crop
from fastnorm.spec.filters import BICUBIC
from fastnorm.spec.geometry import Geometry, Size, Span
from guarded_pages import PROT_READ, guarded, protect


def views(memory, height, width):
    """Images at both ends of the memory, in every order of bytes."""
    orders = {
        "interleaved": ((height, width, 3), lambda flat: flat),
        "planes": ((3, height, width), lambda flat: flat.permute(1, 2, 0)),
        "rgbx": ((height, width, 4), lambda flat: flat[..., :3]),
        "last three of four": ((height, width, 4), lambda flat: flat[..., 1:]),
        "every second pixel": ((height, 2 * width, 3), lambda flat: flat[:, 1::2]),
    }
    for shape, view in orders.values():
        size = shape[0] * shape[1] * shape[2]
        for flat in (memory[:size], memory[-size:]):
            yield view(flat.view(shape))


def outputs(memory, size, dtype):
    """Tensors at both ends of the memory, in every order of elements."""
    count = 3 * size.height * size.width
    flat = memory.view(dtype)
    for part in (flat[:count], flat[-count:]):
        yield part.view(1, 3, *size)
        yield part.view(1, *size, 3).permute(0, 3, 1, 2)


def main():
    library = fastnorm_native.library()
    sizes = [Size(41, 43), Size(5, 3), Size(1, 1), Size(64, 2), Size(2, 200)]
    print(len(sizes) * 10 * 2 * 3 * 4)
    source_memory, output_memory = guarded(pages=8), guarded(pages=2)
    source_memory.copy_(torch.randint(0, 256, source_memory.shape, dtype=torch.uint8))
    protect(source_memory.data_ptr(), source_memory.numel(), PROT_READ)
    for instructions in native.INSTRUCTIONS.values():
        if instructions > library.best:
            continue
        engine = native.Engine(library, instructions)
        for source, vertical_first in itertools.product(sizes, (False, True)):
            crop = Span(2, 13, 1, 15)
            plan = Geometry(source, Size(16, 17), crop, crop.mirror(), vertical_first)
            for image, dtype in itertools.product(
                views(source_memory, *source), (torch.float32, torch.float16, torch.bfloat16)
            ):
                codes = resize_and_crop(image, plan, BICUBIC)
                (want,) = reference.normalize(codes[None], [fastnorm.CLIP], dtype=dtype, layout="NHWC")
                for output in outputs(output_memory, plan.output, dtype):
                    output.fill_(float("nan"))
                    resizing.preprocess(engine, [image], [TargetJob(fastnorm.CLIP, BICUBIC, (plan,), output)])
                    print("same" if torch.equal(output, want) else "different")


if __name__ == "__main__":
    sys.exit(main())
