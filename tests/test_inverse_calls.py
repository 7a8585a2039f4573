"""denormalize and renormalize as torch's users call them: gradients, compilation, modes, and every wrong argument."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch._subclasses import FakeTensorMode
from torchvision import tv_tensors

import fastnorm
from fastnorm import CLIP, VAE, denormalize, renormalize
from fastnorm.backends import eager
from helpers import assert_same_bits as assert_same_floats

pytestmark = pytest.mark.compat

NAN = float("nan")


def assert_same_bits(got, expected):
    if expected.dtype is torch.uint8:
        assert torch.equal(got, expected)
    else:
        assert_same_floats(got, expected)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def values(dtype=torch.float32, shape=(2, 3, 8, 12), device="cpu"):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)


def to_unit(x):
    return denormalize(x, CLIP, dtype=torch.float32)


def to_clip(x):
    return renormalize(x, VAE, CLIP)


def to_codes(x):
    return denormalize(x, VAE)


DEFINITIONS = {
    to_unit: lambda x: eager.denormalized(x, CLIP, torch.float32),
    to_clip: lambda x: eager.renormalized(x, VAE, CLIP, x.dtype),
    to_codes: lambda x: eager.denormalized(x, VAE, torch.uint8),
}
DIFFERENTIABLE = [to_unit, to_clip]


def name(function):
    return function.__name__


# --- gradients


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("call", DIFFERENTIABLE, ids=name)
def test_gradients_are_those_of_the_definition(call, dtype, device):
    one, other = (values(dtype, device=device).requires_grad_() for _ in range(2))
    with torch.no_grad():
        one[0, 0, 0, :2] = other[0, 0, 0, :2] = torch.tensor([NAN, float("inf")])
    got, expected = call(one), DEFINITIONS[call](other)
    weights = values(got.dtype, device=device)
    (a,) = torch.autograd.grad(got, one, weights)
    (b,) = torch.autograd.grad(expected, other, weights)
    assert_same_bits(a, b)
    assert (a != 0).any()


def test_pixels_outside_of_the_range_have_no_gradient():
    x = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).expand(3, 1, 5).clone().requires_grad_()
    denormalize(x, VAE, dtype=torch.float32).sum().backward()
    assert x.grad.tolist() == [[[0.0, 0.5, 0.5, 0.5, 0.0]]] * 3


@pytest.mark.parametrize("call", DIFFERENTIABLE, ids=name)
def test_a_gradient_can_be_differentiated_again(call):
    x = values().requires_grad_()
    (first,) = torch.autograd.grad((call(x) ** 2).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    other = values().requires_grad_()
    (first,) = torch.autograd.grad((DEFINITIONS[call](other) ** 2).sum(), other, create_graph=True)
    (expected,) = torch.autograd.grad(first.sum(), other)
    assert_same_bits(second, expected)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # by torch's own forward mode
@pytest.mark.parametrize("call", DIFFERENTIABLE, ids=name)
def test_forward_mode_follows(call):
    x, tangent = values(), values() * 2
    got = torch.func.jvp(call, (x,), (tangent,))
    expected = torch.func.jvp(DEFINITIONS[call], (x,), (tangent,))
    for one, other in zip(got, expected, strict=True):
        assert_same_bits(one, other)
    with torch.autograd.forward_ad.dual_level():
        dual = call(torch.autograd.forward_ad.make_dual(x, tangent))
        assert_same_bits(torch.autograd.forward_ad.unpack_dual(dual).tangent, expected[1])


@pytest.mark.parametrize("call", DIFFERENTIABLE, ids=name)
def test_functional_gradients_are_not_cut(call):
    got = torch.func.grad(lambda x: call(x).sum())(values())
    expected = torch.func.grad(lambda x: DEFINITIONS[call](x).sum())(values())
    assert_same_bits(got, expected)


def test_codes_have_no_gradient():
    codes = to_codes(values().requires_grad_())
    assert not codes.requires_grad
    assert torch.equal(codes, to_codes(values()))


@pytest.mark.parametrize("call", DIFFERENTIABLE, ids=name)
def test_nothing_is_recorded_without_gradients(call):
    x = values().requires_grad_()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            got = call(x)
        assert not got.requires_grad
        assert_same_bits(got, call(x.detach()))


def test_large_tensors_that_require_grad_on_many_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        x = values(shape=(8, 3, 300, 400)).requires_grad_()
        assert to_clip(x).requires_grad
        with torch.no_grad():
            assert_same_bits(to_clip(x), DEFINITIONS[to_clip](x))
    finally:
        torch.set_num_threads(before)


# --- compilation and modes


def compiled(function, **options):
    return torch.compile(function, fullgraph=True, backend="aot_eager", **options)


@pytest.mark.parametrize("dynamic", [None, True, False])
@pytest.mark.parametrize("call", DEFINITIONS, ids=name)
def test_fullgraph(call, dynamic, device):
    x = values(device=device)
    got = compiled(call, dynamic=dynamic)(x)
    assert_same_bits(got, call(x))
    assert got.stride() == call(x).stride()


@pytest.mark.parametrize("call", DIFFERENTIABLE, ids=name)
def test_fullgraph_with_gradients(call):
    one, other = values().requires_grad_(), values().requires_grad_()
    compiled(lambda x: (call(x) ** 2).sum())(one).backward()
    (call(other) ** 2).sum().backward()
    assert_same_bits(one.grad, other.grad)


def test_one_graph_serves_every_resolution():
    graphs = []

    def counting(module, example_inputs):
        del example_inputs
        graphs.append(module)
        return module.forward

    function = torch.compile(to_clip, fullgraph=True, backend=counting, dynamic=True)
    for shape in ((2, 3, 8, 12), (2, 3, 31, 33), (2, 3, 64, 5)):
        assert_same_bits(function(values(shape=shape)), to_clip(values(shape=shape)))
    assert len(graphs) == 1


def test_out_is_written_while_tracing():
    out = torch.full((2, 3, 8, 12), NAN)
    compiled(lambda x, o: renormalize(x, VAE, CLIP, out=o))(values(), out)
    assert_same_bits(out, to_clip(values()))


@pytest.mark.parametrize("strict", [True, False])
def test_export_with_dynamic_shapes(strict):
    class Both(torch.nn.Module):
        def forward(self, x):
            return to_clip(x), to_codes(x)

    axes = {0: torch.export.Dim("n", min=1), 2: torch.export.Dim("h", min=1), 3: torch.export.Dim("w", min=1)}
    program = torch.export.export(Both(), (values(),), dynamic_shapes={"x": axes}, strict=strict)
    other = values(shape=(3, 3, 17, 5))
    for got, expected in zip(program.module()(other), (to_clip(other), to_codes(other)), strict=True):
        assert_same_bits(got, expected)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # which opcheck looks at
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_opcheck(memory_format, device):
    x = values(device=device).contiguous(memory_format=memory_format)
    one, two = (list(CLIP.mean), list(CLIP.std)), (list(VAE.mean), list(VAE.std))
    for each in (x, x.clone().requires_grad_()):
        torch.library.opcheck(torch.ops.fastnorm.denormalize.default, (each, *one, torch.float32))
        torch.library.opcheck(torch.ops.fastnorm.renormalize.default, (each, *one, *two, torch.bfloat16))
    torch.library.opcheck(torch.ops.fastnorm.denormalize.default, (x, *one, torch.uint8))


def test_fake_tensors():
    with FakeTensorMode():
        x = torch.empty(2, 3, 8, 12)
        assert (to_codes(x).shape, to_codes(x).dtype) == ((2, 3, 8, 12), torch.uint8)
        assert to_clip(x).dtype is torch.float32
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert to_clip(values()).shape == (2, 3, 8, 12)


def test_meta_tensors():
    assert to_codes(torch.empty(2, 3, 8, 12, device="meta")).shape == (2, 3, 8, 12)


@pytest.mark.parametrize("call", DEFINITIONS, ids=name)
def test_modes_and_subclasses_change_nothing(call):
    expected = call(values())
    with torch.autocast("cpu", torch.bfloat16):
        assert_same_bits(call(values()), expected)
    got = call(tv_tensors.Image(values()))
    assert type(got) is torch.Tensor
    assert_same_bits(got, expected)
    assert_same_bits(torch.func.functionalize(call)(values()), expected)


def test_a_view_that_shows_its_memory_negated():
    x = torch.view_as_complex(torch.randn(3, 4, 4, 2)).conj().imag
    assert x.is_neg()
    assert_same_bits(to_clip(x), to_clip(x.resolve_neg()))


def test_writing_into_out_is_seen_by_autograd():
    out = torch.zeros(2, 3, 8, 12)
    before = out._version
    renormalize(values(), VAE, CLIP, out=out)
    assert out._version > before


# --- errors

X = values()
SHAPE = (2, 3, 8, 12)


def back(tensor=X, normalization=VAE, **options):
    return lambda: denormalize(tensor, normalization, **options)


def on(tensor=X, source=VAE, target=CLIP, **options):
    return lambda: renormalize(tensor, source, target, **options)


BAD = [
    ("a list", back([X[0]]), TypeError, "got list", "torch.Tensor", "torch.stack"),
    ("an array", back(np.zeros(SHAPE)), TypeError, "got ndarray", "torch.Tensor", "torch.from_numpy"),
    ("a PIL image", back(Image.new("RGB", (4, 4))), TypeError, "got Image", "torch.Tensor", "fused_preprocess"),
    ("None", on(None), TypeError, "got NoneType", "torch.Tensor", ""),
    ("sparse", on(X.to_sparse()), TypeError, "sparse", "strided", "to_dense"),
    ("uint8", back(X.byte()), TypeError, "torch.uint8", "normalised values", "fused_normalize"),
    ("float64", on(X.double()), TypeError, "torch.float64", "torch.float32", "tensor.float()"),
    ("int64", on(X.long()), TypeError, "torch.int64", "torch.float32", "tensor.float()"),
    ("channels last", back(X.movedim(1, -1)), ValueError, "(2, 8, 12, 3)", "(N, 3, H, W)", "movedim(-1, -3)"),
    ("latents", on(torch.zeros(1, 4, 8, 8)), ValueError, "(1, 4, 8, 8)", "(N, 3, H, W)", "latents? decode"),
    ("two axes", back(X[0, 0]), ValueError, "(8, 12)", "(N, 3, H, W)", "one image"),
    ("a name", back(X, "clip"), TypeError, "'clip'", "a Normalization", "fastnorm.CLIP"),
    ("a tuple", on(X, VAE, (0.5, 0.5)), TypeError, "target: got tuple", "a Normalization", "fastnorm.CLIP"),
    ("no source", on(X, None), TypeError, "source: got NoneType", "a Normalization", "fastnorm.CLIP"),
    ("a dtype's name", back(dtype="uint8"), TypeError, "dtype: got 'uint8'", "a dtype", "torch.float32"),
    ("int32", back(dtype=torch.int32), ValueError, "dtype: got torch.int32", "torch.uint8, torch.float32", ""),
    ("codes of another", on(dtype=torch.uint8), ValueError, "torch.uint8", "torch.float32, torch.float16", ""),
    ("a list of outputs", back(out=[X]), TypeError, "out: got list", "torch.Tensor", "torch.empty_like"),
    ("another shape", back(out=torch.zeros(3, 8, 12)), ValueError, "(3, 8, 12)", str(SHAPE), "torch.empty"),
    ("another dtype", back(dtype=torch.uint8, out=torch.zeros(SHAPE)), ValueError, "float32", "uint8", "omit it"),
    ("an int output", back(out=torch.zeros(SHAPE).int()), ValueError, "torch.int32", "torch.uint8", ""),
    ("another device", on(out=torch.zeros(SHAPE, device="meta")), ValueError, "meta", "cpu", "where the input is"),
    ("in place", on(out=X), ValueError, "shares memory with the tensor", "memory of its own", "torch.empty()"),
    ("an expanded output", on(out=torch.zeros(1).expand(SHAPE)), ValueError, "expanded", "stride", "contiguous"),
    ("gradients", on(X.clone().requires_grad_(), out=torch.zeros(SHAPE)), ValueError, "gradients", "leave", "detach()"),
    ("its gradients", on(out=torch.zeros(SHAPE, requires_grad=True)), ValueError, "requires grad", "not", "detach()"),
    (
        "vmap",
        lambda: torch.vmap(to_clip)(values(shape=(4, 3, 8, 8))),
        TypeError,
        "torch.vmap",
        "whole batch",
        "outside",
    ),
]


@pytest.mark.parametrize(("call", "error", "fragments"), [(c, e, f) for _, c, e, *f in BAD], ids=[b[0] for b in BAD])
def test_wrong_arguments_say_what_was_given_and_expected_and_the_fix(call, error, fragments):
    before = X.clone()
    with pytest.raises(error) as raised:
        call()
    for fragment in fragments:
        assert fragment in str(raised.value)
    assert torch.equal(X, before)


@pytest.mark.parametrize("call", [fastnorm.reference.denormalize, fastnorm.reference.renormalize], ids=name)
def test_the_reference_checks_alike(call):
    with pytest.raises(TypeError, match="uint8"):
        call(X.byte(), *[VAE, CLIP][: 2 if "re" in call.__name__[:2] else 1])
    with pytest.raises(ValueError, match=re.escape("dtype: got torch.int32")):
        call(X, *[VAE, CLIP][: 2 if "re" in call.__name__[:2] else 1], dtype=torch.int32)


@pytest.mark.parametrize("place", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("operator", "arguments", "error", "fragment"),
    [
        ("denormalize", (X.byte(), [0.5] * 3, [0.5] * 3, torch.uint8), TypeError, "uint8 values"),
        ("denormalize", (X[:, :2], [0.5] * 3, [0.5] * 3, torch.uint8), ValueError, r"\(2, 2, 8, 12\)"),
        ("denormalize", (X, [0.5] * 2, [0.5] * 3, torch.uint8), ValueError, "got 2, 3 means and stds"),
        ("denormalize", (X, [0.5] * 3, [0.5] * 3, torch.int32), ValueError, "dtype torch.int32"),
        ("renormalize", (X, *[[0.5] * 3] * 3, [0.5], torch.float32), ValueError, "got 3, 3, 3, 1 means"),
        ("renormalize", (X, *[[0.5] * 3] * 4, torch.uint8), ValueError, "dtype torch.uint8"),
    ],
)
def test_the_operators_check_their_own_arguments(operator, arguments, error, fragment, place):
    tensor, *rest = arguments
    with pytest.raises(error, match=fragment):
        getattr(torch.ops.fastnorm, operator)(tensor.to(place), *rest)
