"""What several tests need: pixels to feed, poisoned memory to write to, bits to compare, both paths to run."""

import contextlib
import functools
import os

import numpy as np
import torch
from PIL import Image

import fastnorm
import fastnorm_native
from fastnorm.backends.cpu import native
from fastnorm.images.layout import as_planes
from fastnorm.spec.geometry import Geometry, Span
from fastnorm.verification.oracle import bits

PRESETS = (fastnorm.VAE, fastnorm.CLIP, fastnorm.IMAGENET, fastnorm.DINOV2, fastnorm.SIGLIP)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def dtype_name(dtype):
    return str(dtype).removeprefix("torch.")


def random_pixels(*shape, device="cpu", seed=0):
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator, device="cpu").to(device)


def noise(size, seed=0):
    """Black, white and everything between: filters that go below zero overshoot at both ends."""
    pixels = random_pixels(*size, 3, seed=seed)
    return torch.where(random_pixels(*size, 1, seed=seed + 1) > 127, pixels, (pixels > 127).to(torch.uint8) * 255)


def whole(source, target, vertical_first=False):
    rows, columns = Span(0, target.height, 0, target.height), Span(0, target.width, 0, target.width)
    return Geometry(source, target, rows, columns, vertical_first)


def every_code(layout, device="cpu"):
    """Two 16 x 32 images in which every channel of each takes every code twice."""
    codes = torch.arange(512).remainder(256).to(torch.uint8)
    channels = torch.stack([codes, codes.flip(0), codes.roll(77)]).view(3, 16, 32)
    planes = torch.stack([channels, channels.roll(1, dims=0)]).to(device)
    return planes.permute(0, 2, 3, 1).contiguous() if layout == "NHWC" else planes


def dual(batch):
    """The pair of an NHWC batch, in two dtypes."""
    return fastnorm.fused_dual_normalize(batch, dtype=(torch.float32, torch.bfloat16), layout="NHWC")


def poisoned(shape, dtype, device="cpu", memory_format=torch.contiguous_format):
    """Memory full of NaN: one element that is not written shows."""
    if memory_format is torch.channels_last:
        *lead, c, h, w = shape
        return torch.full((*lead, h, w, c), float("nan"), dtype=dtype, device=device).movedim(-1, -3)
    return torch.full(tuple(shape), float("nan"), dtype=dtype, device=device)


def assert_same_bits(got, expected):
    assert got.dtype is expected.dtype
    assert got.shape == expected.shape
    different = int((bits(got.cpu()) != bits(expected.cpu())).sum())
    assert different == 0, f"{different} of {got.numel()} elements differ"


def run_kernel(batch, targets, outputs, layout="auto"):
    """The Triton kernel, as --device has it run: for a GPU, CPU tensors visit it and return."""
    import fastnorm_kernels

    if outputs[0].device.type == "cpu" and torch.cuda.is_available():
        visiting = [output.cuda() for output in outputs]
        run_kernel(torch.as_tensor(batch).cuda(), targets, visiting, layout)
        for output, value in zip(outputs, visiting, strict=True):
            output.copy_(value)
        return
    # The interpreter computes with numpy, which warns where IEEE arithmetic overflows to infinity as it should.
    with np.errstate(over="ignore"):
        fastnorm_kernels.normalize(as_planes(batch, layout), [(t.mean, t.std, t.order) for t in targets], outputs)


def run_public(batch, targets, outputs, layout="auto"):
    fastnorm.fused_normalize(batch, targets, layout=layout, out=outputs)


def preprocess_by_kernel(images, targets, **options):
    """fused_preprocess by the Triton kernels: on the GPU where there is one, else on the CPU."""
    from fastnorm.backends.cuda.backend import launch_preprocess
    from fastnorm.ops.preprocess import run

    packed = images if isinstance(images, fastnorm.PackedImages) else fastnorm.PackedImages.pack(images)
    if torch.cuda.is_available():
        outputs = fastnorm.fused_preprocess(packed.to("cuda"), targets, **options)
        return [[one.cpu() for one in output] if isinstance(output, list) else output.cpu() for output in outputs]

    def launch(images, jobs):
        import fastnorm_kernels

        launch_preprocess(fastnorm_kernels, images, jobs)

    outputs, _ = run(packed, tuple(targets), launch, **options)
    return list(outputs)


@contextlib.contextmanager
def cpu_path(name):
    """FASTNORM_CPU=name for the calls inside."""
    before = os.environ.get(native.VARIABLE)
    os.environ[native.VARIABLE] = name
    native.engine.cache_clear()
    try:
        yield
    finally:
        del os.environ[native.VARIABLE]
        if before is not None:
            os.environ[native.VARIABLE] = before
        native.engine.cache_clear()


def run_public_by(path):
    """The public call on the CPU with FASTNORM_CPU=path."""

    def run(batch, targets, outputs, layout="auto"):
        with cpu_path(path):
            run_public(batch, targets, outputs, layout)

    return run


def available_instructions():
    """The words of FASTNORM_CPU for the instruction sets that this machine has, if it has native code at all."""
    found = fastnorm_native.library()
    if found is None:
        return []
    return [name for name, instructions in native.INSTRUCTIONS.items() if instructions <= found.best]


CPU_PATHS = [*available_instructions(), native.TORCH]
PATHS = {"kernel": run_kernel, "public": run_public} | {path: run_public_by(path) for path in CPU_PATHS}


def preprocess_by(path):
    """The public call on the CPU with FASTNORM_CPU=path."""

    def preprocess(images, targets, **options):
        with cpu_path(path):
            return fastnorm.fused_preprocess(images, targets, **options)

    return preprocess


# Each way to preprocess, beside the reference.
PREPROCESS = {"kernel": preprocess_by_kernel} | {path: preprocess_by(path) for path in CPU_PATHS}


def as_planar(pixels):
    """The same image (H, W, 3), with its channels one after the other in memory."""
    return pixels.permute(2, 0, 1).contiguous().permute(1, 2, 0)


def as_padded_rows(pixels):
    """The same image (H, W, 3), as a part of a larger one."""
    height, width, _ = pixels.shape
    wide = torch.full((height + 2, width + 5, 3), 99, dtype=torch.uint8)
    wide[1:-1, 2 : 2 + width] = pixels
    return wide[1:-1, 2 : 2 + width]


@functools.cache
def transformers_alpha():
    """What the installed transformers makes of transparent pixels: since 5.2x white, before that what is hidden."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    processor = CLIPImageProcessorPil(do_resize=False, do_center_crop=False, do_rescale=False, do_normalize=False)
    return "white" if processor(image, return_tensors="np").pixel_values.max() else "drop"
