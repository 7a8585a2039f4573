"""Every code of every channel, preset and dtype has the published value, on every path, bit for bit."""

import pytest
import torch

import fastnorm
from fastnorm.verify import oracle
from helpers import DTYPES, PATHS, PRESETS, assert_same_bits, dtype_name, every_code, poisoned

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


def test_dual_takes_other_branches():
    batch = every_code("NHWC")
    first, second = fastnorm.fused_dual_normalize(batch, vae=fastnorm.IMAGENET, clip=fastnorm.SIGLIP)
    assert_same_bits(first, expected(planes_of(batch, "NHWC"), fastnorm.IMAGENET, torch.float32))
    assert_same_bits(second, expected(planes_of(batch, "NHWC"), fastnorm.SIGLIP, torch.float32))
