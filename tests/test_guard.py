"""guard: no image that came from the normalisation raises, and each known mistake does, with its name."""

import pytest
import torch
from torch._subclasses import FakeTensorMode

import fastnorm
from fastnorm import CLIP, DINOV2, IMAGENET, SIGLIP, VAE, Normalization, guard
from fastnorm.ops import guard as module
from fastnorm.spec.ranges import Making
from helpers import DTYPES, dtype_name, random_pixels

pytestmark = pytest.mark.compat

PRESETS = (VAE, CLIP, IMAGENET)
OWN = (Normalization(0.0, 1.0, "identity"), Normalization((0.1, 0.2, 0.3), (0.4, 0.05, 0.6), "own"))
PAIRS = [(expected, given) for expected in PRESETS for given in PRESETS if expected is not given]


def names(value):
    return " given ".join(each.name for each in value) if isinstance(value, tuple) else value.name


def column(numbers, dtype=torch.float32):
    return torch.tensor(numbers, dtype=torch.float32).view(3, 1, 1).to(dtype)


# The orders in which published code normalises pixel values x: torchvision v1, torchvision v2, transformers' fused one,
# by the reciprocal of std, as one multiplication and one addition.
ORDERS = {
    "v1": lambda x, m, s: (x / 255 - m) / s,
    "v2": lambda x, m, s: (x * (1 / 255) - m) / s,
    "fused": lambda x, m, s: (x - (m.float() * 255).to(x.dtype)) / (s.float() * 255).to(x.dtype),
    "reciprocal": lambda x, m, s: (x / 255 - m) * (1 / s),
    "affine": lambda x, m, s: x * (1 / (s.float() * 255).to(x.dtype)) - m / s,
}
OF_THE_VAE = {
    "x / 127.5 - 1": lambda x: x / 127.5 - 1,
    "2 * x - 1": lambda x: 2 * (x / 255) - 1,
    "float64": lambda x: (x.double() / 127.5 - 1).to(x.dtype),
}


def made(target, dtype):
    """Every code of every channel as published code makes it, each operation in `dtype`: (3, 1, 256)."""
    x = torch.arange(256).expand(3, 1, 256).to(dtype)
    for order in ORDERS.values():
        yield order(x, column(target.mean, dtype), column(target.std, dtype))
    if target is VAE:
        for order in OF_THE_VAE.values():
            yield order(x)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
@pytest.mark.parametrize("computed_in", DTYPES, ids=dtype_name)
@pytest.mark.parametrize("target", PRESETS + OWN, ids=names)
def test_no_published_code_raises(target, computed_in, dtype):
    """Of each value alone is asked whether it is possible, so an image of all codes stands for all images."""
    for values in made(target, computed_in):
        values = values.to(dtype)
        assert guard(values, target) is values
        precisions = list(module._precisions(values))
        assert any(module._are_possible(values, target, precision) for precision in precisions)
        limits = [(float(channel.min()), float(channel.max())) for channel in values]
        assert any(module._is_within(limits, Making.of(target), precision) for precision in precisions)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
@pytest.mark.parametrize("target", PRESETS, ids=names)
def test_every_constant_image_passes(target, dtype):
    """Black and white among them; in the dtype, and back in float32."""
    for values in made(target, torch.float32):
        for code in range(0, 256, 15):
            image = values[..., code : code + 1].to(dtype).expand(3, 4, 4)
            assert guard(image, target) is image
            guard(image.float(), target)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
@pytest.mark.parametrize("target", PRESETS, ids=names)
def test_floats_between_codes_pass(target, dtype):
    """Images that were resized or blended as floats, within the range."""
    unit = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    smooth = torch.linspace(0, 1, 400).expand(3, 4, 400)
    for pixels in (unit, unit * 0.1 + 0.6, smooth, smooth * 0.3, torch.zeros(3, 8, 8) + column(target.mean)):
        guard(((pixels - column(target.mean)) / column(target.std)).to(dtype), target)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
@pytest.mark.parametrize("pair", PAIRS, ids=names)
def test_another_presets_values_are_named(pair, dtype):
    expected, given = pair
    (values,) = fastnorm.fused_normalize(random_pixels(2, 3, 40, 40), [given], dtype=dtype)
    with pytest.raises(
        ValueError, match=f"expected values of {expected.name}.*values of fastnorm.{given.name.upper()}"
    ):
        guard(values, expected)


def test_a_preset_under_another_name_is_the_same():
    (values,) = fastnorm.fused_normalize(random_pixels(1, 3, 40, 40), [IMAGENET])
    guard(values, DINOV2)
    with pytest.raises(ValueError, match=r"fastnorm\.VAE = fastnorm\.SIGLIP: fastnorm\.renormalize"):
        guard(fastnorm.fused_normalize(random_pixels(1, 3, 40, 40), [SIGLIP])[0], CLIP)


MISTAKES = {
    "neither scaled nor normalised": lambda x, _m, _s: x,
    r"scaled to \[0, 1\] and not normalised": lambda x, _m, _s: x / 255,
    "normalised without being scaled": lambda x, m, s: (x - m) / s,
    "scaled by 1/255 twice, then": lambda x, m, s: (x / 255 / 255 - m) / s,
    "scaled by 1/255 twice and not": lambda x, _m, _s: x / 255 / 255,
    "normalised twice": lambda x, m, s: ((x / 255 - m) / s - m) / s,
}


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("target", PRESETS, ids=names)
def test_a_mistake_is_named(target, mistake, dtype):
    x = random_pixels(2, 3, 40, 40).float()
    values = MISTAKES[mistake](x, column(target.mean), column(target.std)).to(dtype)
    if mistake.endswith("then") and dtype is not torch.float32:
        guard(values, target)  # as its page says: what is left of it looks like a black image
        return
    with pytest.raises(ValueError, match=mistake):
        guard(values, target)


def test_a_range_alone_is_enough_where_it_cannot_be():
    """Between codes, but out of range: one mistake explains the range, or none."""
    with pytest.raises(ValueError, match=r"G -1 to 1\.5, B -1 to 1, expected.*they may be .*values of fastnorm\.CLIP"):
        guard(torch.tensor([[-1.0, 1.0], [-1.0, 1.5], [-1.0, 1.0]]).view(3, 1, 2), VAE)
    with pytest.raises(ValueError, match=r"may be pixels normalised twice, or values of fastnorm\.IMAGENET = "):
        guard(torch.tensor([[-2.1, 1.0], [-2.0, 1.5], [-1.8, 2.6]]).view(3, 1, 2), CLIP)
    with pytest.raises(ValueError, match="no known mistake explains them"):
        guard(torch.full((3, 2, 2), -1e6), VAE)
    with pytest.raises(ValueError, match="may be pixel values 0 to 255, neither scaled nor normalised, or pixel"):
        guard(torch.rand(3, 40, 40) * 250 + 0.25, CLIP)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
@pytest.mark.parametrize("target", PRESETS, ids=names)
def test_the_limits_are_six_roundings_wide(target, dtype):
    roundoff = module._ROUNDOFFS[dtype]
    limits = torch.tensor(Making.of(target).limits(roundoff)).view(3, 2).double()
    inside, outside = limits * (1 - 4 * roundoff), limits * (1 + 4 * roundoff)
    for end in (0, 1):
        guard(inside[:, end].view(3, 1, 1).to(dtype), target)
        with pytest.raises(ValueError, match="expected values of"):
            guard(outside[:, end].view(3, 1, 1).to(dtype), target)


def test_what_is_no_number():
    values = torch.zeros(3, 4, 4)
    values[1, 2, 3], values[0, 0, 0] = float("nan"), float("inf")
    with pytest.raises(ValueError, match="got 1 NaN and 1 infinite of 48 values"):
        guard(values, VAE)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool], ids=dtype_name)
def test_integers_have_not_been_normalised(dtype):
    with pytest.raises(ValueError, match=f"{dtype}.*not been normalised.*fused_normalize"):
        guard(torch.zeros(3, 4, 4, dtype=dtype), CLIP)


@pytest.mark.parametrize(
    ("call", "error", "fragment"),
    [
        (lambda: guard([1.0], VAE), TypeError, "got list"),
        (lambda: guard(torch.zeros(3, 4, 4).double(), VAE), TypeError, "float64"),
        (lambda: guard(torch.zeros(3, 4, 4), "clip"), TypeError, "fastnorm.CLIP"),
        (lambda: guard(torch.zeros(1, 4, 4), VAE), ValueError, r"\(1, 4, 4\)"),
    ],
)
def test_wrong_kinds(call, error, fragment):
    with pytest.raises(error, match=fragment):
        call()


def test_the_tensor_itself_is_returned_untouched():
    (values,) = fastnorm.fused_normalize(random_pixels(2, 2, 3, 8, 12), [CLIP], layout="NCHW")
    before = values.clone()
    for each in (values.requires_grad_(), values[:, ::2], values[0, 0], values.transpose(-1, -2), values[:, :, :, :0]):
        assert guard(each, CLIP) is each
    assert torch.equal(values, before)
    with FakeTensorMode():
        fake = torch.zeros(3, 4, 4)
        assert guard(fake, CLIP) is fake
    meta = torch.zeros(3, 4, 4, device="meta")
    assert guard(meta, CLIP) is meta


def test_compilation_breaks_the_graph_here():
    torch.compiler.reset()
    (values,) = fastnorm.fused_normalize(random_pixels(1, 3, 40, 40), [VAE])
    function = torch.compile(lambda x, n: guard(x * 1, n) + 1, backend="eager")
    assert torch.equal(function(values, VAE), values + 1)
    with pytest.raises(ValueError, match=r"values of fastnorm\.VAE"):
        function(values, CLIP)
    torch.compiler.reset()
