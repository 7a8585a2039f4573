"""Every kernel once, on small memory: what compute-sanitizer watches. Compares with the reference and says what ran.

    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool memcheck --error-exitcode 1 python tests/sanitizer_case.py

Without torch's caching allocator every tensor is an allocation of its own, so that a read or write past its end shows.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "kernels")]

import torch  # noqa: E402

import fastnorm  # noqa: E402
from fastnorm import CLIP, DINOV2, VAE, PackedImages  # noqa: E402
from helpers import assert_same_bits  # noqa: E402

# Sides: words fit; words fit and the last program has a tail; nothing fits.
SIZES = ((2, 16, 24), (3, 40, 52), (2, 15, 17))
DTYPES = ((torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16), (torch.float32, torch.bfloat16))
# (height, width): wide, tall, so tall that Pillow 13 resizes its columns first, narrower than a group of taps, small.
IMAGE_SIZES = ((60, 90), (91, 61), (1300, 40), (50, 3), (17, 19))


def main() -> int:
    count = 0
    for shape in SIZES:
        memory = _noise(*shape, 3)
        views = {
            "NHWC": memory,
            "NCHW": memory.permute(0, 3, 1, 2).contiguous(),
            "crop": _noise(shape[0], shape[1] + 3, shape[2] + 5, 3)[:, 1:-2, 2:-3],
        }
        for name, batch in views.items():
            for dtypes in DTYPES:
                for memory_format in (torch.contiguous_format, torch.channels_last):
                    _check_normalize(batch, (VAE, CLIP), dtypes, memory_format, f"{shape} {name} {dtypes}")
                    count += 1
    _check_normalize(_noise(2, 16, 24, 3), (VAE, CLIP, DINOV2), (torch.float32,) * 3, torch.contiguous_format, "three")

    tensors = [_noise(*size, 3) for size in IMAGE_SIZES]
    for version in ("12", "13"):
        for kind, images in {
            "HWC": PackedImages.pack(tensors),
            "CHW": [tensor.permute(2, 0, 1).contiguous() for tensor in tensors],
            "strided": [tensor.permute(1, 0, 2) for tensor in tensors],
        }.items():
            _check_preprocess(images, version, f"images {kind}, Pillow {version}")
            count += 1
    print(f"{count + 1} calls, every value is the reference's")
    return 0


def _check_normalize(batch, targets, dtypes, memory_format, name):
    expected = fastnorm.reference.normalize(batch, targets, dtype=dtypes)
    resident = batch.cuda() if batch.is_contiguous() else _like(batch)
    got = fastnorm.fused_normalize(resident, targets, dtype=dtypes, memory_format=memory_format)
    _same(got, expected, name)


def _check_preprocess(images, version, name):
    targets = (
        fastnorm.Target(VAE, size=32, resample="bilinear", crop=32),
        fastnorm.Target(
            CLIP, size=28, resample="bicubic", crop=fastnorm.Crop(30, "transformers"), dtype=torch.bfloat16
        ),
    )
    expected = fastnorm.reference.preprocess(images, targets, pillow_version=version, layout=_layout(images))
    resident = images.to("cuda") if isinstance(images, PackedImages) else [_like(image) for image in images]
    got = fastnorm.fused_preprocess(resident, targets, pillow_version=version, layout=_layout(images))
    _same(got, expected, name)


def _layout(images):
    return "CHW" if isinstance(images, list) and images[0].shape[0] == 3 else "HWC"


def _like(tensor):
    """On the GPU, with the same strides."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda").copy_(tensor)


def _noise(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(len(shape)))


def _same(got, expected, name):
    print(name)  # the last one printed is the one that failed
    for tensor, want in zip(got, expected, strict=True):
        assert_same_bits(tensor, want)


if __name__ == "__main__":
    sys.exit(main())
