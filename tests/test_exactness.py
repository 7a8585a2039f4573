"""Every code of every channel, preset and dtype has the published value, on every path, bit for bit."""

import pytest
import torch

import fastnorm
from fastnorm.verification import oracle
from helpers import DTYPES, PATHS, PRESETS, assert_same_bits, dtype_name, every_code, poisoned

pytestmark = pytest.mark.compat

LAYOUTS = ("NHWC", "NCHW")
MEMORY_FORMATS = (torch.contiguous_format, torch.channels_last)

# Beyond the presets: no shift, no scale, a division that no reciprocal gets right, values far from 1.
ODD_TARGETS = (
    fastnorm.Normalization(0.0, 1.0, "identity"),
    fastnorm.Normalization((0.1, 0.2, 0.3), (1e-44, 1e-3, 2.0), "needs a true division"),
    fastnorm.Normalization((-3.0, 7.0, 0.25), (0.125, 512.0, 3.0), "far from 1", allow_unusual=True),
    fastnorm.Normalization((1 / 3, 2 / 3, 0.0), (1 / 3, 1 / 7, 1e5), "not representable", allow_unusual=True),
    fastnorm.Normalization(1e-30, 2.0**120, "negative zero", allow_unusual=True),
    fastnorm.Normalization((1e-38, 1e-45, 0.0), 2.0, "negative zero in half precision"),
    fastnorm.Normalization(1e10, 1e-38, "infinite", allow_unusual=True),
    fastnorm.Normalization((1e-45, 1e-40, 0.5), 0.5, "subnormal mean"),
    fastnorm.Normalization(0.5, (1e-45, 1e-40, 0.5), "subnormal std"),
    fastnorm.Normalization(1e-40, 2.0**-140, "subnormal throughout"),
)


def expected(planes, target, dtype):
    """The oracle's values for uint8 planes (N, 3, H, W)."""
    table = oracle.table(target, dtype)
    codes = planes.cpu().long()
    return torch.stack([table[c][codes[:, c]] for c in range(3)], dim=1)


def planes_of(batch, layout):
    return batch.permute(0, 3, 1, 2) if layout == "NHWC" else batch


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
@pytest.mark.parametrize("target", PRESETS + ODD_TARGETS, ids=lambda t: t.name)
def test_reference_equals_exact_rational_arithmetic(target, dtype, device):
    for layout in LAYOUTS:
        batch = every_code(layout, device)
        (got,) = fastnorm.reference.normalize(batch, [target], dtype=dtype, layout=layout)
        assert_same_bits(got, expected(planes_of(batch, layout), target, dtype))


@pytest.mark.parametrize("memory_format", MEMORY_FORMATS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("path", PATHS)
def test_every_code_of_every_target(path, layout, dtype, memory_format, device):
    batch = every_code(layout, device)
    targets = PRESETS + ODD_TARGETS
    outputs = [poisoned((2, 3, 16, 32), dtype, device, memory_format) for _ in targets]
    PATHS[path](batch, targets, outputs, layout)
    for target, output in zip(targets, outputs, strict=True):
        assert_same_bits(output, expected(planes_of(batch, layout), target, dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=dtype_name)
@pytest.mark.parametrize(
    ("layout", "memory_format", "margin"),
    [
        ("NHWC", torch.contiguous_format, 0),
        ("NCHW", torch.contiguous_format, 0),
        ("NHWC", torch.channels_last, 0),
        ("NHWC", torch.contiguous_format, 3),
        ("NCHW", torch.channels_last, 3),
    ],
    ids=["NHWC", "NCHW", "NHWC to channels_last", "NHWC crop", "NCHW crop to channels_last"],
)
def test_every_code_in_every_place_of_a_tile(layout, memory_format, margin, dtype, device):
    """An image for each code, as large as a tile of 1,024 pixels: each thread computes all codes in all its places."""
    codes = torch.arange(256, dtype=torch.uint8, device=device)
    planes = torch.stack([codes, codes.flip(0), codes.roll(77)], dim=1).view(256, 3, 1, 1).repeat(1, 1, 16, 64)
    batch = planes.permute(0, 2, 3, 1).contiguous() if layout == "NHWC" else planes
    if margin:
        lengths = [size + margin * (size in (16, 64)) for size in batch.shape]
        whole = torch.zeros(lengths, dtype=torch.uint8, device=device)
        batch = whole[tuple(slice(size) for size in batch.shape)].copy_(batch)
    targets = (fastnorm.VAE, fastnorm.CLIP)
    outputs = [poisoned(planes.shape, dtype, device, memory_format) for _ in targets]
    PATHS["kernel"](batch, targets, outputs, layout)
    for target, output in zip(targets, outputs, strict=True):
        assert_same_bits(output, expected(planes, target, dtype))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("target", PRESETS + ODD_TARGETS, ids=lambda t: t.name)
def test_one_target_in_each_dtype(target, path, layout, device):
    batch = every_code(layout, device)
    outputs = [poisoned((2, 3, 16, 32), dtype, device) for dtype in DTYPES]
    PATHS[path](batch, [target] * len(DTYPES), outputs, layout)
    for dtype, output in zip(DTYPES, outputs, strict=True):
        assert_same_bits(output, expected(planes_of(batch, layout), target, dtype))


def test_vae_equals_the_other_spellings_of_its_formula():
    x = torch.arange(256, dtype=torch.float32)
    ours = fastnorm.fused_normalize(every_code("NCHW"), [fastnorm.VAE])[0][0, 0].flatten()[:256]
    assert torch.equal(ours, x / 127.5 - 1)
    assert torch.equal(ours, 2 * (x / 255) - 1)


def test_dual_is_vae_and_clip():
    batch = every_code("NHWC")
    both = fastnorm.fused_dual_normalize(batch)
    assert type(both)._fields == ("vae", "clip")
    assert_same_bits(both.vae, expected(planes_of(batch, "NHWC"), fastnorm.VAE, torch.float32))
    assert_same_bits(both.clip, expected(planes_of(batch, "NHWC"), fastnorm.CLIP, torch.float32))


def test_dual_takes_other_targets():
    batch = every_code("NHWC")
    first, second = fastnorm.fused_dual_normalize(batch, vae=fastnorm.IMAGENET, clip=fastnorm.SIGLIP)
    assert_same_bits(first, expected(planes_of(batch, "NHWC"), fastnorm.IMAGENET, torch.float32))
    assert_same_bits(second, expected(planes_of(batch, "NHWC"), fastnorm.SIGLIP, torch.float32))
