"""Every wrong input raises before any work, and says what it got, what it expected and the call that fixes it.

The table comes first: id, call, exception, and three fragments of the message, one for each of those.
"""

import re

import numpy as np
import pytest
import torch
from PIL import Image

import fastnorm
from fastnorm import CLIP, VAE, fused_dual_normalize, fused_normalize

pytestmark = pytest.mark.compat

NHWC = torch.zeros(2, 8, 6, 3, dtype=torch.uint8)
SHAPE = (2, 3, 8, 6)
BUFFER = torch.zeros(2, 3, 8, 6)


def new(dtype=torch.float32):
    return torch.zeros(SHAPE, dtype=dtype)


def dual(batch, **options):
    return lambda: fused_dual_normalize(batch, **options)


def many(targets, **options):
    return lambda: fused_normalize(NHWC, targets, **options)


def floats(low, high):
    return torch.linspace(low, high, NHWC.numel()).view(NHWC.shape)


BAD_INPUTS = [
    # The batch: its kind.
    ("a list of tensors", dual([NHWC[0], NHWC[1]]), TypeError, "a list", "one tensor", "torch.stack"),
    ("a tuple of arrays", dual((NHWC[0].numpy(),)), TypeError, "a tuple", "one tensor", "numpy.stack"),
    ("None", dual(None), TypeError, "NoneType", "uint8", "torch.Tensor"),
    ("a path", dual("photo.jpg"), TypeError, "got str", "uint8", "PIL.Image.open(batch)"),
    ("bytes", dual(b"123"), TypeError, "got bytes", "uint8", "PIL.Image.open(io.BytesIO(batch))"),
    ("a sample", dual({"text": "", "pixel_values": 0}), TypeError, "got dict", "uint8", "batch['pixel_values']"),
    ("another sample", dual({"jpg": 0}), TypeError, "got dict", "uint8", "batch['image']"),
    ("a PIL image", dual(Image.new("RGB", (6, 8))), TypeError, "PIL image", "tensor or array", "numpy.asarray"),
    ("a sparse tensor", dual(NHWC.to_sparse()), TypeError, "sparse", "strided", "to_dense"),
    # The batch: its dtype.
    ("floats in [0, 1]", dual(floats(0, 1)), TypeError, "float32", "uint8 pixel values", "(batch * 255).round()"),
    ("floats in [-1, 1]", dual(floats(-1, 1)), TypeError, "[-1, 1]", "uint8 pixel values", "(batch + 1) * 127.5"),
    ("floats in [0, 255]", dual(floats(0, 255)), TypeError, "[0, 255]", "uint8 pixel values", "batch.round()"),
    ("normalised floats", dual(floats(-2, 2)), TypeError, "[-2, 2]", "uint8 pixel values", "pass the uint8 pixels"),
    ("empty floats", dual(floats(0, 1)[:0]), TypeError, "float32", "uint8 pixel values", "(batch * 255).round()"),
    ("bfloat16", dual(floats(0, 1).bfloat16()), TypeError, "bfloat16", "uint8 pixel values", "(batch * 255).round()"),
    ("int64", dual(NHWC.long()), TypeError, "int64", "uint8 pixel values", "batch.to(torch.uint8)"),
    ("int8", dual(NHWC.to(torch.int8)), TypeError, "int8", "uint8 pixel values", "batch.to(torch.uint8)"),
    ("uint16", dual(NHWC.to(torch.uint16)), TypeError, "uint16", "uint8 pixel values", "// 257"),
    ("bool", dual(NHWC.bool()), TypeError, "bool", "uint8 pixel values", "* 255"),
    ("a float array", dual(floats(0, 1).numpy()), TypeError, "float32", "uint8 pixel values", "(batch * 255).round()"),
    ("a uint16 array", dual(NHWC.numpy().astype(np.uint16)), TypeError, "uint16", "uint8 pixel values", "// 257"),
    (
        "an int array",
        dual(NHWC.numpy().astype(int)),
        TypeError,
        "int64",
        "uint8 pixel values",
        "batch.astype(numpy.uint8)",
    ),
    ("an object array", dual(np.array([None])), TypeError, "object", "uint8 pixel values", "list(batch)"),
    # The batch: its shape.
    ("a scalar", dual(NHWC[0, 0, 0, 0]), ValueError, "shape ()", "(N, H, W, 3)", "one image without N"),
    ("one gray image (H, W)", dual(NHWC[0, :, :, 0]), ValueError, "shape (8, 6)", "(N, 3, H, W)", "unsqueeze"),
    ("gray NHWC", dual(NHWC[..., :1]), ValueError, "(2, 8, 6, 1)", "3 channels", "batch.expand(-1, -1, -1, 3)"),
    (
        "gray NCHW",
        dual(NHWC.movedim(-1, 1)[:, :1]),
        ValueError,
        "(2, 1, 8, 6)",
        "3 channels",
        "batch.expand(-1, 3, -1, -1)",
    ),
    ("RGBA NHWC", dual(torch.zeros(2, 8, 6, 4).byte()), ValueError, "(2, 8, 6, 4)", "3 channels", "batch[..., :3]"),
    ("RGBA NCHW", dual(torch.zeros(2, 4, 8, 6).byte()), ValueError, "(2, 4, 8, 6)", "3 channels", "[..., :3, :, :]"),
    ("two channels", dual(torch.zeros(2, 8, 6, 2).byte()), ValueError, "(2, 8, 6, 2)", "3 channels", "last axis"),
    ("no pixels' axis", dual(torch.zeros(3).byte()), ValueError, "shape (3,)", "(N, H, W, 3)", "one image without N"),
    ("both axes 3", dual(torch.zeros(2, 3, 6, 3).byte()), ValueError, "(2, 3, 6, 3)", "NHWC or NCHW", "layout='NHWC'"),
    ("both axes 3, HWC", dual(torch.zeros(3, 5, 3).byte()), ValueError, "(3, 5, 3)", "NHWC or NCHW", "layout='NCHW'"),
    # The layout.
    ("an unknown layout", dual(NHWC, layout="BHWC"), ValueError, "'BHWC'", "expected 'auto'", "'NCHW'"),
    ("a lower-case layout", dual(NHWC, layout="nhwc"), ValueError, "'nhwc'", "expected 'auto'", "'NHWC'"),
    ("a layout of another kind", dual(NHWC, layout=None), TypeError, "NoneType", "expected 'auto'", "'NHWC'"),
    ("the other layout", dual(NHWC, layout="NCHW"), ValueError, "there are 8", "3 channels", "layout='NHWC'"),
    ("the other layout, CHW", dual(NHWC.movedim(-1, 1), layout="NHWC"), ValueError, "are 6", "3 chan", "layout='NCHW'"),
    # The targets.
    ("no target", many([]), ValueError, "empty list", "at least one target", "[fastnorm.VAE]"),
    ("one target, no list", many(CLIP), TypeError, "one Normalization", "a list", "fused_normalize(batch, [it])"),
    ("a name for the list", many("clip"), TypeError, "got str", "a list", "fastnorm.CLIP"),
    ("names in the list", many(["clip"]), TypeError, "'clip'", "a Normalization", "fastnorm.CLIP"),
    ("an unknown name", many(["resnet"]), TypeError, "'resnet'", "a Normalization", "a preset such as"),
    ("a pair of numbers", many([(0.5, 0.5)]), TypeError, "got tuple", "a Normalization", "Normalization(mean, std)"),
    ("a set of targets", many({VAE, CLIP}), TypeError, "got set", "a list", "[fastnorm.VAE, fastnorm.CLIP]"),
    ("a name for vae", dual(NHWC, vae="vae"), TypeError, "vae: got the string", "a Normalization", "fastnorm.VAE"),
    ("no clip", dual(NHWC, clip=None), TypeError, "clip: got NoneType", "a Normalization", "fastnorm.CLIP"),
    # The dtype.
    ("float64", dual(NHWC, dtype=torch.float64), ValueError, "float64", "expected one of", "torch.float32"),
    ("uint8 output", dual(NHWC, dtype=torch.uint8), ValueError, "uint8", "expected one of", "torch.bfloat16"),
    ("a dtype's name", dual(NHWC, dtype="float16"), TypeError, "'float16'", "expected a dtype", "torch.float32"),
    ("numpy's dtype", dual(NHWC, dtype=np.float32), TypeError, "got type", "expected a dtype", "torch.float32"),
    ("three dtypes for two", dual(NHWC, dtype=[torch.float32] * 3), ValueError, "3 of them", "2 target(s)", "one per"),
    ("a name among dtypes", dual(NHWC, dtype=(torch.half, "bf16")), TypeError, "'bf16'", "expected a dtype", "torch."),
    # The memory format.
    ("an unknown format", dual(NHWC, memory_format="NHWC"), TypeError, "'NHWC'", "memory_format", "channels_last"),
    ("preserve", dual(NHWC, memory_format=torch.preserve_format), ValueError, "preserve", "one of", "channels_last"),
    # out=.
    ("out is one tensor", many([VAE], out=new()), TypeError, "got Tensor", "a sequence", "one per target"),
    ("one out for two", dual(NHWC, out=[new()]), ValueError, "1 tensors", "2 target(s)", "one per target"),
    ("out is arrays", many([VAE], out=[new().numpy()]), TypeError, "ndarray", "a torch.Tensor", "torch.from_numpy"),
    ("out of another shape", many([VAE], out=[new()[:1]]), ValueError, "(1, 3, 8, 6)", str(SHAPE), "torch.empty"),
    ("out is NHWC", many([VAE], out=[torch.zeros(2, 8, 6, 3)]), ValueError, "(2, 8, 6, 3)", str(SHAPE), "torch.empty"),
    (
        "out in float64",
        many([VAE], out=[new(torch.float64)]),
        ValueError,
        "float64",
        "expected one of",
        "torch.float32",
    ),
    (
        "out against dtype",
        many([VAE], out=[new(torch.half)], dtype=torch.float32),
        ValueError,
        "got torch.float16",
        "dtype=torch.float32",
        "pass dtype=torch.float16",
    ),
    (
        "out on another device",
        many([VAE], out=[torch.empty(SHAPE, device="meta")]),
        ValueError,
        "on meta",
        "expected cpu",
        "where the input is",
    ),
    (
        "out requires grad",
        many([VAE], out=[new().requires_grad_()]),
        ValueError,
        "requires grad",
        "expected one that does not",
        "out.detach()",
    ),
    (
        "out against memory_format",
        many([VAE], out=[new()], memory_format=torch.channels_last),
        ValueError,
        "strides (144, 48, 6, 1)",
        "not torch.channels_last",
        "leave memory_format out",
    ),
    (
        "out is expanded",
        many([VAE], out=[new()[:1].expand(SHAPE)]),
        ValueError,
        "expanded",
        "each stride",
        "contiguous()",
    ),
    (
        "out of interleaved axes",
        lambda: fused_normalize(NHWC[0, :1, :2], [VAE], out=[torch.zeros(9).as_strided((3, 1, 2), (2, 9, 3))]),
        ValueError,
        "interleaved strides (shape (3, 1, 2), strides (2, 9, 3))",
        "each stride to step past",
        "contiguous()",
    ),
    (
        "out is negated",
        many([VAE], out=[torch.zeros(SHAPE, dtype=torch.complex64).conj().imag]),
        ValueError,
        "negated",
        "memory itself",
        "out.resolve_neg()",
    ),
    ("one out twice", many([VAE, CLIP], out=[BUFFER, BUFFER]), ValueError, "out[1]", "one tensor per", "torch.empty"),
    (
        "outs overlap in part",
        lambda: (lambda b: fused_normalize(NHWC, [VAE, CLIP], out=[b[:2], b[1:]]))(torch.zeros(3, 3, 8, 6)),
        ValueError,
        "shares memory with out[0]",
        "one tensor per target",
        "torch.empty",
    ),
    (
        "out is the batch's memory",
        lambda: (lambda b: fused_normalize(b.view(torch.uint8)[..., :3], [VAE], out=[b.movedim(-1, -3)]))(
            torch.zeros(2, 8, 6, 3)
        ),
        ValueError,
        "shares memory with the batch",
        "memory of its own",
        "torch.empty",
    ),
]

BAD_NORMALIZATIONS = [
    ("zero std", lambda: fastnorm.Normalization(0.5, 0.0), ValueError, "got 0.0", "> 0", "std=1.0"),
    ("negative std", lambda: fastnorm.Normalization(0.5, (0.5, -0.5, 0.5)), ValueError, "-0.5", "channel 1", "> 0"),
    ("std that float32 loses", lambda: fastnorm.Normalization(0.5, 1e-50), ValueError, "1e-50", "float32", "1e-45"),
    ("NaN mean", lambda: fastnorm.Normalization(float("nan"), 0.5), ValueError, "nan", "finite", "0.5"),
    ("infinite std", lambda: fastnorm.Normalization(0.5, float("inf")), ValueError, "inf", "finite", "0.5"),
    ("mean that float32 loses", lambda: fastnorm.Normalization(1e39, 0.5), ValueError, "1e+39", "finite", "0.5"),
    ("two means", lambda: fastnorm.Normalization((0.5, 0.5), 0.5), ValueError, "2 values", "expected 3", "1 for all"),
    ("four stds", lambda: fastnorm.Normalization(0.5, [0.5] * 4), ValueError, "4 values", "expected 3", "1 for all"),
    ("no means", lambda: fastnorm.Normalization((), 0.5), ValueError, "0 values", "expected 3", "1 for all"),
    ("a mean's name", lambda: fastnorm.Normalization("clip", 0.5), TypeError, "got str", "3 numbers", "1 for all"),
    ("names as means", lambda: fastnorm.Normalization(("a",) * 3, 0.5), TypeError, "type str", "numbers", "plain"),
    ("a bool", lambda: fastnorm.Normalization((True,) * 3, 0.5), TypeError, "type bool", "numbers", "plain"),
    ("None as std", lambda: fastnorm.Normalization(0.5, None), TypeError, "NoneType", "3 numbers", "1 for all"),
    ("a set as mean", lambda: fastnorm.Normalization({0.5, 0.1, 0.9}, 0.5), TypeError, "set", "3 numbers", "no order"),
    ("a huge mean", lambda: fastnorm.Normalization(10**400, 0.5), ValueError, "got inf", "finite", "0.5"),
    ("a huge std", lambda: fastnorm.Normalization(0.5, -(10**400)), ValueError, "got -inf", "finite", "0.5"),
    ("codes as mean", lambda: fastnorm.Normalization(123.675, 0.2), ValueError, "123.675", "-1 to 2", "divide by 255"),
    ("codes as std", lambda: fastnorm.Normalization(0.5, 58.395), ValueError, "58.395", "0 to 2", "divide by 255"),
    ("a dict as mean", lambda: fastnorm.Normalization({"r": 1}, 0.5), TypeError, "dict", "3 numbers", "1 for all"),
    ("a name that is none", lambda: fastnorm.Normalization(0.5, 0.5, 7), TypeError, "got int", "a string", "'clip'"),
]


def cases(table):
    return [pytest.param(*row[1:], id=row[0]) for row in table]


@pytest.mark.parametrize(("call", "kind", "got", "expected", "fix"), cases(BAD_INPUTS + BAD_NORMALIZATIONS))
def test_wrong_input_names_what_was_passed_what_is_expected_and_how_to_fix_it(call, kind, got, expected, fix):
    with pytest.raises(kind) as raised:
        call()
    assert raised.type is kind
    for fragment in (got, expected, fix):
        assert re.search(re.escape(fragment), str(raised.value)), f"{fragment!r} not in {raised.value}"


def test_nothing_is_written_before_an_error():
    outputs = [torch.full(SHAPE, 7.0), torch.full(SHAPE, 7.0, dtype=torch.float64)]
    with pytest.raises(ValueError, match="float64"):
        fused_normalize(NHWC, [VAE, CLIP], out=outputs)
    assert all(bool((output == 7).all()) for output in outputs)


@pytest.mark.gpu
def test_a_refused_float_batch_on_a_gpu_is_not_read():
    """The message could quote its range only after waiting for the device."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(TypeError, match=r"values in \[0, 1\] take"):
            fused_dual_normalize(floats(0, 1).cuda())
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_out_on_the_other_device_is_refused():
    with pytest.raises(ValueError, match="expected cuda:0"):
        fused_normalize(NHWC.cuda(), [VAE], out=[new()])


@pytest.mark.parametrize(
    "batch",
    [
        NHWC[0, :, :, 0],
        NHWC[..., :1],
        NHWC[:1, :1, :, :1],
        NHWC.movedim(-1, 1)[:, :1],
        torch.zeros(1, 1, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 5, 1, 8, 6, dtype=torch.uint8),
        torch.zeros(2, 8, 6, 4, dtype=torch.uint8),
        torch.zeros(2, 4, 8, 6, dtype=torch.uint8),
        torch.zeros(2, 4, 8, 4, dtype=torch.uint8),
    ],
    ids=lambda batch: "x".join(map(str, batch.shape)),
)
@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_the_hints_for_one_and_four_channels_run(batch, kind):
    batch = batch if kind == "tensor" else batch.numpy()
    with pytest.raises(ValueError, match="expected") as caught:
        fused_normalize(batch, [CLIP])
    calls = re.findall(
        r"(?:batch|numpy)(?:\.\w+)*[(\[](?:[^()\[\]]|\([^()]*\)|\[[^\[\]]*\])*[)\]](?:\.\w+\([^()]*\))*",
        str(caught.value),
    )
    assert calls
    for call in calls:
        fixed = eval(call, {"batch": batch, "numpy": np})
        (got,) = fused_normalize(fixed, [CLIP], layout="NHWC" if fixed.shape[-1] == 3 else "NCHW")
        assert got.shape[-3] == 3


@pytest.mark.parametrize("shape", [(1, 8, 6, 3), (8, 1, 3), (1, 1, 1, 3)])
@pytest.mark.parametrize("axis", range(3))
def test_an_array_reversed_along_any_axis(shape, axis):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    reversed_, layout = np.flip(pixels, axis), "NHWC"
    (got,) = fused_normalize(reversed_, [VAE], layout=layout)
    assert torch.equal(got, fused_normalize(reversed_.copy(), [VAE], layout=layout)[0])
