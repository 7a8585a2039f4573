"""torch.compile, export, subclasses and modes: one opaque operator, the same bits, no break and no recompilation."""

import pytest
import torch
from torchvision import tv_tensors

import fastnorm
from fastnorm import CLIP, DINOV2, VAE
from helpers import assert_same_bits, dual, random_pixels

pytestmark = pytest.mark.compat


def same(got, expected):
    for output, value in zip(got, expected, strict=True):
        assert_same_bits(output, value)
        assert output.stride() == value.stride()


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def compiled(function, **options):
    """`aot_eager` traces and functionalises as Inductor does, without needing a C++ compiler."""
    return torch.compile(function, fullgraph=True, backend="aot_eager", **options)


@pytest.mark.parametrize("dynamic", [None, True, False])
def test_fullgraph(dynamic, device):
    batch = random_pixels(2, 8, 12, 3, device=device)
    same(compiled(dual, dynamic=dynamic)(batch), dual(batch))


def test_result_is_still_a_named_tuple():
    result = compiled(dual)(random_pixels(2, 8, 12, 3))
    assert result.vae.dtype is torch.float32
    assert result.clip.dtype is torch.bfloat16


def test_one_graph_serves_every_resolution():
    graphs = []

    def counting(module, example_inputs):
        del example_inputs
        graphs.append(module)
        return module.forward

    function = torch.compile(dual, fullgraph=True, backend=counting, dynamic=True)
    for height, width in ((8, 12), (16, 9), (31, 33), (224, 224), (5, 200)):
        batch = random_pixels(2, height, width, 3)
        same(function(batch), dual(batch))
    assert len(graphs) == 1


def test_within_a_larger_graph():
    def model(batch):
        vae, clip = dual(batch.flip(1))
        return vae.mean() + clip.float().std()

    batch = random_pixels(2, 8, 12, 3)
    assert torch.equal(compiled(model)(batch), model(batch))


def test_out_is_written():
    def into(batch, out):
        return fastnorm.fused_normalize(batch, [CLIP, VAE], layout="NHWC", out=out)

    batch = random_pixels(2, 8, 12, 3)
    outputs = [torch.full((2, 3, 8, 12), float("nan")) for _ in range(2)]
    compiled(into)(batch, outputs)
    same(outputs, fastnorm.fused_normalize(batch, [CLIP, VAE]))


def test_other_targets_formats_and_layouts():
    def call(batch):
        return fastnorm.fused_normalize(
            batch, [CLIP, DINOV2, fastnorm.Normalization(0.25, 0.75)], memory_format=torch.channels_last
        )

    batch = random_pixels(2, 3, 8, 12)
    same(compiled(call)(batch), call(batch))


def test_errors_are_the_same_while_tracing():
    with pytest.raises(Exception, match="3 channels"):
        compiled(dual)(torch.zeros(2, 8, 12, 4, dtype=torch.uint8))


@pytest.mark.parametrize("strict", [True, False])
def test_export_with_dynamic_shapes(strict):
    class Preprocess(torch.nn.Module):
        def forward(self, batch):
            vae, clip = dual(batch)
            return vae, clip

    axes = {0: torch.export.Dim("n", min=1), 1: torch.export.Dim("h", min=1), 2: torch.export.Dim("w", min=1)}
    program = torch.export.export(
        Preprocess(), (random_pixels(4, 8, 12, 3),), dynamic_shapes={"batch": axes}, strict=strict
    )
    batch = random_pixels(3, 17, 5, 3)
    same(program.module()(batch), dual(batch))


@pytest.mark.parametrize("channels_last", [0, 1])
@pytest.mark.parametrize("axis", [-1, -3])
def test_opcheck(axis, channels_last, device):
    batch = random_pixels(2, 3, 8, 3, device=device)
    arguments = (batch, axis, [0.5] * 3 + list(CLIP.mean), [0.5] * 3 + list(CLIP.std), [0, 2], [0, channels_last])
    torch.library.opcheck(torch.ops.fastnorm.normalize.default, arguments)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_modes_change_nothing(mode):
    batch = random_pixels(2, 8, 12, 3)
    expected = dual(batch)
    with mode():
        same(dual(batch), expected)


def test_fake_tensors():
    with torch._subclasses.FakeTensorMode():
        vae, clip = dual(torch.empty(2, 8, 12, 3, dtype=torch.uint8))
    assert vae.shape == clip.shape == (2, 3, 8, 12)
    assert clip.dtype is torch.bfloat16


def test_tensor_subclasses_give_plain_tensors():
    image = tv_tensors.Image(random_pixels(3, 8, 12))
    (got,) = fastnorm.fused_normalize(image, [CLIP], layout="CHW")
    assert type(got) is torch.Tensor
    assert_same_bits(got, fastnorm.fused_normalize(image.as_subclass(torch.Tensor), [CLIP], layout="CHW")[0])


def test_vmap_is_refused_with_the_call_to_make():
    with pytest.raises(TypeError, match=r"torch\.vmap.*leading axes"):
        torch.vmap(dual)(random_pixels(4, 2, 8, 12, 3))


def test_preprocessing_breaks_the_graph_and_gives_the_same_values():
    images = [random_pixels(40, 50, 3, seed=seed) for seed in range(2)]
    target = fastnorm.Target(fastnorm.VAE, size=16, crop=16)

    def both(images):
        (values,) = fastnorm.fused_preprocess(images, [target])
        return values * 2

    assert torch.equal(torch.compile(both, backend="eager")(images), both(images))
    torch.compiler.reset()  # or the graphs around the break would serve again
    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(both, backend="eager", fullgraph=True)(images)


MEAN, STD = [0.5] * 3 + list(CLIP.mean), [0.5] * 3 + list(CLIP.std)


@pytest.mark.parametrize("device_of_batch", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("batch", "arguments", "error", "fragment"),
    [
        (torch.zeros(2, 8, 8, 3), (-1, MEAN, STD, [0, 2], [0, 0]), TypeError, "float32"),
        (torch.zeros(2, 8, 8, 3).long(), (-1, MEAN, STD, [0, 2], [0, 0]), TypeError, "int64"),
        (torch.zeros(2, 8, 8, 3).bool(), (-1, MEAN, STD, [0, 2], [0, 0]), TypeError, "bool"),
        (torch.zeros(2, 8, 8, 1).byte(), (-1, MEAN, STD, [0, 2], [0, 0]), ValueError, r"\(2, 8, 8, 1\)"),
        (torch.zeros(2, 1, 8, 8).byte(), (-3, MEAN, STD, [0, 2], [0, 0]), ValueError, r"\(2, 1, 8, 8\)"),
        (torch.zeros(2, 8, 3, 8).byte(), (-2, MEAN, STD, [0, 2], [0, 0]), ValueError, "channel_axis=-2"),
        (torch.zeros(8, 3).byte(), (-1, MEAN, STD, [0, 2], [0, 0]), ValueError, r"\(8, 3\)"),
        (torch.zeros(2, 8, 8, 3).byte(), (-1, MEAN, STD, [0], [0]), ValueError, "6 means"),
        (torch.zeros(2, 8, 8, 3).byte(), (-1, MEAN, STD[:3], [0, 2], [0, 0]), ValueError, "3 stds"),
        (torch.zeros(2, 8, 8, 3).byte(), (-1, MEAN[:5], STD, [0, 2], [0, 0]), ValueError, "5 means"),
        (torch.zeros(2, 8, 8, 3).byte(), (-1, MEAN, STD, [0, 2], [0]), ValueError, "1 memory formats"),
        (torch.zeros(2, 8, 8, 3).byte(), (-1, MEAN, STD, [0, -1], [0, 0]), ValueError, "got -1 among dtypes"),
        (torch.zeros(2, 8, 8, 3).byte(), (-1, MEAN, STD, [0, 3], [0, 0]), ValueError, "got 3 among dtypes"),
        (torch.zeros(2, 8, 8, 3).byte(), (-1, MEAN, STD, [0, 2], [-1, 0]), ValueError, "got -1 among memory_formats"),
    ],
)
def test_the_operator_checks_its_own_arguments(batch, arguments, error, fragment, device_of_batch):
    with pytest.raises(error, match=fragment):
        torch.ops.fastnorm.normalize(batch.to(device_of_batch), *arguments)


def test_an_exported_program_refuses_what_it_was_not_made_for():
    class Preprocess(torch.nn.Module):
        def forward(self, batch):
            return tuple(dual(batch))

    program = torch.export.export(Preprocess(), (random_pixels(2, 8, 12, 3),))
    with pytest.raises(TypeError, match="float32"):
        program.graph_module(torch.zeros(2, 8, 12, 3))
