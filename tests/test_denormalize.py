"""denormalize and renormalize: every code comes back, and every path gives the definition's bits for any float."""

import itertools
import pathlib
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from torchvision.transforms import Normalize
from transformers import CLIPImageProcessor

import fastnorm
from fastnorm import CLIP, IMAGENET, VAE, Normalization
from fastnorm.backends.cpu import native, torch_inverse
from fastnorm.backends.cuda import backend as cuda
from fastnorm_kernels.division import fp32
from helpers import (
    CPU_PATHS,
    DTYPES,
    PRESETS,
    assert_same_bits,
    available_instructions,
    cpu_path,
    dtype_name,
    every_code,
    poisoned,
    random_pixels,
)

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "normalized-tensors.md"

PIXEL_DTYPES = (torch.uint8, *DTYPES)
IDENTITY = Normalization(0.0, 1.0, "identity")
# Beyond the presets: no power of two, a std that has no reciprocal in float32, constants far from 1, a negative zero.
ODD = (
    Normalization((1 / 3, 2 / 3, 0.1), (1 / 3, 1 / 7, 2.0), "not representable"),
    Normalization((-0.0, 0.0, 1e-40), (1e-45, 1e-3, 1.0), "subnormal"),
    Normalization((-3.0, 7.0, 0.25), (0.125, 512.0, 2.0**127), "far from 1", allow_unusual=True),
)
ORDERED = (
    Normalization(CLIP.mean, CLIP.std, "clip to_dtype", order="to_dtype"),
    Normalization(CLIP.mean, CLIP.std, "clip fused", order="fused"),
    Normalization(0.5, 0.5, "scale_shift", order="scale_shift"),
)
PAIRS = [(VAE, CLIP), (VAE, IMAGENET), (CLIP, VAE), (IMAGENET, ODD[0]), (ODD[0], IDENTITY), (ODD[1], ODD[2])]


def names(value):
    return " to ".join(each.name for each in value) if isinstance(value, tuple) else value.name


def kernel_call(name, values, constants, output):
    """The Triton kernel by the CUDA backend, as --device has it run: for a GPU, CPU tensors visit it and return."""
    call = getattr(cuda, name)
    if values.device.type == "cpu" and torch.cuda.is_available():
        visiting = torch.empty_strided(output.shape, output.stride(), dtype=output.dtype, device="cuda")
        call(values.cuda(), *constants, visiting)
        output.copy_(visiting)
        return
    with np.errstate(all="ignore"):  # the interpreter computes with numpy, which warns where IEEE arithmetic overflows
        call(values, *constants, output)


def public_call(name, values, constants, output):
    getattr(fastnorm, name)(values, *constants, out=output)


def public_call_by(path):
    """The public call on the CPU with FASTNORM_CPU=path."""

    def call(name, values, constants, output):
        with cpu_path(path):
            public_call(name, values, constants, output)

    return call


# The public call takes the best of the CPU's.
PATHS = {"kernel": kernel_call, "public": public_call} | {path: public_call_by(path) for path in CPU_PATHS[1:]}


def new(like, dtype):
    """Memory that shows an element which is not written."""
    if dtype is torch.uint8:
        return torch.full(like.shape, 77, dtype=dtype, device=like.device)
    return poisoned(like.shape, dtype, like.device)


def assert_same(got, expected):
    """Bit for bit, but for NaN: which of its patterns comes out is the device's."""
    if got.dtype is torch.uint8:
        assert torch.equal(got, expected)
        return
    assert torch.equal(got.isnan(), expected.isnan())
    assert_same_bits(got.nan_to_num(nan=7.0), expected.nan_to_num(nan=7.0))


def every_half(dtype, device="cpu"):
    """All 65,536 numbers of a half type, in all channels."""
    numbers = torch.from_numpy(np.arange(1 << 16, dtype=np.uint16)).view(dtype)
    return torch.stack([numbers, numbers.flip(0), numbers.roll(77)]).view(1, 3, 128, 512).to(device)


def floats(source, device="cpu"):
    """float32 of all magnitudes, and those around each code and around the middle of two."""
    generator = np.random.default_rng(0)
    anything = generator.integers(0, 1 << 32, (3, 1 << 15), dtype=np.uint32).view(np.float32)
    mean, std = (np.array(numbers, np.float64).reshape(3, 1) for numbers in (source.mean, source.std))
    with np.errstate(all="ignore"):
        exact = ((np.arange(-4, 516) / 510 - mean) / std).astype(np.float32)
        near = [exact]
        for direction in (-np.inf, np.inf):
            step = exact
            for _ in range(3):
                step = np.nextafter(step, np.float32(direction))
                near.append(step)
    plain = generator.uniform(-3, 3, (3, 4096)).astype(np.float32)
    values = np.concatenate([anything, *near, plain], axis=1)
    width = values.shape[1] // 64 * 64
    return torch.from_numpy(np.ascontiguousarray(values[:, :width])).view(1, 3, 64, width // 64).to(device)


def exact_pixels(values, source, channel):
    """The definition in fractions, rounded after each operation."""
    mean, std = (fp32(Fraction(each[channel])) for each in (source.mean, source.std))
    for value in values:
        t = fp32(Fraction(value) * Fraction(std))
        yield fp32(Fraction(t) + Fraction(mean))


@pytest.mark.compat
@pytest.mark.parametrize("source", PRESETS[:3] + ODD[:1], ids=names)
def test_the_reference_equals_exact_rational_arithmetic(source):
    values = floats(source)
    values = values[values.isfinite() & (values.abs() < 1e30)][: 3 * 2000].view(3, 1, 2000)
    codes = fastnorm.reference.denormalize(values, source)
    unit = fastnorm.reference.denormalize(values, source, dtype=torch.float32)
    clip = fastnorm.reference.renormalize(values, source, CLIP)
    for channel in range(3):
        pixels = list(exact_pixels(values[channel].flatten().tolist(), source, channel))
        assert unit[channel].flatten().tolist() == [min(max(p, 0.0), 1.0) for p in pixels]
        scaled = [min(max(fp32(Fraction(p) * 255), 0.0), 255.0) for p in pixels]
        assert codes[channel].flatten().tolist() == [round(Fraction(v)) for v in scaled]
        mean, std = (Fraction(fp32(Fraction(each[channel]))) for each in (CLIP.mean, CLIP.std))
        differences = [fp32(Fraction(p) - mean) for p in pixels]
        assert clip[channel].flatten().tolist() == [fp32(Fraction(d) / std) for d in differences]


@pytest.mark.compat
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("source", [*PRESETS, IDENTITY, ODD[0], *ORDERED], ids=names)
def test_every_code_comes_back_from_float32(source, path, layout, device):
    batch = every_code(layout, device)
    (values,) = fastnorm.fused_normalize(batch, [source], layout=layout)
    codes = new(values, torch.uint8)
    PATHS[path]("denormalize", values, (source,), codes)
    assert torch.equal(codes, batch if layout == "NCHW" else batch.movedim(-1, -3))


def lost(source, dtype):
    """How many of the 256 codes of each channel do not come back from a half type."""
    codes = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256).contiguous()
    (values,) = fastnorm.fused_normalize(codes, [source], dtype=dtype, layout="CHW")
    return (fastnorm.denormalize(values, source) != codes).sum((1, 2)).tolist()


@pytest.mark.compat
def test_the_page_says_what_half_types_lose():
    rows = re.findall(
        r"^\| (.+?) \| (\d+), (\d+), (\d+) \| (\d+), (\d+), (\d+) \|$", PAGE.read_text("utf-8"), re.MULTILINE
    )
    counted = {}
    for label, *counts in rows:
        for name in re.findall(r"`(\w+)`", label):
            counted[name] = [int(count) for count in counts]
    assert counted == {p.name.upper(): lost(p, torch.float16) + lost(p, torch.bfloat16) for p in PRESETS}
    assert all(lost(preset, torch.float32) == [0, 0, 0] for preset in PRESETS)


def test_what_is_lost_in_bfloat16_is_a_code_that_shares_its_value():
    codes = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256).contiguous()
    (values,) = fastnorm.fused_normalize(codes, [CLIP], dtype=torch.bfloat16, layout="CHW")
    back = fastnorm.denormalize(values, CLIP)
    (again,) = fastnorm.fused_normalize(back, [CLIP], dtype=torch.bfloat16, layout="CHW")
    assert torch.equal(again, values)


def output_dtypes(path, dtypes, number):
    """Kernels are compiled for each set of constants: with the first for all dtypes, else where a last bit shows."""
    if path != "kernel" or number == 0:
        return dtypes
    return [dtype for dtype in dtypes if dtype in (torch.uint8, torch.float32)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=dtype_name)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("source", [VAE, CLIP, ODD[1], ODD[2]], ids=names)
def test_every_half_is_denormalized_as_defined(source, path, dtype, device):
    values = every_half(dtype, device)
    for wanted in output_dtypes(path, PIXEL_DTYPES, (VAE, CLIP, *ODD).index(source)):
        got = new(values, wanted)
        PATHS[path]("denormalize", values, (source,), got)
        assert_same(got.cpu(), fastnorm.reference.denormalize(values.cpu(), source, dtype=wanted))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=dtype_name)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("pair", PAIRS, ids=names)
def test_every_half_is_renormalized_as_defined(pair, path, dtype, device):
    values = every_half(dtype, device)
    for wanted in output_dtypes(path, DTYPES, PAIRS.index(pair)):
        got = new(values, wanted)
        PATHS[path]("renormalize", values, pair, got)
        assert_same(got.cpu(), fastnorm.reference.renormalize(values.cpu(), *pair, dtype=wanted))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("source", [VAE, CLIP, IMAGENET, *ODD], ids=names)
def test_float32_is_denormalized_as_defined(source, path, device):
    values = floats(source, device)
    for wanted in output_dtypes(path, PIXEL_DTYPES, (VAE, CLIP, IMAGENET, *ODD).index(source)):
        got = new(values, wanted)
        PATHS[path]("denormalize", values, (source,), got)
        assert_same(got.cpu(), fastnorm.reference.denormalize(values.cpu(), source, dtype=wanted))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("pair", PAIRS, ids=names)
def test_float32_is_renormalized_as_defined(pair, path, device):
    values = floats(pair[0], device)
    for wanted in output_dtypes(path, DTYPES, PAIRS.index(pair)):
        got = new(values, wanted)
        PATHS[path]("renormalize", values, pair, got)
        assert_same(got.cpu(), fastnorm.reference.renormalize(values.cpu(), *pair, dtype=wanted))


@pytest.mark.compat
@pytest.mark.parametrize("path", [*PATHS, "reference"])
@pytest.mark.parametrize("source", [VAE, CLIP], ids=names)
def test_what_is_no_number_or_out_of_range(path, source):
    nan, infinity = float("nan"), float("inf")
    values = torch.tensor([nan, -infinity, infinity, -1e38, 1e38, -0.0]).expand(3, 1, 6).contiguous()
    codes, unit = new(values, torch.uint8), new(values, torch.float32)
    for output in (codes, unit):
        if path == "reference":
            output.copy_(fastnorm.reference.denormalize(values, source, dtype=output.dtype))
        else:
            PATHS[path]("denormalize", values, (source,), output)
    mean = torch.tensor(source.mean).view(3, 1)
    assert codes[..., :5].tolist() == [[[0, 0, 255, 0, 255]]] * 3
    assert unit[..., 0].isnan().all()
    assert unit[..., 1:5].tolist() == [[[0, 1, 0, 1]]] * 3
    assert torch.equal(unit[..., 5], mean)


# --- published code


def decoded(dtype=torch.float32):
    """What a VAE decodes: mostly within [-1, 1], with codes' own values and some beyond."""
    (codes,) = fastnorm.fused_normalize(random_pixels(1, 3, 32, 64), [VAE])
    noise = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    return torch.cat([codes, noise, noise * 1e-6 - 1, floats(VAE)[..., :64][:, :, :32].nan_to_num(0, 1e30, -1e30)]).to(
        dtype
    )


@pytest.mark.compat
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
def test_floats_equal_diffusers_denormalize(dtype):
    values = decoded(dtype)
    assert_same_bits(fastnorm.denormalize(values, VAE, dtype=dtype), VaeImageProcessor.denormalize(values))


@pytest.mark.compat
def test_codes_equal_diffusers_postprocess():
    """In float32. Of half types, diffusers rounds the pixels before it scales them."""
    values = decoded()
    images = VaeImageProcessor().postprocess(values, output_type="pil")
    codes = torch.stack([torch.from_numpy(np.array(image)).movedim(-1, 0) for image in images])
    assert torch.equal(fastnorm.denormalize(values, VAE), codes)


@pytest.mark.compat
@pytest.mark.parametrize("target", [CLIP, IMAGENET], ids=names)
@pytest.mark.parametrize(
    "to_unit",
    [lambda x: (x + 1) / 2, lambda x: x * 0.5 + 0.5, lambda x: x / 2 + 0.5],
    ids=["(x+1)/2", "x*.5+.5", "x/2+.5"],
)
def test_from_the_vae_as_published(to_unit, target):
    values = decoded()
    expected = Normalize(target.mean, target.std)(to_unit(values))
    assert_same_bits(fastnorm.renormalize(values, VAE, target), expected)


@pytest.mark.compat
def test_from_the_vae_to_clip_as_stable_video_diffusion_does():
    processor = CLIPImageProcessor()
    options = {"do_normalize": True, "do_center_crop": False, "do_resize": False, "do_rescale": False}
    values = decoded()
    expected = processor(images=(values + 1.0) / 2.0, **options, return_tensors="pt").pixel_values
    assert_same_bits(fastnorm.renormalize(values, VAE, CLIP), expected)


@pytest.mark.compat
def test_to_the_identity_nothing_is_clamped():
    values = torch.full((3, 1, 1), 3.0)
    assert fastnorm.renormalize(values, VAE, IDENTITY).tolist() == [[[2.0]]] * 3


# --- memory


def strided(values, kind):
    """The same values in other memory."""
    if kind == "channels_last":
        return values.movedim(-3, -1).contiguous().movedim(-1, -3)
    if kind == "crop":
        whole = torch.zeros(*values.shape[:-2], values.shape[-2] + 2, values.shape[-1] + 3, dtype=values.dtype)
        return whole.to(values.device)[..., 1:-1, 1:-2].copy_(values)
    if kind == "transposed":
        return values.transpose(-1, -2).contiguous().transpose(-1, -2)
    if kind == "unaligned":
        flat = torch.zeros(values.numel() + 1, dtype=values.dtype, device=values.device)[1:]
        return flat.view(values.shape).copy_(values)
    return values


KINDS = ("contiguous", "channels_last", "crop", "transposed", "unaligned")


# A kernel is compiled for each kind of strides, which it takes apart for its input and its output.
MEMORY = [
    (path, *kinds)
    for path in PATHS
    for kinds in itertools.product(KINDS, KINDS)
    if path != "kernel" or "contiguous" in kinds or kinds[0] == kinds[1]
]


@pytest.mark.parametrize(("path", "kind", "output_kind"), MEMORY)
@pytest.mark.parametrize(("dtype", "wanted"), [(torch.float32, torch.uint8), (torch.bfloat16, torch.float32)], ids=str)
def test_any_strides(path, dtype, wanted, kind, output_kind, device):
    for shape in ((2, 3, 16, 32), (2, 3, 9, 7)):
        dense = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(device, dtype)
        values, got = strided(dense, kind), strided(new(dense, wanted), output_kind)
        PATHS[path]("denormalize", values, (CLIP,), got)
        assert_same(got.cpu(), fastnorm.reference.denormalize(dense.cpu(), CLIP, dtype=wanted))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", [(3, 5, 7), (0, 3, 5, 7), (2, 3, 0, 7), (2, 4, 3, 5, 7), (1, 2, 2, 3, 4, 4)], ids=str)
def test_any_number_of_axes(path, shape, device):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(device)
    got = new(values, torch.float32)
    PATHS[path]("renormalize", values, (VAE, CLIP), got)
    assert_same_bits(got.cpu(), fastnorm.reference.renormalize(values.cpu(), VAE, CLIP))


@pytest.mark.parametrize("path", PATHS)
def test_every_second_clip_of_a_video(path, device):
    """Leading axes that are not one axis without a copy."""
    values = torch.randn(2, 4, 3, 5, 7, generator=torch.Generator().manual_seed(3)).to(device)
    whole = torch.full((2, 4, 3, 5, 7), 77, dtype=torch.uint8, device=device)
    PATHS[path]("denormalize", values[:, ::2], (VAE,), whole[:, ::2])
    assert torch.equal(whole[:, ::2], fastnorm.reference.denormalize(values[:, ::2], VAE))
    assert (whole[:, 1::2] == 77).all()


@pytest.mark.parametrize("path", CPU_PATHS)
@pytest.mark.parametrize("shape", [(5, 3, 300, 400), (2, 3, 700, 600), (1, 3, 3, 200_000)], ids=str)
def test_large_images_go_in_pieces_to_several_threads(shape, path):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(4))
    half = values.bfloat16()
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with cpu_path(path):
            codes, clip = fastnorm.denormalize(values, CLIP), fastnorm.renormalize(half, VAE, CLIP)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(codes, fastnorm.reference.denormalize(values, CLIP))
    assert_same_bits(clip, fastnorm.reference.renormalize(half, VAE, CLIP, dtype=torch.bfloat16))


def test_outputs_keep_channels_last(device):
    values = torch.randn(2, 3, 8, 12, device=device).contiguous(memory_format=torch.channels_last)
    for output in (fastnorm.denormalize(values, VAE), fastnorm.renormalize(values, VAE, CLIP)):
        assert output.is_contiguous(memory_format=torch.channels_last)
    assert fastnorm.denormalize(values.contiguous(), VAE).is_contiguous()
    assert fastnorm.denormalize(values[..., ::2], VAE).is_contiguous()


@pytest.mark.compat
def test_dtypes_are_those_asked_for_or_of_out_or_the_default():
    values = torch.zeros(3, 4, 4, dtype=torch.bfloat16)
    assert fastnorm.denormalize(values, VAE).dtype is torch.uint8
    assert fastnorm.renormalize(values, VAE, CLIP).dtype is torch.bfloat16
    assert fastnorm.renormalize(values, VAE, CLIP, dtype=torch.float32).dtype is torch.float32
    out = torch.empty(3, 4, 4)
    assert fastnorm.denormalize(values, VAE, out=out) is out
    assert (out == 0.5).all()


# --- the CPU's native code


@pytest.fixture
def left_to_torch(monkeypatch):
    """The tensors that torch's path has been given."""
    taken = []
    for name in ("denormalize", "renormalize"):
        original = getattr(torch_inverse, name)

        def watched(values, *others, original=original):
            taken.append(values)
            original(values, *others)

        monkeypatch.setattr(torch_inverse, name, watched)
    with cpu_path(native.AUTO):
        yield taken


def test_the_native_code_takes_all_strides_and_dtypes(left_to_torch):
    for kind, dtype, wanted in itertools.product(KINDS, DTYPES, PIXEL_DTYPES):
        values = strided(torch.zeros(2, 3, 9, 7, dtype=dtype), kind)
        fastnorm.denormalize(values, CLIP, dtype=wanted)
        if wanted is not torch.uint8:
            fastnorm.renormalize(values[0], VAE, CLIP, dtype=wanted)
    assert left_to_torch == []


def between_elements(values):
    memory = np.zeros(values.nbytes + 1, np.uint8)[1:]
    return torch.from_numpy(memory.view(np.float32)).view(values.shape).copy_(values)


def test_elements_that_are_not_aligned_are_left_to_torch(left_to_torch):
    values = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(5))
    expected = fastnorm.reference.denormalize(values, CLIP)
    assert torch.equal(fastnorm.denormalize(between_elements(values), CLIP), expected)
    out = between_elements(values)
    fastnorm.renormalize(values, VAE, CLIP, out=out)
    assert_same_bits(out.clone(), fastnorm.reference.renormalize(values, VAE, CLIP))
    assert len(left_to_torch) == 2


@pytest.mark.parametrize("path", CPU_PATHS)
def test_autograd_learns_of_the_write(path):
    out = torch.zeros(3, 4, 5)
    product = out * torch.ones(1, requires_grad=True)
    with cpu_path(path):
        fastnorm.renormalize(torch.zeros(3, 4, 5), VAE, CLIP, out=out)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


@pytest.mark.parametrize("path", available_instructions())
def test_subnormal_numbers_are_kept(path):
    """torch.set_flush_denormal changes how the calling thread computes; the values do not change."""
    values, tiny = torch.full((3, 1, 50), 1e-40), Normalization(0.0, 1.0)
    half = torch.full((3, 1, 50), 1e-7, dtype=torch.float16)
    expected = [fastnorm.reference.renormalize(each, tiny, tiny, dtype=torch.float32) for each in (values, half)]
    assert all((each != 0).all() for each in expected)
    torch.set_flush_denormal(True)
    try:
        with cpu_path(path):
            got = [fastnorm.renormalize(each, tiny, tiny, dtype=torch.float32) for each in (values, half)]
    finally:
        torch.set_flush_denormal(False)
    for one, other in zip(got, expected, strict=True):
        assert_same_bits(one, other)
