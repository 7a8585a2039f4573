"""Resizes images that begin and end where readable memory does; test_triton_interpreter runs it."""

import sys

import torch

import triton_interpreter
from fastnorm.backends.eager import resize_and_crop
from fastnorm.spec.filters import BICUBIC, coefficients
from fastnorm.spec.geometry import CropRule, PassOrder, Size, geometry
from guarded_pages import guarded


def main():
    triton_interpreter.switch_on()
    from fastnorm_kernels import ResizeTarget, Source, preprocess

    memory = guarded(pages=2)
    memory.copy_(torch.randint(0, 256, memory.shape, dtype=torch.uint8))
    height, width = 41, 43
    plan = geometry(Size(height, width), 16, None, CropRule.TORCHVISION, PassOrder.HORIZONTAL_FIRST)
    size = 3 * height * width
    for flat in (memory[:size], memory[-size:]):
        for image in (flat.view(height, width, 3), flat.view(3, height, width).permute(1, 2, 0)):
            output = torch.full((1, 3, *plan.output), float("nan"))
            target = ResizeTarget(BICUBIC, coefficients, (0.0,) * 3, (1.0,) * 3, [plan], output)
            preprocess([Source(image.data_ptr(), height, width, *image.stride())], [target], torch.device("cpu"))
            codes = resize_and_crop(image, plan, BICUBIC).permute(2, 0, 1)
            print("same" if torch.equal(output[0], codes / 255.0) else "different")


if __name__ == "__main__":
    sys.exit(main())
