"""Calls made inside torch's modes and transforms: fake tensors, tracing, functionalisation, a default device."""

import warnings

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision import tv_tensors

import fastnorm
from fastnorm import CLIP, VAE
from helpers import assert_same_bits, dual, random_pixels

pytestmark = pytest.mark.compat


def same(got, expected):
    for output, value in zip(got, expected, strict=True):
        assert_same_bits(output, value)


def expected_of(batch):
    return fastnorm.reference.normalize(batch, [VAE, CLIP], dtype=(torch.float32, torch.bfloat16), layout="NHWC")


class Record(TorchDispatchMode):
    """Notes the operators that a call is made of."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def test_a_call_under_fake_tensors_leaves_nothing_behind():
    # A target of its own: whatever the library remembers of it would be made here first.
    target = fastnorm.Normalization((0.11, 0.22, 0.33), (0.44, 0.55, 0.66))
    batch = random_pixels(2, 8, 13, 3)
    with FakeTensorMode(allow_non_fake_inputs=True):
        fastnorm.fused_normalize(batch, [target])
    (got,) = fastnorm.fused_normalize(batch, [target])
    assert_same_bits(got, fastnorm.reference.normalize(batch, [target])[0])


def test_a_dispatch_mode_sees_one_operator():
    batch = random_pixels(2, 8, 12, 3)
    with Record() as seen:
        got = dual(batch)
    same(got, expected_of(batch))
    assert "fastnorm::normalize" in seen.names
    assert not {"aten::div", "aten::div_.Tensor", "aten::sub.out", "aten::copy_"} & set(seen.names)


@pytest.fixture
def tracing():
    """torch.jit is deprecated, and still in use; while it traces, it warns of every size that is looked at."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".torch.jit")
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        yield


@pytest.mark.usefixtures("tracing")
def test_a_traced_function_serves_other_batch_sizes():
    with torch.no_grad():
        traced = torch.jit.trace(lambda batch: tuple(dual(batch)), random_pixels(2, 64, 64, 3))
    batch = random_pixels(8, 96, 160, 3, seed=1)
    same(traced(batch), expected_of(batch))


@pytest.mark.usefixtures("tracing")
def test_a_traced_function_writes_all_of_its_outputs():
    def into(batch, first, second):
        return fastnorm.fused_normalize(batch, [VAE, CLIP], layout="NHWC", out=(first, second))

    def nans(n):
        return [torch.full((n, 3, 64, 64), float("nan")) for _ in range(2)]

    traced = torch.jit.trace(into, (random_pixels(2, 64, 64, 3), *nans(2)))
    batch, outputs = random_pixels(8, 64, 64, 3, seed=1), nans(8)
    traced(batch, *outputs)
    same(outputs, fastnorm.reference.normalize(batch, [VAE, CLIP]))


def test_functionalized_tensors_go_to_the_operator():
    batch = random_pixels(2, 8, 12, 3)
    with Record() as seen:
        got = torch.func.functionalize(lambda x: tuple(dual(x)))(batch)
    same(got, expected_of(batch))
    assert "fastnorm::normalize" in seen.names


def test_preprocessing_refuses_tensors_without_memory():
    images = [random_pixels(20, 20, 3)]
    with FakeTensorMode() as mode:
        fake_images, fake_out = [mode.from_tensor(images[0])], torch.empty(1, 3, 8, 8)
    with pytest.raises(TypeError, match="images: got a FakeTensor without memory"):
        fastnorm.fused_preprocess(fake_images, [fastnorm.Target(VAE, size=8)])
    with pytest.raises(TypeError, match="without memory"):
        torch.func.functionalize(lambda x: fastnorm.fused_preprocess([x], [fastnorm.Target(VAE, size=8)])[0])(images[0])
    with pytest.raises(TypeError, match=r"out\[0\]: got a traced or fake tensor"):
        fastnorm.fused_preprocess(images, [fastnorm.Target(VAE, size=8)], out=[fake_out])


@pytest.mark.parametrize("out", ["the same twice", "overlapping views"])
def test_subclass_batches_check_the_outputs_memory(out):
    image = tv_tensors.Image(random_pixels(3, 8, 12))
    memory = torch.zeros(4, 8, 12)
    outputs = [memory[:3], memory[:3] if out == "the same twice" else memory[1:]]
    with pytest.raises(ValueError, match="shares memory"):
        fastnorm.fused_normalize(image, [VAE, CLIP], out=outputs, layout="CHW")


def test_compiled_calls_refuse_one_output_for_two_targets():
    def into(batch, out):
        return fastnorm.fused_normalize(batch, [VAE, CLIP], layout="NHWC", out=[out, out])

    torch.compiler.reset()
    with pytest.raises(Exception, match="shares memory"):
        torch.compile(into, fullgraph=True, backend="aot_eager")(random_pixels(2, 8, 12, 3), torch.zeros(2, 3, 8, 12))
    torch.compiler.reset()


@pytest.fixture
def meta_by_default():
    """A default device that holds no values: whatever lands there by accident shows."""
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


@pytest.mark.usefixtures("meta_by_default")
def test_a_default_device_changes_nothing():
    batch = random_pixels(2, 40, 50, 3, device="cpu")
    same(dual(batch), expected_of(batch))
    images = [batch[0], batch[1, :30]]
    target = fastnorm.Target(CLIP, size=16, crop=fastnorm.Crop(20, "random"))
    packed = fastnorm.PackedImages.pack(images)
    (got,), (offsets,) = fastnorm.fused_preprocess(packed, [target], return_offsets=True)
    assert {packed.device.type, got.device.type, offsets.device.type} == {"cpu"}
    torch.set_default_device(None)
    assert_same_bits(got, fastnorm.reference.preprocess(images, [target], positions=[offsets])[0])
